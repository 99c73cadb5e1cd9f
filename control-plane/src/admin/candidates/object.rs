//! A candidate as the API shows it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use shared::kernel::ids::Epoch;
use utoipa::ToSchema;

use super::stage::{is_stale, parts_of};
use crate::admin::error::ApiError;
use crate::domain::Selector;
use crate::fleet::nodes::NodeStatus;
use crate::store::candidates::{CandidateEntry, CandidateRow};

/// For which nodes a candidate is.
#[derive(Debug, Serialize, ToSchema)]
struct SelectorObject {
    /// What a node's labels must hold.
    #[schema(value_type = Object)]
    labels: BTreeMap<String, String>,
}

/// A change of one resource.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeObject {
    /// `router` or `provider`.
    kind: String,
    /// Its id.
    id: i64,
    /// What it is called.
    name: String,
    /// The fields that change; of a credential only that there is one.
    #[schema(value_type = Object)]
    change: Value,
}

/// How many connected nodes are told a candidate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodesObject {
    /// Chosen by its selector.
    matching: usize,
    /// Of these: have said that they hold it.
    acknowledged: usize,
    /// Of these: could not apply one of its resources.
    rejecting: usize,
}

/// A staged change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CandidateObject {
    /// Always `candidate`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// For which nodes it is.
    selector: SelectorObject,
    /// What it changes.
    changes: Vec<ChangeObject>,
    /// One of its resources was changed since: its nodes are told the catalog's again, and it cannot be promoted.
    stale: bool,
    /// The nodes that are told; absent in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<NodesObject>,
    /// The revision of the catalog that published it, or its present selector.
    revision: i64,
    /// Who staged it.
    author: String,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl CandidateObject {
    pub(super) fn new(row: &CandidateRow, entries: &[CandidateEntry]) -> Result<Self, ApiError> {
        let changes = parts_of(row)?.into_iter().map(|part| ChangeObject {
            kind: part.kind.as_str().to_owned(),
            id: part.number,
            name: part.name,
            change: part.change,
        });
        Ok(Self {
            object: "candidate",
            id: row.number,
            selector: SelectorObject { labels: row.labels.0.clone() },
            changes: changes.collect(),
            stale: is_stale(entries, row.id),
            nodes: None,
            revision: row.revision,
            author: row.author.clone(),
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        })
    }

    /// With how far it has come.
    pub(super) fn among(
        self,
        row: &CandidateRow,
        entries: &[CandidateEntry],
        nodes: &[NodeStatus],
        epoch: Epoch,
    ) -> Self {
        let selector = Selector::stored(row.labels.0.clone());
        let versions: BTreeSet<u64> = entries
            .iter()
            .filter(|entry| entry.candidate_id == row.id)
            .map(|entry| entry.version.cast_unsigned())
            .collect();
        let revision = row.revision.cast_unsigned();
        let chosen = || nodes.iter().filter(|node| node.connected && selector.chooses(&node.facts.labels));
        let holds = |node: &&NodeStatus| {
            node.acknowledged.is_some_and(|(of, acknowledged)| of == epoch && acknowledged.0 >= revision)
        };
        let rejects = |node: &&NodeStatus| node.rejected.iter().any(|one| versions.contains(&one.version));
        let nodes = NodesObject {
            matching: chosen().count(),
            acknowledged: chosen().filter(holds).count(),
            rejecting: chosen().filter(rejects).count(),
        };
        Self { nodes: Some(nodes), ..self }
    }
}
