//! Where the server's binaries are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// The folder of binaries to use for a cluster folder: of its own major version if it exists, else the newest.
pub(super) fn binaries(cluster: &Path) -> Result<PathBuf, PostgresError> {
    let mut found: Vec<(u32, PathBuf)> = candidates().filter_map(|folder| Some((major(&folder)?, folder))).collect();
    found.sort_by_key(|(major, _)| *major);
    let needed = fs::read_to_string(cluster.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
    let Some((newest, _)) = found.last() else { return Err(PostgresError::NotFound) };
    let newest = *newest;
    let chosen = match &needed {
        Some(needed) => found.into_iter().rev().find(|(major, _)| &major.to_string() == needed),
        None => found.pop(),
    };
    chosen.map(|(_, folder)| folder).ok_or_else(|| PostgresError::OtherVersion {
        folder: cluster.to_owned(),
        needed: needed.unwrap_or_default(),
        found: newest.to_string(),
    })
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).collect();
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    on_path
        .into_iter()
        .chain(debian)
        .chain([PathBuf::from("/usr/local/pgsql/bin")])
        .filter(|folder| ["postgres", "initdb", "pg_ctl"].iter().all(|program| folder.join(program).is_file()))
}

/// From `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split(' ').find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    number.split(|end: char| !end.is_ascii_digit()).next()?.parse().ok()
}
