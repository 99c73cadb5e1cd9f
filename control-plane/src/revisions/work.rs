//! A rollback under way: looks how things are, refuses what cannot be, and puts one resource after the other back.

use std::collections::HashMap;

use serde_json::{Value, json};
use shared::catalog::{Kind, ProviderKind, RouterKind};
use shared::kernel::ids::{ProviderId, RouterId, SecretId};
use uuid::Uuid;

use super::RevisionError;
use super::plan::{Plan, Step, list, told};
use super::rollback::{LeftOut, Overridden, Reverted, Rollback};
use crate::domain::{self, Kept, Lookup, Noun, Operation, differences, is_same, shown};
use crate::store::revisions::put;
use crate::store::revisions::restore::{self, Dependent, ORDER};
use crate::store::snapshot::seal_context;
use crate::store::{AuditEntry, CatalogTx, StoreError, providers, routers};
use crate::vault::KeyRing;

/// A rollback under way.
pub(super) struct Work<'a> {
    pub(super) tx: CatalogTx,
    pub(super) ring: Option<&'a KeyRing>,
    pub(super) force: bool,
    /// How things are until now.
    pub(super) before: HashMap<(Kind, Uuid), Value>,
    /// The envelopes that providers come back with, by provider.
    pub(super) secrets: HashMap<Uuid, Value>,
    /// What had to go for something that comes back.
    pub(super) lost: Vec<Overridden>,
}

impl Work<'_> {
    /// Reads how things are, and leaves out what is already as it should be.
    pub(super) async fn look(&mut self, plan: &mut Plan) -> Result<(), RevisionError> {
        for kind in ORDER {
            let ids = plan.ids(kind, |_| true);
            let present = restore::present(&mut self.tx, kind, &ids).await?;
            self.before.extend(present.into_iter().map(|(id, content)| ((kind, id), content)));
        }
        for step in plan.steps.iter().filter(|step| step.kind == Kind::Provider) {
            let Some(id) = step.target.as_ref().and_then(|target| reference(target, "secret_id")) else { continue };
            let secret = restore::secret_before(&mut self.tx, id, step.first).await?;
            let secret = secret.ok_or_else(|| {
                let detail = format!("The credential of {} is no longer kept.", told(step.kind, &step.name, step.id));
                domain::Error::Gone { code: "revision_not_kept", detail }
            })?;
            self.secrets.insert(step.id, secret);
        }
        let ids: Vec<Uuid> = self.secrets.values().filter_map(|secret| reference(secret, "id")).collect();
        let present = restore::present(&mut self.tx, Kind::Secret, &ids).await?;
        let Self { before, secrets, .. } = self;
        let is_there = |step: &Step| match (before.get(&(step.kind, step.id)), &step.target) {
            (None, None) => true,
            (Some(now), Some(target)) => {
                let secret = secrets.get(&step.id);
                let same_secret = secret.is_none_or(|secret| {
                    let now = reference(secret, "id").and_then(|id| present.get(&id));
                    now.and_then(|now| now.get("sealed")) == secret.get("sealed")
                });
                is_same(now, target) && same_secret
            }
            _ => false,
        };
        let mut same = Vec::new();
        plan.steps.retain(|step| {
            let keep = !is_there(step);
            if !keep {
                same.push(step.id);
                plan.left_out.push(LeftOut {
                    kind: step.kind.as_str().to_owned(),
                    id: step.id,
                    name: step.name.clone(),
                    reason: "it is already as it was".to_owned(),
                });
            }
            keep
        });
        plan.overridden.retain(|one| !same.contains(&one.id));
        Ok(())
    }

    /// What a configuration file owns is changed there.
    pub(super) async fn refuse_files(&mut self, plan: &Plan) -> Result<(), RevisionError> {
        for step in &plan.steps {
            let contents = [self.before.get(&(step.kind, step.id)), step.target.as_ref()];
            let mut owner = None;
            for content in contents.into_iter().flatten() {
                owner = owner.or(match step.kind {
                    Kind::Router => content.get("owner_file").and_then(Value::as_str).map(str::to_owned),
                    Kind::Provider => match reference(content, "router_id") {
                        Some(router) => routers::get(self.tx.connection(), Lookup::Id(router))
                            .await?
                            .and_then(|router| router.owner_file),
                        None => None,
                    },
                    _ => None,
                });
            }
            if let Some(file) = owner {
                let noun = if step.kind == Kind::Router { Noun::Router } else { Noun::Provider };
                return Err(domain::Error::owned_by_file(noun, &step.name, &file).into());
            }
        }
        Ok(())
    }

    /// What hangs on something that goes, goes with it only by force; people never do.
    pub(super) async fn refuse_orphans(&mut self, plan: &mut Plan) -> Result<(), RevisionError> {
        let going: Vec<Uuid> = plan.steps.iter().filter(|step| step.target.is_none()).map(|step| step.id).collect();
        let (mut firm, mut loose) = (Vec::new(), Vec::new());
        for step in plan.steps.iter().filter(|step| step.target.is_none()) {
            for dependent in restore::dependents(&mut self.tx, step.kind, step.id, &going).await? {
                // Steps that come back elsewhere are moved before their parent goes.
                let moves = plan.steps.iter().any(|other| other.id == dependent.id);
                let text = format!("{} {} of {}", dependent.kind, dependent.name, told(step.kind, &step.name, step.id));
                match dependent.kind.as_str() {
                    _ if moves => {}
                    "provider" | "limit" => loose.push((dependent, text)),
                    _ => firm.push(text),
                }
            }
        }
        if !firm.is_empty() {
            let detail = format!("These would lose what they belong to: {}.", list(&firm));
            return Err(domain::Error::conflict("in_use", detail).into());
        }
        if !self.force && !loose.is_empty() {
            let loose: Vec<String> = loose.into_iter().map(|(_, text)| text).collect();
            let detail = format!(
                "These were made later and would be deleted as well: {}. Name those revisions too, or give `force`.",
                list(&loose)
            );
            return Err(domain::Error::conflict("changed_since", detail).into());
        }
        plan.overridden.extend(loose.into_iter().map(|(Dependent { kind, id, name }, _)| Overridden {
            kind,
            id,
            name,
            revisions: Vec::new(),
        }));
        Ok(())
    }

    pub(super) async fn apply(&mut self, plan: &Plan) -> Result<(), RevisionError> {
        for kind in ORDER {
            let stays = |step: &Step| self.before.contains_key(&(step.kind, step.id)) && step.target.is_some();
            restore::park_names(&mut self.tx, kind, &plan.ids(kind, stays)).await?;
        }
        // Children come back, or move, before their old parents go; what goes frees its names for what comes.
        for kind in [Kind::Limit, Kind::Provider] {
            self.delete(plan, kind).await?;
        }
        let free =
            |step: &&Step| step.target.is_none() && matches!(step.kind, Kind::Router | Kind::Role | Kind::Organization);
        for step in plan.steps.iter().filter(free) {
            restore::park_names(&mut self.tx, step.kind, &[step.id]).await?;
        }
        for kind in ORDER {
            for step in plan.steps.iter().filter(|step| step.kind == kind) {
                self.put(step).await?;
            }
        }
        for kind in [Kind::Router, Kind::Role, Kind::Organization] {
            self.delete(plan, kind).await?;
        }
        for router in plan.ids(Kind::Router, |step| step.target.is_some()) {
            self.check_kinds(router).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, plan: &Plan, kind: Kind) -> Result<(), RevisionError> {
        for step in plan.steps.iter().filter(|step| step.kind == kind && step.target.is_none()) {
            put::delete(&mut self.tx, kind, step.id).await.map_err(|error| refusal(error, step))?;
        }
        Ok(())
    }

    async fn put(&mut self, step: &Step) -> Result<(), RevisionError> {
        let Some(target) = &step.target else { return Ok(()) };
        self.check_parents(step, target).await?;
        let mut holders = restore::holders(&mut self.tx, step.kind, step.id, target).await?;
        if self.force && step.kind == Kind::Limit {
            // A limit has no name of its own: whatever holds its place now was made later, for the same.
            for Dependent { kind, id, name } in holders.drain(..) {
                put::delete(&mut self.tx, Kind::Limit, id).await?;
                self.lost.push(Overridden { kind, id, name, revisions: Vec::new() });
            }
        }
        if let Some(holder) = holders.into_iter().next() {
            let detail = format!(
                "{} cannot come back: {} is what {} {} is called now.",
                told(step.kind, &step.name, step.id),
                holder.name,
                holder.kind,
                holder.id
            );
            return Err(domain::Error::conflict("already_exists", detail).into());
        }
        let secret = self.secrets.get(&step.id).cloned();
        if let Some(secret) = &secret {
            self.check_envelope(step, target, secret)?;
        }
        let put = put::put(&mut self.tx, step.kind, step.id, target, secret.as_ref()).await;
        put.map_err(|error| refusal(error, step))
    }

    /// What it belongs to must be there.
    async fn check_parents(&mut self, step: &Step, target: &Value) -> Result<(), RevisionError> {
        let fields: &[(&str, Kind)] = match step.kind {
            Kind::Router => &[("organization_id", Kind::Organization)],
            Kind::Provider => &[("router_id", Kind::Router)],
            Kind::Limit => &[("role_id", Kind::Role), ("router_id", Kind::Router)],
            _ => &[],
        };
        for (field, kind) in fields {
            let Some(parent) = reference(target, field) else { continue };
            if restore::present(&mut self.tx, *kind, &[parent]).await?.is_empty() {
                let detail = format!(
                    "{} cannot come back: its {kind} {parent} is gone. Take back the revision that deleted it as well.",
                    told(step.kind, &step.name, step.id)
                );
                return Err(domain::Error::conflict("parent_gone", detail).into());
            }
        }
        Ok(())
    }

    /// An envelope that nobody can open would be a provider that fails each call.
    fn check_envelope(&self, step: &Step, target: &Value, secret: &Value) -> Result<(), RevisionError> {
        let Some(ring) = self.ring else { return Ok(()) };
        let sealed = secret.get("sealed").and_then(Value::as_str).and_then(bytes).unwrap_or_default();
        let url = target.get("url").and_then(Value::as_str).unwrap_or_default();
        let id = SecretId::from_uuid(reference(secret, "id").unwrap_or_default());
        let context = seal_context(id, ProviderId::from_uuid(step.id), url);
        if ring.open(&context, &sealed).is_ok() {
            return Ok(());
        }
        let detail = format!(
            "The credential of {} was sealed by a key that is no longer in ring.key, so it cannot come back: change the provider and give the credential as `key`.",
            told(step.kind, &step.name, step.id)
        );
        Err(domain::Error::conflict("credential_lost", detail).into())
    }

    /// A router may not become of a kind that one of its providers cannot serve.
    async fn check_kinds(&mut self, router: Uuid) -> Result<(), RevisionError> {
        let Some(row) = routers::get(self.tx.connection(), Lookup::Id(router)).await? else { return Ok(()) };
        let Ok(kind) = row.kind.parse::<RouterKind>() else { return Ok(()) };
        for provider in providers::of_router(self.tx.connection(), RouterId::from_uuid(router)).await? {
            if !provider.kind.parse::<ProviderKind>().is_ok_and(|provider| provider.serves(kind)) {
                let detail = format!(
                    "Router {} cannot become {kind} again: its provider {} of type {} does not serve that.",
                    row.name, provider.number, provider.kind
                );
                return Err(domain::Error::conflict("provider_type_mismatch", detail).into());
            }
        }
        Ok(())
    }

    /// What was done, for the answer.
    pub(super) fn tell(&self, plan: &Plan) -> Vec<Reverted> {
        let told = plan.steps.iter().map(|step| {
            let before = self.before.get(&(step.kind, step.id));
            let was = before.cloned().map_or(Kept::Absent, Kept::Content);
            Reverted {
                kind: step.kind,
                id: step.id,
                name: step.name.clone(),
                operation: Operation::between(&was, step.target.as_ref()),
                fields: differences(before, step.target.as_ref()),
            }
        });
        told.collect()
    }

    /// What was done, for the audit table.
    pub(super) fn note(&mut self, plan: &Plan, revisions: &[i64], wanted: &Rollback) {
        for step in &plan.steps {
            self.tx.audit(AuditEntry {
                operation: "rollback",
                kind: step.kind.as_str(),
                id: Some(step.id),
                subject: step.name.clone(),
                before: self.before.get(&(step.kind, step.id)).map(shown),
                after: step.target.as_ref().map(shown),
            });
        }
        let numbers: Vec<String> = revisions.iter().take(20).map(i64::to_string).collect();
        self.tx.audit(AuditEntry {
            operation: "rollback",
            kind: "revision",
            id: None,
            subject: numbers.join(", "),
            before: None,
            after: Some(json!({ "revisions": revisions, "reason": wanted.reason, "force": wanted.force })),
        });
    }
}

/// The words for what the tables themselves refuse.
fn refusal(error: StoreError, step: &Step) -> RevisionError {
    let what = told(step.kind, &step.name, step.id);
    if error.duplicate().is_some() {
        let detail = format!("{what} cannot come back: something else has its name, number or address by now.");
        return domain::Error::conflict("already_exists", detail).into();
    }
    if error.reference().is_some() {
        let detail =
            format!("{what} cannot go or come back: other resources depend on it, or what it belongs to is gone.");
        return domain::Error::conflict("in_use", detail).into();
    }
    error.into()
}

/// An id in a content.
fn reference(content: &Value, field: &str) -> Option<Uuid> {
    content.get(field).and_then(Value::as_str).and_then(|text| text.parse().ok())
}

/// Bytes as Postgres writes them into JSON: `\x` and hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_postgres_are_read() {
        assert_eq!(bytes("\\x00ffA0"), Some(vec![0, 255, 160]));
        assert_eq!(bytes("\\x0"), None);
        assert_eq!(bytes("00"), None);
    }
}
