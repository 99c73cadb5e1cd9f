//! What may be rolled back, what of a logged content may be shown, and how two contents differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shared::catalog::Kind;

/// Fields that count changes or follow from others: they never make a difference.
pub const BOOKKEEPING: [&str; 5] = ["version", "updated", "price_revision", "generation", "owner_file"];
/// Fields that are never shown: envelopes, and what a key is found by.
const HIDDEN: [&str; 3] = ["sealed", "password", "public_id"];
/// What stands in their place.
const REDACTED: &str = "(not shown)";

/// A content of the log, as far as the log still knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It was like this.
    Content(Value),
    /// There was no such resource.
    Absent,
    /// The log no longer reaches back to it.
    Unknown,
}

impl Kept {
    /// The content, where there was one and it is known.
    #[must_use]
    pub const fn content(&self) -> Option<&Value> {
        match self {
            Self::Content(content) => Some(content),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// What a change did to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It was not there.
    Create,
    /// It became another.
    Update,
    /// It is gone.
    Delete,
}

impl Operation {
    /// From how it was to how it is.
    #[must_use]
    pub const fn between(before: &Kept, after: Option<&Value>) -> Self {
        match (before, after) {
            (_, None) => Self::Delete,
            (Kept::Absent, Some(_)) => Self::Create,
            (Kept::Content(_) | Kept::Unknown, Some(_)) => Self::Update,
        }
    }

    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A field that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name, as it is stored.
    pub field: String,
    /// How it was; null where there was nothing.
    pub before: Value,
    /// How it is.
    pub after: Value,
}

/// Why resources of a kind are never rolled back; nothing when they are.
#[must_use]
pub const fn never_rolled_back(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Key => Some("keys are never rolled back: a key that was revoked must not come back by itself"),
        Kind::User => Some("users are never rolled back: who was shut out must not come back by itself"),
        Kind::Setting => Some("settings are those of the configuration file: change them there and restart"),
        Kind::Project | Kind::Budget | Kind::Guardrail => Some("resources of this kind are not in the log"),
        Kind::Organization | Kind::Role | Kind::Router | Kind::Provider | Kind::Limit | Kind::Secret => None,
    }
}

/// A content without what must not be shown.
#[must_use]
pub fn shown(content: &Value) -> Value {
    let Value::Object(fields) = content else { return content.clone() };
    let fields = fields.iter().map(|(name, value)| {
        let hidden = HIDDEN.contains(&name.as_str()) && !value.is_null();
        (name.clone(), if hidden { REDACTED.into() } else { value.clone() })
    });
    Value::Object(fields.collect())
}

/// Whether two contents are the same but for what is counted.
#[must_use]
pub fn is_same(one: &Value, other: &Value) -> bool {
    changed_fields(Some(one), Some(other)).next().is_none()
}

/// The fields that differ, by name, without what must not be shown.
#[must_use]
pub fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let visible = |name: &str, value: Value| {
        if HIDDEN.contains(&name) && !value.is_null() { REDACTED.into() } else { value }
    };
    let changes = changed_fields(before, after);
    let told = changes.map(|(field, before, after)| FieldChange {
        field: field.to_owned(),
        before: visible(field, before),
        after: visible(field, after),
    });
    told.collect()
}

fn changed_fields<'a>(
    before: Option<&'a Value>,
    after: Option<&'a Value>,
) -> impl Iterator<Item = (&'a str, Value, Value)> {
    let object = |value: Option<&'a Value>| value.and_then(Value::as_object);
    let (before, after) = (object(before), object(after));
    let names = |fields: Option<&'a Map<String, Value>>| fields.into_iter().flat_map(|fields| fields.keys());
    let all: BTreeSet<&str> = names(before).chain(names(after)).map(String::as_str).collect();
    let field = |fields: Option<&Map<String, Value>>, name: &str| {
        fields.and_then(|fields| fields.get(name)).cloned().unwrap_or(Value::Null)
    };
    all.into_iter()
        .filter(|name| !BOOKKEEPING.contains(name))
        .map(move |name| (name, field(before, name), field(after, name)))
        .filter(|(_, before, after)| before != after)
}

/// What people call a resource with this content.
#[must_use]
pub fn name_of(kind: Kind, content: Option<&Value>) -> String {
    let field = |name: &str| content.and_then(|content| content.get(name)).and_then(Value::as_str).unwrap_or_default();
    match kind {
        Kind::User => field("email").to_owned(),
        Kind::Provider => match (field("upstream_model"), field("url")) {
            ("", "") => String::new(),
            (model, url) => format!("{model} at {url}"),
        },
        Kind::Limit => match (field("unit"), field("period")) {
            ("", "") => String::new(),
            (unit, period) => format!("{unit} per {period}"),
        },
        Kind::Secret => "credential of a provider".to_owned(),
        _ => field("name").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_counted_makes_no_difference() {
        let (one, two) = (json!({"name": "a", "version": 1}), json!({"name": "a", "version": 2, "updated": "now"}));
        assert!(is_same(&one, &two));
        assert!(!is_same(&one, &json!({"name": "b", "version": 1})));
        assert!(!is_same(&one, &json!({"name": "a", "aliases": ["x"]})));
    }

    #[test]
    fn envelopes_are_told_and_not_shown() {
        let (one, two) = (json!({"sealed": "\\x01", "purpose": "p"}), json!({"sealed": "\\x02", "purpose": "p"}));
        let changes = differences(Some(&one), Some(&two));
        assert_eq!(changes.len(), 1);
        assert!(changes.iter().all(|change| change.before == REDACTED && change.after == REDACTED));
        assert_eq!(shown(&one), json!({"sealed": REDACTED, "purpose": "p"}));
        let born = differences(None, Some(&json!({"public_id": "abc", "name": "k"})));
        assert_eq!(born.iter().map(|change| change.after.clone()).collect::<Vec<_>>(), ["k", REDACTED]);
    }

    #[test]
    fn people_are_never_rolled_back() {
        assert!(never_rolled_back(Kind::Key).is_some() && never_rolled_back(Kind::User).is_some());
        assert!(never_rolled_back(Kind::Router).is_none());
        assert_eq!(Operation::between(&Kept::Absent, Some(&json!({}))), Operation::Create);
        assert_eq!(Operation::between(&Kept::Unknown, None), Operation::Delete);
    }
}
