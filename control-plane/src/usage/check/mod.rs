//! What a record must be like to count. A bad one is refused alone, so that it cannot hold up the rest of its batch.

use std::time::Duration;

use shared::kernel::clock::FleetTime;
use shared::kernel::money::{Amount, BILLIONTHS};
use shared::proto;
use shared::usage::{BadRecord, UsageRecord};
use uuid::{Uuid, Variant};

/// More tokens than any call can have.
const MAX_TOKENS: u64 = 1_000_000_000;
/// A hundred thousand units of money: more than any call can cost.
const MAX_COST: Amount = Amount::from_billionths(100_000 * BILLIONTHS);
/// Nothing runs longer.
const MAX_LATENCY: Duration = Duration::from_secs(31 * 86_400);
/// A clock may be wrong, but not by more.
const MAX_AHEAD: Duration = Duration::from_secs(86_400);
/// Gatewright did not exist before 2020-01-01.
const EARLIEST: FleetTime = FleetTime::from_unix_millis(1_577_836_800_000);
/// Tries of one call, draws of one call.
const MAX_PARTS: usize = 256;
/// Characters of a text; longer ones are cut.
const MAX_TEXT: usize = 1024;

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] BadRecord),
    /// It is no record at all.
    #[error("a usage record cannot be read: {0}")]
    Garbled(#[from] prost::DecodeError),
    /// It can be read and cannot be true.
    #[error("usage record {id}: {field} is {value}, {expected}")]
    Absurd {
        /// Which record.
        id: Uuid,
        /// Which field.
        field: &'static str,
        /// What it held.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Refusal {
    /// The field at fault: a closed set, fit for a metric.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Unreadable(BadRecord::Id { field, .. } | BadRecord::Value { field, .. })
            | Self::Absurd { field, .. } => field,
            Self::Garbled(_) => "record",
        }
    }
}

/// Reads a record leniently: texts are cut and cleaned, estimates that make no sense are left out, the rest must hold.
///
/// # Errors
/// [`Refusal`] when it cannot be read, or what it says cannot be true.
pub fn accept(wire: proto::UsageRecord, now: FleetTime) -> Result<UsageRecord, Refusal> {
    let mut record = UsageRecord::try_from(wire)?;
    let id = record.id.uuid();
    let absurd = |field, value: String, expected| Err(Refusal::Absurd { id, field, value, expected });
    let latest = FleetTime::from_unix_micros(now.unix_micros().saturating_add(micros(MAX_AHEAD)));
    match id_time(id) {
        // Partitions and retention cut at ids.
        None => return absurd("id", id.to_string(), "a UUID of version 7 is expected"),
        Some(made) if made > latest || made < EARLIEST => {
            return absurd("id", id.to_string(), "a time since 2020 and at most a day ahead is expected in it");
        }
        Some(_) => {}
    }
    if record.started > latest || record.started < EARLIEST {
        let value = format!("{} µs", record.started.unix_micros());
        return absurd("started", value, "a time since 2020 and at most a day ahead is expected");
    }
    for (field, tokens) in [
        ("prompt_tokens", record.tokens.prompt),
        ("completion_tokens", record.tokens.completion),
        ("cached_tokens", record.tokens.cached),
        ("reasoning_tokens", record.tokens.reasoning),
    ] {
        if let Some(tokens) = tokens.filter(|tokens| *tokens > MAX_TOKENS) {
            return absurd(field, tokens.to_string(), "at most a billion is expected");
        }
    }
    if record.cost < Amount::ZERO || record.cost > MAX_COST {
        return absurd("cost", record.cost.billionths().to_string(), "0 to 10^14 billionths is expected");
    }
    for (field, duration) in [("latency", Some(record.latency)), ("time_to_first_token", record.time_to_first_token)] {
        if let Some(duration) = duration.filter(|duration| *duration > MAX_LATENCY) {
            return absurd(field, format!("{duration:?}"), "at most 31 days is expected");
        }
    }
    for (field, number) in [("price_revision", record.price_revision), ("config_revision", record.config_revision)] {
        if i64::try_from(number).is_err() {
            return absurd(field, number.to_string(), "a number below 2^63 is expected");
        }
    }
    if record.count > MAX_TOKENS {
        return absurd("count", record.count.to_string(), "at most a billion is expected");
    }
    if record.attempts.len() > MAX_PARTS || record.leases.len() > MAX_PARTS {
        let value = format!("{} attempts and {} leases", record.attempts.len(), record.leases.len());
        return absurd("attempts", value, "at most 256 of each are expected");
    }
    clean(&mut record);
    Ok(record)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The time inside a UUID v7.
fn id_time(id: Uuid) -> Option<FleetTime> {
    let ours = id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122;
    let millis = i64::try_from(id.as_u128() >> 80).ok()?;
    ours.then(|| FleetTime::from_unix_millis(millis))
}

/// What is only told, not reckoned with, is made storable: a caller's odd name must not cost the record.
fn clean(record: &mut UsageRecord) {
    record.texts_mut().for_each(storable);
    for attempt in &mut record.attempts {
        attempt.latency = attempt.latency.min(MAX_LATENCY);
        attempt.started = attempt.started.max(EARLIEST);
    }
    for estimate in [&mut record.energy_kwh, &mut record.carbon_kg_co2eq] {
        *estimate = estimate.filter(|amount| amount.is_finite() && (0.0..=1e9).contains(amount));
    }
}

/// Postgres has no NUL in texts.
fn storable(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{FFFD}");
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
