//! The one shape of metered work: a record for each call, whatever its end.

use std::time::Duration;

use uuid::Uuid;

use crate::catalog::kinds::words;
use crate::catalog::{FaultKind, ProviderKind};
use crate::kernel::clock::FleetTime;
use crate::kernel::ids::{BadId, CallId, OrganizationId, ProjectId, ProviderId, RouterId, UserId, VirtualKeyId};
use crate::kernel::money::Amount;
use crate::kernel::tokens::TokenUsage;
use crate::proto;

words! {
    /// How a call ended.
    Outcome {
        /// Answered in full.
        Completed = "completed",
        /// Answered with an error.
        Failed = "failed",
        /// Cut after the first event, by the upstream or by the death of a node.
        Interrupted = "interrupted",
        /// The client left.
        Cancelled = "cancelled",
        /// Refused after authentication.
        Refused = "refused",
    }
}

words! {
    /// Which part of a long-lived object a record covers.
    Phase {
        /// The whole call, or the last part of one.
        Final = "final",
        /// A part.
        Step = "step",
        /// Known to come later.
        Deferred = "deferred",
    }
}

/// One try at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which.
    pub provider: ProviderId,
    /// Its dialect.
    pub provider_kind: ProviderKind,
    /// The name that the upstream knows.
    pub upstream_model: String,
    /// When it began.
    pub started: FleetTime,
    /// Until its end.
    pub latency: Duration,
    /// The upstream's status; absent when it gave none.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub fault: Option<FaultKind>,
}

/// A draw on a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseDraw {
    /// Which lease.
    pub lease: Uuid,
    /// How much of it, in the unit of its limit.
    pub amount: i64,
}

/// The record of one call. Names are copied, because records outlive what they name.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRecord {
    /// The call's id, UUID v7; also the key of idempotence.
    pub id: CallId,
    /// When it was admitted.
    pub started: FleetTime,
    /// Until its last byte.
    pub latency: Duration,
    /// Until the first byte of content; absent when there was none.
    pub time_to_first_token: Option<Duration>,
    /// The caller's `x-request-id`, or one of ours.
    pub request_id: String,
    /// The trace it belongs to, 32 hexadecimal digits, or empty.
    pub trace_id: String,
    /// Path, such as `/v1/chat/completions`.
    pub endpoint: String,
    /// HTTP method.
    pub method: String,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// The status that the client saw.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, if it did.
    pub fault: Option<FaultKind>,
    /// Which part of a long-lived object this is.
    pub phase: Phase,
    /// The call that this is a part of.
    pub parent: Option<CallId>,
    /// The key used.
    pub key: Option<VirtualKeyId>,
    /// Its name at the time.
    pub key_name: String,
    /// The user of the key.
    pub user: Option<UserId>,
    /// The user's e-mail at the time.
    pub user_email: String,
    /// The user's organization.
    pub organization: Option<OrganizationId>,
    /// The key's project.
    pub project: Option<ProjectId>,
    /// The name that the client asked for.
    pub requested: String,
    /// The router it resolved to.
    pub router: Option<RouterId>,
    /// The router's name at the time.
    pub router_name: String,
    /// Every try.
    pub attempts: Vec<Attempt>,
    /// Tokens, as reported or counted.
    pub tokens: TokenUsage,
    /// Whether any token count was counted here instead of reported by the provider.
    pub estimated: bool,
    /// What it cost.
    pub cost: Amount,
    /// The revision of the prices used.
    pub price_revision: u64,
    /// Draws on leases.
    pub leases: Vec<LeaseDraw>,
    /// Energy, in kWh.
    pub energy_kwh: Option<f64>,
    /// Greenhouse gases, in kg CO2 equivalent.
    pub carbon_kg_co2eq: Option<f64>,
    /// The catalog revision that decided.
    pub config_revision: u64,
    /// 1, or how many collapsed refusals this stands for.
    pub count: u64,
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// An id of the wrong length.
    #[error("usage record: {field}")]
    Id {
        /// Which field.
        field: &'static str,
        /// Why.
        #[source]
        source: BadId,
    },
    /// A value outside its closed set or range.
    #[error("usage record: {field} has the value `{value}`")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it held.
        value: String,
    },
}

const fn outcome_to_wire(outcome: Outcome) -> proto::Outcome {
    match outcome {
        Outcome::Completed => proto::Outcome::Completed,
        Outcome::Failed => proto::Outcome::Failed,
        Outcome::Interrupted => proto::Outcome::Interrupted,
        Outcome::Cancelled => proto::Outcome::Cancelled,
        Outcome::Refused => proto::Outcome::Refused,
    }
}

const fn phase_to_wire(phase: Phase) -> proto::UsagePhase {
    match phase {
        Phase::Final => proto::UsagePhase::Final,
        Phase::Step => proto::UsagePhase::Step,
        Phase::Deferred => proto::UsagePhase::Deferred,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<UsageRecord> for proto::UsageRecord {
    fn from(record: UsageRecord) -> Self {
        let attempt = |attempt: Attempt| proto::Attempt {
            provider_id: attempt.provider.to_bytes(),
            upstream_model: attempt.upstream_model,
            started_unix_us: attempt.started.unix_micros(),
            latency_us: micros(attempt.latency),
            status: attempt.status.map_or(0, u32::from),
            fault: attempt.fault.map_or_else(String::new, |fault| fault.as_str().to_owned()),
            provider_kind: attempt.provider_kind.as_str().to_owned(),
        };
        Self {
            id: record.id.to_bytes(),
            started_unix_us: record.started.unix_micros(),
            latency_us: micros(record.latency),
            time_to_first_token_us: record.time_to_first_token.map(micros),
            request_id: record.request_id,
            trace_id: record.trace_id,
            endpoint: record.endpoint,
            method: record.method,
            streamed: record.streamed,
            status: u32::from(record.status),
            outcome: outcome_to_wire(record.outcome) as i32,
            fault: record.fault.map_or_else(String::new, |fault| fault.as_str().to_owned()),
            phase: phase_to_wire(record.phase) as i32,
            parent: record.parent.map(CallId::to_bytes).unwrap_or_default(),
            key_id: record.key.map(VirtualKeyId::to_bytes).unwrap_or_default(),
            key_name: record.key_name,
            user_id: record.user.map(UserId::to_bytes).unwrap_or_default(),
            user_email: record.user_email,
            organization_id: record.organization.map(OrganizationId::to_bytes).unwrap_or_default(),
            project_id: record.project.map(ProjectId::to_bytes).unwrap_or_default(),
            requested: record.requested,
            router_id: record.router.map(RouterId::to_bytes).unwrap_or_default(),
            router_name: record.router_name,
            attempts: record.attempts.into_iter().map(attempt).collect(),
            prompt_tokens: record.tokens.prompt,
            completion_tokens: record.tokens.completion,
            cached_tokens: record.tokens.cached,
            reasoning_tokens: record.tokens.reasoning,
            estimated: record.estimated,
            cost_billionths: record.cost.billionths(),
            price_revision: record.price_revision,
            leases: record
                .leases
                .iter()
                .map(|draw| proto::LeaseDraw { lease_id: draw.lease.as_bytes().to_vec(), amount: draw.amount })
                .collect(),
            energy_kwh: record.energy_kwh,
            carbon_kg_co2eq: record.carbon_kg_co2eq,
            config_revision: record.config_revision,
            count: record.count,
        }
    }
}

impl TryFrom<proto::UsageRecord> for UsageRecord {
    type Error = BadRecord;

    fn try_from(wire: proto::UsageRecord) -> Result<Self, BadRecord> {
        let outcome = find(Outcome::ALL, "outcome", wire.outcome, |outcome| outcome_to_wire(outcome) as i32)?;
        let phase = find(Phase::ALL, "phase", wire.phase, |phase| phase_to_wire(phase) as i32)?;
        Ok(Self {
            id: CallId::from_bytes(&wire.id).map_err(|source| BadRecord::Id { field: "id", source })?,
            started: FleetTime::from_unix_micros(wire.started_unix_us),
            latency: Duration::from_micros(wire.latency_us),
            time_to_first_token: wire.time_to_first_token_us.map(Duration::from_micros),
            request_id: wire.request_id,
            trace_id: wire.trace_id,
            endpoint: wire.endpoint,
            method: wire.method,
            streamed: wire.streamed,
            status: status("status", wire.status)?.unwrap_or(0),
            outcome,
            fault: fault("fault", &wire.fault)?,
            phase,
            parent: optional("parent", &wire.parent, CallId::from_bytes)?,
            key: optional("key_id", &wire.key_id, VirtualKeyId::from_bytes)?,
            key_name: wire.key_name,
            user: optional("user_id", &wire.user_id, UserId::from_bytes)?,
            user_email: wire.user_email,
            organization: optional("organization_id", &wire.organization_id, OrganizationId::from_bytes)?,
            project: optional("project_id", &wire.project_id, ProjectId::from_bytes)?,
            requested: wire.requested,
            router: optional("router_id", &wire.router_id, RouterId::from_bytes)?,
            router_name: wire.router_name,
            attempts: wire.attempts.into_iter().map(Attempt::try_from).collect::<Result<_, _>>()?,
            tokens: TokenUsage {
                prompt: wire.prompt_tokens,
                completion: wire.completion_tokens,
                cached: wire.cached_tokens,
                reasoning: wire.reasoning_tokens,
            },
            estimated: wire.estimated,
            cost: Amount::from_billionths(wire.cost_billionths),
            price_revision: wire.price_revision,
            leases: wire.leases.into_iter().map(lease).collect::<Result<_, _>>()?,
            energy_kwh: wire.energy_kwh,
            carbon_kg_co2eq: wire.carbon_kg_co2eq,
            config_revision: wire.config_revision,
            count: wire.count.max(1),
        })
    }
}

impl TryFrom<proto::Attempt> for Attempt {
    type Error = BadRecord;

    fn try_from(wire: proto::Attempt) -> Result<Self, BadRecord> {
        Ok(Self {
            provider: ProviderId::from_bytes(&wire.provider_id)
                .map_err(|source| BadRecord::Id { field: "attempts.provider_id", source })?,
            provider_kind: wire
                .provider_kind
                .parse()
                .map_err(|_| BadRecord::Value { field: "attempts.provider_kind", value: wire.provider_kind.clone() })?,
            upstream_model: wire.upstream_model,
            started: FleetTime::from_unix_micros(wire.started_unix_us),
            latency: Duration::from_micros(wire.latency_us),
            status: status("attempts.status", wire.status)?,
            fault: fault("attempts.fault", &wire.fault)?,
        })
    }
}

fn find<T: Copy>(all: &[T], field: &'static str, number: i32, of: impl Fn(T) -> i32) -> Result<T, BadRecord> {
    all.iter()
        .copied()
        .find(|one| of(*one) == number)
        .ok_or_else(|| BadRecord::Value { field, value: number.to_string() })
}

fn optional<T>(field: &'static str, bytes: &[u8], read: fn(&[u8]) -> Result<T, BadId>) -> Result<Option<T>, BadRecord> {
    if bytes.is_empty() {
        return Ok(None);
    }
    read(bytes).map(Some).map_err(|source| BadRecord::Id { field, source })
}

fn status(field: &'static str, number: u32) -> Result<Option<u16>, BadRecord> {
    match number {
        0 => Ok(None),
        100..=999 => Ok(u16::try_from(number).ok()),
        _ => Err(BadRecord::Value { field, value: number.to_string() }),
    }
}

fn fault(field: &'static str, word: &str) -> Result<Option<FaultKind>, BadRecord> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(|_| BadRecord::Value { field, value: word.chars().take(64).collect() })
}

fn lease(wire: proto::LeaseDraw) -> Result<LeaseDraw, BadRecord> {
    let lease = Uuid::from_slice(&wire.lease_id)
        .map_err(|_| BadRecord::Id { field: "leases.lease_id", source: BadId { length: wire.lease_id.len() } })?;
    Ok(LeaseDraw { lease, amount: wire.amount })
}
