//! Who is on the other side of a call: checked once for every service, before any of them sees the request.
//!
//! A node is who its certificate says. On loopback, and where an operator allows it, a join token does in its place.
//! Only [`Enrollment`](super::enrollment) is served to somebody who has neither.
//!
//! A call without a [`Peer`] is refused by each service as well, so that a service that is mounted without this layer
//! serves nobody.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::Utc;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request, Response};
use parking_lot::Mutex;
use shared::kernel::ids::NodeId;
use shared::kernel::virtual_key::sha256_digest;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::port::{NodeConnection, Way};
use super::{turned_away, untrue};
use crate::fleet::certificates::NodeCertificate;
use crate::fleet::{Enrolments, JoinRefusal, JoinTokens, Revocations};

/// How many callers are looked up at the same time: of the database's connections, most are for others.
const CHECKS: usize = 8;
/// How many tokens are remembered for the time when the database does not answer.
const REMEMBERED: usize = 1_000;
/// The Group of the plane in this process.
const LOCAL_GROUP: &str = "default";

/// The service that gives certificates to those who have none.
const ENROLLMENT: &str = "/gatewright.v1.Enrollment/";
/// How often a stream looks whether its node may still be there.
const LOOK: Duration = Duration::from_millis(250);

/// A node that showed a certificate.
#[derive(Debug, Clone)]
pub struct NodePeer {
    /// Which, and until when.
    pub certificate: NodeCertificate,
    revocations: Revocations,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Peer {
    /// The data plane in this process.
    Local,
    /// A node that showed a join token.
    Joined {
        /// The Group that the token is for.
        group: String,
    },
    /// A node that showed its certificate.
    Node(NodePeer),
}

impl Peer {
    /// The Group that it belongs to.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Local => LOCAL_GROUP,
            Self::Joined { group } => group,
            Self::Node(node) => &node.certificate.group,
        }
    }

    /// Whether it is the plane in this process.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }

    /// Refuses a node that speaks for another.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn speaks_for(&self, node: NodeId) -> Result<(), Status> {
        match self {
            Self::Node(peer) if peer.certificate.node != node => {
                untrue("sender");
                tracing::warn!(node = %peer.certificate.node, claimed = %node, "a node speaks in the name of another");
                Err(Status::permission_denied(format!(
                    "node_id is {node}, and the certificate is that of {}",
                    peer.certificate.node
                )))
            }
            _ => Ok(()),
        }
    }

    /// Waits until it may no longer be there: its certificate ended or was revoked while a stream was open.
    pub async fn out(&self) -> Status {
        let Self::Node(peer) = self else { return std::future::pending().await };
        let NodeCertificate { node, not_after, .. } = &peer.certificate;
        loop {
            if peer.revocations.contains(*node) {
                return Status::unauthenticated(format!("node {node} was revoked"));
            }
            if *not_after <= Utc::now() {
                return Status::unauthenticated(
                    "the certificate of this connection ended; connect again with its successor",
                );
            }
            sleep(LOOK).await;
        }
    }

    /// The peer of a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when nobody checked it.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Status::unauthenticated("a certificate or a join token is expected"))
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
    Fleet(Arc<Fleet>),
}

struct Fleet {
    tokens: JoinTokens,
    /// Tokens that were good, for the time when the database does not answer.
    known: Mutex<HashMap<[u8; 32], String>>,
    enrolments: Enrolments,
    revocations: Revocations,
    checks: Semaphore,
}

impl PeerLayer {
    /// For services that only this process can reach.
    #[must_use]
    pub const fn local() -> Self {
        Self { check: Check::Local }
    }

    /// For services on a port: a certificate of the fleet's authority, or on connections without TLS
    /// `authorization: Bearer gw-join-…`.
    #[must_use]
    pub fn fleet(enrolments: Enrolments, revocations: Revocations) -> Self {
        let tokens = enrolments.tokens();
        let (known, checks) = (Mutex::default(), Semaphore::new(CHECKS));
        Self { check: Check::Fleet(Arc::new(Fleet { tokens, known, enrolments, revocations, checks })) }
    }
}

impl Check {
    /// Nobody for enrolment: it looks at what it is shown itself.
    async fn peer(&self, path: &str, extensions: &Extensions, headers: &HeaderMap) -> Result<Option<Peer>, Status> {
        let fleet = match self {
            Self::Local => return Ok(Some(Peer::Local)),
            Self::Fleet(_) if path.starts_with(ENROLLMENT) => return Ok(None),
            Self::Fleet(fleet) => fleet,
        };
        let connection = extensions.get::<NodeConnection>();
        let peer = match connection.map(|connection| &connection.by) {
            Some(Way::Tls(Some(certificate))) => fleet.node(certificate).await?,
            Some(Way::Tls(None)) => return Err(Status::unauthenticated("a certificate of this fleet is expected")),
            Some(Way::Plain) | None => fleet.joined(headers).await?,
        };
        if let Some(connection) = connection {
            connection.stranger.is_met();
        }
        Ok(Some(peer))
    }
}

impl Fleet {
    /// Waits until it may ask the database.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.checks.acquire().await.map_err(|_| Status::unavailable("the control plane ends"))
    }

    async fn node(&self, certificate: &[u8]) -> Result<Peer, Status> {
        let certificate = self
            .enrolments
            .authority()
            .check(certificate)
            .map_err(|refusal| Status::unauthenticated(refusal.to_string()))?;
        let node = certificate.node;
        let _turn = self.turn().await?;
        if self.enrolments.is_shut_out(node, &self.revocations).await {
            return Err(Status::unauthenticated(format!("node {node} was revoked")));
        }
        Ok(Peer::Node(NodePeer { certificate, revocations: self.revocations.clone() }))
    }

    async fn joined(&self, headers: &HeaderMap) -> Result<Peer, Status> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Status::unauthenticated("`authorization: Bearer gw-join-…` is expected"))?;
        let digest = sha256_digest(token);
        let _turn = self.turn().await?;
        match self.tokens.verify(token).await {
            Ok(group) => {
                let mut known = self.known.lock();
                if known.len() < REMEMBERED || known.contains_key(&digest) {
                    known.insert(digest, group.clone());
                }
                Ok(Peer::Joined { group })
            }
            // Nodes that were let in before come back while the database is away.
            Err(JoinRefusal::Unavailable(error)) => match self.known.lock().get(&digest).cloned() {
                Some(group) => Ok(Peer::Joined { group }),
                None => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a join token cannot be checked");
                    Err(Status::unavailable("join tokens cannot be checked now"))
                }
            },
            Err(refusal) => {
                self.known.lock().remove(&digest);
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
            match check.peer(request.uri().path(), request.extensions(), request.headers()).await {
                Ok(peer) => {
                    if let Some(peer) = peer {
                        request.extensions_mut().insert(peer);
                    }
                    ready.call(request).await
                }
                Err(status) => {
                    turned_away(&status);
                    Ok(status.into_http())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use chrono::TimeDelta;
    use tokio::time::timeout;
    use tonic::Code;

    use super::*;

    fn peer(node: NodeId, lasts: TimeDelta) -> Peer {
        let certificate =
            NodeCertificate { node, group: "edge".into(), not_after: Utc::now() + lasts, key: Vec::new() };
        Peer::Node(NodePeer { certificate, revocations: Revocations::default() })
    }

    #[test]
    fn a_node_speaks_for_itself_alone() {
        let (node, other) = (NodeId::generate(), NodeId::generate());
        let peer = peer(node, TimeDelta::hours(1));
        assert_eq!((peer.group(), peer.is_local()), ("edge", false));
        assert!(peer.speaks_for(node).is_ok());
        assert_eq!(peer.speaks_for(other).unwrap_err().code(), Code::PermissionDenied);
        // A join token in place of a certificate names no node.
        assert!(Peer::Joined { group: "edge".into() }.speaks_for(other).is_ok());
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_certificate_that_opened_it() {
        let ended = peer(NodeId::generate(), TimeDelta::zero()).out().await;
        assert_eq!(ended.code(), Code::Unauthenticated);
        for stays in [peer(NodeId::generate(), TimeDelta::hours(1)), Peer::Local] {
            assert!(timeout(Duration::from_millis(20), stays.out()).await.is_err());
        }
    }
}
