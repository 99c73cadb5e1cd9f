//! Which dialect a provider kind speaks: the family first, what it does differently second.

use shared::catalog::ProviderKind;

use super::Dialect;
use super::albert::Albert;
use super::mistral::Mistral;
use super::mock::Mock;
use super::openai::OpenAi;
use super::tei::Tei;
use super::vllm::Vllm;

/// The dialect of a kind.
pub(crate) fn dialect(kind: ProviderKind) -> &'static dyn Dialect {
    match kind {
        ProviderKind::OpenAi => &OpenAi,
        ProviderKind::Vllm => &Vllm,
        ProviderKind::Mistral => &Mistral,
        ProviderKind::Albert => &Albert,
        ProviderKind::Tei => &Tei,
        ProviderKind::Mock => &Mock,
    }
}
