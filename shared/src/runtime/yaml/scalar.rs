//! A scalar whose type is decided by who asks, because one file format serves readers with different habits.

use std::fmt;

/// A scalar of the document.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar {
    text: String,
    /// What the file says when it is not `text`, that is when variables were resolved.
    written: Option<String>,
    /// Whether the text may be something other than a string: plain, and either literal or one whole variable.
    typed: bool,
}

impl Scalar {
    pub(super) fn new(text: String, written: Option<String>, typed: bool) -> Self {
        Self { text, written, typed }
    }

    /// The resolved text. It may be a secret: show [`Scalar::shown`] instead.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What may be shown of it: the file's own words, so the placeholder where there was one.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// Nothing: an absent value, `null`, `~`, or Python's `None`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        let absent = self.text.is_empty() && self.written.is_none();
        self.typed && (absent || matches!(self.text.as_str(), "~" | "null" | "Null" | "NULL" | "None"))
    }

    /// A boolean in YAML 1.1's spelling (which PyYAML users write) or YAML 1.2's.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if !self.typed {
            return None;
        }
        match self.text.as_str() {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        }
    }

    /// A whole number; `1_000` and `5.0` are accepted, `"5"` in quotes is not.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if !self.typed {
            return None;
        }
        let text = self.text.replace('_', "");
        let digits = text.strip_suffix(".0").unwrap_or(&text);
        digits.strip_prefix('+').unwrap_or(digits).parse().ok()
    }

    /// The text of a decimal number, exact as written, without thousands marks.
    #[must_use]
    pub fn as_decimal(&self) -> Option<String> {
        let text = self.text.replace('_', "");
        let number = text.parse::<f64>().is_ok_and(f64::is_finite);
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'));
        (self.typed && number && digits).then_some(text)
    }

    /// Text. Numbers written where a text is wanted are taken as written (`version: 1.10` stays `1.10`); booleans only
    /// when they came from a variable, whose value nobody can quote.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        let other = self.is_null() || (self.as_bool().is_some() && self.written.is_none());
        (!other).then_some(self.text.as_str())
    }

    /// What this is, in the words of an error message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.is_null() {
            "nothing"
        } else if self.as_bool().is_some() {
            "a boolean"
        } else if self.as_decimal().is_some() {
            "a number"
        } else {
            "text"
        }
    }
}

/// Shows what the file shows, never what a variable held.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}
