//! The record of a call: begun at its first moment as that of a call that was cut off, and completed as more is known.

use std::time::Duration;

use shared::catalog::FaultKind;
use shared::kernel::money::Amount;
use shared::kernel::tokens::TokenUsage;
use shared::usage::{Outcome, Phase, UsageRecord};

use super::context::Context;
use super::endpoint::Call;
use super::settle::Ending;
use crate::table::{Principal, RouterEntry};

/// Bytes of a requested name that are kept: one that nobody configured may be as long as a body.
const NAME_MOST: usize = 255;

/// What is known once it is known who calls. Should nothing more be heard of the call, the node has died: what the client
/// saw is unknown, so there is no status, and nobody has counted tokens.
pub(super) fn begin(context: &Context, principal: &Principal) -> UsageRecord {
    UsageRecord {
        id: context.ids.call,
        started: context.started,
        latency: Duration::ZERO,
        time_to_first_token: None,
        request_id: context.ids.request.clone(),
        trace_id: context.ids.trace.clone(),
        endpoint: context.endpoint.path.to_owned(),
        method: "POST".to_owned(),
        streamed: false,
        status: 0,
        outcome: Outcome::Interrupted,
        fault: Some(FaultKind::Internal),
        phase: Phase::Final,
        parent: None,
        key: Some(principal.key),
        key_name: principal.key_name.to_string(),
        user: principal.user,
        user_email: principal.user_email.to_string(),
        organization: principal.organization,
        project: principal.project,
        requested: String::new(),
        router: None,
        router_name: String::new(),
        attempts: Vec::with_capacity(1),
        tokens: TokenUsage::default(),
        estimated: false,
        cost: Amount::ZERO,
        price_revision: 0,
        leases: Vec::new(),
        energy_kwh: None,
        carbon_kg_co2eq: None,
        config_revision: context.table.revision().0,
        count: 1,
    }
}

/// What is asked has become known.
pub(super) fn ask(record: &mut UsageRecord, call: &Call) {
    record.requested.clear();
    record.requested.push_str(cut(&call.requested));
    record.streamed = call.streamed.is_some();
}

/// The router has become known.
pub(super) fn lead_to(record: &mut UsageRecord, router: &RouterEntry) {
    record.router = Some(router.id);
    record.router_name.clone_from(&router.noun.name);
    record.price_revision = router.noun.prices.revision;
}

/// How the call ended has become known.
pub(super) const fn end(record: &mut UsageRecord, status: u16, ending: Ending, latency: Duration) {
    (record.status, record.latency) = (status, latency);
    (record.outcome, record.fault) = match ending {
        Ending::Completed => (Outcome::Completed, None),
        Ending::Failed(fault) => (Outcome::Failed, Some(fault)),
        Ending::Refused(fault) => (Outcome::Refused, Some(fault)),
        Ending::Interrupted(fault) => (Outcome::Interrupted, Some(fault)),
        Ending::Cancelled => (Outcome::Cancelled, Some(FaultKind::ClientGone)),
    };
}

fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_MOST)).unwrap_or_default()
}
