//! What operators see of every call: metrics and one log line.
//!
//! All metric families are declared in [`metrics`]; labels are bounded by what operators configured, never by what
//! callers send. Log lines hold names and numbers, never bodies, queries or credentials.

pub(crate) mod access_log;
pub(crate) mod metrics;
