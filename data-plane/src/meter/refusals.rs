//! One record for many equal refusals: a client in a loop must not fill the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::catalog::FaultKind;
use shared::kernel::ids::VirtualKeyId;
use shared::usage::UsageRecord;

use super::sink::UsageSink;

/// For how long equal refusals are collapsed.
const WINDOW: Duration = Duration::from_secs(1);
/// Distinct refusals remembered; more of them are recorded one by one.
const MOST: usize = 10_000;

/// What makes refusals equal.
type Likeness = (Option<VirtualKeyId>, &'static str, Option<FaultKind>, u16);

/// Collapses refusals: the first of its kind is recorded at once, the next ones as one record with their count.
pub(crate) struct Refusals {
    sink: Arc<dyn UsageSink>,
    windows: Mutex<HashMap<Likeness, Storm>>,
}

struct Storm {
    since: Instant,
    /// The latest, standing for all after the first.
    latest: Option<UsageRecord>,
    count: u64,
}

impl Refusals {
    pub(crate) fn new(sink: Arc<dyn UsageSink>) -> Self {
        Self { sink, windows: Mutex::default() }
    }

    /// Records a refusal, now or with others.
    pub(crate) fn add(&self, endpoint: &'static str, record: UsageRecord) {
        let likeness = (record.key, endpoint, record.fault, record.status);
        let mut windows = self.windows.lock();
        if let Some(storm) = windows.get_mut(&likeness).filter(|storm| storm.since.elapsed() < WINDOW) {
            storm.latest = Some(record);
            storm.count += 1;
            return;
        }
        if windows.len() < MOST {
            let ended = windows.insert(likeness, Storm { since: Instant::now(), latest: None, count: 0 });
            if let Some(storm) = ended {
                self.end(storm);
            }
        }
        drop(windows);
        self.submit(&record);
    }

    /// Records what was collapsed in windows that are over, or in all of them at the end; to be called each second.
    pub(crate) fn flush(&self, everything: bool) {
        let mut windows = self.windows.lock();
        windows.retain(|_, storm| {
            let over = everything || storm.since.elapsed() >= WINDOW;
            if over {
                let ended = Storm { since: storm.since, latest: storm.latest.take(), count: storm.count };
                self.end(ended);
            }
            !over
        });
    }

    fn end(&self, storm: Storm) {
        if let Some(mut record) = storm.latest {
            record.count = storm.count;
            self.submit(&record);
        }
    }

    fn submit(&self, record: &UsageRecord) {
        // What cannot be written now is kept.
        if self.sink.submit(record).map(|ticket| self.sink.commit(ticket)).is_err() {
            tracing::warn!("a refusal was not recorded: the backlog of usage records is full");
        }
    }
}
