//! The stateful plane: catalog, identity, admin API, snapshots, usage ledger.
//!
//! | floor | rooms | may import |
//! |---|---|---|
//! | faces | `admin` (HTTP), `grpc` (data planes) | services, domain |
//! | services | `access`, `snapshot`, `fleet`, `usage`, `revisions`, `reconcile`, `dialect`, `vault` | domain, store, `shared` |
//! | domain | `domain`: rules without I/O | `shared::kernel`, `shared::catalog` |
//! | store | `store`: the only room with SQL | domain types, `shared` |
//!
//! `app` assembles them and is the only file that sees every room.

pub mod access;
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod domain;
pub mod fleet;
pub mod grpc;
pub mod reconcile;
pub mod revisions;
pub mod snapshot;
pub mod store;
pub mod usage;
pub mod vault;
