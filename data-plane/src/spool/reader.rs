//! The end of the spool that reads: batches for the link, from the files, so that a long outage costs no memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use shared::kernel::ids::BootId;
use tokio::sync::Notify;

use super::entry::Entry;
use super::frame::Frames;
use super::journal::{Journal, View};
use super::source::{Batch, RecordSource};

/// Hands out the records of a spool.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    journal: Arc<Journal>,
    /// The segment being read, and how much of it has been loaded.
    index: u64,
    offset: u64,
    loaded: Option<Loaded>,
    /// Batches handed out and not acknowledged: boot, number, size.
    in_flight: VecDeque<(BootId, u64, u64)>,
}

/// A piece of a segment.
#[derive(Debug)]
struct Loaded {
    boot: BootId,
    acknowledged: u64,
    bytes: Bytes,
    at: usize,
}

impl Loaded {
    /// The next record and its number.
    fn next(&mut self) -> Option<(u64, Bytes)> {
        let rest = self.bytes.get(self.at..)?;
        let mut frames = Frames::new(rest);
        let found = frames.by_ref().find_map(|body| match Entry::read(body)? {
            Entry::Close { ordinal, record } if ordinal > self.acknowledged => {
                Some((ordinal, self.bytes.slice_ref(record)))
            }
            _ => None,
        });
        self.at += if found.is_some() { frames.end() } else { rest.len() };
        found
    }
}

impl SpoolReader {
    pub(super) const fn new(journal: Arc<Journal>) -> Self {
        Self { journal, index: 0, offset: 0, loaded: None, in_flight: VecDeque::new() }
    }

    /// Loads what has not been read of the next segment that has any; tells its boot. A batch that has begun does not run
    /// after records that are being written: they would come one by one.
    fn load(&mut self, begun: bool) -> Option<BootId> {
        if let Some(loaded) = self.loaded.take_if(|loaded| loaded.at < loaded.bytes.len()) {
            return Some(self.loaded.insert(loaded).boot);
        }
        loop {
            let view = self.journal.view(self.index)?;
            if view.index != self.index {
                (self.index, self.offset) = (view.index, 0);
            }
            if self.offset < view.bytes {
                if begun && view.active {
                    return None;
                }
                let bytes = self.read(&view)?;
                self.offset = view.bytes;
                let View { boot, acknowledged, .. } = view;
                return Some(self.loaded.insert(Loaded { boot, acknowledged, bytes, at: 0 }).boot);
            }
            if view.active {
                return None;
            }
            (self.index, self.offset) = (view.index + 1, 0);
        }
    }

    fn read(&self, view: &View) -> Option<Bytes> {
        let read = || -> io::Result<Bytes> {
            let length = usize::try_from(view.bytes - self.offset).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            File::open(&view.path)?.read_exact_at(&mut bytes, self.offset)?;
            Ok(bytes.into())
        };
        read()
            .inspect_err(|error| {
                self.journal.meters.read_errors.increment(1);
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    path = %view.path.display(),
                    "a segment of the usage spool cannot be read; its records wait"
                );
            })
            .ok()
    }
}

impl RecordSource for SpoolReader {
    fn next_batch(&mut self, most: usize) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        while batch.as_ref().is_none_or(|batch| batch.records.len() < most) {
            let Some(boot) = self.load(batch.is_some()) else { break };
            if batch.as_ref().is_some_and(|batch| batch.boot != boot) {
                break;
            }
            let Some((seq, record)) = self.loaded.as_mut().and_then(Loaded::next) else { continue };
            let batch = batch.get_or_insert_with(|| Batch { boot, seq, records: Vec::new() });
            batch.seq = seq;
            batch.records.push(record);
        }
        if let Some(batch) = &batch {
            self.in_flight.push_back((batch.boot, batch.seq, batch.records.len() as u64));
        }
        batch
    }

    fn acknowledge(&mut self, boot: BootId, seq: u64) {
        let mut records = 0;
        while let Some((_, _, size)) = self.in_flight.pop_front_if(|(of, number, _)| *of == boot && *number <= seq) {
            records += size;
        }
        self.journal.acknowledge(boot, seq, records);
    }

    fn rewind(&mut self) {
        (self.index, self.offset, self.loaded) = (0, 0, None);
        self.in_flight.clear();
    }

    fn backlog(&self) -> u64 {
        self.journal.unacknowledged()
    }

    fn arrivals(&self) -> Arc<Notify> {
        Arc::clone(&self.journal.arrivals)
    }
}
