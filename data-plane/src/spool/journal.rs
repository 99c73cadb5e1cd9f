//! The middle of the spool: calls begin and end, records are acknowledged, segments go.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prost::Message;
use shared::kernel::ids::{BootId, CallId};
use shared::proto;
use shared::usage::UsageRecord;
use tokio::sync::Notify;

use super::entry::{self, Entry};
use super::meters::Meters;
use super::recover::Found;
use super::room::{Room, reserve_for};
use super::sync::Doorbell;
use super::writer::{Queue, Slot, Writer};
use super::{NoRoom, OnFull, SpoolError, SpoolOptions};

/// How long a segment becomes.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A small spool has shorter ones, so that what is acknowledged makes room.
const SEGMENTS: u64 = 8;
/// The frame and the head of an entry.
const OVERHEAD: u64 = 32;

/// Shared by whoever writes, reads and syncs. Locks: the writer's before the queue's.
#[derive(Debug)]
pub(super) struct Journal {
    on_full: OnFull,
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
    room: Room,
    /// Index of the segment being written, or of one before it.
    active: AtomicU64,
    /// Every entry up to this ticket is with the kernel; known without the writer's lock.
    written: AtomicU64,
    unacknowledged: AtomicU64,
    pub(super) arrivals: Arc<Notify>,
    pub(super) doorbell: Doorbell,
    pub(super) meters: Meters,
}

/// A segment, as far as it can be read.
pub(super) struct View {
    pub(super) index: u64,
    pub(super) boot: BootId,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Whether more may be written to it.
    pub(super) active: bool,
    /// How far its boot is acknowledged.
    pub(super) acknowledged: u64,
}

impl Journal {
    pub(super) fn start(dir: &Path, options: SpoolOptions, found: Found) -> Result<Self, SpoolError> {
        let SpoolOptions { max_bytes, on_full, boot } = options;
        let used = found.segments.iter().map(|segment| segment.bytes).sum();
        let segment_bytes = (max_bytes / SEGMENTS).clamp(1, SEGMENT_BYTES);
        let writer = Writer::start(dir.to_owned(), boot, segment_bytes, found.segments.into(), found.acknowledged)
            .map_err(|(path, source)| SpoolError::Io { doing: "create", path, source })?;
        Ok(Self {
            on_full,
            queue: Mutex::default(),
            room: Room::new(max_bytes, used),
            active: AtomicU64::new(writer.active()),
            written: AtomicU64::new(0),
            writer: Mutex::new(writer),
            unacknowledged: AtomicU64::new(found.unacknowledged),
            arrivals: Arc::default(),
            doorbell: Doorbell::default(),
            meters: Meters::new(),
        })
    }

    pub(super) fn has_room(&self) -> bool {
        self.on_full == OnFull::DropAndCount || self.room.fits_a_call()
    }

    pub(super) fn begin(&self, opening: &UsageRecord) -> Result<u64, NoRoom> {
        let call = opening.id;
        let bytes = entry::encode(opening);
        let size = bytes.len() as u64 + OVERHEAD;
        let reserve = reserve_for(size);
        if !self.room.fits(size + reserve) {
            return match self.on_full {
                OnFull::Refuse => Err(NoRoom),
                OnFull::DropAndCount => Ok(0),
            };
        }
        self.room.promise(reserve);
        let mut queue = self.queue.lock();
        let ticket = self.counted(queue.push(Entry::Open(&bytes)));
        let segment = self.active.load(Ordering::Relaxed);
        queue.slots.insert(call, Slot { segment, reserve, opening: bytes.into_boxed_slice() });
        Ok(ticket)
    }

    /// Makes everything up to a ticket durable.
    pub(super) fn commit(&self, ticket: u64) -> Result<(), NoRoom> {
        match self.write(ticket) {
            Err(_) if self.on_full == OnFull::Refuse => Err(NoRoom),
            _ => Ok(()),
        }
    }

    /// Takes the beginning of a call back: its entry may have been written, or may yet be, so another one follows it.
    pub(super) fn withdraw(&self, call: CallId) {
        let mut queue = self.queue.lock();
        if let Some(slot) = queue.slots.remove(&call) {
            self.room.keep_promise(slot.reserve);
            self.counted(queue.push(Entry::Void(call)));
        }
    }

    /// Replaces what is known of an open call.
    pub(super) fn revise(&self, record: &UsageRecord) {
        let call = record.id;
        let bytes = entry::encode(record);
        let mut queue = self.queue.lock();
        let Some(slot) = queue.slots.get_mut(&call) else { return };
        slot.opening = bytes.clone().into_boxed_slice();
        slot.segment = self.active.load(Ordering::Relaxed);
        let ticket = self.counted(queue.push(Entry::Open(&bytes)));
        drop(queue);
        // A failure is counted and logged, and the entry is kept.
        let _kept = self.write(ticket);
    }

    pub(super) fn submit(&self, record: &UsageRecord) -> Result<u64, NoRoom> {
        let (call, count) = (record.id, record.count.max(1));
        let bytes = entry::encode(record);
        let mut queue = self.queue.lock();
        match queue.slots.remove(&call) {
            Some(slot) => self.room.keep_promise(slot.reserve),
            None if self.room.fits(bytes.len() as u64 + OVERHEAD) => {}
            None => {
                self.meters.dropped.increment(count);
                return Err(NoRoom);
            }
        }
        let ticket = self.counted(queue.push_record(&bytes));
        drop(queue);
        self.unacknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(ticket)
    }

    /// Ends a call of an earlier start; there is room for it by its reservation then.
    pub(super) fn close_recovered(&self, record: &proto::UsageRecord) {
        let ticket = self.counted(self.queue.lock().push_record(&record.encode_to_vec()));
        self.unacknowledged.fetch_add(1, Ordering::Relaxed);
        // A failure is counted and logged, and the record is kept.
        let _kept = self.write(ticket);
    }

    /// Before segments of earlier starts can go, what stands in for their open entries is to be on the disk.
    pub(super) fn settle_recovery(&self) {
        self.sync();
        self.release(&mut self.writer.lock());
    }

    fn counted(&self, (ticket, bytes): (u64, u64)) -> u64 {
        self.room.use_up(bytes);
        ticket
    }

    /// Writes all that waits, unless everything up to the ticket has been written.
    fn write(&self, ticket: u64) -> io::Result<()> {
        if self.written.load(Ordering::Acquire) >= ticket {
            return Ok(());
        }
        self.flush(&mut self.writer.lock(), ticket)
    }

    /// Writes what is left over from a failure.
    pub(super) fn retry(&self) {
        let _kept = self.write(u64::MAX);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.room.is_broken()
    }

    fn flush(&self, writer: &mut Writer, ticket: u64) -> io::Result<()> {
        let done = writer.flush(&self.queue, ticket);
        self.active.store(writer.active(), Ordering::Relaxed);
        self.written.store(writer.written(), Ordering::Release);
        match &done {
            Ok(()) => {
                self.arrivals.notify_one();
                if self.room.is_broken() && self.room.set_broken(false) {
                    tracing::info!("the usage spool can be written again");
                }
                self.doorbell.ring();
            }
            Err(error) => {
                self.meters.write_errors.increment(1);
                if self.room.set_broken(true) {
                    tracing::error!(error = error as &dyn std::error::Error, "the usage spool cannot be written");
                }
            }
        }
        done
    }

    /// Notes what the control plane has, and deletes the segments that are not needed any more.
    pub(super) fn acknowledge(&self, boot: BootId, seq: u64, records: u64) {
        let mut writer = self.writer.lock();
        let known = writer.acknowledged.entry(boot).or_default();
        if *known >= seq {
            return;
        }
        *known = seq;
        let left = self.unacknowledged.load(Ordering::Relaxed).min(records);
        self.unacknowledged.fetch_sub(left, Ordering::Relaxed);
        let ticket = self.counted(self.queue.lock().push(Entry::Acknowledged { boot, seq }));
        let _kept = self.flush(&mut writer, ticket);
        self.release(&mut writer);
        drop(writer);
        self.measure();
    }

    fn release(&self, writer: &mut Writer) {
        while writer.is_clean()
            && let Some(first) = writer.first_done().cloned()
        {
            let moved = self.queue.lock().move_on(first.index, writer.active());
            let ticket = self.counted(moved);
            if moved.1 > 0 && self.flush(writer, ticket).is_err() {
                return;
            }
            if let Err(error) = first.remove() {
                self.meters.delete_errors.increment(1);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    path = %first.path.display(),
                    "a segment of the usage spool cannot be deleted"
                );
                return;
            }
            self.room.give_back(first.bytes);
            writer.forget_first();
        }
    }

    pub(super) fn unacknowledged(&self) -> u64 {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// The first segment at or after an index.
    pub(super) fn view(&self, from: u64) -> Option<View> {
        let writer = self.writer.lock();
        let segment = writer.segments.iter().find(|segment| segment.index >= from)?;
        Some(View {
            index: segment.index,
            boot: segment.boot,
            path: segment.path.clone(),
            bytes: writer.readable(segment),
            active: segment.index == writer.active(),
            acknowledged: writer.acknowledged.get(&segment.boot).copied().unwrap_or(0),
        })
    }

    /// Calls fsync on whatever was written since the last time.
    pub(super) fn sync(&self) {
        let unsynced = self.writer.lock().take_unsynced();
        let began = Instant::now();
        let dir = unsynced.dir.iter().map(|dir| std::fs::File::open(dir).and_then(|dir| dir.sync_all()));
        for done in unsynced.files.iter().map(|file| file.sync_data()).chain(dir) {
            if let Err(error) = done {
                self.meters.sync_errors.increment(1);
                tracing::error!(error = &error as &dyn std::error::Error, "fsync of the usage spool failed");
            }
        }
        self.meters.fsync.record(began.elapsed());
    }

    /// Tells the gauges how things stand.
    pub(super) fn measure(&self) {
        self.meters.level(self.room.used(), self.unacknowledged());
        self.meters.unsynced.set(self.doorbell.age().as_secs_f64());
    }

    #[cfg(test)]
    pub(super) fn writer(&self) -> parking_lot::MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.room.used()
    }
}
