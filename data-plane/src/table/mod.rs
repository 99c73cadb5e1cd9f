//! The compiled view of a catalog revision: everything a call is decided by, immutable, swapped as a whole.
//!
//! A [`Table`] is built from another one by a [`Draft`]: everything anew (FULL) or a few changes (DELTA). Unchanged parts
//! are shared, so a delta of ten keys copies a few small arrays among a million keys. Resources that cannot be applied
//! are rejected alone: routers, providers, settings and secrets keep their last good version; a key, user, role,
//! organization or limit is *closed*, with all beneath it, never served at its older, wider version.
//!
//! | file | holds |
//! |---|---|
//! | `handle.rs` | the current table, swapped atomically |
//! | `draft.rs`, `finish.rs` | resources in, the next table out |
//! | `rows.rs` | what is kept of each resource, kept small: there may be a million keys |
//! | `routing.rs`, `credentials.rs` | routers and providers compiled for use |
//! | `keys.rs`, `routers.rs` | look-ups for the exchange |
//!
//! Knows nothing of gRPC, disks or HTTP requests. May import `shared` alone; may be imported by every room above.
//! Observations (in flight, averages, cooldowns) are not here: they outlive a table.

mod address;
mod credentials;
mod draft;
mod finish;
mod handle;
mod keys;
mod routers;
mod routing;
mod rows;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::hmac;
use shared::catalog::{Digest, FleetSettings, Ref};
use shared::kernel::ids::{Epoch, Revision};
use shared::kernel::shards::Shards;
use shared::wire::Rejection;
use uuid::Uuid;

pub use address::Address;
pub use credentials::{ReferenceError, resolve_reference};
pub use draft::{Draft, Incoming};
pub use handle::Handle;
pub use keys::{AuthRefusal, Principal};
pub use routers::Access;
pub use routing::{ProviderEntry, RouterEntry};

use routing::Routing;
use rows::{Grant, KeyRow, LimitRow, OrganizationRow, ProviderRow, RoleRow, RouterRow, SecretRow, SettingRow, UserRow};

type Rows<V> = Shards<Uuid, Arc<V>>;

/// The operators' nouns at one revision, compiled. Clones share everything.
#[derive(Clone)]
pub struct Table {
    epoch: Option<Epoch>,
    revision: Revision,
    digest: Digest,
    keys: Rows<KeyRow>,
    /// Keys by the public id in their text.
    by_public_id: Rows<KeyRow>,
    /// Keys without a public id, by the first half of a digest of their text.
    by_digest: Rows<KeyRow>,
    users: Rows<UserRow>,
    organizations: Rows<OrganizationRow>,
    roles: Rows<RoleRow>,
    routers: Rows<RouterRow>,
    providers: Rows<ProviderRow>,
    limits: Rows<LimitRow>,
    secrets: Rows<SecretRow>,
    setting_rows: Rows<SettingRow>,
    /// Resources that were delivered and rejected and have no last good version: their versions count in the digest.
    strays: Shards<Uuid, Arc<rows::Stray>>,
    /// What a role may do with a router, by (role, router).
    grants: Shards<(Uuid, Uuid), Arc<Grant>>,
    routing: Arc<Routing>,
    settings: Arc<FleetSettings>,
    /// By generation.
    peppers: Arc<BTreeMap<u32, hmac::Key>>,
    rejections: Arc<BTreeMap<Ref, Rejection>>,
    /// Closed because something that hangs on them was rejected: a limit or budget that this build cannot read.
    closed: Arc<BTreeSet<Ref>>,
    /// Revoked ahead of the revision that says so.
    revoked: Arc<BTreeMap<Ref, Revision>>,
    /// Older than the operator allows: nobody is let in.
    stale: bool,
}

impl Table {
    /// What a node holds before it heard of anything: nobody may do anything.
    #[must_use]
    pub fn empty() -> Self {
        // Keys and users grow with the customers; the others with the operators.
        let (wide, narrow) = (12, 8);
        Self {
            epoch: None,
            revision: Revision::default(),
            digest: Digest::default(),
            keys: Shards::new(wide),
            by_public_id: Shards::new(wide),
            by_digest: Shards::new(wide),
            users: Shards::new(wide),
            organizations: Shards::new(narrow),
            roles: Shards::new(narrow),
            routers: Shards::new(narrow),
            providers: Shards::new(narrow),
            limits: Shards::new(wide),
            secrets: Shards::new(narrow),
            setting_rows: Shards::new(0),
            strays: Shards::new(0),
            grants: Shards::new(wide),
            routing: Arc::default(),
            settings: Arc::default(),
            peppers: Arc::default(),
            rejections: Arc::default(),
            closed: Arc::default(),
            revoked: Arc::default(),
            stale: false,
        }
    }

    /// The revision that this table compiles; 0 before the first.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The lineage that the revision belongs to; absent before the first.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The settings of the fleet.
    #[must_use]
    pub fn settings(&self) -> &FleetSettings {
        &self.settings
    }

    /// Over everything that was delivered, rejected resources included.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Every rejection that stands.
    pub fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.rejections.values()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// How many routers there are.
    #[must_use]
    pub const fn router_count(&self) -> usize {
        self.routers.len()
    }

    /// Every provider that can be called, for health and metrics.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<ProviderEntry>> {
        self.routing.routers().flat_map(|router| router.providers.iter())
    }

    /// The same table with resources revoked until a table of at least revision `at` follows.
    #[must_use]
    pub fn with_revoked(&self, revoked: impl IntoIterator<Item = Ref>, at: Revision) -> Self {
        let mut overlay = BTreeMap::clone(&self.revoked);
        for reference in revoked {
            let until = overlay.entry(reference).or_default();
            *until = (*until).max(at);
        }
        Self { revoked: Arc::new(overlay), ..self.clone() }
    }

    /// Everything that is revoked ahead of its revision.
    pub fn revoked(&self) -> impl Iterator<Item = (Ref, Revision)> {
        self.revoked.iter().map(|(reference, at)| (*reference, *at))
    }

    /// The same table, letting nobody in while `stale`.
    #[must_use]
    pub fn with_stale(&self, stale: bool) -> Self {
        Self { stale, ..self.clone() }
    }

    /// Whether the table is older than the operator allows.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.stale
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("epoch", &self.epoch)
            .field("revision", &self.revision)
            .field("keys", &self.keys.len())
            .field("routers", &self.routers.len())
            .finish_non_exhaustive()
    }
}
