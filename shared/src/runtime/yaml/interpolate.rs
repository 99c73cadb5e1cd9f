//! `${NAME}` and `${NAME:-default}` inside one scalar; `$${NAME}` is the literal `${NAME}`.

use super::Variables;

/// How deep defaults may hold further placeholders.
const MAX_DEPTH: usize = 16;
/// The longest text a scalar may become.
const MAX_RESOLVED: usize = 1024 * 1024;

/// A scalar after its variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) text: String,
    /// At least one variable was resolved.
    pub(super) changed: bool,
    /// The whole scalar was exactly one placeholder.
    pub(super) whole: bool,
}

/// Resolves every placeholder of a scalar.
///
/// # Errors
/// The problem in words, naming the variable and never a value.
pub(super) fn resolve(written: &str, variables: &Variables<'_>) -> Result<Resolved, String> {
    if let Some(name) = written.strip_prefix("os.environ/").filter(|_| variables.os_environ) {
        let text = (variables.lookup)(name).ok_or_else(|| unset(name, &format!("os.environ/{name}")))?;
        return Ok(Resolved { text, changed: true, whole: true });
    }
    if !written.contains("${") {
        return Ok(Resolved { text: written.to_owned(), changed: false, whole: false });
    }
    expand(written, variables, 0)
}

fn expand(written: &str, variables: &Variables<'_>, depth: usize) -> Result<Resolved, String> {
    if depth > MAX_DEPTH {
        return Err(format!("placeholders are nested deeper than {MAX_DEPTH}"));
    }
    let mut out = Resolved { text: String::with_capacity(written.len()), changed: false, whole: false };
    let mut rest = written;
    while let Some(at) = rest.find("${") {
        let (before, placeholder) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            // The escape: one dollar sign goes, the braces stay as they are.
            out.text.push_str(before);
            out.text.push_str("${");
            out.changed = true;
            rest = placeholder.get(2..).unwrap_or_default();
            continue;
        }
        out.text.push_str(before);
        let length = closing(placeholder).ok_or_else(|| format!("`{written}` has a `${{` without its `}}`"))?;
        let (whole, after) = placeholder.split_at(length);
        out.text.push_str(&one(whole, variables, depth)?);
        out.changed = true;
        out.whole = before.is_empty() && after.is_empty() && length == written.len();
        if out.text.len() > MAX_RESOLVED {
            return Err(format!("resolves to more than {MAX_RESOLVED} bytes"));
        }
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

/// The value of one `${...}`.
fn one(whole: &str, variables: &Variables<'_>, depth: usize) -> Result<String, String> {
    let inner = whole.get(2..whole.len().saturating_sub(1)).unwrap_or_default();
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !letters || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!(
            "`{whole}` is no placeholder: `${{NAME}}` or `${{NAME:-default}}` is expected, and `$${{...}}` for the literal text"
        ));
    }
    match ((variables.lookup)(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => expand(default, variables, depth + 1).map(|resolved| resolved.text),
        (None, None) => Err(unset(name, whole)),
    }
}

fn unset(name: &str, placeholder: &str) -> String {
    format!(
        "`{placeholder}`: the environment variable `{name}` is not set and has no default; set it, or write `${{{name}:-default}}`"
    )
}

/// The length of the placeholder at the start of the text, with the placeholders nested in it.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|(_, next)| *next == b'{') => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
