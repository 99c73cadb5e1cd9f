//! The account of a file, for people: every key with its outcome, and what to do next.

use std::io::{self, Write};

use super::finding::{Findings, Outcome};
use super::{ConfigErrors, Loaded};

/// The exit code of a configuration that cannot be started with.
pub const EXIT_REFUSED: u8 = 2;

/// Writes the table of a loaded or refused file and returns the exit code of `config check`.
///
/// # Errors
/// Those of the writer.
pub fn write_report(out: &mut impl Write, outcome: &Result<Loaded, ConfigErrors>) -> io::Result<u8> {
    let (origin, findings) = match outcome {
        Ok(loaded) => (&loaded.origin, &loaded.findings),
        Err(ConfigErrors::Refused { origin, findings }) => (origin, findings),
        Err(other) => {
            writeln!(out, "{other}")?;
            return Ok(EXIT_REFUSED);
        }
    };
    write_table(out, findings)?;
    writeln!(out)?;
    writeln!(out, "{}: {}", origin.display(), summary(findings))?;
    if findings.refused().next().is_some() {
        writeln!(out, "A start with this file ends with exit code {EXIT_REFUSED}:")?;
        findings.refused().try_for_each(|finding| writeln!(out, "  {finding}"))?;
        return Ok(EXIT_REFUSED);
    }
    Ok(0)
}

fn write_table(out: &mut impl Write, findings: &Findings) -> io::Result<()> {
    // One very long path must not push every remark off the screen.
    let width = findings.iter().map(|finding| finding.path.chars().count()).max().unwrap_or(0).min(64);
    writeln!(out, "{:<9}  {:>4}  {:<width$}  remark", "outcome", "line", "key")?;
    for finding in findings.iter() {
        let line = format!(
            "{:<9}  {:>4}  {:<width$}  {}",
            finding.outcome.word(),
            finding.line,
            finding.path,
            finding.remark()
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `12 keys: 9 honoured, 1 mapped, 2 without effect, 0 refused`.
#[must_use]
pub fn summary(findings: &Findings) -> String {
    let count = |wanted: fn(&Outcome) -> bool| findings.iter().filter(|finding| wanted(&finding.outcome)).count();
    format!(
        "{} keys: {} honoured, {} mapped, {} without effect, {} refused",
        findings.iter().count(),
        count(|outcome| matches!(outcome, Outcome::Honoured)),
        count(|outcome| matches!(outcome, Outcome::Mapped { .. })),
        count(|outcome| matches!(outcome, Outcome::NoEffect { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused { .. })),
    )
}
