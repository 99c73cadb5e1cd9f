//! The admin API: every noun, every verb, and what it refuses.

use harness::admin::{Admin, number, provider_body, unlimited};
use harness::client::{Client, Reply};
use harness::gateway::{Gateway, Mode};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::{run, unique};
use serde_json::{Value, json};

async fn gateway() -> &'static Gateway {
    Gateway::shared(Mode::Split).await
}

/// One noun of the admin API.
struct Noun {
    /// Its path.
    nouns: &'static str,
    /// The word in `object`.
    object: &'static str,
    /// What to create.
    body: Value,
    /// A change of one field.
    change: Value,
    /// All that PUT needs, with other values.
    replacement: Value,
    /// Fields every object has.
    fields: &'static [&'static str],
    /// `detail` of a 404, with the id put in.
    missing: &'static str,
}

async fn nouns(admin: &Admin) -> Vec<Noun> {
    let (router_id, _) = admin.router("text-generation").await;
    let role_id = admin.role(&[], &[]).await;
    let organization_id = admin.organization().await;
    let user_id = admin.user(role_id, None).await;
    let url = "http://upstream.example.test:8000";
    vec![
        Noun {
            nouns: "organizations",
            object: "organization",
            body: json!({"name": unique("organization")}),
            change: json!({"name": unique("organization")}),
            replacement: json!({"name": unique("organization")}),
            fields: &["id", "name", "users", "created", "updated"],
            missing: "Organization {id} not found.",
        },
        Noun {
            nouns: "roles",
            object: "role",
            body: json!({"name": unique("role"), "permissions": ["read_metric"], "limits": unlimited(router_id)}),
            change: json!({"permissions": []}),
            replacement: json!({"name": unique("role"), "permissions": ["admin"], "limits": [], "all_routers": true}),
            fields: &["id", "name", "permissions", "limits", "all_routers", "users", "created", "updated"],
            missing: "Role {id} not found.",
        },
        Noun {
            nouns: "users",
            object: "user",
            body: json!({"email": format!("{}@example.test", unique("u")), "name": "One", "role_id": role_id,
                "organization_id": organization_id, "priority": 2, "budget": 12.5}),
            change: json!({"name": "Two"}),
            replacement: json!({"email": format!("{}@example.test", unique("u")), "name": "Three", "role_id": role_id,
                "organization_id": null, "budget": null, "expires": null, "priority": 0}),
            fields: &[
                "id",
                "email",
                "name",
                "sub",
                "iss",
                "role_id",
                "organization_id",
                "budget",
                "expires",
                "created",
                "updated",
                "priority",
            ],
            missing: "User {id} not found.",
        },
        Noun {
            nouns: "keys",
            object: "key",
            body: json!({"name": unique("key"), "user_id": user_id, "allowed_routers": [router_id]}),
            change: json!({"name": unique("key")}),
            replacement: json!({"name": unique("key"), "user_id": user_id, "expires": null, "allowed_routers": null}),
            fields: &["id", "name", "value", "user_id", "expires", "created", "allowed_routers"],
            missing: "Key {id} not found.",
        },
        Noun {
            nouns: "routers",
            object: "router",
            body: json!({"name": unique("router"), "type": "text-generation", "aliases": [unique("alias")],
                "load_balancing_strategy": "least_busy", "cost_prompt_tokens": 0.1, "cost_completion_tokens": 0.3}),
            change: json!({"cost_prompt_tokens": 0.2}),
            replacement: json!({"name": unique("router"), "type": "text-generation", "aliases": [],
                "load_balancing_strategy": "shuffle", "cost_prompt_tokens": 0, "cost_completion_tokens": 0}),
            fields: &[
                "id",
                "name",
                "user_id",
                "type",
                "aliases",
                "load_balancing_strategy",
                "vector_size",
                "max_context_length",
                "cost_prompt_tokens",
                "cost_completion_tokens",
                "providers",
                "created",
                "updated",
            ],
            missing: "Model router {id} not found.",
        },
        Noun {
            nouns: "providers",
            object: "provider",
            body: provider_body(router_id, url),
            change: json!({"timeout": 45}),
            replacement: json!({"router_id": router_id, "type": "vllm", "url": url, "key": "sk-other", "timeout": 60, "model_name": unique("m")}),
            fields: &["id", "router_id", "user_id", "type", "url", "timeout", "model_name", "created", "updated"],
            missing: "Model provider {id} not found.",
        },
    ]
}

#[test]
fn every_noun_and_every_verb() {
    run(async {
        let admin = gateway().await.admin();
        for noun in nouns(&admin).await {
            one_noun(&admin, &noun).await;
        }
    });
}

async fn one_noun(admin: &Admin, noun: &Noun) {
    let created = admin.create(noun.nouns, &noun.body).await;
    assert_eq!(created["object"], noun.object, "{created}");
    for field in noun.fields {
        assert!(created.get(field).is_some(), "{field} is missing: {created}");
    }
    let place = format!("{}/{}", noun.nouns, number(&created));
    let read = admin.read(&place).await;
    assert_same_but(&created, &read, &["value"]);

    let list = admin.read(&format!("{}?limit=100&sort_by=id&sort_order=desc", noun.nouns)).await;
    assert_eq!((&list["object"], &list["offset"], &list["limit"]), (&json!("list"), &json!(0), &json!(100)), "{list}");
    assert!(list["total"].as_u64().unwrap() >= 1);
    assert!(list["data"].as_array().unwrap().iter().any(|item| item["id"] == created["id"]), "{list}");

    let changed = admin.change(&place, &noun.change).await;
    for (field, value) in noun.change.as_object().unwrap() {
        assert_eq!(&changed[field], value, "{changed}");
    }
    let touched: Vec<&str> = noun.change.as_object().unwrap().keys().map(String::as_str).chain(["updated"]).collect();
    assert_same_but(&read, &changed, &touched);

    let reply = admin.put(&place, &noun.replacement).await;
    let replaced = reply.expect(200).json();
    for (field, value) in noun.replacement.as_object().unwrap() {
        if field != "key" {
            assert!(same(&replaced[field], value), "{field}: {replaced}");
        }
    }
    let removed = admin.remove(&place).await;
    assert_eq!(removed["id"], created["id"], "{removed}");
    let gone = admin.get(&place).await;
    gone.expect(404);
    assert_eq!(gone.json()["detail"], noun.missing.replace("{id}", &number(&created).to_string()));
    admin.patch(&place, &noun.change).await.expect(404);
    admin.put(&place, &noun.replacement).await.expect(404);
    admin.delete(&place).await.expect(404);
}

/// Equal, where 0 and 0.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    left == right || left.as_f64().is_some_and(|left| right.as_f64() == Some(left))
}

#[track_caller]
fn assert_same_but(left: &Value, right: &Value, but: &[&str]) {
    let strip = |object: &Value| {
        let mut object = object.as_object().unwrap().clone();
        object.retain(|field, _| !but.contains(&field.as_str()));
        object
    };
    assert_eq!(strip(left), strip(right));
}

#[test]
fn lists_are_paged_and_sorted() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        let mut users = Vec::new();
        for _ in 0..5 {
            users.push(admin.user(role_id, None).await);
        }
        let ids = |list: Value| -> Vec<i64> { list["data"].as_array().unwrap().iter().map(number).collect() };
        let place = format!("users?role={role_id}");
        let first = admin.read(&format!("{place}&limit=2")).await;
        assert_eq!((&first["total"], &first["limit"], &first["offset"]), (&json!(5), &json!(2), &json!(0)), "{first}");
        assert_eq!(ids(first), users[..2]);
        assert_eq!(ids(admin.read(&format!("{place}&offset=4&limit=2")).await), users[4..]);
        let descending: Vec<i64> = users.iter().rev().copied().collect();
        assert_eq!(ids(admin.read(&format!("{place}&sort_by=id&sort_order=desc")).await), descending);
        assert_eq!(
            ids(admin.read(&format!("{place}&order_by=id&order_direction=desc")).await),
            descending,
            "the older words"
        );
        for bad in ["limit=0", "limit=101", "limit=x", "offset=-1", "sort_by=password", "sort_order=up"] {
            let reply = admin.get(&format!("users?{bad}")).await;
            assert!(matches!(reply.status, 400 | 422), "{bad}: {} {}", reply.status, reply.text());
        }
    });
}

#[test]
fn searches_are_literal() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        admin.user(role_id, None).await;
        for needle in ["%25%25%25%25", "%5C", "%25_%25", &"x".repeat(10_000), "'%3B--"] {
            let start = std::time::Instant::now();
            let reply = admin.get(&format!("users?email={needle}")).await;
            assert!(matches!(reply.status, 200 | 400 | 414 | 422 | 431), "{}: {}", reply.status, reply.text());
            if reply.status == 200 {
                assert_eq!(reply.json()["total"], 0, "{needle} is no pattern: {}", reply.text());
            }
            assert!(start.elapsed() < std::time::Duration::from_secs(1));
        }
    });
}

#[test]
fn absent_null_and_value() {
    run(async {
        let admin = gateway().await.admin();
        let role_id = admin.role(&[], &[]).await;
        let organization_id = admin.organization().await;
        let expires = 4_000_000_000_i64;
        let email = format!("{}@example.test", unique("u"));
        let body = json!({"email": email, "name": "N", "role_id": role_id, "organization_id": organization_id,
            "budget": 3.25, "expires": expires, "priority": 3});
        let place = format!("users/{}", number(&admin.create("users", &body).await));
        let kept = admin.change(&place, &json!({"name": "M"})).await;
        assert_eq!(
            (&kept["budget"], &kept["expires"], &kept["organization_id"]),
            (&json!(3.25), &json!(expires), &json!(organization_id))
        );
        let cleared = admin.change(&place, &json!({"budget": null, "expires": null, "organization_id": null})).await;
        assert_eq!(
            (&cleared["budget"], &cleared["expires"], &cleared["organization_id"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!((&cleared["priority"], &cleared["name"]), (&json!(3), &json!("M")));
        let refused = admin.patch(&place, &json!({"role_id": null})).await;
        assert_invalid(&refused, "role_id");
        let unchanged = admin.change(&place, &json!({})).await;
        assert_eq!(unchanged["name"], "M");
    });
}

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

/// A refusal that names the field to both families of clients.
#[track_caller]
fn assert_invalid(reply: &Reply, field: &str) {
    assert!(matches!(reply.status, 400 | 422), "{}: {}", reply.status, reply.text());
    let body = reply.json();
    assert!(body.to_string().contains(field), "{field} is not named: {body}");
    assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
    assert!(body.get("detail").is_some(), "{body}");
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

#[test]
fn creating_twice_with_one_idempotency_key() {
    run(async {
        let admin = gateway().await.admin();
        let body = json!({"name": unique("organization")});
        let token = unique("idempotency");
        let send =
            |body: Value| admin.call("POST", "organizations").header("idempotency-key", &token).json(&body).send();
        let first = send(body.clone()).await;
        first.expect(201);
        let second = send(body.clone()).await;
        second.expect(201);
        assert_eq!(first.json(), second.json(), "the second answer is the first again");
        let other = send(json!({"name": unique("organization")})).await;
        assert!(matches!(other.status, 409 | 422), "{}: {}", other.status, other.text());
        // A key is shown once, but the same request asked again must not make a second one.
        let role_id = admin.role(&[], &[]).await;
        let user_id = admin.user(role_id, None).await;
        let body = json!({"name": unique("key"), "user_id": user_id});
        let token = unique("idempotency");
        for _ in 0..2 {
            admin.call("POST", "keys").header("idempotency-key", &token).json(&body).send().await.expect(201);
        }
        let keys = admin.read("keys?limit=100&sort_order=desc").await;
        let of_user = keys["data"].as_array().unwrap().iter().filter(|key| key["user_id"] == user_id).count();
        assert_eq!(of_user, 1, "{keys}");
    });
}

#[test]
fn a_stale_version_is_refused() {
    run(async {
        let admin = gateway().await.admin();
        let (router_id, _) = admin.router("text-generation").await;
        let place = format!("routers/{router_id}");
        let seen = admin.get(&place).await;
        let tag = seen.header("etag").to_owned();
        assert!(!tag.is_empty(), "an object has a version");
        let change = |tag: &str, price: f64| {
            admin.call("PATCH", &place).header("if-match", tag).json(&json!({"cost_prompt_tokens": price})).send()
        };
        let reply = change(&tag, 1.0).await;
        reply.expect(200);
        let fresh = reply.header("etag").to_owned();
        assert_ne!(fresh, tag);
        let stale = change(&tag, 2.0).await;
        assert_eq!(stale.expect(412).json()["error"]["code"], "version_conflict");
        let stale = admin.call("DELETE", &place).header("if-match", &tag).send().await;
        stale.expect(412);
        change(&fresh, 3.0).await.expect(200);
    });
}

#[test]
fn a_credential_is_never_shown() {
    run(async {
        let gateway = gateway().await;
        let stage = Stage::chat(gateway).await;
        let admin = stage.admin();
        let place = format!("providers/{}", stage.provider_id);
        let seen = [
            admin.get(&place).await.text(),
            admin.get("providers?limit=100").await.text(),
            admin.patch(&place, &json!({"timeout": 31})).await.text(),
            admin.get("audit?limit=100").await.text(),
            admin.get(&format!("keys/{}", stage.key_id)).await.text(),
            admin.get("keys?limit=100").await.text(),
        ];
        for text in &seen {
            assert!(!text.contains(PROVIDER_KEY), "{text}");
            assert!(!text.contains(&stage.key), "a key is shown once: {text}");
        }
        let provider: Value = serde_json::from_str(&seen[0]).unwrap();
        assert!(provider.get("key").is_none_or(Value::is_null), "{provider}");
        // At rest as well.
        let pool = gateway.database().pool().await;
        let tables = ["audit", "changes", "providers", "keys", "idempotency_keys"];
        for table in tables {
            let query = format!("SELECT count(*) FROM gatewright.{table} t WHERE t::text LIKE $1 OR t::text LIKE $2");
            let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .bind(format!("%{PROVIDER_KEY}%"))
                .bind(format!("%{}%", stage.key))
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(found, 0, "a secret in clear in {table}");
        }
    });
}

#[test]
fn a_new_address_needs_the_credential_again() {
    run(async {
        let stage = Stage::chat(gateway().await).await;
        let admin = stage.admin();
        let place = format!("providers/{}", stage.provider_id);
        let refused = admin.patch(&place, &json!({"url": "http://elsewhere.example.test"})).await;
        assert_eq!(refused.expect(400).json()["error"]["code"], "secret_required");
        let read = admin.read(&place).await;
        assert_eq!(read["url"], stage.upstream.url(), "nothing changed");
        let moved = admin.change(&place, &json!({"url": "http://elsewhere.example.test", "key": "sk-again"})).await;
        assert_eq!(moved["url"], "http://elsewhere.example.test");
    });
}

#[test]
fn every_mutation_is_in_the_audit() {
    run(async {
        let gateway = gateway().await;
        let admin = gateway.admin();
        let pool = gateway.database().pool().await;
        for noun in nouns(&admin).await {
            let created = admin.create(noun.nouns, &noun.body).await;
            let place = format!("{}/{}", noun.nouns, number(&created));
            // The row's own id, so that nobody else's mutations are counted.
            let query = format!("SELECT id::text FROM gatewright.{} WHERE number = $1", noun.nouns);
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(number(&created));
            let id: String = query.fetch_one(&pool).await.unwrap();
            admin.change(&place, &noun.change).await;
            admin.put(&place, &noun.replacement).await.expect(200);
            admin.remove(&place).await;
            let query = "SELECT count(*) FROM gatewright.audit WHERE kind = $1 AND subject_id = $2::uuid AND revision IS NOT NULL";
            let rows: i64 = sqlx::query_scalar(query).bind(noun.object).bind(&id).fetch_one(&pool).await.unwrap();
            assert_eq!(rows, 4, "one row for each mutation of {}", noun.nouns);
        }
        let list = admin.read("audit?limit=5").await;
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"].as_array().unwrap().len(), 5, "{list}");
        let tampered = sqlx::query("DELETE FROM gatewright.audit").execute(&pool).await;
        assert!(tampered.is_err(), "the audit only grows");
    });
}

#[test]
fn older_words() {
    run(async {
        let stage = Stage::chat(gateway().await).await;
        let admin = stage.admin();
        let organization_id = admin.organization().await;
        let role = admin
            .create(
                "roles",
                &json!({"name": unique("role"), "limits": [{"router": stage.router_id, "type": "rpm", "value": 5}]}),
            )
            .await;
        assert_eq!(role["limits"][0]["router_id"], stage.router_id, "{role}");
        let email = format!("{}@example.test", unique("u"));
        let user =
            admin.create("users", &json!({"email": email, "role": role["id"], "organization": organization_id})).await;
        assert_eq!((&user["role_id"], &user["organization_id"]), (&role["id"], &json!(organization_id)));
        let both = json!({"email": format!("x{email}"), "role": role["id"], "role_id": stage.role_id});
        let reply = admin.post("users", &both).await;
        assert!(matches!(reply.status, 400 | 422), "two names of one field: {} {}", reply.status, reply.text());
        let mut provider = provider_body(stage.router_id, "http://older.example.test");
        provider.as_object_mut().unwrap().remove("router_id");
        provider["router"] = stage.router_id.into();
        provider["model_carbon_footprint_zone"] = "FRA".into();
        provider["model_carbon_footprint_total_params"] = 8.into();
        let provider = admin.create("providers", &provider).await;
        assert_eq!(
            (&provider["router_id"], &provider["model_hosting_zone"]),
            (&json!(stage.router_id), &json!("FRA")),
            "{provider}"
        );
    });
}

#[test]
fn tokens_in_their_older_form() {
    run(async {
        let gateway = gateway().await;
        let stage = Stage::chat(gateway).await;
        let admin = stage.admin();
        let name = unique("token");
        let created = admin.create("tokens", &json!({"name": name, "user": stage.user_id, "expires": null})).await;
        let token = created["token"].as_str().unwrap();
        let client = gateway.client().bearer(token);
        harness::eventually("the token is known", std::time::Duration::from_secs(2), || async {
            (client.get("/v1/models").send().await.status == 200).then_some(())
        })
        .await;
        let place = format!("tokens/{}", number(&created));
        let read = admin.read(&place).await;
        assert_eq!(
            (&read["object"], &read["name"], &read["user"]),
            (&json!("token"), &json!(name), &json!(stage.user_id)),
            "{read}"
        );
        assert!(read["token"].as_str().is_some_and(|masked| masked != token), "{read}");
        let list = admin.read(&format!("tokens?user={}", stage.user_id)).await;
        assert_eq!(list["data"].as_array().unwrap().len(), 2, "{list}");
        let removed = admin.delete(&place).await;
        assert!(matches!(removed.status, 200 | 204), "{}", removed.text());
        harness::eventually("the token is refused", std::time::Duration::from_secs(2), || async {
            (client.get("/v1/models").send().await.status == 401).then_some(())
        })
        .await;
    });
}

#[test]
fn keys_expire() {
    run(async {
        let gateway = gateway().await;
        let stage = Stage::chat(gateway).await;
        let admin = stage.admin();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let past =
            admin.post("keys", &json!({"name": unique("key"), "user_id": stage.user_id, "expires": now - 10})).await;
        assert_invalid(&past, "expires");
        let short =
            admin.create("keys", &json!({"name": unique("key"), "user_id": stage.user_id, "expires": now + 3})).await;
        let client = gateway.client().bearer(short["value"].as_str().unwrap());
        harness::eventually("the key works", std::time::Duration::from_secs(2), || async {
            (client.get("/v1/models").send().await.status == 200).then_some(())
        })
        .await;
        harness::eventually("the key has expired", std::time::Duration::from_secs(6), || async {
            (client.get("/v1/models").send().await.status == 401).then_some(())
        })
        .await;
    });
}

#[test]
fn the_description_of_the_api() {
    run(async {
        let gateway = Gateway::shared(Mode::Standalone).await;
        let reply = Client::new(gateway.admin_url()).get("/openapi.json").send().await;
        let document = reply.expect(200).json();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
        for path in [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/models",
            "/v1/admin/organizations",
            "/v1/admin/roles/{id}",
            "/v1/admin/users",
            "/v1/admin/keys",
            "/v1/admin/routers/{id}",
            "/v1/admin/providers",
            "/v1/admin/candidates/{id}",
            "/v1/admin/usage",
            "/v1/admin/audit",
            "/v1/admin/fleet/join-tokens",
            "/v1/me/info",
            "/v1/me/keys",
            "/v1/auth/login",
            "/health",
        ] {
            assert!(document["paths"].get(path).is_some(), "{path} is not described");
        }
        // What is described exists: nothing answers 404 "no such path" or 405 to its own method.
        for (path, methods) in document["paths"].as_object().unwrap() {
            let place = path.replace("{id}", "0").replace(['{', '}'], "");
            for method in methods
                .as_object()
                .unwrap()
                .keys()
                .filter(|word| ["get", "post", "put", "patch", "delete"].contains(&word.as_str()))
            {
                let reply = Client::new(gateway.admin_url()).call(&method.to_uppercase(), &place).send().await;
                assert!(!matches!(reply.status, 404 | 405), "{method} {path}: {} {}", reply.status, reply.text());
            }
        }
    });
}
