//! A Postgres server of one test's own: it can be frozen, stopped, started again, copied and promoted.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection};

use crate::postgres::{self, PASSWORD};
use crate::process::Launch;
use crate::{eventually, unique};

/// How long a server may take to start, to stop or to follow.
const PATIENCE: Duration = Duration::from_secs(30);
/// The database of the gateway.
const DATABASE: &str = "gatewright";

/// A running or stopped server.
pub struct Server {
    home: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// A server with a migrated database.
    pub async fn start() -> Self {
        let home = postgres::server_home(&unique("own"));
        postgres::initialise(&home);
        let server = Self::over(home);
        server.go_on().await;
        let mut admin = PgConnection::connect(&server.url_of("postgres")).await.expect("a connection to the server");
        sqlx::query("CREATE DATABASE gatewright").execute(&mut admin).await.expect("a database");
        let url = server.url();
        let migrated = Launch::new("gatewright-control-plane").args(["migrate", "--database-url", &url]).finish().await;
        assert_eq!(migrated.code, Some(0), "the migrations fail:\n{}", migrated.said());
        server
    }

    const fn over_port(home: PathBuf, port: u16) -> Self {
        Self { home, port, child: Mutex::new(None) }
    }

    fn over(home: PathBuf) -> Self {
        Self::over_port(home, postgres::free_port())
    }

    /// Another server that follows this one.
    pub async fn standby(&self) -> Self {
        let standby = Self::over(postgres::server_home(&unique("standby")));
        let mut copy = postgres::as_server("pg_basebackup");
        copy.arg("-D").arg(standby.home.join("data")).args(["-R", "-X", "stream", "-c", "fast", "-d"]);
        copy.arg(self.url_of("postgres"));
        let copied = tokio::task::spawn_blocking(move || copy.output()).await.expect("a thread");
        let copied = copied.expect("pg_basebackup runs");
        assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        standby.go_on().await;
        standby
    }

    /// Starts the server at its old port, and waits until it answers.
    pub async fn go_on(&self) {
        let child = postgres::serve(&self.home, self.port);
        *self.child.lock() = Some(child);
        eventually("Postgres answers", PATIENCE, || async {
            PgConnection::connect(&self.url_of("postgres")).await.ok()
        })
        .await;
    }

    /// Shuts the server down: what runs is rolled back, connections end.
    pub async fn stop(&self) {
        let Some(mut child) = self.child.lock().take() else { return };
        signal("INT", &[child.id()]);
        let begun = Instant::now();
        while child.try_wait().expect("the state of the server").is_none() {
            assert!(begun.elapsed() < PATIENCE, "Postgres does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it was started and not stopped.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.lock().is_some()
    }

    /// The server and its children.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let Some(server) = self.child.lock().as_ref().map(Child::id) else { return Vec::new() };
        let all = std::fs::read_dir("/proc").expect("the processes").flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| *pid == server || parent(*pid) == Some(server)).collect()
    }

    /// Refuses to write from now on, as a primary that was replaced does.
    pub async fn demote(&self) {
        let mut admin = PgConnection::connect(&self.url_of("postgres")).await.expect("a connection to the server");
        for statement in ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut admin).await.expect("a setting");
        }
    }

    /// Takes over from `primary`, once it has all that `primary` had.
    pub async fn promote(&self, primary: &Self) {
        let mut there = PgConnection::connect(&primary.url_of("postgres")).await.expect("a connection to the primary");
        let mut here = PgConnection::connect(&self.url_of("postgres")).await.expect("a connection to the standby");
        let end: String = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text")
            .fetch_one(&mut there)
            .await
            .expect("a place");
        let begun = Instant::now();
        loop {
            let done: bool = sqlx::query_scalar("SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)")
                .bind(&end)
                .fetch_one(&mut here)
                .await
                .expect("how far the standby is");
            if done {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "the standby does not follow to {end}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sqlx::query("SELECT pg_promote()").execute(&mut here).await.expect("a promotion");
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `postgresql://…` of the gateway's database.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgresql://postgres:{PASSWORD}@{}/{database}", self.address())
    }

    /// A connection for the test's own look at the tables.
    pub async fn pool(&self) -> sqlx::PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.url()).await.expect("a connection to the database")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().take() {
            signal("INT", &[child.id()]);
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// Sends a signal by name.
fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    // Who has ended meanwhile needs none.
    let _ =
        std::process::Command::new("sh").args(["-c", &format!("kill -{name} {} 2>/dev/null", pids.join(" "))]).status();
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Stops processes, and lets them go on after a time: a process of its own sees to that, so that nothing stays frozen
/// when the tests are ended meanwhile.
pub async fn freeze(pids: &[u32], lasts: Duration) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let pids = pids.join(" ");
    let script = format!("kill -STOP {pids}; sleep {}; kill -CONT {pids}", lasts.as_secs_f64());
    let mut shell = std::process::Command::new("setsid");
    shell.args(["sh", "-c", &script]);
    let frozen = tokio::task::spawn_blocking(move || shell.status()).await.expect("a thread");
    assert!(frozen.is_ok_and(|status| status.success()), "{pids} were not frozen and freed");
}
