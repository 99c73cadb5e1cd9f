//! Parser events → tree, within a budget that an alias bomb cannot exceed.

use std::collections::{HashMap, HashSet};

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{Entry, Node, Scalar, Value, Variables, YamlFault, child, interpolate, item};

/// What the whole tree may weigh, aliases expanded: text bytes, and [`NODE_WEIGHT`] for each value.
const MAX_WEIGHT: usize = 64 * 1024 * 1024;
const NODE_WEIGHT: usize = 128;
/// How deep maps and lists may be nested.
const MAX_DEPTH: usize = 64;
/// After this many variables that cannot be resolved the rest is not worth listing.
const MAX_FAULTS: usize = 50;

/// A map or list that has begun and not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The name whose value comes next (maps only).
    pending: Option<(String, u32)>,
    /// The map's own names and their lines.
    names: HashMap<String, u32>,
    /// Values brought in by `<<`, which the map's own names override.
    merged: Vec<Entry>,
    merged_names: HashSet<String>,
    path: String,
}

struct Builder<'a> {
    variables: &'a Variables<'a>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    weight: usize,
    unresolved: Vec<YamlFault>,
}

/// Reads the events of exactly one document.
pub(super) fn document(text: &str, variables: &Variables<'_>) -> Result<Node, Vec<YamlFault>> {
    let mut builder =
        Builder { variables, open: Vec::new(), anchors: HashMap::new(), root: None, weight: 0, unresolved: Vec::new() };
    for step in Parser::new_from_str(text) {
        let (event, span) = step.map_err(|error| vec![syntax(text, &error)])?;
        builder.event(event, &span).map_err(|fault| vec![fault])?;
    }
    if !builder.unresolved.is_empty() {
        return Err(builder.unresolved);
    }
    let empty = || Node { value: Value::Scalar(Scalar::new(String::new(), None, true)), line: 1, column: 1 };
    Ok(builder.root.unwrap_or_else(empty))
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlFault> {
        let (line, column) = (number(span.start.line()), number(span.start.col() + 1));
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.fault(line, column, "a second document begins here; a configuration file holds one"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let quoted = self.tag(tag.as_deref(), line, column)?;
                self.scalar(&text, plain && !quoted, anchor, line, column)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), line, column)?;
                self.begin(Value::List(Vec::new()), anchor, line, column)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), line, column)?;
                self.begin(Value::Map(Vec::new()), anchor, line, column)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, line, column),
            Event::UnresolvedAlias(name) => Err(self.fault(line, column, format!("`*{name}` has no anchor `&{name}`"))),
            _ => Ok(()),
        }
    }

    /// Whether a tag makes a string of its scalar; tags with a meaning of their own are refused.
    fn tag(&self, tag: Option<&Tag>, line: u32, column: u32) -> Result<bool, YamlFault> {
        let Some(tag) = tag else { return Ok(false) };
        let text = tag.to_string();
        let core = text.rsplit([':', '!']).next().unwrap_or_default();
        let local = !text.contains("yaml.org") && !text.starts_with("!!") && text != "!";
        match core {
            "" | "str" if !local => Ok(true),
            "int" | "float" | "bool" | "null" | "map" | "seq" if !local => Ok(false),
            _ => Err(self.fault(line, column, format!("the tag `{text}` has no meaning here; leave it out"))),
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, anchor: usize, line: u32, column: u32) -> Result<(), YamlFault> {
        if self.expects_name() {
            // Names are taken as written: a variable may stand for a value, not for the shape of the file.
            return self.name(text.to_owned(), line, column);
        }
        self.charge(text.len(), line, column)?;
        let scalar = match interpolate::resolve(text, self.variables) {
            Ok(resolved) => {
                self.charge(resolved.text.len(), line, column)?;
                let typed = plain && (resolved.whole || !resolved.changed);
                Scalar::new(resolved.text, resolved.changed.then(|| text.to_owned()), typed)
            }
            Err(problem) => {
                let fault = self.fault(line, column, problem);
                self.unresolved.push(fault);
                if self.unresolved.len() >= MAX_FAULTS {
                    return Err(self.fault(
                        line,
                        column,
                        format!("{MAX_FAULTS} variables cannot be resolved; this is the last that is listed"),
                    ));
                }
                Scalar::new(String::new(), Some(text.to_owned()), false)
            }
        };
        self.put(Node { value: Value::Scalar(scalar), line, column }, anchor)
    }

    fn begin(&mut self, value: Value, anchor: usize, line: u32, column: u32) -> Result<(), YamlFault> {
        if self.expects_name() {
            return Err(self.fault(line, column, "a name must be text, not a map or a list"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault(line, column, format!("maps and lists are nested deeper than {MAX_DEPTH}")));
        }
        self.charge(0, line, column)?;
        let path = self.path();
        self.open.push(Open {
            node: Node { value, line, column },
            anchor,
            pending: None,
            names: HashMap::new(),
            merged: Vec::new(),
            merged_names: HashSet::new(),
            path,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlFault> {
        let Some(mut done) = self.open.pop() else { return Ok(()) };
        if let Value::Map(entries) = &mut done.node.value {
            entries.extend(done.merged.into_iter().filter(|entry| !done.names.contains_key(&entry.name)));
        }
        self.put(done.node, done.anchor)
    }

    fn alias(&mut self, id: usize, line: u32, column: u32) -> Result<(), YamlFault> {
        if self.expects_name() {
            return Err(self.fault(line, column, "a name must be text, not an alias"));
        }
        // An anchor that still encloses this point is not known yet: a document cannot contain itself.
        let weight = self.anchors.get(&id).map(weigh);
        let Some(weight) = weight else {
            return Err(self.fault(line, column, "this alias stands inside the value that it names"));
        };
        self.charge(weight, line, column)?;
        let Some(node) = self.anchors.get(&id).cloned() else { return Ok(()) };
        self.put(node, 0)
    }

    fn name(&mut self, name: String, line: u32, column: u32) -> Result<(), YamlFault> {
        self.charge(name.len(), line, column)?;
        let earlier = self.open.last_mut().and_then(|open| {
            open.pending = Some((name.clone(), line));
            open.names.insert(name.clone(), line)
        });
        match earlier {
            Some(earlier) => Err(self.fault(line, column, format!("`{name}` is given twice; first on line {earlier}"))),
            None => Ok(()),
        }
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), YamlFault> {
        if anchor > 0 {
            self.charge(weigh(&node), node.line, node.column)?;
            self.anchors.insert(anchor, node.clone());
        }
        let (line, column) = (node.line, node.column);
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.pending.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some((name, _))) if name == "<<" => {
                if merge(open, node).is_none() {
                    return Err(self.fault(line, column, "`<<` takes a map or a list of maps"));
                }
            }
            (Value::Map(entries), Some((name, line))) => entries.push(Entry { name, line, node }),
            (Value::Map(_) | Value::Scalar(_), _) => {}
        }
        Ok(())
    }

    fn expects_name(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.pending.is_none())
    }

    /// The path of the value that comes next.
    fn path(&self) -> String {
        let Some(open) = self.open.last() else { return String::new() };
        match (&open.node.value, &open.pending) {
            (Value::List(items), _) => item(&open.path, items.len()),
            (_, Some((name, _))) => child(&open.path, name),
            _ => open.path.clone(),
        }
    }

    fn charge(&mut self, weight: usize, line: u32, column: u32) -> Result<(), YamlFault> {
        self.weight = self.weight.saturating_add(weight).saturating_add(NODE_WEIGHT);
        if self.weight > MAX_WEIGHT {
            return Err(self.fault(
                line,
                column,
                format!("the document, its aliases expanded, is larger than {MAX_WEIGHT} bytes"),
            ));
        }
        Ok(())
    }

    fn fault(&self, line: u32, column: u32, problem: impl Into<String>) -> YamlFault {
        YamlFault { line, column, path: self.path(), problem: problem.into() }
    }
}

/// Adds what `<<` brings: earlier maps win over later ones.
fn merge(open: &mut Open, node: Node) -> Option<()> {
    let maps = match node.value {
        Value::Map(entries) => vec![entries],
        Value::List(items) => items
            .into_iter()
            .map(|item| match item.value {
                Value::Map(entries) => Some(entries),
                Value::Scalar(_) | Value::List(_) => None,
            })
            .collect::<Option<Vec<_>>>()?,
        Value::Scalar(_) => return None,
    };
    for entry in maps.into_iter().flatten() {
        if open.merged_names.insert(entry.name.clone()) {
            open.merged.push(entry);
        }
    }
    Some(())
}

/// What a value costs to copy.
fn weigh(node: &Node) -> usize {
    NODE_WEIGHT
        + match &node.value {
            Value::Scalar(scalar) => scalar.text().len() + scalar.shown().len(),
            Value::List(items) => items.iter().map(weigh).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.name.len() + weigh(&entry.node)).sum(),
        }
}

/// The parser's own complaint, with a better one where its words are known to puzzle people.
fn syntax(text: &str, error: &serde_yaml::granit_parser::ScanError) -> YamlFault {
    let marker = error.marker();
    let here = marker.line().saturating_sub(1);
    // The parser notices a tab at the end of the line before, or on its own line.
    for (index, line) in text.lines().enumerate().skip(here).take(2) {
        let indent = line.chars().take_while(|c| c.is_whitespace());
        if let Some(column) = indent.enumerate().find(|(_, c)| *c == '\t').map(|(column, _)| column + 1) {
            let problem = "the line is indented with a tab; YAML takes spaces only".to_owned();
            return YamlFault { line: number(index + 1), column: number(column), path: String::new(), problem };
        }
    }
    let problem = format!("this is not YAML: {}", error.kind());
    YamlFault { line: number(marker.line()), column: number(marker.col() + 1), path: String::new(), problem }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
