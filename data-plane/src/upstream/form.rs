//! A form that is kept until it is sent, in memory or, beyond a megabyte, in a file without a name.
//!
//! It can be sent more than once, to one provider after another, with the model's name replaced each time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use uuid::Uuid;

use super::outgoing::{OutgoingBody, Piece};
use crate::scan::multipart::Part;

/// What is kept in memory.
pub(crate) const IN_MEMORY: usize = 1024 * 1024;

/// A form, whole and understood.
#[derive(Debug)]
pub(crate) struct Form {
    /// The caller's content type; the boundary is in it.
    pub(crate) content_type: HeaderValue,
    /// Its parts in order.
    pub(crate) parts: Vec<Part>,
    kept: Kept,
}

/// The bytes of a form.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    head: Bytes,
    rest: Option<Arc<File>>,
    length: u64,
}

/// Takes the bytes of a form as they come.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    head: BytesMut,
    rest: Option<tokio::fs::File>,
    length: u64,
}

impl Keeper {
    /// Keeps the next bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) async fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        let room = if self.rest.is_some() { 0 } else { IN_MEMORY.saturating_sub(self.head.len()) };
        let (near, far) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(near);
        if far.is_empty() {
            return Ok(());
        }
        let file = match &mut self.rest {
            Some(file) => file,
            none => none.insert(nameless().await?),
        };
        tokio::io::AsyncWriteExt::write_all(file, far).await
    }

    /// All bytes were taken.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) async fn finish(self) -> io::Result<Kept> {
        let rest = match self.rest {
            Some(mut file) => {
                tokio::io::AsyncWriteExt::flush(&mut file).await?;
                Some(Arc::new(file.into_std().await))
            }
            None => None,
        };
        Ok(Kept { head: self.head.freeze(), rest, length: self.length })
    }
}

/// A file that vanishes with its last handle, whatever happens to the process.
async fn nameless() -> io::Result<tokio::fs::File> {
    let path = std::env::temp_dir().join(format!("gatewright-form-{}", Uuid::now_v7()));
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path).await?;
    tokio::fs::remove_file(&path).await?;
    Ok(file)
}

impl Form {
    pub(crate) fn new(content_type: HeaderValue, parts: Vec<Part>, kept: Kept) -> Self {
        Self { content_type, parts, kept }
    }

    /// The only field of a name; nothing when there is none.
    ///
    /// # Errors
    /// When there are more.
    pub(crate) fn only(&self, name: &str) -> Result<Option<&Part>, Twice> {
        let mut found = self.parts.iter().filter(|part| part.name == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Twice),
            (only, None) => Ok(only),
        }
    }

    /// The form with something else in place of a range of it.
    pub(crate) fn outgoing(&self, range: Range<u64>, with: &str) -> OutgoingBody {
        let mut pieces = self.pieces(0..range.start);
        pieces.push(Piece::Bytes(Bytes::copy_from_slice(with.as_bytes())));
        pieces.extend(self.pieces(range.end..self.kept.length));
        OutgoingBody::of(pieces)
    }

    fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(2);
        let border = self.kept.head.len() as u64;
        let near = |at: u64| usize::try_from(at.min(border)).unwrap_or(self.kept.head.len());
        if near(range.start) < near(range.end) {
            pieces.push(Piece::Bytes(self.kept.head.slice(near(range.start)..near(range.end))));
        }
        let far = range.start.max(border)..range.end;
        if let (Some(file), true) = (&self.kept.rest, far.start < far.end) {
            pieces.push(Piece::File(Arc::clone(file), far.start - border..far.end - border));
        }
        pieces
    }
}

/// A field is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Twice;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn forms_of_any_size_come_back() {
        for size in [10, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY + 5] {
            let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            for (begin, end) in [(0, 0), (3, 7), (size - 5, size), (size / 2, size / 2 + 1)] {
                let mut keeper = Keeper::default();
                for piece in bytes.chunks(100_000) {
                    keeper.keep(piece).await.unwrap();
                }
                let form = Form::new(HeaderValue::from_static("x"), Vec::new(), keeper.finish().await.unwrap());
                let expected = [&bytes[..begin], b"new", &bytes[end..]].concat();
                for _ in 0..2 {
                    let body = form.outgoing(begin as u64..end as u64, "new");
                    let sent = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                    assert!(sent == expected, "{size} {begin}..{end}");
                }
            }
        }
    }
}
