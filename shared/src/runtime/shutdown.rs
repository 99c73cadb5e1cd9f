//! The end of a process, phase by phase, so that nothing that was accepted is lost.
//!
//! 1. *draining*: readiness fails at once; listeners stay open for `min_drain`, because balancers learn late.
//! 2. *closing*: listeners close; connections end after the answer they are on.
//! 3. *expired*: after `drain_timeout` whoever still answers ends with an error; soon after, connections are cut.
//! 4. *stopping*: traffic is over; background tasks write out what they hold and return.
//!
//! A second signal skips the waiting of 1 and 2.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::readiness::Readiness;

/// How long answers have, after `drain_timeout`, to end with an error of their own.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long each phase may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTiming {
    /// How long listeners stay open after readiness failed.
    pub min_drain: Duration,
    /// How long work in flight may take after listeners closed.
    pub drain_timeout: Duration,
    /// How long background tasks may take to write out what they hold.
    pub flush_timeout: Duration,
}

impl Default for DrainTiming {
    fn default() -> Self {
        Self {
            min_drain: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(60),
            flush_timeout: Duration::from_secs(10),
        }
    }
}

/// The phases of one process and who has to finish in them. Clones share them.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readiness: Readiness,
    timing: DrainTiming,
    draining: CancellationToken,
    closing: CancellationToken,
    expired: CancellationToken,
    cut: CancellationToken,
    stopping: CancellationToken,
    hurry: CancellationToken,
    connections: TaskTracker,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A process that runs until [`Shutdown::begin`].
    #[must_use]
    pub fn new(readiness: Readiness, timing: DrainTiming) -> Self {
        let inner = Inner {
            readiness,
            timing,
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            expired: CancellationToken::new(),
            cut: CancellationToken::new(),
            stopping: CancellationToken::new(),
            hurry: CancellationToken::new(),
            connections: TaskTracker::new(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What must hold before the process takes traffic.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.inner.readiness
    }

    /// Begins the end; again: skips the waiting.
    pub fn begin(&self) {
        if self.inner.draining.is_cancelled() {
            self.inner.hurry.cancel();
        }
        self.inner.readiness.start_draining();
        self.inner.draining.cancel();
    }

    /// Lets SIGTERM and SIGINT begin the end.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "shutting down");
                shutdown.begin();
            }
        });
        Ok(())
    }

    /// Starts a background task that returns soon after [`Shutdown::stopping`]. Its panic is logged, not spread.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = tokio::spawn(task);
        self.inner.tasks.spawn(async move {
            if let Err(error) = running.await
                && error.is_panic()
            {
                tracing::error!(task = name, "a background task panicked");
            }
        })
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// Whether phase 4 has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// Phase 1 has begun.
    pub async fn draining(&self) {
        self.inner.draining.cancelled().await;
    }

    /// Phase 2 has begun: take nothing new.
    pub async fn closing(&self) {
        self.inner.closing.cancelled().await;
    }

    /// Phase 3 has begun: end what is still being answered.
    pub async fn expired(&self) {
        self.inner.expired.cancelled().await;
    }

    /// Phase 4 has begun: write out and return.
    pub async fn stopping(&self) {
        self.inner.stopping.cancelled().await;
    }

    /// The same as [`Shutdown::expired`], as a token for use in `poll` functions.
    #[must_use]
    pub fn expiry(&self) -> CancellationToken {
        self.inner.expired.clone()
    }

    /// Connections are cut now.
    pub(super) async fn cut(&self) {
        self.inner.cut.cancelled().await;
    }

    /// Counts work that outlives its connection, such as what is settled after an answer's last byte: while a token
    /// of it is held, the process is not stopping.
    #[must_use]
    pub fn in_flight(&self) -> TaskTracker {
        self.inner.connections.clone()
    }

    /// Counts a connection until the token is dropped.
    pub(super) fn connection(&self) -> TaskTrackerToken {
        self.inner.connections.token()
    }

    /// Waits for the beginning of the end, goes through its phases, and returns when the process may exit.
    pub async fn finished(&self) {
        let Inner { timing, draining, closing, expired, cut, stopping, hurry, connections, tasks, .. } = &*self.inner;
        draining.cancelled().await;
        tokio::select! {
            () = sleep(timing.min_drain) => {}
            () = hurry.cancelled() => {}
        }
        closing.cancel();
        connections.close();
        let in_time = tokio::select! {
            () = connections.wait() => true,
            () = sleep(timing.drain_timeout) => false,
            () = hurry.cancelled() => false,
        };
        expired.cancel();
        if !in_time {
            tracing::warn!(connections = connections.len(), "drain timeout: open answers end with an error");
            let _ = timeout(LAST_WORDS, connections.wait()).await;
        }
        cut.cancel();
        stopping.cancel();
        tasks.close();
        if timeout(timing.flush_timeout, tasks.wait()).await.is_err() {
            tracing::error!(tasks = tasks.len(), "background tasks did not finish in time");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn quick() -> DrainTiming {
        let millis = Duration::from_millis;
        DrainTiming { min_drain: millis(100), drain_timeout: millis(300), flush_timeout: millis(500) }
    }

    #[tokio::test]
    async fn phases_follow_each_other() {
        let shutdown = Shutdown::new(Readiness::new(), quick());
        let flushed = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (task, done) = (shutdown.clone(), Arc::clone(&flushed));
        shutdown.spawn("flush", async move {
            task.stopping().await;
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        shutdown.spawn("broken", async { assert!(shutdown_is_broken()) });
        let connection = shutdown.connection();
        let (listener, stream) = (shutdown.clone(), shutdown.clone());
        let begin = tokio::time::Instant::now();
        let closing_at = tokio::spawn(async move {
            listener.closing().await;
            begin.elapsed()
        });
        let expired_at = tokio::spawn(async move {
            stream.expired().await;
            drop(connection);
            begin.elapsed()
        });
        shutdown.begin();
        assert_eq!(shutdown.inner.readiness.unmet(), ["draining"]);
        shutdown.finished().await;
        let (closing_at, expired_at) = (closing_at.await.unwrap(), expired_at.await.unwrap());
        assert!(closing_at >= quick().min_drain, "{closing_at:?}");
        assert!(expired_at >= quick().min_drain + quick().drain_timeout, "{expired_at:?}");
        assert!(flushed.load(std::sync::atomic::Ordering::SeqCst));
    }

    fn shutdown_is_broken() -> bool {
        false
    }

    #[tokio::test]
    async fn a_second_signal_skips_the_waiting() {
        let shutdown = Shutdown::new(Readiness::new(), DrainTiming::default());
        let _connection = shutdown.connection();
        shutdown.begin();
        shutdown.begin();
        let begin = tokio::time::Instant::now();
        shutdown.finished().await;
        assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    }
}
