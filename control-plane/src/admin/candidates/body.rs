//! What a request says of a candidate.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use shared::catalog::Kind;
use utoipa::ToSchema;

use super::stage::{Change, NewCandidate, Target};
use crate::admin::body::{Fields, FromField, Unread, Word, nested};
use crate::admin::error::{ApiError, Problem};
use crate::domain::{self, Lookup, Patch, Selector};

/// For which nodes a candidate is.
#[derive(Debug, Default, ToSchema)]
pub(super) struct SelectorBody {
    /// What a node's labels must hold, each with this value.
    #[schema(value_type = Object, required = true)]
    labels: Patch<BTreeMap<String, String>>,
}

impl FromField for SelectorBody {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        nested(raw, |fields| Self { labels: fields.take("labels") })
    }
}

impl SelectorBody {
    fn read(selector: Patch<Self>) -> Result<Selector, domain::Error> {
        Selector::new(selector.required("selector", None)?.labels.required("selector.labels", None)?)
    }
}

/// A change of one resource.
#[derive(Debug, ToSchema)]
pub(super) struct ChangeBody {
    /// `router` or `provider`.
    #[schema(value_type = String, required = true)]
    kind: Patch<Word<Kind>>,
    /// Its id.
    #[schema(value_type = i64, required = true)]
    id: Patch<Lookup>,
    /// The fields to change, as a PATCH of it names them; `groups` and `router_id` cannot be staged.
    #[schema(value_type = Object, required = true)]
    change: Patch<Unread>,
}

impl FromField for ChangeBody {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        nested(raw, |fields| Self { kind: fields.take("kind"), id: fields.take("id"), change: fields.take("change") })
    }
}

impl ChangeBody {
    fn read(self, index: usize) -> Result<Change, domain::Error> {
        let field = |name: &str| format!("changes.{index}.{name}");
        let kind = self.kind.required(&field("kind"), None)?.0;
        let at = self.id.required(&field("id"), None)?;
        let text = self.change.required(&field("change"), None)?.0;
        let target = match kind {
            Kind::Router => Target::Router(at),
            Kind::Provider => Target::Provider(at),
            other => return Err(domain::Error::invalid(&field("kind"), other, "one of: router, provider")),
        };
        Ok(Change { target, text })
    }
}

/// A change to stage.
#[derive(Debug, ToSchema)]
pub(super) struct CandidateBody {
    /// For which nodes it is.
    #[schema(value_type = SelectorBody, required = true)]
    selector: Patch<SelectorBody>,
    /// What it changes; 1 to 100 resources, each once.
    #[schema(value_type = Vec<ChangeBody>, required = true)]
    changes: Patch<Vec<ChangeBody>>,
}

const READ_ONLY: &[&str] = &["id", "object", "stale", "nodes", "revision", "author", "created", "updated"];

impl CandidateBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<NewCandidate, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self { selector: fields.take("selector"), changes: fields.take("changes") };
        fields.finish(READ_ONLY)?;
        let changes = body.changes.required("changes", None)?;
        let changes = changes.into_iter().enumerate().map(|(index, change)| change.read(index));
        Ok(NewCandidate { changes: changes.collect::<Result<_, _>>()?, selector: SelectorBody::read(body.selector)? })
    }
}

/// For which nodes a candidate is from now on.
#[derive(Debug, ToSchema)]
pub(super) struct SelectionBody {
    /// Replaces the present one.
    #[schema(value_type = SelectorBody, required = true)]
    selector: Patch<SelectorBody>,
}

impl SelectionBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Selector, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self { selector: fields.take("selector") };
        fields.finish(&["id", "object", "changes", "stale", "nodes", "revision", "author", "created", "updated"])?;
        Ok(SelectorBody::read(body.selector)?)
    }
}

/// A refusal of the change of one resource, placed where the change stands.
pub(super) fn placed(error: ApiError, index: usize) -> ApiError {
    let path = |field: &str| format!("changes.{index}.change.{field}");
    match error {
        ApiError::Domain(domain::Error::Invalid { field, value, expected }) => {
            domain::Error::Invalid { field: path(&field), value, expected }.into()
        }
        ApiError::Invalid(problems) => ApiError::Invalid(
            problems
                .into_iter()
                .map(|mut problem| {
                    let place: [Value; 3] = ["changes".into(), index.into(), "change".into()];
                    let after = problem.at.len().min(1);
                    problem.at.splice(after..after, place);
                    problem
                })
                .collect(),
        ),
        ApiError::UnknownField { field, message } => ApiError::UnknownField { field: path(&field), message },
        ApiError::ForbiddenField { field } => ApiError::ForbiddenField { field: path(&field) },
        other => other,
    }
}
