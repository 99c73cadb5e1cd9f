//! The caller's dialect and the upstream's: pure functions between the two, no I/O.
//!
//! Callers speak OpenAI's dialect. An upstream of the same family gets the caller's bytes with two possible edits (the
//! model's name, and the wish for stream usage); another one gets what its own file here writes.
//!
//! A kind is looked up in two steps, see [`registry`]: its family first, then what it does differently. A new vendor
//! that speaks OpenAI's dialect needs one line there.
//!
//! | file | holds |
//! |---|---|
//! | [`registry`] | which dialect a provider kind speaks |
//! | [`openai`] | the family of OpenAI: the edits |
//! | [`vllm`], [`albert`], [`mistral`] | what these do differently |
//! | [`tei`] | a family of its own |
//! | [`rerank`] | the ways to ask for a ranking, and to answer |
//! | [`mock`] | answers without an upstream |
//! | [`complaint`] | what an upstream says when it refuses |

pub(crate) mod albert;
pub(crate) mod complaint;
pub(crate) mod mistral;
pub(crate) mod mock;
pub(crate) mod openai;
pub(crate) mod registry;
pub(crate) mod rerank;
pub(crate) mod tei;
pub(crate) mod vllm;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;

pub(crate) use registry::dialect;

/// What a caller wants done; each has one endpoint of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// A chat completion.
    Chat,
    /// A text going on, the older form of chat.
    Completions,
    /// Vectors of texts.
    Embeddings,
    /// Documents by how well they answer a query.
    Rerank,
    /// Speech as text.
    Transcription,
}

/// Which words a request uses where there is more than one way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wording {
    /// The one that upstreams of the family of OpenAI understand.
    #[default]
    Common,
    /// OpenGateLLM's first form of rerank: `prompt` and `input`.
    OlderRerank,
}

/// Where the wish for stream usage stands in a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum UsageWish {
    /// Not there; it can be added behind the value that ends here.
    Absent {
        /// End of the value of `stream`.
        after: usize,
    },
    /// `stream_options` is null; it can be replaced.
    Null(Range<usize>),
    /// `stream_options` is an object without the wish.
    Silent {
        /// Behind its opening brace.
        inside: usize,
        /// Whether it holds nothing at all.
        empty: bool,
    },
    /// The wish is there and says no (or nothing).
    No(Range<usize>),
    /// The caller wants usage.
    #[default]
    Yes,
}

/// A request on its way to an upstream.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    /// What is wanted.
    pub(crate) operation: Operation,
    /// The caller's body.
    pub(crate) body: &'a Bytes,
    /// Where the value of `model` lies.
    pub(crate) requested: Range<usize>,
    /// The name that the upstream knows.
    pub(crate) upstream_model: &'a str,
    /// Whether the answer is to be streamed, and then where the wish for usage stands.
    pub(crate) streamed: Option<&'a UsageWish>,
    /// Which words the caller uses.
    pub(crate) wording: Wording,
}

/// A whole answer as it came from an upstream.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// What was wanted.
    pub(crate) operation: Operation,
    /// The caller's body.
    pub(crate) request: &'a Bytes,
    /// The upstream's headers.
    pub(crate) headers: &'a HeaderMap,
    /// The upstream's body.
    pub(crate) body: &'a Bytes,
}

/// How upstreams of one kind are spoken to.
pub(crate) trait Dialect: Sync {
    /// The path of an operation, to be put behind the provider's address; absent when the kind has none.
    fn path(&self, operation: Operation) -> Option<&'static str> {
        openai::path(operation)
    }

    /// The body to send.
    fn body(&self, outbound: &Outbound<'_>) -> Vec<Bytes> {
        openai::body(outbound, true)
    }

    /// A whole answer in the words of the caller's family; nothing when it cannot be understood.
    fn answer(&self, answer: &Answer<'_>) -> Option<Bytes> {
        Some(answer.body.clone())
    }

    /// Whether it answers by itself, without a network.
    fn is_local(&self) -> bool {
        false
    }
}
