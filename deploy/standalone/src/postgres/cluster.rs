//! One cluster on disk: made once, then opened; asked for its state through `postmaster.pid`.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use shared::kernel::secret::Secret;
use shared::kernel::virtual_key;

use super::PostgresError;
use super::account::{Account, command};

const USER: &str = "gatewright";
/// A Unix socket's path may have 107 bytes, and Postgres appends its own file name.
const SOCKET_PATH: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// What the server says of itself in line 8 of `postmaster.pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Down,
    Starting,
    Ready,
    Stopping,
}

pub(super) struct Cluster {
    binaries: PathBuf,
    folder: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    password: Secret,
    account: Option<Account>,
}

/// Where the cluster lies: in the data folder, or under /var/lib when root's data folder is closed to the account
/// that the server must run as.
pub(super) fn folder(data_dir: &Path, account: Option<&Account>) -> Result<PathBuf, PostgresError> {
    let wanted = data_dir.join("pg");
    match account {
        Some(account) if !account.can_enter(&wanted) => {
            let parent = PathBuf::from("/var/lib/gatewright").join(tag(data_dir));
            make_dir(&parent, 0o755, None)?;
            Ok(parent.join("pg"))
        }
        _ => Ok(wanted),
    }
}

impl Cluster {
    pub(super) fn open_or_create(
        binaries: PathBuf,
        folder: PathBuf,
        data_dir: &Path,
        secrets_dir: &Path,
        account: Option<Account>,
    ) -> Result<Self, PostgresError> {
        let password_file = secrets_dir.join("postgres.password");
        let near = folder.with_file_name("socket");
        let sockets = match near.as_os_str().len() <= SOCKET_PATH {
            true => near,
            false => PathBuf::from(format!("/tmp/gatewright-{}", tag(data_dir))),
        };
        make_dir(&sockets, 0o700, account)?;
        let password = match fs::read_to_string(&password_file) {
            Ok(text) => Secret::new(text.trim().to_owned()),
            Err(_) if folder.join("PG_VERSION").exists() => {
                let source = io::Error::new(io::ErrorKind::NotFound, "the cluster exists, but its password is gone");
                return Err(PostgresError::File { doing: "reading", path: password_file, source });
            }
            Err(_) => new_password(&password_file)?,
        };
        let cluster = Self { binaries, log: data_dir.join("postgres.log"), folder, sockets, password, account };
        if !cluster.folder.join("PG_VERSION").exists() {
            cluster.create()?;
        }
        Ok(cluster)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn url(&self) -> Secret {
        let sockets = self.sockets.to_string_lossy().replace('%', "%25").replace('/', "%2F").replace(' ', "%20");
        Secret::new(format!("postgres://{USER}:{}@localhost/postgres?host={sockets}", self.password.expose()))
    }

    /// The server, to be spawned.
    pub(super) fn server(&self) -> Command {
        let mut server = command(self.account, &self.binaries.join("postgres"), true);
        server.arg("-D").arg(&self.folder).args(["-c", "listen_addresses="]).arg("-c");
        server.arg(format!("unix_socket_directories={}", self.sockets.display()));
        server.args(["-c", "unix_socket_permissions=0700"]);
        server
    }

    pub(super) fn stop(&self) -> Result<(), PostgresError> {
        let mut stop = command(self.account, &self.binaries.join("pg_ctl"), false);
        stop.arg("stop").arg("-D").arg(&self.folder).args(["-m", "fast", "-w", "-t", "60", "-s"]);
        run("pg_ctl stop", stop)
    }

    pub(super) fn status(&self) -> Status {
        let text = fs::read_to_string(self.folder.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let Some(pid) = lines.next().and_then(|line| line.trim().parse::<u32>().ok()) else { return Status::Down };
        let alive = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres");
        match lines.nth(6).map(str::trim) {
            _ if !alive => Status::Down,
            Some("ready") => Status::Ready,
            Some("stopping") => Status::Stopping,
            _ => Status::Starting,
        }
    }

    pub(super) fn not_ready(&self, why: String) -> PostgresError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        PostgresError::NotReady { why, log: self.log.clone(), tail }
    }

    /// Into a folder beside, renamed at the end: a start that was cut short leaves nothing half made.
    fn create(&self) -> Result<(), PostgresError> {
        let fresh = self.folder.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(|source| PostgresError::File {
                doing: "removing",
                path: fresh.clone(),
                source,
            })?;
        }
        make_dir(&fresh, 0o700, self.account)?;
        let password_file = self.folder.with_extension("password");
        write_private(&password_file, self.password.expose(), self.account)?;
        let mut initdb = command(self.account, &self.binaries.join("initdb"), false);
        initdb.arg("-D").arg(&fresh).arg(format!("--username={USER}"));
        initdb.arg(format!("--pwfile={}", password_file.display()));
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]);
        let made = run("initdb", initdb);
        let _ = fs::remove_file(&password_file);
        made?;
        fs::rename(&fresh, &self.folder).map_err(|source| PostgresError::File {
            doing: "renaming",
            path: fresh,
            source,
        })
    }
}

/// Eight bytes that tell data folders apart.
fn tag(data_dir: &Path) -> String {
    let digest = virtual_key::sha256_digest(&data_dir.to_string_lossy());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn new_password(path: &Path) -> Result<Secret, PostgresError> {
    let key = virtual_key::generate().map_err(|error| PostgresError::File {
        doing: "making a password for",
        path: path.to_owned(),
        source: io::Error::other(error),
    })?;
    // The key's text is random letters and digits past its prefix: safe in a URL and in a file.
    let password = Secret::new(key.text.expose().trim_start_matches("sk-gw-").to_owned());
    write_private(path, password.expose(), None)?;
    Ok(password)
}

fn write_private(path: &Path, text: &str, account: Option<Account>) -> Result<(), PostgresError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        hand_over(path, account)
    };
    write().map_err(|source| PostgresError::File { doing: "writing", path: path.to_owned(), source })
}

fn make_dir(path: &Path, mode: u32, account: Option<Account>) -> Result<(), PostgresError> {
    let make = || {
        fs::create_dir_all(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        hand_over(path, account)
    };
    make().map_err(|source| PostgresError::File { doing: "making the folder", path: path.to_owned(), source })
}

fn hand_over(path: &Path, account: Option<Account>) -> io::Result<()> {
    account.map_or(Ok(()), |Account { uid, gid }| chown(path, Some(uid), Some(gid)))
}

fn run(program: &str, mut command: Command) -> Result<(), PostgresError> {
    // A folder that any account may stand in; ours may be closed to it.
    let output = command.current_dir("/").output();
    let failed = |output: String| PostgresError::Program { program: program.to_owned(), output };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
