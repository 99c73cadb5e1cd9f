//! Rules of the nouns without I/O: what a name, an address, an expiry may be, and how a refusal reads.
//!
//! It exists so that the API, the configuration file and the importers refuse the same things with the same words.
//! Every room above may import it; it imports `shared::kernel` and `shared::catalog` alone. Deliberately absent: SQL,
//! HTTP, clocks (the present is an argument).

mod address;
mod error;
mod key;
mod lookup;
mod organization;
mod patch;
mod provider;
mod revert;
mod role;
mod router;
mod selector;
mod text;
mod user;

pub use address::{is_refused_host, is_refused_ip};
pub use error::{Error, Noun};
pub use key::{KeyNoun, KeySpec, key_expiry};
pub use lookup::{BadLookup, Lookup};
pub use organization::OrganizationSpec;
pub use patch::Patch;
pub use provider::{CredentialSpec, DEFAULT_TIMEOUT, ProviderSpec, provider_url};
pub use revert::{BOOKKEEPING, FieldChange, Kept, Operation, differences, is_same, name_of, never_rolled_back, shown};
pub use role::{LimitSpec, LimitType, RoleSpec};
pub use router::RouterSpec;
pub use selector::Selector;
pub use text::{check_email, check_name, check_password};
pub use user::{UserSpec, user_expiry};

#[cfg(test)]
mod tests;
