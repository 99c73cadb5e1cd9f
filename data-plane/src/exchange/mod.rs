//! The life of a call: one path for every endpoint, streamed or not.
//!
//! 1. `authenticate`: who calls, from the headers alone, before any byte of the body.
//! 2. `read`: the body, within its limit and the process's budget; the endpoint's parser makes a [`Call`] of it.
//! 3. `resolve`: the requested name becomes a router that this caller may use.
//! 4. `admit`: limits and budgets set aside what the call may need; from here on it is accounted for.
//! 5. `attempt`: providers are tried until one answers; failures before the first event are real statuses.
//! 6. `deliver`: the answer leaves, as bytes of the upstream or dressed for a profile.
//! 7. `settle`: the tail, which travelled with the call, measures and tells, exactly once on every way out.
//!
//! Invariants: the table is loaded once; nothing is awaited but the client, the upstream and, twice, the other calls that
//! are ready now, to share a write of the spool with them; the body never chooses a destination or a credential. Only this
//! room combines mechanisms. It knows nothing of paths, and `link` not at all.

pub(crate) mod admit;
pub(crate) mod attempt;
pub(crate) mod authenticate;
pub(crate) mod context;
mod deadline;
pub(crate) mod deliver;
pub(crate) mod endpoint;
pub(crate) mod events;
pub(crate) mod fault;
mod form;
mod judge;
pub(crate) mod read;
mod record;
pub(crate) mod resolve;
pub(crate) mod settle;
mod stream;

use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Body;
use shared::kernel::clock::FleetClock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::context::{Context, Ids};
use self::deliver::ReplyBody;
use self::endpoint::{Call, Endpoint, Payload, Takes};
use self::fault::Fault;
use self::form::{Arriving, alongside};
use self::read::Held;
use self::settle::Tail;
use crate::meter::refusals::Refusals;
use crate::meter::sink::{Ticket, UsageSink};
use crate::observe::metrics::Meters;
use crate::observe::traces::CallTrace;
use crate::table::Handle;
use crate::upstream::local::Local;
use crate::upstream::pool::Pool;
use crate::vitals::Vitals;
use crate::vitals::retry_budget::RetryBudget;

/// Everything that calls share.
pub(crate) struct Services {
    /// The current table.
    pub(crate) table: Handle,
    /// Fleet time.
    pub(crate) clock: FleetClock,
    /// Live observations of providers.
    pub(crate) vitals: Vitals,
    /// What traffic pays for retries.
    pub(crate) retries: RetryBudget,
    /// Connections to upstreams.
    pub(crate) pool: Pool,
    /// The upstream without a network.
    pub(crate) local: Local,
    /// Where records go.
    pub(crate) sink: Arc<dyn UsageSink>,
    /// Where records of refusals go first.
    pub(crate) refusals: Refusals,
    /// Series of metrics.
    pub(crate) meters: Meters,
    /// What bodies may hold.
    pub(crate) bodies: Arc<read::BodyBudget>,
    /// What one body may hold.
    pub(crate) body_limit: usize,
    /// What one form may hold, mostly on disk.
    pub(crate) form_limit: usize,
    /// Wrong credentials by address.
    pub(crate) failures: authenticate::Failures,
    /// The process ends; so must open answers.
    pub(crate) expiry: CancellationToken,
    /// Calls that are not told yet, although no connection may wait for them; the process does not stop before.
    pub(crate) in_flight: TaskTracker,
}

/// A request as the surface hands it over.
pub(crate) struct Arrival<B> {
    /// Its names.
    pub(crate) ids: Ids,
    /// When its head was read.
    pub(crate) begun: Instant,
    /// Who sent it.
    pub(crate) peer: Option<IpAddr>,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body, not read yet.
    pub(crate) body: B,
}

/// Runs a call to the head of its answer; the rest lives in the answer's body.
///
/// # Errors
/// The fault that the caller is told.
pub(crate) async fn run<B>(
    services: Arc<Services>,
    endpoint: &'static Endpoint,
    arrival: Arrival<B>,
) -> Result<Response<ReplyBody>, Box<Fault>>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let Arrival { ids, begun, peer, headers, body } = arrival;
    let in_flight = services.meters.begin(endpoint.path);
    let (table, started) = (services.table.load(), services.clock.now());
    let principal = authenticate::authenticate(&table, &headers, peer, started, &services.failures)?;
    let noted = CallTrace::of(ids.span);
    let mut context = Context { ids, begun, peer, started, endpoint, table, noted, traceparent: None };
    context.phase_ended();
    let mut tail = Tail::new(Arc::clone(&services), context, principal, in_flight);
    let received = receive(&services, endpoint, &headers, body).await;
    let begun = received.and_then(|Received { call, payload, held, rest }| {
        Ok((begin(&services, &mut tail, call, payload, held)?, rest))
    });
    let (Admitted { ticket, drains }, rest) = begun.map_err(|fault| failed(&mut tail, fault))?;
    if !drains {
        return answer(services, tail, ticket, headers, rest).await;
    }
    let left = tail.abandonment();
    Abandonable { future: Some(Box::pin(answer(services, tail, ticket, headers, rest))), left }.await
}

/// A request whose question is known.
struct Received<B> {
    call: Call,
    payload: Payload,
    held: Held,
    /// What the client is still sending.
    rest: Option<Box<Arriving<B>>>,
}

/// Reads the body, as far as it takes to know what is asked.
async fn receive<B>(
    services: &Services,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    body: B,
) -> Result<Received<B>, Box<Fault>>
where
    B: Body<Data = Bytes> + Unpin,
{
    match endpoint.takes {
        Takes::Json(parse) => {
            let (body, held) = read::read(headers, body, services.body_limit, &services.bodies).await?;
            Ok(Received { call: parse(&body)?, payload: Payload::Json(body), held, rest: None })
        }
        Takes::Form(reader) => {
            let (arriving, held) = Arriving::new(headers, body, reader, services.form_limit, &services.bodies)?;
            let mut arriving = Box::new(arriving);
            let (call, form) = (arriving.opening().await?, arriving.form());
            let rest = (!form.is_whole()).then_some(arriving);
            Ok(Received { call, payload: Payload::Form(form), held, rest })
        }
    }
}

/// A call that may take place.
struct Admitted {
    /// What must be durable before its upstream is called.
    ticket: Ticket,
    /// Whether an answer that nobody waits for may have to be read all the same.
    drains: bool,
}

/// Resolves and admits.
fn begin(
    services: &Services,
    tail: &mut Tail,
    call: Call,
    payload: Payload,
    held: Held,
) -> Result<Admitted, Box<Fault>> {
    let Some(open) = tail.open_mut() else { return Err(attempt::no_provider()) };
    open.context.phase_ended();
    open.ask(call);
    let requested = open.call.as_ref().map_or("", |call| call.requested.as_str());
    let router = resolve::resolve(&open.context.table, &open.principal, requested, open.context.endpoint)?;
    let drains = router.providers.iter().any(|provider| provider.noun.drain_on_disconnect);
    open.lead_to(router);
    (open.payload, open.held) = (payload, Some(held));
    open.context.phase_ended();
    let (reservation, ticket) = admit::admit(services.sink.as_ref(), open)?;
    // From here on it is settled, whatever becomes of it.
    open.reservation = Some(reservation);
    Ok(Admitted { ticket, drains })
}

async fn answer<B>(
    services: Arc<Services>,
    mut tail: Tail,
    ticket: Ticket,
    headers: HeaderMap,
    rest: Option<Box<Arriving<B>>>,
) -> Result<Response<ReplyBody>, Box<Fault>>
where
    B: Body<Data = Bytes> + Unpin,
{
    if let Some(open) = tail.open_mut() {
        let begun = admit::begun(services.sink.as_ref(), open, ticket).await;
        begun.map_err(|fault| failed(&mut tail, fault))?;
    }
    let attempted = {
        let attempting = pin!(attempt::attempt(&services, &mut tail, &headers));
        match rest {
            None => attempting.await,
            Some(arriving) => alongside(Box::pin(arriving.rest()), attempting).await,
        }
    };
    match attempted {
        Ok(reply) => Ok(deliver::deliver(tail, reply).await),
        Err(fault) => Err(failed(&mut tail, fault)),
    }
}

fn failed(tail: &mut Tail, mut fault: Box<Fault>) -> Box<Fault> {
    tail.fail(&mut fault);
    fault
}

/// A future that goes on by itself when nobody waits for it any more.
struct Abandonable<F: Future + Send + 'static>
where
    F::Output: Send,
{
    future: Option<Pin<Box<F>>>,
    /// Raised when that is so.
    left: Arc<AtomicBool>,
}

impl<F: Future + Send + 'static> Future for Abandonable<F>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future + Send + 'static> Drop for Abandonable<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        let (Some(future), Ok(runtime)) = (self.future.take(), tokio::runtime::Handle::try_current()) else { return };
        self.left.store(true, Ordering::Relaxed);
        runtime.spawn(async move { drop(future.await) });
    }
}
