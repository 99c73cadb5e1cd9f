//! The ledger's way in: records of data planes are checked one by one and taken in exactly once.

mod check;
mod housekeeping;
mod ingest;

pub use check::{Refusal, accept};
pub use housekeeping::keep_house;
pub use ingest::{Ingest, IngestError, KnownKeys, sender};

use shared::runtime::metrics::{Family, FamilyKind};

/// Records by what became of them.
const RECORDS: &str = "gatewright_usage_records_received_total";
/// Records of keys that nobody knows.
const FOREIGN: &str = "gatewright_usage_foreign_records_total";
/// How long a batch takes.
const BATCH: &str = "gatewright_usage_batch_seconds";

/// What this room measures.
pub const FAMILIES: &[Family] = &[
    Family {
        name: RECORDS,
        kind: FamilyKind::Counter,
        labels: &["result", "field"],
        help: "Usage records received from data planes, by result (inserted, duplicate, refused) and, when refused, by field.",
    },
    Family {
        name: FOREIGN,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Usage records taken in of keys that the catalog does not hold: removed since the call, or made up.",
    },
    Family {
        name: BATCH,
        kind: FamilyKind::Histogram,
        labels: &[],
        help: "Time from a batch of usage records to its commit.",
    },
];
