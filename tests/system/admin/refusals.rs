//! What is refused, and how the refusal names it.

use harness::admin::{number, provider_body};
use harness::client::{Client, Reply};
use harness::stage::Stage;
use harness::{run, unique};
use serde_json::{Value, json};

use super::{assert_invalid, gateway, nouns};

#[test]
fn what_is_there_already() {
    run(async {
        let admin = gateway().await.admin();
        let conflict = |reply: &Reply, detail: String| {
            assert_eq!(reply.status, 409, "{}", reply.text());
            assert_eq!(reply.json()["detail"], detail);
        };
        let name = unique("same");
        admin.create("organizations", &json!({"name": name})).await;
        conflict(
            &admin.post("organizations", &json!({"name": name})).await,
            format!("Organization {name} already exists."),
        );
        let role = admin.create("roles", &json!({"name": name})).await;
        conflict(&admin.post("roles", &json!({"name": name})).await, format!("Role {name} already exists."));
        let user = json!({"email": format!("{name}@example.test"), "role_id": role["id"]});
        admin.create("users", &user).await;
        conflict(&admin.post("users", &user).await, format!("User {name}@example.test already exists."));
        let shouted = json!({"email": format!("{}@EXAMPLE.test", name.to_uppercase()), "role_id": role["id"]});
        admin.post("users", &shouted).await.expect(409);

        let alias = unique("alias");
        let router =
            admin.create("routers", &json!({"name": name, "type": "text-generation", "aliases": [alias]})).await;
        conflict(
            &admin.post("routers", &json!({"name": name, "type": "text-generation"})).await,
            format!("Router {name} already exists."),
        );
        for clash in [
            json!({"name": alias, "type": "text-generation"}),
            json!({"name": unique("router"), "type": "text-generation", "aliases": [name]}),
            json!({"name": unique("router"), "type": "text-generation", "aliases": [alias]}),
        ] {
            admin.post("routers", &clash).await.expect(409);
        }
        let provider = provider_body(number(&router), "http://upstream.example.test:9000");
        admin.create("providers", &provider).await;
        conflict(
            &admin.post("providers", &provider).await,
            format!(
                "Model provider upstream-model for url http://upstream.example.test:9000 already exists for router {}.",
                number(&router)
            ),
        );

        let held = number(&role);
        conflict(
            &admin.delete(&format!("roles/{held}")).await,
            format!("Role {held} still has users and cannot be removed."),
        );
        let organization_id = admin.organization().await;
        admin.user(held, Some(organization_id)).await;
        let detail = format!("Organization {organization_id} still has users and cannot be removed.");
        conflict(&admin.delete(&format!("organizations/{organization_id}")).await, detail);
    });
}

#[test]
fn what_is_refused_is_named() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        let (router_id, _) = admin.router("text-generation").await;
        let user = |field: &str, value: Value| {
            let mut body = json!({"email": format!("{}@example.test", unique("u")), "role_id": role_id});
            body[field] = value;
            body
        };
        let router = |field: &str, value: Value| {
            let mut body = json!({"name": unique("router"), "type": "text-generation"});
            body[field] = value;
            body
        };
        let provider = |field: &str, value: Value| {
            let mut body = provider_body(router_id, "http://upstream.example.test");
            body[field] = value;
            body
        };
        let cases = [
            ("organizations", json!({}), "name"),
            ("organizations", json!({"name": ""}), "name"),
            ("organizations", json!({"name": 5}), "name"),
            ("organizations", json!({"name": "a\u{0}b"}), "name"),
            ("organizations", json!({"name": "n".repeat(256)}), "name"),
            ("roles", json!({"name": unique("role"), "permissions": ["fly"]}), "permissions"),
            (
                "roles",
                json!({"name": unique("role"), "limits": [{"router_id": router_id, "type": "rpw", "value": 1}]}),
                "type",
            ),
            (
                "roles",
                json!({"name": unique("role"), "limits": [{"router_id": router_id, "type": "rpm", "value": -1}]}),
                "value",
            ),
            (
                "roles",
                json!({"name": unique("role"), "limits": [{"router_id": router_id, "type": "rpm", "value": 1}, {"router_id": router_id, "type": "rpm", "value": 2}]}),
                "limits",
            ),
            ("users", user("email", json!("not an address")), "email"),
            ("users", user("expires", json!(1000)), "expires"),
            ("users", user("budget", json!(-1)), "budget"),
            ("users", user("budget", json!("lots")), "budget"),
            ("users", user("priority", json!(-1)), "priority"),
            ("users", user("password", json!("p".repeat(5000))), "password"),
            ("routers", router("type", json!("poetry")), "type"),
            ("routers", router("aliases", json!([""])), "aliases"),
            ("routers", router("aliases", json!(["a".repeat(65)])), "aliases"),
            ("routers", router("load_balancing_strategy", json!("luck")), "load_balancing_strategy"),
            ("routers", router("cost_prompt_tokens", json!(-0.1)), "cost_prompt_tokens"),
            ("routers", router("cost_prompt_tokens", json!("free")), "cost_prompt_tokens"),
            ("providers", provider("type", json!("pigeon")), "type"),
            ("providers", provider("timeout", json!(0)), "timeout"),
            ("providers", provider("timeout", json!(3601)), "timeout"),
            ("providers", provider("model_name", json!("")), "model_name"),
            ("providers", provider("url", json!("ftp://upstream.example.test")), "url"),
            ("providers", provider("url", json!("file:///etc/passwd")), "url"),
            ("providers", provider("url", json!("http://user:pass@upstream.example.test")), "url"),
            ("providers", provider("url", json!("http://upstream.example.test/?a=b")), "url"),
            ("providers", provider("url", json!("http://169.254.169.254")), "url"),
            ("providers", provider("url", json!("http://[fe80::1]")), "url"),
            ("providers", provider("url", json!("http://[::ffff:169.254.169.254]")), "url"),
            ("providers", provider("url", json!("http://2852039166")), "url"),
            ("providers", provider("url", json!("http://metadata.google.internal")), "url"),
            ("providers", provider("url", json!("")), "url"),
        ];
        for (nouns, body, field) in cases {
            let reply = admin.post(nouns, &body).await;
            assert!(matches!(reply.status, 400 | 422), "POST {nouns} {body}: {} {}", reply.status, reply.text());
            assert_invalid(&reply, field);
        }
    });
}

#[test]
fn unknown_and_forbidden_fields() {
    run(async {
        let admin = gateway().await.admin();
        for noun in nouns(&admin).await {
            let mut body = noun.body.clone();
            body["surprise_field"] = 1.into();
            let reply = admin.post(noun.nouns, &body).await;
            let error = reply.expect(400).json();
            assert_eq!(error["error"]["code"], "unknown_field", "{error}");
            assert_eq!(error["error"]["param"], "surprise_field", "{error}");

            let mut body = noun.body.clone();
            body["id"] = 5.into();
            let error = admin.post(noun.nouns, &body).await.expect(400).json();
            assert!(matches!(error["error"]["code"].as_str(), Some("forbidden_field" | "unknown_field")), "{error}");
            assert_eq!(error["error"]["param"], "id", "{error}");
        }
    });
}

#[test]
fn broken_bodies() {
    run(async {
        let admin = gateway().await.admin();
        let bodies: [&[u8]; 8] = [
            b"",
            b"{",
            b"null",
            b"[]",
            b"\"x\"",
            b"{\"name\":\"a\",\"name\":\"b\"}",
            b"{\"name\":\"\xff\"}",
            b"{\"name\":\"a\"} trailing",
        ];
        for body in bodies {
            let reply = admin.call("POST", "organizations").bytes(body.to_vec()).send().await;
            assert!(
                matches!(reply.status, 400 | 422),
                "{}: {} {}",
                String::from_utf8_lossy(body),
                reply.status,
                reply.text()
            );
            assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
        }
        let huge = json!({"name": "x".repeat(2 * 1024 * 1024)});
        admin.post("organizations", &huge).await.expect(413);
        let reply = admin.get("nothing-here").await;
        assert!(reply.expect(404).json().get("detail").is_some());
        let reply = admin.call("DELETE", "organizations").send().await;
        assert!(!reply.expect(405).header("allow").is_empty());
        for id in ["x", "-1", "99999999999999999999", "%00", "1%2f2"] {
            let reply = admin.get(&format!("routers/{id}")).await;
            assert!(matches!(reply.status, 400 | 404 | 422), "{id}: {} {}", reply.status, reply.text());
        }
    });
}

#[test]
fn only_administrators() {
    run(async {
        let gateway = gateway().await;
        let stage = Stage::chat(gateway).await;
        let caller = gateway.admin().with_key(&stage.key);
        let nobody = Client::new(gateway.admin_url());
        for noun in
            ["organizations", "roles", "users", "keys", "routers", "providers", "audit", "usage", "fleet", "tokens"]
        {
            let reply = caller.get(noun).await;
            assert_eq!(reply.status, 403, "{noun}: {}", reply.text());
            assert!(reply.json()["detail"].is_string(), "{}", reply.text());
            let reply = nobody.get(&format!("/v1/admin/{noun}")).send().await;
            assert_eq!(reply.status, 401, "{noun}: {}", reply.text());
            assert_eq!(reply.json()["detail"], "Not authenticated");
            assert_eq!(reply.header("www-authenticate").split(' ').next(), Some("Bearer"));
            let reply = nobody.bearer("sk-wrong").get(&format!("/v1/admin/{noun}")).send().await;
            assert_eq!(reply.expect(401).json()["detail"], "Invalid API key.");
        }
        let body = json!({"name": unique("organization")});
        caller.post("organizations", &body).await.expect(403);
        caller.patch(&format!("users/{}", stage.user_id), &json!({"priority": 9})).await.expect(403);
        caller.post("fleet/join-tokens", &json!({"name": "x"})).await.expect(403);

        // A role with the permission may do what the master may.
        let role_id = stage.admin().role(&["admin"], &[]).await;
        let user_id = stage.admin().user(role_id, None).await;
        let (_, key) = stage.admin().key(user_id).await;
        let operator = gateway.admin().with_key(&key);
        operator.create("organizations", &body).await;
        let (router_id, _) = operator.router("text-generation").await;
        assert_eq!(operator.read(&format!("routers/{router_id}")).await["user_id"], user_id);
        operator.delete(&format!("users/{user_id}")).await.expect(409);
    });
}

#[test]
fn a_join_token_is_no_key() {
    run(async {
        let gateway = gateway().await;
        let token = harness::gateway::join_token(gateway.admin_url()).await;
        gateway.admin().with_key(&token).get("users").await.expect(401);
        gateway.client().bearer(&token).get("/v1/models").send().await.expect(401);
    });
}
