//! A form: read to its end, kept in memory or in a file, its parts found on the way.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use shared::catalog::FaultKind;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::read::{BodyBudget, Held, check_head, known, no_memory, too_large, too_slow};
use crate::scan::multipart::{FormFlaw, Parser, boundary};
use crate::upstream::form::{Form, IN_MEMORY, Keeper};

/// For a whole form.
const WHOLE: Duration = Duration::from_secs(600);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(30);

/// Reads a form.
///
/// # Errors
/// A form that is none, too large, too slow, cut short, or that cannot be kept.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    mut body: B,
    limit: usize,
    budget: &Arc<BodyBudget>,
) -> Result<(Form, Held), Box<Fault>>
where
    B: Body<Data = Bytes> + Unpin,
{
    check_head(headers, limit)?;
    let content_type = headers.get(CONTENT_TYPE).cloned();
    let kind = content_type.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parser = Parser::new(boundary(kind).map_err(no_form)?);
    let (mut keeper, mut held) = (Keeper::default(), Held::nothing(budget));
    let end = Instant::now() + WHOLE;
    let mut length = 0;
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = timeout_at(end.min(Instant::now() + SILENCE), frame).await.map_err(|_| too_slow())?;
        let Some(data) = known(frame)? else { break };
        length += data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        // What is beyond lies in a file.
        if length - data.len() < IN_MEMORY && !held.take(data.len()) {
            return Err(no_memory());
        }
        parser.push(&data).map_err(no_form)?;
        keeper.keep(&data).await.map_err(|error| not_kept(&error))?;
    }
    let parts = parser.finish().map_err(no_form)?;
    let kept = keeper.finish().await.map_err(|error| not_kept(&error))?;
    let content_type = content_type.ok_or_else(|| no_form(FormFlaw::Boundary))?;
    Ok((Form::new(content_type, parts, kept), held))
}

fn no_form(flaw: FormFlaw) -> Box<Fault> {
    let message = format!("The form cannot be read: {flaw}.");
    let (code, status) = match flaw {
        FormFlaw::Boundary => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        FormFlaw::TooManyParts | FormFlaw::HeadTooLong | FormFlaw::FieldTooLong => {
            ("request_too_complex", StatusCode::BAD_REQUEST)
        }
        FormFlaw::Encoding => ("invalid_encoding", StatusCode::BAD_REQUEST),
        FormFlaw::Beginning | FormFlaw::Head | FormFlaw::Unfinished => ("invalid_form", StatusCode::BAD_REQUEST),
    };
    Fault::new(FaultKind::InvalidRequest, code, message).with_status(status).closing()
}

fn not_kept(error: &std::io::Error) -> Box<Fault> {
    tracing::error!(%error, "a form cannot be kept in the folder for temporary files");
    Fault::new(FaultKind::Unavailable, "bodies_exhausted", "The form cannot be kept at the moment; try again later.")
        .retry_after(5)
        .closing()
}
