//! How answers come about and end: other providers, deadlines, clients that leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::gateway::{Gateway, MODES, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::{Answer, End};
use harness::{eventually, run};
use serde_json::{Value, json};

fn streamed(stage: &Stage<'_>) -> Value {
    let mut body = stage.chat_body();
    body["stream"] = true.into();
    body
}

/// A second provider at the same upstream; returns once both are in use.
async fn with_second_provider(stage: &Stage<'_>) {
    let body = json!({"router_id": stage.router_id, "type": "openai", "url": stage.upstream.url(), "key": PROVIDER_KEY,
        "model_name": "second-model", "timeout": 30});
    stage.admin().create("providers", &body).await;
    eventually("both providers are asked", Duration::from_secs(10), || async {
        let before = stage.upstream.calls();
        stage.upstream.says(Answer::error(500, "never"));
        stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
        (stage.upstream.calls() - before == 2).then_some(())
    })
    .await;
}

#[test]
fn another_provider_answers() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            with_second_provider(&stage).await;
            let failures = [
                Answer::error(500, "once"),
                Answer::error(503, "once"),
                Answer::error(429, "once"),
                Answer::error(401, "once"),
                Answer::dead(),
                Answer::bytes(200, "application/json", "{\"id\":"),
            ];
            for failure in failures {
                let before = stage.upstream.calls();
                let (count, first) = (AtomicUsize::new(0), failure.clone());
                stage.upstream.decides(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
                    0 => first.clone(),
                    _ => Answer::proper(seen),
                });
                let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
                assert_eq!(reply.status, 200, "{failure:?}: {}", reply.text());
                let models: Vec<Value> =
                    stage.upstream.seen().split_off(before).iter().map(|seen| seen.json()["model"].clone()).collect();
                assert_eq!(models.len(), 2, "{failure:?}");
                assert_ne!(models[0], models[1], "each provider is asked once, by its own name of the model");
                let id = reply.header("x-gatewright-call-id").to_owned();
                let usage = eventually("the record of this call", Duration::from_secs(5), || async {
                    stage.usage(1).await.into_iter().find(|usage| usage.0["id"] == id.as_str())
                })
                .await;
                assert_eq!(usage.0["outcome"], "completed", "{usage:?}");
            }
        }
    });
}

#[test]
fn a_stream_moves_on_before_its_first_event_and_never_after() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Split).await).await;
        with_second_provider(&stage).await;
        let count = AtomicUsize::new(0);
        stage.upstream.decides(move |seen| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::events([": ping\n\n", "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"]),
            _ => Answer::proper(seen),
        });
        let before = stage.upstream.calls();
        let reply = stage.client().post("/v1/chat/completions", &streamed(&stage)).send().await;
        assert!(reply.expect(200).text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
        assert_eq!(stage.upstream.calls() - before, 2);

        stage.upstream.says(Answer::stream(&["Good"], None).only(1).ending(End::Die));
        let before = stage.upstream.calls();
        let reply = stage.client().post("/v1/chat/completions", &streamed(&stage)).send().await;
        assert!(reply.expect(200).text().contains("upstream_interrupted"), "{}", reply.text());
        assert_eq!(stage.upstream.calls() - before, 1);
    });
}

#[test]
fn a_refusal_is_final() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Standalone).await).await;
        with_second_provider(&stage).await;
        stage.upstream.says(Answer::error(422, "not so"));
        let before = stage.upstream.calls();
        stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(422);
        assert_eq!(stage.upstream.calls() - before, 1);
    });
}

#[test]
fn deadlines_hold() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Split).await).await;
        stage.admin().change(&format!("providers/{}", stage.provider_id), &json!({"timeout": 1})).await;
        stage.upstream.says(Answer::chat("late", 1, 1).after(Duration::from_secs(3600)));
        eventually("the new deadline holds", Duration::from_secs(20), || async {
            let begun = Instant::now();
            let call = stage.client().post("/v1/chat/completions", &stage.chat_body()).send();
            let reply = tokio::time::timeout(Duration::from_secs(3), call).await.ok()?;
            reply.expect_error(504, "upstream_timeout");
            assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
            Some(())
        })
        .await;
        stage.upstream.says(Answer::stream(&["Good", " day"], None).only(1).ending(End::Hang));
        let begun = Instant::now();
        let reply = stage.client().post("/v1/chat/completions", &streamed(&stage)).send().await;
        assert!(begun.elapsed() < Duration::from_secs(3));
        let text = reply.expect(200).text();
        assert!(text.contains("Good") && text.contains("upstream_timeout") && !text.contains("[DONE]"), "{text}");
    });
}

#[test]
fn an_answer_may_be_read_to_its_end_for_nobody() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Standalone).await).await;
        stage.admin().change(&format!("providers/{}", stage.provider_id), &json!({"drain_on_disconnect": true})).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let slow = Answer::stream(&["one ", "two ", "three "], Some((5, 3))).paced(Duration::from_millis(150));
        stage.upstream.says(slow);
        let mut open = stage.client().post("/v1/chat/completions", &streamed(&stage)).open().await;
        assert!(open.event().await.unwrap().contains("one"));
        drop(open);
        let usage = stage.only_usage().await;
        assert_eq!((usage.tokens(), &usage.0["outcome"]), ((Some(5), Some(3)), &json!("cancelled")), "{usage:?}");
        assert!(stage.upstream.only().abandoned.is_none(), "the upstream was heard to its end");

        stage.upstream.says(Answer::chat("late", 7, 2).after(Duration::from_millis(400)));
        let call = stage.client().post("/v1/chat/completions", &stage.chat_body());
        let waiting = tokio::spawn(call.try_send());
        eventually("the call is upstream", Duration::from_secs(5), || async {
            (stage.upstream.calls() == 2).then_some(())
        })
        .await;
        waiting.abort();
        let usage = stage.usage(2).await.remove(0);
        assert_eq!((usage.tokens(), &usage.0["outcome"]), ((Some(7), Some(2)), &json!("cancelled")), "{usage:?}");
    });
}

#[test]
fn what_comes_together_leaves_together() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Split).await).await;
        let events: Vec<String> = (0..500)
            .map(|n| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{n} \"}}}}]}}\n\n"))
            .collect();
        let wire = format!("{}data: [DONE]\n\n", events.concat());
        stage.upstream.says(Answer::events([wire.clone()]));
        let reply = stage.client().post("/v1/chat/completions", &streamed(&stage)).send().await;
        assert_eq!(reply.expect(200).text(), wire);
        let usage = stage.only_usage().await;
        assert!(usage.tokens().1.is_some_and(|tokens| (400..2000).contains(&tokens)), "{usage:?}");
    });
}
