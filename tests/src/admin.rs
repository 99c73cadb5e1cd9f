//! The admin API in an operator's words.

use serde_json::{Value, json};

use crate::client::{Call, Client, Reply};
use crate::unique;

/// Somebody who speaks to `/v1/admin`.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// The four limits of a role on a router, without any bound: full access.
#[must_use]
pub fn unlimited(router_id: i64) -> Vec<Value> {
    ["rpm", "rpd", "tpm", "tpd"]
        .iter()
        .map(|kind| json!({"router_id": router_id, "type": kind, "value": null}))
        .collect()
}

impl Admin {
    /// Speaks to this address with this key.
    #[must_use]
    pub fn new(url: &str, key: &str) -> Self {
        Self { client: Client::new(url).bearer(key) }
    }

    /// The same address with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { client: self.client.bearer(key) }
    }

    /// The client below.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a request to `/v1/admin/{rest}`.
    #[must_use]
    pub fn call(&self, method: &str, rest: &str) -> Call {
        self.client.call(method, &format!("/v1/admin/{rest}"))
    }

    /// POST that may fail.
    pub async fn post(&self, rest: &str, body: &Value) -> Reply {
        self.call("POST", rest).json(body).send().await
    }

    /// PATCH that may fail.
    pub async fn patch(&self, rest: &str, body: &Value) -> Reply {
        self.call("PATCH", rest).json(body).send().await
    }

    /// PUT that may fail.
    pub async fn put(&self, rest: &str, body: &Value) -> Reply {
        self.call("PUT", rest).json(body).send().await
    }

    /// GET that may fail.
    pub async fn get(&self, rest: &str) -> Reply {
        self.call("GET", rest).send().await
    }

    /// DELETE that may fail.
    pub async fn delete(&self, rest: &str) -> Reply {
        self.call("DELETE", rest).send().await
    }

    /// Creates a noun and returns the whole object.
    pub async fn create(&self, nouns: &str, body: &Value) -> Value {
        let reply = self.post(nouns, body).await;
        assert_eq!(reply.status, 201, "POST {nouns} {body}: {}", reply.text());
        reply.json()
    }

    /// Changes the named fields and returns the whole object.
    pub async fn change(&self, place: &str, body: &Value) -> Value {
        let reply = self.patch(place, body).await;
        assert_eq!(reply.status, 200, "PATCH {place} {body}: {}", reply.text());
        reply.json()
    }

    /// Reads one object.
    pub async fn read(&self, place: &str) -> Value {
        let reply = self.get(place).await;
        assert_eq!(reply.status, 200, "GET {place}: {}", reply.text());
        reply.json()
    }

    /// Removes one object and returns it.
    pub async fn remove(&self, place: &str) -> Value {
        let reply = self.delete(place).await;
        assert_eq!(reply.status, 200, "DELETE {place}: {}", reply.text());
        reply.json()
    }

    /// A new organization's number.
    pub async fn organization(&self) -> i64 {
        number(&self.create("organizations", &json!({"name": unique("organization")})).await)
    }

    /// A new role's number.
    pub async fn role(&self, permissions: &[&str], limits: &[Value]) -> i64 {
        let body = json!({"name": unique("role"), "permissions": permissions, "limits": limits});
        number(&self.create("roles", &body).await)
    }

    /// A new user of this role; without a password, which is slow to hash by design.
    pub async fn user(&self, role_id: i64, organization_id: Option<i64>) -> i64 {
        let email = format!("{}@example.test", unique("user"));
        let body = json!({"email": email, "name": "A User", "role_id": role_id, "organization_id": organization_id});
        number(&self.create("users", &body).await)
    }

    /// A new key of this user: its number and its value.
    pub async fn key(&self, user_id: i64) -> (i64, String) {
        let key = self.create("keys", &json!({"name": unique("key"), "user_id": user_id})).await;
        (number(&key), key["value"].as_str().expect("the value, once").to_owned())
    }

    /// A new router without prices: its number and its name.
    pub async fn router(&self, kind: &str) -> (i64, String) {
        let name = unique("router");
        let router = self.create("routers", &json!({"name": name, "type": kind})).await;
        (number(&router), name)
    }

    /// A new provider of this router at this address.
    pub async fn provider(&self, router_id: i64, url: &str) -> i64 {
        number(&self.create("providers", &provider_body(router_id, url)).await)
    }
}

/// A provider as the tests make it: OpenAI's dialect, a credential, and a model name of its own.
#[must_use]
pub fn provider_body(router_id: i64, url: &str) -> Value {
    json!({
        "router_id": router_id, "type": "openai", "url": url, "key": crate::stage::PROVIDER_KEY,
        "timeout": 30, "model_name": crate::stage::UPSTREAM_MODEL,
    })
}

/// The id of an object.
#[must_use]
#[track_caller]
pub fn number(object: &Value) -> i64 {
    object["id"].as_i64().unwrap_or_else(|| panic!("no integer id: {object}"))
}
