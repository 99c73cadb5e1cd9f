//! `models[]` → [`PlannedRouter`]s. What a name, an address or a credential may be is decided in `domain`, for the API
//! and the file alike; here are the checks that only a whole file allows.

use std::collections::HashMap;

use shared::catalog::{BalanceStrategy, CarbonFacts, ProviderKind, RouterKind};
use shared::kernel::money::{Amount, Prices};

use crate::dialect::finding::{Findings, Outcome, cut};
use crate::dialect::plan::{PlannedProvider, PlannedRouter};
use crate::dialect::walk::{Field, Fields};
use crate::domain::{CredentialSpec, DEFAULT_TIMEOUT, Error, RouterSpec, check_name, provider_url};

/// Reads every router; what is wrong is in the findings and left out.
pub(super) fn read(models: &[Fields], findings: &mut Findings) -> Vec<PlannedRouter> {
    let mut names = Names::default();
    let mut routers = Vec::with_capacity(models.len());
    for fields in models {
        names.take(fields, findings);
        routers.extend(router(fields, findings));
    }
    routers
}

fn router(fields: &Fields, findings: &mut Findings) -> Option<PlannedRouter> {
    let kind: Option<RouterKind> = fields.text("type").and_then(|word| word.parse().ok());
    let providers = providers(fields, kind, findings);
    let planned = PlannedRouter {
        name: fields.text("name")?,
        kind: kind?,
        aliases: fields.texts("aliases").to_vec(),
        groups: fields.texts("groups").to_vec(),
        owned_by: fields.text("owned_by").filter(|owner| !owner.is_empty()),
        strategy: fields
            .text("load_balancing_strategy")
            .and_then(|word| word.parse().ok())
            .unwrap_or(BalanceStrategy::Shuffle),
        cost_prompt_tokens: fields.price("cost_prompt_tokens").unwrap_or(Amount::ZERO),
        cost_completion_tokens: fields.price("cost_completion_tokens").unwrap_or(Amount::ZERO),
        providers,
        path: fields.path.clone(),
    };
    if let Err(error) = spec(&planned).check() {
        let at = if let Error::Invalid { field, .. } = &error { fields.get(field) } else { None };
        let (path, line) = at.map_or((fields.path.as_str(), fields.line), |field| (field.path.as_str(), field.line));
        findings.refuse(path, line, say(&error, at));
    }
    Some(planned)
}

/// The router as the API would be asked for it.
fn spec(planned: &PlannedRouter) -> RouterSpec {
    RouterSpec {
        name: planned.name.clone(),
        kind: planned.kind,
        aliases: planned.aliases.clone(),
        strategy: planned.strategy,
        prices: Prices {
            prompt: Some(planned.cost_prompt_tokens),
            completion: Some(planned.cost_completion_tokens),
            ..Prices::default()
        },
        organization: None,
        owned_by: planned.owned_by.clone().unwrap_or_default(),
        max_context_length: None,
        max_output_tokens: None,
        vector_size: None,
        blocked: false,
        groups: planned.groups.clone(),
    }
}

fn providers(fields: &Fields, kind: Option<RouterKind>, findings: &mut Findings) -> Vec<PlannedProvider> {
    let mut providers: Vec<PlannedProvider> = Vec::new();
    for entry in fields.maps("providers") {
        let Some(provider) = provider(entry, kind, findings) else { continue };
        let same =
            |other: &&PlannedProvider| (&other.url, &other.upstream_model) == (&provider.url, &provider.upstream_model);
        if let (Some(twin), Some(field)) = (providers.iter().find(same), entry.get("model_name")) {
            let reason = format!("is at the same address the same model as in `{}`; leave one of them out", twin.path);
            findings.refuse(&field.path, field.line, reason);
        }
        providers.push(provider);
    }
    if let Some(field) = fields.get("providers").filter(|_| fields.maps("providers").is_empty()) {
        findings.refuse(&field.path, field.line, "is empty; a router needs at least one provider");
    }
    providers
}

fn provider(fields: &Fields, router: Option<RouterKind>, findings: &mut Findings) -> Option<PlannedProvider> {
    let kind = provider_kind(fields, router, findings);
    let upstream_model = fields.text("model_name");
    if let (Some(field), Some(name)) = (fields.get("model_name"), &upstream_model)
        && let Err(error) = check_name("model_name", name)
    {
        findings.refuse(&field.path, field.line, say(&error, Some(field)));
    }
    let url = kind.and_then(|kind| address(fields, kind, findings));
    let credential = credential(fields, findings);
    let (total, active) =
        (fields.number("model_carbon_footprint_total_params"), fields.number("model_carbon_footprint_active_params"));
    Some(PlannedProvider {
        kind: kind?,
        url: url?,
        credential,
        upstream_model: upstream_model?,
        timeout: fields.duration("timeout").unwrap_or(DEFAULT_TIMEOUT),
        // One of the two stands for both, as OpenGateLLM documents it.
        carbon: CarbonFacts {
            zone: fields.text("model_carbon_footprint_zone").unwrap_or_else(|| "WOR".to_owned()),
            total_params: total.or(active),
            active_params: active.or(total),
        },
        path: fields.path.clone(),
    })
}

/// A kind that is unknown, not built, or does not fit is refused, each in its own words.
fn provider_kind(fields: &Fields, router: Option<RouterKind>, findings: &mut Findings) -> Option<ProviderKind> {
    let field = fields.get("type")?;
    let word = fields.text("type")?;
    let reason = match (word.parse::<ProviderKind>(), router) {
        (Ok(kind), Some(router)) if !kind.serves(router) => {
            let able: Vec<&str> =
                ProviderKind::ALL.iter().filter(|other| other.serves(router)).map(|other| other.as_str()).collect();
            let able = if able.is_empty() { "none yet".to_owned() } else { able.join(", ") };
            format!("is `{kind}`, which cannot serve a router of type `{router}`; kinds that can: {able}")
        }
        (Ok(kind), _) => return Some(kind),
        (Err(_), _) => format!("is `{}`; one of {} is expected", field.shown, ProviderKind::expected()),
    };
    findings.refuse(&field.path, field.line, reason);
    None
}

/// The address in its one form, or the kind's default.
fn address(fields: &Fields, kind: ProviderKind, findings: &mut Findings) -> Option<String> {
    let (field, text) = (fields.get("url"), fields.text("url"));
    match (provider_url(kind, text.as_deref()), field) {
        (Ok(url), Some(field)) => {
            if text.is_some_and(|text| text.trim_end_matches('/').ends_with("/v1")) {
                let to = format!("{} (`/v1` is added to every path)", cut(&url));
                findings.set(&field.path, field.line, Outcome::Mapped { to });
            }
            Some(url)
        }
        (Ok(url), None) => Some(url),
        (Err(error), Some(field)) => {
            // Not even the file's own words are shown: an address that is refused may hold a password.
            let reason = if let Error::Invalid { expected, .. } = error {
                format!("is not accepted: {expected}")
            } else {
                error.to_string()
            };
            findings.refuse(&field.path, field.line, reason);
            None
        }
        (Err(_), None) => {
            let path = format!("{}.url", fields.path);
            findings.refuse(
                &path,
                fields.line,
                format!("is missing; a provider of type `{kind}` has no default address"),
            );
            None
        }
    }
}

/// A value, or a reference that only data planes resolve.
fn credential(fields: &Fields, findings: &mut Findings) -> CredentialSpec {
    let (Some(field), Some(text)) = (fields.get("key"), fields.text("key")) else { return CredentialSpec::None };
    if text.trim().is_empty() {
        findings.note(&field.path, "is empty: no credential is sent");
        return CredentialSpec::None;
    }
    match CredentialSpec::read(text.trim()) {
        Ok(credential) => {
            if matches!(credential, CredentialSpec::Reference(_)) {
                findings.note(&field.path, "a reference, resolved by each data plane");
            }
            credential
        }
        Err(error) => {
            let reason = if let Error::Invalid { value, expected, .. } = error {
                format!("is {value}: {expected}")
            } else {
                error.to_string()
            };
            findings.refuse(&field.path, field.line, reason);
            CredentialSpec::None
        }
    }
}

/// A refusal of `domain` in the words of a file: what is shown is what the file says, not what a variable held.
fn say(error: &Error, field: Option<&Field>) -> String {
    match (error, field) {
        (Error::Invalid { expected, .. }, Some(field)) if !field.shown.is_empty() => {
            format!("is `{}`: {expected}", field.shown)
        }
        (Error::Invalid { value, expected, .. }, _) => format!("holds {value}: {expected}"),
        (other, _) => other.to_string(),
    }
}

/// The names taken so far, and by which key.
#[derive(Default)]
struct Names {
    taken: HashMap<String, String>,
}

impl Names {
    /// Claims a router's name and aliases: clients cannot tell two routers of one name apart.
    fn take(&mut self, fields: &Fields, findings: &mut Findings) {
        let aliases = fields
            .get("aliases")
            .into_iter()
            .flat_map(|field| fields.texts("aliases").iter().map(move |alias| (field, alias.clone())));
        let name = fields.get("name").zip(fields.text("name"));
        for (field, text) in name.into_iter().chain(aliases) {
            if let Some(owner) = self.taken.insert(text.clone(), field.path.clone()) {
                findings.refuse(
                    &field.path,
                    field.line,
                    format!("`{}` is taken already by `{owner}`; names and aliases are unique", cut(&text)),
                );
            }
        }
    }
}
