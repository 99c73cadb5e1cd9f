//! Hostile and broken inputs: a table of rows in `tests/abuse/*.json`, and the one runner that plays them.
//!
//! Each row lists inputs and the answer that every one of them must get. Beside that answer the runner checks, for
//! every input: the processes live, their memory comes back, nothing panicked, the upstream got exactly the calls that
//! it should, and a good request works afterwards.
//!
//! A text is a string or a list of pieces: strings (with `{router}`, `{key}`, `{master}`, `{host}`, `{user_id}`,
//! `{provider_id}` put in), `{"repeat": "x", "times": 9}`, `{"members": 9}` (as many different members of an object)
//! and `{"hex": "ff00"}`.

use std::time::{Duration, Instant};

use harness::client::{Reply, assert_error_form};
use harness::gateway::{CANARIES, Gateway, Mode};
use harness::raw;
use harness::stage::{PROVIDER_KEY, Stage};
use harness::{eventually, run};
use serde::Deserialize;
use serde_json::Value;

/// Memory that a row may leave behind.
const GROWTH: u64 = 32 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    /// What the row stands for.
    title: String,
    /// What all its inputs share.
    #[serde(default)]
    send: Send,
    inputs: Vec<Send>,
    expect: Expect,
}

/// One input. Either `raw`, the bytes on the wire, or a request.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    raw: Option<Text>,
    method: Option<String>,
    path: Option<Text>,
    /// `caller` (the default), `operator`, `nobody`, or a key as it stands.
    #[serde(rename = "as")]
    who: Option<Text>,
    #[serde(default)]
    headers: Vec<(String, Text)>,
    body: Option<Text>,
    /// Another expectation for this input alone.
    expect: Option<Expect>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Many(Vec<Piece>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Piece {
    Text(String),
    Repeat { repeat: String, times: usize },
    Members { members: usize },
    Hex { hex: String },
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// Any of these; 0 is a connection closed without an answer.
    status: Vec<u16>,
    r#type: Option<String>,
    code: Option<String>,
    param: Option<String>,
    /// Exactly so many calls upstream; none unless said.
    #[serde(default)]
    upstream: usize,
    /// The connection is closed after the answer.
    #[serde(default)]
    closed: bool,
    /// Headers that must be there, with this text in them.
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// The answer comes within so many milliseconds.
    within_ms: Option<u64>,
    /// Words that must not be in the answer or in any log.
    #[serde(default)]
    never: Vec<String>,
    /// What the upstream got as body, byte for byte, is what was sent but for the model's name.
    #[serde(default)]
    verbatim: bool,
}

/// What came back, however it was sent.
struct Answer {
    status: u16,
    body: String,
    closed: bool,
    headers: Vec<(String, String)>,
}

#[test]
fn rows_standalone() {
    run(play(Mode::Standalone));
}

#[test]
fn rows_split() {
    run(play(Mode::Split));
}

async fn play(mode: Mode) {
    let gateway = Gateway::start(mode).await;
    let stage = Stage::chat(&gateway).await;
    // What a first large request grows for good is no leak of the second.
    let warm = serde_json::json!({"model": stage.router, "messages": [{"role": "user", "content": "x".repeat(20 * 1024 * 1024)}]});
    stage.client().post("/v1/chat/completions", &warm).send().await.expect(200);
    let mut failures = Vec::new();
    for row in rows() {
        for (number, input) in row.inputs.iter().enumerate() {
            let expect = input.expect.as_ref().unwrap_or(&row.expect);
            if let Err(what) = one(&stage, &row.send, input, expect).await {
                failures.push(format!("{} input {number} ({}): {what}", row.id, row.title));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures in {mode:?}:\n{}", failures.len(), failures.join("\n"));
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(harness::paths::root().join("tests/abuse"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        // Those of another port have a form and a runner of their own.
        .filter(|path| !path.ends_with("grpc.json"))
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let more: Vec<Row> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        rows.extend(more);
    }
    rows
}

/// Plays one input; what is wrong is told, so that one run shows all.
async fn one(stage: &Stage<'_>, shared: &Send, own: &Send, expect: &Expect) -> Result<(), String> {
    let gateway = stage.gateway;
    let (before, calls) = (gateway.resident(), stage.upstream.calls());
    let start = Instant::now();
    let (answer, sent) = send(stage, shared, own).await;
    let took = start.elapsed();
    check(&answer, expect)?;
    if let Some(within) = expect.within_ms.filter(|within| took > Duration::from_millis(*within)) {
        return Err(format!("{took:?} instead of {within} ms"));
    }
    let got = stage.upstream.calls() - calls;
    if got != expect.upstream {
        return Err(format!("{got} upstream calls instead of {}", expect.upstream));
    }
    if expect.verbatim {
        let arrived =
            String::from_utf8_lossy(&stage.upstream.seen().pop().ok_or("nothing upstream")?.body).into_owned();
        if arrived != sent.replace(&stage.router, "upstream-model") {
            return Err(format!("the body was changed: {}", cut(&arrived)));
        }
    }
    gateway.assert_alive();
    let good = stage.client().post("/v1/chat/completions", &stage.chat_body()).try_send().await;
    if !good.as_ref().is_ok_and(|reply| reply.status == 200) {
        return Err(format!("a good request fails afterwards: {good:?}"));
    }
    quiet(&answer, expect, &gateway.said())?;
    let mut grown = 0;
    for _ in 0..100 {
        grown = gateway.resident().saturating_sub(before);
        if grown < GROWTH {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{} MiB of memory are not given back", grown / 1024 / 1024))
}

/// Nothing that should stay inside is in the answer or in the logs.
fn quiet(answer: &Answer, expect: &Expect, said: &str) -> Result<(), String> {
    for word in ["panicked at", "stack backtrace", "RUST_BACKTRACE"] {
        if said.contains(word) || answer.body.contains(word) {
            return Err(format!("something panicked: {word}"));
        }
    }
    for canary in CANARIES.into_iter().chain([PROVIDER_KEY]).chain(expect.never.iter().map(String::as_str)) {
        if said.contains(canary) || answer.body.contains(canary) {
            return Err(format!("{canary} is shown"));
        }
    }
    Ok(())
}

fn check(answer: &Answer, expect: &Expect) -> Result<(), String> {
    let shown = cut(&answer.body);
    if !expect.status.contains(&answer.status) {
        return Err(format!("{} is none of {:?}: {shown}", answer.status, expect.status));
    }
    if expect.closed && !answer.closed {
        return Err("the connection stays open".to_owned());
    }
    for (name, part) in &expect.headers {
        let found = answer
            .headers
            .iter()
            .any(|(header, value)| header.eq_ignore_ascii_case(name) && value.contains(part.as_str()));
        if !found {
            return Err(format!("no header {name} with {part:?}: {:?}", answer.headers));
        }
    }
    if expect.r#type.is_none() && expect.code.is_none() && expect.param.is_none() {
        return Ok(());
    }
    let body: Value = serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {shown}"))?;
    for (member, expected) in [("type", &expect.r#type), ("code", &expect.code), ("param", &expect.param)] {
        if let Some(expected) = expected.as_ref().filter(|expected| body["error"][member] != ***expected) {
            return Err(format!("error.{member} is {} instead of {expected}: {shown}", body["error"][member]));
        }
    }
    assert_error_form(&body);
    if answer.status >= 400 && !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-request-id")) {
        return Err("no x-request-id".to_owned());
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

async fn send(stage: &Stage<'_>, shared: &Send, own: &Send) -> (Answer, String) {
    if let Some(bytes) = own.raw.as_ref().or(shared.raw.as_ref()) {
        let bytes = bytes.render(stage);
        let heard = raw::say(stage.gateway.inference_url(), &bytes, Duration::from_secs(2)).await;
        let head = heard.text.split("\r\n\r\n").next().unwrap_or_default();
        let headers = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let answer = Answer { status: heard.status(), body: heard.body().to_owned(), closed: heard.closed, headers };
        return (answer, String::from_utf8_lossy(&bytes).into_owned());
    }
    let words = |text: &Text| String::from_utf8_lossy(&text.render(stage)).into_owned();
    let path = own.path.as_ref().or(shared.path.as_ref()).map_or_else(|| "/v1/chat/completions".to_owned(), words);
    let management = ["/v1/admin", "/v1/me", "/v1/auth"].iter().any(|prefix| path.starts_with(prefix));
    let client = if management { stage.admin().client().anonymous() } else { stage.gateway.client() };
    let client = match own.who.as_ref().or(shared.who.as_ref()).map(words).as_deref() {
        None | Some("caller") => client.bearer(&stage.key),
        Some("operator") => client.bearer(stage.gateway.master_key()),
        Some("nobody") => client,
        Some(key) => client.bearer(key),
    };
    let method = own.method.as_ref().or(shared.method.as_ref()).map_or("POST", String::as_str);
    let mut call = client.call(method, &path);
    for (name, value) in shared.headers.iter().chain(&own.headers) {
        call = call.header(name, &words(value));
    }
    let body = own.body.as_ref().or(shared.body.as_ref()).map(|text| text.render(stage)).unwrap_or_default();
    let sent = String::from_utf8_lossy(&body).into_owned();
    if !body.is_empty() {
        call = call.bytes(body);
    }
    match call.try_send().await {
        Ok(reply) => (Answer::from(reply), sent),
        Err(why) => (Answer { status: 0, body: why, closed: true, headers: Vec::new() }, sent),
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = reply.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self { status: reply.status, body: reply.text(), closed: false, headers }
    }
}

impl Text {
    fn render(&self, stage: &Stage<'_>) -> Vec<u8> {
        let fill = |text: &str| {
            text.replace("{router}", &stage.router)
                .replace("{key}", &stage.key)
                .replace("{master}", stage.gateway.master_key())
                .replace("{host}", stage.gateway.inference_url().trim_start_matches("http://"))
                .replace("{user_id}", &stage.user_id.to_string())
                .replace("{provider_id}", &stage.provider_id.to_string())
        };
        let Self::Many(pieces) = self else {
            let Self::One(text) = self else { unreachable!("two forms") };
            return fill(text).into_bytes();
        };
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => bytes.extend(fill(text).into_bytes()),
                Piece::Repeat { repeat, times } => bytes.extend(repeat.repeat(*times).into_bytes()),
                Piece::Members { members } => {
                    let members: Vec<String> = (0..*members).map(|number| format!("\"k{number}\":0")).collect();
                    bytes.extend(members.join(",").into_bytes());
                }
                Piece::Hex { hex } => {
                    bytes.extend((0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()))
                }
            }
        }
        bytes
    }
}

/// What a client announces and does not send is no call.
#[test]
fn half_a_body_is_no_call() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let half = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"model\": \"{}\"",
            stage.key, stage.router
        );
        let mut stream = raw::connect(gateway.inference_url()).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, half.as_bytes()).await.unwrap();
        drop(stream);
        stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.expect(200);
        assert_eq!(stage.upstream.calls(), 1);
        tokio::time::sleep(Duration::from_millis(700)).await;
        let answered = stage.usage(1).await.into_iter().filter(|usage| usage.status() == 200).count();
        assert_eq!(answered, 1);
    });
}

/// A body over the limit is refused before it is sent.
#[test]
fn an_over_long_body_is_not_invited() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let stage = Stage::chat(gateway).await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 10000000000\r\nexpect: 100-continue\r\n\r\n",
            stage.key
        );
        let heard = raw::say(gateway.inference_url(), head.as_bytes(), Duration::from_secs(2)).await;
        assert_eq!(heard.status(), 413, "{}", heard.text);
        assert!(!heard.text.contains("100 Continue"), "{}", heard.text);
        let good = stage.chat_body().to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            stage.key,
            good.len()
        );
        let mut stream = raw::connect(gateway.inference_url()).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let heard = raw::listen(&mut stream, Duration::from_millis(500)).await;
        assert_eq!(heard.status(), 100, "{}", heard.text);
        tokio::io::AsyncWriteExt::write_all(&mut stream, good.as_bytes()).await.unwrap();
        let heard = raw::listen(&mut stream, Duration::from_secs(5)).await;
        assert_eq!(heard.status(), 200, "{}", heard.text);
    });
}

/// One byte each second is a way to hold a connection and a buffer.
#[test]
fn credentials_are_judged_before_the_body() {
    run(async {
        let gateway = Gateway::shared(Mode::Split).await;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-wrong\r\ncontent-length: 1000000\r\n\r\n";
        let start = Instant::now();
        let heard = raw::say(gateway.inference_url(), head.as_bytes(), Duration::from_secs(2)).await;
        assert_eq!(heard.status(), 401, "{}", heard.text);
        assert!(start.elapsed() < Duration::from_secs(4));
    });
}

/// Many bodies at once draw on one budget; those beyond it are refused, the process lives, and memory comes back.
#[test]
fn large_bodies_at_once() {
    run(async {
        let gateway = Gateway::start(Mode::Split).await;
        let stage = Stage::chat(&gateway).await;
        let body = serde_json::json!({"model": stage.router, "messages": [{"role": "user", "content": "x".repeat(20 * 1024 * 1024)}]}).to_string();
        let body = bytes::Bytes::from(body);
        let calls: Vec<_> = (0..12)
            .map(|_| tokio::spawn(stage.client().call("POST", "/v1/chat/completions").bytes(body.clone()).try_send()))
            .collect();
        for call in calls {
            let reply = call.await.unwrap();
            assert!(reply.as_ref().is_ok_and(|reply| matches!(reply.status, 200 | 413 | 503)), "{reply:?}");
        }
        gateway.assert_alive();
        eventually("a good request works", Duration::from_secs(5), || async {
            (stage.client().post("/v1/chat/completions", &stage.chat_body()).send().await.status == 200).then_some(())
        })
        .await;
    });
}
