//! The admin API: every noun and every verb.

mod changes;
mod credentials;
mod lists;
mod refusals;

use harness::admin::{Admin, number, provider_body, unlimited};
use harness::client::{Client, Reply};
use harness::gateway::{Gateway, Mode};
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
