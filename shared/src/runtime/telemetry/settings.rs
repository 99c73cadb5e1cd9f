//! The `OTEL_…` variables, by the names that every OpenTelemetry SDK gives them.

use std::fmt;
use std::time::Duration;

use http::Uri;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

/// How long one export may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A gRPC service, by custom on port 4317.
    Grpc,
    /// A binary message by POST, by custom on port 4318.
    HttpProtobuf,
}

/// The port of collectors for HTTP.
const HTTP_PORT: u16 = 4318;
/// Where they take spans.
const HTTP_PATH: &str = "/v1/traces";

/// Where spans go, and which.
#[derive(Clone)]
pub struct TraceSettings {
    /// How they travel.
    pub protocol: Protocol,
    /// The collector; for HTTP with the path.
    pub endpoint: Uri,
    /// Sent with each export; may hold credentials.
    pub headers: MetadataMap,
    /// How long one export may take.
    pub timeout: Duration,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Facts about this process.
    pub resource: Vec<(String, String)>,
}

/// Why spans cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// An address that is none.
    #[error(
        "{variable} is not the address of a collector: http://HOST:4317 (gRPC) or http://HOST:4318 (HTTP), or the same with https, is expected"
    )]
    Endpoint {
        /// Which variable.
        variable: &'static str,
    },
    /// A protocol that is not spoken.
    #[error("{variable} is `{value}`: `grpc` or `http/protobuf` is expected")]
    Protocol {
        /// Which variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// Headers that cannot be sent. They may be secrets and are not shown.
    #[error("{variable} is not a list such as name=value,name=value")]
    Headers {
        /// Which variable.
        variable: &'static str,
    },
    /// A sampler that is none.
    #[error(
        "OTEL_TRACES_SAMPLER is `{value}`: always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio is expected"
    )]
    Sampler {
        /// What it holds.
        value: String,
    },
    /// A share that is none.
    #[error("OTEL_TRACES_SAMPLER_ARG is `{value}`: a share from 0 to 1 is expected")]
    Share {
        /// What it holds.
        value: String,
    },
    /// A time that is none.
    #[error("OTEL_EXPORTER_OTLP_TIMEOUT is `{value}`: milliseconds are expected")]
    Timeout {
        /// What it holds.
        value: String,
    },
}

/// Reads a variable.
type Variable<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl TraceSettings {
    /// The settings of this process; nothing when no endpoint is named or traces are switched off.
    ///
    /// # Errors
    /// [`TraceError`], which names the variable.
    pub fn read(service: &str, variable: &Variable<'_>) -> Result<Option<Self>, TraceError> {
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, get(name)?)));
        let endpoint = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
        let Some((variable, endpoint)) = endpoint.filter(|_| !off) else { return Ok(None) };
        let endpoint = address(&endpoint).ok_or(TraceError::Endpoint { variable })?;
        let protocol = match first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]) {
            None if endpoint.port_u16() == Some(HTTP_PORT) => Protocol::HttpProtobuf,
            None => Protocol::Grpc,
            Some((_, value)) if value == "grpc" => Protocol::Grpc,
            Some((_, value)) if value == "http/protobuf" => Protocol::HttpProtobuf,
            Some((variable, value)) => return Err(TraceError::Protocol { variable, value }),
        };
        // An endpoint for traces alone is taken as it stands; the one for everything lacks their path.
        let endpoint = match protocol {
            Protocol::HttpProtobuf if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                below(&endpoint, HTTP_PATH).ok_or(TraceError::Endpoint { variable })?
            }
            _ => endpoint,
        };
        let headers = match first(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) {
            Some((variable, text)) => headers(&text).ok_or(TraceError::Headers { variable })?,
            None => MetadataMap::new(),
        };
        let timeout = match first(["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]) {
            Some((_, value)) => value.parse().map(Duration::from_millis).map_err(|_| TraceError::Timeout { value })?,
            None => TIMEOUT,
        };
        let sampler = Sampler::read(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?;
        let resource = resource(service, get("OTEL_SERVICE_NAME"), get("OTEL_RESOURCE_ATTRIBUTES"));
        Ok(Some(Self { protocol, endpoint, headers, timeout, sampler, resource }))
    }
}

fn address(text: &str) -> Option<Uri> {
    // SDKs take an address without a scheme for plain gRPC.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = text.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()))
        .then_some(uri)
}

fn below(base: &Uri, path: &str) -> Option<Uri> {
    format!("{}{path}", base.to_string().trim_end_matches('/')).parse().ok()
}

/// `name=value,name=value`, values percent-encoded where they hold a comma.
fn headers(text: &str) -> Option<MetadataMap> {
    let mut headers = MetadataMap::new();
    for pair in pairs(text) {
        let (name, value) = pair?;
        let name: MetadataKey<Ascii> = name.to_ascii_lowercase().parse().ok()?;
        let mut value: MetadataValue<Ascii> = value.parse().ok()?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Some(headers)
}

fn resource(service: &str, name: Option<String>, attributes: Option<String>) -> Vec<(String, String)> {
    let attributes = attributes.unwrap_or_default();
    let mut all: Vec<_> = pairs(&attributes).flatten().collect();
    if let Some(name) = name {
        all.retain(|(key, _)| key != "service.name");
        all.push(("service.name".to_owned(), name));
    }
    for (key, value) in [("service.name", service), ("service.version", env!("CARGO_PKG_VERSION"))] {
        if !all.iter().any(|(known, _)| known == key) {
            all.push((key.to_owned(), value.to_owned()));
        }
    }
    all
}

fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned()))
    })
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Whether the caller's decision counts.
    follows_parent: bool,
    /// Of traces that begin here: kept when the random part of their id is at least this.
    threshold: u64,
}

/// The random part of a trace id: its last seven bytes.
const RANDOM: u64 = 1 << 56;

impl Sampler {
    /// All traces that nobody decided about, and those that their callers keep.
    pub const DEFAULT: Self = Self { follows_parent: true, threshold: 0 };

    fn read(name: Option<String>, share: Option<String>) -> Result<Self, TraceError> {
        let Some(name) = name else { return Ok(Self::DEFAULT) };
        let (follows_parent, rule) =
            name.strip_prefix("parentbased_").map_or((false, name.as_str()), |rule| (true, rule));
        let threshold = match rule {
            "always_on" => 0,
            "always_off" => RANDOM,
            "traceidratio" => ratio(share.unwrap_or_else(|| "1".to_owned()))?,
            _ => return Err(TraceError::Sampler { value: name }),
        };
        Ok(Self { follows_parent, threshold })
    }

    /// Whether a trace is kept; `parent` is what the caller decided.
    #[must_use]
    pub const fn samples(self, trace: [u8; 16], parent: Option<bool>) -> bool {
        match parent {
            Some(decided) if self.follows_parent => decided,
            _ => {
                let [_, _, _, _, _, _, _, _, _, a, b, c, d, e, f, g] = trace;
                u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= self.threshold
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the share is between 0 and 1"
)]
fn ratio(value: String) -> Result<u64, TraceError> {
    match value.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(((1.0 - share) * RANDOM as f64) as u64),
        _ => Err(TraceError::Share { value }),
    }
}

impl fmt::Display for Sampler {
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = 1.0 - self.threshold as f64 / RANDOM as f64;
        let parent = if self.follows_parent { ", or what the caller decided" } else { "" };
        write!(f, "{share:.3} of all{parent}")
    }
}
