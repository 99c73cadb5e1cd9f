//! Providers: upstreams, with their address and where their credential comes from.

use std::net::IpAddr;
use std::time::Duration;

use shared::catalog::{CarbonFacts, ProviderKind, RouterKind, zones};
use shared::kernel::ids::RouterId;
use shared::kernel::secret::Secret;
use url::{Host, Url};

use super::address::{is_refused_host, is_refused_ip};
use super::{Error, check_name};

/// For one attempt, when none is given.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// All that an operator decides about a provider, but for the credential.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSpec {
    /// The router that it serves.
    pub router: RouterId,
    /// Its dialect.
    pub kind: ProviderKind,
    /// As [`provider_url`] returns it.
    pub url: String,
    /// The name that the upstream knows.
    pub upstream_model: String,
    /// For one attempt, 1 second to 1 hour.
    pub timeout: Duration,
    /// For the carbon estimate.
    pub carbon: CarbonFacts,
    /// Share among its siblings.
    pub weight: Option<u32>,
    /// When the client leaves, read the answer to its end instead of cancelling.
    pub drain_on_disconnect: bool,
    /// Switched off.
    pub blocked: bool,
}

/// Where a provider's credential comes from.
#[derive(Debug, Clone)]
pub enum CredentialSpec {
    /// None is sent.
    None,
    /// To be sealed in the database.
    Stored(Secret),
    /// `env:NAME` or `file:/path`, resolved by the data plane itself.
    Reference(String),
}

impl CredentialSpec {
    /// Reads the field `key` of the API: a credential, or a reference to one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be sent in a header; the refusal does not repeat it.
    pub fn read(text: &str) -> Result<Self, Error> {
        let invalid = |expected: &str| Error::Invalid {
            field: "key".into(),
            value: format!("{} bytes long", text.len()),
            expected: expected.into(),
        };
        if let Some(name) = text.strip_prefix("env:") {
            let fits = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return if fits {
                Ok(Self::Reference(text.to_owned()))
            } else {
                Err(invalid("env: takes the name of an environment variable, such as env:OPENAI_API_KEY"))
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return if path.starts_with('/') && check_name("key", path).is_ok() {
                Ok(Self::Reference(text.to_owned()))
            } else {
                Err(invalid("file: takes an absolute path, such as file:/run/secrets/openai"))
            };
        }
        if text.is_empty() || text.len() > 8_192 || !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(invalid("1 to 8192 visible ASCII characters are expected"));
        }
        Ok(Self::Stored(Secret::new(text.to_owned())))
    }
}

impl ProviderSpec {
    /// Checks every field, and that the kind can serve its router.
    ///
    /// # Errors
    /// [`Error::Invalid`], or [`Error::Refused`] when kind and router do not fit.
    pub fn check(&self, router: RouterKind) -> Result<(), Error> {
        check_name("model_name", &self.upstream_model)?;
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.timeout) {
            return Err(Error::invalid("timeout", self.timeout.as_secs(), "1 to 3600 seconds are expected"));
        }
        if self.weight.is_some_and(|weight| weight == 0 || weight > 1_000_000) {
            let weight = self.weight.unwrap_or_default();
            return Err(Error::invalid("weight", weight, "1 to 1000000, or null, is expected"));
        }
        let zone = &self.carbon.zone;
        if !zones::is_known(zone) {
            let expected = "an ISO 3166-1 alpha-3 code such as FRA, or WOR for the world, is expected";
            return Err(Error::invalid("model_hosting_zone", zone, expected));
        }
        let params =
            [("model_total_params", self.carbon.total_params), ("model_active_params", self.carbon.active_params)];
        for (field, count) in params {
            if let Some(count) = count.filter(|count| !count.is_finite() || *count < 0.0 || *count > 1e9) {
                return Err(Error::invalid(field, count, "billions of parameters, 0 or more, are expected"));
            }
        }
        if !self.kind.serves(router) {
            let detail = format!("Invalid model provider type {} for {router} router.", self.kind);
            return Err(Error::refused("provider_type_mismatch", "type", detail));
        }
        Ok(())
    }
}

/// The address of a provider in its one stored form: without `/v1` and a trailing slash, or the kind's default.
///
/// # Errors
/// [`Error::Invalid`] for anything but `http`, `https` (and `mock` for its kind), for user names, queries and fragments,
/// and for addresses that no provider may have.
pub fn provider_url(kind: ProviderKind, text: Option<&str>) -> Result<String, Error> {
    let Some(text) = text else {
        let expected = || Error::refused("url_required", "url", "URL is required for this model provider type.");
        return kind.default_url().map(str::to_owned).ok_or_else(expected);
    };
    let invalid = |expected: &str| Error::invalid("url", without_credentials(text), expected);
    if text.len() > 2_048 || text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(invalid("at most 2048 characters without blanks are expected"));
    }
    let form = "an address such as https://host:port is expected";
    let url = Url::parse(text).map_err(|_| invalid(form))?;
    match (url.scheme(), kind) {
        ("mock", ProviderKind::Mock) => {}
        ("http" | "https", kind) if kind != ProviderKind::Mock => {}
        (_, ProviderKind::Mock) => return Err(invalid("an address such as mock://local is expected")),
        _ => return Err(invalid("the scheme http or https is expected")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("no user name or password in the address: give the credential as `key`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("no query and no fragment is expected"));
    }
    match url.host() {
        None => return Err(invalid(form)),
        Some(Host::Domain(name)) if name.is_empty() || is_refused_host(name) => {
            return Err(invalid("not the address of a metadata service"));
        }
        Some(Host::Ipv4(address)) if is_refused_ip(IpAddr::V4(address)) => {
            return Err(invalid("not a link-local, unspecified or metadata address"));
        }
        Some(Host::Ipv6(address)) if is_refused_ip(IpAddr::V6(address)) => {
            return Err(invalid("not a link-local, unspecified or metadata address"));
        }
        Some(_) => {}
    }
    let text = url.as_str().trim_end_matches('/');
    Ok(text.strip_suffix("/v1").unwrap_or(text).trim_end_matches('/').to_owned())
}

/// An address as it may be repeated in a message: what could be a user name or password is left out.
fn without_credentials(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", text.get(..scheme).unwrap_or_default(), text.get(at..).unwrap_or_default())
        }
        (None, Some(at)) => format!("…{}", text.get(at..).unwrap_or_default()),
        _ => text.to_owned(),
    }
}
