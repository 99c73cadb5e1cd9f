//! Which dialect a provider kind speaks: the family first, what it does differently second.

use shared::catalog::ProviderKind;

use super::Dialect;
use super::mock::Mock;
use super::openai::OpenAi;
use super::vllm::Vllm;

/// The dialect of a kind.
pub(crate) fn dialect(kind: ProviderKind) -> &'static dyn Dialect {
    match kind {
        ProviderKind::OpenAi => &OpenAi,
        ProviderKind::Vllm => &Vllm,
        ProviderKind::Mock => &Mock,
    }
}
