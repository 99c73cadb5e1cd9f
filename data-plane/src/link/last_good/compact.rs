//! A new base of an old one and the changes after it, without ever holding the base in memory.

use std::collections::BTreeMap;
use std::io;

use prost::Message;
use shared::kernel::clock::FleetTime;
use shared::proto::{self, Begin, Chunk, Commit, Revoke, SyncMode};
use shared::wire::CHUNK_BYTES;

use super::frame::{Damage, Kind};
use super::read::{End, begin, decoded, whole_frames};
use super::write::BaseFile;
use super::{LastGoodOptions, Plain};

/// Names a resource, also one of a kind that this build does not know.
type Name = (i32, Vec<u8>);

/// What the changes say together.
#[derive(Default)]
struct Changes {
    /// The newest version of each, or that it is gone.
    resources: BTreeMap<Name, Option<proto::Resource>>,
    begin: Begin,
    at: FleetTime,
    commit: Option<Commit>,
    fresh: FleetTime,
    revocations: Vec<Revoke>,
}

/// Writes the new base; it has no name yet.
pub(super) fn compact(end: &End, options: &LastGoodOptions) -> Result<BaseFile, Damage> {
    let changes = changes(end, options)?;
    let commit = changes.commit.as_ref().ok_or_else(|| super::read::content("no commit"))?;
    let full = Begin {
        mode: SyncMode::Full.into(),
        base_revision: 0,
        revision: commit.revision,
        total: 0,
        ..changes.begin.clone()
    };
    let mut base = BaseFile::create(options)?;
    base.append(&Plain::begin(&full, changes.at))?;
    let mut frames = whole_frames(end, &options.key)?;
    while frames.place().1 < end.base_bytes
        && let Some((kind, message)) = frames.next()?
    {
        if kind == Kind::Chunk {
            let mut chunk: Chunk = decoded(&message)?;
            chunk.upserts.retain(|resource| !changes.resources.contains_key(&(resource.kind, resource.id.clone())));
            base.append(&Plain::of(Kind::Chunk, &chunk))?;
        }
    }
    append_changed(&mut base, changes.resources.values().flatten())?;
    base.append(&Plain::of(Kind::Commit, commit))?;
    for revoke in changes.revocations.iter().filter(|revoke| revoke.at_revision > commit.revision) {
        base.append(&Plain::of(Kind::Revoke, revoke))?;
    }
    if changes.fresh > changes.at {
        base.append(&Plain::fresh(changes.fresh))?;
    }
    Ok(base)
}

fn append_changed<'a>(base: &mut BaseFile, resources: impl Iterator<Item = &'a proto::Resource>) -> io::Result<()> {
    let mut chunk = Chunk::default();
    let mut bytes = 0;
    for resource in resources {
        bytes += resource.encoded_len();
        chunk.upserts.push(resource.clone());
        if bytes >= CHUNK_BYTES {
            base.append(&Plain::of(Kind::Chunk, &std::mem::take(&mut chunk)))?;
            bytes = 0;
        }
    }
    if chunk.upserts.is_empty() { Ok(()) } else { base.append(&Plain::of(Kind::Chunk, &chunk)) }
}

/// Reads what came after the base.
fn changes(end: &End, options: &LastGoodOptions) -> Result<Changes, Damage> {
    let mut frames = whole_frames(end, &options.key)?;
    let mut changes = Changes::default();
    let mut base = true;
    while let Some((kind, message)) = frames.next()? {
        match kind {
            Kind::Begin => (changes.begin, changes.at) = begin(&message)?,
            Kind::Commit => {
                changes.commit = Some(decoded(&message)?);
                base = false;
            }
            Kind::Chunk if base => {}
            Kind::Chunk => {
                let chunk: Chunk = decoded(&message)?;
                for resource in chunk.upserts {
                    changes.resources.insert((resource.kind, resource.id.clone()), Some(resource));
                }
                for reference in chunk.deletes {
                    changes.resources.insert((reference.kind, reference.id), None);
                }
            }
            Kind::Revoke => changes.revocations.push(decoded(&message)?),
            Kind::Fresh => {
                let bytes =
                    message.expose().try_into().map_err(|_| super::read::content("a time of another length"))?;
                changes.fresh = FleetTime::from_unix_micros(i64::from_le_bytes(bytes));
            }
        }
    }
    Ok(changes)
}
