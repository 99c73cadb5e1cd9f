//! One key of the ring: its id and the keys derived from it, one for each use.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use shared::kernel::secret::SecretBytes;
use zeroize::Zeroizing;

use super::VaultError;

/// Shorter secrets could be guessed.
const MINIMUM: usize = 32;
/// Separates this use of the secret from every other.
const SALT: &[u8] = b"gatewright key ring";
/// Length of each derived key.
const KEY_LENGTH: usize = 32;

/// The first four bytes of SHA-256 of a ring key: tells keys apart, tells nothing about them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; Self::LENGTH]);

impl KeyId {
    /// In bytes.
    pub(super) const LENGTH: usize = 4;

    fn of(text: &str) -> Self {
        let mut id = [0; Self::LENGTH];
        for (to, from) in id.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(id)
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a line, before it is known which line it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum BadKey {
    Short,
    Cipher,
}

impl BadKey {
    pub(super) const fn at(self, line: usize) -> VaultError {
        match self {
            Self::Short => VaultError::Short { line, minimum: MINIMUM },
            Self::Cipher => VaultError::Cipher,
        }
    }
}

pub(super) struct RingKey {
    id: KeyId,
    cipher: RandomizedNonceKey,
    commits: hmac::Key,
    digests: SecretBytes,
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingKey({})", self.id)
    }
}

impl RingKey {
    pub(super) fn derive(text: &str) -> Result<Self, BadKey> {
        if text.len() < MINIMUM {
            return Err(BadKey::Short);
        }
        let root = Salt::new(HKDF_SHA256, SALT).extract(text.as_bytes());
        let cipher = expand(&root, b"seal")?;
        let commits = expand(&root, b"commit")?;
        Ok(Self {
            id: KeyId::of(text),
            cipher: RandomizedNonceKey::new(&AES_256_GCM, cipher.as_slice()).map_err(|_| BadKey::Cipher)?,
            commits: hmac::Key::new(hmac::HMAC_SHA256, commits.as_slice()),
            digests: SecretBytes::new(expand(&root, b"digest")?.to_vec()),
        })
    }

    pub(super) const fn id(&self) -> KeyId {
        self.id
    }

    pub(super) const fn commits(&self) -> &hmac::Key {
        &self.commits
    }

    pub(super) const fn digests(&self) -> &SecretBytes {
        &self.digests
    }

    /// Appends nonce, ciphertext and tag.
    pub(super) fn seal(&self, bound: &[u8], plain: &[u8], to: &mut Vec<u8>) -> Result<(), VaultError> {
        let mut body = Zeroizing::new(plain.to_vec());
        let nonce =
            self.cipher.seal_in_place_append_tag(Aad::from(bound), &mut *body).map_err(|_| VaultError::Cipher)?;
        to.extend_from_slice(nonce.as_ref());
        to.extend_from_slice(&body);
        Ok(())
    }

    pub(super) fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<SecretBytes, VaultError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError::Form)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Form)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self.cipher.open_in_place(nonce, Aad::from(bound), &mut body).map_err(|_| VaultError::Mismatch)?;
        Ok(SecretBytes::new(plain.to_vec()))
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_LENGTH
    }
}

fn expand(root: &Prk, purpose: &[u8]) -> Result<Zeroizing<[u8; KEY_LENGTH]>, BadKey> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    root.expand(&[purpose], Length).and_then(|output| output.fill(key.as_mut_slice())).map_err(|_| BadKey::Cipher)?;
    Ok(key)
}
