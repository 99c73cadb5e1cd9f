//! What a data plane starts with: flags, each with a `GATEWRIGHT_…` variable of the same name. There is no file.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args as ClapArgs, Parser};
use shared::kernel::secret::Secret;
use shared::runtime::logs::LogArgs;
use shared::runtime::outbound::OutboundArgs;
use shared::runtime::public::PublicArgs;
use shared::runtime::shutdown::DrainTiming;
use shared::runtime::words::duration;
use url::Url;

use crate::app::{CallLimits, OnFull};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
const OPERATIONS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9465);
/// Generations may be long; whoever cannot wait that long says so.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Serves inference from what a control plane streams.
#[derive(Debug, Clone, Parser)]
#[command(name = "gatewright-data-plane", version, about)]
pub struct Args {
    /// Control planes, such as https://control-plane:8081, with commas; any of them will do.
    #[arg(long, env = "GATEWRIGHT_CONTROL_PLANE", value_name = "URL", value_delimiter = ',', required = true)]
    pub control_plane: Vec<Url>,
    /// What lets this node in; needed until it has an identity in the data folder. Made by `gatewright-control-plane join-token create`.
    #[arg(long, env = "GATEWRIGHT_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = secret)]
    pub join_token: Option<Secret>,
    /// Address for clients.
    #[arg(long, env = "GATEWRIGHT_LISTEN", value_name = "ADDRESS", default_value_t = LISTEN)]
    pub listen: SocketAddr,
    /// Address for probes and metrics.
    #[arg(long, env = "GATEWRIGHT_OPERATIONS_LISTEN", value_name = "ADDRESS", default_value_t = OPERATIONS_LISTEN)]
    pub operations_listen: SocketAddr,
    /// Where this node keeps its id, its copy of the catalog and its unsent usage; without one they die with the process.
    #[arg(long, env = "GATEWRIGHT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where node.key is, which seals the copy of the catalog.
    #[arg(long, env = "GATEWRIGHT_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Speak to control planes beyond this machine without TLS.
    #[arg(long, env = "GATEWRIGHT_INSECURE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub insecure: bool,
    /// A fact about this node, such as region=eu-west; may be given many times, or with commas.
    #[arg(long, env = "GATEWRIGHT_LABEL", value_name = "NAME=VALUE", value_delimiter = ',', value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Let nobody in when the catalog is older than this, such as 12h [default: serve at any age].
    #[arg(long, env = "GATEWRIGHT_MAX_STALE", value_name = "DURATION", value_parser = duration)]
    pub max_stale: Option<Duration>,
    /// What calls may hold.
    #[command(flatten)]
    pub limits: CallLimitArgs,
    /// How long the address stays open after SIGTERM, for balancers that learn late.
    #[arg(long, env = "GATEWRIGHT_MIN_DRAIN", value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub min_drain: Duration,
    /// How long requests in flight may take after that [default: 300s].
    #[arg(long, env = "GATEWRIGHT_DRAIN_TIMEOUT", value_name = "DURATION", value_parser = duration)]
    pub drain_timeout: Option<Duration>,
    /// What is logged.
    #[command(flatten)]
    pub logs: LogArgs,
    /// How the public port is served.
    #[command(flatten)]
    pub public: PublicArgs,
    /// How upstreams are met.
    #[command(flatten)]
    pub outbound: OutboundArgs,
}

/// What calls may hold.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct CallLimitArgs {
    /// The largest body of a request, in bytes.
    #[arg(long, env = "GATEWRIGHT_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = CallLimits::default().body)]
    pub max_body_bytes: usize,
    /// The largest form, such as a recording, in bytes; beyond a megabyte it is kept in the folder for temporary files.
    #[arg(long, env = "GATEWRIGHT_MAX_FORM_BYTES", value_name = "BYTES", default_value_t = CallLimits::default().form)]
    pub max_form_bytes: usize,
    /// What the bodies of all requests together may hold, in bytes.
    #[arg(long, env = "GATEWRIGHT_MAX_BODIES_BYTES", value_name = "BYTES", default_value_t = CallLimits::default().bodies)]
    pub max_bodies_bytes: usize,
    /// What the usage records that wait for the control plane may hold, in bytes; they are kept in the data folder.
    #[arg(long, env = "GATEWRIGHT_MAX_SPOOL_BYTES", value_name = "BYTES", default_value_t = CallLimits::default().spool_bytes)]
    pub max_spool_bytes: u64,
    /// When they are more: refuse (calls are answered with 503) or drop_and_count (calls are served without a record).
    #[arg(long, env = "GATEWRIGHT_ON_SPOOL_FULL", value_name = "POLICY", default_value = "refuse", value_parser = on_full)]
    pub on_spool_full: OnFull,
}

impl CallLimitArgs {
    /// The limits that they set.
    #[must_use]
    pub const fn limits(&self) -> CallLimits {
        CallLimits {
            body: self.max_body_bytes,
            form: self.max_form_bytes,
            bodies: self.max_bodies_bytes,
            spool_bytes: self.max_spool_bytes,
            on_spool_full: self.on_spool_full,
        }
    }
}

impl Args {
    /// How the process ends.
    #[must_use]
    pub fn timing(&self) -> DrainTiming {
        let drain_timeout = self.drain_timeout.unwrap_or(DRAIN_TIMEOUT);
        DrainTiming { min_drain: self.min_drain, drain_timeout, ..DrainTiming::default() }
    }

    /// Facts about this node.
    #[must_use]
    pub fn labels(&self) -> HashMap<String, String> {
        self.label.iter().cloned().collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text.trim().to_owned()))
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
    parts
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("`{text}` is not NAME=VALUE"))
}

fn on_full(text: &str) -> Result<OnFull, String> {
    match text {
        "refuse" => Ok(OnFull::Refuse),
        "drop_and_count" => Ok(OnFull::DropAndCount),
        _ => Err(format!("`{text}` is not one of: refuse, drop_and_count")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn flags_are_read() {
        let line = [
            "x",
            "--control-plane",
            "http://a:8081,http://b:8081",
            "--join-token",
            "canary",
            "--label",
            "region=eu,rack=2",
            "--min-drain",
            "2m",
        ];
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!(args.control_plane.len(), 2);
        assert!(args.listen.ip().is_loopback() && args.operations_listen.ip().is_loopback(), "unless told otherwise");
        assert_eq!(args.timing().min_drain, Duration::from_secs(120));
        assert_eq!(args.labels().get("rack").map(String::as_str), Some("2"));
        assert!(!format!("{args:?}").contains("canary"));
        for (flag, bad) in [
            ("--label", "=x"),
            ("--max-stale", "1w"),
            ("--log-format", "xml"),
            ("--on-spool-full", "ignore"),
            ("--listen", "nowhere"),
        ] {
            let error = Args::try_parse_from(["x", "--control-plane", "http://a", flag, bad]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(bad), "{error}");
        }
        assert!(Args::try_parse_from(["x"]).unwrap_err().to_string().contains("--control-plane"));
    }
}
