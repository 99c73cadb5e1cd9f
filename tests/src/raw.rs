//! A client that says exactly the bytes it is told, for what no proper client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back over one connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
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
    let mut all = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let closed = loop {
        match tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
            Err(_) => break false,
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(read)) => all.extend_from_slice(&buffer[..read]),
        }
    };
    Heard { text: String::from_utf8_lossy(&all).into_owned(), closed }
}
