//! The load: prepared bytes over kept connections, as little work of our own as possible.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What one window of load saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Requests answered with 200 and read to their end.
    pub(crate) requests: u64,
    /// Events of streams.
    pub(crate) chunks: u64,
    /// Anything else.
    pub(crate) failures: u64,
    /// To the last byte for plain answers, to the first byte of the body for streams; microseconds.
    pub(crate) latencies: Vec<u32>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Seen {
    /// A percentile of the latencies, in microseconds.
    pub(crate) fn percentile(&mut self, percent: usize) -> u32 {
        self.latencies.sort_unstable();
        let at = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(at).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.chunks += other.chunks;
        self.failures += other.failures;
        self.latencies.extend(other.latencies);
    }
}

/// How requests come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// So many connections, each sending its next request when the last is answered.
    Closed(usize),
    /// So many requests each second, whatever the answers do.
    Open(u32),
    /// So many streams at once, each begun again when it ends.
    Streams(usize),
}

/// Bytes of one request.
pub(crate) fn request(host: SocketAddr, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Drives one target for a time.
pub(crate) async fn drive(target: SocketAddr, bytes: &[u8], shape: Shape, window: Duration) -> Result<Seen> {
    let start = Instant::now();
    let end = start + window;
    let (connections, pause) = match shape {
        Shape::Closed(connections) | Shape::Streams(connections) => (connections, None),
        // Few connections, each with its own beat: enough that a slow answer delays nobody.
        Shape::Open(rate) => (32, Some(Duration::from_secs(32) / rate)),
    };
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let bytes = bytes.to_vec();
        // Beats are spread evenly, so that requests do not come in waves.
        let beat = pause.map(|pause| (start + pause.mul_f64(number as f64 / connections as f64), pause));
        tasks.spawn(one(target, bytes, end, beat));
    }
    let mut seen = Seen::default();
    while let Some(done) = tasks.join_next().await {
        seen.add(done.context("a connection of the load")??);
    }
    seen.took = start.elapsed();
    Ok(seen)
}

/// One connection until `end`; with a beat, requests are due at fixed times and latency counts from then.
async fn one(target: SocketAddr, bytes: Vec<u8>, end: Instant, beat: Option<(Instant, Duration)>) -> Result<Seen> {
    let mut socket = TcpStream::connect(target).await.with_context(|| format!("connecting to {target}"))?;
    socket.set_nodelay(true)?;
    let mut seen = Seen::default();
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut due = beat.map(|(first, _)| first);
    while Instant::now() < end {
        if let Some(due) = due {
            if due > end {
                break;
            }
            sleep_until(due).await;
        }
        let sent = due.unwrap_or_else(Instant::now);
        due = due.zip(beat).map(|(due, (_, pause))| due + pause);
        socket.write_all(&bytes).await?;
        let answer = read(&mut socket, &mut buffer, sent).await?;
        seen.chunks += answer.chunks;
        seen.latencies.push(u32::try_from(answer.latency.as_micros()).unwrap_or(u32::MAX));
        if answer.ok {
            seen.requests += 1;
        } else {
            seen.failures += 1;
        }
    }
    Ok(seen)
}

struct Answer {
    ok: bool,
    chunks: u64,
    latency: Duration,
}

/// Reads one answer: by its length, or chunked to its end.
async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>, sent: Instant) -> Result<Answer> {
    buffer.clear();
    let head = loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        more(socket, buffer).await?;
    };
    let ok = buffer.starts_with(b"HTTP/1.1 200");
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if let Some(length) = text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        let length: usize = length.trim().parse().context("content-length")?;
        while buffer.len() < head + length {
            more(socket, buffer).await?;
        }
        return Ok(Answer { ok, chunks: 0, latency: sent.elapsed() });
    }
    ensure!(text.contains("transfer-encoding: chunked"), "an answer without a length: {text}");
    if buffer.len() == head {
        more(socket, buffer).await?;
    }
    let latency = sent.elapsed();
    let (mut counted, mut chunks) = (head, 0);
    loop {
        // Events never hold a blank line, so each `data: ` at the start of a line is one.
        chunks += memmem::find_iter(&buffer[counted..], b"data: {").count() as u64;
        if buffer.ends_with(b"0\r\n\r\n") {
            return Ok(Answer { ok, chunks, latency });
        }
        // Keep what could be the beginning of a marker that the next read completes.
        counted = buffer.len().saturating_sub(6).max(counted);
        let keep = memmem::rfind(&buffer[counted..], b"data: {").map_or(counted, |at| counted + at + 7);
        counted = keep;
        if buffer.len() > 1 << 16 {
            buffer.drain(..counted);
            counted = 0;
        }
        more(socket, buffer).await?;
    }
}

async fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    if socket.read_buf(buffer).await? == 0 {
        bail!("the target closed the connection: {}", String::from_utf8_lossy(buffer));
    }
    Ok(())
}
