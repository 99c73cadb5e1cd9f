//! Flags and their environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use shared::runtime::logs::LogArgs;
use shared::runtime::public::PublicArgs;
use shared::runtime::words::duration;

use super::{RevisionRetention, config_path};

/// How to reach the database.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// Configuration file [also: CONFIG_FILE, CONFIG_FILE_PATH].
    #[arg(long, visible_alias = "configuration", env = "GATEWRIGHT_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Postgres [also: DATABASE_URL, then the configuration file].
    #[arg(long, env = "GATEWRIGHT_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// Accept weak or default secrets. For trials only.
    #[arg(long, env = "GATEWRIGHT_DEV", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub dev: bool,
}

impl DatabaseArgs {
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        config_path(self.config.as_ref())
    }
}

/// How to serve.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file [also: CONFIG_FILE, CONFIG_FILE_PATH].
    #[arg(long, visible_alias = "configuration", env = "GATEWRIGHT_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Postgres [also: DATABASE_URL, then the configuration file].
    #[arg(long, env = "GATEWRIGHT_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// Address for operators and users [default: 127.0.0.1:8080].
    #[arg(long, env = "GATEWRIGHT_LISTEN", value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Address for data planes [default: 127.0.0.1:8081].
    #[arg(long, env = "GATEWRIGHT_GRPC_LISTEN", value_name = "ADDRESS")]
    pub(super) grpc_listen: Option<SocketAddr>,
    /// A host name or address under which data planes reach this control plane by https; may be given many times, or with
    /// commas. Those of this machine itself are always among them.
    #[arg(long, env = "GATEWRIGHT_GRPC_NAME", value_name = "NAME", value_delimiter = ',')]
    pub(super) grpc_name: Vec<String>,
    /// How long the certificates of data planes last; at most a day.
    #[arg(long, env = "GATEWRIGHT_CERTIFICATE_LIFETIME", value_name = "DURATION", value_parser = duration, default_value = "24h", hide = true)]
    pub(super) certificate_lifetime: Duration,
    /// Address for probes and metrics [default: 127.0.0.1:9464].
    #[arg(long, env = "GATEWRIGHT_OPERATIONS_LISTEN", value_name = "ADDRESS")]
    pub(super) operations_listen: Option<SocketAddr>,
    /// Where master.key, ring.key, pepper.key and session.key are.
    #[arg(long, env = "GATEWRIGHT_SECRETS_DIR", value_name = "DIR", default_value = "secrets")]
    pub(super) secrets_dir: PathBuf,
    /// Let data planes in by join token alone, without TLS, also beyond loopback; those that speak TLS need a certificate all the same.
    #[arg(long, env = "GATEWRIGHT_INSECURE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub insecure: bool,
    /// Accept weak or default secrets. For trials only.
    #[arg(long, env = "GATEWRIGHT_DEV", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub dev: bool,
    /// What is logged.
    #[command(flatten)]
    pub logs: LogArgs,
    /// How the public port is served.
    #[command(flatten)]
    pub(super) public: PublicArgs,
    /// How long what is written down is kept.
    #[command(flatten)]
    pub(super) retention: RetentionArgs,
    /// How long addresses stay open after SIGTERM, for balancers that learn late [default: 10s].
    #[arg(long, env = "GATEWRIGHT_MIN_DRAIN", value_name = "DURATION", value_parser = duration)]
    pub(super) min_drain: Option<Duration>,
    /// How long requests in flight may take after that [default: 60s].
    #[arg(long, env = "GATEWRIGHT_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(super) drain_timeout: Option<Duration>,
}

/// How long what is written down is kept.
#[derive(Debug, Clone, Copy, Args)]
pub struct RetentionArgs {
    /// How long usage records are kept, such as 400d; sums by the day are kept for ever [default: for ever].
    #[arg(long, env = "GATEWRIGHT_USAGE_RETENTION", value_name = "DURATION", value_parser = duration)]
    pub usage_retention: Option<Duration>,
    /// How many revisions of the catalog are kept at least, for looking back, rollback and nodes that come back.
    #[arg(long, env = "GATEWRIGHT_KEEP_REVISIONS", value_name = "COUNT", default_value_t = RevisionRetention::default().count)]
    pub keep_revisions: u64,
    /// How long older ones are kept, up to ten times that count [default: 30d].
    #[arg(long, env = "GATEWRIGHT_KEEP_REVISIONS_FOR", value_name = "DURATION", value_parser = duration)]
    pub keep_revisions_for: Option<Duration>,
}

impl RetentionArgs {
    /// How many revisions of the catalog are kept.
    #[must_use]
    pub fn revisions(&self) -> RevisionRetention {
        RevisionRetention {
            count: self.keep_revisions,
            age: self.keep_revisions_for.unwrap_or(RevisionRetention::default().age),
        }
    }
}

impl ServeArgs {
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        config_path(self.config.as_ref())
    }
}
