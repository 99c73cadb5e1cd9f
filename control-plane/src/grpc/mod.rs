//! What data planes speak to: tonic services, each a thin face over a service room.
//!
//! Everybody who can reach the port may speak to it, and a member of the fleet may be broken or taken over. So connections,
//! streams, messages and what they ask for are bounded; what cannot be true is refused or counted, and never shown.

pub mod enrollment;
pub mod peer;
pub mod port;
pub mod sync;
pub mod usage;

use shared::runtime::metrics::{Family, FamilyKind};
use tonic::Status;

const CONNECTIONS: &str = "gatewright_node_connections";
const REFUSED: &str = "gatewright_node_connections_refused_total";
const TURNED_AWAY: &str = "gatewright_node_calls_refused_total";
const UNTRUE: &str = "gatewright_node_untrue_total";
const SENT: &str = "gatewright_catalog_sent_total";

/// What this room measures.
pub const FAMILIES: &[Family] = &[
    Family {
        name: CONNECTIONS,
        kind: FamilyKind::Gauge,
        labels: &[],
        help: "Open connections to the port for data planes.",
    },
    Family {
        name: REFUSED,
        kind: FamilyKind::Counter,
        labels: &["reason"],
        help: "Connections to the port for data planes that were not served, by reason (not_tls, tls, not_http2, silent, broken, stranger: nobody made a call on it that was let in, strangers and full: too many at once).",
    },
    Family {
        name: TURNED_AWAY,
        kind: FamilyKind::Counter,
        labels: &["code"],
        help: "Calls to the port for data planes that showed no credential of this fleet, by status code.",
    },
    Family {
        name: UNTRUE,
        kind: FamilyKind::Counter,
        labels: &["what"],
        help: "What data planes said that cannot be true and was ignored or refused: answers to revisions that they were not sent (ack, nack), states that they cannot be in (heartbeat), the name of another node (sender), more messages than a node can have to say (flood).",
    },
    Family {
        name: SENT,
        kind: FamilyKind::Counter,
        labels: &["mode"],
        help: "Revisions sent to data planes, whole (full) or as what changed (delta).",
    },
];

/// Counts a connection that is not served.
fn refused(reason: &'static str) {
    metrics::counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts a call that is not let in.
fn turned_away(status: &Status) {
    let code = match status.code() {
        tonic::Code::Unauthenticated => "unauthenticated",
        tonic::Code::Unavailable => "unavailable",
        _ => "other",
    };
    metrics::counter!(TURNED_AWAY, "code" => code).increment(1);
}

/// Counts something that a node said and that cannot be true.
fn untrue(what: &'static str) {
    metrics::counter!(UNTRUE, "what" => what).increment(1);
}
