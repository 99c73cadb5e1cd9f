//! A tree against a table of keys: an outcome for every key, and the values of those that are right.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use shared::kernel::money::Amount;
use shared::runtime::yaml::{Entry, Node, Scalar, Value, child, item};

use super::finding::{Findings, Outcome, cut};
use super::schema::{Key, Kind, Rule, place_of};

/// The longest time that Postgres is told.
const MAX_POSTGRES_TIME: Duration = Duration::from_secs(24 * 3600);
const FOREIGN: &str = "an argument of another library that Gatewright does not use";

/// A value that fits its key.
#[derive(Debug, Clone)]
pub(super) enum Typed {
    Text(String),
    Bool(bool),
    Integer(i64),
    Price(Amount),
    Number(f64),
    Duration(Duration),
    Address(SocketAddr),
    Texts(Vec<String>),
    Map(Fields),
    Maps(Vec<Fields>),
    Other,
}

/// The values of one map under their present names.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    /// Of the map itself.
    pub(super) path: String,
    pub(super) line: u32,
    values: BTreeMap<&'static str, Field>,
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) line: u32,
    /// What may be shown of it.
    pub(super) shown: String,
    pub(super) value: Typed,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Field> {
        self.values.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match &self.get(name)?.value {
            Typed::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Typed::Bool(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)?.value {
            Typed::Integer(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn price(&self, name: &str) -> Option<Amount> {
        match self.get(name)?.value {
            Typed::Price(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        match self.get(name)?.value {
            Typed::Number(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        match self.get(name)?.value {
            Typed::Duration(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn address(&self, name: &str) -> Option<SocketAddr> {
        match self.get(name)?.value {
            Typed::Address(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        match self.get(name).map(|field| &field.value) {
            Some(Typed::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The map under a name; an empty one when there is none.
    pub(super) fn map(&self, name: &str) -> Self {
        match self.get(name).map(|field| &field.value) {
            Some(Typed::Map(fields)) => fields.clone(),
            _ => Self::default(),
        }
    }

    pub(super) fn maps(&self, name: &str) -> &[Self] {
        match self.get(name).map(|field| &field.value) {
            Some(Typed::Maps(maps)) => maps,
            _ => &[],
        }
    }
}

/// Walks one map.
pub(super) struct Walk<'a> {
    pub(super) findings: &'a mut Findings,
    /// The whole table, to tell where a misplaced key belongs.
    pub(super) root: &'static [Key],
}

impl Walk<'_> {
    /// Compares a map with its keys; `open` maps take unknown ones.
    pub(super) fn map(&mut self, node: &Node, path: &str, keys: &'static [Key], open: bool) -> Fields {
        let mut fields = Fields { path: path.to_owned(), line: node.line, values: BTreeMap::new() };
        for entry in node.entries() {
            let at = child(path, &entry.name);
            match keys.iter().find(|key| key.is_called(&entry.name)) {
                Some(key) => self.key(key, entry, path, &mut fields),
                None if open => self.foreign(entry, path),
                None => {
                    let reason = self.unknown(&entry.name, path, keys);
                    self.findings.refuse(&at, entry.line, reason);
                }
            }
        }
        for key in keys.iter().filter(|key| key.required && fields.get(key.name).is_none()) {
            self.findings.refuse(
                &child(path, key.name),
                node.line,
                format!("is missing; {} is expected", key.kind.expected()),
            );
        }
        fields
    }

    fn key(&mut self, key: &'static Key, entry: &Entry, path: &str, fields: &mut Fields) {
        let at = child(path, &entry.name);
        if let Some(other) = fields.get(key.name) {
            let reason = format!("is the same as `{}` on line {}; leave one of them out", other.path, other.line);
            return self.findings.refuse(&at, entry.line, reason);
        }
        let outcome = match key.rule {
            Rule::NoEffect(reason) => Outcome::NoEffect { reason: reason.to_owned() },
            Rule::Mapped(to) => Outcome::Mapped { to: to.to_owned() },
            Rule::Honoured if entry.name != key.name => Outcome::Mapped { to: child(path, key.name) },
            Rule::Honoured => Outcome::Honoured,
        };
        self.findings.set(&at, entry.line, outcome);
        if entry.node.is_null() {
            if !key.required {
                self.findings.note(&at, "nothing is given: the default applies");
            }
            return;
        }
        match self.value(key.kind, &entry.node, &at) {
            Ok(value) => {
                let shown = shown(&entry.node);
                fields.values.insert(key.name, Field { path: at, line: entry.line, shown, value });
            }
            Err(reason) => self.findings.refuse(&at, entry.line, reason),
        }
    }

    fn value(&mut self, kind: Kind, node: &Node, path: &str) -> Result<Typed, String> {
        match (kind, &node.value) {
            (Kind::Any, _) => {
                self.any(node, path);
                Ok(Typed::Other)
            }
            (Kind::Map(keys), Value::Map(_)) => Ok(Typed::Map(self.map(node, path, keys, false))),
            (Kind::Open(keys), Value::Map(_)) => Ok(Typed::Map(self.map(node, path, keys, true))),
            (Kind::Maps(keys), Value::List(items)) => {
                let mut maps = Vec::with_capacity(items.len());
                for (index, node) in items.iter().enumerate() {
                    let at = item(path, index);
                    if matches!(node.value, Value::Map(_)) {
                        maps.push(self.map(node, &at, keys, false));
                    } else {
                        self.findings.refuse(&at, node.line, format!("is {}; a map is expected", node.kind()));
                    }
                }
                Ok(Typed::Maps(maps))
            }
            (Kind::Texts, Value::List(items)) => {
                let text = |(index, node): (usize, &Node)| {
                    let text = node.scalar().and_then(Scalar::as_text);
                    text.map(str::to_owned)
                        .ok_or_else(|| format!("its item {index} is {}; {} is expected", node.kind(), kind.expected()))
                };
                items.iter().enumerate().map(text).collect::<Result<_, _>>().map(Typed::Texts)
            }
            (Kind::Words(words), Value::List(items)) => {
                let word = |node: &Node| match node.scalar().and_then(Scalar::as_text) {
                    Some(text) if words().contains(&text) => Ok(text.to_owned()),
                    _ => Err(not_a_word(node, &words())),
                };
                items.iter().map(word).collect::<Result<_, _>>().map(Typed::Texts)
            }
            (_, Value::Scalar(scalar)) => typed(kind, scalar).ok_or_else(|| mistyped(kind, scalar)),
            _ => Err(format!("is {}; {} is expected", node.kind(), kind.expected())),
        }
    }

    /// Keys below something that is not looked at share its outcome.
    fn any(&mut self, node: &Node, path: &str) {
        let inherited = self.findings.get(path).map(|finding| finding.outcome.clone());
        let outcome = inherited.unwrap_or_else(|| Outcome::NoEffect { reason: FOREIGN.to_owned() });
        let mut below: Vec<(String, &Node)> = vec![(path.to_owned(), node)];
        while let Some((path, node)) = below.pop() {
            for entry in node.entries() {
                let at = child(&path, &entry.name);
                self.findings.set(&at, entry.line, outcome.clone());
                below.push((at, &entry.node));
            }
            below.extend(node.items().iter().enumerate().map(|(index, node)| (item(&path, index), node)));
        }
    }

    /// A key of another library, below `parent`: what is not built has no use for its arguments either.
    fn foreign(&mut self, entry: &Entry, parent: &str) {
        let unbuilt = self.findings.get(parent).map(|finding| finding.outcome.clone());
        let outcome = match unbuilt {
            Some(Outcome::NoEffect { reason }) => Outcome::NoEffect { reason },
            _ => Outcome::NoEffect { reason: FOREIGN.to_owned() },
        };
        let path = child(parent, &entry.name);
        self.findings.set(&path, entry.line, outcome);
        self.any(&entry.node, &path);
    }

    /// What to say of a key that is not in its table.
    fn unknown(&self, name: &str, path: &str, keys: &'static [Key]) -> String {
        if let Some(place) = place_of(name, self.root, "") {
            return format!("is not known here; it belongs at `{place}`");
        }
        let names = keys.iter().flat_map(|key| std::iter::once(key.name).chain(key.older.iter().copied()));
        match nearest(name, names) {
            Some(nearest) => format!("is not known; the nearest valid name is `{}`", child(path, nearest)),
            None => "is not known; nothing may stand here".to_owned(),
        }
    }
}

/// What may be shown of a value: placeholders instead of what variables hold; the items of a list with commas.
fn shown(node: &Node) -> String {
    let scalars = node.scalar().into_iter().chain(node.items().iter().filter_map(Node::scalar));
    cut(&scalars.map(Scalar::shown).collect::<Vec<_>>().join(", "))
}

/// The valid name that is most like a wrong one.
fn nearest(name: &str, valid: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Compared in part: the measure takes quadratic time, and nobody meant a name that long.
    let name: String = name.chars().take(64).collect();
    valid.max_by(|one, two| strsim::jaro_winkler(one, &name).total_cmp(&strsim::jaro_winkler(two, &name)))
}

/// Converts a scalar to what its key wants.
fn typed(kind: Kind, scalar: &Scalar) -> Option<Typed> {
    match kind {
        Kind::Text | Kind::Secret => scalar.as_text().map(|text| Typed::Text(text.to_owned())),
        Kind::Bool => scalar.as_bool().map(Typed::Bool),
        Kind::Integer { min, max } => {
            scalar.as_integer().filter(|value| (min..=max).contains(value)).map(Typed::Integer)
        }
        Kind::Price => {
            let amount = scalar.as_decimal().and_then(|text| Amount::parse(&text).ok())?;
            (amount >= Amount::ZERO).then_some(Typed::Price(amount))
        }
        Kind::Number { zero } => {
            let number: f64 = scalar.as_decimal()?.parse().ok()?;
            (number > 0.0 || (zero && number == 0.0)).then_some(Typed::Number(number))
        }
        Kind::Duration { min, max } => {
            let bounds = Duration::from_secs(min)..=Duration::from_secs(max);
            duration(scalar, 1.0).filter(|time| bounds.contains(time)).map(Typed::Duration)
        }
        Kind::PostgresTime => {
            let time = duration(scalar, 0.001).filter(|time| !time.is_zero() && *time <= MAX_POSTGRES_TIME);
            time.map(Typed::Duration)
        }
        Kind::Address => scalar.as_text()?.parse().ok().map(Typed::Address),
        Kind::Word(words) => {
            let text = scalar.as_text()?;
            words().contains(&text).then(|| Typed::Text(text.to_owned()))
        }
        Kind::Texts | Kind::Words(_) | Kind::Map(_) | Kind::Open(_) | Kind::Maps(_) | Kind::Any => None,
    }
}

/// `90`, `1.5s`, `"120s"`, `2m`, `1h`, `1d`; a bare number counts `bare` seconds each.
fn duration(scalar: &Scalar, bare: f64) -> Option<Duration> {
    let text = scalar.as_text()?.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => bare,
        "ms" => 0.001,
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let plain = digits.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = digits.trim().parse().ok().filter(|_| plain)?;
    Duration::try_from_secs_f64(seconds * factor).ok()
}

/// Names an item that is not in its closed set, with the nearest that is.
fn not_a_word(node: &Node, words: &[&'static str]) -> String {
    let Some(scalar) = node.scalar() else { return format!("holds {}; a list of words is expected", node.kind()) };
    let nearest = nearest(scalar.text(), words.iter().copied()).unwrap_or_default();
    format!("holds `{}`, which is not one of {}; the nearest is `{nearest}`", cut(scalar.shown()), words.join(", "))
}

/// Names what was found and what is expected; never the value of a secret.
fn mistyped(kind: Kind, scalar: &Scalar) -> String {
    let expected = kind.expected();
    match kind {
        Kind::Secret => format!("is {}; {expected} is expected", scalar.kind()),
        Kind::Word(words) if !scalar.text().is_empty() => {
            let nearest = nearest(scalar.text(), words().into_iter()).unwrap_or_default();
            format!("is `{}`; {expected} is expected, the nearest is `{nearest}`", cut(scalar.shown()))
        }
        _ if scalar.text().is_empty() => format!("is empty; {expected} is expected"),
        _ => format!("is `{}` ({}); {expected} is expected", cut(scalar.shown()), scalar.kind()),
    }
}
