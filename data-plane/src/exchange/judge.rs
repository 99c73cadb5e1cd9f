//! What an upstream's answer is worth: an answer, or a fault that tells whose it is.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use shared::catalog::FaultKind;

use super::attempt::Reply;
use super::events::{Sight, Whole, look, look_whole};
use super::fault::Fault;
use super::settle::Open;
use crate::meter::text::Said;
use crate::scan::splice::joined;
use crate::scan::sse::{Splitter, events};
use crate::table::ProviderEntry;
use crate::translate::{Answer, Dialect, Wording, complaint, rerank};
use crate::upstream::body::BrokenOff;
use crate::upstream::{AnswerBody, SendError, send};

/// The largest answer that is not streamed.
const WHOLE_MOST: usize = 64 * 1024 * 1024;
/// How much of an error is read.
const ERROR_MOST: usize = 256 * 1024;
/// How much may come before the first event that says something.
const PREFACE_MOST: usize = 1024 * 1024;

pub(super) fn unsent(error: &SendError) -> Box<Fault> {
    tracing::debug!(error = %chain(error), "an upstream gave no answer");
    match error {
        SendError::Refused(_) | SendError::Connect(_) => unreachable_upstream(),
        SendError::Closed(_) => Fault::new(
            FaultKind::UpstreamError,
            "upstream_closed",
            "The model's server closed the connection without an answer.",
        ),
        SendError::Garbage(_) => invalid("the answer is no HTTP"),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

pub(super) fn unreachable_upstream() -> Box<Fault> {
    Fault::new(FaultKind::Connect, "upstream_unreachable", "The model's server cannot be reached.")
        .detailed("Model provider not reachable.")
}

pub(super) fn timed_out() -> Box<Fault> {
    Fault::new(FaultKind::Timeout, "upstream_timeout", "The model's server did not answer in time.")
}

pub(super) fn invalid(what: &str) -> Box<Fault> {
    let message = format!("The model's server gave an answer that cannot be used: {what}.");
    Fault::new(FaultKind::UpstreamInvalid, "upstream_invalid", message)
}

/// Reads at most so much; more, or a break, is nothing.
async fn collect(mut body: AnswerBody, most: usize) -> Option<Bytes> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(piece) = body.piece().await {
        let piece: Bytes = piece.ok()?;
        length += piece.len();
        if length > most {
            return None;
        }
        pieces.push(piece);
    }
    Some(joined(&pieces))
}

/// A status other than success becomes a fault; what the client may see of it depends on whose fault it is.
pub(super) async fn refusal(response: Response<AnswerBody>, provider: &ProviderEntry) -> Box<Fault> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).cloned();
    match status.as_u16() {
        401 | 403 => Fault::new(
            FaultKind::UpstreamAuth,
            "upstream_auth_error",
            "The model's server refused the gateway's credential; the operator has been told.",
        ),
        408 => timed_out(),
        429 => {
            let message = "The model's server limits the gateway's requests; try again later.";
            let mut fault = Fault::new(FaultKind::UpstreamRateLimited, "upstream_rate_limit_exceeded", message);
            fault.retry_after = retry_after;
            fault
        }
        400..=499 => {
            let body = collect(response.into_body(), ERROR_MOST).await.unwrap_or_default();
            refused(&body, provider, status)
        }
        503 | 529 => {
            let message = "The model's server is overloaded or not ready.";
            let mut fault = Fault::new(FaultKind::UpstreamError, "upstream_overloaded", message)
                .with_status(StatusCode::SERVICE_UNAVAILABLE)
                .detailed("Model is too busy, please try again later.");
            fault.retry_after = retry_after.or_else(|| Some(HeaderValue::from_static("10")));
            fault
        }
        500..=599 => Fault::new(FaultKind::UpstreamError, "upstream_error", "The model's server failed."),
        _ => invalid("its status is neither success nor error"),
    }
}

/// The upstream's refusal is the client's answer: its status, its words.
fn refused(body: &[u8], provider: &ProviderEntry, status: StatusCode) -> Box<Fault> {
    let said = complaint::read(body, send::credential(provider.authorization.as_ref()));
    let kind = match said.code.as_deref() {
        Some("context_length_exceeded") => FaultKind::ContextWindowExceeded,
        Some("content_policy_violation" | "content_filter") => FaultKind::ContentPolicy,
        _ => FaultKind::UpstreamRefused,
    };
    let message =
        if said.message.is_empty() { "The model's server refused the request.".to_owned() } else { said.message };
    let mut fault = Fault::new(kind, "upstream_refused", message).with_status(status);
    fault.word = said.kind;
    fault.param = said.param.map(Into::into);
    if let Some(code) = said.code {
        fault.code = code.into();
    }
    fault
}

/// An error under a status of success. Its own code may tell whose fault it is.
fn told_error(data: &[u8], provider: &ProviderEntry) -> Box<Fault> {
    let error: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    let code = error.get("error").and_then(|error| error.get("code")).and_then(serde_json::Value::as_u64);
    match code.and_then(|code| u16::try_from(code).ok()).and_then(|code| StatusCode::from_u16(code).ok()) {
        Some(status) if status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 408 | 429) => {
            refused(data, provider, status)
        }
        _ => Fault::new(FaultKind::UpstreamError, "upstream_error", "The model's server failed."),
    }
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(CONTENT_TYPE)
}

/// Reads a whole answer; only one that is complete and JSON is an answer.
pub(super) async fn whole(
    response: Response<AnswerBody>,
    open: &mut Open,
    provider: &ProviderEntry,
    dialect: &'static dyn Dialect,
) -> Result<Reply, Box<Fault>> {
    let kind = content_type(response.headers()).cloned();
    let (head, body) = response.into_parts();
    let body = collect(body, WHOLE_MOST).await.ok_or_else(|| invalid("it broke off or is too long"))?;
    if open.call.as_ref().is_some_and(|call| call.as_text) {
        return text(kind, body, open);
    }
    let operation = open.context.endpoint.operation;
    let request = open.payload.json();
    let answer = Answer { operation, request: &request, headers: &head.headers, body: &body };
    let body = dialect.answer(&answer).ok_or_else(|| invalid("it is not what was asked for"))?;
    match look_whole(&body) {
        Whole::Answer(usage) => open.reported = usage,
        Whole::Error => return Err(told_error(&body, provider)),
        Whole::Garbage => return Err(invalid("it is no JSON object")),
    }
    if open.reported.is_none() {
        open.said = Said::Whole(body.clone());
    }
    let body = match open.call.as_ref().map(|call| call.wording) {
        Some(Wording::OlderRerank) => rerank::older(&body).ok_or_else(|| invalid("it is no ranking"))?,
        _ => body,
    };
    let json = kind.filter(|kind| kind.as_bytes().starts_with(b"application/json"));
    Ok(Reply::Whole { content_type: json.unwrap_or(HeaderValue::from_static("application/json")), body })
}

/// A whole answer that is text: nothing in it can be checked but what it calls itself.
fn text(kind: Option<HeaderValue>, body: Bytes, open: &mut Open) -> Result<Reply, Box<Fault>> {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let content_type = match kind {
        Some(kind) if kind.as_bytes().starts_with(b"text/html") => return Err(invalid("it is a web page")),
        Some(kind) if kind.as_bytes().starts_with(b"text/") || kind.as_bytes().starts_with(b"application/") => kind,
        _ => plain,
    };
    open.said = Said::Whole(body.clone());
    Ok(Reply::Whole { content_type, body })
}

/// Holds a stream back until an event says something: until then a failure is a real status, and another provider may
/// be tried.
pub(super) async fn first_event(
    mut body: AnswerBody,
    provider: &ProviderEntry,
) -> Result<(AnswerBody, Splitter, Bytes), Box<Fault>> {
    let mut splitter = Splitter::default();
    let mut held: Vec<Bytes> = Vec::new();
    loop {
        let piece = body.piece().await;
        let ended = piece.is_none();
        let batch = match piece {
            Some(Ok(piece)) => splitter.push(piece).map_err(|_| invalid("an event does not end"))?,
            Some(Err(BrokenOff { .. })) => return Err(invalid("it broke off before its first event")),
            None => splitter.finish(),
        };
        let judged = judge(&batch);
        held.push(batch);
        match judged {
            Judged::Nothing if ended => return Err(invalid("it ended before its first event")),
            Judged::Nothing if held.iter().map(Bytes::len).sum::<usize>() > PREFACE_MOST => {
                return Err(invalid("it says nothing"));
            }
            Judged::Nothing => {}
            Judged::Something => return Ok((body, splitter, joined(&held))),
            Judged::Error(data) => return Err(told_error(&data, provider)),
            Judged::Garbage => return Err(invalid("its first event is no JSON object")),
        }
    }
}

/// What the first events are worth.
enum Judged {
    Nothing,
    Something,
    Error(Vec<u8>),
    Garbage,
}

fn judge(batch: &Bytes) -> Judged {
    for event in events(batch) {
        let Some(data) = event.data.filter(|data| !data.trim_ascii().is_empty()) else { continue };
        if event.name == Some(b"ping") {
            continue;
        }
        return match look(&data).0 {
            Sight::Empty => continue,
            Sight::Content | Sight::UsageOnly | Sight::Done => Judged::Something,
            Sight::Error => Judged::Error(data.into_owned()),
            Sight::Garbage => Judged::Garbage,
        };
    }
    Judged::Nothing
}

/// A server that does not stream says so with JSON, often with an error in it.
pub(super) async fn another_kind(response: Response<AnswerBody>, provider: &ProviderEntry) -> Box<Fault> {
    let body = collect(response.into_body(), ERROR_MOST).await.unwrap_or_default();
    match look_whole(&body) {
        Whole::Error => told_error(&body, provider),
        _ => invalid("the answer has another content type than was asked for"),
    }
}
