//! One structured line for each request, told when all that leaves is known.

use std::net::IpAddr;

use shared::catalog::FaultKind;
use shared::usage::UsageRecord;
use tracing::field::display;
use uuid::Uuid;

use super::address::AddressText;

/// Tells of a call that was authenticated.
pub(crate) fn call(record: &UsageRecord, client: Option<IpAddr>) {
    // As texts, because what writes itself piece by piece costs several times as much; shown, because they bear no quotes.
    let (mut id, mut last) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let provider = record.attempts.last().map(|attempt| display(text(attempt.provider.uuid(), &mut last)));
    let client = client.map(AddressText::new);
    tracing::info!(
        target: "access",
        call_id = %text(record.id.uuid(), &mut id),
        request_id = record.request_id,
        trace_id = record.trace_id,
        client = client.as_ref().map(AddressText::shown),
        method = record.method,
        path = record.endpoint,
        status = record.status,
        outcome = record.outcome.as_str(),
        fault = record.fault.map(FaultKind::as_str),
        key = record.key_name,
        user = record.user_email,
        router = record.router_name,
        provider,
        attempts = record.attempts.len(),
        streamed = record.streamed,
        prompt_tokens = record.tokens.prompt,
        completion_tokens = record.tokens.completion,
        estimated = record.estimated,
        cost = %record.cost,
        latency_us = micros(record.latency),
        first_token_us = record.time_to_first_token.map(micros),
        "call"
    );
}

/// A request that was no call of a router: refused before anybody was known, or answered from the table.
pub(crate) struct Plain<'a> {
    /// Its id.
    pub(crate) request_id: &'a str,
    /// The trace it belongs to, or nothing.
    pub(crate) trace_id: &'a str,
    /// Who asked.
    pub(crate) client: Option<IpAddr>,
    /// Its method.
    pub(crate) method: &'a str,
    /// The path of the endpoint; empty where nobody serves what was asked.
    pub(crate) path: &'a str,
    /// What was answered.
    pub(crate) status: u16,
    /// Why it was refused, if it was.
    pub(crate) fault: Option<FaultKind>,
    /// How long it took.
    pub(crate) latency: std::time::Duration,
}

/// Tells of a request that was no call.
pub(crate) fn plain(line: &Plain<'_>) {
    let client = line.client.map(AddressText::new);
    tracing::info!(
        target: "access",
        request_id = line.request_id,
        trace_id = line.trace_id,
        client = client.as_ref().map(AddressText::shown),
        method = line.method,
        path = line.path,
        status = line.status,
        fault = line.fault.map(FaultKind::as_str),
        latency_us = micros(line.latency),
        "request"
    );
}

fn text(id: Uuid, buffer: &mut [u8]) -> &str {
    id.hyphenated().encode_lower(buffer)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
