//! The routers of a file, one by one: made, changed only where they differ, removed.

use std::collections::BTreeMap;

use serde_json::json;
use shared::kernel::ids::{ProviderId, RouterId, SecretId};
use shared::kernel::money::Prices;
use shared::kernel::secret::Secret;
use uuid::Uuid;

use super::{NameTaken, Outcome, ReconcileError};
use crate::dialect::{PlannedProvider, PlannedRouter};
use crate::domain::{self, CredentialSpec, Lookup, ProviderSpec, RouterSpec, provider_url};
use crate::store::providers::{self, CredentialChange, ProviderRow};
use crate::store::routers::{self, RouterOrigin, RouterRow};
use crate::store::snapshot::seal_context;
use crate::store::{AuditEntry, CatalogTx};
use crate::vault::KeyRing;

/// One run over one file.
pub(super) struct Apply<'a> {
    pub(super) tx: &'a mut CatalogTx,
    pub(super) ring: &'a KeyRing,
    pub(super) path: &'a str,
    pub(super) outcome: &'a mut Outcome,
}

impl Apply<'_> {
    /// Makes what the file owns equal to the file.
    pub(super) async fn own(&mut self, planned: &[PlannedRouter]) -> Result<(), ReconcileError> {
        self.take_over(planned).await?;
        let rows = routers::of_file(self.tx.connection(), self.path).await?;
        let mut owned: BTreeMap<String, RouterRow> = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let mut changed = Vec::new();
        for router in planned {
            let row = owned.remove(&router.name);
            let spec = checked_spec(router, row.as_ref())?;
            let same = row.as_ref().is_some_and(|row| is_same(row, &spec));
            changed.push((router, spec, row, same));
        }
        // All names that may move are free before the first of them is taken anew.
        let moving: Vec<Uuid> = changed
            .iter()
            .filter(|(.., same)| !same)
            .filter_map(|(_, _, row, _)| row.as_ref())
            .chain(owned.values())
            .map(|row| row.id)
            .collect();
        self.tx.free_router_names(&moving).await?;
        for row in owned.values() {
            routers::delete(self.tx, row.id).await?;
            self.outcome.deleted += 1;
            self.note("delete", "router", row.id, &row.name, None);
        }
        for (router, spec, row, same) in changed {
            let id = match row {
                Some(row) if same => row.id,
                Some(row) => {
                    self.refuse_taken(router).await?;
                    routers::update(self.tx, row.id, &spec).await?;
                    self.outcome.updated += 1;
                    self.note("update", "router", row.id, &spec.name, Some(router));
                    row.id
                }
                None => {
                    self.refuse_taken(router).await?;
                    self.create(router, &spec, Some(self.path.to_owned())).await?
                }
            };
            self.providers(router, RouterId::from_uuid(id)).await?;
        }
        Ok(())
    }

    /// Adds what is not there by any of its names, for the operators to own.
    pub(super) async fn seed(&mut self, planned: &[PlannedRouter]) -> Result<(), ReconcileError> {
        for row in routers::of_file(self.tx.connection(), self.path).await? {
            self.tx.set_router_owner(row.id, None).await?;
            self.note("release", "router", row.id, &row.name, None);
        }
        for router in planned {
            let spec = checked_spec(router, None)?;
            if routers::taken(self.tx.connection(), None, &names(router), None).await?.is_empty() {
                let id = self.create(router, &spec, None).await?;
                self.providers(router, RouterId::from_uuid(id)).await?;
            }
        }
        Ok(())
    }

    /// A file that was moved or renamed keeps its routers: those of another file with the same name become this one's.
    async fn take_over(&mut self, planned: &[PlannedRouter]) -> Result<(), ReconcileError> {
        for router in planned {
            for (_, id) in routers::taken(self.tx.connection(), None, std::slice::from_ref(&router.name), None).await? {
                let row = routers::get(self.tx.connection(), Lookup::Id(id)).await?;
                let Some(row) = row.filter(|row| row.name == router.name) else { continue };
                let Some(other) = row.owner_file.as_deref().filter(|other| *other != self.path) else { continue };
                tracing::warn!(
                    router = row.name,
                    from = other,
                    to = self.path,
                    "a router moves from one configuration file to another"
                );
                self.tx.set_router_owner(id, Some(self.path)).await?;
                self.note("adopt", "router", id, &row.name, Some(router));
                self.tx.forget_owner_file(other).await?;
            }
        }
        Ok(())
    }

    async fn create(
        &mut self,
        router: &PlannedRouter,
        spec: &RouterSpec,
        owner_file: Option<String>,
    ) -> Result<Uuid, ReconcileError> {
        let row = routers::insert(self.tx, spec, &RouterOrigin { user: None, owner_file }).await?;
        self.outcome.created += 1;
        self.note("create", "router", row.id, &row.name, Some(router));
        Ok(row.id)
    }

    async fn refuse_taken(&mut self, router: &PlannedRouter) -> Result<(), ReconcileError> {
        let taken = routers::taken(self.tx.connection(), None, &names(router), None).await?;
        let Some((name, id)) = taken.into_iter().next() else { return Ok(()) };
        let row = routers::get(self.tx.connection(), Lookup::Id(id)).await?;
        let (existing, number, owner) = row.map_or_else(
            || (name.clone(), 0, String::new()),
            |row| {
                let owner = row
                    .owner_file
                    .map_or_else(|| ", made through the API,".to_owned(), |file| format!(" of the file {file}"));
                (row.name, row.number, owner)
            },
        );
        Err(Box::new(NameTaken {
            path: router.path.clone(),
            planned: router.name.clone(),
            name,
            existing,
            number,
            owner,
        })
        .into())
    }

    /// Makes the providers of a router equal to the file; the same address and upstream name is the same provider.
    async fn providers(&mut self, router: &PlannedRouter, id: RouterId) -> Result<(), ReconcileError> {
        let mut present = providers::of_router(self.tx.connection(), id).await?;
        let mut work = Vec::new();
        for planned in &router.providers {
            let spec = provider_spec(planned, id)
                .map_err(|source| ReconcileError::Invalid { path: planned.path.clone(), source })?;
            spec.check(router.kind).map_err(|source| ReconcileError::Invalid { path: planned.path.clone(), source })?;
            let at = present.iter().position(|row| row.url == spec.url && row.upstream_model == spec.upstream_model);
            work.push((planned, spec, at.map(|at| present.swap_remove(at))));
        }
        for row in &present {
            providers::delete(self.tx, row).await?;
            self.outcome.deleted += 1;
            self.note("delete", "provider", row.id, &row.url, None);
        }
        for (planned, spec, row) in work {
            match row {
                None => {
                    let provider = ProviderId::generate();
                    let credential = self.seal(&planned.credential, provider, &spec.url, None)?;
                    let row = providers::insert(self.tx, provider, &spec, &credential, None).await?;
                    self.outcome.created += 1;
                    self.note("create", "provider", row.id, &row.url, Some(router));
                }
                Some(row) => {
                    let provider = ProviderId::from_uuid(row.id);
                    let keeps = self.keeps_credential(&planned.credential, &row).await?;
                    if keeps && is_same_provider(&row, &spec) {
                        continue;
                    }
                    let credential = match keeps {
                        true => CredentialChange::Keep,
                        false => self.seal(&planned.credential, provider, &spec.url, row.secret_id)?,
                    };
                    providers::update(self.tx, &row, &spec, &credential).await?;
                    self.outcome.updated += 1;
                    self.note("update", "provider", row.id, &row.url, Some(router));
                }
            }
        }
        Ok(())
    }

    /// An envelope that no longer opens counts as another credential: the file has the value, so it heals here.
    async fn keeps_credential(&mut self, planned: &CredentialSpec, row: &ProviderRow) -> Result<bool, ReconcileError> {
        Ok(match (planned, row.secret_id, row.credential_reference.as_deref()) {
            (CredentialSpec::None, None, None) => true,
            (CredentialSpec::Reference(place), None, Some(present)) => place == present,
            (CredentialSpec::Stored(value), Some(secret), None) => {
                let context = seal_context(SecretId::from_uuid(secret), ProviderId::from_uuid(row.id), &row.url);
                let sealed = self.tx.sealed_credential(secret).await?.unwrap_or_default();
                match self.ring.open(&context, &sealed) {
                    Ok(plain) => {
                        Secret::new(String::from_utf8_lossy(plain.expose()).into_owned()).matches(value.expose())
                    }
                    Err(_) => false,
                }
            }
            _ => false,
        })
    }

    fn seal(
        &self,
        planned: &CredentialSpec,
        provider: ProviderId,
        url: &str,
        present: Option<Uuid>,
    ) -> Result<CredentialChange, ReconcileError> {
        Ok(match planned {
            CredentialSpec::None => CredentialChange::Remove,
            CredentialSpec::Reference(place) => CredentialChange::Reference(place.clone()),
            CredentialSpec::Stored(value) => {
                let id = present.map_or_else(SecretId::generate, SecretId::from_uuid);
                let sealed = self.ring.seal(&seal_context(id, provider, url), value.expose().as_bytes())?;
                CredentialChange::Sealed { id, sealed }
            }
        })
    }

    fn note(
        &mut self,
        operation: &'static str,
        kind: &'static str,
        id: Uuid,
        subject: &str,
        planned: Option<&PlannedRouter>,
    ) {
        let after = planned.map(|router| {
            json!({ "router": router.name, "type": router.kind.as_str(), "aliases": router.aliases, "at": router.path, "file": self.path })
        });
        self.tx.audit(AuditEntry { operation, kind, id: Some(id), subject: subject.to_owned(), before: None, after });
    }
}

fn names(router: &PlannedRouter) -> Vec<String> {
    std::iter::once(&router.name).chain(&router.aliases).cloned().collect()
}

/// What the file does not say stays as it is.
fn checked_spec(router: &PlannedRouter, row: Option<&RouterRow>) -> Result<RouterSpec, ReconcileError> {
    let size = |of: fn(&RouterRow) -> Option<i64>| row.and_then(of).and_then(|size| u64::try_from(size).ok());
    let spec = RouterSpec {
        name: router.name.clone(),
        kind: router.kind,
        aliases: router.aliases.clone(),
        strategy: router.strategy,
        prices: Prices {
            prompt: Some(router.cost_prompt_tokens),
            completion: Some(router.cost_completion_tokens),
            cached_prompt: row.and_then(|row| row.prices().cached_prompt),
            revision: row.map_or(0, |row| row.prices().revision),
        },
        organization: None,
        owned_by: router.owned_by.clone().unwrap_or_default(),
        max_context_length: size(|row| row.max_context_length),
        max_output_tokens: size(|row| row.max_output_tokens),
        vector_size: size(|row| row.vector_size),
        blocked: false,
        groups: router.groups.clone(),
    };
    spec.check().map_err(|source| ReconcileError::Invalid { path: router.path.clone(), source })?;
    Ok(spec)
}

fn is_same(row: &RouterRow, spec: &RouterSpec) -> bool {
    row.kind == spec.kind.as_str()
        && row.strategy == spec.strategy.as_str()
        && row.aliases == spec.aliases
        && row.owned_by == spec.owned_by
        && row.organization_id.is_none()
        && row.blocked == spec.blocked
        && row.node_groups == spec.groups
        && (row.prices().prompt, row.prices().completion) == (spec.prices.prompt, spec.prices.completion)
}

fn provider_spec(planned: &PlannedProvider, router: RouterId) -> Result<ProviderSpec, domain::Error> {
    Ok(ProviderSpec {
        router,
        kind: planned.kind,
        url: provider_url(planned.kind, Some(&planned.url))?,
        upstream_model: planned.upstream_model.clone(),
        timeout: planned.timeout,
        carbon: planned.carbon.clone(),
        weight: None,
        drain_on_disconnect: false,
        blocked: false,
    })
}

fn is_same_provider(row: &ProviderRow, spec: &ProviderSpec) -> bool {
    row.kind == spec.kind.as_str()
        && u128::try_from(row.timeout_ms).is_ok_and(|timeout| timeout == spec.timeout.as_millis())
        && row.carbon_zone == spec.carbon.zone
        && (row.total_params, row.active_params) == (spec.carbon.total_params, spec.carbon.active_params)
        && (row.weight, row.drain_on_disconnect, row.blocked) == (None, false, false)
}
