//! Gatewright itself, in either of its two forms, behind one set of addresses.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::admin::Admin;
use crate::client::Client;
use crate::paths;
use crate::postgres::Database;
use crate::process::{Launch, Process, Ready};

/// The master key of every gateway of the tests.
pub const MASTER_KEY: &str = "6d61737465722d6b65792d666f722d7468652d73797374656d2d746573747321";

/// Secrets that must never appear in any output, log or answer.
pub const CANARIES: [&str; 5] = [MASTER_KEY, RING_KEY, PEPPER_KEY, SESSION_KEY, NODE_KEY];
const RING_KEY: &str = "72696e672d6b65792d666f722d7468652d73797374656d2d74657374732d2d21";
const PEPPER_KEY: &str = "7065707065722d6b65792d666f722d7468652d73797374656d2d746573747321";
const SESSION_KEY: &str = "73657373696f6e2d6b65792d666f722d7468652d73797374656d2d7465737421";
const NODE_KEY: &str = "6e6f64652d6b65792d666f722d7468652d73797374656d2d74657374732d2d21";

/// How the planes are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both planes in one process.
    Standalone,
    /// Control plane and data plane as two processes.
    Split,
}

/// Both forms; what holds in one must hold in the other.
pub const MODES: [Mode; 2] = [Mode::Standalone, Mode::Split];

/// A running gateway on a database of its own.
pub struct Gateway {
    mode: Mode,
    inference: String,
    admin: String,
    operations: Vec<String>,
    /// The process that serves inference: standalone, or the data plane.
    data: Process,
    control: Option<Control>,
    database: Database,
    folder: PathBuf,
}

/// The control plane of a split gateway: it can be stopped, and started again at the same addresses.
struct Control {
    process: Mutex<Process>,
    ready: Ready,
    folder: PathBuf,
}

impl Gateway {
    /// Starts a gateway of this form for one test.
    pub async fn start(mode: Mode) -> Self {
        Self::start_with(mode, &[]).await
    }

    /// Starts a gateway of this form whose processes have these variables.
    pub async fn start_with(mode: Mode, variables: &[(&str, &str)]) -> Self {
        match mode {
            Mode::Standalone => Self::standalone_with(variables).await,
            Mode::Split => Self::split_with(variables).await,
        }
    }

    /// The gateway of this form that tests share when they keep to names of their own.
    pub async fn shared(mode: Mode) -> &'static Self {
        static STANDALONE: OnceCell<Gateway> = OnceCell::const_new();
        static SPLIT: OnceCell<Gateway> = OnceCell::const_new();
        match mode {
            Mode::Standalone => STANDALONE.get_or_init(Self::standalone).await,
            Mode::Split => SPLIT.get_or_init(Self::split).await,
        }
    }

    /// Both planes in one process.
    pub async fn standalone() -> Self {
        Self::standalone_with(&[]).await
    }

    async fn standalone_with(variables: &[(&str, &str)]) -> Self {
        let database = Database::migrated().await;
        let folder = paths::folder("standalone");
        let data = within(standalone_launch(&database, &folder), variables).start();
        let ready = data.ready().await;
        Self {
            mode: Mode::Standalone,
            inference: ready.public.clone(),
            admin: ready.public,
            operations: vec![ready.operations],
            data,
            control: None,
            database,
            folder,
        }
    }

    /// Control plane and data plane as two processes.
    pub async fn split() -> Self {
        Self::split_with(&[]).await
    }

    async fn split_with(variables: &[(&str, &str)]) -> Self {
        let database = Database::migrated().await;
        let control_folder = paths::folder("control-plane");
        let control = within(control_plane_launch(&database, &control_folder, None), variables).start();
        let control_ready = control.ready().await;
        let grpc = control_ready.grpc.clone().expect("the control plane prints its gRPC address");

        let token = join_token(&control_ready.public).await;
        let folder = paths::folder("data-plane");
        let data = within(data_plane_launch(&grpc, &token, &folder), variables).start();
        let ready = data.ready().await;
        Self {
            mode: Mode::Split,
            inference: ready.public,
            admin: control_ready.public.clone(),
            operations: vec![ready.operations, control_ready.operations.clone()],
            data,
            control: Some(Control { process: Mutex::new(control), ready: control_ready, folder: control_folder }),
            database,
            folder,
        }
    }

    /// Its form.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Where clients send inference requests.
    #[must_use]
    pub fn inference_url(&self) -> &str {
        &self.inference
    }

    /// Where operators send theirs.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin
    }

    /// Where data planes find the control plane of a split gateway.
    #[must_use]
    pub fn grpc_url(&self) -> &str {
        self.control().ready.grpc.as_deref().expect("the control plane prints its gRPC address")
    }

    /// Every operations address, the one of the data plane first.
    #[must_use]
    pub fn operations_urls(&self) -> &[String] {
        &self.operations
    }

    /// The key of the bootstrap administrator.
    #[must_use]
    pub const fn master_key(&self) -> &'static str {
        MASTER_KEY
    }

    /// A client of the inference surface, without a key.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&*self.inference)
    }

    /// The admin API with the master key.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(&self.admin, MASTER_KEY)
    }

    /// Its database.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The folder of the process that serves inference.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process that serves inference.
    #[must_use]
    pub const fn data_process(&self) -> &Process {
        &self.data
    }

    /// All that its processes printed and logged.
    #[must_use]
    pub fn said(&self) -> String {
        let control = self.control.as_ref().map(|control| control.process.lock().said()).unwrap_or_default();
        format!("{}{control}", self.data.said())
    }

    /// Resident memory of all its processes, in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.data.resident() + self.control.as_ref().map_or(0, |control| control.process.lock().resident())
    }

    /// Fails when one of its processes has ended.
    #[track_caller]
    pub fn assert_alive(&self) {
        assert!(self.data.ended().is_none(), "the gateway ended:\n{}", self.data.said());
        if let Some(control) = &self.control {
            let control = control.process.lock();
            assert!(control.ended().is_none(), "the control plane ended:\n{}", control.said());
        }
    }

    /// Ends the control plane as a crash would.
    pub fn kill_control_plane(&self) {
        self.control().process.lock().kill();
    }

    /// Starts the control plane again at its old addresses.
    pub async fn restart_control_plane(&self) {
        let control = self.control();
        let (process, _) = start_control(&self.database, &control.folder, Some(&control.ready)).await;
        *control.process.lock() = process;
    }

    /// Another data plane of a split gateway, in this folder and with these flags.
    pub async fn node(&self, folder: &Path, flags: &[&str]) -> (Process, Ready) {
        let grpc = self.control().ready.grpc.as_deref().expect("the control plane's gRPC address");
        let process = data_plane_launch(grpc, &join_token(&self.admin).await, folder).args(flags).start();
        let ready = process.ready().await;
        (process, ready)
    }

    fn control(&self) -> &Control {
        self.control.as_ref().expect("only a split gateway has a control plane of its own")
    }
}

/// `gatewright up` as an operator would start it on a given database.
#[must_use]
pub fn standalone_launch(database: &Database, folder: &Path) -> Launch {
    let secrets = folder.join("secrets");
    write_secrets(&secrets);
    Launch::new("gatewright")
        .args(["up", "--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"])
        .flag("--data-dir", folder.join("data"))
        .flag("--secrets-dir", secrets)
        .env("DATABASE_URL", database.url())
        .within(folder)
}

/// `gatewright-data-plane` joined to a control plane.
#[must_use]
pub fn data_plane_launch(grpc: &str, token: &str, folder: &Path) -> Launch {
    let secrets = folder.join("secrets");
    write_secret(&secrets, "node.key", NODE_KEY);
    Launch::new("gatewright-data-plane")
        .args(["--control-plane", grpc, "--join-token", token, "--insecure"])
        .args(["--listen", "127.0.0.1:0", "--operations-listen", "127.0.0.1:0"])
        .flag("--data-dir", folder.join("data"))
        .flag("--secrets-dir", secrets)
        .within(folder)
}

/// Makes a join token through the admin API.
pub async fn join_token(admin_url: &str) -> String {
    let body = json!({"name": crate::unique("node"), "group": "default", "expires_in_seconds": 3600});
    let reply = Client::new(admin_url).bearer(MASTER_KEY).post("/v1/admin/fleet/join-tokens", &body).send().await;
    assert!(matches!(reply.status, 200 | 201), "{}: {}", reply.status, reply.text());
    reply.json()["token"].as_str().expect("a join token").to_owned()
}

/// Writes every root secret as an operator would.
pub fn write_secrets(folder: &Path) {
    for (name, secret) in [
        ("master.key", MASTER_KEY),
        ("ring.key", RING_KEY),
        ("pepper.key", PEPPER_KEY),
        ("session.key", SESSION_KEY),
        ("node.key", NODE_KEY),
    ] {
        write_secret(folder, name, secret);
    }
}

fn write_secret(folder: &Path, name: &str, secret: &str) {
    use std::io::Write as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).expect("a folder for secrets");
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name)).expect("a secret's file");
    file.write_all(secret.as_bytes()).expect("a secret's text");
}

/// `gatewright-control-plane serve` on a given database, at the addresses it had before if there are any.
#[must_use]
pub fn control_plane_launch(database: &Database, folder: &Path, again: Option<&Ready>) -> Launch {
    control_plane_over(database.url(), folder, again)
}

/// The same on the database at this address.
#[must_use]
pub fn control_plane_over(database: &str, folder: &Path, again: Option<&Ready>) -> Launch {
    let place = |url: Option<&str>| url.and_then(|url| url.strip_prefix("http://")).unwrap_or("127.0.0.1:0").to_owned();
    let secrets = folder.join("secrets");
    write_secrets(&secrets);
    Launch::new("gatewright-control-plane")
        .args(["serve", "--insecure"])
        .flag("--listen", place(again.map(|ready| ready.public.as_str())))
        .flag("--grpc-listen", place(again.and_then(|ready| ready.grpc.as_deref())))
        .flag("--operations-listen", place(again.map(|ready| ready.operations.as_str())))
        .flag("--secrets-dir", secrets)
        .flag("--database-url", database)
        .within(folder)
}

fn within(launch: Launch, variables: &[(&str, &str)]) -> Launch {
    variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
}

async fn start_control(database: &Database, folder: &Path, again: Option<&Ready>) -> (Process, Ready) {
    let process = control_plane_launch(database, folder, again).start();
    let ready = process.ready().await;
    (process, ready)
}

/// How soon a change must be enforced everywhere.
pub const ENFORCED_WITHIN: Duration = Duration::from_secs(1);
