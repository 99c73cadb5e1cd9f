//! References to credentials that the node itself resolves, so that the control plane never holds the value.

use std::io::Read;

use http::HeaderValue;
use shared::kernel::secret::Secret;

/// Longer files are no credentials.
const LONGEST: u64 = 64 * 1024;

/// Why a reference gives no credential. Names the reference, never a value.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Neither form.
    #[error("`{0}` is neither `env:NAME` nor `file:/PATH`")]
    Form(String),
    /// The variable is not there.
    #[error("the environment variable `{0}` is not set on this node, or is empty or not UTF-8")]
    Variable(String),
    /// The file cannot be read.
    #[error("the file `{path}` cannot be read on this node")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no credential.
    #[error("the file `{0}` is empty or longer than 64 KiB")]
    Length(String),
}

/// Reads `env:NAME` or `file:/PATH`; white space around the value does not count.
///
/// # Errors
/// [`ReferenceError`] when there is no value there.
pub fn resolve_reference(reference: &str) -> Result<Secret, ReferenceError> {
    let value = match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name).unwrap_or_default(),
        Some(("file", path)) if path.starts_with('/') => read(path)?,
        _ => return Err(ReferenceError::Form(reference.chars().take(200).collect())),
    };
    let value = Secret::new(value);
    match value.expose().trim() {
        "" if reference.starts_with("env:") => {
            Err(ReferenceError::Variable(reference.chars().skip(4).take(200).collect()))
        }
        "" => Err(ReferenceError::Length(reference.chars().skip(5).take(200).collect())),
        trimmed => Ok(Secret::new(trimmed.to_owned())),
    }
}

fn read(path: &str) -> Result<String, ReferenceError> {
    let unreadable = |source| ReferenceError::File { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LONGEST { Err(ReferenceError::Length(path.to_owned())) } else { Ok(text) }
}

/// The value of an `Authorization` header, marked so that it is never printed or compressed.
pub(super) fn bearer(credential: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {credential}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
