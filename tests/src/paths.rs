//! Where things lie: the checkout, the built binaries, this run's own folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout")
}

/// The folder cargo builds into (`target`, unless told otherwise).
#[must_use]
pub fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| profile().parent().expect("the profile folder lies in the target folder").to_owned())
}

/// The folder of the profile that this program was built with (`target/debug`); tests lie in `deps/` below it.
fn profile() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("deps/ lies in the profile folder").to_owned()
    } else {
        folder.to_owned()
    }
}

/// A binary of the product, built beforehand by `cargo build --bins`.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(path.exists(), "{} is missing: build it first with `cargo build --bins`", path.display());
    path
}

/// A folder for this run alone, emptied of what earlier runs left behind.
#[must_use]
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let all = target().join("tmp/system");
        std::fs::create_dir_all(&all).expect("a folder for the tests");
        for old in std::fs::read_dir(&all).expect("the folder of the tests").flatten() {
            let name = old.file_name().to_string_lossy().into_owned();
            if !Path::new("/proc").join(&name).exists() {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&own).expect("a folder for this run");
        own
    })
}

/// A new, empty folder of this run.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    let path = scratch().join(crate::unique(name));
    std::fs::create_dir_all(&path).expect("a folder for a test");
    path
}
