//! The connection to the control plane: the catalog in, usage out. Calls never wait for it.
//!
//! 1. `last_good` puts the table of the last run in place before anything is dialled.
//! 2. `enroll` makes this node a member of its fleet and renews its certificate; `connect` dials one control plane of a list
//!    and stays with it; `backoff` spreads reconnects.
//! 3. `subscribe` says what this node holds and follows the stream: one revision after another, revocations ahead of them.
//! 4. `apply` builds the next table beside the hot path, checks it, and swaps it once; what it cannot apply it names.
//! 5. `last_good` keeps what was applied for the next start.
//! 6. `report` carries usage records away over a connection of its own, and forgets them when they are durable.
//!
//! Knows the table and nothing else of this plane; `app` joins it with the exchange. Invariants: nothing of a revision is
//! used before its commit; within an epoch a node never goes back; a node that is ready stays ready when the control plane
//! goes away.

mod apply;
mod backoff;
mod connect;
mod enroll;
mod identity;
mod last_good;
mod options;
mod report;
mod standing;
mod subscribe;
#[cfg(test)]
mod tests;

pub use connect::{DialError, Dialer, LocalLine};
pub use enroll::EnrolError;
pub use identity::{Identity, IdentityError};
pub use last_good::LastGoodOptions;
pub use options::{LinkOptions, Pulse, PulseSource, UpstreamPulse};
pub(crate) use report::start as report_usage;
pub use subscribe::Link;

use shared::runtime::metrics::{Family, FamilyKind};

const REVISION: &str = "gatewright_config_revision";
const AGE: &str = "gatewright_config_age_seconds";
const CONNECTED: &str = "gatewright_control_plane_connected";
const REJECTED: &str = "gatewright_config_rejected_total";
const STANDING: &str = "gatewright_config_rejections";
const REFUSED: &str = "gatewright_config_refused_total";
const APPLY: &str = "gatewright_config_apply_seconds";
const COPY_ERRORS: &str = "gatewright_config_copy_errors_total";
const BACKLOG: &str = "gatewright_usage_backlog";

/// What this room measures.
pub const FAMILIES: &[Family] = &[
    Family {
        name: REVISION,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "The catalog revision by which this data plane decides.",
    },
    Family {
        name: AGE,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Time since this data plane last knew that its catalog was the newest.",
    },
    Family {
        name: CONNECTED,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "1 while this data plane follows a control plane, else 0.",
    },
    Family {
        name: REJECTED,
        kind: FamilyKind::Counter,
        labels: &["kind", "code"],
        help: "Resources that could not be applied, by kind and code.",
    },
    Family {
        name: STANDING,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Resources of the current catalog that could not be applied.",
    },
    Family {
        name: REFUSED,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Catalogs refused as a whole; the last one stays in use.",
    },
    Family {
        name: APPLY,
        kind: FamilyKind::Histogram,
        labels: &[],
        help: "Time from the begin of a revision to its use.",
    },
    Family {
        name: COPY_ERRORS,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Failures to read or write the copy of the catalog on disk.",
    },
    Family {
        name: BACKLOG,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Usage records that the control plane has not acknowledged.",
    },
];

/// A count as a gauge's number.
#[expect(clippy::cast_precision_loss, reason = "display only")]
const fn precise(number: u64) -> f64 {
    number as f64
}
