//! The usual scene: one router with one provider, and somebody whose key may use it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Admin, number, provider_body, unlimited};
use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstream::Upstream;
use crate::{eventually, unique};

/// The credential of every provider; the callers' keys never reach an upstream, and this one never a caller.
pub const PROVIDER_KEY: &str = "sk-provider-credential-canary-5f1d";

/// The name the upstream knows its model by.
pub const UPSTREAM_MODEL: &str = "upstream-model";

/// Price of a million prompt tokens.
pub const PROMPT_PRICE: f64 = 2.5;

/// Price of a million completion tokens.
pub const COMPLETION_PRICE: f64 = 10.0;

/// A router, its provider and a caller.
pub struct Stage<'a> {
    /// The gateway it stands in.
    pub gateway: &'a Gateway,
    /// The upstream behind the provider.
    pub upstream: Upstream,
    /// The router's name.
    pub router: String,
    /// Its number.
    pub router_id: i64,
    /// Its provider's number.
    pub provider_id: i64,
    /// The caller's role.
    pub role_id: i64,
    /// The caller.
    pub user_id: i64,
    /// The number of the caller's key.
    pub key_id: i64,
    /// The caller's key.
    pub key: String,
}

impl<'a> Stage<'a> {
    /// A stage for a router of this type, ready to be called.
    pub async fn set(gateway: &'a Gateway, kind: &str) -> Self {
        let upstream = Upstream::start().await;
        let admin = gateway.admin();
        let router = unique("router");
        let body = json!({
            "name": router, "type": kind,
            "cost_prompt_tokens": PROMPT_PRICE, "cost_completion_tokens": COMPLETION_PRICE,
        });
        let router_id = number(&admin.create("routers", &body).await);
        let mut provider = provider_body(router_id, upstream.url());
        if kind == "text-classification" {
            // OpenAI ranks nothing.
            provider["type"] = "vllm".into();
        }
        let provider_id = number(&admin.create("providers", &provider).await);
        let role_id = admin.role(&[], &unlimited(router_id)).await;
        let user_id = admin.user(role_id, None).await;
        let (key_id, key) = admin.key(user_id).await;
        let stage = Self { gateway, upstream, router, router_id, provider_id, role_id, user_id, key_id, key };
        stage.until_open().await;
        stage
    }

    /// A stage for chat.
    pub async fn chat(gateway: &'a Gateway) -> Self {
        Self::set(gateway, "text-generation").await
    }

    /// The caller.
    #[must_use]
    pub fn client(&self) -> Client {
        self.gateway.client().bearer(&self.key)
    }

    /// The operator.
    #[must_use]
    pub fn admin(&self) -> Admin {
        self.gateway.admin()
    }

    /// The smallest chat request.
    #[must_use]
    pub fn chat_body(&self) -> Value {
        json!({"model": self.router, "messages": [{"role": "user", "content": "Good day?"}]})
    }

    /// Waits until the caller sees the router where inference is served.
    pub async fn until_open(&self) {
        let path = format!("/v1/models/{}", self.router);
        eventually("the caller sees the router", Duration::from_secs(10), || async {
            let reply = self.client().get(&path).send().await;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// The caller's usage records, newest first, once there are at least `count` of them.
    pub async fn usage(&self, count: usize) -> Vec<Usage> {
        let place = format!("usage?user_id={}&limit=100", self.user_id);
        let what = format!("{count} usage records of user {}", self.user_id);
        eventually(&what, Duration::from_secs(3), || async {
            let list = self.admin().read(&place).await;
            let records: Vec<Usage> =
                list["data"].as_array().expect("data").iter().map(|item| Usage(item.clone())).collect();
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// The caller's only usage record.
    pub async fn only_usage(&self) -> Usage {
        let mut records = self.usage(1).await;
        assert_eq!(records.len(), 1, "one call leaves one record: {records:#?}");
        records.remove(0)
    }
}

/// One usage record as the API shows it.
#[derive(Clone, Debug)]
pub struct Usage(pub Value);

impl Usage {
    /// Prompt and completion tokens.
    #[must_use]
    pub fn tokens(&self) -> (Option<u64>, Option<u64>) {
        (self.0["usage"]["prompt_tokens"].as_u64(), self.0["usage"]["completion_tokens"].as_u64())
    }

    /// Cost in billionths.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a test's cost is small")]
    pub fn cost(&self) -> i64 {
        (self.0["usage"]["cost"].as_f64().expect("a cost") * 1e9).round() as i64
    }

    /// The status that the client got.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.0["status"].as_u64().expect("a status")
    }
}
