//! How this process reaches upstreams: settled and checked before anything is waited for.

use shared::runtime::outbound::OutboundSettings;

use super::StartError;
use crate::upstream::pool::Pool;
use crate::upstream::proxy::Proxies;

/// The way to upstreams: certificates that were read, proxies that were understood.
pub struct Upstreams(pub(super) Pool);

impl Upstreams {
    /// Reads the files, and the variables of proxies (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    /// [`StartError`], which names the file or the variable.
    pub fn of_process(settings: &OutboundSettings) -> Result<Self, StartError> {
        let proxies =
            Proxies::read(&|name| std::env::var(name).ok()).map_err(|error| StartError::Proxy(Box::new(error)))?;
        Ok(Self(Pool::new(settings.client_config()?, proxies)))
    }
}
