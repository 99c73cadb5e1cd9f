//! The body of a request to an upstream: pieces in order, uncopied, of memory or of a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::scan::splice::joined;

/// How much of a file is read at once.
const CHUNK: u64 = 128 * 1024;

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// A range of a file.
    File(Arc<File>, Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) => range.end.saturating_sub(range.start),
        }
    }
}

/// Pieces that are sent one after another; their length is known.
#[derive(Debug, Default)]
pub(crate) struct OutgoingBody {
    pieces: VecDeque<Piece>,
    left: u64,
    /// The next chunk of a file on its way.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl OutgoingBody {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Self {
        Self::of(pieces.into_iter().map(Piece::Bytes).collect())
    }

    pub(crate) fn of(mut pieces: Vec<Piece>) -> Self {
        pieces.retain(|piece| piece.len() > 0);
        let left = pieces.iter().map(Piece::len).sum();
        Self { pieces: pieces.into(), left, reading: None }
    }

    /// What of it is in memory, in one.
    pub(crate) fn in_memory(self) -> Bytes {
        let bytes = self.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::File(..) => None,
        });
        joined(&bytes.collect::<Vec<_>>())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            return Poll::Ready(Some(read.unwrap_or_else(|error| Err(io::Error::other(error)))));
        }
        match self.pieces.pop_front() {
            None => Poll::Ready(None),
            Some(Piece::Bytes(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Some(Piece::File(file, range)) => {
                let end = range.end.min(range.start + CHUNK);
                if end < range.end {
                    self.pieces.push_front(Piece::File(Arc::clone(&file), end..range.end));
                }
                let chunk = range.start..end;
                self.reading = Some(tokio::task::spawn_blocking(move || read(&file, &chunk)));
                self.poll_piece(cx)
            }
        }
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = ready!(self.poll_piece(cx));
        if let Some(Ok(bytes)) = &piece {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
