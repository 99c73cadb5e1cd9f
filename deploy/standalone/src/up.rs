//! `gatewright up`: files, database, both planes, one address.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control_plane::app::{ControlPlane, StartError};
use control_plane::config::{Config, ConfigError, DatabaseConfig, RetentionArgs, Roots, config_path, settings_of};
use control_plane::dialect::{ConfigErrors, LoadOptions, Loaded, Settings, load_file};
use data_plane::app::{CallLimits, DataPlane, Options, Upstreams};
use data_plane::link::Dialer;
use shared::runtime::listen::{self, HttpLimits, ListenError, Port};
use shared::runtime::logs::{LogError, Logs};
use shared::runtime::metrics::{Metrics, MetricsError};
use shared::runtime::operations;
use shared::runtime::public::{HalfPair, PublicSettings};
use shared::runtime::readiness::{Condition, Readiness};
use shared::runtime::secrets_dir::{RootSecrets, SecretsError};
use shared::runtime::shutdown::{DrainTiming, Shutdown};
use shared::runtime::telemetry;
use shared::runtime::tls::TlsError;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::cli::UpArgs;
use crate::demonstration::{self, DemonstrationError};
use crate::introduction::{self, Places};
use crate::postgres::{ChildPostgres, PostgresError};
use crate::public::Public;

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
const OPERATIONS_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Where the OpenAPI document is unless told otherwise.
const OPENAPI_PATH: &str = "/openapi.json";

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the control plane is assembled from.
    #[error(transparent)]
    Assembly(#[from] ConfigError),
    /// Half of what TLS needs.
    #[error(transparent)]
    HalfPair(#[from] HalfPair),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data plane.
    #[error(transparent)]
    DataPlane(#[from] data_plane::app::StartError),
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
    #[error(
        "{path} is in use by another gatewright: stop that one, or choose another folder (--data-dir, GATEWRIGHT_DATA_DIR)"
    )]
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
            Self::Config(_)
            | Self::Assembly(_)
            | Self::Secrets(_)
            | Self::Logs(_)
            | Self::HalfPair(_)
            | Self::Tls(_) => 2,
            Self::DataPlane(error) if error.is_configuration() => 2,
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
    let settings = settings_of(file.as_ref());
    let logs = Arc::new(Logs::init(&args.logs.over(settings.logs.clone())?)?);
    tell_about(file.as_ref(), args.dev);

    let readiness = Readiness::new();
    // Before anybody can ask: nothing is ready while the database is still starting.
    let _ = readiness.condition("started");
    let timing = DrainTiming {
        min_drain: args.min_drain.or(settings.min_drain).unwrap_or_default(),
        drain_timeout: args.drain_timeout.or(settings.drain_timeout).unwrap_or(DrainTiming::default().drain_timeout),
        ..DrainTiming::default()
    };
    let shutdown = Shutdown::new(readiness.clone(), timing);
    shutdown.on_signals().map_err(failed("handling signals"))?;
    let metrics = Metrics::install()?;
    metrics.keep_up(&shutdown);
    telemetry::install("gatewright", &shutdown);

    // Addresses first: a taken one is told before anything is waited for.
    let public = listen::bind(args.listen.or(settings.listen).unwrap_or(LISTEN), "--listen")?;
    let probes = listen::bind(
        args.operations_listen.or(settings.operations_listen).unwrap_or(OPERATIONS_LISTEN),
        "--operations-listen",
    )?;
    let routes = operations::routes(readiness.clone(), settings.metrics.unwrap_or(true).then(|| metrics.clone()));
    let addresses = Addresses { public: address(&public)?, operations: address(&probes)? };
    tokio::spawn(listen::serve(probes, routes, Port::operations(), shutdown.clone()));

    let port = args.public.clone().over(settings.public.clone())?;
    let upstreams = Upstreams::of_process(&args.outbound.clone().over(settings.outbound.clone())?)?;
    let folders = Folders::prepare(args)?;
    RootSecrets::load_or_create(&folders.secrets)?;
    let (database, child) = database(args, &settings, &folders)?;
    let (limits, retention) = (args.limits.limits(), args.retention);
    let start = Start {
        limits,
        retention,
        folders,
        logs,
        database,
        file,
        public: port,
        upstreams,
        readiness,
        shutdown,
        addresses,
    };
    let done = start.run(public).await;
    if let Some(child) = child {
        child.stop();
    }
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
            fs::create_dir_all(path)
                .and_then(|()| path.canonicalize())
                .map_err(failed(format!("making the folder {}", path.display())))
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
fn database(
    args: &UpArgs,
    settings: &Settings,
    folders: &Folders,
) -> Result<(DatabaseConfig, Option<ChildPostgres>), UpError> {
    match DatabaseConfig::resolve(args.database_url.as_deref(), settings) {
        Ok(database) => return Ok((database, None)),
        Err(ConfigError::NoDatabase) => {}
        Err(error) => return Err(error.into()),
    }
    let child = ChildPostgres::start(&folders.data, &folders.secrets)?;
    tracing::info!(folder = %child.folder().display(), "Postgres of our own is ready");
    Ok((DatabaseConfig::new(child.url()), Some(child)))
}

struct Start {
    folders: Folders,
    logs: Arc<Logs>,
    database: DatabaseConfig,
    file: Option<Loaded>,
    public: PublicSettings,
    upstreams: Upstreams,
    limits: CallLimits,
    retention: RetentionArgs,
    readiness: Readiness,
    shutdown: Shutdown,
    addresses: Addresses,
}

impl Start {
    async fn run(self, public: TcpListener) -> Result<(), UpError> {
        let settings = settings_of(self.file.as_ref());
        let config = Config {
            database: self.database,
            roots: Roots::load(&self.folders.secrets, &settings)?,
            file: self.file,
            usage_retention: self.retention.usage_retention,
            revisions: self.retention.revisions(),
            prefix: self.public.edge.prefix.clone(),
        };
        // A bad certificate is told before anything is waited for.
        let served = self.public.open(HttpLimits::default(), &self.shutdown)?;
        let started = self.readiness.condition("started");
        let control = tokio::select! {
            control = ControlPlane::start(&config, &self.readiness, &self.shutdown) => control?,
            () = self.shutdown.draining() => return Ok(()),
        };
        let options = node_options(&control, self.upstreams, self.limits, &self.folders.data, &self.logs);
        let node = DataPlane::start(options, &self.readiness, &self.shutdown)?;
        let document_path = settings.api.openapi_path.as_deref().unwrap_or(OPENAPI_PATH);
        let unseen = settings.fleet.disabled_routers.with(settings.fleet.hidden_routers);
        let service = Public::new(node.service(), control.management(), control.openapi(), unseen, document_path);
        tokio::spawn(listen::serve(public, service, served, self.shutdown.clone()));

        let key = match config.file {
            Some(_) => None,
            None => demonstration::prepare(&control.management(), &config.roots.master, &self.folders.secrets).await?,
        };
        tokio::select! {
            () = until_met(&self.readiness, &started) => {}
            () = self.shutdown.draining() => {}
        }
        if let Some(key) = &key {
            demonstration::until_known(&node.service(), key).await?;
        }
        let places = Places {
            public: self.public.url(self.addresses.public),
            operations: format!("http://{}", self.addresses.operations),
            secrets: &self.folders.secrets,
            demonstration_key: key.as_deref(),
        };
        introduction::write(&mut io::stdout().lock(), &places).map_err(failed("writing to standard output"))?;
        self.shutdown.finished().await;
        control.close().await;
        Ok(())
    }
}

/// The data plane of this process: it dials the control plane of this process.
fn node_options(
    control: &ControlPlane,
    upstreams: Upstreams,
    limits: CallLimits,
    data_dir: &Path,
    logs: &Arc<Logs>,
) -> Options {
    let (dialer, mut line) = Dialer::local();
    let control = control.clone();
    tokio::spawn(async move {
        while let Some(connection) = line.recv().await {
            control.serve_local(connection);
        }
    });
    let logs = Arc::clone(logs);
    Options {
        dialer,
        upstreams,
        data_dir: Some(data_dir.to_owned()),
        // Its control plane is never away while it lives, so it needs no copy of the catalog.
        node_key: None,
        labels: HashMap::new(),
        max_stale: None,
        limits,
        log_level: Arc::new(move |level: &str| {
            if let Err(error) = logs.set_level(level) {
                tracing::warn!(%error, "the log level stays as it is");
            }
        }),
    }
}

/// Waits until nothing but `started` stands in the way, and then says so.
async fn until_met(readiness: &Readiness, started: &Condition) {
    while readiness.unmet().len() > 1 {
        sleep(Duration::from_millis(5)).await;
    }
    started.set(true);
}
