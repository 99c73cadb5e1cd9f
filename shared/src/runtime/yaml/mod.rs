//! YAML text as a tree that remembers where each value stands; the only speaker to the YAML crate.
//!
//! Variables are resolved inside scalars, after the text has been parsed: a value that holds `: #` or a line break can
//! never change the shape of the document. Every value remembers what was written in the file, so that a message can
//! show the placeholder instead of what it stood for.

mod build;
mod interpolate;
mod scalar;

#[cfg(test)]
mod tests;

pub use scalar::Scalar;

/// The largest text that is read at all.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A value of the document and where it begins (both from 1).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Line in the file.
    pub line: u32,
    /// Column in the file.
    pub column: u32,
}

/// The three shapes a value can have.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, a number, a boolean or nothing: its type is asked for, not guessed.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; names are unique.
    Map(Vec<Entry>),
}

/// One `name: value` of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The name, as written.
    pub name: String,
    /// The line of the name.
    pub line: u32,
    /// What it names.
    pub node: Node,
}

impl Node {
    /// The value under a name, when this is a mapping that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// The entries of a mapping; nothing for other shapes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) => &[],
        }
    }

    /// The items of a sequence; nothing for other shapes.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Scalar(_) | Value::Map(_) => &[],
        }
    }

    /// The scalar, when this is one.
    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing is written here.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// What this is, in the words of an error message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) => scalar.kind(),
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Why a text is no usable document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(*line, *column, path))]
pub struct YamlFault {
    /// Line in the file, 0 when it concerns the whole.
    pub line: u32,
    /// Column in the file, 0 when it concerns the whole.
    pub column: u32,
    /// The key it concerns, empty for the whole.
    pub path: String,
    /// What is wrong, with what would be right.
    pub problem: String,
}

impl YamlFault {
    /// A fault of the text as a whole.
    fn whole(problem: impl Into<String>) -> Self {
        Self { line: 0, column: 0, path: String::new(), problem: problem.into() }
    }
}

/// `line 3, column 5, models[0].name: ` as far as it is known.
fn place(line: u32, column: u32, path: &str) -> String {
    match (line, path) {
        (0, _) => String::new(),
        (_, "") => format!("line {line}, column {column}: "),
        _ => format!("line {line}, column {column}, {path}: "),
    }
}

/// Where variables come from.
pub struct Variables<'a> {
    /// The value of a variable, when it is set.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether `os.environ/NAME` as a whole scalar is a variable too.
    pub os_environ: bool,
}

impl Variables<'_> {
    /// The process environment, `${NAME}` only.
    #[must_use]
    pub fn of_process() -> Variables<'static> {
        Variables { lookup: &|name| std::env::var(name).ok(), os_environ: false }
    }
}

/// Reads one document. An empty text is a null scalar.
///
/// # Errors
/// The one fault that stops the parser, or every variable that could not be resolved.
pub fn load(text: &str, variables: &Variables<'_>) -> Result<Node, Vec<YamlFault>> {
    if text.len() > MAX_BYTES {
        let size = text.len();
        return Err(vec![YamlFault::whole(format!(
            "{size} bytes are more than the {MAX_BYTES} a configuration file may have"
        ))]);
    }
    build::document(text.strip_prefix('\u{feff}').unwrap_or(text), variables)
}

/// `path` extended by a name: `settings.app_title`, or `headers["a.b"]` for names that would be ambiguous.
#[must_use]
pub fn child(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'));
    match (path.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => format!("{path}[{name:?}]"),
    }
}

/// `path` extended by a position: `models[0]`.
#[must_use]
pub fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
