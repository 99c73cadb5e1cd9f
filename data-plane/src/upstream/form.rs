//! A form on its way through: kept as it comes, in memory or, beyond a megabyte, in a file without a name, and sent on
//! at the same time.
//!
//! It can be sent more than once, to one provider after another, with the model's name replaced each time; a sender that
//! has caught up with the client waits for it.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::outgoing::{OutgoingBody, Piece};
use crate::scan::multipart::Part;

/// What is kept in memory.
pub(crate) const IN_MEMORY: usize = 1024 * 1024;
/// How much is sent at once.
const CHUNK: u64 = 128 * 1024;

/// A form, as far as it has come.
#[derive(Debug)]
pub(crate) struct Form {
    /// The caller's content type; the boundary is in it.
    pub(crate) content_type: HeaderValue,
    /// Its length, where the caller told it.
    declared: Option<u64>,
    kept: Mutex<Kept>,
}

/// What has come of a form.
#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    rest: Option<Arc<File>>,
    length: u64,
    parts: Vec<Part>,
    whole_since: Option<Instant>,
    waiting: Vec<Waker>,
}

/// The next bytes of a form.
#[derive(Debug)]
pub(super) enum Next {
    /// These.
    Bytes(Bytes),
    /// A range of this file; the position behind it in the form.
    File(Arc<File>, Range<u64>, u64),
    /// None.
    End,
}

impl Form {
    /// A form of which nothing has come.
    pub(crate) fn new(content_type: HeaderValue, declared: Option<u64>) -> Self {
        Self { content_type, declared, kept: Mutex::default() }
    }

    /// Keeps the next bytes, and the parts that ended in them. One task alone may call this.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) async fn keep(&self, mut bytes: Bytes, parts: Vec<Part>) -> io::Result<()> {
        let file = {
            let mut kept = self.kept.lock();
            let near = bytes.split_to(IN_MEMORY.saturating_sub(kept.head.len()).min(bytes.len()));
            kept.head.extend_from_slice(&near);
            kept.length += near.len() as u64;
            kept.rest.clone()
        };
        if !bytes.is_empty() {
            let (at, count) = (self.kept.lock().length - IN_MEMORY as u64, bytes.len() as u64);
            let write = move || {
                let file = file.map_or_else(nameless, Ok)?;
                file.write_all_at(&bytes, at).map(|()| file)
            };
            let file = tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
            let mut kept = self.kept.lock();
            kept.rest = Some(file);
            kept.length += count;
        }
        let mut kept = self.kept.lock();
        kept.parts.extend(parts);
        kept.wake();
        Ok(())
    }

    /// All of it has come.
    pub(crate) fn complete(&self) {
        let mut kept = self.kept.lock();
        kept.whole_since = Some(Instant::now());
        kept.wake();
    }

    /// Whether all of it has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.lock().whole_since.is_some()
    }

    /// Waits until all of it has come.
    pub(crate) async fn whole(&self) {
        poll_fn(|cx| self.kept.lock().poll_whole(cx)).await;
    }

    /// How long after a moment the last of it came, or until now.
    pub(crate) fn late(&self, since: Instant) -> Duration {
        let end = self.kept.lock().whole_since.unwrap_or_else(Instant::now);
        end.saturating_duration_since(since)
    }

    /// Looks at the parts that have come.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Part]) -> T) -> T {
        look(&self.kept.lock().parts)
    }

    /// The form with something else in place of a range of it.
    pub(crate) fn outgoing(self: &Arc<Self>, range: Range<u64>, with: &str) -> OutgoingBody {
        let length = {
            let kept = self.kept.lock();
            kept.whole_since.map(|_| kept.length).or(self.declared)
        };
        let new = with.len() as u64;
        let left = length.map(|length| length.saturating_sub(range.end.saturating_sub(range.start)) + new);
        let pieces = [
            Piece::Form(Arc::clone(self), 0..range.start),
            Piece::Bytes(Bytes::copy_from_slice(with.as_bytes())),
            Piece::Form(Arc::clone(self), range.end..u64::MAX),
        ];
        OutgoingBody::of(pieces.into(), left)
    }

    /// What comes next in a range of it.
    pub(super) fn poll_next(&self, range: &Range<u64>, cx: &mut Context<'_>) -> Poll<Next> {
        let mut kept = self.kept.lock();
        let end = range.end.min(kept.length).min(range.start.saturating_add(CHUNK));
        if range.start >= end {
            let over = range.is_empty() || kept.whole_since.is_some();
            return if over { Poll::Ready(Next::End) } else { kept.poll_whole(cx).map(|()| Next::End) };
        }
        let border = kept.head.len() as u64;
        if range.start >= border {
            let Some(file) = &kept.rest else { return Poll::Ready(Next::End) };
            return Poll::Ready(Next::File(Arc::clone(file), range.start - border..end - border, end));
        }
        let near = |at: u64| usize::try_from(at.min(border)).unwrap_or(kept.head.len());
        let bytes = kept.head.get(near(range.start)..near(end)).unwrap_or_default();
        Poll::Ready(Next::Bytes(Bytes::copy_from_slice(bytes)))
    }
}

impl Kept {
    /// Tells everybody who waits that more has come.
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn poll_whole(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.whole_since.is_some() {
            return Poll::Ready(());
        }
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A file that vanishes with its last handle, whatever happens to the process.
fn nameless() -> io::Result<Arc<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = std::env::temp_dir().join(format!("gatewright-form-{}", Uuid::now_v7()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(Arc::new(file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use http_body::Body;
    use http_body_util::BodyExt;

    use super::*;

    fn empty(declared: Option<u64>) -> Arc<Form> {
        Arc::new(Form::new(HeaderValue::from_static("x"), declared))
    }

    #[tokio::test]
    async fn forms_of_any_size_come_back() {
        for size in [10, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY + 5] {
            let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            for (begin, end) in [(0, 0), (3, 7), (size - 5, size), (size / 2, size / 2 + 1)] {
                let form = empty(None);
                for piece in bytes.chunks(100_000) {
                    form.keep(Bytes::copy_from_slice(piece), Vec::new()).await.unwrap();
                }
                form.complete();
                let expected = [&bytes[..begin], b"new", &bytes[end..]].concat();
                for _ in 0..2 {
                    let body = form.outgoing(begin as u64..end as u64, "new");
                    assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
                    let sent = body.collect().await.unwrap().to_bytes();
                    assert!(sent == expected, "{size} {begin}..{end}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_has_come_leaves_before_the_rest_has() {
        for (declared, hint) in [(None, None), (Some(2 * IN_MEMORY as u64), Some(2 * IN_MEMORY as u64 - 1))] {
            let form = empty(declared);
            let mut body = form.outgoing(2..4, "n");
            assert_eq!(body.size_hint().exact(), hint);
            let mut sent = Vec::new();
            let mut expected = Vec::new();
            for byte in 0..2_u8 {
                let piece = Bytes::from(vec![byte; IN_MEMORY]);
                form.keep(piece.clone(), Vec::new()).await.unwrap();
                expected.extend_from_slice(&piece);
                while sent.len() + 1 < expected.len() {
                    let frame = body.frame().await.unwrap().unwrap();
                    sent.extend_from_slice(frame.data_ref().unwrap());
                }
                assert!(futures_util::FutureExt::now_or_never(body.frame()).is_none(), "there is no more yet");
            }
            form.complete();
            assert!(body.frame().await.is_none());
            expected.splice(2..4, *b"n");
            assert!(sent == expected);
        }
    }
}
