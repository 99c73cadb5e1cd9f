//! Changes: three states of a field, versions, idempotency, the audit.

use harness::admin::number;
use harness::{run, unique};
use serde_json::{Value, json};

use super::{assert_invalid, gateway, nouns};

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
