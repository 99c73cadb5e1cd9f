//! What a request may set of a provider.

use std::time::Duration;

use shared::catalog::{CarbonFacts, ProviderKind, RouterKind};
use shared::kernel::ids::RouterId;
use shared::kernel::secret::Secret;
use utoipa::ToSchema;

use crate::admin::body::{Fields, Word};
use crate::admin::error::ApiError;
use crate::domain::{self, CredentialSpec, DEFAULT_TIMEOUT, Lookup, Patch, ProviderSpec, provider_url};
use crate::store::StoreError;
use crate::store::routers::RouterRow;

/// Fields of a provider that a request may set.
#[derive(Debug, ToSchema)]
pub(super) struct ProviderBody {
    /// The router that it serves; its older name is `router`.
    #[schema(value_type = i64, required = true)]
    pub(super) router_id: Patch<Lookup>,
    /// Its dialect: `openai`, `vllm` or `mock`.
    #[schema(rename = "type", value_type = String, required = true)]
    kind: Patch<Word<ProviderKind>>,
    /// Scheme, host and port, with a path prefix where needed; optional for types that have an address of their own.
    #[schema(value_type = Option<String>, required = false)]
    url: Patch<String>,
    /// The credential, or `env:NAME` or `file:/path` for one that the data plane finds itself. Never returned; a
    /// replacement without it keeps it, unless the address changes.
    #[schema(value_type = Option<String>, required = false)]
    key: Patch<Secret>,
    /// Seconds for one attempt, 1 to 3600.
    #[schema(value_type = u64, default = 300, required = false)]
    timeout: Patch<u64>,
    /// The name that the upstream knows.
    #[schema(value_type = String, required = true)]
    model_name: Patch<String>,
    /// ISO 3166-1 alpha-3 code of where it runs.
    #[schema(value_type = String, default = "WOR", required = false)]
    model_hosting_zone: Patch<String>,
    /// Billions of parameters.
    #[schema(value_type = Option<f64>, required = false)]
    model_total_params: Patch<f64>,
    /// Billions of parameters active for one token.
    #[schema(value_type = Option<f64>, required = false)]
    model_active_params: Patch<f64>,
    /// Not built yet: only null is taken.
    #[schema(value_type = Option<String>, required = false)]
    qos_metric: Patch<String>,
    /// Not built yet: only null is taken.
    #[schema(value_type = Option<f64>, required = false)]
    qos_limit: Patch<f64>,
    /// Share among its siblings.
    #[schema(value_type = Option<u32>, required = false)]
    weight: Patch<u32>,
    /// When the client leaves, read the answer to its end instead of cancelling.
    #[schema(value_type = bool, default = false, required = false)]
    drain_on_disconnect: Patch<bool>,
    /// Switched off.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
}

const READ_ONLY: &[&str] =
    &["id", "object", "user_id", "credential", "source", "created", "updated", "version", "number", "secret_id"];

impl ProviderBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        fields.older("router", "router_id");
        fields.older("model_carbon_footprint_zone", "model_hosting_zone");
        fields.older("model_carbon_footprint_total_params", "model_total_params");
        fields.older("model_carbon_footprint_active_params", "model_active_params");
        let body = Self {
            router_id: fields.take("router_id"),
            kind: fields.take("type"),
            url: fields.take("url"),
            key: fields.take("key"),
            timeout: fields.take("timeout"),
            model_name: fields.take("model_name"),
            model_hosting_zone: fields.take("model_hosting_zone"),
            model_total_params: fields.take("model_total_params"),
            model_active_params: fields.take("model_active_params"),
            qos_metric: fields.take("qos_metric"),
            qos_limit: fields.take("qos_limit"),
            weight: fields.take("weight"),
            drain_on_disconnect: fields.take("drain_on_disconnect"),
            blocked: fields.take("blocked"),
        };
        fields.finish(READ_ONLY)?;
        let not_built = |field| domain::Error::invalid(field, "set", "null is expected: not built yet");
        if let Patch::Value(_) = body.qos_metric {
            return Err(not_built("qos_metric").into());
        }
        if let Patch::Value(_) = body.qos_limit {
            return Err(not_built("qos_limit").into());
        }
        Ok(body)
    }

    /// Everything but the credential; also checks the credential's form.
    pub(super) fn apply(
        self,
        router: &RouterRow,
        kept: Option<&ProviderSpec>,
    ) -> Result<(ProviderSpec, Patch<CredentialSpec>), ApiError> {
        let credential = self.key.try_map(|key| CredentialSpec::read(key.expose()))?;
        let kind = self.kind.required("type", kept.map(|kept| Word(kept.kind)))?.0;
        let url = match (self.url, kept) {
            (Patch::Absent, Some(kept)) if kept.kind == kind => kept.url.clone(),
            (url, _) => provider_url(kind, url.value().as_deref())?,
        };
        let carbon = kept.map(|kept| kept.carbon.clone());
        let spec = ProviderSpec {
            router: RouterId::from_uuid(router.id),
            kind,
            url,
            upstream_model: self.model_name.required("model_name", kept.map(|kept| kept.upstream_model.clone()))?,
            timeout: Duration::from_secs(
                self.timeout.defaulted(kept.map(|kept| kept.timeout.as_secs()), DEFAULT_TIMEOUT.as_secs()),
            ),
            carbon: CarbonFacts {
                zone: self
                    .model_hosting_zone
                    .defaulted(carbon.as_ref().map(|carbon| carbon.zone.clone()), "WOR".to_owned()),
                total_params: self.model_total_params.nullable(carbon.as_ref().and_then(|carbon| carbon.total_params)),
                active_params: self
                    .model_active_params
                    .nullable(carbon.as_ref().and_then(|carbon| carbon.active_params)),
            },
            weight: self.weight.nullable(kept.and_then(|kept| kept.weight)),
            drain_on_disconnect: self.drain_on_disconnect.defaulted(kept.map(|kept| kept.drain_on_disconnect), false),
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
        };
        spec.check(router.kind.parse::<RouterKind>().map_err(|error| unreadable("routers", router.id, &error))?)?;
        Ok((spec, credential))
    }
}

pub(super) fn unreadable(table: &'static str, id: uuid::Uuid, error: &dyn std::error::Error) -> ApiError {
    StoreError::BadRow { table, id: id.to_string(), reason: error.to_string() }.into()
}
