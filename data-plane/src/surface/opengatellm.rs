//! The dress of OpenGateLLM: an id of ours, the router's name, cost and impact in `usage`, and always a usage chunk.
//!
//! Everything else stays as the upstream wrote it: members are replaced where they lie.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::exchange::endpoint::{Facts, Renderer};
use crate::exchange::events::DONE;
use crate::scan::json::Bounds;
use crate::scan::object::{self, Member};
use crate::scan::splice::{Edit, apply, joined, quoted};
use crate::scan::sse::push_event;

/// Answers as OpenGateLLM renders them.
pub(super) struct OpenGateLlm {
    /// What a chunk of a stream is called.
    pub(super) chunk: &'static str,
}

impl Renderer for OpenGateLlm {
    fn whole(&self, facts: &Facts, body: &Bytes) -> Bytes {
        let Ok(members) = object::read(body, Bounds::ANSWER) else { return body.clone() };
        let before = members.iter().find(|member| member.name == "usage").map(|member| member.bytes(body));
        let usage = usage(facts, before.and_then(|bytes| serde_json::from_slice(bytes).ok()));
        dress(
            body,
            &members,
            &[("id", quoted(&facts.id)), ("model", quoted(&facts.router)), ("usage", Bytes::from(usage.to_string()))],
        )
    }

    fn event(&self, facts: &Facts, data: &[u8], out: &mut BytesMut) {
        let data = Bytes::copy_from_slice(data);
        let Ok(members) = object::read(&data, Bounds::ANSWER) else { return push_event(out, &data) };
        let dressed = dress(&data, &members, &[("id", quoted(&facts.id)), ("model", quoted(&facts.router))]);
        push_event(out, &dressed);
    }

    fn closing(&self, facts: &Facts, out: &mut BytesMut) {
        let chunk = json!({
            "id": facts.id,
            "object": self.chunk,
            "created": facts.created,
            "model": facts.router,
            "choices": [],
            "usage": usage(facts, None),
        });
        push_event(out, chunk.to_string().as_bytes());
        push_event(out, DONE);
    }
}

/// The upstream's usage with our counts and the cost; details of the upstream stay.
fn usage(facts: &Facts, before: Option<Map<String, Value>>) -> Value {
    let mut usage = before.unwrap_or_default();
    let (prompt, completion) = (facts.tokens.prompt.unwrap_or(0), facts.tokens.completion.unwrap_or(0));
    usage.insert("prompt_tokens".into(), prompt.into());
    usage.insert("completion_tokens".into(), completion.into());
    usage.insert("total_tokens".into(), prompt.saturating_add(completion).into());
    usage.insert("cost".into(), facts.cost.to_f64().into());
    // Without an estimate, OpenGateLLM answers zero. Its clients read `impacts`, those of before `carbon`.
    let (kwh, kg) = facts.impact.map_or((0.0, 0.0), |impact| (impact.kwh, impact.kg_co2eq));
    for name in ["impacts", "carbon"] {
        usage.insert(name.into(), json!({"kWh": kwh, "kgCO2eq": kg}));
    }
    usage.insert("requests".into(), 1.into());
    Value::Object(usage)
}

/// Replaces members where they lie; those that are missing are added in front.
fn dress(body: &Bytes, members: &[Member<'_>], with: &[(&str, Bytes)]) -> Bytes {
    let mut edits = Vec::with_capacity(with.len() + 1);
    let mut added = BytesMut::new();
    for (name, value) in with {
        if let Some(member) = members.iter().find(|member| member.name == *name) {
            edits.push(Edit { range: member.value.clone(), with: value.clone() });
        } else {
            added.extend_from_slice(&quoted(name));
            added.extend_from_slice(b":");
            added.extend_from_slice(value);
            added.extend_from_slice(b",");
        }
    }
    if !added.is_empty() && !members.is_empty() {
        let inside = memchr::memchr(b'{', body).map_or(0, |at| at + 1);
        edits.push(Edit { range: inside..inside, with: added.freeze() });
    }
    edits.sort_by_key(|edit| edit.range.start);
    joined(&apply(body, &edits))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use shared::kernel::money::Amount;
    use shared::kernel::tokens::TokenUsage;

    use super::*;
    use crate::exchange::endpoint::Impact;

    const DRESS: OpenGateLlm = OpenGateLlm { chunk: "chat.completion.chunk" };

    fn facts() -> Facts {
        Facts {
            id: "0123".into(),
            router: "my \"router\"".into(),
            created: 7,
            tokens: TokenUsage { prompt: Some(5), completion: Some(7), ..TokenUsage::default() },
            cost: Amount::from_billionths(1_500),
            impact: Some(Impact { kwh: 6.25e-6, kg_co2eq: 2e-7 }),
        }
    }

    #[test]
    fn whole_answers_are_dressed_where_members_lie() {
        let body = Bytes::from_static(b"{\"id\":\"x\", \"model\" : \"up\",\"choices\":[1],\"usage\":{\"prompt_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":1}},\"vendor\":1.0e1}");
        let text = String::from_utf8(DRESS.whole(&facts(), &body).to_vec()).unwrap();
        assert!(
            text.starts_with("{\"id\":\"0123\", \"model\" : \"my \\\"router\\\"\",\"choices\":[1],")
                && text.ends_with(",\"vendor\":1.0e1}"),
            "{text}"
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["usage"]["total_tokens"], 12);
        assert_eq!(value["usage"]["cost"], 0.000_001_5);
        assert_eq!(value["usage"]["impacts"], json!({"kWh": 6.25e-6, "kgCO2eq": 2e-7}));
        assert_eq!((&value["usage"]["carbon"], &value["usage"]["requests"]), (&value["usage"]["impacts"], &json!(1)));
        assert_eq!(value["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
        let bare = Bytes::from_static(b" {\"data\":[]}");
        let value: Value = serde_json::from_slice(&DRESS.whole(&facts(), &bare)).unwrap();
        assert_eq!((value["id"].as_str(), value["usage"]["prompt_tokens"].as_u64()), (Some("0123"), Some(5)));
    }

    #[test]
    fn streams_are_dressed_event_by_event() {
        let mut out = BytesMut::new();
        DRESS.event(
            &facts(),
            b"{\"id\":\"x\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"model\":\"up\"}",
            &mut out,
        );
        DRESS.closing(&facts(), &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(
            events[0],
            "data: {\"id\":\"0123\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"model\":\"my \\\"router\\\"\"}"
        );
        let chunk: Value = serde_json::from_str(events[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(
            (chunk["choices"].as_array().unwrap().len(), chunk["usage"]["total_tokens"].as_u64()),
            (0, Some(12))
        );
        assert_eq!(events[2], "data: [DONE]");
    }
}
