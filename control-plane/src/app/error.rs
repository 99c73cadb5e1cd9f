//! Why a control plane does not start.

use std::io;

use shared::runtime::listen::ListenError;
use shared::runtime::metrics::MetricsError;
use shared::runtime::tls::TlsError;

use crate::fleet::certificates::AuthorityError;
use crate::reconcile::ReconcileError;
use crate::store::StoreError;
use crate::vault::VaultError;

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key ring.
    #[error("ring.key: {0}")]
    Vault(#[from] VaultError),
    /// What data planes are given certificates by.
    #[error(transparent)]
    Authority(AuthorityError),
    /// The configuration file does not fit what is in the catalog.
    #[error(transparent)]
    Reconcile(ReconcileError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate of the public port.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics recorder.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The operating system.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Its reason.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether changing the configuration, and nothing else, helps: exit code 2.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::BadUrl { .. }
                    | StoreError::Refused(_)
                    | StoreError::NoRight { .. }
                    | StoreError::Newer { .. }
            ),
            Self::Vault(_)
            | Self::Reconcile(_)
            | Self::Tls(_)
            | Self::Authority(AuthorityError::Vault(_) | AuthorityError::Name { .. }) => true,
            Self::Authority(_) | Self::Listen(_) | Self::Metrics(_) | Self::Io { .. } => false,
        }
    }

    /// An error of the operating system.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

impl From<ReconcileError> for StartError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Store(error) => Self::Store(error),
            other => Self::Reconcile(other),
        }
    }
}

impl From<AuthorityError> for StartError {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Store(error) => Self::Store(error),
            other => Self::Authority(other),
        }
    }
}
