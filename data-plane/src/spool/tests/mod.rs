//! The spool against crashes, damage, full disks and crowds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod crowd;
mod damage;
mod full;
mod restart;

use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::catalog::{FaultKind, ProviderKind};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{BootId, CallId, ProviderId, RouterId, UserId, VirtualKeyId};
use shared::kernel::money::Amount;
use shared::kernel::tokens::TokenUsage;
use shared::usage::{Attempt, Outcome, Phase, UsageRecord};
use uuid::Uuid;

use super::entry::decode;
use super::*;

const LARGE: u64 = 64 << 20;

/// A directory that goes with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gatewright-spool-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What the next start would find if the process were killed now.
    pub(super) fn after_a_kill(&self) -> Self {
        let copy = Self::new();
        for file in self.segments() {
            std::fs::copy(&file, copy.0.join(file.file_name().unwrap())).unwrap();
        }
        copy
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "v1"));
        files.sort();
        files
    }

    pub(super) fn open(&self, max_bytes: u64, on_full: OnFull) -> (Spool, Recovered) {
        Spool::open(&self.0, SpoolOptions { max_bytes, on_full, boot: BootId::generate() }).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The record of a completed call, as its admission knows it but for its end.
pub(super) fn record(name: &str) -> UsageRecord {
    UsageRecord {
        id: CallId::generate(),
        started: FleetTime::from_unix_millis(1_790_000_000_000),
        latency: Duration::from_millis(120),
        time_to_first_token: Some(Duration::from_millis(30)),
        request_id: "req-1".into(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        endpoint: "/v1/chat/completions".into(),
        method: "POST".into(),
        streamed: true,
        status: 200,
        outcome: Outcome::Completed,
        fault: None,
        phase: Phase::Final,
        parent: None,
        key: Some(VirtualKeyId::generate()),
        key_name: "ci".into(),
        user: Some(UserId::generate()),
        user_email: "ada@example.org".into(),
        organization: None,
        project: None,
        requested: name.into(),
        router: Some(RouterId::generate()),
        router_name: "large".into(),
        attempts: vec![Attempt {
            provider: ProviderId::generate(),
            provider_kind: ProviderKind::Vllm,
            upstream_model: "m".into(),
            started: FleetTime::from_unix_millis(1_790_000_000_001),
            latency: Duration::from_millis(118),
            status: Some(200),
            fault: None,
        }],
        tokens: TokenUsage { prompt: Some(11), completion: Some(7), cached: Some(0), reasoning: None },
        estimated: false,
        cost: Amount::from_billionths(123_456),
        price_revision: 4,
        leases: Vec::new(),
        energy_kwh: Some(1e-6),
        carbon_kg_co2eq: Some(2e-7),
        config_revision: 9,
        count: 1,
    }
}

/// A call begins, durably; how it is going to end is not known yet.
pub(super) fn begin(spool: &Spool, call: &UsageRecord) -> Result<(), NoRoom> {
    let opening = UsageRecord {
        outcome: Outcome::Interrupted,
        fault: Some(FaultKind::Internal),
        status: 0,
        latency: Duration::ZERO,
        time_to_first_token: None,
        attempts: Vec::new(),
        tokens: TokenUsage::default(),
        cost: Amount::ZERO,
        ..call.clone()
    };
    let ticket = spool.begin(&opening)?;
    spool.commit(ticket).inspect_err(|_| spool.withdraw(call.id))
}

/// A record is durable, or kept until it can be.
pub(super) fn submit(spool: &Spool, record: &UsageRecord) -> Result<(), NoRoom> {
    let ticket = spool.submit(record)?;
    let _kept = spool.commit(ticket);
    Ok(())
}

/// Everything that a reader hands out, as typed records.
pub(super) fn drain(reader: &mut SpoolReader) -> Vec<UsageRecord> {
    std::iter::from_fn(|| reader.next_batch(500))
        .flat_map(|batch| batch.records)
        .map(|record| UsageRecord::try_from(decode(&record).unwrap().1).unwrap())
        .collect()
}
