//! HTTP in and out: what the public port answers. No decisions here; calls go through the exchange.
//!
//! One file for each endpoint: a parser, and a renderer where a profile dresses answers. A new endpoint is a file here, a
//! line in [`find`], and a row in the system tests' matrix; it inherits authentication, limits, retries, accounting and
//! telemetry from the exchange.
//!
//! | file | holds |
//! |---|---|
//! | [`chat`], [`completions`], [`embeddings`], [`rerank`], [`transcriptions`] | endpoints that call a router |
//! | [`models`], [`health`], [`openapi`] | answers from the table, or from nothing |
//! | [`body`] | what the parsers share |
//! | [`opengatellm`] | the dress of that profile |
//! | [`headers`], [`error`] | ids, and faults as responses |

pub(crate) mod body;
mod chat;
mod completions;
mod embeddings;
mod error;
mod headers;
mod health;
mod models;
pub(crate) mod openapi;
mod opengatellm;
mod rerank;
mod transcriptions;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use shared::catalog::FaultKind;
use shared::document::{leave_out, serve_below};
use shared::runtime::edge::PathPrefix;
use shared::runtime::listen::ClientAddr;
use tower_service::Service;

use crate::exchange::context::Ids;
use crate::exchange::deliver::ReplyBody;
use crate::exchange::endpoint::Endpoint;
use crate::exchange::fault::Fault;
use crate::exchange::{Arrival, Services, run};
use crate::observe::access_log::{Plain, plain};
use crate::observe::{metrics, traces};

/// What a path leads to.
#[derive(Clone, Copy)]
enum Route<'a> {
    /// A call of a router.
    Call(&'static Endpoint),
    /// The list of routers.
    Models,
    /// One router.
    Model(&'a str),
    /// A sign of life.
    Health,
    /// What the port offers.
    Document,
}

/// The route of a path, compared letter by letter.
fn find(path: &str) -> Option<Route<'_>> {
    Some(match path {
        "/v1/chat/completions" => Route::Call(&chat::ENDPOINT),
        "/v1/completions" => Route::Call(&completions::ENDPOINT),
        "/v1/embeddings" => Route::Call(&embeddings::ENDPOINT),
        "/v1/rerank" | "/v2/rerank" => Route::Call(&rerank::ENDPOINT),
        "/v1/audio/transcriptions" => Route::Call(&transcriptions::ENDPOINT),
        "/v1/models" => Route::Models,
        "/health" => Route::Health,
        "/openapi.json" => Route::Document,
        _ => Route::Model(path.strip_prefix("/v1/models/").filter(|name| !name.is_empty())?),
    })
}

impl Route<'_> {
    /// Its name in log lines.
    const fn name(&self) -> &'static str {
        match self {
            Self::Call(endpoint) => endpoint.path,
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{model}",
            Self::Health => "/health",
            Self::Document => "/openapi.json",
        }
    }

    /// The methods it takes; the refusal when it is another.
    fn check(&self, method: &Method) -> Result<(), &'static str> {
        match self {
            Self::Call(_) if method == Method::POST => Ok(()),
            Self::Call(_) => Err("POST"),
            _ if method == Method::GET || method == Method::HEAD => Ok(()),
            _ => Err("GET, HEAD"),
        }
    }
}

/// The public port's service. Clones share everything.
#[derive(Clone)]
pub struct PublicService {
    services: Arc<Services>,
    prefix: PathPrefix,
}

impl PublicService {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        Self { services, prefix: PathPrefix::default() }
    }

    /// The same for clients that find it below a path.
    #[must_use]
    pub fn below(mut self, prefix: PathPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Whether the operators switched off what a path belongs to.
    fn is_off(&self, path: &str) -> bool {
        self.services.table.load().settings().disabled_routers.hold(path)
    }

    /// What the port offers now. Made for each request: few ask, and settings change.
    fn document(&self) -> Bytes {
        let table = self.services.table.load();
        let mut document = openapi::document();
        leave_out(&mut document, table.settings().disabled_routers.with(table.settings().hidden_routers));
        serve_below(&mut document, self.prefix.as_str());
        document.to_json().unwrap_or_default().into()
    }

    /// Whether a path is one of the inference surface; standalone sends all others to the management side.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        !matches!(find(path), None | Some(Route::Document))
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<ReplyBody>, Infallible>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let begun = Instant::now();
        let (parts, body) = request.into_parts();
        let ids = headers::ids(&parts.headers, self.services.clock.now());
        let (method, version, clock) = (parts.method.clone(), parts.version, self.services.clock.clone());
        let peer = parts.extensions.get::<ClientAddr>().map(|client| client.0);
        let uri = parts.uri.clone();
        let route = find(uri.path());
        let name = route.map_or("", |route| route.name());
        let outcome = match self.route(route, parts, body, Asked { ids: ids.clone(), begun, peer }) {
            Ok(Step::Call(endpoint, arrival)) => run(self.services, endpoint, arrival).await,
            Ok(Step::Answer(response)) => Ok(response),
            Err(fault) => Err(fault),
        };
        let fault = outcome.as_ref().err().map(|fault| fault.kind);
        let refused = outcome.as_ref().err().filter(|fault| fault.is_of_credentials()).map(|fault| fault.code.clone());
        let told = match &outcome {
            Ok(_) => matches!(route, Some(Route::Call(_))),
            Err(fault) => fault.told,
        };
        let mut response = outcome.unwrap_or_else(|fault| error::response(&fault, version));
        headers::stamp(&mut response, &ids);
        if !told {
            let status = response.status().as_u16();
            let latency = begun.elapsed();
            let (request_id, method) = (ids.request.as_str(), method.as_str());
            let line =
                Plain { request_id, trace_id: &ids.trace, client: peer, method, path: name, status, fault, latency };
            plain(&line);
            traces::plain(ids.span, &line, clock.now());
            if let Some(code) = refused.as_deref() {
                metrics::auth_failure(code);
            }
        }
        Ok(response)
    }

    fn route<B>(
        &self,
        route: Option<Route<'_>>,
        parts: http::request::Parts,
        body: B,
        asked: Asked,
    ) -> Result<Step<B>, Box<Fault>> {
        let Some(route) = route.filter(|_| !self.is_off(parts.uri.path())) else {
            return Err(nobody_serves(&parts.method));
        };
        if let Err(allowed) = route.check(&parts.method) {
            return Ok(Step::Answer(wrong_method(allowed, parts.version)));
        }
        let answer = match route {
            Route::Call(endpoint) => {
                let Asked { ids, begun, peer } = asked;
                return Ok(Step::Call(endpoint, Arrival { ids, begun, peer, headers: parts.headers, body }));
            }
            Route::Models => models::list(&self.services, &parts.headers, asked.peer)?,
            Route::Model(name) => models::retrieve(&self.services, &parts.headers, asked.peer, name)?,
            Route::Health => health::answer(),
            Route::Document => json(self.document()),
        };
        Ok(Step::Answer(answer))
    }
}

/// What a request needs.
enum Step<B> {
    /// A call of a router.
    Call(&'static Endpoint, Arrival<B>),
    /// Nothing more: here is its answer.
    Answer(Response<ReplyBody>),
}

/// What is known of a request beside its head.
struct Asked {
    ids: Ids,
    begun: Instant,
    peer: Option<IpAddr>,
}

impl<B> Service<Request<B>> for PublicService
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn nobody_serves(method: &Method) -> Box<Fault> {
    let message = format!("Nothing is served here for {method}.");
    Fault::new(FaultKind::InvalidRequest, "not_found", message).with_status(StatusCode::NOT_FOUND).detailed("Not Found")
}

fn wrong_method(allowed: &'static str, version: http::Version) -> Response<ReplyBody> {
    let message = format!("This address takes {allowed}.");
    let fault = Fault::new(FaultKind::InvalidRequest, "method_not_allowed", message);
    let fault = fault.with_status(StatusCode::METHOD_NOT_ALLOWED).detailed("Method Not Allowed");
    let mut response = error::response(&fault, version);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// A JSON body under status 200.
fn json(body: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::plain(body));
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
