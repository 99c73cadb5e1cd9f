//! The data plane of Gatewright: stateless, it serves the inference surface from a table that the control plane streams.
//!
//! Floors, from the top; a room may import those below it, never a sibling, and only `app` sees every room.
//!
//! | floor | rooms |
//! |---|---|
//! | 5 | `surface`: HTTP in and out |
//! | 4 | `exchange`: the life of a call · `link`: the connection to the control plane · `spool`: usage on disk |
//! | 3 | `balance`, `meter`, `upstream`, `observe`: mechanisms, which never import one another |
//! | 2 | `vitals`: live observations · `translate`: dialects of upstreams |
//! | 1 | `table`: the catalog, compiled · `scan`: bytes read where they lie |
//!
//! `link` and `exchange` do not know each other: `app` joins them through the table's handle and the usage sink. There is
//! no database driver below this line.

pub mod app;
pub mod config;
pub mod link;
pub(crate) mod surface;
pub mod table;

pub(crate) mod balance;
pub(crate) mod exchange;
pub(crate) mod meter;
pub(crate) mod observe;
pub(crate) mod scan;
pub(crate) mod spool;
pub(crate) mod translate;
pub(crate) mod upstream;
pub(crate) mod vitals;
