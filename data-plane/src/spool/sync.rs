//! The thread that calls fsync, so that no call waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::journal::Journal;

/// How long entries gather before an fsync; with the fsync itself it is to stay below 100 ms.
const GATHER: Duration = Duration::from_millis(50);
/// How often a spool that could not be written is tried.
const RETRY: Duration = Duration::from_millis(250);
/// How often gauges are set when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// Wakes the thread; ringing twice costs no more than once.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    rung: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When the first entry was written that fsync has not seen.
    since: Option<Instant>,
    stop: bool,
}

impl Doorbell {
    /// Something was written.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.state.lock().since.get_or_insert_with(Instant::now);
            self.changed.notify_one();
        }
    }

    /// How long the first entry that fsync has not seen has been waiting.
    pub(super) fn age(&self) -> Duration {
        self.state.lock().since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }

    /// Waits until entries have gathered, or for a while; tells whether there are any, and whether it is over.
    fn wait(&self, idle: Duration) -> (bool, bool) {
        let mut state = self.state.lock();
        if state.since.is_none() && !state.stop {
            self.changed.wait_for(&mut state, idle);
        }
        if let Some(since) = state.since
            && !state.stop
        {
            self.changed.wait_while_for(&mut state, |state| !state.stop, GATHER.saturating_sub(since.elapsed()));
        }
        (state.since.is_some(), state.stop)
    }

    /// What is written from now on rings again.
    fn answer(&self) {
        self.rung.store(false, Ordering::Release);
    }

    fn settled(&self) {
        let mut state = self.state.lock();
        // Rung again while fsync ran: that entry has waited since then at most.
        state.since = self.rung.load(Ordering::Acquire).then(Instant::now);
    }
}

/// The thread; when this is dropped, it syncs once more and ends.
#[derive(Debug)]
pub(super) struct Syncer {
    journal: Arc<Journal>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(journal: Arc<Journal>) -> io::Result<Self> {
        let its = Arc::clone(&journal);
        let thread = Builder::new().name("spool-sync".to_owned()).spawn(move || run(&its))?;
        Ok(Self { journal, thread: Some(thread) })
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.journal.doorbell.stop();
        // It has no more to tell; a panic in it has been reported by its own hook.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn run(journal: &Journal) {
    loop {
        let broken = journal.is_broken();
        let (written, over) = journal.doorbell.wait(if broken { RETRY } else { IDLE });
        if broken {
            journal.retry();
        }
        if written {
            journal.measure();
            journal.doorbell.answer();
            journal.sync();
            journal.doorbell.settled();
        }
        journal.measure();
        if over {
            return;
        }
    }
}
