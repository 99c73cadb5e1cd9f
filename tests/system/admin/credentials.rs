//! Credentials of providers and keys of users: what is shown, and how long they live.

use harness::admin::{number, provider_body};
use harness::stage::{PROVIDER_KEY, Stage};
use harness::{run, unique};
use serde_json::{Value, json};

use super::{assert_invalid, gateway};

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
