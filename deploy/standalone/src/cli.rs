//! The words of the command line; each flag has a `GATEWRIGHT_…` variable of the same name.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use control_plane::config::RetentionArgs;
use data_plane::config::CallLimitArgs;
use shared::runtime::logs::LogArgs;
use shared::runtime::outbound::OutboundArgs;
use shared::runtime::public::PublicArgs;
use shared::runtime::words::duration;

/// One OpenAI-compatible address in front of every model an organization uses.
#[derive(Debug, Parser)]
#[command(name = "gatewright", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the control plane and a data plane in this process, with a Postgres of their own unless one is named.
    Up(Box<UpArgs>),
    /// Print the document about metrics.
    #[command(hide = true)]
    Metrics,
    /// Work with configuration files.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key of a file with its outcome: honoured, mapped, no effect, or refused.
    Check {
        /// The file.
        file: PathBuf,
        /// Accept weak or default secrets.
        #[arg(long, env = "GATEWRIGHT_DEV")]
        dev: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Configuration file [also: CONFIG_FILE, CONFIG_FILE_PATH].
    #[arg(long, visible_alias = "configuration", env = "GATEWRIGHT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything that must outlive the process is kept.
    #[arg(long, env = "GATEWRIGHT_DATA_DIR", value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// Address for clients and operators [default: 127.0.0.1:8000].
    #[arg(long, env = "GATEWRIGHT_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for probes and metrics [default: 127.0.0.1:9464].
    #[arg(long, env = "GATEWRIGHT_OPERATIONS_LISTEN", value_name = "ADDRESS")]
    pub(crate) operations_listen: Option<SocketAddr>,
    /// Where the root secrets are [default: <data-dir>/secrets].
    #[arg(long, env = "GATEWRIGHT_SECRETS_DIR", value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// A running Postgres to use instead of a child process [the configuration file's comes after it].
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
    #[command(flatten)]
    pub(crate) public: PublicArgs,
    #[command(flatten)]
    pub(crate) outbound: OutboundArgs,
    #[command(flatten)]
    pub(crate) limits: CallLimitArgs,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
    /// Accept weak or default secrets. For trials only.
    #[arg(long, env = "GATEWRIGHT_DEV")]
    pub(crate) dev: bool,
    /// How long the address stays open after SIGTERM, for balancers that learn late [default: 0s].
    #[arg(long, env = "GATEWRIGHT_MIN_DRAIN", value_name = "DURATION", value_parser = duration)]
    pub(crate) min_drain: Option<Duration>,
    /// How long requests in flight may take after that [default: 60s].
    #[arg(long, env = "GATEWRIGHT_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(crate) drain_timeout: Option<Duration>,
}

impl UpArgs {
    /// Where the root secrets are.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.secrets_dir.clone().unwrap_or_else(|| self.data_dir.join("secrets"))
    }
}
