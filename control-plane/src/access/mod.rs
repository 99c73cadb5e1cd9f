//! Who speaks, and what they may: credentials to callers, passwords, logins, and the guard against guessing.
//!
//! It exists so that there is one way in. Faces may import it; it imports `store` and `domain`. Everything is denied
//! unless a permission says otherwise, and rights are read from the database at each use, so that a role that was
//! narrowed narrows the keys of its users at once. Deliberately absent: HTTP statuses and caches.

mod caller;
mod credential;
mod guard;
mod login;
mod password;

use std::sync::Arc;
use std::time::Duration;

use shared::kernel::secret::{Secret, SecretBytes};

pub use caller::{Caller, CallerUser};
pub use credential::{CredentialFault, credential};
pub use guard::{Guard, TooMany};
pub use login::Login;
pub use password::{PasswordError, Passwords};

use crate::store::{Store, StoreError};

/// What is needed to tell who speaks.
#[derive(Debug, Clone)]
pub struct Access {
    store: Store,
    master_key: Secret,
    master_name: Arc<str>,
    pepper: SecretBytes,
    session_duration: Duration,
    passwords: Passwords,
    guard: Arc<Guard>,
}

/// Why nobody, or not this one, is let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No key, or none in a form that is understood, or two different ones.
    #[error(transparent)]
    Credential(#[from] CredentialFault),
    /// No such key, or one whose time is over.
    #[error("Invalid API key.")]
    UnknownKey,
    /// Too many wrong credentials came from there.
    #[error("Too many wrong credentials: try again in {} seconds.", retry_after.as_secs().max(1))]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The key, its user or their organization is switched off.
    #[error("The {what} is disabled, please contact an administrator.")]
    Disabled {
        /// Which of them.
        what: &'static str,
    },
    /// The user's time is over.
    #[error("Your account has expired. Please contact support to renew your account.")]
    Expired,
    /// The caller lacks a permission.
    #[error("User has no admin rights.")]
    Forbidden,
    /// A key would make one that lives longer than itself.
    #[error("A key cannot make a key that outlives it.")]
    WiderKey,
    /// The route is for users, and the master key belongs to none.
    #[error("The master key belongs to no user: use the key of a user.")]
    NoUser,
    /// The e-mail address or the password is wrong; which, is not told.
    #[error("Invalid email or password.")]
    WrongPassword,
    /// The password that is to be replaced is another one.
    #[error("Invalid current password.")]
    WrongCurrentPassword,
    /// The user has none.
    #[error("Password not set, please contact an administrator.")]
    NoPassword,
    /// Passwords could not be checked now.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key could be made.
    #[error(transparent)]
    Randomness(#[from] shared::kernel::virtual_key::NoRandomness),
}

/// The secrets and rules of access, as the process was started with them.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// Administration without a user.
    pub master_key: Secret,
    /// The name that the holder of the master key logs in with.
    pub master_name: String,
    /// What verifiers of keys are computed under.
    pub pepper: SecretBytes,
    /// How long the key that a login gives is valid.
    pub session_duration: Duration,
}

impl Access {
    /// Puts it together.
    #[must_use]
    pub fn new(store: Store, settings: AccessSettings) -> Self {
        Self {
            store,
            master_key: settings.master_key,
            master_name: settings.master_name.into(),
            pepper: settings.pepper,
            session_duration: settings.session_duration,
            passwords: Passwords::new(),
            guard: Arc::new(Guard::new()),
        }
    }

    /// To hash and check passwords.
    #[must_use]
    pub const fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Whether an e-mail address is the master's name, which no user may have.
    #[must_use]
    pub fn is_reserved(&self, email: &str) -> bool {
        email.eq_ignore_ascii_case("master") || email.to_lowercase() == self.master_name.to_lowercase()
    }

    /// Insists that a password is the present one.
    ///
    /// # Errors
    /// [`AccessError::WrongCurrentPassword`], or [`AccessError::Password`].
    pub async fn check_current_password(&self, given: Secret, stored: Option<String>) -> Result<(), AccessError> {
        let right = self.passwords.verify(given, stored).await?;
        if right { Ok(()) } else { Err(AccessError::WrongCurrentPassword) }
    }

    /// The name that the holder of the master key has.
    #[must_use]
    pub fn master_name(&self) -> &str {
        &self.master_name
    }

    /// To compute verifiers of keys.
    #[must_use]
    pub const fn pepper(&self) -> &SecretBytes {
        &self.pepper
    }
}

#[cfg(test)]
mod tests;
