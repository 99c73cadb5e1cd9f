//! Files, modes and messages of the secrets directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("gatewright-secrets-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_are_made_once_and_found_again() {
    let dir = folder("made").join("deep");
    let first = RootSecrets::load_or_create(&dir).unwrap();
    let second = RootSecrets::load_or_create(&dir).unwrap();
    assert_eq!(first.ring.expose(), second.ring.expose());
    assert_eq!(first.master.expose().len(), 64);
    assert_ne!(first.master.expose(), first.pepper.expose());
    assert_eq!(mode(&dir), 0o700);
    for which in RootSecret::ALL {
        assert_eq!(mode(&dir.join(which.file())), 0o600, "{which}");
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 5, "no drafts stay behind");
    assert!(!format!("{first:?}").contains(first.ring.expose()));
}

#[test]
fn a_missing_secret_says_how_to_make_it() {
    let dir = folder("missing");
    let message = RootSecrets::load(&dir).unwrap_err().to_string();
    assert!(message.contains("master.key is missing") && message.contains("openssl rand -hex 32 >"), "{message}");
    assert!(read_optional(&dir, RootSecret::Master).unwrap().is_none());
}

#[test]
fn open_and_weak_files_are_refused() {
    let dir = folder("open");
    RootSecrets::load_or_create(&dir).unwrap();
    let path = dir.join("ring.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let message = read(&dir, RootSecret::Ring).unwrap_err().to_string();
    assert!(message.contains("mode 0644") && message.contains("chmod 600"), "{message}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for weak in ["", "short\n"] {
        fs::write(&path, weak).unwrap();
        let message = RootSecrets::load_or_create(&dir).unwrap_err().to_string();
        assert!(message.contains("ring.key holds") && message.contains("32 characters"), "{message}");
    }
}

/// As Kubernetes mounts a secret for a process that is not root.
#[test]
fn a_file_of_another_account_may_be_read_through_its_group() {
    let dir = folder("mounted");
    RootSecrets::load_or_create(&dir).unwrap();
    let path = dir.join("ring.key");
    let open = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    open(0o440);
    assert!(read(&dir, RootSecret::Ring).is_err(), "what is ours has no reason to be open to a group");
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        return;
    }
    read(&dir, RootSecret::Ring).unwrap();
    for mode in [0o460, 0o444] {
        open(mode);
        assert!(read(&dir, RootSecret::Ring).is_err(), "{mode:o}");
    }
}
