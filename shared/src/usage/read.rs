//! Records from the wire: every id and word is checked.

use std::time::Duration;

use uuid::Uuid;

use super::{Attempt, BadRecord, LeaseDraw, Outcome, Phase, UsageRecord, outcome_to_wire, phase_to_wire};
use crate::catalog::FaultKind;
use crate::kernel::clock::FleetTime;
use crate::kernel::ids::{BadId, CallId, OrganizationId, ProjectId, ProviderId, RouterId, UserId, VirtualKeyId};
use crate::kernel::money::Amount;
use crate::kernel::tokens::TokenUsage;
use crate::proto;

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
