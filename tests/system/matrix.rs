//! Every inference endpoint against every case, in both forms of the gateway. A new endpoint is one more row.

use std::time::{Duration, Instant};

use harness::client::{Call, Client, Reply, assert_error_form};
use harness::eventually;
use harness::gateway::{Gateway, Mode};
use harness::run;
use harness::stage::{COMPLETION_PRICE, PROMPT_PRICE, PROVIDER_KEY, Stage, UPSTREAM_MODEL};
use harness::upstream::{Answer, End};
use serde_json::{Value, json};

/// One endpoint as the cases need to know it.
struct Endpoint {
    path: &'static str,
    /// Where the upstream is asked.
    upstream_path: &'static str,
    /// The type of router that serves it.
    kind: &'static str,
    /// A type of router that does not.
    other_kind: &'static str,
    streams: bool,
    /// Whether the body's members are sent as a form, with a recording among them.
    form: bool,
    body: fn(router: &str) -> Value,
    /// A proper answer, which reports exactly these tokens.
    good: fn() -> Answer,
    tokens: (u64, u64),
}

const CHAT: Endpoint = Endpoint {
    path: "/v1/chat/completions",
    upstream_path: "/v1/chat/completions",
    kind: "text-generation",
    other_kind: "text-embeddings-inference",
    streams: false,
    form: false,
    body: |router| json!({"model": router, "messages": [{"role": "user", "content": "Good day?"}]}),
    good: || Answer::chat("Good day!", 1011, 333),
    tokens: (1011, 333),
};

const CHAT_STREAM: Endpoint = Endpoint {
    streams: true,
    body: |router| {
        json!({"model": router, "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "Good day?"}]})
    },
    good: || Answer::stream(&["Good", " day", "!"], Some((1011, 333))),
    ..CHAT
};

const EMBEDDINGS: Endpoint = Endpoint {
    path: "/v1/embeddings",
    upstream_path: "/v1/embeddings",
    kind: "text-embeddings-inference",
    other_kind: "text-generation",
    body: |router| json!({"model": router, "input": ["Good day?", "Good night?"]}),
    good: || Answer::embedding(77),
    tokens: (77, 0),
    ..CHAT
};

const COMPLETIONS: Endpoint = Endpoint {
    path: "/v1/completions",
    upstream_path: "/v1/completions",
    body: |router| json!({"model": router, "prompt": "Good day, "}),
    good: || {
        Answer::json(
            200,
            &json!({"id": "cmpl-scripted", "object": "text_completion", "created": 1_700_000_000, "model": "upstream-model",
                "choices": [{"index": 0, "text": "Good day to you!", "finish_reason": "stop", "logprobs": null}],
                "usage": {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}}),
        )
    },
    tokens: (21, 5),
    ..CHAT
};

const COMPLETIONS_STREAM: Endpoint = Endpoint {
    streams: true,
    body: |router| json!({"model": router, "prompt": "Good day, ", "stream": true, "stream_options": {"include_usage": true}}),
    good: || {
        let part = |text: &str| json!({"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": null}]});
        let last = json!({"choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}});
        let events = [part("Good"), part(" day"), part(" to you!"), last].map(|chunk| format!("data: {chunk}\n\n"));
        Answer::events(events.into_iter().chain(["data: [DONE]\n\n".to_owned()]))
    },
    ..COMPLETIONS
};

const RERANK: Endpoint = Endpoint {
    path: "/v1/rerank",
    // The stage's provider is a vLLM.
    upstream_path: "/v2/rerank",
    kind: "text-classification",
    body: |router| json!({"model": router, "query": "Good day?", "documents": ["Good night.", "Good day!"], "top_n": 1}),
    good: || {
        Answer::json(
            200,
            &json!({"id": "rerank-scripted", "model": "upstream-model", "usage": {"total_tokens": 44},
                "results": [{"index": 1, "document": {"text": "Good day!"}, "relevance_score": 0.75}]}),
        )
    },
    tokens: (44, 0),
    ..EMBEDDINGS
};

const TRANSCRIPTION: Endpoint = Endpoint {
    path: "/v1/audio/transcriptions",
    upstream_path: "/v1/audio/transcriptions",
    kind: "automatic-speech-recognition",
    form: true,
    body: |router| json!({"language": "en", "model": router, "response_format": "json"}),
    good: || {
        Answer::json(
            200,
            &json!({"text": "Good day to you!", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 6, "total_tokens": 20}}),
        )
    },
    tokens: (14, 6),
    ..EMBEDDINGS
};

/// Writes one test for each case, form and endpoint.
macro_rules! matrix {
    ($($endpoint:ident: $row:expr => [$($case:ident),* $(,)?];)*) => {
        $(mod $endpoint {
            use super::{Gateway, Mode, run};

            mod standalone {
                use super::{Gateway, Mode, run};
                $(#[test] fn $case() {
                    run(async { super::super::$case(Gateway::shared(Mode::Standalone).await, &$row).await });
                })*
            }

            mod split {
                use super::{Gateway, Mode, run};
                $(#[test] fn $case() {
                    run(async { super::super::$case(Gateway::shared(Mode::Split).await, &$row).await });
                })*
            }
        })*
    };
}

matrix! {
    chat: super::super::CHAT => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, usage_missing, ids,
    ];
    chat_stream: super::super::CHAT_STREAM => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, first_event_is_error, first_event_is_late,
        usage_missing, ids,
    ];
    embeddings: super::super::EMBEDDINGS => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, usage_missing, ids,
    ];
    completions: super::super::COMPLETIONS => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, usage_missing, ids,
    ];
    completions_stream: super::super::COMPLETIONS_STREAM => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, first_event_is_error, first_event_is_late, ids,
    ];
    rerank: super::super::RERANK => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, usage_missing, ids,
    ];
    transcription: super::super::TRANSCRIPTION => [
        good, bad_key, missing_key, unknown_router, forbidden_router, wrong_kind, client_disconnect,
        upstream_refuses, upstream_limits, upstream_fails, upstream_rejects_credential, upstream_garbage,
        upstream_unreachable, upstream_dies_unheard, upstream_dies, usage_missing, ids,
    ];
}

impl Endpoint {
    /// The row's request for a router.
    fn ask(&self, client: &Client, router: &str) -> Call {
        let body = (self.body)(router);
        if !self.form {
            return client.post(self.path, &body);
        }
        let part = |name: &str, text: &str| {
            format!("--b0\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
        };
        let fields = body.as_object().unwrap().iter().map(|(name, value)| part(name, value.as_str().unwrap()));
        let file = "--b0\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\ncontent-type: audio/wav\r\n\r\nRIFF\r\n--b0--\r\n";
        let form = fields.chain([file.to_owned()]).collect::<String>();
        client.call("POST", self.path).header("content-type", "multipart/form-data; boundary=b0").bytes(form)
    }

    async fn stage<'a>(&self, gateway: &'a Gateway) -> Stage<'a> {
        let stage = Stage::set(gateway, self.kind).await;
        stage.upstream.says((self.good)());
        stage
    }

    async fn call(&self, stage: &Stage<'_>) -> Reply {
        self.ask(&stage.client(), &stage.router).send().await
    }

    fn cost(&self) -> i64 {
        cost(self.tokens.0, self.tokens.1)
    }
}

/// In billionths; prices are for a million tokens.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
fn cost(prompt: u64, completion: u64) -> i64 {
    (prompt as f64 * PROMPT_PRICE * 1e3 + completion as f64 * COMPLETION_PRICE * 1e3).round() as i64
}

/// Checks an answer of the gateway's own making to a failure upstream, and its record.
async fn assert_failure(stage: &Stage<'_>, reply: &Reply, statuses: &[u16], fault: &str) {
    assert!(statuses.contains(&reply.status), "{} is none of {statuses:?}: {}", reply.status, reply.text());
    assert_eq!(reply.header("content-type").split(';').next(), Some("application/json"));
    assert_error_form(&reply.json());
    assert!(!reply.text().contains(PROVIDER_KEY), "{}", reply.text());
    let usage = stage.only_usage().await;
    assert_eq!(usage.status(), u64::from(reply.status), "{usage:?}");
    assert_eq!(usage.0["fault"], fault, "{usage:?}");
    assert_eq!(usage.cost(), 0, "{usage:?}");
}

async fn good(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let reply = row.call(&stage).await;
    reply.expect(200);
    assert_eq!(reply.text(), (row.good)().body(), "the answer's bytes are the upstream's");

    let seen = stage.upstream.only();
    assert_eq!(seen.path, row.upstream_path);
    if row.form {
        assert!(String::from_utf8_lossy(&seen.body).contains(&format!("name=\"model\"\r\n\r\n{UPSTREAM_MODEL}\r\n")));
    } else {
        assert_eq!(seen.json()["model"], UPSTREAM_MODEL);
    }
    assert_eq!(seen.headers["authorization"].to_str().unwrap(), format!("Bearer {PROVIDER_KEY}"));
    let told = format!("{:?} {}", seen.headers, String::from_utf8_lossy(&seen.body));
    assert!(!told.contains(&stage.key), "the caller's key stays here: {told}");

    let usage = stage.only_usage().await;
    let (prompt, completion) = usage.tokens();
    assert_eq!((prompt, completion.unwrap_or(0)), (Some(row.tokens.0), row.tokens.1), "{usage:?}");
    assert_eq!(usage.cost(), row.cost(), "{usage:?}");
    assert_eq!(usage.status(), 200);
    assert_eq!(usage.0["endpoint"], row.path, "{usage:?}");
    assert_eq!(usage.0["estimated"], false, "{usage:?}");
    assert_eq!(usage.0["streamed"], row.streams, "{usage:?}");
    assert_eq!(usage.0["outcome"], "completed", "{usage:?}");
    assert_eq!(usage.0["model"], stage.router, "{usage:?}");
    assert!(usage.0["usage"]["metrics"]["latency"].is_number(), "{usage:?}");
    if row.streams {
        assert!(usage.0["usage"]["metrics"]["ttft"].is_number(), "{usage:?}");
    }
}

async fn bad_key(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let mut off_by_one = stage.key.clone();
    let last = off_by_one.pop().unwrap();
    off_by_one.push(if last == 'a' { 'b' } else { 'a' });
    for key in ["sk-nobody", "x", &off_by_one, &"k".repeat(5000)] {
        let reply = row.ask(&gateway.client().bearer(key), &stage.router).send().await;
        let body = reply.expect_error(401, "invalid_api_key");
        assert_eq!(body["error"]["type"], "authentication_error", "{body}");
        assert_eq!(body["detail"], "Invalid API key.", "{body}");
        assert!(!reply.text().contains(key) || key.len() < 3, "a key is not repeated: {body}");
    }
    assert_eq!(stage.upstream.calls(), 0);
}

async fn missing_key(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let reply = row.ask(&gateway.client(), &stage.router).send().await;
    let body = reply.expect_error(401, "missing_api_key");
    assert_eq!(body["error"]["type"], "authentication_error", "{body}");
    assert_eq!(body["detail"], "Not authenticated", "{body}");
    assert_eq!(reply.header("www-authenticate").split(' ').next(), Some("Bearer"));
    assert_eq!(stage.upstream.calls(), 0);
}

async fn unknown_router(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    for name in ["no-such-router", "../x", "a/b", "%2f", "*", ".*", &stage.router.to_uppercase(), &"n".repeat(300)] {
        let reply = row.ask(&stage.client(), name).send().await;
        let body = reply.expect_error(404, "model_not_found");
        assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
        assert_eq!(body["error"]["param"], "model", "{body}");
    }
    assert_eq!(stage.upstream.calls(), 0);
}

async fn forbidden_router(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let stranger = Stage::set(gateway, row.kind).await;
    let reply = row.ask(&stranger.client(), &stage.router).send().await;
    reply.expect(403);
    let body = reply.json();
    assert_error_form(&body);
    assert_eq!(body["detail"], "Insufficient permissions to access the model.", "{body}");
    assert_eq!(body["error"]["param"], "model", "{body}");
    assert_eq!(stage.upstream.calls(), 0);
}

async fn wrong_kind(gateway: &Gateway, row: &Endpoint) {
    let stage = Stage::set(gateway, row.other_kind).await;
    let reply = row.call(&stage).await;
    assert!(matches!(reply.status, 400 | 422), "{}: {}", reply.status, reply.text());
    let body = reply.json();
    assert_error_form(&body);
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.starts_with("Model has wrong type."), "{body}");
    assert!(detail.contains(row.other_kind), "{body}");
    assert_eq!(body["error"]["param"], "model", "{body}");
    assert_eq!(stage.upstream.calls(), 0);
}

async fn client_disconnect(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let left = if row.streams {
        // Two words arrive, the rest would take for ever.
        stage.upstream.says(Answer::stream(&["Good", " day", "!"], None).only(2).ending(End::Hang));
        let mut open = row.ask(&stage.client(), &stage.router).open().await;
        assert_eq!(open.status, 200);
        assert!(open.event().await.is_some_and(|event| event.contains("Good")));
        drop(open);
        Instant::now()
    } else {
        stage.upstream.says((row.good)().after(Duration::from_secs(3600)));
        let call = row.ask(&stage.client(), &stage.router);
        let waiting = tokio::spawn(call.try_send());
        eventually("the call is upstream", Duration::from_secs(5), || async {
            (stage.upstream.calls() == 1).then_some(())
        })
        .await;
        waiting.abort();
        let _ = waiting.await;
        Instant::now()
    };
    let noticed = eventually("the upstream sees the disconnect", Duration::from_secs(5), || async {
        stage.upstream.only().abandoned
    })
    .await;
    let delay = noticed.saturating_duration_since(left);
    assert!(delay < Duration::from_millis(500), "the upstream call was cancelled after {delay:?}");

    let usage = stage.only_usage().await;
    assert_eq!(usage.0["outcome"], "cancelled", "{usage:?}");
    if row.streams {
        let (prompt, completion) = usage.tokens();
        assert!(prompt.is_some_and(|tokens| tokens > 0), "what was asked is billed: {usage:?}");
        assert!(completion.is_some_and(|tokens| tokens > 0), "what arrived is billed: {usage:?}");
        assert_eq!(usage.0["estimated"], true, "{usage:?}");
        assert!(usage.cost() > 0, "{usage:?}");
    }
}

async fn upstream_refuses(gateway: &Gateway, row: &Endpoint) {
    for status in [400, 404, 422] {
        let stage = row.stage(gateway).await;
        stage.upstream.says(Answer::error(status, "the scripted complaint"));
        let reply = row.call(&stage).await;
        assert_failure(&stage, &reply, &[status], "upstream_refused").await;
        let body = reply.json();
        assert_eq!(body["error"]["message"], "the scripted complaint", "{body}");
        assert_eq!(body["detail"], "the scripted complaint", "{body}");
        assert_eq!(stage.upstream.calls(), 1, "a refusal is final");
    }
}

async fn upstream_limits(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    stage.upstream.says(Answer::error(429, "slow down").header("retry-after", "7"));
    let reply = row.call(&stage).await;
    assert_failure(&stage, &reply, &[429], "upstream_rate_limited").await;
    assert_eq!(reply.header("retry-after"), "7");
}

async fn upstream_fails(gateway: &Gateway, row: &Endpoint) {
    for status in [500, 503] {
        let stage = row.stage(gateway).await;
        stage.upstream.says(Answer::error(status, "the scripted failure"));
        let reply = row.call(&stage).await;
        assert_failure(&stage, &reply, &[500, 502, 503], "upstream_error").await;
    }
}

async fn upstream_rejects_credential(gateway: &Gateway, row: &Endpoint) {
    for status in [401, 403] {
        let stage = row.stage(gateway).await;
        stage.upstream.says(Answer::error(status, &format!("Incorrect API key provided: {PROVIDER_KEY}")));
        let reply = row.call(&stage).await;
        assert_failure(&stage, &reply, &[502], "upstream_auth").await;
    }
}

async fn upstream_garbage(gateway: &Gateway, row: &Endpoint) {
    let garbage = [
        Answer::bytes(200, "application/json", "<html>Welcome to nginx!</html>"),
        Answer::bytes(200, "text/html", "<html>Welcome to nginx!</html>"),
        Answer::bytes(200, "application/json", ""),
        Answer::bytes(200, "application/json", "{\"id\": \"chatcmpl-1\", \"choices\": ["),
    ];
    for answer in garbage {
        let stage = row.stage(gateway).await;
        stage.upstream.says(answer.clone());
        let reply = row.call(&stage).await;
        assert_failure(&stage, &reply, &[502], "upstream_invalid").await;
        assert!(!reply.text().contains("nginx"), "{}", reply.text());
    }
}

async fn upstream_unreachable(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let admin = stage.admin();
    let nowhere = format!("http://127.0.0.1:{}", harness::postgres::free_port());
    admin.change(&format!("providers/{}", stage.provider_id), &json!({"url": nowhere, "key": PROVIDER_KEY})).await;
    let reply = eventually("the new address is used", Duration::from_secs(3), || async {
        let reply = row.call(&stage).await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert!(matches!(reply.status, 502 | 503), "{}: {}", reply.status, reply.text());
    assert_error_form(&reply.json());
    assert!(!reply.text().contains(&nowhere["http://".len()..]), "an inner address is not told: {}", reply.text());
}

async fn upstream_dies_unheard(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    stage.upstream.says(Answer::dead());
    let reply = row.call(&stage).await;
    assert!(matches!(reply.status, 502 | 503), "{}: {}", reply.status, reply.text());
    assert_error_form(&reply.json());
    let usage = stage.only_usage().await;
    assert_eq!(usage.0["outcome"], "failed", "{usage:?}");
}

async fn upstream_dies(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    if !row.streams {
        stage.upstream.says((row.good)().header("content-length", "4096").ending(End::Die));
        let reply = row.call(&stage).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_error_form(&reply.json());
        assert_eq!(stage.only_usage().await.0["outcome"], "failed");
        return;
    }
    stage.upstream.says(Answer::stream(&["Good", " day", "!"], None).only(2).ending(End::Die));
    let open = row.ask(&stage.client(), &stage.router).open().await;
    assert_eq!(open.status, 200);
    let events = open.events().await;
    assert_eq!(events.len(), 3, "two words and one error: {events:#?}");
    assert!(events[0].contains("Good") && events[1].contains(" day"), "{events:#?}");
    let error: Value = serde_json::from_str(events[2].strip_prefix("data: ").unwrap()).unwrap();
    assert!(error["error"]["message"].is_string(), "{error}");
    assert!(!events.concat().contains("[DONE]"), "{events:#?}");
    let usage = stage.only_usage().await;
    assert_eq!(usage.0["outcome"], "interrupted", "{usage:?}");
    assert_eq!(usage.0["fault"], "interrupted_stream", "{usage:?}");
    assert!(usage.cost() > 0, "what arrived is billed: {usage:?}");
}

async fn first_event_is_error(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    stage.upstream.says(Answer::events([
        ": hello\n\n",
        "data: {\"error\": {\"message\": \"the scripted failure\", \"code\": 500}}\n\n",
    ]));
    let reply = row.call(&stage).await;
    assert!(
        (500..=504).contains(&reply.status),
        "a failure before the first event has a status: {} {}",
        reply.status,
        reply.text()
    );
    assert_error_form(&reply.json());
}

async fn first_event_is_late(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let mut pieces = vec![": ping\n\n".to_owned()];
    pieces.push((row.good)().body());
    stage.upstream.says(Answer::events(pieces).paced(Duration::from_millis(300)));
    let reply = row.call(&stage).await;
    reply.expect(200);
    assert!(reply.text().ends_with(&(row.good)().body()), "{}", reply.text());
    let usage = stage.only_usage().await;
    let ttft = usage.0["usage"]["metrics"]["ttft"].as_f64().unwrap();
    assert!(ttft >= 290.0, "a comment is no first token: {usage:?}");
}

async fn usage_missing(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let answer = if row.streams {
        Answer::stream(&["Good", " day", " to", " you", "!"], None)
    } else {
        let mut body: Value = serde_json::from_str(&(row.good)().body()).unwrap();
        body.as_object_mut().unwrap().remove("usage");
        Answer::json(200, &body)
    };
    stage.upstream.says(answer.clone());
    let reply = row.call(&stage).await;
    reply.expect(200);
    assert_eq!(reply.text(), answer.body(), "no usage is put into the upstream's bytes");
    let usage = stage.only_usage().await;
    let (prompt, completion) = usage.tokens();
    if row.form {
        assert_eq!(prompt, None, "speech is not counted as text: {usage:?}");
    } else {
        assert!(prompt.is_some_and(|tokens| (1..60).contains(&tokens)), "{usage:?}");
    }
    if row.tokens.1 > 0 {
        assert!(completion.is_some_and(|tokens| (1..20).contains(&tokens)), "{usage:?}");
    }
    assert_eq!(usage.0["estimated"], true, "{usage:?}");
    assert_eq!(usage.cost(), cost(prompt.unwrap_or(0), completion.unwrap_or(0)), "{usage:?}");
}

async fn ids(gateway: &Gateway, row: &Endpoint) {
    let stage = row.stage(gateway).await;
    let own = harness::unique("my_request");
    let reply = row.ask(&stage.client(), &stage.router).header("x-request-id", &own).send().await;
    assert_eq!(reply.header("x-request-id"), own);
    let call_id = reply.header("x-gatewright-call-id").to_owned();
    assert!(call_id.len() >= 32, "{call_id}");
    let usage = stage.only_usage().await;
    assert_eq!(usage.0["request_id"], own, "{usage:?}");
    assert!(usage.0.to_string().contains(&call_id), "the record is the call's: {usage:?}");

    for foreign in ["with space", &"x".repeat(65), "semi;colon", "<b>"] {
        let reply = row.ask(&stage.client(), &stage.router).header("x-request-id", foreign).send().await;
        let given = reply.header("x-request-id");
        assert!(!given.is_empty() && given != foreign, "{foreign} is replaced: {given}");
        assert_ne!(reply.header("x-gatewright-call-id"), call_id);
    }
}
