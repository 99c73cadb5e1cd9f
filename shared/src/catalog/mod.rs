//! The operators' nouns as both planes need them: pure data and pure rules, no I/O.
//!
//! A [`Resource`] is one row of the catalog inside the envelope that every version understands. Children name
//! their parents, so one edit is one small message. Nothing here knows SQL, protobuf or HTTP.

pub mod digest;
pub mod fault;
pub mod kinds;
pub mod nouns;
pub mod route_groups;
pub mod settings;
pub mod zones;

pub use digest::Digest;
pub use fault::FaultKind;
pub use kinds::{BalanceStrategy, Compatibility, Kind, ProviderKind, RouteGroup, RouterKind, UsageTokenizer};
pub use nouns::{
    CarbonFacts, Credential, Item, Limit, LimitMode, LimitUnit, MASTER_KEY_ID, OnStoreFailure, Organization,
    PEPPER_GENERATION, PEPPER_ID, Permission, Provider, Ref, Resource, Role, Router, SecretPurpose, SecretValue,
    Setting, User, Verifier, VerifierScheme, VirtualKey, Window,
};
pub use route_groups::RouteGroups;
pub use settings::FleetSettings;
