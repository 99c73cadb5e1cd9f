//! Routers and providers compiled for use: addresses parsed, credentials ready, names indexed.

use std::sync::Arc;

use http::HeaderValue;
use shared::catalog::{Credential, Kind, Provider, ProviderKind, Ref, Router};
use shared::kernel::ids::{OrganizationId, ProviderId, RouterId};
use shared::kernel::quick_map::QuickMap;
use shared::wire::{RejectCode, Rejection};
use url::Url;
use uuid::Uuid;

use super::address::Address;
use super::credentials::{bearer, resolve_reference};
use super::rows::{ProviderRow, RouterRow, SecretRow};
use super::{Rows, finish::rejection};

/// A router with everything that a call of it needs.
#[derive(Debug, Clone)]
pub struct RouterEntry {
    /// Its id.
    pub id: RouterId,
    /// What operators said of it.
    pub noun: Arc<Router>,
    /// Whose name it is; absent is global.
    pub organization: Option<OrganizationId>,
    /// The providers that can be called, in order of id.
    pub providers: Vec<Arc<ProviderEntry>>,
    /// The version of the router in use.
    pub version: u64,
}

/// A provider ready to be called.
#[derive(Debug, Clone)]
pub struct ProviderEntry {
    /// Its id; observations are kept under it and survive every swap.
    pub id: ProviderId,
    /// What operators said of it.
    pub noun: Provider,
    /// Its address, without `/v1`.
    pub address: Address,
    /// `Bearer …`, marked sensitive; absent when none is sent.
    pub authorization: Option<HeaderValue>,
}

/// The compiled routers and their names.
#[derive(Debug, Default)]
pub(super) struct Routing {
    by_id: QuickMap<Uuid, Arc<RouterEntry>>,
    /// Names and aliases, by owner; `None` is global.
    names: QuickMap<Option<Uuid>, QuickMap<Box<str>, Arc<RouterEntry>>>,
}

impl Routing {
    /// Compiles; entries that come out as in `old` are taken from there, so that what is kept for them stays good.
    /// Also returns a rejection for each router of which a name is taken.
    pub(super) fn build(
        routers: &Rows<RouterRow>,
        providers: &Rows<ProviderRow>,
        old: &Self,
    ) -> (Self, Vec<Rejection>) {
        let mut members: QuickMap<Uuid, Vec<Arc<ProviderEntry>>> = QuickMap::default();
        for row in providers.iter().map(|(_, row)| row).filter(|row| !row.blocked) {
            if let (Some(router), Some(entry)) = (row.router, &row.entry) {
                members.entry(router).or_default().push(Arc::clone(entry));
            }
        }
        let mut live: Vec<_> = routers.iter().filter(|(_, row)| !row.blocked).collect();
        live.sort_by_key(|(id, _)| **id);
        let mut routing = Self::default();
        let mut conflicts = Vec::new();
        for (id, row) in live {
            let mut providers = members.remove(id).unwrap_or_default();
            providers.sort_by_key(|provider| provider.id);
            let entry = match old.by_id.get(id) {
                Some(entry) if entry.is(row, &providers) => Arc::clone(entry),
                _ => Arc::new(RouterEntry {
                    id: RouterId::from_uuid(*id),
                    noun: Arc::clone(&row.noun),
                    organization: row.organization.map(OrganizationId::from_uuid),
                    providers,
                    version: row.version,
                }),
            };
            let names = routing.names.entry(row.organization).or_default();
            for name in std::iter::once(&row.noun.name).chain(&row.noun.aliases) {
                let holder = names.entry(name.as_str().into()).or_insert_with(|| Arc::clone(&entry));
                if holder.id != entry.id {
                    let text = format!("the name `{name}` belongs to router {} of the same owner", holder.id);
                    conflicts.push(rejection(
                        Ref { kind: Kind::Router, id: *id },
                        row.version,
                        RejectCode::Conflict,
                        text,
                    ));
                }
            }
            routing.by_id.insert(*id, entry);
        }
        (routing, conflicts)
    }

    /// The router of a name: the organization's own shadows the global one.
    pub(super) fn resolve(&self, organization: Option<Uuid>, name: &str) -> Option<&Arc<RouterEntry>> {
        let owned = organization.and_then(|owner| self.names.get(&Some(owner))?.get(name));
        owned.or_else(|| self.names.get(&None)?.get(name))
    }

    pub(super) fn routers(&self) -> impl Iterator<Item = &Arc<RouterEntry>> {
        self.by_id.values()
    }
}

impl RouterEntry {
    /// Whether compiling again would give the same.
    fn is(&self, row: &RouterRow, providers: &[Arc<ProviderEntry>]) -> bool {
        Arc::ptr_eq(&self.noun, &row.noun)
            && self.version == row.version
            && self.organization.map(OrganizationId::uuid) == row.organization
            && self.providers.len() == providers.len()
            && self.providers.iter().zip(providers).all(|(one, two)| Arc::ptr_eq(one, two))
    }
}

/// Makes a provider ready, or says why it cannot be.
pub(super) fn compile(
    id: Uuid,
    noun: &Provider,
    secrets: &Rows<SecretRow>,
) -> Result<ProviderEntry, (RejectCode, String)> {
    let base = match noun.url.as_str() {
        "" => noun.kind.default_url().unwrap_or_default(),
        url => url,
    };
    let base: Url = base.parse().map_err(|error| (RejectCode::UnknownValue, format!("url: `{base}`: {error}")))?;
    let scheme_fits = match noun.kind {
        ProviderKind::Mock => true,
        _ => matches!(base.scheme(), "http" | "https") && base.host().is_some(),
    };
    if !scheme_fits {
        return Err((RejectCode::UnknownValue, format!("url: `{base}` is not an http or https address")));
    }
    let address = Address::of(&base)
        .map_err(|error| (RejectCode::UnknownValue, format!("url: `{base}` cannot be called: {error}")))?;
    let unusable =
        || (RejectCode::SecretUnavailable, "the credential has characters that no header can carry".to_owned());
    let authorization = match &noun.credential {
        Credential::None => None,
        Credential::Reference(reference) => {
            let value =
                resolve_reference(reference).map_err(|error| (RejectCode::SecretUnavailable, error.to_string()))?;
            Some(bearer(value.expose()).ok_or_else(unusable)?)
        }
        Credential::Sealed(secret) => {
            let row = secrets.get(&secret.uuid());
            let row =
                row.ok_or_else(|| (RejectCode::SecretUnavailable, format!("secret {secret} was not delivered")))?;
            let text = std::str::from_utf8(row.value.value.expose()).map_err(|_| unusable())?;
            Some(bearer(text.trim()).ok_or_else(unusable)?)
        }
    };
    Ok(ProviderEntry { id: ProviderId::from_uuid(id), noun: noun.clone(), address, authorization })
}
