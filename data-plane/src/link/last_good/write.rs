//! Writes the copy, on a thread of its own: changes within a second, revocations at once, bases whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::compact::compact;
use super::frame::{Cipher, HEADER};
use super::read::{End, Loaded, PREFIX, generations};
use super::{LastGoodOptions, Plain};

/// How long changes wait for others, so that a burst is one write.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// After a failure, how long until the next try; doubled each time, up to the second.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// Changes that cannot be written are held up to this; then there is a gap.
const MOST_HELD: usize = 64 * 1024 * 1024;
/// More changes than this make the next start slow.
const MOST_DELTAS: usize = 1_000;
/// Changes may always take this much before a new base is worth it.
const SMALL: u64 = 4 * 1024 * 1024;
/// How many generations are kept.
const GENERATIONS: usize = 2;

/// What the writer is told.
pub(super) enum Order {
    Base(Box<BaseFile>),
    Delta {
        frames: Vec<Plain>,
        settled: bool,
    },
    Revoke(Plain),
    Fresh(Plain),
    /// A change could not be recorded.
    Gap,
    Flush(oneshot::Sender<()>),
}

/// A base on its way: a file without its name. Dropped, it is removed.
pub(in crate::link) struct BaseFile {
    folder: PathBuf,
    draft: PathBuf,
    file: BufWriter<File>,
    cipher: Arc<Cipher>,
    frames: u64,
    bytes: u64,
    /// Nothing to remove any more.
    named: bool,
    buffer: Vec<u8>,
}

impl BaseFile {
    pub(super) fn create(options: &LastGoodOptions) -> io::Result<Self> {
        let cipher = Arc::new(Cipher::generate(&options.key)?);
        let draft = options.folder.join(format!("draft.{}", uuid::Uuid::now_v7()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let header = cipher.header();
        file.write_all(&header)?;
        let folder = options.folder.clone();
        Ok(Self { folder, draft, file, cipher, frames: 0, bytes: HEADER as u64, named: false, buffer: Vec::new() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn append(&mut self, plain: &Plain) -> io::Result<()> {
        self.buffer.clear();
        self.cipher.seal(self.frames, plain.kind, &plain.bytes, &mut self.buffer)?;
        self.file.write_all(&self.buffer)?;
        self.frames += 1;
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes it the newest generation: durable first, named after.
    fn name(mut self, generation: u64) -> io::Result<End> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        let path = self.folder.join(format!("{PREFIX}{generation}"));
        std::fs::rename(&self.draft, &path)?;
        self.named = true;
        File::open(&self.folder)?.sync_all()?;
        Ok(End {
            path,
            generation,
            cipher: Arc::clone(&self.cipher),
            frames: self.frames,
            bytes: self.bytes,
            base_bytes: self.bytes,
            deltas: 0,
        })
    }
}

impl Drop for BaseFile {
    fn drop(&mut self) {
        if !self.named {
            // Nothing of it is of use; the next start removes what is left.
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}

/// Makes the folder, and clears away what an earlier process left unfinished.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("draft.") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(super) struct Writer {
    options: LastGoodOptions,
    /// The file that is appended to; absent before the first base.
    end: Option<End>,
    newest_generation: u64,
    /// Changes that are not written yet.
    held: Vec<Plain>,
    held_bytes: usize,
    /// How many of what is held are changes of the catalog.
    held_deltas: usize,
    /// When what is held is due.
    due: Option<Instant>,
    /// A change was lost: nothing may be appended before the next base.
    gap: bool,
    pause: Duration,
    settled: bool,
    wants_everything: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn new(options: LastGoodOptions, loaded: Option<&Loaded>, wants_everything: Arc<AtomicBool>) -> Self {
        let newest_generation = generations(&options.folder).first().map_or(0, |(generation, _)| *generation);
        let end = loaded.map(|loaded| {
            let End { path, generation, cipher, frames, bytes, base_bytes, deltas } = &loaded.end;
            let (path, cipher) = (path.clone(), Arc::clone(cipher));
            End {
                path,
                generation: *generation,
                cipher,
                frames: *frames,
                bytes: *bytes,
                base_bytes: *base_bytes,
                deltas: *deltas,
            }
        });
        Self {
            options,
            end,
            newest_generation,
            held: Vec::new(),
            held_bytes: 0,
            held_deltas: 0,
            due: None,
            gap: false,
            pause: TRY_AGAIN.0,
            settled: loaded.is_some_and(|loaded| loaded.table.rejections().next().is_none()),
            wants_everything,
        }
    }

    /// Until nobody can tell it anything any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.due {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => self.when_due(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_held();
                    return;
                }
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Base(base) => self.take_base(*base),
            Order::Delta { frames, settled } => {
                self.settled = settled;
                self.held_deltas += 1;
                frames.into_iter().for_each(|frame| self.hold(frame));
                self.due = self.due.or(Some(Instant::now() + DEBOUNCE));
            }
            Order::Revoke(frame) => {
                self.hold(frame);
                self.write_held();
            }
            Order::Fresh(frame) => {
                self.hold(frame);
                self.due = self.due.or(Some(Instant::now() + DEBOUNCE));
            }
            Order::Gap => self.open_gap(),
            Order::Flush(done) => {
                self.write_held();
                // Whoever asked may be gone.
                let _ = done.send(());
            }
        }
    }

    fn hold(&mut self, frame: Plain) {
        if self.gap || self.end.is_none() {
            // Before the first base there is nothing that it could follow.
            self.forget_held();
            return;
        }
        self.held_bytes += frame.bytes.expose().len();
        self.held.push(frame);
        if self.held_bytes > MOST_HELD {
            self.open_gap();
        }
    }

    fn forget_held(&mut self) {
        self.held.clear();
        (self.held_bytes, self.held_deltas, self.due) = (0, 0, None);
    }

    fn take_base(&mut self, base: BaseFile) {
        // What waits is older than the base.
        self.forget_held();
        self.settled = true;
        match base.name(self.newest_generation + 1) {
            Ok(end) => {
                self.newest_generation = end.generation;
                self.end = Some(end);
                (self.gap, self.pause) = (false, TRY_AGAIN.0);
                self.remove_old();
            }
            Err(error) => {
                self.failed(&error);
                self.open_gap();
            }
        }
    }

    fn when_due(&mut self) {
        self.due = None;
        if !self.gap {
            self.write_held();
            return;
        }
        // A gap is closed by a new base, once there is a chance that it can be written.
        match make_folder(&self.options.folder).and_then(|()| BaseFile::create(&self.options)?.file.flush()) {
            Ok(()) => self.wants_everything.store(true, Ordering::Relaxed),
            Err(error) => self.failed(&error),
        }
        self.wait_longer();
    }

    fn write_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        match self.append() {
            Ok(()) => {
                self.forget_held();
                self.pause = TRY_AGAIN.0;
                self.compact_if_worth_it();
            }
            // Somebody removed the file: there is nothing left that could be appended to.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.failed(&error);
                self.end = None;
                self.open_gap();
            }
            Err(error) => {
                self.failed(&error);
                self.wait_longer();
            }
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let mut file = OpenOptions::new().write(true).open(&end.path)?;
        // Whatever lies behind the whole part is of a write that failed, or damaged.
        file.set_len(end.bytes)?;
        file.seek(SeekFrom::Start(end.bytes))?;
        let mut buffer = Vec::with_capacity(self.held_bytes + 64 * self.held.len());
        for (index, frame) in (end.frames..).zip(&self.held) {
            end.cipher.seal(index, frame.kind, &frame.bytes, &mut buffer)?;
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        end.frames += self.held.len() as u64;
        end.bytes += buffer.len() as u64;
        end.deltas += self.held_deltas;
        Ok(())
    }

    /// While a resource stands rejected, the file is left as it is: its last good version lies further back in it.
    fn compact_if_worth_it(&mut self) {
        let Some(end) = self.end.as_ref().filter(|_| self.settled) else { return };
        let grown = end.bytes - end.base_bytes;
        if end.deltas < MOST_DELTAS && grown < SMALL.max(end.base_bytes / 4) {
            return;
        }
        let compacted = compact(end, &self.options).map_err(io::Error::other);
        match compacted.and_then(|base| base.name(self.newest_generation + 1)) {
            Ok(end) => {
                self.newest_generation = end.generation;
                self.end = Some(end);
                self.remove_old();
            }
            // The file as it is stays in use, and grows.
            Err(error) => self.failed(&error),
        }
    }

    fn open_gap(&mut self) {
        self.forget_held();
        self.gap = true;
        self.due = Some(Instant::now() + self.pause);
    }

    fn wait_longer(&mut self) {
        self.due = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(TRY_AGAIN.1);
    }

    fn remove_old(&self) {
        for (_, path) in generations(&self.options.folder).into_iter().skip(GENERATIONS) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, file = %path.display(), "an old copy of the catalog cannot be removed");
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        metrics::counter!(crate::link::COPY_ERRORS).increment(1);
        tracing::error!(%error, folder = %self.options.folder.display(), "the catalog's copy on disk cannot be written");
    }
}
