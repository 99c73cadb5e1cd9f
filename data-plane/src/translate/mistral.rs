//! What Mistral does differently: some names of its own, and usage in every stream without being asked.
//!
//! Mistral refuses fields that it does not know and names them, so nothing is taken away silently here.

use bytes::Bytes;

use super::{Dialect, Operation, Outbound, openai};
use crate::scan::json::Bounds;
use crate::scan::object;
use crate::scan::splice::{Edit, apply, joined, without};

/// Mistral's API.
pub(crate) struct Mistral;

/// The caller's name of a field, and Mistral's.
const NAMES: &[(&str, &str)] = &[("seed", "random_seed"), ("max_completion_tokens", "max_tokens")];

impl Dialect for Mistral {
    fn path(&self, operation: Operation) -> Option<&'static str> {
        match operation {
            Operation::Completions | Operation::Rerank => None,
            other => openai::path(other),
        }
    }

    fn body(&self, outbound: &Outbound<'_>) -> Vec<Bytes> {
        let body = openai::body(outbound, false);
        if outbound.operation == Operation::Chat { vec![renamed(&joined(&body))] } else { body }
    }
}

fn renamed(body: &Bytes) -> Bytes {
    // A stream's usage comes without asking, and the wish for it is a field that Mistral does not know.
    let body = without(body, "stream_options");
    let Ok(members) = object::read(&body, Bounds::REQUEST) else { return body };
    let has = |name: &str| members.iter().any(|member| member.name == name);
    let renamings = members.iter().filter_map(|member| {
        let (_, theirs) = NAMES.iter().find(|(ours, theirs)| member.name == *ours && !has(theirs))?;
        Some(Edit { range: member.key.clone(), with: Bytes::from(format!("\"{theirs}\"")) })
    });
    let edits: Vec<Edit> = renamings.collect();
    let body = joined(&apply(&body, &edits));
    // Both were given, and say the same.
    without(&body, "max_completion_tokens")
}
