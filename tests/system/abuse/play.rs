//! Plays one input of a row, and says what is wrong with what came back.

use std::time::{Duration, Instant};

use harness::client::{Reply, assert_error_form};
use harness::gateway::CANARIES;
use harness::raw;
use harness::stage::PROVIDER_KEY;
use harness::upstream::Answer as Script;
use serde_json::Value;

use super::row::{Expect, Scene, Send, Text};

const MIB: u64 = 1024 * 1024;
/// Memory that an input may leave behind.
const GROWTH: u64 = 16 * MIB;
/// An allocator may keep a large body's memory for a while.
const GROWTH_OF_LARGE: u64 = 32 * MIB;
/// How much slower than an optimized build the tested one may be.
const SLOWER: u32 = if cfg!(debug_assertions) { 10 } else { 1 };
/// For an answer on a connection that stays open.
const QUIET: Duration = Duration::from_secs(2);

/// What came back, however it was sent.
struct Answer {
    status: u16,
    body: String,
    closed: bool,
    /// How many answers of HTTP/1 came.
    answers: usize,
    /// HTTP/2 told an error, and no answer.
    reset: bool,
    headers: Vec<(String, String)>,
}

/// Plays one input; what is wrong is told, so that one run shows all.
pub(super) async fn one(scene: &Scene<'_>, shared: &Send, own: &Send, expect: &Expect) -> Result<(), String> {
    let (stage, gateway) = (scene.stage, scene.stage.gateway);
    let (before, calls) = (gateway.resident(), stage.upstream.calls());
    if let Some(status) = own.refused_with {
        stage.upstream.says(Script::error(status, "scripted"));
    }
    let (answer, sent, took) = send(scene, shared, own).await;
    stage.upstream.decides(Script::proper);
    check(&answer, expect)?;
    let within = expect.within_ms.map(|within| Duration::from_millis((within * SLOWER).into()));
    if let Some(within) = within.filter(|within| took > *within) {
        return Err(format!("{took:?} instead of {within:?}"));
    }
    if expect.verbatim {
        let arrived = stage.upstream.seen().pop().ok_or("nothing upstream")?.body;
        if arrived != sent.replace(&stage.router, "upstream-model").as_bytes() {
            return Err(format!("the body was changed: {}", cut(&String::from_utf8_lossy(&arrived))));
        }
    }
    gateway.assert_alive();
    let good = stage.client().post("/v1/chat/completions", &stage.chat_body()).try_send().await;
    if !good.as_ref().is_ok_and(|reply| reply.status == 200) {
        return Err(format!("a good request fails afterwards: {good:?}"));
    }
    let got = stage.upstream.calls() - calls - 1;
    if got != expect.upstream {
        return Err(format!("{got} upstream calls instead of {}", expect.upstream));
    }
    quiet(scene, &answer, expect)?;
    let allowed = if sent.len() as u64 > MIB { GROWTH_OF_LARGE } else { GROWTH };
    let mut grown = 0;
    for _ in 0..100 {
        grown = gateway.resident().saturating_sub(before);
        if grown < allowed {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{} MiB of memory are not given back", grown / MIB))
}

/// Nothing that should stay inside is in the answer or in the logs.
fn quiet(scene: &Scene<'_>, answer: &Answer, expect: &Expect) -> Result<(), String> {
    let said = scene.stage.gateway.said();
    let shown = |word: &str| {
        let heads = answer.headers.iter().any(|(_, value)| value.contains(word));
        heads || answer.body.contains(word) || said.contains(word)
    };
    if let Some(word) = ["panicked at", "stack backtrace", "RUST_BACKTRACE"].into_iter().find(|word| shown(word)) {
        return Err(format!("something panicked: {word}"));
    }
    let secrets = CANARIES.into_iter().chain([PROVIDER_KEY, scene.key, &scene.stage.key]);
    match secrets.chain(expect.never.iter().map(String::as_str)).find(|word| shown(word)) {
        Some(word) => Err(format!("{word} is shown")),
        None => Ok(()),
    }
}

fn check(answer: &Answer, expect: &Expect) -> Result<(), String> {
    let shown = cut(&answer.body);
    if !expect.status.contains(&answer.status) {
        return Err(format!("{} is none of {:?}: {shown}", answer.status, expect.status));
    }
    if answer.answers > 1 {
        return Err(format!("{} answers to one request", answer.answers));
    }
    if expect.closed && !answer.closed {
        return Err("the connection stays open".to_owned());
    }
    if expect.reset && !answer.reset {
        return Err("no error of HTTP/2".to_owned());
    }
    let identified = answer.headers.iter().any(|(name, value)| name == "x-request-id" && !value.is_empty());
    if answer.status != 0 && !identified {
        return Err(format!("no x-request-id: {:?}", answer.headers));
    }
    for (name, part) in &expect.headers {
        if !answer.headers.iter().any(|(header, value)| header == name && value.contains(part.as_str())) {
            return Err(format!("no header {name} with {part:?}: {:?}", answer.headers));
        }
    }
    if answer.status < 400 || answer.body.is_empty() && expect.r#type.is_none() {
        return Ok(());
    }
    let body: Value = serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {shown}"))?;
    for (member, expected) in [("type", &expect.r#type), ("code", &expect.code), ("param", &expect.param)] {
        if let Some(expected) = expected.as_ref().filter(|expected| body["error"][member] != ***expected) {
            return Err(format!("error.{member} is {} instead of {expected}: {shown}", body["error"][member]));
        }
    }
    assert_error_form(&body);
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// The answer, what was sent for it, and how long it took.
async fn send(scene: &Scene<'_>, shared: &Send, own: &Send) -> (Answer, String, Duration) {
    if let Some(bytes) = own.raw.as_ref().or(shared.raw.as_ref()) {
        let bytes = bytes.render(scene);
        let sent = String::from_utf8_lossy(&bytes).into_owned();
        let start = Instant::now();
        let answer = say(scene, &bytes, own.leaves || shared.leaves).await;
        return (answer, sent, start.elapsed());
    }
    let words = |text: &Text| String::from_utf8_lossy(&text.render(scene)).into_owned();
    let (gateway, path) = (scene.stage.gateway, own.path.as_ref().or(shared.path.as_ref()));
    let path = path.map_or_else(|| "/v1/chat/completions".to_owned(), words);
    let management = ["/v1/admin", "/v1/me", "/v1/auth"].iter().any(|prefix| path.starts_with(prefix));
    let client = if management { scene.stage.admin().client().anonymous() } else { gateway.client() };
    let client = match own.who.as_ref().or(shared.who.as_ref()).map(words).as_deref() {
        None | Some("caller") => client.bearer(scene.key),
        Some("operator") => client.bearer(gateway.master_key()),
        Some("nobody") => client,
        Some(key) => client.bearer(key),
    };
    let method = own.method.as_ref().or(shared.method.as_ref()).map_or("POST", String::as_str);
    let mut call = client.call(method, &path);
    for (name, value) in shared.headers.iter().chain(&own.headers) {
        call = call.header(name, &words(value));
    }
    let body = own.body.as_ref().or(shared.body.as_ref()).map(|text| text.render(scene)).unwrap_or_default();
    let sent = String::from_utf8_lossy(&body).into_owned();
    if !body.is_empty() {
        call = call.bytes(body);
    }
    let start = Instant::now();
    let answer = call.try_send().await.map_or_else(Answer::none, Answer::from);
    (answer, sent, start.elapsed())
}

/// Says bytes as they are.
async fn say(scene: &Scene<'_>, bytes: &[u8], leaves: bool) -> Answer {
    let mut stream = raw::connect(scene.stage.gateway.inference_url()).await;
    // The other side may close before it has read all of it: that is an answer too.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, bytes).await;
    if leaves {
        return Answer::none("left".to_owned());
    }
    let heard = raw::listen_until(&mut stream, QUIET, |heard| raw::is_reset(&raw::frames(heard))).await;
    let head = heard.text.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let frames = raw::frames(&heard.bytes);
    Answer {
        status: heard.status(),
        body: heard.body().to_owned(),
        closed: heard.closed,
        answers: heard.text.matches("HTTP/1.1 ").count(),
        reset: raw::is_reset(&frames) && !frames.iter().any(raw::Frame::is_answer),
        headers: lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
    }
}

impl Answer {
    fn none(why: String) -> Self {
        Self { status: 0, body: why, closed: true, answers: 0, reset: false, headers: Vec::new() }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = reply.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self { status: reply.status, body: reply.text(), closed: false, answers: 1, reset: false, headers }
    }
}
