//! Who is on the other side of a call: checked once for every service, before any of them sees the request.
//!
//! A call without a [`Peer`] is refused by each service as well, so that a service that is mounted without this layer
//! serves nobody.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use shared::kernel::virtual_key::sha256_digest;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::fleet::{JoinRefusal, JoinTokens};

/// How many tokens are remembered for the time when the database does not answer.
const REMEMBERED: usize = 1_000;
/// The Group of the plane in this process.
const LOCAL_GROUP: &str = "default";

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The data plane in this process.
    Local,
    /// A node that showed a join token.
    Joined {
        /// The Group that the token is for.
        group: String,
    },
}

impl Peer {
    /// The Group that it belongs to.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Local => LOCAL_GROUP,
            Self::Joined { group } => group,
        }
    }

    /// The peer of a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when nobody checked it.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| Status::unauthenticated("a join token is expected"))
    }
}

/// Checks every call of the services under it.
#[derive(Clone)]
pub struct PeerLayer {
    check: Check,
}

#[derive(Clone)]
enum Check {
    Local,
    Tokens { tokens: JoinTokens, known: Arc<Mutex<HashMap<[u8; 32], String>>> },
}

impl PeerLayer {
    /// For services that only this process can reach.
    #[must_use]
    pub const fn local() -> Self {
        Self { check: Check::Local }
    }

    /// For services on a port: `authorization: Bearer gw-join-…`.
    #[must_use]
    pub fn tokens(tokens: JoinTokens) -> Self {
        Self { check: Check::Tokens { tokens, known: Arc::default() } }
    }
}

impl Check {
    async fn peer(&self, headers: &HeaderMap) -> Result<Peer, Status> {
        let (tokens, known) = match self {
            Self::Local => return Ok(Peer::Local),
            Self::Tokens { tokens, known } => (tokens, known),
        };
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Status::unauthenticated("`authorization: Bearer gw-join-…` is expected"))?;
        let digest = sha256_digest(token);
        match tokens.verify(token).await {
            Ok(group) => {
                let mut known = known.lock();
                if known.len() < REMEMBERED || known.contains_key(&digest) {
                    known.insert(digest, group.clone());
                }
                Ok(Peer::Joined { group })
            }
            // Nodes that were let in before come back while the database is away.
            Err(JoinRefusal::Unavailable(error)) => match known.lock().get(&digest).cloned() {
                Some(group) => Ok(Peer::Joined { group }),
                None => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a join token cannot be checked");
                    Err(Status::unavailable("join tokens cannot be checked now"))
                }
            },
            Err(refusal) => {
                known.lock().remove(&digest);
                Err(Status::unauthenticated(refusal.to_string()))
            }
        }
    }
}

impl<S> Layer<S> for PeerLayer {
    type Service = PeerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PeerService { inner, check: self.check.clone() }
    }
}

/// A service behind a [`PeerLayer`].
#[derive(Clone)]
pub struct PeerService<S> {
    inner: S,
    check: Check,
}

impl<S, B> Service<Request<B>> for PeerService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone that is kept for the next call; the one that said it was ready takes this one.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let check = self.check.clone();
        Box::pin(async move {
            match check.peer(request.headers()).await {
                Ok(peer) => {
                    request.extensions_mut().insert(peer);
                    ready.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
