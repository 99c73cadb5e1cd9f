//! What a configuration file asks for, in our words: settings of the process and routers to have in place.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::hmac;
use shared::catalog::settings::FleetSettings;
use shared::catalog::{BalanceStrategy, CarbonFacts, ProviderKind, RouterKind};
use shared::kernel::money::Amount;
use shared::kernel::secret::Secret;
use shared::runtime::logs::LogSettings;
use shared::runtime::outbound::OutboundSettings;
use shared::runtime::public::PublicSettings;

use crate::domain::CredentialSpec;

/// Everything a file asks for.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// For the processes themselves.
    pub settings: Settings,
    /// To have in the catalog.
    pub routers: Vec<PlannedRouter>,
}

/// Who owns the routers of the file once they are in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The file: each start makes the catalog equal to it, when it changed.
    #[default]
    File,
    /// Operators: the file only adds what is not there.
    Seed,
}

/// Settings of the processes. What is absent was not in the file: a flag or a default decides.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What every data plane must know.
    pub fleet: FleetSettings,
    /// Bootstrap and break-glass administration.
    pub master_key: Option<Secret>,
    /// How the master is called in answers and logs.
    pub master_username: Option<String>,
    /// Signs sessions.
    pub session_key: Option<Secret>,
    /// How long a session of the playground lasts.
    pub session_duration: Option<Duration>,
    /// How long a new key may be valid.
    pub key_max_expiration: Option<Duration>,
    /// What is logged, and how.
    pub logs: LogSettings,
    /// Whether `/metrics` is served.
    pub metrics: Option<bool>,
    /// How the API describes itself.
    pub api: ApiDescription,
    /// The database of the control plane.
    pub database: Option<Database>,
    /// The public port.
    pub listen: Option<SocketAddr>,
    /// How the public port is served.
    pub public: PublicSettings,
    /// How upstreams are met.
    pub outbound: OutboundSettings,
    /// The operations port.
    pub operations_listen: Option<SocketAddr>,
    /// How long listeners stay open after a signal.
    pub min_drain: Option<Duration>,
    /// How long work in flight may take after that.
    pub drain_timeout: Option<Duration>,
    /// Who owns the routers of the file.
    pub models_ownership: Ownership,
}

/// The head of `/openapi.json`. What is absent was not in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiDescription {
    /// Display title (`app_title`).
    pub title: Option<String>,
    /// Display version.
    pub version: Option<String>,
    /// One line.
    pub summary: Option<String>,
    /// Markdown.
    pub description: Option<String>,
    /// A URL.
    pub terms_of_service: Option<String>,
    /// Of the operator.
    pub contact_name: Option<String>,
    /// Of the operator.
    pub contact_url: Option<String>,
    /// Of the operator.
    pub contact_email: Option<String>,
    /// Of the API.
    pub license_name: Option<String>,
    /// SPDX identifier.
    pub license_identifier: Option<String>,
    /// A URL.
    pub license_url: Option<String>,
    /// The path of the document; empty: not served.
    pub openapi_path: Option<String>,
    /// The path of the Swagger page; empty: not served.
    pub docs_path: Option<String>,
    /// The path of the ReDoc page; empty: not served.
    pub redoc_path: Option<String>,
    /// What tags stand for.
    pub tags: Vec<ApiTag>,
}

/// What a tag of the document stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTag {
    /// Its name.
    pub name: String,
    /// Markdown.
    pub description: Option<String>,
    /// A URL where more is written, and what.
    pub docs: Option<(String, Option<String>)>,
}

/// How the control plane reaches Postgres.
#[derive(Debug, Clone)]
pub struct Database {
    /// `postgresql://…`, without a driver's name.
    pub url: Secret,
    /// The most connections a replica may hold.
    pub max_connections: Option<u32>,
    /// After which Postgres ends a statement.
    pub statement_timeout: Option<Duration>,
    /// How the connections are called in Postgres.
    pub application_name: Option<String>,
}

/// A router to have in the catalog.
#[derive(Debug, Clone)]
pub struct PlannedRouter {
    /// Its public name.
    pub name: String,
    /// What it serves.
    pub kind: RouterKind,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// The Groups of data planes that serve it; none named means all of them.
    pub groups: Vec<String>,
    /// Shown as `owned_by`.
    pub owned_by: Option<String>,
    /// How it picks a provider.
    pub strategy: BalanceStrategy,
    /// For a million prompt tokens.
    pub cost_prompt_tokens: Amount,
    /// For a million completion tokens.
    pub cost_completion_tokens: Amount,
    /// Its upstreams, at least one.
    pub providers: Vec<PlannedProvider>,
    /// Where it stands in the file, for messages: `models[0]`.
    pub path: String,
}

/// An upstream of a planned router.
#[derive(Debug, Clone)]
pub struct PlannedProvider {
    /// Its dialect.
    pub kind: ProviderKind,
    /// Scheme, host, port and path prefix; without `/v1` and without a slash at the end.
    pub url: String,
    /// What it is authenticated with.
    pub credential: CredentialSpec,
    /// The name that the upstream knows.
    pub upstream_model: String,
    /// For one attempt.
    pub timeout: Duration,
    /// For the carbon estimate.
    pub carbon: CarbonFacts,
    /// Where it stands in the file, for messages: `models[0].providers[0]`.
    pub path: String,
}

impl Plan {
    /// Tells whether the routers changed since the last start. Keyed, because it covers credentials and is stored.
    #[must_use]
    pub fn models_digest(&self, key: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        let mut add = |text: &str| {
            // The length keeps neighbours apart.
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        };
        add("models-1");
        add(if self.settings.models_ownership == Ownership::File { "file" } else { "seed" });
        for router in &self.routers {
            add(&router.name);
            add(router.kind.as_str());
            add(&format!("{:?}", (&router.aliases, &router.owned_by, router.strategy)));
            add(&format!("{:?}", (router.cost_prompt_tokens, router.cost_completion_tokens, router.providers.len())));
            for provider in &router.providers {
                add(provider.kind.as_str());
                add(&provider.url);
                add(&provider.upstream_model);
                add(&format!("{:?}", (provider.timeout, &provider.carbon)));
                match &provider.credential {
                    CredentialSpec::None => add("none"),
                    CredentialSpec::Stored(secret) => {
                        add("stored");
                        add(secret.expose());
                    }
                    CredentialSpec::Reference(place) => {
                        add("reference");
                        add(place);
                    }
                }
            }
        }
        let tag = context.sign();
        let mut digest = [0_u8; 32];
        digest.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }
}
