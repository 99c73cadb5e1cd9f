//! Staging, widening, promoting and withdrawing: what the API and the command line do alike, inside a transaction.

use serde_json::{Map, Value, json};
use shared::catalog::Kind;
use shared::kernel::secret::Secret;
use uuid::Uuid;

use super::body::placed;
use super::object::CandidateObject;
use crate::admin::context::Context;
use crate::admin::error::ApiError;
use crate::admin::{providers, routers};
use crate::domain::{self, Lookup, Noun, Selector};
use crate::store::candidates::{self, CandidateEntry, CandidateRow};
use crate::store::providers::ProviderRow;
use crate::store::routers::RouterRow;
use crate::store::{AuditEntry, CatalogTx, StoreError};
use crate::vault::KeyRing;

/// Most resources of one candidate.
const MOST: usize = 100;
/// What decides where a resource is told; a node must not be told of a candidate what it would not be told of the catalog.
const NOT_STAGED: &[&str] = &["groups", "router_id", "router"];

/// A change to stage.
#[derive(Debug)]
pub(crate) struct NewCandidate {
    pub(super) selector: Selector,
    pub(super) changes: Vec<Change>,
}

impl NewCandidate {
    /// Reads the body of a request.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        super::body::CandidateBody::parse(bytes)
    }
}

/// A change of one resource.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) target: Target,
    /// A JSON object, as it was written; there may be a credential in it.
    pub(super) text: Secret,
}

/// What is changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Router(Lookup),
    Provider(Lookup),
}

enum Locked {
    Router(RouterRow),
    Provider(ProviderRow),
}

impl Locked {
    async fn of(tx: &mut CatalogTx, target: Target) -> Result<Self, ApiError> {
        Ok(match target {
            Target::Router(at) => Self::Router(routers::lock(tx, None, at).await?),
            Target::Provider(at) => Self::Provider(providers::lock(tx, None, at).await?),
        })
    }

    const fn id(&self) -> Uuid {
        match self {
            Self::Router(row) => row.id,
            Self::Provider(row) => row.id,
        }
    }

    /// Kind, integer and name, as people are shown it.
    fn shown(&self) -> (Kind, i64, String) {
        match self {
            Self::Router(row) => (Kind::Router, row.number, row.name.clone()),
            Self::Provider(row) => (Kind::Provider, row.number, providers::subject(row)),
        }
    }
}

/// Stages a change: it is done, looked at and undone, so that whatever would refuse it later refuses it now.
pub(crate) async fn create(tx: &mut CatalogTx, vault: &KeyRing, new: NewCandidate) -> Result<CandidateRow, ApiError> {
    if new.changes.is_empty() || new.changes.len() > MOST {
        let expected = format!("1 to {MOST} changes are expected");
        return Err(domain::Error::invalid("changes", new.changes.len(), expected).into());
    }
    let mut rows: Vec<Locked> = Vec::with_capacity(new.changes.len());
    let mut shown = Vec::with_capacity(new.changes.len());
    for (index, change) in new.changes.iter().enumerate() {
        let fields = fields(change.text.expose(), index)?;
        let row = Locked::of(tx, change.target).await?;
        let (kind, number, name) = row.shown();
        if rows.iter().any(|other| other.id() == row.id()) {
            let field = format!("changes.{index}.id");
            return Err(domain::Error::invalid(&field, number, format!("{kind} {name} stands there twice")).into());
        }
        shown.push(json!({ "kind": kind.as_str(), "id": number, "uuid": row.id(), "name": name, "change": fields }));
        rows.push(row);
    }
    check_holder(tx, &rows).await?;
    let before = tx.begin_rehearsal().await?;
    for (index, (row, change)) in rows.iter().zip(&new.changes).enumerate() {
        let changed = match row {
            Locked::Router(row) => routers::amend(tx, row, change.text.expose().as_bytes()).await,
            Locked::Provider(row) => providers::amend(tx, vault, row, change.text.expose().as_bytes()).await,
        };
        if !changed.map_err(|error| placed(error, index))? {
            let (kind, _, name) = row.shown();
            let field = format!("changes.{index}.change");
            return Err(domain::Error::invalid(&field, "{…}", format!("{kind} {name} is like that already")).into());
        }
    }
    let rehearsed = tx.end_rehearsal(before).await?;
    let inserted = candidates::insert(tx, new.selector.labels(), &Value::Array(shown), rehearsed).await;
    let row = inserted.map_err(|error| match error.duplicate() {
        Some(_) => {
            domain::Error::conflict("already_staged", "A resource was staged by another candidate meanwhile.").into()
        }
        None => ApiError::from(error),
    })?;
    note(tx, "create", None, Some(&row))?;
    Ok(row)
}

/// The fields of a change as they may be shown, after a look at those that cannot be staged.
fn fields(text: &str, index: usize) -> Result<Map<String, Value>, ApiError> {
    let field = format!("changes.{index}.change");
    let Ok(Value::Object(mut fields)) = serde_json::from_str::<Value>(text) else {
        return Err(
            domain::Error::invalid(&field, "no object", "an object with the fields to change is expected").into()
        );
    };
    if let Some(fixed) = NOT_STAGED.iter().find(|fixed| fields.contains_key(**fixed)) {
        let expected = "it cannot be staged: change it on the resource itself";
        return Err(domain::Error::invalid(&format!("{field}.{fixed}"), "set", expected).into());
    }
    if let Some(Value::String(key)) = fields.get_mut("key") {
        // A reference may be seen, a credential may not.
        if !key.starts_with("env:") && !key.starts_with("file:") {
            "stored".clone_into(key);
        }
    }
    Ok(fields)
}

/// A resource can have one next version at a time.
async fn check_holder(tx: &mut CatalogTx, rows: &[Locked]) -> Result<(), ApiError> {
    let ids: Vec<Uuid> = rows.iter().map(Locked::id).collect();
    let Some((number, id)) = candidates::holder(tx.connection(), &ids).await? else { return Ok(()) };
    let held = rows.iter().find(|row| row.id() == id).map(Locked::shown);
    let what = held.map_or_else(String::new, |(kind, number, name)| format!("{kind} {number} ({name})"));
    let detail =
        format!("Of {what} another version is staged already, by candidate {number}: promote or withdraw that first.");
    Err(domain::Error::conflict("already_staged", detail).into())
}

/// Chooses other nodes for it.
pub(crate) async fn widen(
    tx: &mut CatalogTx,
    context: Option<&Context>,
    at: Lookup,
    selector: &Selector,
) -> Result<CandidateRow, ApiError> {
    let row = lock(tx, context, at).await?;
    if row.labels.0 == *selector.labels() {
        return Ok(row);
    }
    let changed = candidates::select(tx, row.id, selector.labels()).await?;
    note(tx, "update", Some(&row), Some(&changed))?;
    Ok(changed)
}

/// Makes it what the catalog says, for every node.
pub(crate) async fn promote(
    tx: &mut CatalogTx,
    context: Option<&Context>,
    at: Lookup,
) -> Result<CandidateRow, ApiError> {
    let row = lock(tx, context, at).await?;
    let parts = parts_of(&row)?;
    check_fresh(tx, &row, &parts).await?;
    let mut locked = Vec::with_capacity(parts.len());
    for part in &parts {
        let at = Lookup::Id(part.id);
        let target = if part.kind == Kind::Router { Target::Router(at) } else { Target::Provider(at) };
        locked.push(Locked::of(tx, target).await?);
    }
    // Once more, now that nobody else can change them.
    check_fresh(tx, &row, &parts).await?;
    for present in &locked {
        match present {
            Locked::Router(present) => {
                let next = candidates::router(tx, row.id, present.id).await?;
                routers::become_like(tx, present, &next.ok_or_else(|| gone(present.id))?).await?;
            }
            Locked::Provider(present) => {
                let next = candidates::provider(tx, row.id, present.id).await?.ok_or_else(|| gone(present.id))?;
                let sealed = match next.secret_id {
                    Some(secret) => candidates::sealed(tx, row.id, secret).await?,
                    None => None,
                };
                providers::become_like(tx, present, &next, sealed).await?;
            }
        }
    }
    candidates::delete(tx, row.id).await?;
    note(tx, "promote", Some(&row), None)?;
    Ok(row)
}

/// Takes it back: every node is told the catalog again.
pub(crate) async fn withdraw(
    tx: &mut CatalogTx,
    context: Option<&Context>,
    at: Lookup,
) -> Result<CandidateRow, ApiError> {
    let row = lock(tx, context, at).await?;
    candidates::delete(tx, row.id).await?;
    note(tx, "withdraw", Some(&row), None)?;
    Ok(row)
}

async fn lock(tx: &mut CatalogTx, context: Option<&Context>, at: Lookup) -> Result<CandidateRow, ApiError> {
    let found = candidates::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Candidate, at))?;
    context.map_or(Ok(()), |context| context.check_version(row.version))?;
    Ok(row)
}

/// One of the resources that a candidate was made for, as it was shown.
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) id: Uuid,
    pub(super) number: i64,
    pub(super) name: String,
    pub(super) change: Value,
}

/// The resources that a candidate was made for, in order.
pub(super) fn parts_of(row: &CandidateRow) -> Result<Vec<Part>, ApiError> {
    let part = |shown: &Value| {
        Some(Part {
            kind: shown.get("kind")?.as_str()?.parse().ok()?,
            id: shown.get("uuid")?.as_str()?.parse().ok()?,
            number: shown.get("id")?.as_i64()?,
            name: shown.get("name")?.as_str()?.to_owned(),
            change: shown.get("change")?.clone(),
        })
    };
    let parts: Option<Vec<Part>> = row.changes.as_array().and_then(|shown| shown.iter().map(part).collect());
    let reason = "the list of its changes has another form";
    let bad = || StoreError::BadRow { table: "candidates", id: row.id.to_string(), reason: reason.into() };
    Ok(parts.ok_or_else(bad)?)
}

/// Refuses a candidate that was staged on what is not there any more.
async fn check_fresh(tx: &mut CatalogTx, row: &CandidateRow, parts: &[Part]) -> Result<(), ApiError> {
    let entries = candidates::entries(tx.connection(), &[row.id]).await?;
    let Some(stale) = entries.iter().find(|entry| entry.is_stale()) else { return Ok(()) };
    let what = parts.iter().find(|part| part.id == stale.id).map_or_else(
        || format!("the credential {}", stale.id),
        |part| format!("{} {} ({})", part.kind, part.number, part.name),
    );
    let happened = if stale.present.is_none() { "was removed" } else { "was changed" };
    let detail = format!(
        "Since candidate {} was staged, {what} {happened}: withdraw the candidate and stage the change anew.",
        row.number
    );
    Err(domain::Error::conflict("stale_candidate", detail).into())
}

fn gone(id: Uuid) -> StoreError {
    StoreError::BadRow {
        table: "candidate_resources",
        id: id.to_string(),
        reason: "the row as it will be is missing".into(),
    }
}

fn note(
    tx: &mut CatalogTx,
    operation: &'static str,
    before: Option<&CandidateRow>,
    after: Option<&CandidateRow>,
) -> Result<(), ApiError> {
    let Some(row) = after.or(before) else { return Ok(()) };
    let names: Vec<String> = parts_of(row)?.into_iter().map(|part| part.name).collect();
    let value = |row: Option<&CandidateRow>| {
        let object = row.map(|row| CandidateObject::new(row, &[])).transpose()?;
        object.map(serde_json::to_value).transpose().map_err(|error| ApiError::Internal(error.into()))
    };
    let entry = AuditEntry {
        operation,
        kind: "candidate",
        id: Some(row.id),
        subject: names.join(", "),
        before: value(before)?,
        after: value(after)?,
    };
    tx.audit(entry);
    Ok(())
}

/// Whether one of a candidate's resources, or the credential that goes with it, was changed since it was staged.
pub(super) fn is_stale(entries: &[CandidateEntry], candidate: Uuid) -> bool {
    entries.iter().any(|entry| entry.candidate_id == candidate && entry.is_stale())
}
