//! A data plane as the API shows it.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fleet::Member;
use crate::store::Head;
use crate::store::nodes::NodeRow;

/// A data plane, from all that the control planes know of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeObject {
    /// Always `fleet.node`.
    object: &'static str,
    /// Stable for a node.
    id: Uuid,
    /// `live`: connected; `away`: let in, and connected to no control plane; `revoked`: shut out.
    state: &'static str,
    /// New at each of its starts; null when it was not connected within a day.
    boot_id: Option<Uuid>,
    /// Its version.
    build: Option<String>,
    /// Of the credential that it joined with.
    group: String,
    /// Region, rack, features.
    #[schema(value_type = Object)]
    labels: Value,
    /// In the same process as a control plane.
    local: bool,
    /// Whether it is connected, now.
    connected: bool,
    /// The control plane that it is, or was, connected to.
    control_plane: Option<Uuid>,
    /// Unix seconds of its last connection.
    connected_since: Option<i64>,
    /// Unix seconds.
    last_seen: i64,
    /// The revision that it acknowledged last.
    acknowledged_revision: Option<u64>,
    /// Unix seconds.
    acknowledged_at: Option<i64>,
    /// The revision that it decides by, as it last said.
    revision: Option<u64>,
    /// Whether that is the newest one.
    current: bool,
    /// What it could not apply.
    #[schema(value_type = Vec<Object>)]
    rejected: Vec<Value>,
    /// Why it is no longer sent the catalog.
    stopped: Option<String>,
    /// Calls in flight.
    in_flight: Option<u64>,
    /// Seconds since it last knew that it was up to date.
    config_age: Option<u64>,
    /// Usage records not acknowledged yet.
    usage_backlog: Option<u64>,
    /// Whether an operator drained it: it serves and is not ready.
    drained: bool,
    /// Its certificate; null where it has none.
    certificate: Option<CertificateObject>,
}

/// The certificate of a data plane.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateObject {
    /// Unix seconds when the node enrolled.
    enrolled: i64,
    /// Unix seconds when its last certificate ends.
    expires: i64,
    /// Unix seconds since when it is shut out.
    revoked: Option<i64>,
    /// What the node said of itself when it enrolled.
    #[schema(value_type = Object)]
    facts: Value,
}

impl NodeObject {
    pub(super) fn new(member: Member, head: Head) -> Self {
        let Member { id, state, last_seen, status, control_plane, enrolled } = member;
        let enrolled_group = enrolled.as_ref().map(|row| row.node_group.clone());
        let acknowledged = status.as_ref().and_then(|status| status.acknowledged);
        let revision = acknowledged.map(|(_, revision)| revision.0);
        let mut object = Self {
            object: "fleet.node",
            id,
            state: state.as_str(),
            boot_id: None,
            build: None,
            group: enrolled_group.unwrap_or_default(),
            labels: json!({}),
            local: false,
            connected: false,
            control_plane,
            connected_since: None,
            last_seen: last_seen.timestamp(),
            acknowledged_revision: revision,
            acknowledged_at: None,
            revision: None,
            current: acknowledged.is_some_and(|(epoch, revision)| epoch == head.epoch && revision >= head.revision),
            rejected: Vec::new(),
            stopped: None,
            in_flight: None,
            config_age: None,
            usage_backlog: None,
            drained: false,
            certificate: enrolled.map(CertificateObject::from),
        };
        let Some(status) = status else { return object };
        let rejected = status.rejected.into_iter().map(
            |one| json!({ "kind": one.kind, "id": one.id, "version": one.version, "code": one.code, "text": one.text }),
        );
        object.boot_id = Some(status.facts.boot.uuid());
        object.build = Some(status.facts.build);
        object.group = status.facts.group;
        object.labels = json!(status.facts.labels);
        object.local = status.facts.local;
        object.connected = status.connected;
        object.connected_since = Some(status.since.timestamp());
        object.acknowledged_at = status.acknowledged_at.map(|at| at.timestamp());
        // Before its first sign of life a node has only acknowledged.
        object.revision = Some(status.pulse.revision.max(revision.unwrap_or(0)));
        object.rejected = rejected.collect();
        object.stopped = status.stopped;
        object.in_flight = Some(status.pulse.in_flight);
        object.config_age = Some(status.pulse.config_age.as_secs());
        object.usage_backlog = Some(status.pulse.usage_backlog);
        object.drained = status.connected && status.pulse.drained;
        object
    }
}

impl From<NodeRow> for CertificateObject {
    fn from(row: NodeRow) -> Self {
        Self {
            enrolled: row.enrolled.timestamp(),
            expires: row.not_after.timestamp(),
            revoked: row.revoked.map(|at| at.timestamp()),
            facts: json!(row.facts.0),
        }
    }
}

/// A node that was given a certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnrolledNodeObject {
    /// Always `fleet.enrolled_node`.
    object: &'static str,
    /// Its id.
    id: Uuid,
    /// The Group that its certificate is for.
    group: String,
    /// What it said of itself when it enrolled.
    #[schema(value_type = Object)]
    facts: Value,
    /// Unix seconds.
    enrolled: i64,
    /// Unix seconds when its last certificate ends.
    certificate_expires: i64,
    /// Unix seconds when it was last let in.
    last_seen: i64,
    /// Unix seconds since when it is shut out.
    revoked: Option<i64>,
}

impl From<NodeRow> for EnrolledNodeObject {
    fn from(row: NodeRow) -> Self {
        Self {
            object: "fleet.enrolled_node",
            id: row.id,
            group: row.node_group,
            facts: json!(row.facts.0),
            enrolled: row.enrolled.timestamp(),
            certificate_expires: row.not_after.timestamp(),
            last_seen: row.last_seen.timestamp(),
            revoked: row.revoked.map(|at| at.timestamp()),
        }
    }
}
