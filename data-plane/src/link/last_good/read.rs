//! Finds the newest generation that can be used, and replays it into a table.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use shared::catalog::Ref;
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::Revision;
use shared::kernel::secret::{Secret, SecretBytes};
use shared::proto::{Begin, Chunk, Commit, Revoke};
use shared::wire::{SCHEMA_MAX, SCHEMA_MIN, kind_from_wire};
use uuid::Uuid;

use super::frame::{Cipher, Damage, Frames, Kind};
use crate::link::apply::{Held, draft, finish, take};
use crate::table::{Draft, Table};

/// Files of a generation are called by its number after this.
pub(super) const PREFIX: &str = "catalog.";
/// A file that could not be used is kept aside under this name, one of them.
const ASIDE: &str = "damaged.catalog";

/// What was found.
pub(in crate::link) struct Loaded {
    pub(in crate::link) table: Arc<Table>,
    pub(in crate::link) held: Held,
    /// When the catalog was last known to be the newest.
    pub(in crate::link) fresh: FleetTime,
    /// Where appending goes on.
    pub(super) end: End,
}

/// The end of what is whole in a file.
pub(super) struct End {
    pub(super) path: PathBuf,
    pub(super) generation: u64,
    pub(super) cipher: Arc<Cipher>,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// How many of the bytes are the base.
    pub(super) base_bytes: u64,
    pub(super) deltas: usize,
}

/// Generations that lie in a folder, the newest first.
pub(super) fn generations(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort_unstable_by(|one, two| two.cmp(one));
    found
}

/// Loads the newest generation that can be used. What cannot be used is told and put aside.
pub(super) fn newest(folder: &Path, key: &Secret) -> Option<Loaded> {
    for (generation, path) in generations(folder) {
        match load(&path, generation, key) {
            Ok((loaded, None)) => return Some(loaded),
            Ok((loaded, Some(damage))) => {
                metrics::counter!(crate::link::COPY_ERRORS).increment(1);
                tracing::warn!(%damage, file = %path.display(), revision = loaded.held.revision.0, "the end of the catalog's copy is lost");
                return Some(loaded);
            }
            Err(damage) => {
                metrics::counter!(crate::link::COPY_ERRORS).increment(1);
                tracing::error!(%damage, file = %path.display(), "a copy of the catalog cannot be used");
                // Under another node.key it may still be a good one.
                if matches!(damage, Damage::Sealed) {
                    continue;
                }
                if let Err(error) = std::fs::rename(&path, folder.join(ASIDE)) {
                    tracing::warn!(%error, file = %path.display(), "it cannot be put aside");
                }
            }
        }
    }
    None
}

pub(super) fn load(path: &Path, generation: u64, key: &Secret) -> Result<(Loaded, Option<Damage>), Damage> {
    let file = File::open(path)?;
    let mut frames = Frames::open(BufReader::with_capacity(1 << 20, file), key)?;
    let mut replay = Replay::default();
    let damage = loop {
        match frames.next() {
            Ok(None) => break None,
            Ok(Some((kind, message))) => match replay.take(kind, &message) {
                Ok(true) => replay.whole(frames.place()),
                Ok(false) => {}
                Err(damage) => break Some(damage),
            },
            Err(damage) => break Some(damage),
        }
    };
    // A revision without its commit is no damage: the process ended in its middle.
    let Some((table, held)) = replay.table.zip(replay.held) else { return Err(damage.unwrap_or(Damage::Torn)) };
    let end = End {
        path: path.to_owned(),
        generation,
        cipher: Arc::new(frames.into_cipher()),
        frames: replay.frames,
        bytes: replay.bytes,
        base_bytes: replay.base_bytes,
        deltas: replay.deltas,
    };
    Ok((Loaded { table, held, fresh: replay.fresh, end }, damage))
}

/// The state that frames build up.
#[derive(Default)]
struct Replay {
    table: Option<Arc<Table>>,
    held: Option<Held>,
    fresh: FleetTime,
    open: Option<(Begin, FleetTime, Draft)>,
    frames: u64,
    bytes: u64,
    base_bytes: u64,
    deltas: usize,
}

impl Replay {
    /// Takes one frame; true when everything up to here is whole.
    fn take(&mut self, kind: Kind, message: &SecretBytes) -> Result<bool, Damage> {
        match kind {
            Kind::Begin => self.begin(message)?,
            Kind::Chunk => {
                let (_, _, open) = self.open.as_mut().ok_or_else(|| content("a chunk of no revision"))?;
                take(open, decoded::<Chunk>(message)?).map_err(content)?;
            }
            Kind::Commit => {
                let (begin, at, draft) = self.open.take().ok_or_else(|| content("a commit of no revision"))?;
                let base = self.table.clone().unwrap_or_else(|| Arc::new(Table::empty()));
                let (table, held) =
                    finish(&base, draft, &Begin { confirmed: true, ..begin }, decoded::<Commit>(message)?)
                        .map_err(content)?;
                (self.table, self.held, self.fresh) = (Some(Arc::new(table)), Some(held), self.fresh.max(at));
            }
            Kind::Revoke => {
                let revoke: Revoke = decoded(message)?;
                let table = self.table.as_ref().ok_or_else(|| content("a revocation before any revision"))?;
                let at = Revision(revoke.at_revision);
                if let Some(kind) = kind_from_wire(revoke.kind).filter(|_| at > table.revision()) {
                    let ids = revoke.ids.iter().filter_map(|id| Uuid::from_slice(id).ok());
                    self.table = Some(Arc::new(table.with_revoked(ids.map(|id| Ref { kind, id }), at)));
                }
            }
            Kind::Fresh => {
                let bytes = message.expose().try_into().map_err(|_| content("a time of another length"))?;
                self.fresh = self.fresh.max(FleetTime::from_unix_micros(i64::from_le_bytes(bytes)));
            }
        }
        Ok(self.open.is_none())
    }

    fn begin(&mut self, message: &SecretBytes) -> Result<(), Damage> {
        let (begin, at) = begin(message)?;
        // One that was begun and not finished is forgotten.
        let base = self.table.clone().unwrap_or_else(|| Arc::new(Table::empty()));
        let draft = draft(&base, &begin).map_err(content)?;
        self.open = Some((begin, at, draft));
        Ok(())
    }

    const fn whole(&mut self, (frames, bytes): (u64, u64)) {
        (self.frames, self.bytes) = (frames, bytes);
        if self.base_bytes == 0 { self.base_bytes = bytes } else { self.deltas += 1 }
    }
}

/// Schema and time, then the message.
pub(super) fn begin(message: &SecretBytes) -> Result<(Begin, FleetTime), Damage> {
    let short = || content("a begin is too short");
    let (schema, rest) = message.expose().split_first_chunk::<4>().ok_or_else(short)?;
    let (at, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let schema = u32::from_le_bytes(*schema);
    if !(SCHEMA_MIN..=SCHEMA_MAX).contains(&schema) {
        return Err(content(format!("it has schema {schema}; this build reads {SCHEMA_MIN} to {SCHEMA_MAX}")));
    }
    let begin = Begin::decode(rest).map_err(content)?;
    Ok((begin, FleetTime::from_unix_micros(i64::from_le_bytes(*at))))
}

pub(super) fn decoded<M: Message + Default>(message: &SecretBytes) -> Result<M, Damage> {
    M::decode(message.expose()).map_err(content)
}

#[expect(clippy::needless_pass_by_value, reason = "used as an argument of map_err")]
pub(super) fn content(reason: impl ToString) -> Damage {
    Damage::Content(reason.to_string())
}

/// Opens a file of which so many bytes are whole.
pub(super) fn whole_frames(end: &End, key: &Secret) -> Result<Frames<impl Read>, Damage> {
    let file = File::open(&end.path)?;
    Frames::open(BufReader::with_capacity(1 << 20, file.take(end.bytes)), key)
}
