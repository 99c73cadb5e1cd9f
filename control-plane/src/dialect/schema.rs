//! The form of a table of keys: one definition that the walk, the messages and the reference all come from.

use std::io::{self, Write};

use super::opengatellm;

/// One key that a map may hold.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Names it had before.
    pub(super) older: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) rule: Rule,
    pub(super) required: bool,
    /// What applies without it, for the reference.
    pub(super) default: &'static str,
    /// What it is for, for the reference.
    pub(super) about: &'static str,
}

/// What a key's value must be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Text that is never shown.
    Secret,
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    /// Money for a million tokens, not negative.
    Price,
    /// A number above `0`, or from `0` on.
    Number {
        zero: bool,
    },
    /// Seconds, or a number with a unit; the bounds are in seconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// As Postgres writes times: a bare number counts milliseconds.
    PostgresTime,
    /// `host:port`.
    Address,
    Texts,
    /// One of a closed set.
    Word(fn() -> Vec<&'static str>),
    /// Some of a closed set.
    Words(fn() -> Vec<&'static str>),
    /// A map of these keys and no others.
    Map(&'static [Key]),
    /// A map that takes any argument of another library; these are known.
    Open(&'static [Key]),
    /// A list of maps.
    Maps(&'static [Key]),
    /// Whatever it is, it is not looked at.
    Any,
}

/// What becomes of a key that is right.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    Honoured,
    Mapped(&'static str),
    NoEffect(&'static str),
}

/// From this many on, the words of a set are not listed in full.
const MANY: usize = 12;

pub(super) const NOT_BUILT: &str = "not built yet";

/// How long one call of something may take.
pub(super) const CALL: Kind = Kind::Duration { min: 1, max: 3600 };

/// A key that does what it says.
pub(super) const fn honoured(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, older: &[], kind, rule: Rule::Honoured, required: false, default, about }
}

/// A key that is accepted and changes nothing.
pub(super) const fn without_effect(name: &'static str, kind: Kind, reason: &'static str, about: &'static str) -> Key {
    Key { name, older: &[], kind, rule: Rule::NoEffect(reason), required: false, default: "", about }
}

/// A key whose meaning we have in another form.
pub(super) const fn mapped(name: &'static str, kind: Kind, to: &'static str, about: &'static str) -> Key {
    Key { name, older: &[], kind, rule: Rule::Mapped(to), required: false, default: "", about }
}

impl Key {
    pub(super) const fn older(mut self, names: &'static [&'static str]) -> Self {
        self.older = names;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Whether a name in a file means this key.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.older.contains(&name)
    }
}

impl Kind {
    /// In the words of a message: what is expected.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Text | Self::Secret => "text".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer { min, max: i64::MAX } => format!("a whole number from {min}"),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Price => "a decimal number from 0 (money for one million tokens)".to_owned(),
            Self::Number { zero: true } => "a number from 0".to_owned(),
            Self::Number { zero: false } => "a number above 0".to_owned(),
            Self::Duration { min, max } => {
                format!("a time from {min} to {max} seconds, in seconds or with a unit (`90`, `1.5s`, `2m`)")
            }
            Self::PostgresTime => {
                "a time as Postgres writes it (`\"60s\"`; a bare number counts milliseconds)".to_owned()
            }
            Self::Address => "an address and a port such as `127.0.0.1:8000`".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Word(words) => one_of(&words()),
            Self::Words(words) => format!("a list of words, each {}", one_of(&words())),
            Self::Map(_) | Self::Open(_) => "a map".to_owned(),
            Self::Maps(_) => "a list of maps".to_owned(),
            Self::Any => "any value".to_owned(),
        }
    }

    /// The keys below it.
    pub(super) const fn keys(self) -> &'static [Key] {
        match self {
            Self::Map(keys) | Self::Open(keys) | Self::Maps(keys) => keys,
            _ => &[],
        }
    }
}

/// Long sets are told by their beginning.
fn one_of(words: &[&'static str]) -> String {
    match words.get(..MANY) {
        Some(first) => format!("one of {} words ({}, …)", words.len(), first.join(", ")),
        None => format!("one of {}", words.join(", ")),
    }
}

/// The path of the key that has this name somewhere in a table, for messages about misplaced keys.
pub(super) fn place_of(name: &str, keys: &'static [Key], under: &str) -> Option<String> {
    keys.iter().find_map(|key| {
        let list = if matches!(key.kind, Kind::Maps(_)) { "[]" } else { "" };
        let path = if under.is_empty() { format!("{}{list}", key.name) } else { format!("{under}.{}{list}", key.name) };
        if key.is_called(name) { Some(path) } else { place_of(name, key.kind.keys(), &path) }
    })
}

/// Writes the reference of all keys as a Markdown table.
///
/// # Errors
/// Those of the writer.
pub fn write_reference(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| key | value | default | outcome | what it is for |\n| --- | --- | --- | --- | --- |")?;
    write_keys(out, opengatellm::ROOT, "")
}

fn write_keys(out: &mut impl Write, keys: &'static [Key], under: &str) -> io::Result<()> {
    for key in keys {
        let list = if matches!(key.kind, Kind::Maps(_)) { "[]" } else { "" };
        let path = if under.is_empty() { key.name.to_owned() } else { format!("{under}.{}", key.name) };
        let outcome = match key.rule {
            Rule::Honoured => "honoured".to_owned(),
            Rule::Mapped(to) => format!("mapped → {to}"),
            Rule::NoEffect(reason) => format!("no effect: {reason}"),
        };
        let default = if key.required { "required" } else { key.default };
        let older = key.older.iter().map(|name| format!(" Also `{name}`.")).collect::<String>();
        writeln!(out, "| `{path}` | {} | {default} | {outcome} | {}{older} |", key.kind.expected(), key.about)?;
        write_keys(out, key.kind.keys(), &format!("{path}{list}"))?;
    }
    Ok(())
}
