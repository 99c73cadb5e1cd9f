//! What is measured of the spool.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use shared::runtime::metrics::{Family, FamilyKind};

const BYTES: &str = "gatewright_usage_spool_bytes";
const RECORDS: &str = "gatewright_usage_spool_records";
const DROPPED: &str = "gatewright_usage_spool_dropped_total";
const FSYNC: &str = "gatewright_usage_spool_fsync_seconds";
const UNSYNCED: &str = "gatewright_usage_spool_unsynced_seconds";
const ERRORS: &str = "gatewright_usage_spool_errors_total";

/// The families, for whoever describes them all.
pub(crate) const FAMILIES: &[Family] = &[
    Family { name: BYTES, kind: FamilyKind::Gauge, labels: &[], help: "Bytes that the usage spool holds." },
    Family {
        name: RECORDS,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Usage records that the control plane has not acknowledged.",
    },
    Family {
        name: DROPPED,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Usage records lost because the spool was full or could not be written.",
    },
    Family {
        name: FSYNC,
        kind: FamilyKind::Histogram,
        labels: &[],
        help: "How long an fsync of the usage spool takes.",
    },
    Family {
        name: UNSYNCED,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Age of the oldest usage record that a power cut would lose.",
    },
    Family {
        name: ERRORS,
        kind: FamilyKind::Counter,
        labels: &["operation"],
        help: "Failures of the usage spool, by operation (write, sync, read, delete).",
    },
];

/// Handles, resolved once.
pub(super) struct Meters {
    pub(super) bytes: Gauge,
    pub(super) records: Gauge,
    pub(super) dropped: Counter,
    pub(super) fsync: Histogram,
    pub(super) unsynced: Gauge,
    pub(super) write_errors: Counter,
    pub(super) sync_errors: Counter,
    pub(super) read_errors: Counter,
    pub(super) delete_errors: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        let errors = |operation: &'static str| counter!(ERRORS, "operation" => operation);
        Self {
            bytes: gauge!(BYTES),
            records: gauge!(RECORDS),
            dropped: counter!(DROPPED),
            fsync: histogram!(FSYNC),
            unsynced: gauge!(UNSYNCED),
            write_errors: errors("write"),
            sync_errors: errors("sync"),
            read_errors: errors("read"),
            delete_errors: errors("delete"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges")]
    pub(super) fn level(&self, bytes: u64, records: u64) {
        self.bytes.set(bytes as f64);
        self.records.set(records as f64);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}
