//! `settings` → [`Settings`], with the checks that no table can make.

use std::net::SocketAddr;
use std::time::Duration;

use shared::catalog::{Compatibility, RouteGroups};
use shared::kernel::secret::Secret;
use shared::runtime::logs::{LogFormat, LogSettings, parse_level};
use shared::runtime::secrets_dir::MIN_LENGTH;

use super::{description, network};
use crate::dialect::finding::{Findings, Outcome};
use crate::dialect::plan::{Ownership, Settings};
use crate::dialect::walk::Fields;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Values that examples use, which are therefore no secrets at any length.
const DEFAULTS: [&str; 4] = ["changeme", "change-me", "master", "secret"];

/// Reads the section; what is wrong is in the findings and left out.
pub(super) fn read(fields: &Fields, dev: bool, findings: &mut Findings) -> Settings {
    let mut settings = Settings {
        master_key: secret(fields, "auth_master_key", dev, findings),
        master_username: fields.text("auth_master_username"),
        session_key: secret(fields, "session_secret_key", dev, findings),
        session_duration: seconds(fields, "auth_playground_session_duration"),
        key_max_expiration: days(fields, "auth_key_max_expiration_days"),
        logs: logs(fields, findings),
        metrics: fields.bool("monitoring_prometheus_enabled"),
        api: description::read(fields, findings),
        public: network::read(fields, findings),
        outbound: network::outbound(fields, findings),
        listen: fields.address("listen"),
        operations_listen: fields.address("operations_listen"),
        min_drain: fields.duration("min_drain"),
        drain_timeout: fields.duration("drain_timeout"),
        ..Settings::default()
    };
    let fleet = &mut settings.fleet;
    // A file of this form comes from OpenGateLLM's users unless it says otherwise.
    fleet.compatibility = word(fields, "compatibility").unwrap_or(Compatibility::OpenGateLlm);
    fleet.usage_tokenizer = word(fields, "usage_tokenizer").unwrap_or(fleet.usage_tokenizer);
    fleet.app_title = fields.text("app_title").unwrap_or_else(|| fleet.app_title.clone());
    fleet.master_inference = fields.bool("auth_master_key_inference").unwrap_or(true);
    fleet.disabled_routers = groups(fields, "disabled_routers");
    fleet.hidden_routers = groups(fields, "hidden_routers");
    if fields.text("models_ownership").as_deref() == Some("seed") {
        settings.models_ownership = Ownership::Seed;
    }
    independent_keys(fields, &settings, dev, findings);
    ports(fields, findings);
    usage(fields, findings);
    settings
}

/// A root secret: weak ones are for `--dev` alone.
fn secret(fields: &Fields, name: &str, dev: bool, findings: &mut Findings) -> Option<Secret> {
    let field = fields.get(name)?;
    let secret = Secret::new(fields.text(name)?);
    let default = DEFAULTS.iter().any(|default| secret.expose().trim().eq_ignore_ascii_case(default));
    let problem = match secret.expose().trim().chars().count() {
        0 => "is empty".to_owned(),
        _ if default => "is a well-known default".to_owned(),
        length if length < MIN_LENGTH => format!("has {length} characters"),
        _ => return Some(secret),
    };
    if dev {
        findings.note(&field.path, format!("{problem}: accepted because of --dev, never use it in production"));
        // An empty one would let everybody in even in a trial: the secrets directory has a better one.
        return (!secret.expose().trim().is_empty()).then_some(secret);
    }
    findings.refuse(
        &field.path,
        field.line,
        format!(
            "{problem}; it must be a random text of at least {MIN_LENGTH} characters and no default. Make a good one with: \
             openssl rand -hex 32 (or start with --dev to try things out)"
        ),
    );
    None
}

/// One secret in two roles would fall in both at once.
fn independent_keys(fields: &Fields, settings: &Settings, dev: bool, findings: &mut Findings) {
    let (Some(master), Some(session)) = (&settings.master_key, &settings.session_key) else { return };
    if let Some(field) = fields.get("session_secret_key").filter(|_| master.matches(session.expose())) {
        if dev {
            findings.note(&field.path, "is the same as the master key: accepted because of --dev");
        } else {
            findings.refuse(
                &field.path,
                field.line,
                "is the same as the master key; make its own with: openssl rand -hex 32",
            );
        }
    }
}

fn logs(fields: &Fields, findings: &mut Findings) -> LogSettings {
    let mut logs = LogSettings::default();
    if let (Some(level), Some(field)) = (fields.text("log_level"), fields.get("log_level")) {
        match parse_level(&level) {
            Ok(_) => logs.level = level,
            Err(_) => findings.refuse(
                &field.path,
                field.line,
                format!("is `{}`; DEBUG, INFO, WARNING, ERROR, CRITICAL, or a filter such as `info,data_plane=debug` is expected", field.shown),
            ),
        }
    }
    if let (Some(format), Some(field)) = (fields.text("log_format"), fields.get("log_format")) {
        match format.as_str() {
            "json" => logs.format = LogFormat::Json,
            "text" => {}
            _ => {
                let to = "text; a Python format string has no effect".to_owned();
                findings.set(&field.path, field.line, Outcome::Mapped { to });
            }
        }
    }
    logs
}

/// Two listeners cannot share a port, whatever their addresses look like.
fn ports(fields: &Fields, findings: &mut Findings) {
    let clash = |one: SocketAddr, two: SocketAddr| {
        let overlap = one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified();
        one.port() != 0 && one.port() == two.port() && overlap
    };
    let (public, operations) = (fields.address("listen"), fields.address("operations_listen"));
    if let (Some(public), Some(operations), Some(field)) = (public, operations, fields.get("operations_listen"))
        && clash(public, operations)
    {
        findings.refuse(
            &field.path,
            field.line,
            format!("is `{}`, the port of `settings.listen`; each needs its own", field.shown),
        );
    }
}

/// Accounting is what budgets and limits stand on: it cannot be switched off.
fn usage(fields: &Fields, findings: &mut Findings) {
    if let Some(field) =
        fields.get("monitoring_postgres_enabled").filter(|_| fields.bool("monitoring_postgres_enabled") == Some(false))
    {
        let reason = "usage is always recorded: budgets and limits are computed from it".to_owned();
        findings.set(&field.path, field.line, Outcome::NoEffect { reason });
    }
}

fn groups(fields: &Fields, name: &str) -> RouteGroups {
    fields.texts(name).iter().filter_map(|word| word.parse().ok()).collect()
}

fn word<T: std::str::FromStr>(fields: &Fields, name: &str) -> Option<T> {
    fields.text(name)?.parse().ok()
}

fn seconds(fields: &Fields, name: &str) -> Option<Duration> {
    fields.integer(name).and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
}

fn days(fields: &Fields, name: &str) -> Option<Duration> {
    fields.integer(name).and_then(|days| u32::try_from(days).ok()).map(|days| DAY * days)
}
