//! What each kind of provider is sent for the same requests, and how refusals are read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use shared::catalog::ProviderKind;

use super::complaint::Complaint;
use super::*;
use crate::scan::splice::joined;

/// A golden case: `<name>.in` is what the caller sends, `<name>.<kind>` what that kind is sent.
macro_rules! golden {
    ($name:literal) => {
        (
            include_str!(concat!("golden/", $name, ".in")),
            [
                (ProviderKind::OpenAi, include_str!(concat!("golden/", $name, ".openai"))),
                (ProviderKind::Vllm, include_str!(concat!("golden/", $name, ".vllm"))),
                (ProviderKind::Albert, include_str!(concat!("golden/", $name, ".albert"))),
                (ProviderKind::Mistral, include_str!(concat!("golden/", $name, ".mistral"))),
            ],
        )
    };
}

fn wish(body: &str) -> UsageWish {
    let at = |text: &str| body.find(text).unwrap();
    if body.contains("\"stream_options\": null") {
        let begin = at("null");
        UsageWish::Null(begin..begin + 4)
    } else if body.contains("\"include_usage\": false") {
        let begin = at("false}");
        UsageWish::No(begin..begin + 5)
    } else if body.contains("\"stream_options\": {}") {
        UsageWish::Silent { inside: at("{}") + 1, empty: true }
    } else if body.contains("\"stream_options\": {\"other\"") {
        UsageWish::Silent { inside: at("{\"other\"") + 1, empty: false }
    } else if body.contains("include_usage") {
        UsageWish::Yes
    } else {
        UsageWish::Absent { after: at("\"stream\": true") + 14 }
    }
}

#[test]
fn each_kind_is_sent_what_it_understands() {
    let cases = [
        golden!("chat"),
        golden!("chat-stream"),
        golden!("chat-stream-null"),
        golden!("chat-stream-no"),
        golden!("chat-stream-other"),
        golden!("chat-stream-yes"),
        golden!("chat-odd"),
        golden!("chat-limits"),
    ];
    for (body, expected) in cases {
        let streamed = body.contains("\"stream\": true").then(|| wish(body));
        let name = body.find("\"public/name\"").unwrap();
        let bytes = Bytes::from_static(body.as_bytes());
        for (kind, text) in expected {
            let outbound = Outbound {
                operation: Operation::Chat,
                body: &bytes,
                requested: name..name + 13,
                upstream_model: "org/upstream \"q\"",
                streamed: streamed.as_ref(),
                wording: Wording::Common,
            };
            assert_eq!(joined(&dialect(kind).body(&outbound)), text, "{kind}: {body}");
        }
    }
}

#[test]
fn rankings_are_put_into_each_kinds_words() {
    let common = r#"{"model":"m","query":"q","documents":["a",{"text":"b"}],"top_n":1, "return_documents":true}"#;
    let older = r#"{"input":["a","b"],"prompt":"q","model":"m"}"#;
    let sent = |kind, body: &'static str, wording| {
        let bytes = Bytes::from_static(body.as_bytes());
        let at = body.find("\"m\"").unwrap();
        let requested = at..at + 3;
        let outbound = Outbound {
            operation: Operation::Rerank,
            body: &bytes,
            requested,
            upstream_model: "up",
            streamed: None,
            wording,
        };
        joined(&dialect(kind).body(&outbound))
    };
    assert_eq!(sent(ProviderKind::Vllm, common, Wording::Common), common.replace("\"m\"", "\"up\""));
    assert_eq!(
        sent(ProviderKind::Albert, older, Wording::OlderRerank),
        r#"{"documents":["a","b"],"query":"q","model":"up"}"#
    );
    for (body, wording) in [(common, Wording::Common), (older, Wording::OlderRerank)] {
        let value: Value = serde_json::from_slice(&sent(ProviderKind::Tei, body, wording)).unwrap();
        assert_eq!(
            (value["query"].as_str(), &value["texts"], &value["raw_scores"]),
            (Some("q"), &json!(["a", "b"]), &json!(false))
        );
        assert!(value.get("model").is_none());
    }
    let scores = Bytes::from_static(br#"[{"index":0,"score":0.25},{"index":1,"score":0.75}]"#);
    let answer = |body: &'static str| told(Operation::Rerank, body, &scores, None);
    let best: Value = serde_json::from_slice(&answer(common).unwrap()).unwrap();
    assert_eq!(best["results"], json!([{"relevance_score": 0.75, "index": 1, "document": {"text": "b"}}]));
    let all = answer(older).unwrap();
    let all: Value = serde_json::from_slice(&rerank::older(&all).unwrap()).unwrap();
    assert_eq!(
        all["data"],
        json!([{"object": "rerank", "score": 0.25, "index": 0}, {"object": "rerank", "score": 0.75, "index": 1}])
    );
    assert_eq!(all["object"], "list");
    for odd in ["{}", "[{\"index\":0}]", "nonsense"] {
        assert_eq!(told(Operation::Rerank, common, &Bytes::copy_from_slice(odd.as_bytes()), None), None);
    }
    assert_eq!(rerank::older(&Bytes::from_static(b"{}")), None);
}

/// What text-embeddings-inference's answer becomes; it tells its tokens in a header.
fn told(operation: Operation, request: &'static str, body: &Bytes, tokens: Option<u64>) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.extend(tokens.map(|tokens| (http::HeaderName::from_static("x-compute-tokens"), tokens.into())));
    let request = Bytes::from_static(request.as_bytes());
    dialect(ProviderKind::Tei).answer(&Answer { operation, request: &request, headers: &headers, body })
}

#[test]
fn vectors_in_native_words() {
    let asked = r#"{"model": "m", "input" : ["a", "b"], "encoding_format":"float", "truncate":true}"#;
    let bytes = Bytes::from_static(asked.as_bytes());
    let outbound = Outbound {
        operation: Operation::Embeddings,
        body: &bytes,
        requested: 10..13,
        upstream_model: "up",
        streamed: None,
        wording: Wording::Common,
    };
    assert_eq!(
        joined(&dialect(ProviderKind::Tei).body(&outbound)),
        r#"{"model": "up", "inputs" : ["a", "b"], "encoding_format":"float", "truncate":true}"#
    );
    let native = Bytes::from_static(b"[[0.1000, -2e-3],[1,0.5]]");
    let answer = told(Operation::Embeddings, asked, &native, Some(7)).unwrap();
    let expected = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1000, -2e-3]},{"object":"embedding","index":1,"embedding":[1,0.5]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#;
    assert_eq!(answer, expected);
    let encoded = r#"{"model":"m","input":"a","encoding_format":"base64"}"#;
    let answer = told(Operation::Embeddings, encoded, &Bytes::from_static(b"[[1,-2.5]]"), None).unwrap();
    let value: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(value["data"][0]["embedding"], "AACAPwAAIMA=");
    assert!(value.get("usage").is_none());
    for odd in ["{}", "[1]", "[[\"x\"]]", "nonsense"] {
        let odd = Bytes::copy_from_slice(odd.as_bytes());
        assert_eq!(told(Operation::Embeddings, asked, &odd, None), None);
    }
}

#[test]
fn every_kind_serves_what_its_routers_may_ask() {
    use shared::catalog::RouterKind as R;
    for kind in ProviderKind::ALL.iter().copied() {
        for (router, operation) in [
            (R::TextGeneration, Operation::Chat),
            (R::TextEmbeddingsInference, Operation::Embeddings),
            (R::TextClassification, Operation::Rerank),
            (R::AutomaticSpeechRecognition, Operation::Transcription),
        ] {
            assert!(!kind.serves(router) || dialect(kind).path(operation).is_some(), "{kind} {operation:?}");
        }
    }
    assert_eq!(dialect(ProviderKind::Vllm).path(Operation::Rerank), Some("/v2/rerank"));
    assert_eq!(dialect(ProviderKind::Tei).path(Operation::Rerank), Some("/rerank"));
}

#[test]
fn refusals_of_every_form_are_read() {
    let cases = [
        (r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#, ("m", Some("t"), Some("p"), Some("c"))),
        (r#"{"error":{"message":"m","type":null,"param":null,"code":400}}"#, ("m", None, None, None)),
        (
            r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
            ("m", Some("BadRequestError"), None, None),
        ),
        (r#"{"error":"m","error_type":"validation"}"#, ("m", None, None, None)),
        (r#"{"detail":"m"}"#, ("m", None, None, None)),
        (r#"{"detail":[{"loc":["body","n",0],"msg":"m"},{"msg":"k"}]}"#, ("body.n.0: m; k", None, None, None)),
        (r#"{"message":"m"}"#, ("m", None, None, None)),
        (r#"{"something":"else"}"#, ("", None, None, None)),
        ("<html>nginx</html>", ("", None, None, None)),
        ("", ("", None, None, None)),
    ];
    for (body, (message, kind, param, code)) in cases {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let expected = Complaint { message: message.into(), kind: own(kind), param: own(param), code: own(code) };
        assert_eq!(complaint::read(body.as_bytes(), None), expected, "{body}");
    }
}

#[test]
fn secrets_are_taken_out() {
    let scrub = |text: &str| complaint::scrub(text, Some("plain-credential"));
    assert_eq!(scrub("Incorrect key provided: sk-abc123456. Find it"), "Incorrect key provided: *** Find it");
    assert_eq!(scrub("Authorization: Bearer abc, was refused"), "Authorization: Bearer ***, was refused");
    assert_eq!(scrub("key (plain-credential) unknown"), "key (***) unknown");
    assert_eq!(scrub("token 0123456789abcdef0123456789abcdef!"), "token ***!");
    for harmless in [
        "This model's maximum context length is 4096 tokens.",
        "org/some-long-model-name-with-many-parts-v1.5-instruct",
        "é😀 x",
    ] {
        assert_eq!(scrub(harmless), harmless);
    }
    assert!(complaint::scrub(&"é".repeat(5000), None).len() <= 2000);
}

#[test]
fn the_mock_answers_by_itself() {
    let request = json!({"model": "m", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Good day"}]}]});
    let reply = mock::answer("/v1/chat/completions", request.to_string().as_bytes());
    let body: Value = serde_json::from_slice(&joined(&reply.pieces)).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(body["choices"][0]["message"]["content"], "This is the mock provider of Gatewright. You said: Good day");
    assert_eq!(body["usage"], json!({"prompt_tokens": 4, "completion_tokens": 11, "total_tokens": 15}));
    assert_eq!(reply, mock::answer("/v1/chat/completions", request.to_string().as_bytes()), "the same again");

    let mut streamed = request;
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    streamed["max_tokens"] = 3.into();
    let reply = mock::answer("/v1/chat/completions", streamed.to_string().as_bytes());
    assert_eq!(reply.content_type, "text/event-stream");
    let text = String::from_utf8(joined(&reply.pieces).to_vec()).unwrap();
    assert!(
        text.contains("\"length\"") && text.contains("\"completion_tokens\":3") && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    assert_eq!(reply.pieces.len(), 1 + 3 + 1 + 1 + 1);

    let reply = mock::answer(
        "/v1/completions",
        br#"{"model":"m","prompt":"Once upon","max_tokens":2,"stream":true,"stream_options":{"include_usage":true}}"#,
    );
    assert_eq!(reply.pieces.len(), 2 + 1 + 1 + 1);
    let reply = mock::answer("/v1/completions", br#"{"model":"m","prompt":["a","b"]}"#);
    let body: Value = serde_json::from_slice(&joined(&reply.pieces)).unwrap();
    assert!(
        body["choices"][0]["text"].as_str().unwrap().ends_with("after: a b") && body["usage"]["prompt_tokens"] == 2,
        "{body}"
    );
    let reply = mock::answer(
        "/v1/rerank",
        br#"{"model":"m","query":"red apple","documents":["green pear","a red apple","red"],"top_n":2}"#,
    );
    let body: Value = serde_json::from_slice(&joined(&reply.pieces)).unwrap();
    assert_eq!(body["results"], json!([{"relevance_score": 1.0, "index": 1}, {"relevance_score": 0.5, "index": 2}]));

    let reply = mock::answer("/v1/embeddings", br#"{"model":"m","input":["a b","c"]}"#);
    let body: Value = serde_json::from_slice(&joined(&reply.pieces)).unwrap();
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
    assert_eq!(body["data"][0]["embedding"].as_array().unwrap().len(), 16);
    assert_ne!(body["data"][0]["embedding"], body["data"][1]["embedding"]);
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    for (path, bad) in [
        ("/v1/embeddings", "{}"),
        ("/v1/chat/completions", "{\"messages\":[]}"),
        ("/v1/chat/completions", "["),
        ("/x", "{}"),
    ] {
        assert_eq!(mock::answer(path, bad.as_bytes()).status, 400, "{path} {bad}");
    }
}
