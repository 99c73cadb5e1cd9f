//! Passwords: Argon2id, a few at a time and off the async threads.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use shared::kernel::secret::Secret;
use tokio::sync::Semaphore;

/// How many are computed at once: each takes 19 MiB and a core.
const AT_ONCE: usize = 2;
/// How long a caller waits for their turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a password could not be hashed or checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many others wait.
    #[error("Too many passwords are being checked, please try again.")]
    Busy,
    /// The computation failed.
    #[error("The password could not be processed.")]
    Failed,
}

/// Hashes and checks passwords; clones share one queue.
#[derive(Debug, Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Compared with when there is no such user, so that both answers take as long.
    decoy: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// With nobody waiting.
    #[must_use]
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), decoy: Arc::default() }
    }

    /// Hashes a password for storing.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: Secret) -> Result<String, PasswordError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether a password is the one that a stored hash was made of. Without a hash the answer is no, in the same time.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool, PasswordError> {
        let decoy = Arc::clone(&self.decoy);
        self.run(move || match stored {
            Some(stored) => verify(&password, &stored),
            None => {
                let decoy = match decoy.get() {
                    Some(decoy) => decoy.clone(),
                    None => {
                        let made = hash(&Secret::new("nobody's password".to_owned()))?;
                        decoy.get_or_init(|| made).clone()
                    }
                };
                let _ = verify(&password, &decoy)?;
                Ok(false)
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| PasswordError::Busy)?
            .map_err(|_| PasswordError::Failed)?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
        .map_err(|_| PasswordError::Failed)
    }
}

/// OWASP's first choice of parameters for Argon2id: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn hash(password: &Secret) -> Result<String, PasswordError> {
    let hash: PasswordHash = argon2().hash_password(password.expose().as_bytes()).map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

fn verify(password: &Secret, stored: &str) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(|_| PasswordError::Failed)?;
    Ok(argon2().verify_password(password.expose().as_bytes(), &stored).is_ok())
}
