//! The answer on its way to the client: the tail moves into its body and ends with it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};

use super::attempt::{Begun, Reply};
use super::endpoint::{Facts, Renderer};
use super::settle::Tail;
use super::stream::Stream;

/// The body of every answer of the public port.
pub struct ReplyBody(Kind);

enum Kind {
    /// Bytes that are there: a refusal, a list, the whole answer of a call that has been told.
    Plain(Option<Bytes>),
    /// A stream.
    Live(Live),
}

impl ReplyBody {
    /// A body that is there.
    pub(crate) const fn plain(bytes: Bytes) -> Self {
        Self(Kind::Plain(Some(bytes)))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |bytes: Bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match &mut self.0 {
            Kind::Plain(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()).map_or(Poll::Ready(None), frame),
            Kind::Live(live) => live.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Plain(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Live(live) => live.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Plain(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Live(_) => SizeHint::default(),
        }
    }
}

/// A stream that can be let go at any moment.
struct Live(Option<Box<Stream>>);

impl Live {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.as_mut().map_or(Poll::Ready(None), |stream| stream.poll_out(cx))
    }

    fn is_over(&self) -> bool {
        self.0.as_ref().is_none_or(|stream| stream.is_over())
    }
}

impl Drop for Live {
    /// The client has its last byte, or has left. Letting go of the stream cancels its upstream; some providers bill a
    /// whole answer anyway, and are read to the end so that its usage is known.
    fn drop(&mut self) {
        let Some(stream) = self.0.take().filter(|stream| stream.wants_drain()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(stream.drain());
        }
    }
}

/// Makes the response. Where usage must be shown and none was reported, it is counted first.
pub(crate) async fn deliver(mut tail: Tail, reply: Reply) -> Response<ReplyBody> {
    let renderer = tail.open().and_then(|open| open.context.endpoint.renderer(open.profile()));
    match reply {
        Reply::Whole { content_type, body } => {
            let body = match renderer {
                Some(renderer) => dressed(&mut tail, renderer, body).await,
                None => body,
            };
            tail.complete().await;
            let mut response = Response::new(ReplyBody::plain(body));
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        }
        Reply::Stream(begun) => streamed(tail, *begun, renderer),
    }
}

fn streamed(tail: Tail, begun: Begun, renderer: Option<&'static dyn Renderer>) -> Response<ReplyBody> {
    let stream = Box::new(Stream::new(tail, begun, renderer));
    let mut response = Response::new(ReplyBody(Kind::Live(Live(Some(stream)))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies in front that buffer would turn a stream into a whole answer.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

async fn dressed(tail: &mut Tail, renderer: &'static dyn Renderer, body: Bytes) -> Bytes {
    let Some(open) = tail.open_mut() else { return body };
    if open.reported.is_none()
        && open.counted.is_none()
        && let Ok((counted, said)) = tokio::task::spawn_blocking(open.counting()).await
    {
        open.counted = Some(counted);
        open.said = said;
    }
    renderer.whole(&facts(tail), &body)
}

/// What is known of a call now.
pub(super) fn facts(tail: &Tail) -> Facts {
    let open = tail.open();
    Facts {
        id: open.map(|open| open.context.ids.call.uuid().simple().to_string()).unwrap_or_default(),
        router: open.and_then(|open| open.router.as_ref()).map(|router| router.noun.name.clone()).unwrap_or_default(),
        created: open.map_or(0, |open| open.context.started.unix_millis() / 1000),
        tokens: open.map(|open| open.tokens().0).unwrap_or_default(),
        cost: open.map(|open| open.cost()).unwrap_or_default(),
        impact: open.and_then(|open| open.impact()),
    }
}
