//! The benchmark measures what it says: every target is asked, and answers.

use std::process::Command;

use harness::paths;
use harness::skip::skipped;

#[test]
fn every_target_answers_under_load() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return skipped("the benchmark", "it needs two processor cores");
    }
    let run = ["run", "--rounds", "1", "--seconds", "0.3", "--only", "open"];
    let output = Command::new(paths::binary("bench")).args(run).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.contains("open 500/s"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for target in ["direct", "floor", "gatewright"] {
        let row = rows.iter().find(|row| row[2] == target).unwrap_or_else(|| panic!("{target} is not in {table}"));
        let (per_second, failed): (f64, u64) = (row[6].parse().unwrap(), row[11].parse().unwrap());
        // A third of a second holds 150 requests.
        assert!(per_second > 50.0 && failed == 0, "{target}: {row:?}");
    }
}
