//! The nouns themselves, and the envelope around each.

use std::time::Duration;

use uuid::Uuid;

use super::kinds::words;
use super::{BalanceStrategy, Kind, ProviderKind, RouterKind};
use crate::kernel::clock::FleetTime;
use crate::kernel::ids::{RouterId, SecretId};
use crate::kernel::money::Prices;
use crate::kernel::secret::SecretBytes;
use crate::kernel::shards::{ShardKey, mix};

/// Names one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
}

impl ShardKey for Ref {
    fn spread(&self) -> u64 {
        mix(self.id.as_u128() ^ (1 << self.kind as u32))
    }
}

/// The id of the pepper as a secret resource: it has no row.
pub const PEPPER_ID: Uuid = Uuid::from_u128(1);
/// The generation of that pepper, which native verifiers name.
pub const PEPPER_GENERATION: u32 = 1;
/// The id of the master key as a key resource: it has no row.
pub const MASTER_KEY_ID: Uuid = Uuid::nil();

/// One row of the catalog in the envelope that every version understands.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its id; the kind is that of `item`.
    pub id: Uuid,
    /// Rises with each change of it.
    pub version: u64,
    /// What it belongs to, so that closing a parent closes it.
    pub parents: Vec<Ref>,
    /// Switched off by an operator.
    pub blocked: bool,
    /// When it stops being valid.
    pub expires: Option<FleetTime>,
    /// Features that a node must know to apply it.
    pub requires: Vec<String>,
    /// The noun.
    pub item: Item,
}

impl Resource {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.item.kind()
    }

    /// Its name as a reference.
    #[must_use]
    pub const fn reference(&self) -> Ref {
        Ref { kind: self.kind(), id: self.id }
    }

    /// The first parent of a kind.
    #[must_use]
    pub fn parent(&self, kind: Kind) -> Option<Uuid> {
        self.parents.iter().find(|parent| parent.kind == kind).map(|parent| parent.id)
    }
}

/// The noun inside a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A tenant.
    Organization(Organization),
    /// What a user may do.
    Role(Role),
    /// A person or a service.
    User(User),
    /// A client's credential.
    Key(VirtualKey),
    /// A public model name.
    Router(Router),
    /// An upstream.
    Provider(Provider),
    /// A rate limit.
    Limit(Limit),
    /// A secret value.
    Secret(SecretValue),
    /// A setting of the fleet.
    Setting(Setting),
}

impl Item {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Organization(_) => Kind::Organization,
            Self::Role(_) => Kind::Role,
            Self::User(_) => Kind::User,
            Self::Key(_) => Kind::Key,
            Self::Router(_) => Kind::Router,
            Self::Provider(_) => Kind::Provider,
            Self::Limit(_) => Kind::Limit,
            Self::Secret(_) => Kind::Secret,
            Self::Setting(_) => Kind::Setting,
        }
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Unique among organizations.
    pub name: String,
}

words! {
    /// What a role allows on the management side.
    Permission {
        /// Everything, and every router without limits.
        Admin = "admin",
        /// To publish collections.
        CreatePublicCollection = "create_public_collection",
        /// To read metrics on a public port.
        ReadMetric = "read_metric",
        /// To add providers.
        ProvideModels = "provide_models",
    }
}

/// What a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Unique among roles.
    pub name: String,
    /// Rights on the management side.
    pub permissions: Vec<Permission>,
    /// Every router, without a limit row for each.
    pub all_routers: bool,
}

/// A person or a service. Parents: role, organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique without regard to case.
    pub email: String,
    /// For display.
    pub name: String,
    /// Place in a queue; higher goes first.
    pub priority: i32,
    /// The integer id of the API.
    pub number: i64,
}

words! {
    /// How a key is checked.
    VerifierScheme {
        /// HMAC-SHA-256 of the whole key under the pepper.
        HmacSha256 = "hmac-sha256",
        /// Plain SHA-256 of the whole key (imported).
        Sha256 = "sha256",
    }
}

/// One live secret of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    /// How to check.
    pub scheme: VerifierScheme,
    /// Which pepper, for schemes that use one.
    pub pepper_version: u32,
    /// What the computation must give.
    pub digest: Vec<u8>,
    /// End of the grace period of a rotated secret.
    pub not_after: Option<FleetTime>,
}

/// A client's credential. Parents: user, organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualKey {
    /// The part that may be shown; empty for a key that is found by its digest.
    pub public_id: String,
    /// Chosen by its owner; not unique.
    pub name: String,
    /// The live secrets, at most two.
    pub verifiers: Vec<Verifier>,
    /// Only these routers; absent means all that the owner may use.
    pub allowed_routers: Option<Vec<RouterId>>,
    /// The operator's master key.
    pub master: bool,
    /// A compatibility profile of its own; empty for the fleet's.
    pub compatibility: String,
    /// The integer id of the API; 0 is the master.
    pub number: i64,
}

/// A public model name. Parents: the organization that owns the name; none means global.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// Unique per owner, among names and aliases together.
    pub name: String,
    /// What it serves.
    pub kind: RouterKind,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// How it picks a provider.
    pub strategy: BalanceStrategy,
    /// What it charges.
    pub prices: Prices,
    /// Shown as `owned_by`.
    pub owned_by: String,
    /// When it was made, in Unix seconds.
    pub created_unix_s: i64,
    /// Tokens of prompt and answer together.
    pub max_context_length: Option<u64>,
    /// Tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// Dimensions of an embedding.
    pub vector_size: Option<u64>,
    /// The integer id of the API.
    pub number: i64,
}

/// Where a provider's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// None is sent.
    None,
    /// A secret resource.
    Sealed(SecretId),
    /// `env:NAME` or `file:PATH`, resolved by the node itself.
    Reference(String),
}

/// Facts for the carbon estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct CarbonFacts {
    /// ISO 3166-1 alpha-3 code of where it runs; `WOR` is the world.
    pub zone: String,
    /// Billions of parameters in all.
    pub total_params: Option<f64>,
    /// Billions of parameters active for one token.
    pub active_params: Option<f64>,
}

/// One configured upstream of a router. Parents: router; secret where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// Its dialect.
    pub kind: ProviderKind,
    /// Scheme, host and port, with a path prefix where needed; without `/v1`.
    pub url: String,
    /// The name that the upstream knows.
    pub upstream_model: String,
    /// For one attempt, from sending to the last byte.
    pub timeout: Duration,
    /// What it is authenticated with.
    pub credential: Credential,
    /// For the carbon estimate.
    pub carbon: CarbonFacts,
    /// Share among its siblings, for strategies that weigh.
    pub weight: Option<u32>,
    /// When the client leaves, read the answer to its end instead of cancelling.
    pub drain_on_disconnect: bool,
    /// The integer id of the API.
    pub number: i64,
}

words! {
    /// What a limit counts.
    LimitUnit {
        /// Calls.
        Requests = "requests",
        /// Tokens.
        Tokens = "tokens",
        /// Calls at the same time.
        Concurrency = "concurrency",
    }
}

words! {
    /// Over how long a limit counts.
    Window {
        /// One second.
        Second = "second",
        /// One minute.
        Minute = "minute",
        /// One hour.
        Hour = "hour",
        /// One day.
        Day = "day",
        /// Seven days.
        Week = "week",
        /// A calendar month.
        Month = "month",
    }
}

words! {
    /// Whether a limit refuses or only counts.
    LimitMode {
        /// Refuses.
        Enforce = "enforce",
        /// Counts what it would have refused.
        Shadow = "shadow",
    }
}

words! {
    /// What a limit does while its store fails.
    OnStoreFailure {
        /// The limit divided by the live data planes.
        LocalShare = "local_share",
        /// Lets everything pass.
        Open = "open",
        /// Refuses everything.
        Closed = "closed",
    }
}

/// A rate limit; its parents are its scope. With a role and a router it counts for each user of the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What it counts.
    pub unit: LimitUnit,
    /// Over how long.
    pub window: Window,
    /// How much; absent is unlimited, 0 is no access.
    pub amount: Option<i64>,
    /// Refuse or count.
    pub mode: LimitMode,
    /// What to do while the store fails.
    pub on_store_failure: OnStoreFailure,
}

words! {
    /// What a secret is for.
    SecretPurpose {
        /// To authenticate at an upstream.
        ProviderCredential = "provider_credential",
        /// To check virtual keys.
        Pepper = "pepper",
    }
}

/// A secret value.
#[derive(Debug, Clone)]
pub struct SecretValue {
    /// What it is for.
    pub purpose: SecretPurpose,
    /// Rises with each rotation.
    pub generation: u32,
    /// The value itself.
    pub value: SecretBytes,
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        self.purpose == other.purpose
            && self.generation == other.generation
            && self.value.expose() == other.value.expose()
    }
}

/// A setting of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Such as `compatibility`.
    pub name: String,
    /// Its value as JSON text.
    pub value_json: String,
}
