//! What vLLM does differently from its family: its ranking is served where Cohere's second version is.

use super::{Dialect, Operation, openai};

/// vLLM's OpenAI-compatible server.
pub(crate) struct Vllm;

impl Dialect for Vllm {
    fn path(&self, operation: Operation) -> Option<&'static str> {
        match operation {
            Operation::Rerank => Some("/v2/rerank"),
            other => openai::path(other),
        }
    }
}
