//! The only room with SQL: rows, queries, and the transaction that every change of the catalog goes through.
//!
//! It exists so that nobody else needs to know how things lie in Postgres. One file for each noun; `tx` gives a commit
//! its revision, `snapshot` reads the whole catalog as resources. Services and faces may import it.
//!
//! Invariants: every statement is a static text with bound values; nothing outside the schema `gatewright` is touched;
//! the revision rises as the last statement of the transaction that changes the catalog, so a revision that can be read
//! has all revisions before it. Deliberately absent: rules (they are in `domain`) and caches.

pub mod audit;
pub mod candidates;
mod error;
pub mod idempotency;
pub mod join_tokens;
pub mod keys;
mod listen;
mod migrate;
pub mod nodes;
pub mod organizations;
mod owner_files;
mod page;
mod pool;
pub mod providers;
pub mod revisions;
pub mod roles;
pub mod routers;
pub mod settings;
pub mod snapshot;
pub mod standings;
mod tx;
pub mod usage;
pub mod users;

pub use error::{ConstraintKind, StoreError};
pub use listen::CatalogListener;
pub use page::{Listed, Page, Sort};
pub use pool::{CATALOG_CHANNEL, Head, PoolOptions, SCHEMA, Store};
pub use tx::{Actor, ActorKind, AuditEntry, CatalogTx, Rehearsal, Rehearsed};
