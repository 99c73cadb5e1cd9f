//! Frames of the copy: length, checksum, nonce, sealed message. The checksum tells damage, the seal tells forgery.

use std::io::{self, Read};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use shared::kernel::secret::{Secret, SecretBytes};

/// Begins every file.
const MAGIC: &[u8; 8] = b"GWCOPY01";
/// Random, so that every file has a key of its own.
const SALT: usize = 32;
/// Magic and salt.
pub(super) const HEADER: usize = MAGIC.len() + SALT;
/// Length and checksum.
const HEAD: usize = 8;
/// Nothing that travels is longer.
const LONGEST: u32 = 16 * 1024 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Chunk,
    Commit,
    Revoke,
    /// At this time the catalog was the newest one.
    Fresh,
}

impl Kind {
    const ALL: [(Self, u8); 5] =
        [(Self::Begin, b'B'), (Self::Chunk, b'C'), (Self::Commit, b'E'), (Self::Revoke, b'R'), (Self::Fresh, b'F')];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, byte)| *byte)
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == byte).map(|(kind, _)| *kind)
    }
}

/// Why reading ends before the end of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is not a copy of a catalog, or of a form that this build does not know")]
    Form,
    #[error("a frame is cut short or damaged")]
    Torn,
    #[error("a frame does not open: it was made under another node.key, or changed")]
    Sealed,
    #[error("what it holds does not follow from what came before: {0}")]
    Content(String),
    #[error("it cannot be read")]
    Io(#[from] io::Error),
}

/// The key of one file.
pub(super) struct Cipher {
    key: RandomizedNonceKey,
    salt: [u8; SALT],
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        AES_256_GCM.key_len()
    }
}

impl Cipher {
    /// For a new file.
    pub(super) fn generate(node_key: &Secret) -> io::Result<Self> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).map_err(|_| io::Error::other("the system gave no random bytes"))?;
        Self::derive(node_key, salt).ok_or_else(|| io::Error::other("the cipher failed"))
    }

    fn derive(node_key: &Secret, salt: [u8; SALT]) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, &salt).extract(node_key.expose().as_bytes());
        let mut bytes = vec![0; AES_256_GCM.key_len()];
        let filled = root.expand(&[b"gatewright catalog copy"], Length).and_then(|key| key.fill(&mut bytes));
        // Wiped when it is dropped.
        let bytes = SecretBytes::new(bytes);
        filled.ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes.expose()).ok()?;
        Some(Self { key, salt })
    }

    pub(super) fn header(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &self.salt].concat()
    }

    /// Appends the frame of a message; its place in the file is sealed with it.
    pub(super) fn seal(&self, index: u64, kind: Kind, plain: &SecretBytes, to: &mut Vec<u8>) -> io::Result<()> {
        let mut body = Vec::with_capacity(1 + plain.expose().len() + 16);
        body.push(kind.byte());
        body.extend_from_slice(plain.expose());
        let aad = Aad::from(index.to_le_bytes());
        let nonce =
            self.key.seal_in_place_append_tag(aad, &mut body).map_err(|_| io::Error::other("the cipher failed"))?;
        let length = u32::try_from(NONCE_LEN + body.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("a message is too long for the copy"))?.to_le_bytes();
        to.extend_from_slice(&length);
        to.extend_from_slice(&checksum(length, &[nonce.as_ref(), &body]).to_le_bytes());
        to.extend_from_slice(nonce.as_ref());
        to.extend_from_slice(&body);
        Ok(())
    }

    fn open(&self, index: u64, sealed: &mut [u8]) -> Option<(Kind, SecretBytes)> {
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(index.to_le_bytes()), body).ok()?;
        let (kind, message) = plain.split_first()?;
        Some((Kind::of(*kind)?, SecretBytes::new(message.to_vec())))
    }
}

/// The length is part of it: a frame is believed whole or not at all.
fn checksum(length: [u8; 4], parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Reads the frames of a file, in order.
pub(super) struct Frames<R> {
    from: R,
    cipher: Cipher,
    index: u64,
    offset: u64,
}

impl<R: Read> Frames<R> {
    /// Reads the header.
    pub(super) fn open(mut from: R, node_key: &Secret) -> Result<Self, Damage> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).map_err(|_| Damage::Form)?;
        let salt = header.strip_prefix(MAGIC).and_then(|salt| salt.try_into().ok()).ok_or(Damage::Form)?;
        let cipher = Cipher::derive(node_key, salt).ok_or(Damage::Form)?;
        Ok(Self { from, cipher, index: 0, offset: HEADER as u64 })
    }

    /// The next message; none at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, SecretBytes)>, Damage> {
        let mut head = [0; HEAD];
        match fill(&mut self.from, &mut head)? {
            0 => return Ok(None),
            HEAD => {}
            _ => return Err(Damage::Torn),
        }
        let (length, rest) = head.split_first_chunk::<4>().ok_or(Damage::Torn)?;
        let expected = rest.try_into().map(u32::from_le_bytes).map_err(|_| Damage::Torn)?;
        let size = u32::from_le_bytes(*length);
        if size > LONGEST {
            return Err(Damage::Torn);
        }
        let mut sealed = vec![0; usize::try_from(size).map_err(|_| Damage::Torn)?];
        if fill(&mut self.from, &mut sealed)? != sealed.len() || checksum(*length, &[&sealed]) != expected {
            return Err(Damage::Torn);
        }
        let message = self.cipher.open(self.index, &mut sealed).ok_or(Damage::Sealed)?;
        self.index += 1;
        self.offset += HEAD as u64 + u64::from(size);
        Ok(Some(message))
    }

    /// How many frames were read, and where the last one ends.
    pub(super) const fn place(&self) -> (u64, u64) {
        (self.index, self.offset)
    }

    pub(super) fn into_cipher(self) -> Cipher {
        self.cipher
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
