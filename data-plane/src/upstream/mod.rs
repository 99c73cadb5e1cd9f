//! The network side of a provider: connections, what goes out, what comes back.
//!
//! | file | holds |
//! |---|---|
//! | [`client`] | the small trait that anything which answers must have, and the answer's shape |
//! | [`pool`] | connections to upstreams, kept and reused |
//! | [`connector`] | how one is opened: straight, or through a proxy |
//! | [`proxy`], [`no_proxy`] | the variables that name proxies, and the places that need none |
//! | [`connection`] | one HTTP/1 connection, driven by whoever waits for its answer |
//! | [`body`] | an answer's bytes: all that is ready leaves as one piece |
//! | [`outgoing`], [`form`] | what is sent: pieces of memory or of a file |
//! | [`egress`] | which addresses may never be called |
//! | [`send`] | what an upstream is told beside the body, and what of its answer may be told |
//! | [`local`] | the upstream of kind `mock`: answers without a network |
//!
//! Invariants: redirects are never followed; what may not be called is not asked of a proxy either; a caller's header
//! reaches an upstream only if [`send`] names it; letting go of an answer cancels it at once.

pub(crate) mod body;
pub(crate) mod client;
mod connection;
mod connector;
pub(crate) mod egress;
pub(crate) mod form;
pub(crate) mod local;
mod no_proxy;
pub(crate) mod outgoing;
pub(crate) mod pool;
pub(crate) mod proxy;
pub(crate) mod send;

pub(crate) use body::AnswerBody;
pub(crate) use client::{Client, SendError};
