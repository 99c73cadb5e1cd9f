//! The one shape of metered work: a record for each call, whatever its end.

mod read;
mod write;

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

impl UsageRecord {
    /// Everything in it that a client, an operator or an upstream has worded.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let texts = [
            &mut self.request_id,
            &mut self.trace_id,
            &mut self.endpoint,
            &mut self.method,
            &mut self.key_name,
            &mut self.user_email,
            &mut self.requested,
            &mut self.router_name,
        ];
        texts.into_iter().chain(self.attempts.iter_mut().map(|attempt| &mut attempt.upstream_model))
    }
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
