//! What a public port does to every request before the service sees it, and to every answer after.
//!
//! Three things that depend on where the gateway stands and not on what it serves: the path it is reached under
//! ([`PathPrefix`]), the proxies whose word about the client counts ([`TrustedProxies`]), and the web pages that may call
//! it ([`Cors`]). They sit in the listener, so that every surface has them and none can forget them.

mod cors;
mod prefix;
mod proxies;

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderValue};
use http::{StatusCode, request};

pub use cors::{BadOrigin, Cors, Origin};
pub use prefix::{BadPrefix, PathPrefix};
pub use proxies::TrustedProxies;

/// Who asks, as far as trusted proxies tell: for logs, audit and limits. In the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// Where a public port stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// Below which path everything is served.
    pub prefix: PathPrefix,
    /// Whose `X-Forwarded-For` counts.
    pub proxies: TrustedProxies,
    /// Which web pages may call.
    pub cors: Cors,
}

/// A request that the service does not see.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Message and code of a refusal; nothing for an answer without a body.
    pub(super) refusal: Option<(&'static str, &'static str)>,
}

/// What the answer to a request needs to be told.
#[derive(Debug)]
pub(super) struct Visit {
    headers: HeaderMap,
}

impl Edge {
    /// Looks at a request: takes the prefix off, tells the client's address, and answers what browsers ask beforehand.
    pub(super) fn enter(&self, parts: &mut request::Parts, peer: IpAddr) -> Result<Visit, Box<Turned>> {
        parts.extensions.insert(ClientAddr(self.proxies.client(peer, &parts.headers)));
        match self.prefix.strip(&parts.uri) {
            Ok(None) => {}
            Ok(Some(below)) => parts.uri = below,
            Err(()) => {
                let refusal = Some(("Not Found", "not_found"));
                return Err(Box::new(Turned { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), refusal }));
            }
        }
        self.cors.enter(parts).map(|headers| Visit { headers })
    }
}

impl Visit {
    /// Completes the head of an answer.
    pub(super) fn leave(self, answer: &mut HeaderMap) {
        for (name, value) in &self.headers {
            // Others may vary by something of their own.
            if name == http::header::VARY {
                answer.append(name, value.clone());
            } else {
                answer.insert(name, value.clone());
            }
        }
    }
}

/// A header value that is known to be right.
const fn fixed(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

#[cfg(test)]
mod tests;
