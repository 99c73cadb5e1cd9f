//! The official SDKs against the running product: what their users see, in both forms of the gateway.

use harness::admin::{provider_body, unlimited};
use harness::gateway::{Gateway, MODES};
use harness::stage::Stage;
use harness::upstream::{Answer, Seen};
use harness::{eventually, run};
use serde_json::{Value, json};

#[test]
fn python() {
    run(async {
        for mode in MODES {
            let scene = Scene::set(Gateway::shared(mode).await).await;
            harness::sdk::python("client.py", &scene.variables()).await;
        }
    });
}

#[test]
fn node() {
    run(async {
        for mode in MODES {
            let scene = Scene::set(Gateway::shared(mode).await).await;
            harness::sdk::node("client.cjs", &scene.variables()).await;
        }
    });
}

/// A caller with a chat model and an embedding model, and a model that is not his.
struct Scene<'a> {
    stage: Stage<'a>,
    base: String,
    embeddings: String,
    forbidden: String,
}

impl<'a> Scene<'a> {
    async fn set(gateway: &'a Gateway) -> Self {
        let stage = Stage::chat(gateway).await;
        stage.upstream.decides(speak);
        let admin = gateway.admin();
        let (router_id, embeddings) = admin.router("text-embeddings-inference").await;
        admin.create("providers", &provider_body(router_id, stage.upstream.url())).await;
        let (forbidden_id, forbidden) = admin.router("text-generation").await;
        admin.create("providers", &provider_body(forbidden_id, stage.upstream.url())).await;
        let mut limits = unlimited(stage.router_id);
        limits.extend(unlimited(router_id));
        admin.change(&format!("roles/{}", stage.role_id), &json!({"limits": limits})).await;
        let path = format!("/v1/models/{embeddings}");
        eventually("the embedding model is there", std::time::Duration::from_secs(3), || async {
            (stage.client().get(&path).send().await.status == 200).then_some(())
        })
        .await;
        Self { base: format!("{}/v1", gateway.inference_url()), stage, embeddings, forbidden }
    }

    fn variables(&self) -> [(&str, &str); 5] {
        [
            ("BASE_URL", &self.base),
            ("API_KEY", &self.stage.key),
            ("CHAT_MODEL", &self.stage.router),
            ("EMBEDDING_MODEL", &self.embeddings),
            ("FORBIDDEN_MODEL", &self.forbidden),
        ]
    }
}

/// The upstream does what the last message asks for.
fn speak(seen: &Seen) -> Answer {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let asked =
        body["messages"].as_array().and_then(|messages| messages.last()?["content"].as_str().map(str::to_owned));
    match asked.as_deref() {
        Some("status 400") => Answer::error(400, "the prompt is odd"),
        Some("status 429") => Answer::error(429, "slow down").header("retry-after", "1"),
        Some("status 500") => Answer::error(500, "out of order"),
        Some("use the tool") if body["stream"] == true => streamed_tool_call(),
        Some("use the tool") => tool_call(&body),
        _ => Answer::proper(seen),
    }
}

fn tool_call(body: &Value) -> Answer {
    let name = &body["tools"][0]["function"]["name"];
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{\"city\":\"Lyon\"}"}});
    Answer::json(
        200,
        &json!({
            "id": "chatcmpl-tool", "object": "chat.completion", "created": 1_700_000_000, "model": "upstream-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29},
        }),
    )
}

fn streamed_tool_call() -> Answer {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({"id": "chatcmpl-tool", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "upstream-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    let head =
        json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}});
    let part = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
    Answer::events([
        chunk(json!({"role": "assistant", "tool_calls": [head]}), Value::Null),
        chunk(part("{\"city\":"), Value::Null),
        chunk(part("\"Lyon\"}"), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ])
}
