//! Revisions, differences and rollbacks as the API shows them: never a credential.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{FieldChange, Kept, shown};
use crate::revisions::{Difference, LeftOut, Overridden, Reverted, Revision, RolledBack};
use crate::store::revisions::{ChangeRow, RevisionRow, SpanRow};

/// Who made a revision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthorObject {
    /// `master`, `user`, `file` or `system`.
    kind: String,
    /// The user, where it was one.
    id: Option<Uuid>,
    /// For people.
    name: String,
}

/// A resource that a revision changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangedObject {
    /// Its kind.
    kind: String,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// `create`, `update` or `delete`.
    operation: &'static str,
}

/// A state of the catalog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevisionObject {
    /// Always `revision`.
    object: &'static str,
    /// Its number.
    revision: i64,
    /// The lineage of the database that it was made in; null: not known.
    epoch: Option<Uuid>,
    /// Unix seconds.
    created: i64,
    /// Who made it; null: not known.
    actor: Option<AuthorObject>,
    /// The request that asked for it.
    request_id: Option<String>,
    /// How many resources it changed.
    changes: i64,
    /// The first hundred of them.
    resources: Vec<ChangedObject>,
}

/// A state of the catalog with what it changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevisionDetailObject {
    /// Always `revision`.
    object: &'static str,
    /// Its number.
    revision: i64,
    /// The lineage of the database that it was made in; null: not known.
    epoch: Option<Uuid>,
    /// Unix seconds.
    created: i64,
    /// Who made it; null: not known.
    actor: Option<AuthorObject>,
    /// The request that asked for it.
    request_id: Option<String>,
    /// How many resources it changed.
    changes: i64,
    /// The first thousand of them.
    resources: Vec<ContentObject>,
}

/// A resource before and after a revision, as it is stored: money in billionths, credentials not shown.
#[derive(Debug, Serialize, ToSchema)]
struct ContentObject {
    /// Its kind.
    kind: String,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// `create`, `update` or `delete`.
    operation: &'static str,
    /// Whether it is known how it was.
    before_kept: bool,
    /// How it was; null: there was none.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// How it became; null: it was deleted.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

/// A field that differs.
#[derive(Debug, Serialize, ToSchema)]
struct FieldObject {
    /// Its name, as it is stored.
    field: String,
    /// How it was.
    before: Value,
    /// How it is.
    after: Value,
}

/// How a resource differs between two revisions.
#[derive(Debug, Serialize, ToSchema)]
struct SpanObject {
    /// Its kind.
    kind: String,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// `create`, `update` or `delete`.
    operation: &'static str,
    /// Whether it is known how it was.
    before_kept: bool,
    /// The last revision that changed it.
    revision: i64,
    /// What differs, as it is stored: money in billionths, credentials not shown.
    fields: Vec<FieldObject>,
}

/// How the catalog differs between two revisions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DifferenceObject {
    /// Always `revision.diff`.
    object: &'static str,
    /// The earlier revision.
    from: u64,
    /// The later one.
    to: u64,
    /// How many resources differ.
    total: i64,
    /// How many were left out before these.
    offset: i64,
    /// Most on a page.
    limit: i64,
    /// The page.
    data: Vec<SpanObject>,
}

/// A resource that a rollback brings back.
#[derive(Debug, Serialize, ToSchema)]
struct RevertedObject {
    /// Its kind.
    kind: &'static str,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// What the rollback does to it: `create`, `update` or `delete`.
    operation: &'static str,
    /// What differs from how it was until now.
    fields: Vec<FieldObject>,
}

/// A resource that stays as it is.
#[derive(Debug, Serialize, ToSchema)]
struct LeftOutObject {
    /// Its kind.
    kind: String,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// Why.
    reason: String,
}

/// A resource whose later changes are lost.
#[derive(Debug, Serialize, ToSchema)]
struct OverriddenObject {
    /// Its kind.
    kind: String,
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// Some of the revisions that changed it.
    revisions: Vec<i64>,
}

/// What a rollback did, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RollbackObject {
    /// Always `revision.rollback`.
    object: &'static str,
    /// Whether nothing was done.
    dry_run: bool,
    /// The new revision; null when there was nothing to do, and for a dry run.
    revision: Option<u64>,
    /// The revisions that were taken back.
    revisions: Vec<i64>,
    /// What is as it was before them.
    reverted: Vec<RevertedObject>,
    /// What stays, and why.
    left_out: Vec<LeftOutObject>,
    /// What later revisions had changed, or made, and is lost.
    overridden: Vec<OverriddenObject>,
}

fn author(row: &RevisionRow) -> Option<AuthorObject> {
    let kind = row.actor_kind.clone()?;
    Some(AuthorObject { kind, id: row.actor_id, name: row.actor_name.clone().unwrap_or_default() })
}

fn request(row: &RevisionRow) -> Option<String> {
    row.request_id.clone().filter(|id| !id.is_empty())
}

impl From<&ChangeRow> for ChangedObject {
    fn from(change: &ChangeRow) -> Self {
        let (name, operation) = (change.name(), change.operation().as_str());
        Self { kind: change.kind.clone(), id: change.id, name, operation }
    }
}

impl From<Revision> for RevisionObject {
    fn from(Revision { row, changes }: Revision) -> Self {
        Self {
            object: "revision",
            revision: row.revision,
            epoch: row.epoch,
            created: row.made.timestamp(),
            actor: author(&row),
            request_id: request(&row),
            changes: row.changes,
            resources: changes.iter().map(ChangedObject::from).collect(),
        }
    }
}

impl From<Revision> for RevisionDetailObject {
    fn from(Revision { row, changes }: Revision) -> Self {
        Self {
            object: "revision",
            revision: row.revision,
            epoch: row.epoch,
            created: row.made.timestamp(),
            actor: author(&row),
            request_id: request(&row),
            changes: row.changes,
            resources: changes.iter().map(ContentObject::from).collect(),
        }
    }
}

impl From<&ChangeRow> for ContentObject {
    fn from(change: &ChangeRow) -> Self {
        Self {
            kind: change.kind.clone(),
            id: change.id,
            name: change.name(),
            operation: change.operation().as_str(),
            before_kept: change.before != Kept::Unknown,
            before: change.before.content().map(shown),
            after: change.after.as_ref().map(shown),
        }
    }
}

impl From<FieldChange> for FieldObject {
    fn from(FieldChange { field, before, after }: FieldChange) -> Self {
        Self { field, before, after }
    }
}

impl From<SpanRow> for SpanObject {
    fn from(span: SpanRow) -> Self {
        let fields = span.fields().into_iter().map(FieldObject::from).collect();
        Self {
            name: span.name(),
            operation: span.operation().as_str(),
            before_kept: span.before != Kept::Unknown,
            revision: span.last,
            kind: span.kind,
            id: span.id,
            fields,
        }
    }
}

impl DifferenceObject {
    pub(super) fn new(Difference { from, to, spans }: Difference, (offset, limit): (i64, i64)) -> Self {
        let data = spans.rows.into_iter().map(SpanObject::from).collect();
        Self { object: "revision.diff", from, to, total: spans.total, offset, limit, data }
    }
}

impl From<Reverted> for RevertedObject {
    fn from(Reverted { kind, id, name, operation, fields }: Reverted) -> Self {
        let fields = fields.into_iter().map(FieldObject::from).collect();
        Self { kind: kind.as_str(), id, name, operation: operation.as_str(), fields }
    }
}

impl From<LeftOut> for LeftOutObject {
    fn from(LeftOut { kind, id, name, reason }: LeftOut) -> Self {
        Self { kind, id, name, reason }
    }
}

impl From<Overridden> for OverriddenObject {
    fn from(Overridden { kind, id, name, revisions }: Overridden) -> Self {
        Self { kind, id, name, revisions }
    }
}

impl RollbackObject {
    pub(super) fn new(done: RolledBack, dry_run: bool) -> Self {
        Self {
            object: "revision.rollback",
            dry_run,
            revision: done.revision.map(|revision| revision.0),
            revisions: done.revisions,
            reverted: done.reverted.into_iter().map(RevertedObject::from).collect(),
            left_out: done.left_out.into_iter().map(LeftOutObject::from).collect(),
            overridden: done.overridden.into_iter().map(OverriddenObject::from).collect(),
        }
    }
}
