//! Log lines of level error, sent on to Sentry: a tracing layer, a bounded queue, one task.
//!
//! What is sent is what the log line holds, so what must not be logged cannot be sent either.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::counter;
use sentry_types::protocol::latest::{Envelope, Event, Map, Value};
use sentry_types::{Dsn, ParseDsnError};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::connect::connector;
use crate::kernel::secret::Secret;
use crate::runtime::metrics::{Family, FamilyKind};

const REPORTS: &str = "gatewright_error_reports_total";

/// What this room measures.
pub const FAMILIES: &[Family] = &[Family {
    name: REPORTS,
    kind: FamilyKind::Counter,
    labels: &["result"],
    help: "Error reports to Sentry, by result: sent; dropped, because too many waited or it asked for silence; failed.",
}];

/// Reports that may wait.
const QUEUE: usize = 256;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How long Sentry is left alone when it asks for that without a time.
const SILENCE: Duration = Duration::from_secs(60);
const SENTRY_AUTH: HeaderName = HeaderName::from_static("x-sentry-auth");
const AGENT: &str = concat!("gatewright/", env!("CARGO_PKG_VERSION"));

/// Where error reports go.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    dsn: Secret,
    environment: Option<String>,
    release: Option<String>,
}

/// A DSN that is none. Its text may be a secret and is not shown.
#[derive(Debug, thiserror::Error)]
#[error("is no DSN of Sentry: https://KEY@HOST/PROJECT is expected")]
pub struct BadDsn(#[source] ParseDsnError);

impl ReportSettings {
    /// Checks the DSN.
    ///
    /// # Errors
    /// [`BadDsn`]
    pub fn new(dsn: Secret, environment: Option<String>, release: Option<String>) -> Result<Self, BadDsn> {
        dsn.expose().trim().parse::<Dsn>().map_err(BadDsn)?;
        Ok(Self { dsn, environment, release })
    }

    /// From `SENTRY_DSN`, `SENTRY_ENVIRONMENT` and `SENTRY_RELEASE`; nothing when there is no DSN.
    ///
    /// # Errors
    /// [`BadDsn`]
    pub fn of_environment() -> Result<Option<Self>, BadDsn> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let Some(dsn) = variable("SENTRY_DSN") else { return Ok(None) };
        Self::new(Secret::new(dsn), variable("SENTRY_ENVIRONMENT"), variable("SENTRY_RELEASE")).map(Some)
    }
}

/// Takes log lines of level error.
pub(crate) struct Reports {
    queue: Sender<Event<'static>>,
    environment: Option<Cow<'static, str>>,
    release: Cow<'static, str>,
}

impl Reports {
    /// Starts the task that sends. Only within a runtime.
    pub(crate) fn start(settings: &ReportSettings) -> Result<Self, BadDsn> {
        let dsn: Dsn = settings.dsn.expose().trim().parse().map_err(BadDsn)?;
        let (queue, waiting) = channel(QUEUE);
        tokio::spawn(send(dsn, waiting));
        let release =
            settings.release.clone().unwrap_or_else(|| concat!("gatewright@", env!("CARGO_PKG_VERSION")).to_owned());
        Ok(Self { queue, environment: settings.environment.clone().map(Cow::Owned), release: Cow::Owned(release) })
    }
}

impl<S: Subscriber> Layer<S> for Reports {
    fn on_event(&self, line: &tracing::Event<'_>, _: Context<'_, S>) {
        if *line.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Fields::default();
        line.record(&mut fields);
        let event = Event {
            message: Some(fields.message),
            logger: Some(line.metadata().target().to_owned()),
            environment: self.environment.clone(),
            release: Some(self.release.clone()),
            extra: fields.others,
            ..Event::default()
        };
        if self.queue.try_send(event).is_err() {
            counter!(REPORTS, "result" => "dropped").increment(1);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.insert(field.name().to_owned(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(value.source(), |cause| cause.source());
        let text = causes.fold(value.to_string(), |text, cause| format!("{text}: {cause}"));
        self.others.insert(field.name().to_owned(), text.into());
    }
}

/// Sends until the process ends.
async fn send(dsn: Dsn, mut waiting: Receiver<Event<'static>>) {
    let http: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).build(connector());
    let (address, auth) = (dsn.envelope_api_url().to_string(), dsn.to_auth(Some(AGENT)).to_string());
    let mut quiet_until: Option<Instant> = None;
    while let Some(event) = waiting.recv().await {
        if quiet_until.is_some_and(|until| Instant::now() < until) {
            counter!(REPORTS, "result" => "dropped").increment(1);
            continue;
        }
        let mut body = Vec::new();
        let request = Envelope::from(event).to_writer(&mut body).ok().and_then(|()| {
            Request::builder()
                .method(Method::POST)
                .uri(&address)
                .header(SENTRY_AUTH, &auth)
                .header(CONTENT_TYPE, "application/x-sentry-envelope")
                .body(Full::new(Bytes::from(body)))
                .ok()
        });
        let Some(request) = request else { continue };
        let answer = timeout(WITHIN, http.request(request)).await;
        let result = match answer {
            Ok(Ok(answer)) if answer.status().is_success() => "sent",
            Ok(Ok(answer)) if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                quiet_until = Some(Instant::now() + seconds.map_or(SILENCE, Duration::from_secs).min(SILENCE * 60));
                "dropped"
            }
            // Never as an error: that would be a report again.
            Ok(Ok(answer)) => {
                tracing::warn!(status = answer.status().as_u16(), "an error report was refused");
                "failed"
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "an error report could not be sent");
                "failed"
            }
            Err(_) => "failed",
        };
        counter!(REPORTS, "result" => result).increment(1);
    }
}
