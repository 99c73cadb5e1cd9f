//! `POST /v1/audio/transcriptions`: a form with a recording.

use shared::catalog::{Compatibility, RouterKind};

use super::body::{missing, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, Renderer, Takes};
use crate::exchange::fault::Fault;
use crate::scan::multipart::Part;
use crate::translate::{Operation, UsageWish};
use crate::upstream::form::Form;

/// Speech as text.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/audio/transcriptions",
    operation: Operation::Transcription,
    serves: &[RouterKind::AutomaticSpeechRecognition],
    takes: Takes::Form(parse),
    renderer,
};

fn renderer(profile: Compatibility) -> Option<&'static dyn Renderer> {
    match profile {
        Compatibility::Native => None,
        Compatibility::OpenGateLlm => Some(&OpenGateLlm { chunk: "" }),
    }
}

fn parse(form: &Form) -> Result<Call, Box<Fault>> {
    let model = only(form, "model")?.ok_or_else(|| missing("model"))?;
    let requested =
        model.text.clone().filter(|text| !text.is_empty()).ok_or_else(|| wrong("model", "the name of a model"))?;
    let file = only(form, "file")?.ok_or_else(|| missing("file"))?;
    if file.content.is_empty() {
        return Err(wrong("file", "a recording, not an empty file"));
    }
    let streamed = match only(form, "stream")?.and_then(|part| part.text.as_deref()) {
        None | Some("" | "false" | "False" | "0") => false,
        Some("true" | "True" | "1") => true,
        Some(_) => return Err(wrong("stream", "true or false")),
    };
    let format = only(form, "response_format")?.and_then(|part| part.text.as_deref()).unwrap_or("json");
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    Ok(Call {
        // Servers that stream speech tell its usage without being asked.
        streamed: streamed.then_some(UsageWish::Yes),
        as_text: matches!(format, "text" | "srt" | "vtt"),
        ..Call::plain(requested, place(model.content.start)..place(model.content.end))
    })
}

/// The only part of a name.
fn only<'a>(form: &'a Form, name: &'static str) -> Result<Option<&'a Part>, Box<Fault>> {
    form.only(name).map_err(|_| Fault::invalid("duplicate_parameter", name, format!("`{name}` is given twice.")))
}
