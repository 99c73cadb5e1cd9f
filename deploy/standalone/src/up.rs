//! `gatewright up`: files, database, both planes, one address.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use control_plane::app::{ControlPlane, StartError};
use control_plane::config::{Config, DatabaseConfig, Roots, config_path};
use control_plane::dialect::{ConfigErrors, LoadOptions, Loaded, load_file};
use shared::kernel::secret::Secret;
use shared::runtime::listen::{self, HttpLimits, ListenError};
use shared::runtime::logs::{LogError, Logs};
use shared::runtime::metrics::{Metrics, MetricsError};
use shared::runtime::operations;
use shared::runtime::readiness::Readiness;
use shared::runtime::secrets_dir::{RootSecrets, SecretsError};
use shared::runtime::shutdown::{DrainTiming, Shutdown};
use tokio::net::TcpListener;

use crate::cli::UpArgs;
use crate::demonstration::{self, DemonstrationError};
use crate::introduction;
use crate::postgres::{ChildPostgres, PostgresError};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
const OPERATIONS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A root secret.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The logs.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// The metrics recorder.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The child Postgres.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The control plane.
    #[error(transparent)]
    ControlPlane(#[from] StartError),
    /// The demonstration.
    #[error("the demonstration router could not be made")]
    Demonstration(#[from] DemonstrationError),
    /// Another process uses the data folder.
    #[error("{path} is in use by another gatewright: stop that one, or choose another folder (--data-dir, GATEWRIGHT_DATA_DIR)")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl UpError {
    /// 2 when changing the configuration is what helps.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Secrets(_) | Self::Logs(_) => 2,
            Self::ControlPlane(error) if error.is_configuration() => 2,
            _ => 1,
        }
    }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> UpError {
    |source| UpError::Io { doing: doing.into(), source }
}

/// Starts everything and returns when it has ended in order.
pub(crate) async fn up(args: &UpArgs) -> Result<(), UpError> {
    let file = match config_path(args.config.as_ref()) {
        Some(path) => Some(load_file(&path, &LoadOptions::of_process(args.dev))?),
        None => None,
    };
    let settings = file.as_ref().map(|file| file.plan.settings.clone()).unwrap_or_default();
    let logs = Logs::init(&settings.logs)?;
    tell_about(file.as_ref(), args.dev);

    let readiness = Readiness::new();
    let timing = DrainTiming {
        min_drain: args.min_drain.or(settings.min_drain).unwrap_or_default(),
        drain_timeout: args.drain_timeout.or(settings.drain_timeout).unwrap_or(DrainTiming::default().drain_timeout),
        ..DrainTiming::default()
    };
    let shutdown = Shutdown::new(readiness.clone(), timing);
    shutdown.on_signals().map_err(failed("handling signals"))?;
    let metrics = Metrics::install()?;
    metrics.keep_up(&shutdown);

    // Addresses first: a taken one is told before anything is waited for.
    let public = listen::bind(args.listen.or(settings.listen).unwrap_or(LISTEN), "--listen")?;
    let probes = listen::bind(args.operations_listen.or(settings.operations_listen).unwrap_or(OPERATIONS_LISTEN), "--operations-listen")?;
    let routes = operations::routes(readiness.clone(), settings.metrics.unwrap_or(true).then(|| metrics.clone()));
    let addresses = Addresses { public: address(&public)?, operations: address(&probes)? };
    tokio::spawn(listen::serve(probes, routes, HttpLimits::operations(), shutdown.clone()));

    let folders = Folders::prepare(args)?;
    let roots = RootSecrets::load_or_create(&folders.secrets)?;
    let (database, child) = database(args, file.as_ref(), &folders)?;
    let first = Start { args, folders, roots, database, file, readiness, shutdown, addresses };
    let done = first.run(public).await;
    if let Some(child) = child {
        child.stop();
    }
    drop(logs);
    done
}

/// What an operator must know of a file before it takes effect.
fn tell_about(file: Option<&Loaded>, dev: bool) {
    if dev {
        tracing::warn!("--dev: weak and default secrets are accepted; anybody who knows them has every right");
    }
    for finding in file.into_iter().flat_map(|file| file.findings.without_effect()) {
        tracing::warn!(target: "configuration", "{finding}");
    }
}

#[derive(Clone, Copy)]
struct Addresses {
    public: SocketAddr,
    operations: SocketAddr,
}

fn address(listener: &TcpListener) -> Result<SocketAddr, UpError> {
    listener.local_addr().map_err(failed("reading the address of a listener"))
}

/// The data folder, held by this process alone, and the folder of secrets.
struct Folders {
    data: PathBuf,
    secrets: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Folders {
    fn prepare(args: &UpArgs) -> Result<Self, UpError> {
        let make = |path: &Path| {
            fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(failed(format!("making the folder {}", path.display())))
        };
        let data = make(&args.data_dir)?;
        let lock_file = data.join("lock");
        let lock = File::create(&lock_file).map_err(failed(format!("opening {}", lock_file.display())))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(UpError::Locked { path: data }),
            Err(TryLockError::Error(source)) => return Err(failed(format!("locking {}", lock_file.display()))(source)),
        }
        let secrets = args.secrets();
        let secrets = secrets.canonicalize().unwrap_or_else(|_| std::path::absolute(&secrets).unwrap_or(secrets));
        Ok(Self { data, secrets, _lock: lock })
    }
}

/// The database that is named, by flag, variable or file; else a child of ours.
fn database(args: &UpArgs, file: Option<&Loaded>, folders: &Folders) -> Result<(DatabaseConfig, Option<ChildPostgres>), UpError> {
    let settings = file.map(|file| file.plan.settings.clone()).unwrap_or_default();
    let named = args.database_url.clone().filter(|url| !url.is_empty()).map(Secret::new);
    if let Some(database) = DatabaseConfig::named(named, &settings) {
        return Ok((database, None));
    }
    let child = ChildPostgres::start(&folders.data, &folders.secrets)?;
    tracing::info!(folder = %child.folder().display(), "Postgres of our own is ready");
    Ok((DatabaseConfig::new(child.url()), Some(child)))
}

struct Start<'a> {
    args: &'a UpArgs,
    folders: Folders,
    roots: RootSecrets,
    database: DatabaseConfig,
    file: Option<Loaded>,
    readiness: Readiness,
    shutdown: Shutdown,
    addresses: Addresses,
}

impl Start<'_> {
    async fn run(self, public: TcpListener) -> Result<(), UpError> {
        let settings = self.file.as_ref().map(|file| file.plan.settings.clone()).unwrap_or_default();
        let master = settings.master_key.clone().unwrap_or_else(|| self.roots.master.clone());
        let has_file = self.file.is_some();
        let config = Config {
            database: self.database,
            roots: Roots::load(&self.folders.secrets, &settings)?,
            file: self.file,
            usage_retention: None,
        };
        let control = tokio::select! {
            control = ControlPlane::start(&config, &self.readiness, &self.shutdown) => control?,
            () = self.shutdown.draining() => return Ok(()),
        };
        let (dialer, mut line) = Dialer::local();
        let serving = control.clone();
        tokio::spawn(async move {
            while let Some(connection) = line.recv().await {
                serving.serve_local(connection);
            }
        });
        let node = self.roots.node;
        todo!()
    }
}
