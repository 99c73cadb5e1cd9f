//! A scripted inference server: says exactly what a test tells it to, and remembers all that it was asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use crate::runtime;
use crate::tls::Pair;

/// What the upstream answers to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    /// Wait before the head.
    delay: Duration,
    /// Each piece of the body, after its pause.
    pieces: Vec<(Duration, Bytes)>,
    end: End,
    /// A body of known length, in one piece.
    whole: bool,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Finish,
    /// The connection breaks.
    Die,
    /// Nothing more comes, and the connection stays open.
    Hang,
    /// The connection breaks before any head.
    DieUnheard,
}

/// One request as the upstream got it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// When its body was complete.
    pub at: Instant,
    /// When the gateway let go of it before the answer was complete.
    pub abandoned: Option<Instant>,
}

impl Seen {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway sends JSON")
    }
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

struct State {
    script: Arc<Script>,
    seen: Vec<Seen>,
}

/// A scripted upstream on a port of its own; ends when the last handle is dropped.
#[derive(Clone)]
pub struct Upstream {
    url: String,
    state: Arc<Mutex<State>>,
    _server: Arc<Server>,
}

struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Upstream {
    /// An upstream that answers everything properly: chat, streamed chat and embeddings.
    pub async fn start() -> Self {
        Self::behind(None).await
    }

    /// The same over TLS, as `localhost`; when `callers` are named, only who shows one of their certificates is served.
    pub async fn secure(pair: &Pair, callers: &[&Pair]) -> Self {
        Self::behind(Some(pair.acceptor(callers))).await
    }

    async fn behind(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the upstream");
        let address = listener.local_addr().expect("its address");
        let url =
            if tls.is_some() { format!("https://localhost:{}", address.port()) } else { format!("http://{address}") };
        let state = Arc::new(Mutex::new(State { script: Arc::new(Answer::proper), seen: Vec::new() }));
        let server = runtime::runtime().spawn(serve(listener, tls, state.clone()));
        Self { url, state, _server: Arc::new(Server(server)) }
    }

    /// `http://127.0.0.1:port`, or `https://localhost:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on every request gets this answer.
    pub fn says(&self, answer: Answer) {
        self.decides(move |_| answer.clone());
    }

    /// From now on the answer depends on the request.
    pub fn decides(&self, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.state.lock().script = Arc::new(script);
    }

    /// Every inference request so far (probes by GET are not counted).
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.iter().filter(|seen| seen.method == "POST").cloned().collect()
    }

    /// How many inference requests came so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.seen().len()
    }

    /// The only request so far.
    #[must_use]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "exactly one call was expected upstream: {seen:#?}");
        seen.into_iter().next().expect("one request")
    }
}

impl Answer {
    /// A JSON body.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// A body of these bytes.
    #[must_use]
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), content_type.into())],
            delay: Duration::ZERO,
            pieces: vec![(Duration::ZERO, body.into())],
            end: End::Finish,
            whole: true,
        }
    }

    /// A chat completion with this text and this usage.
    #[must_use]
    pub fn chat(text: &str, prompt: u64, completion: u64) -> Self {
        Self::json(
            200,
            &json!({
                "id": "chatcmpl-scripted", "object": "chat.completion", "created": 1_700_000_000, "model": "upstream-model",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            }),
        )
    }

    /// An embedding of three numbers with this usage.
    #[must_use]
    pub fn embedding(prompt: u64) -> Self {
        Self::json(
            200,
            &json!({
                "object": "list", "model": "upstream-model",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
                "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
            }),
        )
    }

    /// Server-sent events, given as they stand on the wire.
    #[must_use]
    pub fn events<E: Into<Bytes>>(events: impl IntoIterator<Item = E>) -> Self {
        let mut answer = Self::bytes(200, "text/event-stream", "");
        answer.pieces = events.into_iter().map(|event| (Duration::ZERO, event.into())).collect();
        answer.whole = false;
        answer
    }

    /// A streamed chat completion: one event for each word, then a usage chunk when given, then `[DONE]`.
    #[must_use]
    pub fn stream(words: &[&str], usage: Option<(u64, u64)>) -> Self {
        let mut events: Vec<String> = words.iter().map(|word| chunk(&json!({"content": word}), &Value::Null)).collect();
        events.push(chunk(&json!({}), &json!("stop")));
        if let Some((prompt, completion)) = usage {
            let usage =
                json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion});
            let chunk = json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_700_000_000,
                "model": "upstream-model", "choices": [], "usage": usage});
            events.push(format!("data: {chunk}\n\n"));
        }
        events.push("data: [DONE]\n\n".to_owned());
        Self::events(events)
    }

    /// What a proper server says to this request: eleven tokens asked, three answered.
    #[must_use]
    pub fn proper(seen: &Seen) -> Self {
        if seen.method == "GET" {
            return Self::json(200, &json!({"object": "list", "data": [{"id": "upstream-model", "object": "model"}]}));
        }
        if seen.path.ends_with("/embeddings") {
            return Self::embedding(11);
        }
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if body["stream"] == true {
            let asked = body["stream_options"]["include_usage"] == true;
            return Self::stream(&["Good", " day", "!"], asked.then_some((11, 3)));
        }
        Self::chat("Good day!", 11, 3)
    }

    /// An error as OpenAI writes it.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
        Self::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": "scripted"}}))
    }

    /// Nothing: the connection breaks before any head.
    #[must_use]
    pub fn dead() -> Self {
        Self::bytes(200, "text/plain", "").ending(End::DieUnheard)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Waits before the head.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Waits before each piece of the body but the first.
    #[must_use]
    pub fn paced(mut self, pause: Duration) -> Self {
        for piece in self.pieces.iter_mut().skip(1) {
            piece.0 = pause;
        }
        self
    }

    /// Keeps only the first pieces of the body.
    #[must_use]
    pub fn only(mut self, pieces: usize) -> Self {
        self.pieces.truncate(pieces);
        self
    }

    /// Ends in this way instead of properly.
    #[must_use]
    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self.whole = false;
        self
    }

    /// The body in one piece, as it stands on the wire.
    #[must_use]
    pub fn body(&self) -> String {
        self.pieces.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect()
    }
}

/// One chunk of a streamed chat completion.
fn chunk(delta: &Value, finish: &Value) -> String {
    let chunk = json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": "upstream-model", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    // Connections end with the upstream.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (tls, state) = (tls.clone(), state.clone());
        connections.spawn(async move {
            match tls {
                None => speak(stream, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, state).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn speak<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: T, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, state.clone()));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Remembers the request and begins its answer.
async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Spoken>, std::io::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Err(broken()) };
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = Seen {
        method: head.method.to_string(),
        path,
        headers: head.headers,
        body: body.to_bytes(),
        at: Instant::now(),
        abandoned: None,
    };
    let (script, watch) = {
        let mut locked = state.lock();
        locked.seen.push(seen.clone());
        (locked.script.clone(), Watch { state: state.clone(), index: locked.seen.len() - 1, done: false })
    };
    let answer = script(&seen);
    tokio::time::sleep(answer.delay).await;
    if answer.end == End::DieUnheard {
        let mut watch = watch;
        watch.done = true;
        return Err(broken());
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    if answer.whole {
        response = response.header("content-length", answer.pieces.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
    }
    let mut pieces = answer.pieces;
    pieces.reverse();
    let body = Spoken { pieces, pause: None, end: answer.end, watch };
    Ok(response.body(body).expect("a scripted head"))
}

fn broken() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "scripted death")
}

/// Notes when the gateway leaves before the end.
struct Watch {
    state: Arc<Mutex<State>>,
    index: usize,
    done: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.done {
            self.state.lock().seen[self.index].abandoned = Some(Instant::now());
        }
    }
}

/// The body of an answer, piece by piece.
struct Spoken {
    /// Last piece first.
    pieces: Vec<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
    end: End,
    watch: Watch,
}

impl Body for Spoken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(&(pause, _)) = self.pieces.last() else {
            return match self.end {
                End::Finish | End::DieUnheard => {
                    self.watch.done = true;
                    Poll::Ready(None)
                }
                End::Hang => Poll::Pending,
                End::Die => {
                    // What was said before must have left before the connection breaks.
                    let sleep =
                        self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(30))));
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.watch.done = true;
                    Poll::Ready(Some(Err(broken())))
                }
            };
        };
        if !pause.is_zero() {
            let sleep = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let (_, bytes) = self.pieces.pop().expect("a piece was there");
        // A body of known length is not asked again after its last byte.
        self.watch.done = self.pieces.is_empty() && self.end == End::Finish;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
