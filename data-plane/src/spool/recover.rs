//! Reads what earlier starts left: every intact entry counts, whatever lies between.

use std::collections::HashMap;
use std::path::Path;

use shared::kernel::ids::{BootId, CallId};
use shared::proto;

use super::entry::{Entry, decode};
use super::frame::Frames;
use super::segment::{self, Segment};
use super::{Recovered, SpoolError};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In order.
    pub(super) segments: Vec<Segment>,
    /// The records of calls that had begun and not ended.
    pub(super) open: Vec<proto::UsageRecord>,
    /// How far each boot is acknowledged.
    pub(super) acknowledged: HashMap<BootId, u64>,
    /// How many records are not.
    pub(super) unacknowledged: u64,
    pub(super) summary: Recovered,
}

/// Of one boot.
#[derive(Debug, Default)]
struct Seen {
    last_ordinal: u64,
    /// Numbers of records that are not there: first and last of each gap. What came before the first file that is left
    /// is one too.
    gaps: Vec<(u64, u64)>,
    /// The last moment known, in microseconds of fleet time: it was alive then.
    alive_us: i64,
}

impl Seen {
    /// How many records there are beyond a number: what was damaged is never sent, so it is not waited for.
    fn left_after(&self, acknowledged: u64) -> u64 {
        let beyond = |first: u64, last: u64| (last + 1).saturating_sub(first.max(acknowledged + 1));
        let missing: u64 = self.gaps.iter().map(|(first, last)| beyond(*first, *last)).sum();
        beyond(1, self.last_ordinal).saturating_sub(missing)
    }
}

#[derive(Debug, Default)]
struct Recovery {
    open: HashMap<CallId, (BootId, proto::UsageRecord)>,
    boots: HashMap<BootId, Seen>,
    acknowledged: HashMap<BootId, u64>,
}

/// Reads a directory. Nothing in it is changed.
pub(super) fn recover(dir: &Path) -> Result<Found, SpoolError> {
    let mut found = Found { segments: segment::list(dir)?, ..Found::default() };
    let mut recovery = Recovery::default();
    let next_boots: Vec<_> = found.segments.iter().skip(1).map(|next| Some(next.boot)).chain([None]).collect();
    for (segment, next_boot) in found.segments.iter_mut().zip(next_boots) {
        let bytes = std::fs::read(&segment.path).map_err(|source| SpoolError::Io {
            doing: "read",
            path: segment.path.clone(),
            source,
        })?;
        segment.bytes = bytes.len() as u64;
        let mut frames = Frames::new(&bytes);
        let mut unreadable = 0;
        for body in frames.by_ref() {
            unreadable += u64::from(recovery.take(segment.boot, body).is_none());
        }
        let tail = (bytes.len() - frames.end()) as u64;
        // Only the end of the last file of a boot may have been cut short in passing.
        let torn = next_boot != Some(segment.boot);
        let damaged = frames.damaged() + unreadable + u64::from(tail > 0 && !torn);
        found.summary.damaged += damaged;
        found.summary.torn_bytes += if torn { tail } else { 0 };
        segment.damaged = damaged > 0;
        segment.last_ordinal = recovery.boots.get(&segment.boot).map_or(0, |seen| seen.last_ordinal);
        if damaged > 0 {
            tracing::error!(path = %segment.path.display(), damaged, "a segment of the usage spool is damaged; what can be read of it is kept");
        }
    }
    recovery.end(&mut found);
    Ok(found)
}

impl Recovery {
    /// Takes an entry in; none when it cannot be understood.
    fn take(&mut self, boot: BootId, body: &[u8]) -> Option<()> {
        let seen = self.boots.entry(boot).or_default();
        match Entry::read(body)? {
            Entry::Open(record) => {
                let (call, record) = decode(record)?;
                seen.alive_us = seen.alive_us.max(record.started_unix_us);
                self.open.insert(call, (boot, record));
            }
            Entry::Close { ordinal, record } => {
                let (call, record) = decode(record)?;
                let latency = i64::try_from(record.latency_us).unwrap_or(i64::MAX);
                seen.alive_us = seen.alive_us.max(record.started_unix_us.saturating_add(latency));
                let expected = seen.last_ordinal + 1;
                if ordinal > expected {
                    seen.gaps.push((expected, ordinal - 1));
                }
                seen.last_ordinal = seen.last_ordinal.max(ordinal);
                self.open.remove(&call);
            }
            Entry::Void(call) => {
                self.open.remove(&call);
            }
            Entry::Acknowledged { boot, seq } => {
                let known = self.acknowledged.entry(boot).or_default();
                *known = seq.max(*known);
            }
        }
        Some(())
    }

    fn end(self, found: &mut Found) {
        let Self { open, boots, acknowledged } = self;
        let left = |(boot, seen): (&BootId, &Seen)| seen.left_after(acknowledged.get(boot).copied().unwrap_or(0));
        found.unacknowledged = boots.iter().map(left).sum();
        found.open = open
            .into_values()
            .map(|(boot, mut record)| {
                if record.outcome() == proto::Outcome::Interrupted && record.latency_us == 0 {
                    // It ran at least until the last thing that its node is known to have done.
                    let alive = boots.get(&boot).map_or(0, |seen| seen.alive_us);
                    record.latency_us = u64::try_from(alive.saturating_sub(record.started_unix_us)).unwrap_or(0);
                }
                record
            })
            .collect();
        found.open.sort_by(|one, other| one.id.cmp(&other.id));
        found.acknowledged = acknowledged;
        found.acknowledged.retain(|boot, _| found.segments.iter().any(|segment| segment.boot == *boot));
        found.summary.interrupted = found.open.len() as u64;
        found.summary.records = found.unacknowledged + found.summary.interrupted;
    }
}
