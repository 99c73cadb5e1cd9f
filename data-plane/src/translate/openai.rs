//! The family of OpenAI: the caller's bytes with two edits.

use bytes::Bytes;

use super::{Dialect, Operation, Outbound, UsageWish, Wording, rerank};
use crate::scan::splice::{Edit, apply, quoted};

/// OpenAI itself, and every server that speaks as it does.
pub(crate) struct OpenAi;

impl Dialect for OpenAi {}

pub(super) const fn path(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Chat => Some("/v1/chat/completions"),
        Operation::Completions => Some("/v1/completions"),
        Operation::Embeddings => Some("/v1/embeddings"),
        Operation::Rerank => Some("/v1/rerank"),
        Operation::Transcription => Some("/v1/audio/transcriptions"),
    }
}

/// The body with the upstream's name of the model; a stream's usage is asked for when `ask_usage`.
pub(super) fn body(outbound: &Outbound<'_>, ask_usage: bool) -> Vec<Bytes> {
    let mut edits = vec![Edit { range: outbound.requested.clone(), with: quoted(outbound.upstream_model) }];
    if let Some(wish) = outbound.streamed.filter(|_| ask_usage) {
        edits.extend(ask(wish));
    }
    if outbound.wording == Wording::OlderRerank {
        edits.extend(rerank::common_words(outbound.body));
    }
    edits.sort_by_key(|edit| edit.range.start);
    apply(outbound.body, &edits)
}

/// Asks for a usage chunk at the end of the stream.
fn ask(wish: &UsageWish) -> Option<Edit> {
    const OPTIONS: &[u8] = b"{\"include_usage\":true}";
    match wish {
        UsageWish::Yes => None,
        UsageWish::Absent { after } => Some(Edit {
            range: *after..*after,
            with: Bytes::from_static(b",\"stream_options\":{\"include_usage\":true}"),
        }),
        UsageWish::Null(range) => Some(Edit { range: range.clone(), with: Bytes::from_static(OPTIONS) }),
        UsageWish::Silent { inside, empty } => {
            let with: &'static [u8] = if *empty { b"\"include_usage\":true" } else { b"\"include_usage\":true," };
            Some(Edit { range: *inside..*inside, with: Bytes::from_static(with) })
        }
        UsageWish::No(range) => Some(Edit { range: range.clone(), with: Bytes::from_static(b"true") }),
    }
}
