//! What operators see of every call: metrics, one log line, spans.
//!
//! All metric families are declared in [`metrics`] and [`aliases`]; labels are bounded by what operators configured, never by what
//! callers send. Log lines hold names and numbers, never bodies, queries or credentials.

pub(crate) mod access_log;
mod address;
pub(crate) mod aliases;
pub(crate) mod metrics;
pub(crate) mod traces;
