//! A client that says exactly the bytes it is told, for what no proper client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back over one connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// All bytes, as text.
    pub text: String,
    /// Whether the other side closed the connection.
    pub closed: bool,
}

impl Heard {
    /// The status of the first answer; 0 when none came.
    #[must_use]
    pub fn status(&self) -> u16 {
        if !self.text.starts_with("HTTP/1") {
            return 0;
        }
        self.text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The body of the first answer, when it is not chunked.
    #[must_use]
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// A header of the first answer; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

/// Says `bytes` to `http://host:port` and listens until the other side closes or is quiet for `quiet`.
pub async fn say(base: &str, bytes: &[u8], quiet: Duration) -> Heard {
    let mut stream = connect(base).await;
    // The other side may close before it has read all of it: that is an answer too.
    let _ = stream.write_all(bytes).await;
    listen(&mut stream, quiet).await
}

/// Opens a connection to `http://host:port`.
pub async fn connect(base: &str) -> TcpStream {
    let host = base.strip_prefix("http://").expect("an http:// address");
    TcpStream::connect(host).await.unwrap_or_else(|error| panic!("{base}: {error}"))
}

/// Reads until the other side closes or is quiet for `quiet`.
pub async fn listen(stream: &mut TcpStream, quiet: Duration) -> Heard {
    listen_until(stream, quiet, |_| false).await
}

/// The same, or until what was heard is enough.
pub async fn listen_until(stream: &mut TcpStream, quiet: Duration, enough: impl Fn(&[u8]) -> bool) -> Heard {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let closed = loop {
        match tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(read)) => bytes.extend_from_slice(&buffer[..read]),
        }
        if enough(&bytes) {
            break false;
        }
    };
    Heard { text: String::from_utf8_lossy(&bytes).into_owned(), bytes, closed }
}

/// A frame of HTTP/2: its type and its payload.
pub struct Frame<'a>(u8, &'a [u8]);

impl Frame<'_> {
    /// Whether it begins an answer.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        self.0 == 1
    }
}

/// The whole frames of HTTP/2 in these bytes. The first letters of HTTP/1 read as the head of a frame that never ends.
#[must_use]
pub fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let [high, middle, low, kind, _flags, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let Some((payload, after)) = rest.split_at_checked(length) else { break };
        frames.push(Frame(*kind, payload));
        bytes = after;
    }
    frames
}

/// Whether one of them ends its stream, or the connection, with an error.
#[must_use]
pub fn is_reset(frames: &[Frame<'_>]) -> bool {
    frames.iter().any(|frame| match frame {
        Frame(3, code) => code.iter().any(|byte| *byte != 0),
        Frame(7, payload) => payload.get(4..8).is_some_and(|code| code.iter().any(|byte| *byte != 0)),
        Frame(..) => false,
    })
}
