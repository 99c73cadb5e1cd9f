//! What each kind of provider is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::gateway::{Gateway, Mode};
use harness::run;
use harness::stage::{PROVIDER_KEY, Stage, UPSTREAM_MODEL, Usage};
use harness::upstream::Answer;
use serde_json::{Value, json};

use crate::forms::{contains, form};

/// A stage whose only provider is of this kind.
pub(crate) async fn stage<'a>(gateway: &'a Gateway, router: &str, provider: &str) -> Stage<'a> {
    let stage = Stage::set(gateway, router).await;
    let admin = stage.admin();
    let body = json!({"router_id": stage.router_id, "type": provider, "url": stage.upstream.url(), "key": PROVIDER_KEY,
        "model_name": "second-model", "timeout": 30});
    admin.create("providers", &body).await;
    admin.remove(&format!("providers/{}", stage.provider_id)).await;
    let path = match router {
        "text-classification" => "/v1/rerank",
        "automatic-speech-recognition" => "/v1/audio/transcriptions",
        "text-embeddings-inference" => "/v1/embeddings",
        _ => "/v1/chat/completions",
    };
    // Several answers in a row that come from the new provider show that it is the only one.
    let row_so_far = AtomicUsize::new(0);
    harness::eventually("the new provider is in use", Duration::from_secs(5), || async {
        stage.upstream.says(Answer::error(400, "not yet"));
        let body = json!({"model": stage.router, "messages": [], "query": "q", "documents": ["a"], "input": "a"});
        let call = match router {
            "automatic-speech-recognition" => form(&stage, "json", "RIFF"),
            _ => stage.client().post(path, &body),
        };
        call.send().await;
        let seen = stage.upstream.seen();
        let new = seen.last().is_some_and(|seen| contains(&seen.body, b"second-model") || seen.path == "/rerank");
        let row = if new { row_so_far.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        row_so_far.store(row, Ordering::SeqCst);
        (row >= 12).then_some(())
    })
    .await;
    stage
}

#[test]
fn tei_ranks_in_words_of_its_own() {
    run(async {
        let stage = stage(Gateway::shared(Mode::Standalone).await, "text-classification", "tei").await;
        let scores = json!([{"index": 0, "score": 0.25}, {"index": 1, "score": 0.75}]);
        stage.upstream.says(Answer::json(200, &scores));
        let body = json!({"model": stage.router, "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1});
        let reply = stage.client().post("/v1/rerank", &body).send().await;
        let answer = reply.expect(200).json();
        assert_eq!(answer["results"], json!([{"relevance_score": 0.75, "index": 1}]), "{answer}");
        let seen = stage.upstream.seen().pop().unwrap();
        assert_eq!((seen.path.as_str(), &seen.json()["texts"]), ("/rerank", &json!(["a", "b"])));

        let body = json!({"model": stage.router, "prompt": "q", "input": ["a", "b"]});
        let answer = stage.client().post("/v1/rerank", &body).send().await.expect(200).json();
        let expected =
            json!([{"object": "rerank", "score": 0.25, "index": 0}, {"object": "rerank", "score": 0.75, "index": 1}]);
        assert_eq!(answer["data"], expected, "{answer}");

        stage.upstream.says(Answer::json(200, &json!({"index": 0})));
        stage.client().post("/v1/rerank", &body).send().await.expect(502);
        stage.upstream.says(Answer::json(413, &json!({"error": "batch size 9 > 4", "error_type": "Validation"})));
        let reply = stage.client().post("/v1/rerank", &body).send().await;
        assert_eq!(reply.expect(413).json()["error"]["message"], "batch size 9 > 4");
    });
}

#[test]
fn tei_embeds_in_words_of_its_own() {
    run(async {
        let stage = stage(Gateway::shared(Mode::Split).await, "text-embeddings-inference", "tei").await;
        stage.upstream.says(Answer::json(200, &json!([[0.25, -1.0], [0.5, 2.0]])).header("x-compute-tokens", "9"));
        let body = json!({"model": stage.router, "input": ["a", "b"], "truncate": true});
        let answer = stage.client().post("/v1/embeddings", &body).send().await.expect(200).json();
        assert_eq!(answer["data"][1], json!({"object": "embedding", "index": 1, "embedding": [0.5, 2.0]}), "{answer}");
        assert_eq!(answer["usage"], json!({"prompt_tokens": 9, "total_tokens": 9}));
        let seen = stage.upstream.seen().pop().unwrap();
        assert_eq!(seen.path, "/embed");
        assert_eq!(seen.json(), json!({"model": "second-model", "inputs": ["a", "b"], "truncate": true}));
        harness::eventually("the record has the tokens of the header", Duration::from_secs(5), || async {
            let counted = |usage: &Usage| usage.tokens().0 == Some(9) && usage.0["estimated"] == false;
            stage.usage(1).await.iter().any(counted).then_some(())
        })
        .await;
    });
}

#[test]
fn vllm_understands_the_older_words_too() {
    run(async {
        let stage = Stage::set(Gateway::shared(Mode::Split).await, "text-classification").await;
        let ranking =
            json!({"id": "r", "results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 9}});
        stage.upstream.says(Answer::json(200, &ranking));
        let body = json!({"prompt": "q", "input": ["a"], "model": stage.router});
        let answer = stage.client().post("/v1/rerank", &body).send().await.expect(200).json();
        assert_eq!(answer["data"], json!([{"object": "rerank", "score": 0.5, "index": 0}]), "{answer}");
        assert_eq!(stage.upstream.only().json(), json!({"query": "q", "documents": ["a"], "model": UPSTREAM_MODEL}));
        assert_eq!(stage.only_usage().await.tokens().0, Some(9));
    });
}

#[test]
fn mistral_is_asked_by_its_own_names() {
    run(async {
        let stage = stage(Gateway::shared(Mode::Standalone).await, "text-generation", "mistral").await;
        stage.upstream.says(Answer::stream(&["Good", " day"], None));
        let body = json!({"model": stage.router, "messages": [{"role": "user", "content": "x"}], "stream": true, "seed": 7,
            "max_completion_tokens": 5, "stream_options": {"include_usage": true}});
        stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
        let seen = stage.upstream.seen().pop().unwrap();
        assert_eq!(seen.path, "/v1/chat/completions");
        let expected = json!({"model": "second-model", "messages": [{"role": "user", "content": "x"}], "stream": true,
            "random_seed": 7, "max_tokens": 5});
        assert_eq!(seen.json(), expected);
    });
}

#[test]
fn the_mock_does_all_it_may() {
    run(async {
        let gateway = Gateway::shared(Mode::Standalone).await;
        for (router, path, body) in [
            ("text-generation", "/v1/completions", json!({"prompt": "Once"})),
            ("text-generation", "/v1/completions", json!({"prompt": "Once", "stream": true})),
            ("text-classification", "/v1/rerank", json!({"query": "a", "documents": ["a", "b"]})),
            ("text-classification", "/v1/rerank", json!({"prompt": "a", "input": ["a", "b"]})),
        ] {
            let stage = Stage::set(gateway, router).await;
            let admin = stage.admin();
            let provider = json!({"router_id": stage.router_id, "type": "mock", "model_name": "mock", "timeout": 30});
            admin.create("providers", &provider).await;
            admin.remove(&format!("providers/{}", stage.provider_id)).await;
            let mut body: Value = body;
            body["model"] = stage.router.clone().into();
            stage.upstream.says(Answer::error(400, "not yet"));
            harness::eventually("the mock answers", Duration::from_secs(5), || async {
                (stage.client().post(path, &body).send().await.status == 200).then_some(())
            })
            .await;
        }
    });
}
