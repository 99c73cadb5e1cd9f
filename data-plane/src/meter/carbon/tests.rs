//! The golden values of EcoLogits 0.11.3, and what is missing.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn facts(active: Option<f64>, total: Option<f64>, zone: &str) -> CarbonFacts {
    CarbonFacts { zone: zone.to_owned(), total_params: total, active_params: active }
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected.abs() * 1e-12
}

#[test]
fn golden_values() {
    for (active, total, tokens, seconds, zone, kwh, kg) in [
        (8.0, 8.0, 100, 1, "FRA", 6.191_401_107_671_28e-6, 4.193_320_785_685_644_6e-7),
        (8.0, 8.0, 1000, 60, "WOR", 8.915_258_455_308_873e-5, 4.816_004_494_908_002e-5),
        (70.0, 70.0, 500, 20, "USA", 2.554_318_085_499_493e-4, 1.112_088_205_399_338_5e-4),
        (13.0, 47.0, 200, 5, "FRA", 3.081_969_775_966_131e-5, 2.904_772_441_827_031_5e-6),
    ] {
        let impact = estimate(&facts(Some(active), Some(total), zone), tokens, Duration::from_secs(seconds)).unwrap();
        assert!(close(impact.kwh, kwh), "{active} {total} {tokens} {seconds} {zone}: {impact:?}");
        assert!(close(impact.kg_co2eq, kg), "{active} {total} {tokens} {seconds} {zone}: {impact:?}");
    }
}

#[test]
fn one_number_of_parameters_stands_for_both_and_none_gives_no_estimate() {
    let second = Duration::from_secs(1);
    let both = estimate(&facts(Some(8.0), Some(8.0), "FRA"), 100, second);
    assert!(both.is_some());
    assert_eq!(estimate(&facts(Some(8.0), None, "FRA"), 100, second), both);
    assert_eq!(estimate(&facts(None, Some(8.0), "FRA"), 100, second), both);
    for (active, total) in [(None, None), (Some(0.0), Some(0.0)), (Some(f64::NAN), Some(-1.0))] {
        assert_eq!(estimate(&facts(active, total, "FRA"), 100, second), None);
    }
}

#[test]
fn nothing_answered_costs_nothing() {
    let impact = estimate(&facts(Some(8.0), Some(8.0), "AND"), 0, Duration::from_secs(1));
    assert_eq!(impact, Some(Impact { kwh: 0.0, kg_co2eq: 0.0 }));
}
