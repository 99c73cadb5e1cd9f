//! Why the vault refuses. No message ever holds a value.

use super::KeyId;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// No key at all.
    #[error("the key ring is empty; at least one line is expected, for example from: openssl rand -hex 32")]
    Empty,
    /// A key that could be guessed.
    #[error("line {line} of the key ring is shorter than {minimum} characters; make one with: openssl rand -hex 32")]
    Short {
        /// Which line, counted from 1.
        line: usize,
        /// What would be right.
        minimum: usize,
    },
    /// The same key twice.
    #[error("line {line} of the key ring repeats key {key}; each key may stand there once")]
    Repeated {
        /// Which line, counted from 1.
        line: usize,
        /// Which key.
        key: KeyId,
    },
    /// Sealed under a key that is not there.
    #[error("sealed under key {key}, which is not in the key ring; add the line it came from to ring.key")]
    UnknownKey {
        /// Which key.
        key: KeyId,
    },
    /// Not an envelope.
    #[error("not a sealed value of a form that this build knows")]
    Form,
    /// Another value, another context, or a damaged one.
    #[error("the sealed value does not open: it was damaged, or it belongs to another place")]
    Mismatch,
    /// The cipher or the system's randomness failed.
    #[error("the cipher failed")]
    Cipher,
}
