//! Flags and their environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use shared::runtime::public::PublicArgs;

use super::config_path;

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
    /// Address for probes and metrics [default: 127.0.0.1:9464].
    #[arg(long, env = "GATEWRIGHT_OPERATIONS_LISTEN", value_name = "ADDRESS")]
    pub(super) operations_listen: Option<SocketAddr>,
    /// Where master.key, ring.key, pepper.key and session.key are.
    #[arg(long, env = "GATEWRIGHT_SECRETS_DIR", value_name = "DIR", default_value = "secrets")]
    pub(super) secrets_dir: PathBuf,
    /// Let data planes in by join token alone, without TLS, also beyond loopback.
    #[arg(long, env = "GATEWRIGHT_INSECURE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub insecure: bool,
    /// Accept weak or default secrets. For trials only.
    #[arg(long, env = "GATEWRIGHT_DEV", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub dev: bool,
    /// How the public port is served.
    #[command(flatten)]
    pub(super) public: PublicArgs,
    /// How long usage records are kept, such as 400d; sums by the day are kept for ever [default: for ever].
    #[arg(long, env = "GATEWRIGHT_USAGE_RETENTION", value_name = "DURATION", value_parser = duration)]
    pub(super) usage_retention: Option<Duration>,
    /// How long addresses stay open after SIGTERM, for balancers that learn late [default: 10s].
    #[arg(long, env = "GATEWRIGHT_MIN_DRAIN", value_name = "DURATION", value_parser = duration)]
    pub(super) min_drain: Option<Duration>,
    /// How long requests in flight may take after that [default: 60s].
    #[arg(long, env = "GATEWRIGHT_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub(super) drain_timeout: Option<Duration>,
}

impl ServeArgs {
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        config_path(self.config.as_ref())
    }
}

/// `90`, `90s`, `15m`, `12h`, `30d`.
///
/// # Errors
/// A sentence that names the text and what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration such as 90s, 15m, 12h or 30d");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(duration("90").unwrap(), duration("90s").unwrap());
        for bad in ["", "d", "1w", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(bad).unwrap_err().contains(bad), "{bad}");
        }
    }
}
