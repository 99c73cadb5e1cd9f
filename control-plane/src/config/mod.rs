//! What the control plane starts with: flags, environment, configuration file and secrets, put together once.
//!
//! Flags win over the environment, both win over the file, and defaults come last; for secrets the file wins over the
//! directory. What operators manage while it runs is the catalog and not here.

mod args;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::kernel::secret::Secret;
use shared::runtime::edge::PathPrefix;
use shared::runtime::public::{HalfPair, PublicSettings};
use shared::runtime::secrets_dir::{RootSecret, SecretsError, read, read_optional};
use shared::runtime::shutdown::DrainTiming;

pub use args::{DatabaseArgs, RetentionArgs, ServeArgs};

use crate::dialect::{ConfigErrors, LoadOptions, Loaded, Settings, load_file};

/// Where operators reach it unless told otherwise.
const LISTEN: SocketAddr = local(8080);
/// Where data planes reach it unless told otherwise.
const GRPC_LISTEN: SocketAddr = local(8081);
/// Where probes reach it unless told otherwise.
const OPERATIONS_LISTEN: SocketAddr = local(9464);

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// The root secrets that the control plane holds.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Bootstrap and break-glass administration.
    pub master: Secret,
    /// The key ring, one key on each line.
    pub ring: Secret,
    /// Verifies virtual keys.
    pub pepper: Secret,
}

impl Roots {
    /// From a directory; a configuration file's master key wins over the directory's.
    ///
    /// # Errors
    /// [`SecretsError`] when one is missing, too open or weak.
    pub fn load(dir: &Path, settings: &Settings) -> Result<Self, SecretsError> {
        let master = match &settings.master_key {
            Some(master) => master.clone(),
            None => read(dir, RootSecret::Master)?,
        };
        // Nothing is signed with it yet; a bad one is to be noticed today and not then.
        if settings.session_key.is_none() {
            read_optional(dir, RootSecret::Session)?;
        }
        Ok(Self { master, ring: read(dir, RootSecret::Ring)?, pepper: read(dir, RootSecret::Pepper)? })
    }
}

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Its URL, password included.
    pub url: Secret,
    /// The most connections this process may hold.
    pub connections: u32,
    /// After which the server gives up on a statement.
    pub statement_timeout: Duration,
    /// How long to wait for it at the start.
    pub patience: Duration,
}

impl DatabaseConfig {
    /// With the defaults for everything but the URL.
    #[must_use]
    pub const fn new(url: Secret) -> Self {
        Self { url, connections: 20, statement_timeout: Duration::from_secs(10), patience: Duration::from_secs(60) }
    }

    /// The database that is named by a flag or variable, else the one of the configuration file, with the file's limits
    /// in both cases; absent when nobody names one.
    #[must_use]
    pub fn named(flag: Option<Secret>, settings: &Settings) -> Option<Self> {
        let file = settings.database.as_ref();
        let mut database = Self::new(flag.or_else(|| file.map(|database| database.url.clone()))?);
        if let Some(file) = file {
            database.connections = file.max_connections.unwrap_or(database.connections);
            database.statement_timeout = file.statement_timeout.unwrap_or(database.statement_timeout);
        }
        Some(database)
    }

    /// The database that is named: by flag, by `DATABASE_URL`, or by the file.
    ///
    /// # Errors
    /// [`ConfigError::NoDatabase`] when nobody names one.
    pub fn resolve(flag: Option<&str>, settings: &Settings) -> Result<Self, ConfigError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        // Clap has looked at GATEWRIGHT_DATABASE_URL already; the other name is what platforms set.
        let flag = flag.filter(|url| !url.is_empty()).map(str::to_owned).or_else(|| variable("DATABASE_URL"));
        Self::named(flag.map(Secret::new), settings).ok_or(ConfigError::NoDatabase)
    }
}

/// How many revisions of the catalog are kept, for looking back, rollback and nodes that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionRetention {
    /// So many at least.
    pub count: u64,
    /// Older ones while they are younger than this, up to ten times the count.
    pub age: Duration,
}

impl Default for RevisionRetention {
    fn default() -> Self {
        Self { count: 10_000, age: Duration::from_secs(30 * 24 * 3_600) }
    }
}

/// Everything that the control plane is assembled from, whoever starts it.
#[derive(Debug)]
pub struct Config {
    /// The database.
    pub database: DatabaseConfig,
    /// The root secrets.
    pub roots: Roots,
    /// The configuration file, when there is one.
    pub file: Option<Loaded>,
    /// How long usage records are kept; absent: for ever.
    pub usage_retention: Option<Duration>,
    /// How many revisions of the catalog are kept.
    pub revisions: RevisionRetention,
    /// Below which path clients find the management surface.
    pub prefix: PathPrefix,
}

impl Config {
    /// The settings of the file, or the defaults.
    #[must_use]
    pub fn settings(&self) -> Settings {
        settings_of(self.file.as_ref())
    }
}

/// The settings of a file, or the defaults.
#[must_use]
pub fn settings_of(file: Option<&Loaded>) -> Settings {
    file.map(|file| file.plan.settings.clone()).unwrap_or_default()
}

/// How the port for data planes is served.
#[derive(Debug, Clone)]
pub struct NodePort {
    /// By which its certificate names it.
    pub names: Vec<String>,
    /// Whether connections without TLS are taken too.
    pub plain: bool,
    /// How long the certificates of nodes last.
    pub certificate_lifetime: Duration,
}

/// Addresses and behaviour of a control plane that is a process of its own.
#[derive(Debug)]
pub struct ServeConfig {
    /// What it is assembled from.
    pub config: Config,
    /// For operators and users.
    pub listen: SocketAddr,
    /// How that port is served: certificate, path prefix, proxies, origins.
    pub public: PublicSettings,
    /// For data planes.
    pub grpc_listen: SocketAddr,
    /// How that port is served.
    pub nodes: NodePort,
    /// For probes and metrics.
    pub operations_listen: SocketAddr,
    /// How it ends.
    pub timing: DrainTiming,
}

/// Why it cannot start as configured: always exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is refused.
    #[error(transparent)]
    File(#[from] ConfigErrors),
    /// A root secret is missing or bad.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Nobody said where the database is.
    #[error(
        "no database is named: give --database-url (GATEWRIGHT_DATABASE_URL, DATABASE_URL), or dependencies.postgres.url in the configuration file"
    )]
    NoDatabase,
    /// A certificate without its key, or the other way round.
    #[error(transparent)]
    HalfPair(#[from] HalfPair),
}

impl ServeConfig {
    /// Puts everything together.
    ///
    /// # Errors
    /// [`ConfigError`], whose text names what to change.
    pub fn resolve(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = load_configuration(args.config_file().as_deref(), args.dev)?;
        let settings = settings_of(file.as_ref());
        let grpc_listen = args.grpc_listen.unwrap_or(GRPC_LISTEN);
        let mut names = args.grpc_name.clone();
        if !grpc_listen.ip().is_unspecified() {
            names.push(grpc_listen.ip().to_string());
        }
        let nodes = NodePort {
            names,
            plain: grpc_listen.ip().is_loopback() || args.insecure,
            certificate_lifetime: args.certificate_lifetime,
        };
        let default = DrainTiming::default();
        let public = args.public.clone().over(settings.public.clone())?;
        let prefix = public.edge.prefix.clone();
        Ok(Self {
            public,
            listen: args.listen.or(settings.listen).unwrap_or(LISTEN),
            grpc_listen,
            nodes,
            operations_listen: args.operations_listen.or(settings.operations_listen).unwrap_or(OPERATIONS_LISTEN),
            timing: DrainTiming {
                min_drain: args.min_drain.or(settings.min_drain).unwrap_or(default.min_drain),
                drain_timeout: args.drain_timeout.or(settings.drain_timeout).unwrap_or(default.drain_timeout),
                ..default
            },
            config: Config {
                database: DatabaseConfig::resolve(args.database_url.as_deref(), &settings)?,
                roots: Roots::load(&args.secrets_dir, &settings)?,
                file,
                usage_retention: args.retention.usage_retention,
                revisions: args.retention.revisions(),
                prefix,
            },
        })
    }
}

/// What commands need that only talk to the database.
///
/// # Errors
/// [`ConfigError`], whose text names what to change.
pub fn database_of(args: &DatabaseArgs) -> Result<DatabaseConfig, ConfigError> {
    let file = load_configuration(args.config_file().as_deref(), args.dev)?;
    DatabaseConfig::resolve(args.database_url.as_deref(), &settings_of(file.as_ref()))
}

fn load_configuration(path: Option<&Path>, dev: bool) -> Result<Option<Loaded>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    Ok(Some(load_file(path, &LoadOptions::of_process(dev))?))
}

/// The configuration file: by flag or `GATEWRIGHT_CONFIG`, or by the names that other systems give the variable.
#[must_use]
pub fn config_path(flag: Option<&PathBuf>) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let given = flag.cloned().into_iter().chain(variable("CONFIG_FILE")).chain(variable("CONFIG_FILE_PATH"));
    given.into_iter().find(|path| !path.as_os_str().is_empty())
}
