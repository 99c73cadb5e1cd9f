//! How a node stands, as control planes write it down for each other.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::kernel::ids::{BootId, Epoch, NodeId, Revision};
use uuid::Uuid;

use super::nodes::{NodeFacts, NodePulse, NodeRejection, NodeStatus};
use crate::store::standings::{StandingRow, ToldStanding};

/// How many rejections of a node the others are told of.
const MOST_REJECTIONS: usize = 100;

/// The part of a node's status that has no column of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Standing {
    boot: Uuid,
    build: String,
    labels: BTreeMap<String, String>,
    group: String,
    local: bool,
    since: DateTime<Utc>,
    acknowledged: Option<(Uuid, u64)>,
    acknowledged_at: Option<DateTime<Utc>>,
    rejected: Vec<Rejection>,
    stopped: Option<String>,
    revision: u64,
    in_flight: u64,
    config_age_ms: u64,
    usage_backlog: u64,
    drained: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Rejection {
    kind: String,
    id: Uuid,
    version: u64,
    code: String,
    text: String,
}

/// What others are told.
pub(super) fn told(status: &NodeStatus) -> ToldStanding {
    let rejected = status.rejected.iter().take(MOST_REJECTIONS).map(|one| Rejection {
        kind: one.kind.clone(),
        id: one.id,
        version: one.version,
        code: one.code.clone(),
        text: one.text.clone(),
    });
    let standing = Standing {
        boot: status.facts.boot.uuid(),
        build: status.facts.build.clone(),
        labels: status.facts.labels.clone(),
        group: status.facts.group.clone(),
        local: status.facts.local,
        since: status.since,
        acknowledged: status.acknowledged.map(|(epoch, revision)| (epoch.uuid(), revision.0)),
        acknowledged_at: status.acknowledged_at,
        rejected: rejected.collect(),
        stopped: status.stopped.clone(),
        revision: status.pulse.revision,
        in_flight: status.pulse.in_flight,
        config_age_ms: u64::try_from(status.pulse.config_age.as_millis()).unwrap_or(u64::MAX),
        usage_backlog: status.pulse.usage_backlog,
        drained: status.pulse.drained,
    };
    ToldStanding {
        node: status.facts.node.uuid(),
        connected: status.connected,
        last_seen: status.last_seen,
        // Postgres keeps no NUL in its JSON, and what nodes say is theirs to choose.
        standing: serde_json::to_value(standing).map(without_nul).unwrap_or_default(),
    }
}

fn without_nul(value: Value) -> Value {
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(all) => Value::Array(all.into_iter().map(without_nul).collect()),
        Value::Object(all) => {
            Value::Object(all.into_iter().map(|(name, value)| (clean(name), without_nul(value))).collect())
        }
        other => other,
    }
}

/// What another control plane told; nothing when it is of a later version and cannot be read.
pub(super) fn status(row: StandingRow) -> Option<NodeStatus> {
    let standing: Standing = serde_json::from_value(row.standing).ok()?;
    let rejected = standing.rejected.into_iter().map(|one| NodeRejection {
        kind: one.kind,
        id: one.id,
        version: one.version,
        code: one.code,
        text: one.text,
    });
    Some(NodeStatus {
        facts: NodeFacts {
            node: NodeId::from_uuid(row.node),
            boot: BootId::from_uuid(standing.boot),
            build: standing.build,
            labels: standing.labels,
            group: standing.group,
            local: standing.local,
        },
        connected: row.connected,
        since: standing.since,
        last_seen: row.last_seen,
        acknowledged: standing.acknowledged.map(|(epoch, revision)| (Epoch::from_uuid(epoch), Revision(revision))),
        acknowledged_at: standing.acknowledged_at,
        rejected: rejected.collect(),
        stopped: standing.stopped,
        pulse: NodePulse {
            revision: standing.revision,
            in_flight: standing.in_flight,
            config_age: Duration::from_millis(standing.config_age_ms),
            usage_backlog: standing.usage_backlog,
            drained: standing.drained,
        },
    })
}
