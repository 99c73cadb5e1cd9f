//! The upstream of the benchmark: answers at once, so that what is measured is the gateway.
//!
//! The name of the model, which a client writes first in the body, chooses the answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Response, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

/// Chunks of a burst, written at once.
pub(crate) const BURST_CHUNKS: usize = 100;
/// Chunks of a paced stream.
pub(crate) const PACED_CHUNKS: usize = 200;
/// Between two chunks of a paced stream.
pub(crate) const PACE: Duration = Duration::from_micros(13_333);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until the process ends.
pub(crate) async fn serve(listen: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|request: http::Request<Incoming>| async move {
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(answer(&body))
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

fn answer(request: &[u8]) -> Response<Body> {
    if request.starts_with(br#"{"model":"burst""#) {
        let mut all = Vec::new();
        for number in 0..BURST_CHUNKS {
            all.extend_from_slice(&chunk(number));
        }
        all.extend_from_slice(last());
        // One write for all of them, as an upstream that caught up would do.
        return events(stream::iter([Ok(Frame::data(Bytes::from(all)))]));
    }
    if request.starts_with(br#"{"model":"paced""#) {
        let start = Instant::now();
        let chunks = stream::unfold(0_usize, move |number| async move {
            if number > PACED_CHUNKS {
                return None;
            }
            let due = PACE * u32::try_from(number).unwrap_or(u32::MAX);
            sleep_until(start + due).await;
            let data = if number == PACED_CHUNKS { Bytes::from_static(last()) } else { chunk(number) };
            Some((Ok(Frame::data(data)), number + 1))
        });
        return events(chunks);
    }
    let words = if request.starts_with(br#"{"model":"large""#) { 800 } else { 10 };
    let content = "word ".repeat(words);
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"small","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":12,"completion_tokens":10,"total_tokens":22}}}}"#
    );
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn events<S>(stream: S) -> Response<Body>
where
    S: Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
{
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

fn chunk(number: usize) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"small\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {number:03}\"}},\"finish_reason\":null}}]}}\n\n"
    ))
}

const fn last() -> &'static [u8] {
    b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"small\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":100,\"total_tokens\":112}}\n\ndata: [DONE]\n\n"
}
