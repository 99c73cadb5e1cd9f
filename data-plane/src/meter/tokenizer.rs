//! Counting tokens with a vocabulary: loaded when first needed, on threads that may block, on text of bounded size.

use shared::catalog::UsageTokenizer;
use tiktoken_rs::CoreBPE;

use super::text::{Countable, Said, answered, asked};
use crate::translate::Operation;

/// More text is counted by its share.
const COUNTED_MOST: usize = 1024 * 1024;

/// What a call is counted to have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of what was asked; absent for speech, which is no text.
    pub(crate) prompt: Option<u64>,
    /// Of what was answered.
    pub(crate) completion: u64,
}

/// Counts a call. Takes from microseconds to a second: never call it on an async thread.
pub(crate) fn count(vocabulary: UsageTokenizer, operation: Operation, body: &[u8], said: &Said) -> Counted {
    let prompt = (operation != Operation::Transcription).then(|| tokens(vocabulary, &asked(operation, body)));
    let completion = match said {
        Said::Nothing => 0,
        Said::Whole(answer) => tokens(vocabulary, &answered(operation, answer)),
        Said::Deltas(deltas) => {
            let (countable, share) = deltas.text();
            scaled(tokens(vocabulary, &countable), share)
        }
    };
    Counted { prompt, completion }
}

fn tokens(vocabulary: UsageTokenizer, countable: &Countable) -> u64 {
    let text = &countable.text;
    if text.is_empty() {
        return countable.tokens;
    }
    let end = (0..=text.len().min(COUNTED_MOST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let part = text.get(..end).unwrap_or_default();
    let counted = encoder(vocabulary).count_ordinary(part) as u64;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let share = part.len() as f64 / text.len() as f64;
    scaled(counted, share).saturating_add(countable.tokens)
}

/// A count of a share of the text, for all of it.
fn scaled(count: u64, share: f64) -> u64 {
    if share >= 1.0 || share <= 0.0 {
        return count;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    let all = (count as f64 / share).ceil() as u64;
    all
}

fn encoder(vocabulary: UsageTokenizer) -> &'static CoreBPE {
    match vocabulary {
        // GPT-2 and GPT-3 share their merges.
        UsageTokenizer::Gpt2 | UsageTokenizer::R50kBase => tiktoken_rs::r50k_base_singleton(),
        UsageTokenizer::P50kBase => tiktoken_rs::p50k_base_singleton(),
        UsageTokenizer::P50kEdit => tiktoken_rs::p50k_edit_singleton(),
        UsageTokenizer::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        UsageTokenizer::O200kBase => tiktoken_rs::o200k_base_singleton(),
    }
}
