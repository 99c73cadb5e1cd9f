//! A change made through the admin API is enforced within a second, whole, and survives the loss of the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::admin::{provider_body, unlimited};
use harness::client::Client;
use harness::gateway::{ENFORCED_WITHIN, Gateway, MODES, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::upstream::{Answer, Upstream};
use harness::{eventually, run};
use serde_json::json;

/// Calls until the status is the expected one, which must be within a second of the change.
async fn enforced(what: &str, client: &Client, body: &serde_json::Value, status: u16) {
    let changed = Instant::now();
    loop {
        let reply = client.post("/v1/chat/completions", body).send().await;
        if reply.status == status {
            return;
        }
        let passed = changed.elapsed();
        assert!(passed < ENFORCED_WITHIN, "{what}: still {} after {passed:?}: {}", reply.status, reply.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_revoked_key_is_refused() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let body = stage.chat_body();
            stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
            stage.admin().remove(&format!("keys/{}", stage.key_id)).await;
            enforced("a removed key", &stage.client(), &body, 401).await;
        }
    });
}

#[test]
fn rights_follow_the_role() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let admin = stage.admin();
            let role = format!("roles/{}", stage.role_id);
            let body = stage.chat_body();
            let mut limits = unlimited(stage.router_id);
            limits[2]["value"] = 0.into();
            admin.change(&role, &json!({"limits": limits})).await;
            enforced("a limit of zero", &stage.client(), &body, 403).await;
            admin.change(&role, &json!({"limits": unlimited(stage.router_id)})).await;
            enforced("four open limits", &stage.client(), &body, 200).await;
            admin.change(&role, &json!({"limits": &unlimited(stage.router_id)[..3]})).await;
            enforced("a missing limit", &stage.client(), &body, 403).await;
            admin.change(&role, &json!({"all_routers": true})).await;
            enforced("a role with all routers", &stage.client(), &body, 200).await;
            admin.change(&format!("keys/{}", stage.key_id), &json!({"allowed_routers": []})).await;
            enforced("a key without any router", &stage.client(), &body, 403).await;
            admin.change(&format!("keys/{}", stage.key_id), &json!({"allowed_routers": [stage.router_id]})).await;
            enforced("a key with this router", &stage.client(), &body, 200).await;
        }
    });
}

#[test]
fn a_router_comes_and_goes() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let admin = stage.admin();
            let (router_id, name) = admin.router("text-generation").await;
            let provider_id = admin.provider(router_id, stage.upstream.url()).await;
            let mut limits = unlimited(stage.router_id);
            limits.extend(unlimited(router_id));
            admin.change(&format!("roles/{}", stage.role_id), &json!({"limits": limits})).await;
            let mut body = stage.chat_body();
            body["model"] = name.as_str().into();
            enforced("a new router", &stage.client(), &body, 200).await;
            assert!(models(&stage.client()).await.contains(&name));

            let renamed = harness::unique("renamed");
            admin.change(&format!("routers/{router_id}"), &json!({"name": renamed})).await;
            enforced("the old name", &stage.client(), &body, 404).await;
            body["model"] = renamed.as_str().into();
            enforced("the new name", &stage.client(), &body, 200).await;

            admin.remove(&format!("providers/{provider_id}")).await;
            eventually("a router without a provider is not listed", ENFORCED_WITHIN, || async {
                (!models(&stage.client()).await.contains(&renamed)).then_some(())
            })
            .await;
            admin.remove(&format!("routers/{router_id}")).await;
            enforced("a removed router", &stage.client(), &body, 404).await;
        }
    });
}

/// The models that this caller may use.
async fn models(client: &Client) -> Vec<String> {
    let list = client.get("/v1/models").send().await;
    list.expect(200);
    let list = list.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn models_are_what_a_call_may_use() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            let other = Stage::chat(gateway).await;
            assert_eq!(models(&stage.client()).await, std::slice::from_ref(&stage.router));
            let one = stage.client().get(&format!("/v1/models/{}", stage.router)).send().await;
            let one = one.expect(200).json();
            assert_eq!(one["object"], "model", "{one}");
            assert_eq!(one["id"], stage.router, "{one}");
            assert_eq!(one["type"], "text-generation", "{one}");
            assert!(one["aliases"].as_array().is_some_and(Vec::is_empty), "{one}");
            assert!(one["created"].as_i64().is_some_and(|created| created > 1_600_000_000), "{one}");
            assert_eq!(one["costs"]["prompt_tokens"], 2.5, "{one}");
            stage.client().get(&format!("/v1/models/{}", other.router)).send().await.expect(404);
            gateway.client().get("/v1/models").send().await.expect(401);
            gateway.client().get("/health").send().await.expect(200);
        }
    });
}

/// Under load from several callers, a provider's address and credential change together, again and again.
#[test]
fn no_request_sees_half_a_change() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let sides = [("sk-side-one", Upstream::start().await), ("sk-side-two", Upstream::start().await)];
            for (credential, upstream) in &sides {
                let expected = format!("Bearer {credential}");
                upstream.decides(move |seen| {
                    let fits = seen.headers.get("authorization").is_some_and(|value| value == expected.as_str());
                    if fits { Answer::proper(seen) } else { Answer::error(418, "half a change") }
                });
            }
            let place = format!("providers/{}", stage.provider_id);
            let ending = Arc::new(AtomicBool::new(false));
            let served = Arc::new(AtomicUsize::new(0));
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let (client, body) = (stage.client(), stage.chat_body());
                    let (ending, served) = (ending.clone(), served.clone());
                    tokio::spawn(async move {
                        while !ending.load(Ordering::Relaxed) {
                            let reply = client.post("/v1/chat/completions", &body).send().await;
                            assert_eq!(reply.status, 200, "{}", reply.text());
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            for turn in 0..12 {
                let (credential, upstream) = &sides[turn % 2];
                stage.admin().change(&place, &json!({"url": upstream.url(), "key": credential})).await;
                // Whole, not soon, is the point here: the callers keep every core busy.
                eventually("the change is in force", 5 * ENFORCED_WITHIN, || async {
                    (upstream.calls() > turn / 2).then_some(())
                })
                .await;
            }
            ending.store(true, Ordering::Relaxed);
            for caller in callers {
                caller.await.expect("no call fails while the provider changes");
            }
            assert!(served.load(Ordering::Relaxed) > 24, "there was load");
            assert!(sides.iter().all(|(_, upstream)| upstream.calls() > 0));
        }
    });
}

#[test]
fn a_provider_moves() {
    run(async {
        for mode in MODES {
            let stage = Stage::chat(Gateway::shared(mode).await).await;
            let elsewhere = Upstream::start().await;
            let change = json!({"url": elsewhere.url(), "key": PROVIDER_KEY, "model_name": "moved-model"});
            stage.admin().change(&format!("providers/{}", stage.provider_id), &change).await;
            eventually("calls go to the new address", ENFORCED_WITHIN, || async {
                stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
                (elsewhere.calls() > 0).then_some(())
            })
            .await;
            assert_eq!(elsewhere.seen()[0].json()["model"], "moved-model");
        }
    });
}

#[test]
fn two_providers_share_the_calls_and_one_may_fail() {
    run(async {
        let stage = Stage::chat(Gateway::shared(Mode::Split).await).await;
        let second = Upstream::start().await;
        stage.admin().create("providers", &provider_body(stage.router_id, second.url())).await;
        eventually("both are called", Duration::from_secs(5), || async {
            stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
            (second.calls() > 0 && stage.upstream.calls() > 0).then_some(())
        })
        .await;
        second.says(Answer::dead());
        for _ in 0..12 {
            let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            reply.expect(200);
        }
    });
}

#[test]
fn the_data_plane_outlives_its_control_plane() {
    run(async {
        let gateway = Gateway::split().await;
        let stage = Stage::chat(&gateway).await;
        let body = stage.chat_body();
        stage.client().post("/v1/chat/completions", &body).send().await.expect(200);

        gateway.kill_control_plane();
        let until = Instant::now() + Duration::from_secs(3);
        let mut served = 0;
        while Instant::now() < until {
            stage.client().post("/v1/chat/completions", &body).send().await.expect(200);
            served += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ready = Client::new(&gateway.operations_urls()[0]).get("/readyz").send().await;
        assert_eq!(ready.status, 200, "a node with a table stays ready: {}", ready.text());

        gateway.restart_control_plane().await;
        // Everything that was served in between arrives; nothing twice.
        let records = eventually("the usage of the outage", Duration::from_secs(15), || async {
            let list = gateway.admin().read(&format!("usage?user_id={}&limit=1", stage.user_id)).await;
            (list["total"].as_u64() >= Some(served + 1)).then(|| list["total"].as_u64())
        })
        .await;
        assert_eq!(records, Some(served + 1));
        stage.admin().remove(&format!("keys/{}", stage.key_id)).await;
        eventually("changes flow again", Duration::from_secs(10), || async {
            (stage.client().post("/v1/chat/completions", &body).send().await.status == 401).then_some(())
        })
        .await;
    });
}
