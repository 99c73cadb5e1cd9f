//! The form of a native virtual key, and how any key is checked.
//!
//! `sk-gw-` + 12 characters of public id + 43 of secret (256 bits) + 6 of checksum, all of `[0-9A-Za-z]`.
//! The checksum refuses junk without a look-up and lets scanners recognise a leaked key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, error, hmac, rand};

use super::secret::Secret;

const PREFIX: &str = "sk-gw-";
const PUBLIC: usize = 12;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that was just made: the only moment at which its text exists on the control plane.
#[derive(Debug)]
pub struct NewKey {
    /// The part that may be shown, stored and logged.
    pub public_id: String,
    /// The whole key, shown once.
    pub text: Secret,
}

/// The system's source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

impl From<error::Unspecified> for NoRandomness {
    fn from(_: error::Unspecified) -> Self {
        Self
    }
}

/// Makes a native key.
///
/// # Errors
/// [`NoRandomness`] when the system's source of randomness fails.
pub fn generate() -> Result<NewKey, NoRandomness> {
    let public_id = random_text(PUBLIC)?;
    let payload = format!("{public_id}{}", random_text(SECRET)?);
    let text = format!("{PREFIX}{payload}{}", checksum(&payload));
    Ok(NewKey { public_id, text: Secret::new(text) })
}

/// The public id of a native key; `None` for any other text, junk and other systems' keys alike.
#[must_use]
pub fn public_id(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX)?;
    if rest.len() != PUBLIC + SECRET + CHECKSUM || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (payload, sum) = rest.split_at(PUBLIC + SECRET);
    (checksum(payload) == sum).then(|| payload.split_at(PUBLIC).0)
}

/// What may be shown of a key: enough to recognise it, not enough to use it.
#[must_use]
pub fn masked(text: &str) -> String {
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{head}...{tail}")
}

/// HMAC-SHA-256 of the whole key under the pepper: what is stored in its place.
#[must_use]
pub fn hmac_digest(pepper: &[u8], text: &str) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, pepper);
    array(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// Plain SHA-256 of the whole key, as imported keys have it.
#[must_use]
pub fn sha256_digest(text: &str) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// Compares two digests without telling by its duration how much was alike.
#[must_use]
pub fn digests_match(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// Unbiased: bytes past the largest multiple of 62 are drawn again.
fn random_text(length: usize) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        rand::fill(&mut bytes)?;
        let letters = bytes.iter().filter(|byte| **byte < 248).filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
        text.extend(letters.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(text)
}

/// 35 bits of SHA-256, written in base 62.
fn checksum(payload: &str) -> String {
    let sum = digest::digest(&digest::SHA256, payload.as_bytes());
    let mut number = sum.as_ref().iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)) >> 29;
    let mut text = String::with_capacity(CHECKSUM);
    for _ in 0..CHECKSUM {
        let digit = usize::try_from(number % 62).unwrap_or(0);
        text.extend(ALPHABET.get(digit).map(|letter| char::from(*letter)));
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_recognised_and_a_damaged_one_is_not() -> Result<(), NoRandomness> {
        let key = generate()?;
        let text = key.text.expose();
        assert_eq!(public_id(text), Some(key.public_id.as_str()));
        assert_eq!(text.len(), PREFIX.len() + PUBLIC + SECRET + CHECKSUM);
        for at in PREFIX.len()..text.len() {
            let mut damaged = text.as_bytes().to_vec();
            if let Some(byte) = damaged.get_mut(at) {
                *byte = if *byte == b'a' { b'b' } else { b'a' };
            }
            assert_eq!(public_id(&String::from_utf8_lossy(&damaged)), None, "position {at}");
        }
        for junk in ["", "sk-gw-", "sk-1234", "sk-gw-é", &"x".repeat(70_000)] {
            assert_eq!(public_id(junk), None);
        }
        Ok(())
    }

    #[test]
    fn a_digest_depends_on_the_pepper() {
        assert!(digests_match(&hmac_digest(b"p", "k"), &hmac_digest(b"p", "k")));
        assert!(!digests_match(&hmac_digest(b"p", "k"), &hmac_digest(b"q", "k")));
        assert!(!digests_match(&sha256_digest("k"), &sha256_digest("l")));
    }
}
