//! Root secrets as files that only their owner can read.
//!
//! The roots are independent of one another: losing or rotating one says nothing about the rest.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use crate::kernel::secret::Secret;

/// A root secret is at least this long.
pub const MIN_LENGTH: usize = 32;
/// Larger files are something else.
const MAX_LENGTH: u64 = 64 * 1024;

/// Which root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RootSecret {
    /// Bootstrap and break-glass administration.
    Master,
    /// Seals provider credentials and the certificate authority's key.
    Ring,
    /// Verifies virtual keys: without it every key is lost.
    Pepper,
    /// Signs sessions.
    Session,
    /// Seals a data plane's disk copy.
    Node,
}

impl RootSecret {
    /// Every root.
    pub const ALL: [Self; 5] = [Self::Master, Self::Ring, Self::Pepper, Self::Session, Self::Node];

    /// Its file inside the secrets directory.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Master => "master.key",
            Self::Ring => "ring.key",
            Self::Pepper => "pepper.key",
            Self::Session => "session.key",
            Self::Node => "node.key",
        }
    }
}

impl fmt::Display for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())
    }
}

/// Why a root secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// There is no such file.
    #[error("{} is missing; make one with: (umask 077; openssl rand -hex 32 > {})", path.display(), path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others could read it.
    #[error("{} can be read or written by others (mode {mode:04o}); run: chmod {} {}", path.display(), if *directory { "700" } else { "600" }, path.display())]
    Open {
        /// What is too open.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it is a directory.
        directory: bool,
    },
    /// It holds no good secret.
    #[error("{} holds {problem}; at least {MIN_LENGTH} characters are expected, for example from: openssl rand -hex 32", path.display())]
    Weak {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: io::Error,
    },
    /// The random number generator failed.
    #[error("the operating system gives no random bytes")]
    Random,
}

/// All roots of a process.
#[derive(Debug, Clone)]
pub struct RootSecrets {
    /// `master.key`
    pub master: Secret,
    /// `ring.key`
    pub ring: Secret,
    /// `pepper.key`
    pub pepper: Secret,
    /// `session.key`
    pub session: Secret,
    /// `node.key`
    pub node: Secret,
}

impl RootSecrets {
    /// Reads all roots and makes those that are missing, with their directory.
    ///
    /// # Errors
    /// [`SecretsError`] when a file is too open, weak, or cannot be read or written.
    pub fn load_or_create(dir: &Path) -> Result<Self, SecretsError> {
        if !dir.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|source| SecretsError::Io { action: "create", path: dir.to_owned(), source })?;
        }
        for which in RootSecret::ALL {
            create_if_missing(dir, which)?;
        }
        Self::load(dir)
    }

    /// Reads all roots; a missing one is an error that says how to make it.
    ///
    /// # Errors
    /// [`SecretsError`] when a file is missing, too open, weak, or cannot be read.
    pub fn load(dir: &Path) -> Result<Self, SecretsError> {
        Ok(Self {
            master: read(dir, RootSecret::Master)?,
            ring: read(dir, RootSecret::Ring)?,
            pepper: read(dir, RootSecret::Pepper)?,
            session: read(dir, RootSecret::Session)?,
            node: read(dir, RootSecret::Node)?,
        })
    }
}

/// Reads one root, for processes that need only some of them.
///
/// # Errors
/// [`SecretsError`] when the file is missing, too open, weak, or cannot be read.
pub fn read(dir: &Path, which: RootSecret) -> Result<Secret, SecretsError> {
    let path = dir.join(which.file());
    let failed = |action| {
        let path = path.clone();
        move |source| SecretsError::Io { action, path, source }
    };
    // The directory itself may be a mount that others may list; only files hold secrets.
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SecretsError::Missing { path }),
        Err(error) => return Err(failed("read")(error)),
    };
    let facts = file.metadata().map_err(failed("inspect"))?;
    let mode = facts.mode() & 0o7777;
    // A mounted file may belong to another account: then its group is how this process is meant to read it.
    let ours = facts.uid() == rustix::process::geteuid().as_raw();
    if mode & if ours { 0o077 } else { 0o037 } != 0 {
        return Err(SecretsError::Open { path, mode, directory: facts.is_dir() });
    }
    let mut text = String::new();
    file.take(MAX_LENGTH).read_to_string(&mut text).map_err(failed("read"))?;
    let secret = Secret::new(text.trim().to_owned());
    match secret.expose().len() {
        0 => Err(SecretsError::Weak { path, problem: "nothing" }),
        length if length < MIN_LENGTH => Err(SecretsError::Weak { path, problem: "too short a secret" }),
        _ => Ok(secret),
    }
}

/// Reads one root that may be absent because a setting replaces it.
///
/// # Errors
/// As [`read`], except for a missing file.
pub fn read_optional(dir: &Path, which: RootSecret) -> Result<Option<Secret>, SecretsError> {
    match read(dir, which) {
        Ok(secret) => Ok(Some(secret)),
        Err(SecretsError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside and links into place: a crash leaves no half secret, and a concurrent start never replaces one.
fn create_if_missing(dir: &Path, which: RootSecret) -> Result<(), SecretsError> {
    let path = dir.join(which.file());
    if path.exists() {
        return Ok(());
    }
    let draft = dir.join(format!(".{}.{}", which.file(), std::process::id()));
    let failed = |action| {
        let path = path.clone();
        move |source| SecretsError::Io { action, path, source }
    };
    let text = Secret::new(generate()?.expose().to_owned() + "\n");
    let _ = fs::remove_file(&draft);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed("create"))?;
    file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    let linked = fs::hard_link(&draft, &path);
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("create")(error)),
        _ => File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write")),
    }
}

/// 256 random bits in hexadecimal.
///
/// # Errors
/// [`SecretsError::Random`] when the operating system has none.
pub fn generate() -> Result<Secret, SecretsError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| SecretsError::Random)?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

#[cfg(test)]
mod tests;
