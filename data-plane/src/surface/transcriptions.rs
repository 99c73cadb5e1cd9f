//! `POST /v1/audio/transcriptions`: a form with a recording.

use shared::catalog::RouterKind;

use super::body::{missing, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, FormReader, Takes};
use crate::exchange::fault::Fault;
use crate::scan::multipart::Part;
use crate::translate::{Operation, UsageWish};

/// Speech as text.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/audio/transcriptions",
    operation: Operation::Transcription,
    serves: &[RouterKind::AutomaticSpeechRecognition],
    takes: Takes::Form(FormReader { opening, whole }),
    opengatellm: &OpenGateLlm { chunk: "" },
};

/// Where the model comes before the recording, as the official clients send it, the recording need not be waited for.
fn opening(parts: &[Part]) -> Result<Option<Call>, Box<Fault>> {
    if only(parts, "model")?.is_some() { call(parts).map(Some) } else { Ok(None) }
}

fn whole(parts: &[Part]) -> Result<Call, Box<Fault>> {
    let file = only(parts, "file")?.ok_or_else(|| missing("file"))?;
    if file.content.is_empty() {
        return Err(wrong("file", "a recording, not an empty file"));
    }
    call(parts)
}

fn call(parts: &[Part]) -> Result<Call, Box<Fault>> {
    let model = only(parts, "model")?.ok_or_else(|| missing("model"))?;
    let requested =
        model.text.clone().filter(|text| !text.is_empty()).ok_or_else(|| wrong("model", "the name of a model"))?;
    let streamed = match only(parts, "stream")?.and_then(|part| part.text.as_deref()) {
        None | Some("" | "false" | "False" | "0") => false,
        Some("true" | "True" | "1") => true,
        Some(_) => return Err(wrong("stream", "true or false")),
    };
    let format = only(parts, "response_format")?.and_then(|part| part.text.as_deref()).unwrap_or("json");
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    Ok(Call {
        // Servers that stream speech tell its usage without being asked.
        streamed: streamed.then_some(UsageWish::Yes),
        as_text: matches!(format, "text" | "srt" | "vtt"),
        ..Call::plain(requested, place(model.content.start)..place(model.content.end))
    })
}

/// The only part of a name.
fn only<'a>(parts: &'a [Part], name: &'static str) -> Result<Option<&'a Part>, Box<Fault>> {
    let mut found = parts.iter().filter(|part| part.name == name);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Fault::invalid("duplicate_parameter", name, format!("`{name}` is given twice."))),
        (only, None) => Ok(only),
    }
}
