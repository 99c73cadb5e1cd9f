//! What a rollback is about to do: which resources become what, and which are left out.

use shared::catalog::Kind;
use uuid::Uuid;

use super::rollback::{LeftOut, Overridden};
use super::{RevisionError, named};
use crate::domain::{self, Kept, never_rolled_back};
use crate::store::revisions::restore::Touched;
use serde_json::Value;

/// One resource on its way back.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) id: Uuid,
    pub(super) name: String,
    /// The first of the named revisions that touched it: it becomes what it was before that.
    pub(super) first: i64,
    /// How it will be; absent: it will be gone.
    pub(super) target: Option<Value>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) overridden: Vec<Overridden>,
}

impl Plan {
    /// Sorts what the revisions touched.
    pub(super) fn of(touched: Vec<Touched>, force: bool) -> Result<Self, RevisionError> {
        let mut plan = Self::default();
        let mut lost = Vec::new();
        for one in touched {
            let name = named(&one.kind, one.first_after.as_ref(), &one.before);
            let Ok(kind) = one.kind.parse::<Kind>() else {
                let reason = "resources of this kind are not known to this version".to_owned();
                plan.left_out.push(LeftOut { kind: one.kind, id: one.id, name, reason });
                continue;
            };
            if let Some(reason) = never_rolled_back(kind) {
                plan.left_out.push(LeftOut { kind: one.kind, id: one.id, name, reason: reason.to_owned() });
                continue;
            }
            // An envelope goes where its provider goes.
            if kind == Kind::Secret {
                continue;
            }
            let target = match one.before {
                Kept::Content(content) => Some(content),
                Kept::Absent => None,
                Kept::Unknown => {
                    lost.push(told(kind, &name, one.id));
                    continue;
                }
            };
            if !one.later.is_empty() {
                plan.overridden.push(Overridden {
                    kind: one.kind,
                    id: one.id,
                    name: name.clone(),
                    revisions: one.later,
                });
            }
            let first = one.revisions.first().copied().unwrap_or_default();
            plan.steps.push(Step { kind, id: one.id, name, first, target });
        }
        if !lost.is_empty() {
            let detail = format!("What was before is no longer kept of: {}.", list(&lost));
            return Err(domain::Error::Gone { code: "revision_not_kept", detail }.into());
        }
        if !force && !plan.overridden.is_empty() {
            return Err(plan.changed_since().into());
        }
        Ok(plan)
    }

    fn changed_since(&self) -> domain::Error {
        let told = self.overridden.iter().map(|one| {
            let revisions: Vec<String> = one.revisions.iter().map(i64::to_string).collect();
            format!("{} {} (revision {})", one.kind, or_id(&one.name, one.id), revisions.join(", "))
        });
        let told: Vec<String> = told.collect();
        let detail = format!(
            "Later revisions changed the same resources: {}. Name those revisions as well, or give `force` to lose what they changed.",
            list(&told)
        );
        domain::Error::conflict("changed_since", detail)
    }

    /// The ids of the steps of a kind that pass.
    pub(super) fn ids(&self, kind: Kind, passes: impl Fn(&Step) -> bool) -> Vec<Uuid> {
        self.steps.iter().filter(|step| step.kind == kind && passes(step)).map(|step| step.id).collect()
    }
}

/// What a resource is called in a message.
pub(super) fn told(kind: Kind, name: &str, id: Uuid) -> String {
    format!("{kind} {}", or_id(name, id))
}

fn or_id(name: &str, id: Uuid) -> String {
    if name.is_empty() { id.to_string() } else { name.to_owned() }
}

/// The first of them, and how many more there are.
pub(super) fn list(all: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown}; and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn touched(kind: Kind, before: Kept, later: &[i64]) -> Touched {
        Touched {
            kind: kind.as_str().to_owned(),
            id: Uuid::from_u128(1),
            revisions: vec![4, 6],
            before,
            first_after: Some(json!({"name": "x", "version": 2})),
            later: later.to_vec(),
        }
    }

    #[test]
    fn people_stay_and_credentials_follow() {
        let content = || Kept::Content(json!({"name": "x"}));
        let all = vec![
            touched(Kind::Key, content(), &[9]),
            touched(Kind::User, Kept::Unknown, &[]),
            touched(Kind::Secret, content(), &[9]),
            touched(Kind::Router, content(), &[]),
            touched(Kind::Role, Kept::Absent, &[]),
        ];
        let plan = Plan::of(all, false).unwrap();
        assert_eq!(plan.left_out.len(), 2);
        assert_eq!(plan.steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [Kind::Router, Kind::Role]);
        assert!(plan.steps[0].target.is_some() && plan.steps[1].target.is_none());
        assert_eq!(plan.steps[0].first, 4);
    }

    #[test]
    fn later_changes_stand_in_the_way_unless_forced() {
        let all = || vec![touched(Kind::Router, Kept::Absent, &[7, 8])];
        let refused = Plan::of(all(), false).unwrap_err().to_string();
        assert!(refused.contains("router x (revision 7, 8)"), "{refused}");
        let plan = Plan::of(all(), true).unwrap();
        assert_eq!((plan.steps.len(), plan.overridden.len()), (1, 1));
    }

    #[test]
    fn what_is_not_kept_is_said() {
        let refused = Plan::of(vec![touched(Kind::Provider, Kept::Unknown, &[])], true).unwrap_err();
        assert!(matches!(refused, RevisionError::Domain(domain::Error::Gone { .. })));
    }
}
