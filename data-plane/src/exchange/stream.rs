//! A stream being passed on: what one upstream read returned leaves as one frame, and every end is an orderly one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use shared::catalog::FaultKind;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::attempt::Begun;
use super::deliver::facts;
use super::endpoint::{Facts, Renderer};
use super::events::{Sight, is_remarkable, look};
use super::fault::Fault;
use super::settle::{Ending, Tail};
use crate::meter::text::{Deltas, Said};
use crate::meter::tokenizer::Counted;
use crate::scan::splice::joined;
use crate::scan::sse::{Splitter, event, events, push_event};
use crate::translate::{Operation, UsageWish};
use crate::upstream::AnswerBody;
use crate::vitals::InFlight;

/// When an abandoned stream is read to its end, it is read no further than this.
const DRAIN_MOST: usize = 64 * 1024 * 1024;

/// A stream between an upstream and a client.
pub(super) struct Stream {
    tail: Tail,
    /// Absent once the upstream has said all, or was let go.
    source: Option<AnswerBody>,
    splitter: Splitter,
    /// Whole events that have not been looked at.
    batch: Option<Bytes>,
    deltas: Deltas,
    operation: Operation,
    /// The caller did not ask for the usage chunk.
    hide_usage: bool,
    dress: Option<Dress>,
    /// The upstream told of an error after its first event.
    failed: bool,
    closing: Closing,
    deadline: Pin<Box<Sleep>>,
    expiry: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    drain: bool,
    _busy: InFlight,
}

/// For profiles that do not pass the upstream's bytes on.
struct Dress {
    renderer: &'static dyn Renderer,
    facts: Facts,
}

/// How far the end has come.
enum Closing {
    Open,
    /// Usage is being counted, because the profile shows it.
    Counting(JoinHandle<(Counted, Said)>),
    Over,
}

/// What a poll of the source may bring.
enum Turn {
    Events(Bytes),
    End,
    Broken(Box<Fault>),
}

impl Stream {
    pub(super) fn new(tail: Tail, begun: Begun, renderer: Option<&'static dyn Renderer>) -> Self {
        let wish = tail.open().and_then(|open| open.call.as_ref()).and_then(|call| call.streamed.as_ref());
        let hide_usage = wish.is_some_and(|wish| *wish != UsageWish::Yes);
        let expiry = tail.open().map(|open| Box::pin(open.services().expiry.clone().cancelled_owned()));
        let operation = tail.open().map_or(Operation::Chat, |open| open.context.endpoint.operation);
        let dress = renderer.map(|renderer| Dress { renderer, facts: facts(&tail) });
        Self {
            tail,
            source: Some(begun.body),
            splitter: begun.splitter,
            batch: Some(begun.first),
            deltas: Deltas::default(),
            operation,
            hide_usage,
            dress,
            failed: false,
            closing: Closing::Open,
            deadline: Box::pin(sleep_until(begun.deadline)),
            expiry,
            drain: begun.drain,
            _busy: begun.busy,
        }
    }

    /// Whether nothing more will leave.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.closing, Closing::Over)
    }

    /// Whether the rest must be read although nobody wants it.
    pub(super) fn wants_drain(&self) -> bool {
        self.drain && self.source.is_some() && self.tail.open().is_some()
    }

    /// Reads the rest for its usage; the call ends as that of any client that left.
    pub(super) async fn drain(mut self: Box<Self>) {
        self.tail.abandon();
        let mut read = 0;
        while read < DRAIN_MOST {
            match std::future::poll_fn(|cx| self.poll_out(cx)).await {
                Some(bytes) => read += bytes.len(),
                None => return,
            }
        }
    }

    /// The next bytes for the client.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.closing {
                Closing::Over => return Poll::Ready(None),
                Closing::Counting(job) => {
                    let counted = std::task::ready!(Pin::new(job).poll(cx));
                    if let (Ok((counted, said)), Some(open)) = (counted, self.tail.open_mut()) {
                        open.counted = Some(counted);
                        open.said = said;
                    }
                    return Poll::Ready(Some(self.close_dressed()));
                }
                Closing::Open => {}
            }
            let out = match std::task::ready!(self.poll_turn(cx)) {
                Turn::Events(batch) => self.pass(batch),
                Turn::End => match self.finish() {
                    Some(out) => out,
                    None => continue,
                },
                Turn::Broken(fault) => self.break_off(&fault),
            };
            if !out.is_empty() {
                return Poll::Ready(Some(out));
            }
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Some(batch) = self.batch.take() {
            return Poll::Ready(Turn::Events(batch));
        }
        let Some(source) = self.source.as_mut() else { return Poll::Ready(Turn::End) };
        match source.poll_piece(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                let pushed = self.splitter.push(piece);
                Poll::Ready(pushed.map_or_else(|_| Turn::Broken(broken_off()), Turn::Events))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a stream broke off");
                Poll::Ready(Turn::Broken(broken_off()))
            }
            Poll::Ready(None) => {
                self.source = None;
                Poll::Ready(Turn::End)
            }
            Poll::Pending => self.poll_clocks(cx),
        }
    }

    /// The deadline of the call, and the end of the process.
    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            let message = "The model's server took too long to finish its answer.";
            return Poll::Ready(Turn::Broken(Fault::new(FaultKind::Timeout, "upstream_timeout", message)));
        }
        if self.expiry.as_mut().is_some_and(|expiry| expiry.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Turn::Broken(Fault::shutting_down()));
        }
        Poll::Pending
    }

    /// Passes whole events on.
    fn pass(&mut self, batch: Bytes) -> Bytes {
        if self.tail.open().is_some_and(|open| open.reported.is_none()) {
            self.deltas.keep(self.operation, &batch);
        }
        let out = match self.dress.take() {
            Some(dress) => {
                let out = self.pass_dressed(&batch, &dress);
                self.dress = Some(dress);
                out
            }
            None if is_remarkable(&batch) => self.pass_seen(&batch),
            None => batch,
        };
        // The last bytes and the end came together and leave together; the call ends before they do.
        if self.source.as_ref().is_none_or(AnswerBody::has_ended) {
            self.source = None;
            if self.dress.is_none() {
                return joined(&[out, self.finish().unwrap_or_default()]);
            }
        }
        out
    }

    /// Native: the same bytes, without usage that the caller did not ask for.
    fn pass_seen(&mut self, batch: &Bytes) -> Bytes {
        let mut hidden = Vec::new();
        for event in events(batch) {
            let Some(data) = &event.data else { continue };
            let sight = self.note(data);
            if sight == Sight::Done && !self.failed {
                self.given();
            }
            if sight == Sight::UsageOnly && self.hide_usage {
                hidden.push(event.range);
            }
        }
        if hidden.is_empty() {
            return batch.clone();
        }
        let mut out = BytesMut::with_capacity(batch.len());
        let mut at = 0;
        for range in hidden {
            out.extend_from_slice(batch.get(at..range.start).unwrap_or_default());
            at = range.end;
        }
        out.extend_from_slice(batch.get(at..).unwrap_or_default());
        out.freeze()
    }

    fn pass_dressed(&mut self, batch: &Bytes, dress: &Dress) -> Bytes {
        let mut out = BytesMut::with_capacity(batch.len() + batch.len() / 4);
        for event in events(batch) {
            let Some(data) = &event.data else { continue };
            match self.note(data) {
                Sight::UsageOnly | Sight::Done | Sight::Garbage => {}
                Sight::Error => push_event(&mut out, data),
                Sight::Content | Sight::Empty => dress.renderer.event(&dress.facts, data, &mut out),
            }
        }
        out.freeze()
    }

    /// Takes notice of what an event says.
    fn note(&mut self, data: &[u8]) -> Sight {
        let (sight, usage) = look(data);
        let Some(open) = self.tail.open_mut() else { return sight };
        if usage.is_some() {
            open.reported = usage;
        }
        self.failed |= sight == Sight::Error;
        sight
    }

    /// The caller has everything with the frame that leaves next: the call ends before it does, though the upstream may
    /// still have to end its body.
    fn given(&mut self) {
        self.lay_down();
        self.tail.end(200, Ending::Completed);
    }

    /// What was said so far becomes countable.
    fn lay_down(&mut self) {
        if let Some(open) = self.tail.open_mut() {
            open.said = Said::Deltas(std::mem::take(&mut self.deltas));
        }
    }

    /// The upstream has said all. Nothing when usage must be counted first.
    fn finish(&mut self) -> Option<Bytes> {
        let rest = self.splitter.finish();
        let mut out = Bytes::new();
        if !rest.is_empty() {
            self.deltas.keep(self.operation, &rest);
            out = match self.dress.take() {
                Some(dress) => {
                    let out = self.pass_dressed(&rest, &dress);
                    self.dress = Some(dress);
                    out
                }
                None => self.pass_seen(&rest),
            };
        }
        self.lay_down();
        if self.dress.is_none() || self.failed {
            self.end(if self.failed { Ending::Interrupted(FaultKind::UpstreamError) } else { Ending::Completed });
            return Some(out);
        }
        let counting = self.tail.open_mut().filter(|open| open.reported.is_none()).map(|open| open.counting());
        if let Some(job) = counting {
            self.closing = Closing::Counting(tokio::task::spawn_blocking(job));
            return (!out.is_empty()).then_some(out);
        }
        Some(joined(&[out, self.close_dressed()]))
    }

    /// The profile's last words.
    fn close_dressed(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        if let Some(dress) = &self.dress {
            let now = facts(&self.tail);
            dress.renderer.closing(
                &Facts { tokens: now.tokens, cost: now.cost, impact: now.impact, ..dress.facts.clone() },
                &mut out,
            );
        }
        self.end(Ending::Completed);
        out.freeze()
    }

    /// One error event, and no `[DONE]`: clients raise on the first and would take the second for success.
    fn break_off(&mut self, fault: &Fault) -> Bytes {
        if self.tail.open().is_none() {
            // Everything had been said before.
            self.end(Ending::Completed);
            return Bytes::new();
        }
        self.lay_down();
        self.end(Ending::Interrupted(fault.kind));
        event(&fault.body())
    }

    fn end(&mut self, ending: Ending) {
        self.source = None;
        self.closing = Closing::Over;
        self.tail.end(200, ending);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.lay_down();
    }
}

fn broken_off() -> Box<Fault> {
    Fault::new(FaultKind::InterruptedStream, "upstream_interrupted", "The model's server broke off its answer.")
}
