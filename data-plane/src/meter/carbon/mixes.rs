//! The electricity of zones: kg CO2 equivalent per kWh.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The world's, for zones of which nothing is known.
const WORLD: f64 = 0.458_29;

static MIXES: LazyLock<HashMap<&'static str, f64>> = LazyLock::new(|| {
    entries(include_str!("electricity_mixes.txt")).filter_map(|(zone, figure)| Some((zone, figure?))).collect()
});

/// What a zone's electricity emits.
pub(super) fn of(zone: &str) -> f64 {
    MIXES.get(zone).copied().unwrap_or(WORLD)
}

/// Zones and figures; lines that begin with `#` say where they are from.
fn entries(text: &'static str) -> impl Iterator<Item = (&'static str, Option<f64>)> {
    let mut words = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    std::iter::from_fn(move || Some((words.next()?, words.next().and_then(|figure| figure.parse().ok()))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_zone_is_one_that_a_provider_may_have_and_has_a_figure() {
        let all: Vec<_> = entries(include_str!("electricity_mixes.txt")).collect();
        assert_eq!((all.len(), MIXES.len()), (214, 214));
        for (zone, figure) in all {
            assert!(shared::catalog::zones::is_known(zone), "{zone}");
            assert!((0.0..2.0).contains(&figure.unwrap()), "{zone}");
        }
    }

    #[test]
    fn a_zone_without_figures_counts_as_the_world() {
        assert_eq!((of("WOR"), of("AND"), of("???")), (WORLD, WORLD, WORLD));
        assert_eq!((of("FRA"), of("USA"), of("DEU")), (0.041_44, 0.384_4, 0.329_65));
    }
}
