//! A form: read until it is known what it asks, then kept and sent on while the rest of it comes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use shared::catalog::FaultKind;
use tokio::time::{Instant, timeout_at};

use super::endpoint::{Call, FormReader};
use super::fault::Fault;
use super::read::{BodyBudget, Held, check_head, declared, known, no_memory, too_large, too_slow};
use crate::scan::multipart::{FormFlaw, Parser, boundary};
use crate::upstream::form::{Form, IN_MEMORY};

/// For a whole form.
const WHOLE: Duration = Duration::from_secs(600);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(30);

/// A form that has not come to its end.
pub(super) struct Arriving<B> {
    body: B,
    parser: Parser,
    reader: FormReader,
    form: Arc<Form>,
    limit: usize,
    length: usize,
    end: Instant,
}

impl<B> Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// A form of which nothing was read.
    ///
    /// # Errors
    /// A form that is none, too large, or for which there is no memory.
    pub(super) fn new(
        headers: &HeaderMap,
        body: B,
        reader: FormReader,
        limit: usize,
        budget: &Arc<BodyBudget>,
    ) -> Result<(Self, Held), Box<Fault>> {
        check_head(headers, limit)?;
        let content_type = headers.get(CONTENT_TYPE).ok_or_else(|| no_form(FormFlaw::Boundary))?;
        let parser = Parser::new(boundary(content_type.to_str().unwrap_or_default()).map_err(no_form)?);
        let mut held = Held::nothing(budget);
        let expected = declared(headers);
        // What is beyond lies in a file.
        let near = expected.and_then(|length| usize::try_from(length).ok()).unwrap_or(limit).min(IN_MEMORY);
        if !held.take(near) {
            return Err(no_memory());
        }
        let form = Arc::new(Form::new(content_type.clone(), expected));
        Ok((Self { body, parser, reader, form, limit, length: 0, end: Instant::now() + WHOLE }, held))
    }

    /// The form, as far as it has come.
    pub(super) fn form(&self) -> Arc<Form> {
        Arc::clone(&self.form)
    }

    /// Reads until it is known what the form asks: when its file begins, or at its end.
    ///
    /// # Errors
    /// A form that is wrong, too large, too slow, cut short, or that cannot be kept.
    pub(super) async fn opening(&mut self) -> Result<Call, Box<Fault>> {
        loop {
            if self.parser.is_in_file()
                && let Some(call) = self.form.read(self.reader.opening)?
            {
                return Ok(call);
            }
            if !self.more().await? {
                return self.form.read(self.reader.whole);
            }
        }
    }

    /// Reads the rest, and whether it agrees with what was known before.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn rest(mut self) -> Result<(), Box<Fault>> {
        while self.more().await? {}
        Ok(())
    }

    /// Keeps the next bytes; false at the end.
    async fn more(&mut self) -> Result<bool, Box<Fault>> {
        let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
        let frame = timeout_at(self.end.min(Instant::now() + SILENCE), frame).await.map_err(|_| too_slow())?;
        let Some(data) = known(frame)? else {
            self.parser.finish().map_err(no_form)?;
            self.form.read(self.reader.whole)?;
            self.form.complete();
            return Ok(false);
        };
        self.length += data.len();
        if self.length > self.limit {
            return Err(too_large(self.limit));
        }
        self.parser.push(&data).map_err(no_form)?;
        self.form.keep(data, self.parser.ended()).await.map_err(|error| not_kept(&error))?;
        Ok(true)
    }
}

/// Makes a call while its form is still arriving; a form that turns out to be wrong ends it.
pub(super) async fn alongside<T>(
    arriving: impl Future<Output = Result<(), Box<Fault>>>,
    calling: impl Future<Output = Result<T, Box<Fault>>>,
) -> Result<T, Box<Fault>> {
    let (mut arriving, mut calling) = (pin!(arriving), pin!(calling));
    let mut arrived = false;
    poll_fn(|cx| {
        if !arrived && let Poll::Ready(outcome) = arriving.as_mut().poll(cx) {
            arrived = true;
            if let Err(fault) = outcome {
                return Poll::Ready(Err(fault));
            }
        }
        calling.as_mut().poll(cx)
    })
    .await
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
