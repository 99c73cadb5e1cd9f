//! A Postgres server of our own: found on this machine, kept in the data folder, stopped when we stop.
//!
//! It listens on a Unix socket only and has a random superuser password. Durability stays at Postgres's defaults.
//! A server that is already running on the folder is joined and left running. It must be started from the main
//! thread: the kernel ties the child's parent-death signal to the thread that made it.

mod account;
mod cluster;
mod find;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use shared::kernel::secret::Secret;

use account::Account;
use cluster::{Cluster, Status};

/// How long a start may take; recovery after a crash is part of it.
const START: Duration = Duration::from_secs(120);

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    /// No server on this machine.
    #[error(
        "no Postgres server binaries in PATH or /usr/lib/postgresql/*/bin: install them (Debian: apt-get install postgresql), \
         or name a running server with DATABASE_URL"
    )]
    NotFound,
    /// The folder was made by another major version.
    #[error(
        "{folder} was made by Postgres {needed}, but only {found} is installed: install Postgres {needed}, or dump and restore"
    )]
    OtherVersion {
        /// The data folder.
        folder: PathBuf,
        /// Its major version.
        needed: String,
        /// What is there.
        found: String,
    },
    /// Running as root, and no account to hand the server to.
    #[error(
        "Postgres refuses to run as root and neither `postgres` nor `nobody` is in /etc/passwd: start as another user"
    )]
    NoAccount,
    /// A program of Postgres failed.
    #[error("`{program}` failed: {output}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        output: String,
    },
    /// The server ended or did not get ready.
    #[error("Postgres did not get ready: {why}; the end of {log}:\n{tail}")]
    NotReady {
        /// What was seen.
        why: String,
        /// Its log.
        log: PathBuf,
        /// The last lines.
        tail: String,
    },
    /// A file or folder.
    #[error("{doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The running server.
pub(crate) struct ChildPostgres {
    cluster: Cluster,
    /// Absent when the server was running before us.
    child: Option<Child>,
}

impl ChildPostgres {
    /// Makes the cluster if there is none, and starts or joins its server.
    ///
    /// # Errors
    /// [`PostgresError`], which says what to do.
    pub(crate) fn start(data_dir: &Path, secrets_dir: &Path) -> Result<Self, PostgresError> {
        let account = Account::choose()?;
        let folder = cluster::folder(data_dir, account.as_ref())?;
        let binaries = find::binaries(&folder)?;
        let cluster = Cluster::open_or_create(binaries, folder, data_dir, secrets_dir, account)?;
        let mut postgres = Self { cluster, child: None };
        postgres.join_or_start()?;
        Ok(postgres)
    }

    /// Where the control plane connects, password included.
    pub(crate) fn url(&self) -> Secret {
        self.cluster.url()
    }

    /// The data folder of the server.
    pub(crate) fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    /// Stops the server in fast mode if it is ours.
    pub(crate) fn stop(mut self) {
        if let Some(mut child) = self.child.take() {
            if let Err(error) = self.cluster.stop() {
                tracing::warn!(error = %error, "Postgres did not stop as asked; killing it");
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }

    fn join_or_start(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START;
        loop {
            match self.cluster.status() {
                Status::Ready => return Ok(()),
                Status::Down if self.child.is_none() => self.child = Some(self.spawn()?),
                Status::Down | Status::Starting | Status::Stopping => {}
            }
            if let Some(child) = &mut self.child
                && let Ok(Some(status)) = child.try_wait()
            {
                return Err(self.cluster.not_ready(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.cluster.not_ready(format!("no answer in {} s", START.as_secs())));
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self) -> Result<Child, PostgresError> {
        use std::os::unix::process::CommandExt;
        let log = self.cluster.log();
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        let file = file.map_err(|source| PostgresError::File { doing: "opening", path: log.to_owned(), source })?;
        let mut command = self.cluster.server();
        // A group of its own: Ctrl-C in a terminal must reach us alone, so that records are flushed before it stops.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command
            .spawn()
            .map_err(|error| PostgresError::Program { program: "postgres".into(), output: error.to_string() })
    }
}
