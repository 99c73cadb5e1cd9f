//! What could not run here, said aloud and counted.

use std::io::Write as _;

/// Whether this is the full check, which takes its time.
#[must_use]
pub fn is_full() -> bool {
    std::env::var("GATEWRIGHT_CHECK").as_deref() == Ok("full")
}

/// Says that a counterpart is missing. `./check` counts these lines; `./check full` lets none pass.
pub fn skipped(what: &str, reason: &str) {
    assert!(!is_full(), "{what} is required by the full check: {reason}");
    let line = format!("{what}: {reason}\n");
    let _ = std::io::stderr().write_all(format!("SKIPPED: {line}").as_bytes());
    let file = crate::paths::target().join("tmp/skipped.txt");
    let _ = std::fs::create_dir_all(file.parent().expect("a folder"));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("the list of skipped tests");
    file.write_all(line.as_bytes()).expect("a line in the list of skipped tests");
}
