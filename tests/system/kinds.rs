//! What each kind of provider is asked, and forms that are too large for memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::gateway::{Gateway, MODES, Mode};
use harness::run;
use harness::stage::{PROVIDER_KEY, Stage, UPSTREAM_MODEL};
use harness::upstream::Answer;
use serde_json::{Value, json};

/// A stage whose only provider is of this kind.
async fn stage<'a>(gateway: &'a Gateway, router: &str, provider: &str) -> Stage<'a> {
    let stage = Stage::set(gateway, router).await;
    let admin = stage.admin();
    let body = json!({"router_id": stage.router_id, "type": provider, "url": stage.upstream.url(), "key": PROVIDER_KEY,
        "model_name": "second-model", "timeout": 30});
    admin.create("providers", &body).await;
    admin.remove(&format!("providers/{}", stage.provider_id)).await;
    let path = match router {
        "text-classification" => "/v1/rerank",
        "automatic-speech-recognition" => "/v1/audio/transcriptions",
        _ => "/v1/chat/completions",
    };
    // Several answers in a row that come from the new provider show that it is the only one.
    let row_so_far = AtomicUsize::new(0);
    harness::eventually("the new provider is in use", std::time::Duration::from_secs(5), || async {
        stage.upstream.says(Answer::error(400, "not yet"));
        let body = json!({"model": stage.router, "messages": [], "query": "q", "documents": ["a"]});
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

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn form(stage: &Stage<'_>, format: &str, recording: &str) -> harness::client::Call {
    let part =
        |name: &str, text: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let file = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n{recording}\r\n"
    );
    let body = [file, part("model", &stage.router), part("response_format", format), "--b0--\r\n".to_owned()].concat();
    let call = stage.client().call("POST", "/v1/audio/transcriptions");
    call.header("content-type", "multipart/form-data; boundary=b0").bytes(body)
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
fn recordings_larger_than_memory_arrive_whole() {
    run(async {
        for mode in MODES {
            let stage = stage(Gateway::shared(mode).await, "automatic-speech-recognition", "albert").await;
            // A second provider behind the first: what was sent in vain is sent again.
            let body = json!({"router_id": stage.router_id, "type": "openai", "url": stage.upstream.url(), "key": PROVIDER_KEY,
                "model_name": "third-model", "timeout": 30});
            stage.admin().create("providers", &body).await;
            let recording: String = (0..400_000).map(|n| format!("{n:08x}")).collect();
            harness::eventually("both providers were asked", std::time::Duration::from_secs(10), || async {
                let before = stage.upstream.calls();
                stage.upstream.decides(move |_| Answer::error(500, "never"));
                form(&stage, "json", "RIFF").send().await;
                (stage.upstream.calls() - before == 2).then_some(())
            })
            .await;
            let before = stage.upstream.calls();
            let count = AtomicUsize::new(0);
            stage.upstream.decides(move |_| match count.fetch_add(1, Ordering::SeqCst) {
                0 => Answer::error(500, "once"),
                _ => Answer::json(200, &json!({"text": "all of it"})),
            });
            let answer = form(&stage, "json", &recording).send().await;
            assert_eq!(answer.expect(200).json(), json!({"text": "all of it"}));
            let seen = stage.upstream.seen().split_off(before);
            assert_eq!(seen.len(), 2);
            let models: Vec<bool> = seen.iter().map(|seen| contains(&seen.body, b"\r\n\r\nsecond-model\r\n")).collect();
            assert!(
                models.contains(&true) && models.contains(&false),
                "each provider has a name of its own for the model"
            );
            for seen in seen {
                assert!(contains(&seen.body, recording.as_bytes()), "the recording is whole");
                assert!(!contains(&seen.body, stage.router.as_bytes()));
                let length = seen.headers["content-length"].to_str().unwrap();
                assert_eq!(length, seen.body.len().to_string());
            }
        }
    });
}

#[test]
fn speech_as_plain_text() {
    run(async {
        let stage = Stage::set(Gateway::shared(Mode::Split).await, "automatic-speech-recognition").await;
        stage.upstream.says(Answer::bytes(200, "text/plain; charset=utf-8", "Good day to you!\n"));
        let reply = form(&stage, "text", "RIFF").send().await;
        assert_eq!(reply.expect(200).text(), "Good day to you!\n");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        let usage = stage.only_usage().await;
        assert!(usage.tokens().1.is_some_and(|tokens| (3..10).contains(&tokens)), "{usage:?}");
        assert_eq!(usage.0["estimated"], true);

        stage.upstream.says(Answer::bytes(200, "text/html", "<html>"));
        form(&stage, "text", "RIFF").send().await.expect(502);
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
            harness::eventually("the mock answers", std::time::Duration::from_secs(5), || async {
                (stage.client().post(path, &body).send().await.status == 200).then_some(())
            })
            .await;
        }
    });
}
