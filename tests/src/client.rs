//! A plain HTTP client: one connection for each request, so that letting go of an answer is a disconnect.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::tls::Trust;

/// The longest wait for anything from the other side.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who speaks to one address, with or without a key.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    bearer: Option<String>,
    trust: Option<Trust>,
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Call {
    base: String,
    trust: Option<Trust>,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

/// An answer whose body is still coming; dropping it closes the connection.
pub struct Open {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    body: Incoming,
    waiting: BytesMut,
    _connection: Connection,
}

/// The task of a connection; letting go of it closes the connection.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// A client without a key.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), bearer: None, trust: None }
    }

    /// The same client with a key.
    #[must_use]
    pub fn bearer(&self, key: impl Into<String>) -> Self {
        Self { bearer: Some(key.into()), ..self.clone() }
    }

    /// The same client without a key.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { bearer: None, ..self.clone() }
    }

    /// The same client, for an `https://` address with a certificate of the tests.
    #[must_use]
    pub fn trusting(&self, trust: &Trust) -> Self {
        Self { trust: Some(trust.clone()), ..self.clone() }
    }

    /// Begins a request.
    #[must_use]
    pub fn call(&self, method: &str, path: &str) -> Call {
        let headers = self.bearer.iter().map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).collect();
        let method = method.parse().expect("a method");
        let trust = self.trust.clone();
        Call { base: self.base.clone(), trust, method, path: path.to_owned(), headers, body: Bytes::new() }
    }

    /// Begins a GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    /// Begins a POST with a JSON body.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call("POST", path).json(body)
    }
}

impl Call {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.bytes(body.to_string())
    }

    /// A body of exactly these bytes, called JSON unless a content type was given.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            self = self.header("content-type", "application/json");
        }
        self
    }

    /// Sends and reads the whole answer.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}{}", self.method, self.base, self.path);
        let reply = self.try_send().await;
        reply.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends and reads the whole answer; what goes wrong on the way is told, not fatal.
    pub async fn try_send(self) -> Result<Reply, String> {
        let open = self.try_open().await?;
        let (status, headers) = (open.status, open.headers.clone());
        let body = open.collect().await?;
        Ok(Reply { status, headers, body })
    }

    /// Sends and reads the head of the answer.
    pub async fn open(self) -> Open {
        let what = format!("{} {}{}", self.method, self.base, self.path);
        self.try_open().await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends and reads the head of the answer; what goes wrong on the way is told, not fatal.
    pub async fn try_open(self) -> Result<Open, String> {
        let (scheme, place) = self.base.split_once("://").expect("an address");
        let (host, prefix) = place.split_at(place.find('/').unwrap_or(place.len()));
        let stream = TcpStream::connect(host).await.map_err(|error| format!("connect: {error}"))?;
        let stream: Box<dyn Stream> = match &self.trust {
            Some(trust) if scheme == "https" => {
                Box::new(trust.connect(stream).await.map_err(|error| format!("TLS: {error}"))?)
            }
            _ => Box::new(stream),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("handshake: {error}"))?;
        let path = format!("{prefix}{}", self.path);
        let connection = Connection(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let mut request = Request::builder().method(self.method).uri(&path).header("host", host);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).map_err(|error| format!("request: {error}"))?;
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
        let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|error| format!("answer: {error}"))?;
        let (head, body) = answer.into_parts();
        Ok(Open {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            waiting: BytesMut::new(),
            _connection: connection,
        })
    }
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Open {
    /// The next server-sent event as it stands on the wire, without its empty line; nothing at the end.
    pub async fn event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|two| two == b"\n\n") {
                let event = self.waiting.split_to(end + 2);
                return Some(String::from_utf8_lossy(&event[..end]).into_owned());
            }
            match self.piece().await {
                Ok(Some(bytes)) => self.waiting.extend_from_slice(&bytes),
                Ok(None) | Err(_) => {
                    let rest = self.waiting.split();
                    return (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
                }
            }
        }
    }

    /// All events that still come.
    pub async fn events(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }

    /// The rest of the body, or why it broke off.
    pub async fn collect(mut self) -> Result<Bytes, String> {
        let mut whole = std::mem::take(&mut self.waiting);
        while let Some(bytes) = self.piece().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame =
                tokio::time::timeout(PATIENCE, self.body.frame()).await.map_err(|_| "the body stalls".to_owned())?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(format!("body: {error}")),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

impl Reply {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of a {}: {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The status, or a failure that shows the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Checks status and code of an error for both families of clients, and returns its body.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> Value {
        self.expect(status);
        let body = self.json();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_error_form(&body);
        body
    }
}

/// Checks the form of an error body on inference routes.
#[track_caller]
pub fn assert_error_form(body: &Value) {
    let error = body["error"].as_object().unwrap_or_else(|| panic!("no error object: {body}"));
    for member in ["message", "type", "param", "code"] {
        assert!(error.contains_key(member), "error.{member} is missing: {body}");
    }
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    assert!(body.get("detail").is_some(), "detail is missing: {body}");
}

/// A header as text; empty when it is missing.
#[must_use]
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
