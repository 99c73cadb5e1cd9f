//! The end of the spool that writes: one file at a time, one write for everything that waits.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::kernel::ids::{BootId, CallId};
use shared::kernel::quick_map::QuickMap;

use super::entry::Entry;
use super::segment::Segment;

/// A buffer that has grown beyond this is not kept.
const SPARE: usize = 1 << 20;

/// A call that has begun and not ended.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its open entry is in this segment or in a later one.
    pub(super) segment: u64,
    /// Bytes promised to its end.
    pub(super) reserve: u64,
    /// The record of its open entry, in case its segment is to be deleted.
    pub(super) opening: Box<[u8]>,
}

/// What waits to be written, and the calls that are open.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    /// Entries pushed so far.
    ticket: u64,
    /// Records pushed so far.
    ordinal: u64,
    pub(super) slots: QuickMap<CallId, Slot>,
}

impl Queue {
    /// Appends an entry; returns its ticket and its size.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> (u64, u64) {
        let before = self.bytes.len();
        entry.append(&mut self.bytes);
        self.ticket += 1;
        (self.ticket, (self.bytes.len() - before) as u64)
    }

    /// Appends a record under the next number.
    pub(super) fn push_record(&mut self, record: &[u8]) -> (u64, u64) {
        self.ordinal += 1;
        self.push(Entry::Close { ordinal: self.ordinal, record })
    }

    /// Appends the open entries of old segments anew.
    pub(super) fn move_on(&mut self, up_to: u64, active: u64) -> (u64, u64) {
        let before = self.bytes.len();
        for slot in self.slots.values_mut().filter(|slot| slot.segment <= up_to) {
            Entry::Open(&slot.opening).append(&mut self.bytes);
            slot.segment = active;
            self.ticket += 1;
        }
        (self.ticket, (self.bytes.len() - before) as u64)
    }
}

/// The file being written and those before it.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    boot: BootId,
    segment_bytes: u64,
    /// Oldest first; the last is being written.
    pub(super) segments: VecDeque<Segment>,
    file: Arc<File>,
    /// Finished files that fsync has not seen.
    unsynced: Vec<Arc<File>>,
    /// Whether files have come or gone since the directory was synced.
    dir_changed: bool,
    /// Taken from the queue and not written in full yet; kept over failures.
    batch: Vec<u8>,
    /// How much of it is written.
    sent: usize,
    batch_ticket: u64,
    batch_ordinal: u64,
    /// Every entry up to this ticket is with the kernel.
    written: u64,
    /// How far each boot is acknowledged.
    pub(super) acknowledged: HashMap<BootId, u64>,
}

/// What fsync is to look at.
pub(super) struct Unsynced {
    pub(super) files: Vec<Arc<File>>,
    pub(super) dir: Option<PathBuf>,
}

impl Writer {
    pub(super) fn start(
        dir: PathBuf,
        boot: BootId,
        segment_bytes: u64,
        mut segments: VecDeque<Segment>,
        acknowledged: HashMap<BootId, u64>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let index = segments.back().map_or(0, |last| last.index + 1);
        let first = Segment::fresh(&dir, index, boot, 0);
        let file = first.create().map_err(|error| (first.path.clone(), error))?;
        segments.push_back(first);
        Ok(Self {
            dir,
            boot,
            segment_bytes,
            segments,
            file: Arc::new(file),
            unsynced: Vec::new(),
            dir_changed: true,
            batch: Vec::new(),
            sent: 0,
            batch_ticket: 0,
            batch_ordinal: 0,
            written: 0,
            acknowledged,
        })
    }

    /// The index of the segment being written.
    pub(super) fn active(&self) -> u64 {
        self.segments.back().map_or(0, |last| last.index)
    }

    /// The last ticket whose entry is with the kernel.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// How much of a segment can be read: frames of a write that was cut short cannot, before it is completed.
    pub(super) fn readable(&self, segment: &Segment) -> u64 {
        if segment.index == self.active() { segment.bytes - self.sent as u64 } else { segment.bytes }
    }

    /// Whether everything taken from the queue has been written.
    pub(super) const fn is_clean(&self) -> bool {
        self.batch.is_empty()
    }

    /// Writes until the entry of this ticket is with the kernel. What cannot be written is kept for the next try.
    pub(super) fn flush(&mut self, queue: &Mutex<Queue>, ticket: u64) -> io::Result<()> {
        while self.written < ticket {
            if self.batch.is_empty() {
                let mut queue = queue.lock();
                if queue.bytes.is_empty() {
                    return Ok(());
                }
                std::mem::swap(&mut queue.bytes, &mut self.batch);
                (self.batch_ticket, self.batch_ordinal) = (queue.ticket, queue.ordinal);
            }
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> io::Result<()> {
        if self.sent == 0 && self.segments.back().is_some_and(|active| active.bytes >= self.segment_bytes) {
            self.rotate()?;
        }
        while let Some(rest) = self.batch.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match (&*self.file).write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    if let Some(active) = self.segments.back_mut() {
                        active.bytes += count as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(active) = self.segments.back_mut() {
            active.last_ordinal = self.batch_ordinal;
        }
        self.written = self.batch_ticket;
        self.sent = 0;
        self.batch.clear();
        if self.batch.capacity() > SPARE {
            self.batch = Vec::new();
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let last_ordinal = self.segments.back().map_or(0, |active| active.last_ordinal);
        let next = Segment::fresh(&self.dir, self.active() + 1, self.boot, last_ordinal);
        let file = Arc::new(next.create()?);
        self.unsynced.push(std::mem::replace(&mut self.file, file));
        self.segments.push_back(next);
        self.dir_changed = true;
        Ok(())
    }

    /// The oldest segment, if everything in it is acknowledged and nothing more will be written to it.
    pub(super) fn first_done(&self) -> Option<&Segment> {
        let first = self.segments.front().filter(|_| self.segments.len() > 1)?;
        let acknowledged = self.acknowledged.get(&first.boot).copied().unwrap_or(0);
        (first.last_ordinal <= acknowledged).then_some(first)
    }

    /// Forgets the oldest segment, whose file is gone.
    pub(super) fn forget_first(&mut self) {
        if let Some(gone) = self.segments.pop_front()
            && self.segments.iter().all(|segment| segment.boot != gone.boot)
        {
            self.acknowledged.remove(&gone.boot);
        }
        self.dir_changed = true;
    }

    /// What fsync is to look at now.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        let mut files = std::mem::take(&mut self.unsynced);
        files.push(Arc::clone(&self.file));
        Unsynced { files, dir: std::mem::take(&mut self.dir_changed).then(|| self.dir.clone()) }
    }

    /// Writes go to another file from now on.
    #[cfg(test)]
    pub(super) fn divert(&mut self, file: File) -> Arc<File> {
        std::mem::replace(&mut self.file, Arc::new(file))
    }

    /// Writes go to the right file again.
    #[cfg(test)]
    pub(super) fn restore(&mut self, file: Arc<File>) {
        self.file = file;
    }
}
