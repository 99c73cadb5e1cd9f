//! What the caller wrote arrives upstream as it was written, and what the upstream wrote arrives at the caller.

use harness::gateway::{Gateway, MODES};
use harness::run;
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::Answer;

/// A body that a parser and printer of JSON would not give back: spaces, escapes, order, numbers.
fn odd_body(router: &str) -> String {
    format!(
        "{{ \"zeta\":1.0e+2,\t\"messages\": [ {{\"role\":\"user\" , \"content\":\"caf\\u00e9 \\/ 😀\"}} ],\n  \
         \"unknown_object\": {{\"model\":\"inner\",\"deep\":[[[[{{\"a\":null}}]]]]}}, \"model\" : \"{router}\" ,\"big\":12345678901234567890123,\
         \"seed\":0.10000000000000000555, \"alpha\": \"\\ud83d\\ude00\"  }}  "
    )
}

#[test]
fn request_bytes() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            let body = odd_body(&stage.router);
            stage.client().call("POST", "/v1/chat/completions").bytes(body.clone()).send().await.expect(200);
            let expected = body.replace(&format!("\"{}\"", stage.router), "\"upstream-model\"");
            assert_eq!(
                String::from_utf8_lossy(&stage.upstream.only().body),
                expected,
                "only the model's name is replaced ({mode:?})"
            );
        }
    });
}

#[test]
fn aliases_are_replaced_too() {
    run(async {
        let gateway = Gateway::shared(harness::gateway::Mode::Standalone).await;
        let stage = Stage::chat(gateway).await;
        let alias = harness::unique("alias");
        let place = format!("routers/{}", stage.router_id);
        stage.admin().change(&place, &serde_json::json!({"aliases": [alias]})).await;
        let path = format!("/v1/models/{alias}");
        harness::eventually("the alias is known", std::time::Duration::from_secs(2), || async {
            (stage.client().get(&path).send().await.status == 200).then_some(())
        })
        .await;
        let body = odd_body(&alias);
        stage.client().call("POST", "/v1/chat/completions").bytes(body.clone()).send().await.expect(200);
        assert_eq!(String::from_utf8_lossy(&stage.upstream.only().body), body.replace(&alias, "upstream-model"));
    });
}

#[test]
fn stream_options() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            // What the caller writes, and what it becomes: usage is always asked for, everything else stays.
            let cases = [
                ("\"stream\":true", None),
                ("\"stream\":true,\"stream_options\":{\"include_usage\":false}", Some(false)),
                ("\"stream\":true,\"stream_options\":null", None),
                ("\"stream\":true,\"stream_options\":{\"other\": 1}", None),
                ("\"stream\":true,\"stream_options\":{\"include_usage\":true}", Some(true)),
            ];
            for (options, asked) in cases {
                let stage = Stage::chat(gateway).await;
                let body = format!(
                    "{{\"model\":\"{}\", {options}, \"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}",
                    stage.router
                );
                let reply = stage.client().call("POST", "/v1/chat/completions").bytes(body).send().await;
                reply.expect(200);
                let seen = stage.upstream.only().json();
                assert_eq!(seen["stream_options"]["include_usage"], true, "{options}: {seen}");
                assert_eq!(seen["messages"][0]["content"], "x");
                if options.contains("other") {
                    assert_eq!(seen["stream_options"]["other"], 1, "{seen}");
                }
                let shown = reply.text().contains("\"usage\":{");
                assert_eq!(
                    shown,
                    asked == Some(true),
                    "{options}: a usage chunk that was not asked for is hidden: {}",
                    reply.text()
                );
                assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
                assert_eq!(stage.only_usage().await.tokens(), (Some(11), Some(3)));
            }
        }
    });
}

#[test]
fn response_bytes() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let odd = "{ \"id\" : \"x\",\n\"choices\":[ {\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"caf\\u00e9\"}}],\
                \"usage\":{ \"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12,\"new_counter\":1e2 }, \"vendor\":{\"big\":12345678901234567890} }\n\n";
            let stage = Stage::chat(gateway).await;
            stage.upstream.says(
                Answer::bytes(200, "application/json", odd)
                    .header("x-upstream-secret", "inner")
                    .header("set-cookie", "a=b"),
            );
            let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            reply.expect(200);
            assert_eq!(reply.text(), odd);
            assert_eq!(reply.header("x-upstream-secret"), "", "an upstream's own headers stay behind");
            assert_eq!(reply.header("set-cookie"), "");
            assert_eq!(stage.only_usage().await.tokens(), (Some(5), Some(7)));
        }
    });
}

#[test]
fn event_bytes() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            // Comments, ids, event names, CRLF, a field without a space, several data lines, pieces cut anywhere.
            let wire = ": welcome\n\nid: 1\nevent: chunk\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"caf\\u00e9 é\"}}]}\n\n\
                data: {\"choices\":[{\"index\":0,\n\
                data: \"delta\":{\"content\":\"two lines\"}}]}\n\n\
                data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}}\n\ndata: [DONE]\n\n";
            let pieces: Vec<Vec<u8>> = wire.as_bytes().chunks(17).map(<[u8]>::to_vec).collect();
            stage.upstream.says(Answer::events(pieces).paced(std::time::Duration::from_millis(2)));
            let mut body = stage.chat_body();
            body["stream"] = true.into();
            body["stream_options"] = serde_json::json!({"include_usage": true});
            let reply = stage.client().post("/v1/chat/completions", &body).send().await;
            reply.expect(200);
            assert_eq!(reply.text(), wire);
            assert!(reply.header("content-type").starts_with("text/event-stream"));
            assert_eq!(stage.only_usage().await.tokens(), (Some(9), Some(4)));
        }
    });
}

#[test]
fn request_headers() {
    run(async {
        let gateway = Gateway::shared(harness::gateway::Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let call = stage.client().post("/v1/chat/completions", &stage.chat_body());
        let call = call
            .header("cookie", "session=caller")
            .header("x-forwarded-for", "10.1.2.3")
            .header("forwarded", "for=10.1.2.3")
            .header("x-api-key", &stage.key)
            .header("x-gatewright-anything", "1")
            .header("proxy-authorization", "Basic eDp5")
            .header("te", "trailers")
            .header("openai-organization", "org-of-the-caller");
        call.send().await.expect(200);
        let seen = stage.upstream.only();
        for kept_back in [
            "cookie",
            "x-forwarded-for",
            "forwarded",
            "x-api-key",
            "x-gatewright-anything",
            "proxy-authorization",
            "te",
        ] {
            assert!(!seen.headers.contains_key(kept_back), "{kept_back} went upstream: {:?}", seen.headers);
        }
        assert_eq!(seen.headers["authorization"].to_str().unwrap(), format!("Bearer {PROVIDER_KEY}"));
        assert_eq!(seen.headers["content-type"], "application/json");
    });
}
