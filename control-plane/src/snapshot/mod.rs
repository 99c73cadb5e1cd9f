//! The catalog as it is published to data planes: read once per revision, encoded once per resource, shared by all nodes.
//!
//! 1. `listen` learns that the head moved: a notification is a hint, the head is asked each second in any case.
//! 2. `builder` reads what changed (or everything) in one repeatable-read transaction and opens the sealed secrets.
//! 3. `state` is the result: an immutable [`Snapshot`] that shares what did not change with the one before.
//! 4. `publisher` hands it to every connected node and keeps the last ones, so that a node that comes back gets a delta.
//! 5. `view` narrows it to what a node's Group serves (`places`) and puts staged changes (`candidate`) in the place of what
//!    they will replace; `diff` says what the node must be told to get from one snapshot to another.
//!
//! Used by `grpc` and `app`. Invariants: a snapshot is of one revision, never of two; secrets lie outside the encoded
//! resources and go nowhere but to the Groups of the router that uses them; a row that cannot be read is closed or kept at its last good version, never silently left out.

mod builder;
mod candidate;
mod diff;
mod listen;
mod log;
mod places;
mod publisher;
mod resume;
mod roots;
mod state;
#[cfg(test)]
mod tests;
mod view;
#[cfg(test)]
mod view_tests;

pub use builder::{BuildError, Builder};
pub use candidate::{StagedChange, StagedVersion};
pub use diff::{Diff, Upsert, revoked};
pub use listen::Watcher;
pub use log::{Log, LogError};
pub use publisher::{Publisher, Revocation};
pub use resume::{Base, Held, Resumes, Seals};
pub use roots::Roots;
pub use state::{Edit, Encoded, Snapshot};
pub use view::View;

use shared::runtime::metrics::{Family, FamilyKind};

/// The revision that is published.
const REVISION: &str = "gatewright_catalog_revision";
/// Reads of the catalog that failed.
const FAILURES: &str = "gatewright_catalog_read_failures_total";
/// Rows and secrets that could not be read.
const UNREADABLE: &str = "gatewright_catalog_unreadable";
/// Staged changes.
const CANDIDATES: &str = "gatewright_catalog_candidates";
/// How long a read takes.
const READ: &str = "gatewright_catalog_read_seconds";

/// What this room measures.
pub const FAMILIES: &[Family] = &[
    Family {
        name: REVISION,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "The catalog revision that this control plane publishes.",
    },
    Family {
        name: FAILURES,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Reads of the catalog that failed; the last snapshot stays published.",
    },
    Family {
        name: UNREADABLE,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Rows and secrets of the catalog that could not be read at the last read of each.",
    },
    Family {
        name: CANDIDATES,
        kind: FamilyKind::Gauge,
        labels: &["state"],
        help: "Staged changes that are published: fresh ones, and stale ones, which nobody is told since the catalog was changed beneath them.",
    },
    Family {
        name: READ,
        kind: FamilyKind::Histogram,
        labels: &[],
        help: "Time from learning of a new revision to publishing it.",
    },
];
