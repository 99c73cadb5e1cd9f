//! Runs of bytes that mean nothing: found many bytes at a time, as nearly all bytes of a body are of this sort.

use memchr::memchr2;

/// Bytes looked at together where a string is expected to end soon.
const WORD: usize = 8;
/// Bytes that hold most names and short values; for what is longer, a wider search is worth its start.
pub(super) const NEAR: usize = 3 * WORD;

/// Where the first quote or backslash is, or a control character if it is in the first word.
#[inline]
pub(super) fn stop(bytes: &[u8]) -> Option<usize> {
    // Escape sequences like company: the next one is often near.
    let Some((word, rest)) = bytes.split_first_chunk() else { return memchr2(b'"', b'\\', bytes) };
    marked(*word).or_else(|| memchr2(b'"', b'\\', rest).map(|far| WORD + far))
}

/// Where the first quote, backslash or control character of a word is.
#[inline]
pub(super) const fn marked(word: [u8; WORD]) -> Option<usize> {
    let word = u64::from_le_bytes(word);
    // In each, a byte that is to be found borrows from its highest bit; so may the byte behind it, which is not asked
    // for. Bytes whose highest bit was set before are none of them.
    let quote = (word ^ each(b'"')).wrapping_sub(each(1));
    let backslash = (word ^ each(b'\\')).wrapping_sub(each(1));
    let control = word.wrapping_sub(each(0x20));
    let marks = (quote | backslash | control) & !word & each(0x80);
    if marks == 0 { None } else { Some(marks.trailing_zeros() as usize / 8) }
}

/// A byte in every place of a word.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// The lowest byte; the highest possible when there are none.
#[inline]
pub(super) fn lowest(bytes: &[u8]) -> u8 {
    const WIDE: usize = 32;
    // The last block may overlap the one before: no byte is left over to be looked at alone.
    let Some(last) = bytes.last_chunk::<WIDE>() else { return bytes.iter().copied().fold(u8::MAX, u8::min) };
    let mut low = *last;
    for block in bytes.as_chunks::<WIDE>().0 {
        for (low, byte) in low.iter_mut().zip(block) {
            *low = (*low).min(*byte);
        }
    }
    low.into_iter().fold(u8::MAX, u8::min)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_first_mark_is_found_wherever_it_lies() {
        // Neighbours of the marks in value must not be taken for them, nor bytes that lie behind one.
        let is_mark = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let filling: Vec<u8> = (0..=255).filter(|byte| !is_mark(*byte)).cycle().take(600).collect();
        assert_eq!(stop(&filling), None);
        for at in 0..200 {
            for (mark, later) in [(b'"', b'\\'), (b'\\', b'"'), (b'"', b'#'), (b'\\', 0x5d), (31, 32), (0, b'"')] {
                for shift in [0, 33, 91] {
                    let mut bytes = filling[shift..shift + 300].to_vec();
                    bytes[at] = mark;
                    bytes[at + 1] = later;
                    if mark < 0x20 {
                        assert!(at >= WORD || stop(&bytes) == Some(at));
                        continue;
                    }
                    assert_eq!(stop(&bytes), Some(at));
                    assert_eq!(stop(&bytes[..=at]), Some(at));
                    assert_eq!(stop(&bytes[..at]), None);
                }
            }
        }
    }

    #[test]
    fn the_lowest_byte_is_found_wherever_it_lies() {
        assert_eq!(lowest(&[]), 255);
        for length in 1..150 {
            for at in 0..length {
                let mut bytes = vec![200; length];
                bytes[at] = 31;
                assert_eq!(lowest(&bytes), 31);
            }
        }
    }
}
