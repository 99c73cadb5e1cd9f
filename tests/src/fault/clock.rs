//! Wall clocks that jump: libfaketime under a process, steered by a file.

use std::path::{Path, PathBuf};

use crate::paths;
use crate::process::Launch;

/// The library, where `./check` or the distribution has put it.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let roots = [paths::target().join("counterparts/faketime"), PathBuf::from("/")];
    roots.iter().find_map(|root| {
        let folders = std::fs::read_dir(root.join("usr/lib")).ok()?.flatten();
        folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
    })
}

/// The file that steers the clock of a process that runs in this folder.
fn steering(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// The same process with a clock that can be set; true time until then.
#[must_use]
pub fn under(launch: Launch, library: &Path, folder: &Path) -> Launch {
    set(folder, "0");
    launch
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", steering(folder))
        // Timers, and what time has passed, are not what jumps.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_CACHE_DURATION", "1")
}

/// Sets the clock of the process that runs in this folder, within a second: `+1h`, `-2d` or `0` from the true time.
pub fn set(folder: &Path, to: &str) {
    let signed = if to.starts_with(['+', '-']) { to.to_owned() } else { format!("+{to}") };
    let next = folder.join("clock.next");
    std::fs::write(&next, signed).expect("the clock's file");
    std::fs::rename(next, steering(folder)).expect("the clock's file");
}
