//! What became of each key of a file.

use std::collections::HashMap;
use std::fmt;

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does what it says.
    Honoured,
    /// It does so under another name or in another form.
    Mapped {
        /// Which.
        to: String,
    },
    /// It changes nothing; the start goes on.
    NoEffect {
        /// Why.
        reason: String,
    },
    /// The start ends with exit code 2.
    Refused {
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl Outcome {
    /// The word in the table.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Mapped { .. } => "mapped",
            Self::NoEffect { .. } => "no effect",
            Self::Refused { .. } => "refused",
        }
    }
}

/// One key and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The key, such as `models[0].providers[1].timeout`.
    pub path: String,
    /// Its line in the file; for a missing key that of the map it is missing from.
    pub line: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// A remark on an accepted key.
    pub note: Option<String>,
}

impl Finding {
    /// The remark for the table: where it was mapped to, why it has no effect or is refused, or the note.
    #[must_use]
    pub fn remark(&self) -> String {
        let outcome = match &self.outcome {
            Outcome::Honoured => String::new(),
            Outcome::Mapped { to } => format!("→ {to}"),
            Outcome::NoEffect { reason } | Outcome::Refused { reason } => reason.clone(),
        };
        match (&self.note, outcome.is_empty()) {
            (None, _) => outcome,
            (Some(note), true) => note.clone(),
            (Some(note), false) => format!("{outcome}; {note}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}): {}", self.path, self.line, self.remark())
    }
}

/// The outcomes of a whole file: exactly one for each key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
    by_path: HashMap<String, usize>,
}

impl Findings {
    /// Every finding, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// The findings that prevent a start.
    pub fn refused(&self) -> impl Iterator<Item = &Finding> {
        self.iter().filter(|finding| matches!(finding.outcome, Outcome::Refused { .. }))
    }

    /// The findings that an operator should know of at a start: keys that change nothing.
    pub fn without_effect(&self) -> impl Iterator<Item = &Finding> {
        self.iter().filter(|finding| matches!(finding.outcome, Outcome::NoEffect { .. }))
    }

    /// The finding of a key.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Finding> {
        self.by_path.get(path).and_then(|index| self.list.get(*index))
    }

    /// States the outcome of a key. A later word replaces an earlier one, but a refusal stays.
    pub(super) fn set(&mut self, path: &str, line: u32, outcome: Outcome) {
        let known = self.by_path.get(path).copied();
        match known.and_then(|index| self.list.get_mut(index)) {
            Some(Finding { outcome: Outcome::Refused { .. }, .. }) => {}
            Some(finding) => finding.outcome = outcome,
            None => {
                self.by_path.insert(path.to_owned(), self.list.len());
                self.list.push(Finding { path: path.to_owned(), line, outcome, note: None });
            }
        }
    }

    /// Refuses a key.
    pub(super) fn refuse(&mut self, path: &str, line: u32, reason: impl Into<String>) {
        self.set(path, line, Outcome::Refused { reason: reason.into() });
    }

    /// Puts the findings in the order of the file: checks across keys come last and speak of earlier lines.
    pub(super) fn sort(&mut self) {
        self.list.sort_by_key(|finding| finding.line);
        self.by_path = self.list.iter().enumerate().map(|(index, finding)| (finding.path.clone(), index)).collect();
    }

    /// Adds a remark to a key that has an outcome.
    pub(super) fn note(&mut self, path: &str, note: impl Into<String>) {
        if let Some(finding) = self.by_path.get(path).and_then(|index| self.list.get_mut(*index)) {
            finding.note = Some(note.into());
        }
    }
}

/// A value for a message: printable and short.
pub(super) fn cut(text: &str) -> String {
    let short: String = text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > 64 { format!("{short}…") } else { short }
}
