//! The copy of the catalog on disk: with it a node starts, and serves, while nothing else is up.
//!
//! A generation is one file: a base (everything, as it was told) and after it each change as it was told, each message a
//! frame of its own with length and checksum, sealed under a key from `node.key`. Two generations are kept. What was told
//! is kept word for word, so that a newer build may apply what an older one had to reject.
//!
//! 1. `read` finds the newest generation whose base is whole and replays it, up to the first frame that is not.
//! 2. While a revision arrives, the builder of the table records it ([`Recording`]): a base straight into a new file, a
//!    change in memory.
//! 3. Once the revision is in use, `write`, on a thread of its own, appends it within a second; revocations at once.
//! 4. When the changes outgrow the base, a new base is made of both.
//!
//! Invariants: mode 0600; a base takes its name only after fsync; nothing is appended behind a gap: after a failure that
//! lost a change the node asks for everything again. Without `node.key` there is no copy.

mod compact;
mod frame;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use prost::Message;
use shared::kernel::clock::FleetTime;
use shared::kernel::secret::{Secret, SecretBytes};
use shared::proto::{Begin, Chunk, Commit, Revoke, SyncMode};
use shared::wire::SCHEMA_MAX;
use tokio::sync::oneshot;

use self::frame::Kind;
pub(super) use self::read::Loaded;
use self::write::{BaseFile, Order, Writer};

/// Where the copy lies, and what seals it.
#[derive(Debug, Clone)]
pub struct LastGoodOptions {
    /// A folder of its own.
    pub folder: PathBuf,
    /// The content of `node.key`.
    pub key: Secret,
}

/// One message on its way to the file, not sealed yet.
struct Plain {
    kind: Kind,
    bytes: SecretBytes,
}

impl Plain {
    fn of(kind: Kind, message: &impl Message) -> Self {
        Self { kind, bytes: SecretBytes::new(message.encode_to_vec()) }
    }

    /// With the schema and the time at which it was told.
    fn begin(begin: &Begin, at: FleetTime) -> Self {
        let mut bytes = Vec::with_capacity(12 + begin.encoded_len());
        bytes.extend_from_slice(&SCHEMA_MAX.to_le_bytes());
        bytes.extend_from_slice(&at.unix_micros().to_le_bytes());
        bytes.extend_from_slice(&begin.encode_to_vec());
        Self { kind: Kind::Begin, bytes: SecretBytes::new(bytes) }
    }

    fn fresh(at: FleetTime) -> Self {
        Self { kind: Kind::Fresh, bytes: SecretBytes::new(at.unix_micros().to_le_bytes().to_vec()) }
    }
}

/// The copy. Clones share it.
#[derive(Clone)]
pub(super) struct LastGood {
    orders: mpsc::Sender<Order>,
    /// The copy has a gap and needs everything anew.
    wants_everything: Arc<AtomicBool>,
    options: LastGoodOptions,
}

/// A revision being recorded while it arrives. Dropped, it leaves nothing behind.
pub(super) enum Recording {
    Base(Box<BaseFile>),
    Delta(Vec<SealedLater>),
    /// It says nothing new.
    Nothing,
    /// It could not be recorded; the copy has a gap from here on.
    Failed,
}

/// A message of a change.
pub(super) struct SealedLater(Plain);

impl LastGood {
    /// Opens the copy, and loads what is in it. Blocks.
    pub(super) fn open(options: LastGoodOptions) -> std::io::Result<(Self, Option<Loaded>)> {
        write::make_folder(&options.folder)?;
        let loaded = read::newest(&options.folder, &options.key);
        let wants_everything = Arc::new(AtomicBool::new(false));
        let (orders, received) = mpsc::channel();
        let writer = Writer::new(options.clone(), loaded.as_ref(), Arc::clone(&wants_everything));
        std::thread::Builder::new().name("catalog copy".to_owned()).spawn(move || writer.run(&received))?;
        Ok((Self { orders, wants_everything, options }, loaded))
    }

    /// Begins to record a revision. Blocks.
    pub(super) fn record(&self, begin: &Begin, at: FleetTime) -> Recording {
        let first = Plain::begin(begin, at);
        if begin.mode() != SyncMode::Full {
            if begin.total == 0 && begin.revision == begin.base_revision {
                return Recording::Nothing;
            }
            return Recording::Delta(vec![SealedLater(first)]);
        }
        let base = BaseFile::create(&self.options).and_then(|mut base| base.append(&first).map(|()| base));
        match base {
            Ok(base) => Recording::Base(Box::new(base)),
            Err(error) => failed(&self.options.folder, &error),
        }
    }

    /// Keeps a revision that is in use now. `settled` says that every resource of it could be applied, so that nothing
    /// but its newest version is needed.
    pub(super) fn keep(&self, recording: Recording, settled: bool) {
        let order = match recording {
            Recording::Base(base) => Order::Base(base),
            Recording::Delta(frames) => {
                Order::Delta { frames: frames.into_iter().map(|frame| frame.0).collect(), settled }
            }
            Recording::Nothing => return,
            Recording::Failed => Order::Gap,
        };
        self.order(order);
    }

    /// Keeps a revocation, at once.
    pub(super) fn revoke(&self, revoke: &Revoke) {
        self.order(Order::Revoke(Plain::of(Kind::Revoke, revoke)));
    }

    /// Notes that the catalog was the newest one at this time.
    pub(super) fn fresh(&self, at: FleetTime) {
        self.order(Order::Fresh(Plain::fresh(at)));
    }

    /// Whether everything should be asked for, to close a gap. Says so once.
    pub(super) fn wants_everything(&self) -> bool {
        self.wants_everything.swap(false, Ordering::Relaxed)
    }

    /// Writes out what waits.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.order(Order::Flush(done));
        // A writer that is gone has nothing left to write.
        let _ = written.await;
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::error!("the writer of the catalog's copy is gone");
        }
    }
}

impl Recording {
    pub(super) fn chunk(&mut self, chunk: &Chunk) {
        self.append(Plain::of(Kind::Chunk, chunk));
    }

    pub(super) fn commit(&mut self, commit: &Commit) {
        self.append(Plain::of(Kind::Commit, commit));
    }

    fn append(&mut self, plain: Plain) {
        match self {
            Self::Base(base) => {
                if let Err(error) = base.append(&plain) {
                    *self = failed(base.folder(), &error);
                }
            }
            Self::Delta(frames) => frames.push(SealedLater(plain)),
            Self::Nothing | Self::Failed => {}
        }
    }
}

fn failed(folder: &Path, error: &std::io::Error) -> Recording {
    metrics::counter!(super::COPY_ERRORS).increment(1);
    tracing::error!(%error, folder = %folder.display(), "the catalog cannot be copied to disk");
    Recording::Failed
}
