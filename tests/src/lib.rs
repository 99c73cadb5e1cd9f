//! The harness of the system tests: real processes, a real Postgres, a scripted upstream, plain clients.
//!
//! A test reads like a sentence: start a [`gateway::Gateway`], put a [`upstream::Upstream`] behind it with a
//! [`stage::Stage`], speak to it with a [`client::Client`], look at what came back and at what the upstream saw.
//! Nothing here knows the inside of the product: only its commands, its ports, its protocol and its database's address.
//! The one exception is the [`simulator`], which runs the data plane's own way to its catalog many times in this process.
//!
//! A failing step panics with what it saw; that is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

pub mod admin;
pub mod balancer;
pub mod by_hand;
pub mod client;
pub mod collector;
pub mod fault;
pub mod gateway;
pub mod paths;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod runtime;
pub mod sdk;
pub mod simulator;
pub mod skip;
pub mod stage;
pub mod tls;
pub mod upstream;

pub use runtime::run;

use std::sync::atomic::{AtomicU64, Ordering};

/// A name nobody else in this run uses, so that tests can share one gateway.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks again every 20 ms until `look` finds something; panics with `what` when `within` has passed.
pub async fn eventually<T, F>(what: &str, within: std::time::Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = std::time::Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
