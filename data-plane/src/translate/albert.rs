//! Albert, or any other OpenGateLLM: the family of OpenAI as it is.

use super::Dialect;

/// Albert's API.
pub(crate) struct Albert;

impl Dialect for Albert {}
