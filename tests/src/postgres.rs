//! One Postgres cluster for the run, one database for each test, cloned from a template that is already migrated.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::{Mutex, OnceCell};

use crate::process::Launch;
use crate::{paths, runtime, unique};

const TEMPLATE: &str = "gatewright_template";
/// Of the account that the tests use everywhere.
pub(crate) const PASSWORD: &str = "for-the-tests-alone";

struct Cluster {
    // Ends by its parent-death signal: a static is never dropped.
    _child: Child,
    port: u16,
    admin: PgPool,
    /// `CREATE DATABASE` takes a lock on its template.
    cloning: Mutex<()>,
}

/// A database of one test; dropped with it.
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// A database with all migrations applied.
    pub async fn migrated() -> Self {
        Self::create(template().await).await
    }

    /// A database without anything in it.
    pub async fn empty() -> Self {
        Self::create("template0").await
    }

    async fn create(template: &str) -> Self {
        let cluster = cluster().await;
        let name = unique("test").replace('-', "_");
        let _turn = cluster.cloning.lock().await;
        cluster.execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { url: cluster.url(&name), name }
    }

    /// `postgresql://…` of this database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection for the test's own look at the tables.
    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.url).await.expect("a connection to the test's database")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        runtime::runtime().spawn(async move {
            let _ = cluster().await.admin.execute(AssertSqlSafe(statement)).await;
        });
    }
}

impl Cluster {
    fn url(&self, database: &str) -> String {
        format!("postgresql://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    async fn execute(&self, statement: &str) {
        let done = self.admin.execute(AssertSqlSafe(statement.to_owned())).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(start).await
}

async fn start() -> Cluster {
    let (child, port) = spawn();
    let options = PgPoolOptions::new().max_connections(4);
    let url = format!("postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    let begun = Instant::now();
    let admin = loop {
        match options.clone().connect(&url).await {
            Ok(pool) => break pool,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "Postgres does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    Cluster { _child: child, port, admin, cloning: Mutex::new(()) }
}

/// The name of the template, migrated by the product itself the first time that it is needed.
async fn template() -> &'static str {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(async || {
        let cluster = cluster().await;
        cluster.execute(&format!("CREATE DATABASE {TEMPLATE} TEMPLATE template0")).await;
        let url = cluster.url(TEMPLATE);
        let migrated = Launch::new("gatewright-control-plane").args(["migrate", "--database-url", &url]).finish().await;
        assert_eq!(migrated.code, Some(0), "the migrations fail:\n{}", migrated.said());
    })
    .await;
    TEMPLATE
}

/// The folder with `initdb` and `postgres`: the newest installed version, else what the search path has.
fn server_binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").exists() && bin.join("initdb").exists())
        .collect();
    versions.sort();
    if let Some((_, newest)) = versions.pop() {
        return newest;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|folder| folder.join("postgres").exists() && folder.join("initdb").exists())
        .expect("Postgres server binaries (Debian: apt-get install postgresql)")
}

/// A client program that comes with the server.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    server_binaries().join(name)
}

/// Makes a cluster and starts it on a free port of the loopback address.
fn spawn() -> (Child, u16) {
    // Postgres will not run as root, and another account may not be able to reach a checkout in a private home.
    let home = if is_root() { foreign_home() } else { paths::folder("postgres") };
    initialise(&home);
    let port = free_port();
    (serve(&home, port), port)
}

/// A folder for one more server.
pub(crate) fn server_home(name: &str) -> PathBuf {
    let home = if is_root() { foreign_home().join(name) } else { paths::folder(name) };
    std::fs::create_dir_all(&home).expect("a folder for Postgres");
    hand_over(&home);
    home
}

/// Gives a folder to the account that Postgres runs under.
fn hand_over(home: &Path) {
    if is_root() {
        let chowned = Command::new("chown").args(["-R", "postgres:postgres"]).arg(home).status();
        assert!(chowned.is_ok_and(|status| status.success()), "{} does not go to the account postgres", home.display());
    }
}

/// Makes a cluster in `home/data`.
pub(crate) fn initialise(home: &Path) {
    std::fs::create_dir_all(home).expect("a folder for Postgres");
    let password = home.join("password");
    std::fs::write(&password, PASSWORD).expect("a password file");
    hand_over(home);
    let mut initdb = as_server("initdb");
    initdb.arg("-D").arg(home.join("data")).args([
        "--no-sync",
        "--username=postgres",
        "--auth=password",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    ]);
    initdb.arg(format!("--pwfile={}", password.display()));
    let made = initdb.output().expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
}

/// Starts the cluster in `home/data` on a port of the loopback address.
pub(crate) fn serve(home: &Path, port: u16) -> Child {
    let log = std::fs::OpenOptions::new().append(true).create(true).open(paths::scratch().join("postgres.log"));
    let log = log.expect("a log file");
    let mut server = as_server("postgres");
    server.arg("-D").arg(home.join("data")).args(["-p", &port.to_string()]).args(["-c", "listen_addresses=127.0.0.1"]);
    for setting in [
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "max_connections=400",
        "shared_buffers=64MB",
        "unix_socket_directories=",
    ] {
        server.args(["-c", setting]);
    }
    server.stderr(log.try_clone().expect("a log file")).stdout(log);
    runtime::launch(server).expect("Postgres starts")
}

/// A folder outside the checkout; those of runs that have ended are removed.
fn foreign_home() -> PathBuf {
    const PREFIX: &str = "gatewright-tests-";
    for old in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(PREFIX).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(old.path());
        }
    }
    std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()))
}

/// A server command that dies with this process, under the account that Postgres accepts.
pub(crate) fn as_server(program: &str) -> Command {
    // INT is the fast shutdown: TERM would wait for clients.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(tool(program)).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// A port that nobody listens on at this moment.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
