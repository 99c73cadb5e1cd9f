//! The table: medians over rounds, with the ratio to nginx or, without it, to the floor.

use crate::scenario::Scenario;
use crate::target::Target;

/// One window.
#[derive(Debug, Default, Clone)]
pub(crate) struct Row {
    /// Which load.
    pub(crate) scenario: &'static str,
    /// On what.
    pub(crate) target: &'static str,
    /// Microseconds of CPU.
    pub(crate) cpu_per_request: Option<f64>,
    /// Microseconds of CPU.
    pub(crate) cpu_per_chunk: Option<f64>,
    /// Requests each second.
    pub(crate) per_second: f64,
    /// Events each second.
    pub(crate) chunks_per_second: f64,
    /// Microseconds.
    pub p50: u32,
    /// Microseconds.
    pub p99: u32,
    /// Requests that did not get a 200.
    pub(crate) failures: u64,
    /// KiB.
    pub(crate) memory: Option<u64>,
}

/// Prints everything to standard output.
pub(crate) fn print(rows: &[Row], scenarios: &[&Scenario], targets: &[Target]) {
    println!(
        "| scenario | target | CPU us/request | CPU us/chunk | x nginx | req/s | chunks/s | p50 us | p99 us | PSS MiB | failed |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for scenario in scenarios {
        let cost = |target: &str| {
            let rows = of(rows, scenario.name, target);
            if scenario.stream {
                median(rows, |row| row.cpu_per_chunk)
            } else {
                median(rows, |row| row.cpu_per_request)
            }
        };
        let yardstick = cost("nginx");
        for target in targets {
            let own = || of(rows, scenario.name, target.name);
            let failures: u64 = own().map(|row| row.failures).sum();
            println!(
                "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {failures} |",
                scenario.name,
                target.name,
                shown(median(own(), |row| row.cpu_per_request), 1),
                shown(median(own(), |row| row.cpu_per_chunk), 2),
                shown(cost(target.name).zip(yardstick).map(|(own, nginx)| own / nginx), 2),
                median(own(), |row| Some(row.per_second)).unwrap_or(0.0),
                median(own(), |row| Some(row.chunks_per_second)).unwrap_or(0.0),
                median(own(), |row| Some(f64::from(row.p50))).unwrap_or(0.0),
                median(own(), |row| Some(f64::from(row.p99))).unwrap_or(0.0),
                shown(median(own(), |row| row.memory.map(|kib| kib as f64 / 1024.0)), 1),
            );
        }
    }
    for target in targets {
        let idle = median(of(rows, "idle", target.name), |row| row.memory.map(|kib| kib as f64 / 1024.0));
        println!("idle {}: {} MiB", target.name, shown(idle, 1));
    }
}

fn of<'a>(rows: &'a [Row], scenario: &'a str, target: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.scenario == scenario && row.target == target)
}

fn median<'a>(rows: impl Iterator<Item = &'a Row>, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
    let mut all: Vec<f64> = rows.filter_map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}
