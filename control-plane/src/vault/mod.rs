//! The key ring: seals provider credentials at rest, and the commits that are shown to data planes.
//!
//! A ring is one or more secrets, one on each line of `ring.key`. The first is active: it seals. All of them open, so
//! a new line at the top rotates the ring, and the old line may go once everything was rewrapped.
//!
//! Envelope: version byte, key id (4 bytes), nonce (12 bytes), ciphertext with tag. The header and the caller's context
//! are authenticated with it, so a value that was moved to another row does not open.

mod commit_seal;
mod error;
mod key;

use shared::kernel::secret::{Secret, SecretBytes};

pub use commit_seal::ViewMark;
pub use error::VaultError;
pub use key::KeyId;
use key::RingKey;

/// The form of the envelope that this build writes, and the only one so far.
const VERSION: u8 = 1;
/// Version byte and key id.
const HEADER: usize = 1 + KeyId::LENGTH;

/// Seals and opens. Holds the derived keys, never the text that they came from.
#[derive(Debug)]
pub struct KeyRing {
    active: RingKey,
    others: Vec<RingKey>,
}

impl KeyRing {
    /// Reads a ring: one secret on each line, the first is active; empty lines are skipped.
    ///
    /// # Errors
    /// [`VaultError`] when there is none, or one is too short or stands there twice.
    pub fn parse(text: &Secret) -> Result<Self, VaultError> {
        let mut keys: Vec<RingKey> = Vec::new();
        for (index, line) in text.expose().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let key = RingKey::derive(line).map_err(|problem| problem.at(index + 1))?;
            if keys.iter().any(|known| known.id() == key.id()) {
                return Err(VaultError::Repeated { line: index + 1, key: key.id() });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let active = keys.next().ok_or(VaultError::Empty)?;
        Ok(Self { active, others: keys.collect() })
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn active(&self) -> KeyId {
        self.active.id()
    }

    /// Seals a value; `context` names the place it belongs to and must be given again to open it.
    ///
    /// # Errors
    /// [`VaultError::Cipher`] when the system gives no random bytes.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut sealed = Vec::with_capacity(HEADER + plain.len() + 28);
        sealed.push(VERSION);
        sealed.extend_from_slice(self.active.id().bytes());
        let bound = bind(&sealed, context);
        self.active.seal(&bound, plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what [`KeyRing::seal`] made for the same context.
    ///
    /// # Errors
    /// [`VaultError`] when the key is not in the ring (named), or the value or its context is another one.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<SecretBytes, VaultError> {
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(VaultError::Form)?;
        let key = self.key_of(header)?;
        key.open(&bind(header, context), body)
    }

    /// Whether a sealed value should be rewrapped because its key is no longer the active one.
    ///
    /// # Errors
    /// [`VaultError::Form`] when it is no envelope of ours.
    pub fn is_stale(&self, sealed: &[u8]) -> Result<bool, VaultError> {
        let (header, _) = sealed.split_at_checked(HEADER).ok_or(VaultError::Form)?;
        Ok(key_id(header)? != self.active.id())
    }

    /// Seals again under the active key; `None` when it already is.
    ///
    /// # Errors
    /// As [`KeyRing::open`] and [`KeyRing::seal`].
    pub fn rewrap(&self, context: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        if !self.is_stale(sealed)? {
            return Ok(None);
        }
        let plain = self.open(context, sealed)?;
        self.seal(context, plain.expose()).map(Some)
    }

    /// A key for digests that cover secrets and are stored, so that nobody can try values against them. It changes with
    /// the active key.
    #[must_use]
    pub fn digest_key(&self) -> &SecretBytes {
        self.active.digests()
    }

    fn key_of(&self, header: &[u8]) -> Result<&RingKey, VaultError> {
        let id = key_id(header)?;
        self.keys().find(|key| key.id() == id).ok_or(VaultError::UnknownKey { key: id })
    }

    fn keys(&self) -> impl Iterator<Item = &RingKey> {
        std::iter::once(&self.active).chain(&self.others)
    }
}

/// Header and context together, so that neither can be exchanged.
fn bind(header: &[u8], context: &[u8]) -> Vec<u8> {
    [header, context].concat()
}

fn key_id(header: &[u8]) -> Result<KeyId, VaultError> {
    match header.split_first() {
        Some((&VERSION, id)) => KeyId::from_slice(id).ok_or(VaultError::Form),
        _ => Err(VaultError::Form),
    }
}

#[cfg(test)]
mod tests;
