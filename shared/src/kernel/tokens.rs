//! Token counts of one call; absent is not zero.

/// What a provider reported, or what was counted in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Tokens of the prompt, cached ones included.
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub completion: Option<u64>,
    /// Part of `prompt` that the provider served from its cache.
    pub cached: Option<u64>,
    /// Part of `completion` that was spent on reasoning.
    pub reasoning: Option<u64>,
}

impl TokenUsage {
    /// Prompt and completion together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt.unwrap_or(0).saturating_add(self.completion.unwrap_or(0))
    }
}
