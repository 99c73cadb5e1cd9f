//! One change of the catalog: rows, outbox, audit and the new revision, all or nothing.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use shared::catalog::Kind;
use shared::kernel::ids::Revision;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{Store, StoreError};

/// Who changes something, and from where; ends up in the audit table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Which sort of actor.
    pub kind: ActorKind,
    /// The user, where it is one.
    pub id: Option<Uuid>,
    /// An e-mail address, `master`, or the path of a file.
    pub name: String,
    /// The request that asked for it; empty when none did.
    pub request_id: String,
    /// The address that it came from; empty when there is none.
    pub address: String,
}

/// Which sort of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// The holder of the master key.
    Master,
    /// A user, through one of their keys.
    User,
    /// A configuration file.
    File,
    /// The program itself.
    System,
    /// Somebody who could not show who they are.
    Anonymous,
}

impl ActorKind {
    /// The word in the audit table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::User => "user",
            Self::File => "file",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

impl Actor {
    /// The program itself, for work that nobody asked for by a request.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self::local(ActorKind::System, name)
    }

    /// A configuration file, named by its path.
    #[must_use]
    pub fn file(path: &str) -> Self {
        Self::local(ActorKind::File, path)
    }

    fn local(kind: ActorKind, name: &str) -> Self {
        Self { kind, id: None, name: name.to_owned(), request_id: String::new(), address: String::new() }
    }
}

/// One line of the audit table. `before` and `after` hold no credential, password or verifier.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// `create`, `update`, `delete`, `login`, …
    pub operation: &'static str,
    /// What it was done to: a word of [`Kind`], or a noun outside the catalog.
    pub kind: &'static str,
    /// Its id.
    pub id: Option<Uuid>,
    /// Its name, for people.
    pub subject: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it is.
    pub after: Option<Value>,
}

/// A transaction that collects what it touches, so that its commit writes outbox, audit and revision in one statement.
///
/// Dropped without [`CatalogTx::commit`] it leaves nothing behind.
#[derive(Debug)]
pub struct CatalogTx {
    inner: Transaction<'static, Postgres>,
    actor: Actor,
    touched: BTreeSet<(Kind, Uuid)>,
    audits: Vec<AuditEntry>,
}

/// What was noted before a rehearsal began.
#[derive(Debug)]
pub struct Rehearsal {
    touched: BTreeSet<(Kind, Uuid)>,
    audits: Vec<AuditEntry>,
}

/// A row as a change would leave it.
#[derive(Debug)]
pub struct Rehearsed {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// As in the outbox; absent: it would be gone.
    pub content: Option<Value>,
}

impl Store {
    /// Begins a change on behalf of an actor.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is had in time.
    pub async fn begin(&self, actor: Actor) -> Result<CatalogTx, StoreError> {
        let inner = self.pool().begin().await?;
        Ok(CatalogTx { inner, actor, touched: BTreeSet::new(), audits: Vec::new() })
    }
}

impl CatalogTx {
    /// The connection inside the transaction.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Who changes.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Notes that a resource was made, changed or deleted; its content is read at commit.
    pub fn touch(&mut self, kind: Kind, id: Uuid) {
        self.touched.insert((kind, id));
    }

    /// Notes several of one kind.
    pub fn touch_all(&mut self, kind: Kind, ids: impl IntoIterator<Item = Uuid>) {
        self.touched.extend(ids.into_iter().map(|id| (kind, id)));
    }

    /// Begins a rehearsal: what is done from here on is undone by [`CatalogTx::end_rehearsal`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn begin_rehearsal(&mut self) -> Result<Rehearsal, StoreError> {
        sqlx::query("SAVEPOINT rehearsal").execute(&mut *self.inner).await?;
        Ok(Rehearsal { touched: std::mem::take(&mut self.touched), audits: std::mem::take(&mut self.audits) })
    }

    /// Undoes what was done since, and tells what it had made of each row.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn end_rehearsal(&mut self, before: Rehearsal) -> Result<Vec<Rehearsed>, StoreError> {
        let changes = contents(&mut self.inner, &self.touched).await?;
        sqlx::query("ROLLBACK TO SAVEPOINT rehearsal").execute(&mut *self.inner).await?;
        sqlx::query("RELEASE SAVEPOINT rehearsal").execute(&mut *self.inner).await?;
        (self.touched, self.audits) = (before.touched, before.audits);
        let rows = changes.kinds.into_iter().zip(changes.ids).zip(changes.contents);
        let known = |word: &str| Kind::ALL.iter().copied().find(|kind| kind.as_str() == word);
        Ok(rows.filter_map(|((kind, id), content)| Some(Rehearsed { kind: known(kind)?, id, content })).collect())
    }

    /// Adds a line to the audit table.
    pub fn audit(&mut self, entry: AuditEntry) {
        self.audits.push(entry);
    }

    /// Commits. With touched resources the catalog gets a new revision, as the last statement; without, only the audit
    /// lines are written and the revision stays.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has been changed then, unless the connection broke while the server was committing.
    pub async fn commit(mut self) -> Result<Option<Revision>, StoreError> {
        if self.touched.is_empty() && self.audits.is_empty() {
            self.inner.commit().await?;
            return Ok(None);
        }
        let changes = contents(&mut self.inner, &self.touched).await?;
        let bump = !changes.kinds.is_empty();
        let audits = Audits::of(&self.audits);
        let revision: Option<i64> = sqlx::query_scalar(
            "WITH head AS (
                 UPDATE catalog_head SET revision = revision + 1 WHERE $1 RETURNING revision, epoch
             ), logged AS (
                 INSERT INTO changes (revision, kind, id, content, epoch)
                 SELECT head.revision, c.kind, c.id, c.content, head.epoch
                 FROM head, unnest($2::text[], $3::uuid[], $4::jsonb[]) AS c (kind, id, content)
             ), audited AS (
                 INSERT INTO audit (revision, actor_kind, actor_id, actor_name, request_id, address,
                                    operation, kind, subject_id, subject, before, after)
                 SELECT (SELECT revision FROM head), $5, $6, $7, $8, $9, a.*
                 FROM unnest($10::text[], $11::text[], $12::uuid[], $13::text[], $14::jsonb[], $15::jsonb[]) AS a
             ), told AS (
                 SELECT pg_notify($16, revision::text) FROM head
             )
             SELECT revision FROM head LEFT JOIN told ON true",
        )
        .bind(bump)
        .bind(changes.kinds)
        .bind(changes.ids)
        .bind(changes.contents)
        .bind(self.actor.kind.as_str())
        .bind(self.actor.id)
        .bind(&self.actor.name)
        .bind(&self.actor.request_id)
        .bind(&self.actor.address)
        .bind(audits.operations)
        .bind(audits.kinds)
        .bind(audits.ids)
        .bind(audits.subjects)
        .bind(audits.before)
        .bind(audits.after)
        .bind(super::pool::CATALOG_CHANNEL)
        .fetch_optional(&mut *self.inner)
        .await?;
        self.inner.commit().await?;
        Ok(revision.map(|revision| Revision(u64::try_from(revision).unwrap_or(0))))
    }
}

/// Columns for `unnest`.
#[derive(Default)]
struct Changes {
    kinds: Vec<&'static str>,
    ids: Vec<Uuid>,
    contents: Vec<Option<Value>>,
}

struct Audits<'a> {
    operations: Vec<&'a str>,
    kinds: Vec<&'a str>,
    ids: Vec<Option<Uuid>>,
    subjects: Vec<&'a str>,
    before: Vec<Option<&'a Value>>,
    after: Vec<Option<&'a Value>>,
}

impl<'a> Audits<'a> {
    fn of(entries: &'a [AuditEntry]) -> Self {
        Self {
            operations: entries.iter().map(|entry| entry.operation).collect(),
            kinds: entries.iter().map(|entry| entry.kind).collect(),
            ids: entries.iter().map(|entry| entry.id).collect(),
            subjects: entries.iter().map(|entry| entry.subject.as_str()).collect(),
            before: entries.iter().map(|entry| entry.before.as_ref()).collect(),
            after: entries.iter().map(|entry| entry.after.as_ref()).collect(),
        }
    }
}

/// The rows as they are now; a row that is gone has no content.
async fn contents(connection: &mut PgConnection, touched: &BTreeSet<(Kind, Uuid)>) -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    for kind in Kind::ALL.iter().copied() {
        let ids: Vec<Uuid> = touched.iter().filter(|(of, _)| *of == kind).map(|(_, id)| *id).collect();
        if ids.is_empty() || content_statement(kind).is_none() {
            continue;
        }
        let mut found = present(connection, kind, &ids).await?;
        for id in ids {
            changes.kinds.push(kind.as_str());
            changes.ids.push(id);
            changes.contents.push(found.remove(&id));
        }
    }
    Ok(changes)
}

/// Those of these rows that are there, as the log would tell them.
pub(super) async fn present(
    connection: &mut PgConnection,
    kind: Kind,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Value>, StoreError> {
    let Some(statement) = content_statement(kind) else { return Ok(HashMap::new()) };
    let rows: Vec<(Uuid, Value)> = sqlx::query_as(statement).bind(ids).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

/// Passwords and verifiers stay out: users and keys are never rolled back.
const fn content_statement(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Organization => "SELECT id, to_jsonb(t) FROM organizations t WHERE id = ANY($1)",
        Kind::Role => "SELECT id, to_jsonb(t) FROM roles t WHERE id = ANY($1)",
        Kind::User => "SELECT id, to_jsonb(t) - 'password' FROM users t WHERE id = ANY($1)",
        Kind::Key => "SELECT id, to_jsonb(t) FROM keys t WHERE id = ANY($1)",
        Kind::Router => {
            "SELECT id, to_jsonb(t) || jsonb_build_object('aliases', ARRAY(
                 SELECT n.name FROM router_names n WHERE n.router_id = t.id AND n.alias ORDER BY n.position))
             FROM routers t WHERE id = ANY($1)"
        }
        Kind::Provider => "SELECT id, to_jsonb(t) FROM providers t WHERE id = ANY($1)",
        Kind::Limit => "SELECT id, to_jsonb(t) FROM limits t WHERE id = ANY($1)",
        Kind::Secret => "SELECT id, to_jsonb(t) FROM secrets t WHERE id = ANY($1)",
        Kind::Setting => "SELECT id, to_jsonb(t) FROM settings t WHERE id = ANY($1)",
        Kind::Project | Kind::Budget | Kind::Guardrail => return None,
    })
}
