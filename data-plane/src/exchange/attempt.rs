//! The tries: pick a provider, send, judge what comes back; the next provider only before the first event.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use shared::catalog::FaultKind;
use shared::usage::Attempt;
use tokio::time::Instant;

use super::Services;
use super::deadline::Deadline;
use super::endpoint::{Payload, Takes};
use super::fault::Fault;
use super::judge::{another_kind, content_type, first_event, refusal, timed_out, unreachable_upstream, unsent, whole};
use super::settle::{Open, Tail};
use crate::balance::strategy;
use crate::observe::metrics;
use crate::scan::sse::Splitter;
use crate::table::{ProviderEntry, RouterEntry};
use crate::translate::{Dialect, Outbound, dialect};
use crate::upstream::outgoing::OutgoingBody;
use crate::upstream::send::{self, Order};
use crate::upstream::{AnswerBody, Client};
use crate::vitals::InFlight;

/// The longest time for all tries together.
const LONGEST: Duration = Duration::from_secs(3600);

/// An answer that can be delivered: its status is decided.
pub(crate) enum Reply {
    /// All of it.
    Whole {
        /// Its content type.
        content_type: HeaderValue,
        /// Its bytes.
        body: Bytes,
    },
    /// A stream whose first event is there.
    Stream(Box<Begun>),
}

/// A stream that has begun.
pub(crate) struct Begun {
    /// The rest.
    pub(crate) body: AnswerBody,
    /// What is not a whole event yet.
    pub(crate) splitter: Splitter,
    /// Everything up to the end of the last event that has come.
    pub(crate) first: Bytes,
    /// When it must be over.
    pub(crate) deadline: Instant,
    /// Whether it is read to its end when the client leaves.
    pub(crate) drain: bool,
    /// Counts at the provider until the end.
    pub(crate) busy: InFlight,
}

/// Tries the router's providers until one answers.
///
/// # Errors
/// The last fault, when none did.
pub(crate) async fn attempt(services: &Services, tail: &mut Tail, caller: &HeaderMap) -> Result<Reply, Box<Fault>> {
    let Some(open) = tail.open() else { return Err(no_provider()) };
    let Some(router) = open.router.clone() else { return Err(no_provider()) };
    let longest = router.providers.iter().map(|provider| provider.noun.timeout).max().unwrap_or_default();
    let deadline = Deadline::new(longest.min(LONGEST), &open.payload);
    let mut tried = Vec::new();
    let mut last: Option<Box<Fault>> = None;
    services.retries.deposit();
    while let Some((place, provider)) = pick(services, &router, &tried) {
        if last.is_some() && !services.retries.withdraw() {
            metrics::retry_refused();
            break;
        }
        match once(services, tail, caller, provider, &deadline).await {
            Ok(reply) => return Ok(reply),
            Err(fault) => {
                let final_word = !fault.is_retryable() || Instant::now() >= deadline.end();
                last = Some(fault);
                if final_word {
                    break;
                }
                tried.push(place);
            }
        }
    }
    Err(last.unwrap_or_else(no_provider))
}

pub(super) fn no_provider() -> Box<Fault> {
    let message = "No provider of this model can be called at the moment.";
    Fault::new(FaultKind::Unavailable, "no_provider", message)
        .detailed("Model is temporarily unavailable, please try again later.")
        .retry_after(10)
}

/// The next provider, among those not tried yet.
fn pick<'a>(services: &Services, router: &'a RouterEntry, tried: &[usize]) -> Option<(usize, &'a Arc<ProviderEntry>)> {
    if let ([only], []) = (router.providers.as_slice(), tried) {
        return Some((0, only));
    }
    let left: Vec<_> = router.providers.iter().enumerate().filter(|(place, _)| !tried.contains(place)).collect();
    let vitals: Vec<_> = left.iter().map(|(_, provider)| services.vitals.of(provider.id)).collect();
    let candidates: Vec<_> = vitals.iter().map(AsRef::as_ref).collect();
    left.get(strategy(router.noun.strategy).pick(&candidates)?).copied()
}

/// One try at one provider.
async fn once(
    services: &Services,
    tail: &mut Tail,
    caller: &HeaderMap,
    provider: &Arc<ProviderEntry>,
    deadline: &Deadline,
) -> Result<Reply, Box<Fault>> {
    let Some(open) = tail.open_mut() else { return Err(no_provider()) };
    let vitals = services.vitals.of(provider.id);
    let begun = std::time::Instant::now();
    open.record.attempts.push(Attempt {
        provider: provider.id,
        provider_kind: provider.noun.kind,
        upstream_model: provider.noun.upstream_model.clone(),
        started: services.clock.now(),
        latency: Duration::ZERO,
        status: None,
        // Until it is known better: if the client leaves now, nothing else will be written here.
        fault: Some(FaultKind::ClientGone),
    });
    open.trying = Some((begun, Arc::clone(&vitals)));
    open.context.try_begins(caller);
    let deadline = deadline.of_try(provider.noun.timeout);
    let result = {
        // In one place: what is passed on by value takes room in every future on the way.
        let trying = pin!(converse(services, open, caller, provider, vitals.begin(), &deadline));
        tokio::select! {
            biased;
            result = deadline.within(trying) => result.unwrap_or_else(|| Err(timed_out())),
            () = services.expiry.cancelled() => Err(Fault::shutting_down()),
        }
    };
    match result {
        Ok(reply) => {
            open.record.time_to_first_token = Some(open.context.elapsed());
            Ok(reply)
        }
        Err(fault) => {
            open.trying = None;
            if let Some(attempt) = open.record.attempts.last_mut() {
                attempt.latency = begun.elapsed();
                attempt.fault = Some(fault.kind);
            }
            if fault.is_retryable() {
                vitals.failed();
            }
            tracing::debug!(provider = %provider.id, fault = %fault.kind, code = %fault.code, "an attempt failed");
            Err(fault)
        }
    }
}

/// Sends and reads until the answer's status is decided.
async fn converse(
    services: &Services,
    open: &mut Open,
    caller: &HeaderMap,
    provider: &ProviderEntry,
    busy: InFlight,
    deadline: &Deadline,
) -> Result<Reply, Box<Fault>> {
    let dialect = dialect(provider.noun.kind);
    let response = answer(services, open, caller, provider, dialect).await?;
    let status = response.status();
    if let Some(attempt) = open.record.attempts.last_mut() {
        attempt.status = Some(status.as_u16());
    }
    if !status.is_success() {
        return Err(refusal(response, provider).await);
    }
    asked_in_full(open).await?;
    let streamed = open.call.as_ref().is_some_and(|call| call.streamed.is_some());
    let events = content_type(response.headers()).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    match (streamed, events) {
        (true, true) => {
            let drain = provider.noun.drain_on_disconnect;
            let (body, splitter, first) = first_event(response.into_body(), provider).await?;
            Ok(Reply::Stream(Box::new(Begun { body, splitter, first, deadline: deadline.end(), drain, busy })))
        }
        (false, false) => whole(response, open, provider, dialect).await,
        _ => Err(another_kind(response, provider).await),
    }
}

/// An upstream may answer before its client has asked everything; what the answer is to be like is known only then.
async fn asked_in_full(open: &mut Open) -> Result<(), Box<Fault>> {
    if let (Payload::Form(form), Takes::Form(reader)) = (&open.payload, open.context.endpoint.takes) {
        form.whole().await;
        open.ask(form.read(reader.whole)?);
    }
    Ok(())
}

/// Sends the request and waits for the head of the answer.
async fn answer(
    services: &Services,
    open: &Open,
    caller: &HeaderMap,
    provider: &ProviderEntry,
    dialect: &'static dyn Dialect,
) -> Result<Response<AnswerBody>, Box<Fault>> {
    let request = prepare(open, caller, provider, dialect)?;
    let client: &dyn Client = if dialect.is_local() { &services.local } else { &services.pool };
    client.send(request).await.map_err(|error| unsent(&error))
}

fn prepare(
    open: &Open,
    caller: &HeaderMap,
    provider: &ProviderEntry,
    dialect: &'static dyn Dialect,
) -> Result<http::Request<OutgoingBody>, Box<Fault>> {
    let call = open.call.as_ref().ok_or_else(no_provider)?;
    let operation = open.context.endpoint.operation;
    let path = dialect.path(operation).ok_or_else(no_provider)?;
    let upstream_model = provider.noun.upstream_model.as_str();
    let (body, content_type) = match &open.payload {
        Payload::Json(body) => {
            let (requested, streamed) = (call.place.clone(), call.streamed.as_ref());
            let outbound = Outbound { operation, body, requested, upstream_model, streamed, wording: call.wording };
            (OutgoingBody::new(dialect.body(&outbound)), HeaderValue::from_static("application/json"))
        }
        Payload::Form(form) => {
            let place = call.place.start as u64..call.place.end as u64;
            (form.outgoing(place, upstream_model), form.content_type.clone())
        }
    };
    let order = Order {
        address: &provider.address,
        path,
        authorization: provider.authorization.as_ref(),
        content_type,
        streamed: call.streamed.is_some(),
        request_id: &open.context.ids.request,
        traceparent: open.context.traceparent.as_ref(),
        caller,
    };
    send::request(&order, body).map_err(|error| {
        tracing::error!(provider = %provider.id, %error, "the provider's address cannot be called");
        unreachable_upstream()
    })
}
