//! Tests of what counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn now() -> FleetTime {
    FleetTime::from_unix_millis(1_800_000_000_000)
}

fn good() -> proto::UsageRecord {
    let id = Uuid::from_u128((1_800_000_000_000_u128 << 80) | (7 << 76) | (2 << 62) | 5);
    proto::UsageRecord {
        id: id.as_bytes().to_vec(),
        started_unix_us: now().unix_micros(),
        status: 200,
        outcome: proto::Outcome::Completed as i32,
        phase: proto::UsagePhase::Final as i32,
        prompt_tokens: Some(0),
        count: 1,
        ..proto::UsageRecord::default()
    }
}

fn refused(change: impl FnOnce(&mut proto::UsageRecord)) -> &'static str {
    let mut record = good();
    change(&mut record);
    accept(record, now()).unwrap_err().field()
}

#[test]
fn a_good_record_passes_with_zero_kept_apart_from_absent() {
    let record = accept(good(), now()).unwrap();
    assert_eq!((record.tokens.prompt, record.tokens.completion), (Some(0), None));
}

#[test]
fn absurd_records_are_refused_by_field() {
    assert_eq!(refused(|record| record.id.clear()), "id");
    assert_eq!(refused(|record| record.id = Uuid::from_u128(4).as_bytes().to_vec()), "id");
    assert_eq!(refused(|record| record.id[0] = 0xFF), "id");
    assert_eq!(refused(|record| record.id[..6].fill(0)), "id");
    assert_eq!(refused(|record| record.cost_billionths = -1), "cost");
    assert_eq!(refused(|record| record.cost_billionths = i64::MAX), "cost");
    assert_eq!(refused(|record| record.prompt_tokens = Some(u64::MAX)), "prompt_tokens");
    assert_eq!(refused(|record| record.reasoning_tokens = Some(1_000_000_001)), "reasoning_tokens");
    assert_eq!(refused(|record| record.started_unix_us = i64::MAX), "started");
    assert_eq!(refused(|record| record.started_unix_us = i64::MIN), "started");
    assert_eq!(refused(|record| record.started_unix_us += 86_400_000_001), "started");
    assert_eq!(refused(|record| record.latency_us = u64::MAX), "latency");
    assert_eq!(refused(|record| record.time_to_first_token_us = Some(u64::MAX)), "time_to_first_token");
    assert_eq!(refused(|record| record.status = 70_000), "status");
    assert_eq!(refused(|record| record.outcome = 0), "outcome");
    assert_eq!(refused(|record| record.count = u64::MAX), "count");
    assert_eq!(refused(|record| record.config_revision = u64::MAX), "config_revision");
    assert_eq!(
        refused(|record| record.leases = vec![proto::LeaseDraw { lease_id: vec![0; 16], amount: 1 }; 257]),
        "attempts"
    );
}

#[test]
fn what_is_only_told_is_made_storable() {
    let mut record = good();
    record.requested = format!("a\0b{}", "é".repeat(5_000));
    record.energy_kwh = Some(f64::NAN);
    record.carbon_kg_co2eq = Some(-1.0);
    let record = accept(record, now()).unwrap();
    assert!(record.requested.starts_with("a\u{FFFD}b") && record.requested.chars().count() == MAX_TEXT);
    assert_eq!((record.energy_kwh, record.carbon_kg_co2eq), (None, None));
}
