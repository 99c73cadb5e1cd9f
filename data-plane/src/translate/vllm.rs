//! What vLLM does differently from its family: nothing that a body shows, for the operations served so far.

use super::Dialect;

/// vLLM's OpenAI-compatible server.
pub(crate) struct Vllm;

impl Dialect for Vllm {}
