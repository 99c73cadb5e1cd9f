//! Reads staged changes: the rows as they will be, as resources.

use std::collections::{BTreeMap, HashMap};

use shared::catalog::{Kind, Ref, Resource};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::rows::{self, RowError};
use super::{SealedSecret, SnapshotReader};
use crate::domain::Selector;
use crate::store::StoreError;

/// A staged change.
#[derive(Debug)]
pub struct Candidate {
    /// The API's integer.
    pub number: i64,
    /// For which nodes it is.
    pub selector: Selector,
    /// Its rows.
    pub rows: Vec<Staged>,
}

/// One row of a staged change.
#[derive(Debug)]
pub struct Staged {
    /// Which.
    pub reference: Ref,
    /// The version of the catalog's row when it was staged; absent: there was none.
    pub base: Option<u64>,
    /// As it will be; absent: it will be gone.
    pub content: Option<StagedContent>,
}

/// A row as it will be.
#[derive(Debug)]
pub enum StagedContent {
    /// A router or a provider.
    Resource(Box<Resource>),
    /// A provider's credential.
    Sealed(Box<SealedSecret>),
}

type Labels = Json<BTreeMap<String, String>>;

#[derive(FromRow)]
struct Entry {
    candidate_id: Uuid,
    kind: String,
    id: Uuid,
    base_version: Option<i64>,
    gone: bool,
}

const ROUTERS: &str = "SELECT n.*, ARRAY(SELECT jsonb_array_elements_text(c.content->'aliases')) AS aliases
     FROM candidate_resources c JOIN routers r ON r.id = c.id
     CROSS JOIN LATERAL jsonb_populate_record(r, c.content) n
     WHERE c.kind = 'router' AND c.content IS NOT NULL";
const PROVIDERS: &str = "SELECT n.* FROM candidate_resources c JOIN providers p ON p.id = c.id
     CROSS JOIN LATERAL jsonb_populate_record(p, c.content) n
     WHERE c.kind = 'provider' AND c.content IS NOT NULL";
const SECRETS: &str =
    "SELECT n.id, n.version, n.purpose, n.generation, n.sealed, p.id AS provider_id, p.content->>'url' AS url
     FROM candidate_resources c JOIN candidate_resources p
         ON p.candidate_id = c.candidate_id AND p.kind = 'provider' AND p.content->>'secret_id' = c.id::text
     CROSS JOIN LATERAL jsonb_populate_record(NULL::secrets, c.content) n
     WHERE c.kind = 'secret' AND c.content IS NOT NULL";

impl SnapshotReader {
    /// Every staged change. One with a row that this build does not understand is left out: its nodes stay with the
    /// rows of the catalog.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn candidates(&mut self) -> Result<Vec<Candidate>, StoreError> {
        let known: Vec<(Uuid, i64, Labels)> =
            sqlx::query_as("SELECT id, number, labels FROM candidates ORDER BY number")
                .fetch_all(&mut *self.tx)
                .await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let entries: Vec<Entry> = sqlx::query_as(
            "SELECT candidate_id, kind, id, base_version, content IS NULL AS gone FROM candidate_resources",
        )
        .fetch_all(&mut *self.tx)
        .await?;
        let mut contents = HashMap::new();
        let resource = |row: &PgRow, convert: fn(&PgRow) -> Result<Resource, RowError>| {
            let resource = convert(row)?;
            Ok((resource.reference(), StagedContent::Resource(Box::new(resource))))
        };
        self.staged(ROUTERS, &mut contents, |row| resource(row, rows::router)).await?;
        self.staged(PROVIDERS, &mut contents, |row| resource(row, rows::provider)).await?;
        self.staged(SECRETS, &mut contents, |row| {
            let secret = rows::secret(row)?;
            Ok((Ref { kind: Kind::Secret, id: secret.id.uuid() }, StagedContent::Sealed(Box::new(secret))))
        })
        .await?;
        let mut rows: HashMap<Uuid, Option<Vec<Staged>>> = HashMap::new();
        for entry in entries {
            let of = rows.entry(entry.candidate_id).or_insert_with(|| Some(Vec::new()));
            match (of.as_mut(), staged(&entry, &mut contents)) {
                (Some(staged), Some(one)) => staged.push(one),
                _ => *of = None,
            }
        }
        let complete = known.into_iter().filter_map(|(id, number, Json(labels))| {
            let rows = rows.remove(&id).flatten()?;
            Some(Candidate { number, selector: Selector::stored(labels), rows })
        });
        Ok(complete.collect())
    }

    async fn staged(
        &mut self,
        statement: &'static str,
        into: &mut HashMap<Ref, StagedContent>,
        convert: impl Fn(&PgRow) -> Result<(Ref, StagedContent), RowError>,
    ) -> Result<(), StoreError> {
        for row in sqlx::query(statement).fetch_all(&mut *self.tx).await? {
            match convert(&row) {
                Ok((reference, content)) => {
                    into.insert(reference, content);
                }
                Err(RowError(reason)) => {
                    let id: Uuid = row.try_get("id")?;
                    tracing::error!(%id, reason, "a row of a candidate cannot be read: its nodes stay with the catalog's");
                }
            }
        }
        Ok(())
    }
}

/// Absent when its content should be there and cannot be read, or its row is gone from the catalog.
fn staged(entry: &Entry, contents: &mut HashMap<Ref, StagedContent>) -> Option<Staged> {
    let reference = Ref { kind: entry.kind.parse().ok()?, id: entry.id };
    let content = contents.remove(&reference);
    if content.is_some() == entry.gone {
        return None;
    }
    Some(Staged { reference, base: entry.base_version.map(i64::cast_unsigned), content })
}
