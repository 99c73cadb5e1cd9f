//! The body of a request to an upstream: pieces in order, of memory or of a form that may still be arriving.

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

use super::form::{Form, Next};
use crate::scan::splice::joined;

/// A part of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// A range of a form, as far as the form goes.
    Form(Arc<Form>, Range<u64>),
}

/// Pieces that are sent one after another.
#[derive(Debug, Default)]
pub(crate) struct OutgoingBody {
    pieces: VecDeque<Piece>,
    /// How much is to come, where that is known.
    left: Option<u64>,
    /// The next chunk of a file on its way.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl OutgoingBody {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|bytes| bytes.len() as u64).sum();
        Self::of(pieces.into_iter().filter(|bytes| !bytes.is_empty()).map(Piece::Bytes).collect(), Some(left))
    }

    pub(super) const fn of(pieces: VecDeque<Piece>, left: Option<u64>) -> Self {
        Self { pieces, left, reading: None }
    }

    /// What of it is in memory, in one.
    pub(crate) fn in_memory(self) -> Bytes {
        let bytes = self.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Form(..) => None,
        });
        joined(&bytes.collect::<Vec<_>>())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            return Poll::Ready(Some(read.unwrap_or_else(|error| Err(io::Error::other(error)))));
        }
        loop {
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Piece::Form(form, range)) => {
                    let next = form.poll_next(&range, cx);
                    let behind = |from: u64| Piece::Form(form, from..range.end);
                    match next {
                        Poll::Ready(Next::End) => {}
                        Poll::Ready(Next::Bytes(bytes)) => {
                            self.pieces.push_front(behind(range.start + bytes.len() as u64));
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                        Poll::Ready(Next::File(file, part, from)) => {
                            self.pieces.push_front(behind(from));
                            self.reading = Some(tokio::task::spawn_blocking(move || read(&file, &part)));
                            return self.poll_piece(cx);
                        }
                        Poll::Pending => {
                            self.pieces.push_front(behind(range.start));
                            return Poll::Pending;
                        }
                    }
                }
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
            self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
