//! Frames: a mark, a length, a checksum, a body. Whatever happens to a file, intact frames are found again.

use memchr::memmem;

/// Begins every frame. Two of its bytes occur in no UTF-8, so no name that a client chose can imitate a frame.
const MARK: [u8; 4] = [0xFF, b'G', 0xFE, b'W'];
/// Mark, length, checksum.
pub(super) const HEAD: usize = 12;
/// No body is longer.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Appends a frame with what `body` appends.
pub(super) fn append(buffer: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    buffer.extend_from_slice(&MARK);
    let head = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    body(buffer);
    let Some((head, body)) = buffer.get_mut(head..).and_then(|bytes| bytes.split_at_mut_checked(8)) else { return };
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let (length_place, sum_place) = head.split_at_mut(4);
    length_place.copy_from_slice(&length);
    sum_place.copy_from_slice(&sum(length, body).to_le_bytes());
}

/// The length is part of what is summed: a frame is believed whole or not at all.
fn sum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

/// The frame at the beginning of `bytes`, if it is there in full: its body.
fn read(bytes: &[u8]) -> Option<&[u8]> {
    let (mark, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| *size <= MAX_BODY)?;
    let body = rest.get(..size)?;
    (*mark == MARK && sum(*length, body) == u32::from_le_bytes(*expected)).then_some(body)
}

/// The frames of a file, or of a part that begins with a frame.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    damaged: u64,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, damaged: 0 }
    }

    /// Where the frame handed out last ends: what follows is not read yet, or cannot be.
    pub(super) const fn end(&self) -> usize {
        self.at
    }

    /// How many places were passed over to find the frames handed out.
    pub(super) const fn damaged(&self) -> u64 {
        self.damaged
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut at = self.at;
        loop {
            let rest = self.bytes.get(at..)?;
            if let Some(body) = read(rest) {
                self.damaged += u64::from(at != self.at);
                self.at = at + HEAD + body.len();
                return Some(body);
            }
            at += 1 + memmem::find(rest.get(1..)?, &MARK)?;
        }
    }
}
