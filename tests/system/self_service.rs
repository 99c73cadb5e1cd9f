//! What a user does alone: login, keys, profile, usage.

use std::time::Duration;

use harness::admin::number;
use harness::client::{Client, Reply};
use harness::gateway::{Gateway, MASTER_KEY, MODES, Mode};
use harness::stage::Stage;
use harness::{eventually, run, unique};
use serde_json::json;

/// A client of the management surface.
fn management(gateway: &Gateway, key: &str) -> Client {
    Client::new(gateway.admin_url()).bearer(key)
}

async fn login(gateway: &Gateway, email: &str, password: &str) -> Reply {
    let body = json!({"email": email, "password": password});
    Client::new(gateway.admin_url()).post("/v1/auth/login", &body).send().await
}

#[test]
fn login_gives_a_key() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let email = format!("{}@example.test", unique("login"));
        let password = "correct horse battery staple";
        let body = json!({"email": email, "name": "L", "password": password, "role_id": stage.role_id});
        let user = stage.admin().create("users", &body).await;
        assert!(!user.to_string().contains("argon2") && !user.to_string().contains(password), "{user}");

        let reply = login(gateway, &email, password).await;
        assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
        let key = reply.json()["key"].as_str().unwrap().to_owned();
        let client = gateway.client().bearer(&key);
        eventually("the session's key works", Duration::from_secs(2), || async {
            (client.get("/v1/models").send().await.status == 200).then_some(())
        })
        .await;
        let info = management(gateway, &key).get("/v1/me/info").send().await.expect(200).json();
        assert_eq!(info["email"], email, "{info}");

        let again = login(gateway, &email, password).await.json()["key"].as_str().unwrap().to_owned();
        assert_ne!(again, key);
        eventually("the second login replaces the first", Duration::from_secs(2), || async {
            (client.get("/v1/models").send().await.status == 401).then_some(())
        })
        .await;

        let wrong = login(gateway, &email, "wrong").await;
        assert_eq!(wrong.expect(401).json()["detail"], "Invalid email or password.");
        let unknown = login(gateway, "nobody@example.test", "wrong").await;
        assert_eq!(unknown.expect(401).json()["detail"], "Invalid email or password.");
        for body in [json!({}), json!({"email": email}), json!({"email": 5, "password": "x"})] {
            let reply = Client::new(gateway.admin_url()).post("/v1/auth/login", &body).send().await;
            assert!(matches!(reply.status, 400 | 422), "{}: {}", reply.status, reply.text());
        }
    });
}

#[test]
fn the_master_logs_in() {
    run(async {
        let gateway = Gateway::shared(Mode::Standalone).await;
        let reply = login(gateway, "master", MASTER_KEY).await;
        assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
        assert_eq!((&reply.json()["id"], &reply.json()["key"]), (&json!(0), &json!(MASTER_KEY)));
        login(gateway, "master", "wrong").await.expect(401);
    });
}

#[test]
fn keys_of_ones_own() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            let stranger = Stage::chat(gateway).await;
            let own = management(gateway, &stage.key);
            let created = own.post("/v1/me/keys", &json!({"name": "mine"})).send().await.expect(201).json();
            let key = created["key"].as_str().unwrap();
            assert_eq!(created["name"], "mine", "{created}");
            let client = gateway.client().bearer(key);
            eventually("the new key works", Duration::from_secs(2), || async {
                (client.get("/v1/models").send().await.status == 200).then_some(())
            })
            .await;
            let place = format!("/v1/me/keys/{}", number(&created));
            let list = own.get("/v1/me/keys").send().await.expect(200).json();
            assert_eq!(list["data"].as_array().unwrap().len(), 2, "{list}");
            assert!(!list.to_string().contains(key), "{list}");
            own.get(&place).send().await.expect(200);

            let other = management(gateway, &stranger.key);
            other.get(&place).send().await.expect(404);
            other.call("DELETE", &place).send().await.expect(404);
            let foreign = own.post("/v1/me/keys", &json!({"name": "theirs", "user_id": stranger.user_id})).send().await;
            assert!(matches!(foreign.status, 400 | 403 | 422), "{}: {}", foreign.status, foreign.text());

            let removed = own.call("DELETE", &place).send().await;
            assert!(matches!(removed.status, 200 | 204), "{}", removed.text());
            eventually("the removed key is refused", Duration::from_secs(2), || async {
                (client.get("/v1/models").send().await.status == 401).then_some(())
            })
            .await;
        }
    });
}

/// Rights are the intersection with the creator's: a key that may use one router cannot make one that may use more.
#[test]
fn a_narrow_key_makes_narrow_keys() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let narrow = json!({"name": unique("key"), "user_id": stage.user_id, "allowed_routers": []});
        let narrow = stage.admin().create("keys", &narrow).await;
        let own = management(gateway, narrow["value"].as_str().unwrap());
        let reply = own.post("/v1/me/keys", &json!({"name": "wider"})).send().await;
        if reply.status == 403 {
            return;
        }
        let key = reply.expect(201).json()["key"].as_str().unwrap().to_owned();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let reply = gateway.client().bearer(key).post("/v1/chat/completions", &stage.chat_body()).send().await;
        assert_eq!(reply.status, 403, "{}", reply.text());
    });
}

#[test]
fn ones_own_profile() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let admin = stage.admin();
        let email = format!("{}@example.test", unique("me"));
        let password = "the first password";
        let body = json!({"email": email, "name": "Before", "password": password, "role_id": stage.role_id, "budget": 5.5, "priority": 1});
        let user = admin.create("users", &body).await;
        let (_, key) = admin.key(number(&user)).await;
        let own = management(gateway, &key);
        let info = own.get("/v1/me/info").send().await.expect(200).json();
        assert_eq!(
            (&info["object"], &info["email"], &info["name"]),
            (&json!("userInfo"), &json!(email), &json!("Before")),
            "{info}"
        );
        assert_eq!(info["limits"].as_array().unwrap().len(), 4, "{info}");
        assert_eq!(info["budget"], 5.5, "{info}");

        let patch = |body: serde_json::Value| own.call("PATCH", "/v1/me/info").json(&body).send();
        let reply = patch(json!({"name": "After"})).await;
        assert!(matches!(reply.status, 200 | 204), "{}", reply.text());
        for (field, value) in [
            ("budget", json!(9999)),
            ("role_id", json!(1)),
            ("priority", json!(9)),
            ("organization_id", json!(1)),
            ("expires", json!(null)),
        ] {
            let reply = patch(json!({field: value})).await;
            assert!(matches!(reply.status, 400 | 403 | 422), "{field}: {} {}", reply.status, reply.text());
        }
        let read = admin.read(&format!("users/{}", number(&user))).await;
        assert_eq!(
            (&read["name"], &read["budget"], &read["priority"]),
            (&json!("After"), &json!(5.5), &json!(1)),
            "{read}"
        );

        let reply = patch(json!({"password": "the second password"})).await;
        assert!(
            matches!(reply.status, 400 | 401 | 422),
            "a new password needs the current one: {} {}",
            reply.status,
            reply.text()
        );
        let reply = patch(json!({"password": "the second password", "current_password": "wrong"})).await;
        assert!(matches!(reply.status, 400 | 401), "{}: {}", reply.status, reply.text());
        let reply = patch(json!({"password": "the second password", "current_password": password})).await;
        assert!(matches!(reply.status, 200 | 204), "{}: {}", reply.status, reply.text());
        login(gateway, &email, password).await.expect(401);
        assert!(matches!(login(gateway, &email, "the second password").await.status, 200 | 201));
    });
}

#[test]
fn ones_own_usage() {
    run(async {
        for mode in MODES {
            let gateway = Gateway::shared(mode).await;
            let stage = Stage::chat(gateway).await;
            let stranger = Stage::chat(gateway).await;
            for stage in [&stage, &stranger] {
                stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
                stage.usage(1).await;
            }
            let list = management(gateway, &stage.key).get("/v1/me/usage").send().await.expect(200).json();
            assert_eq!((&list["object"], list["data"].as_array().unwrap().len()), (&json!("list"), 1), "{list}");
            let item = &list["data"][0];
            assert_eq!(
                (&item["model"], &item["endpoint"]),
                (&json!(stage.router), &json!("/v1/chat/completions")),
                "{item}"
            );
            assert_eq!(item["usage"]["total_tokens"], 14, "{item}");
            assert!(item["usage"]["cost"].as_f64().is_some_and(|cost| (cost - 0.000_057_5).abs() < 1e-12), "{item}");
            assert!(item["created"].is_i64(), "{item}");
        }
    });
}

#[test]
fn a_disabled_or_expired_user_is_refused() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let place = format!("users/{}", stage.user_id);
        stage.admin().change(&place, &json!({"expires": now + 2})).await;
        let reply = eventually("the user has expired", Duration::from_secs(6), || async {
            let reply = stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await;
            (reply.status != 200).then_some(reply)
        })
        .await;
        let body = reply.expect_error(403, "account_disabled");
        assert_eq!(body["detail"], "Your account has expired. Please contact support to renew your account.", "{body}");
        management(gateway, &stage.key).get("/v1/me/info").send().await.expect(200);
    });
}
