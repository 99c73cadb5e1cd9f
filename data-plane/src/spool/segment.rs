//! Segment files: their names, which carry their order and their boot, and what is known of each.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shared::kernel::ids::BootId;
use uuid::Uuid;

use super::SpoolError;

/// Ends the names of segments; the number is the version of what is inside.
const SUFFIX: &str = ".v1";
/// Ends the names of segments that were damaged and are kept for whoever wants to look.
const DAMAGED: &str = ".damaged";
/// How many of those are kept.
const KEEP_DAMAGED: usize = 4;

/// One file of the spool.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Its place among all, across boots.
    pub(super) index: u64,
    /// The start of the node that wrote it.
    pub(super) boot: BootId,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// How long it is.
    pub(super) bytes: u64,
    /// The number of the last record in it, or in those before it.
    pub(super) last_ordinal: u64,
    /// Whether something in it could not be read.
    pub(super) damaged: bool,
}

impl Segment {
    /// A segment that is not there yet.
    pub(super) fn fresh(dir: &Path, index: u64, boot: BootId, last_ordinal: u64) -> Self {
        let path = dir.join(format!("{index:016x}-{}{SUFFIX}", boot.uuid().simple()));
        Self { index, boot, path, bytes: 0, last_ordinal, damaged: false }
    }

    /// Makes its file.
    pub(super) fn create(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.path)
    }

    /// Deletes its file, or puts it aside when it is damaged. A file that is gone already is fine.
    pub(super) fn remove(&self) -> io::Result<()> {
        let done = if self.damaged {
            std::fs::rename(&self.path, self.path.with_extension(DAMAGED.trim_start_matches('.')))
        } else {
            std::fs::remove_file(&self.path)
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// The segments of a directory, in order. What is not one is left alone, but for old damaged ones.
pub(super) fn list(dir: &Path) -> Result<Vec<Segment>, SpoolError> {
    let failed = |source| SpoolError::Io { doing: "list", path: dir.to_owned(), source };
    let (mut segments, mut damaged) = (Vec::new(), Vec::new());
    for file in std::fs::read_dir(dir).map_err(failed)? {
        let file = file.map_err(failed)?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some((index, boot)) = parse(name) {
            let bytes = file.metadata().map_err(failed)?.len();
            segments.push(Segment { index, boot, path: file.path(), bytes, last_ordinal: 0, damaged: false });
        } else if name.ends_with(DAMAGED) {
            damaged.push(file.path());
        }
    }
    segments.sort_by_key(|segment| segment.index);
    damaged.sort();
    let surplus = damaged.len().saturating_sub(KEEP_DAMAGED);
    for path in damaged.into_iter().take(surplus) {
        std::fs::remove_file(&path).map_err(|source| SpoolError::Io { doing: "delete", path, source })?;
    }
    Ok(segments)
}

fn parse(name: &str) -> Option<(u64, BootId)> {
    let (index, boot) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let boot = Uuid::try_parse(boot).ok()?;
    Some((u64::from_str_radix(index, 16).ok()?, BootId::from_uuid(boot)))
}

/// Makes the directory where needed and locks it for this process.
pub(super) fn take_over(dir: &Path, lock: &str) -> Result<File, SpoolError> {
    let failed = |doing, source| SpoolError::Io { doing, path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| failed("create", source))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(lock))
        .map_err(|source| failed("lock", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", source)),
    }
}
