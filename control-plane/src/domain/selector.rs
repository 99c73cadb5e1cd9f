//! Which data planes a staged change is for: those whose labels hold all that the selector names.

use std::collections::BTreeMap;

use super::Error;
use super::text::check_text;

/// Most labels of one selector.
const LABELS: usize = 16;
/// Longest name and value of a label, in characters.
const LABEL: usize = 128;

/// Labels that a data plane must carry, each with this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    labels: BTreeMap<String, String>,
}

impl Selector {
    /// Of at least one label: a change for everybody is no staged one.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, Error> {
        let field = "selector.labels";
        if labels.is_empty() || labels.len() > LABELS {
            return Err(Error::invalid(field, labels.len(), format!("1 to {LABELS} labels are expected")));
        }
        for (name, value) in &labels {
            check_text(field, name, LABEL)?;
            check_text(&format!("{field}.{name}"), value, LABEL)?;
        }
        Ok(Self { labels })
    }

    /// As it was stored. One without labels chooses nobody.
    #[must_use]
    pub const fn stored(labels: BTreeMap<String, String>) -> Self {
        Self { labels }
    }

    /// The labels and their values.
    #[must_use]
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Whether a data plane with these labels is chosen.
    #[must_use]
    pub fn chooses(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.labels.is_empty() && self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn it_chooses_by_every_label() {
        let selector = Selector::new(labels(&[("canary", "true"), ("region", "eu")])).unwrap();
        assert!(selector.chooses(&labels(&[("canary", "true"), ("region", "eu"), ("rack", "2")])));
        assert!(!selector.chooses(&labels(&[("canary", "true")])));
        assert!(!selector.chooses(&labels(&[("canary", "true"), ("region", "us")])));
        assert!(!Selector::stored(BTreeMap::new()).chooses(&labels(&[])));
        for bad in [vec![], vec![("", "x")], vec![("x", "")], vec![("x", "a\nb")]] {
            assert!(Selector::new(labels(&bad)).is_err(), "{bad:?}");
        }
    }
}
