//! The settings of a public port beyond its address: the same words for both planes and for standalone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::edge::{Cors, Edge, PathPrefix, TrustedProxies};
use super::listen::{HttpLimits, Port};
use super::shutdown::Shutdown;
use super::tls::{Tls, TlsError, TlsFiles};

/// How a public port is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicSettings {
    /// The certificate; without one the port speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Where it stands.
    pub edge: Edge,
}

/// The flags of a public port; each has a `GATEWRIGHT_…` variable, and wins over the configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PublicArgs {
    /// Serve HTTPS with this certificate (PEM, intermediates after it); taken anew when the file changes.
    #[arg(long, env = "GATEWRIGHT_TLS_CERTIFICATE", value_name = "FILE", value_parser = path())]
    pub tls_certificate: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[arg(long, env = "GATEWRIGHT_TLS_KEY", value_name = "FILE", value_parser = path())]
    pub tls_key: Option<PathBuf>,
    /// Origins whose web pages may call, such as https://app.example.org, with commas; `*` for all.
    #[arg(long, env = "GATEWRIGHT_CORS", value_name = "ORIGINS")]
    pub cors: Option<Cors>,
    /// Serve everything below this path, such as /gateway.
    #[arg(long, env = "GATEWRIGHT_PATH_PREFIX", value_name = "PATH")]
    pub path_prefix: Option<PathPrefix>,
    /// Proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8, with commas.
    #[arg(long, env = "GATEWRIGHT_TRUSTED_PROXIES", value_name = "BLOCKS")]
    pub trusted_proxies: Option<TrustedProxies>,
}

/// One of two files that are nothing alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is given without {missing}: TLS needs a certificate and its private key")]
pub struct HalfPair {
    /// The flag or key that was given.
    pub given: &'static str,
    /// The one that is missing.
    pub missing: &'static str,
}

/// Both files, or nothing when neither is given; an empty path is none.
pub(super) fn pair(
    (certificate, its): (Option<PathBuf>, &'static str),
    (key, name): (Option<PathBuf>, &'static str),
) -> Result<Option<TlsFiles>, HalfPair> {
    match (given(certificate), given(key)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (Some(_), None) => Err(HalfPair { given: its, missing: name }),
        (None, Some(_)) => Err(HalfPair { given: name, missing: its }),
    }
}

/// A path that is one.
pub(super) fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Clap's own parser refuses an empty path, which is how composed environments say that there is none.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl PublicArgs {
    /// The flags, and below them what the configuration file says.
    ///
    /// # Errors
    /// [`HalfPair`] when a certificate has no key, or the other way round.
    pub fn over(self, file: PublicSettings) -> Result<PublicSettings, HalfPair> {
        let tls = pair((self.tls_certificate, "--tls-certificate"), (self.tls_key, "--tls-key"))?.or(file.tls);
        let edge = Edge {
            prefix: self.path_prefix.unwrap_or(file.edge.prefix),
            proxies: self.trusted_proxies.unwrap_or(file.edge.proxies),
            cors: self.cors.unwrap_or(file.edge.cors),
        };
        Ok(PublicSettings { tls, edge })
    }
}

impl PublicSettings {
    /// Everything that [`super::listen::serve`] needs to know; the certificate is loaded now and watched from now on.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn open(&self, limits: HttpLimits, shutdown: &Shutdown) -> Result<Port, TlsError> {
        let tls = self.tls.clone().map(Tls::load).transpose()?;
        if let Some(tls) = &tls {
            tls.watch(shutdown);
        }
        Ok(Port { limits, tls, edge: self.edge.clone(), ..Port::default() })
    }

    /// How the port is reached, for people.
    #[must_use]
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}{}", self.edge.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        public: PublicArgs,
    }

    fn read(flags: &[&str], file: PublicSettings) -> Result<PublicSettings, HalfPair> {
        Line::try_parse_from(["x"].iter().chain(flags)).unwrap().public.over(file)
    }

    #[test]
    fn flags_win_over_the_file() {
        let edge = Edge { prefix: "/file".parse().unwrap(), cors: Cors::Any, ..Edge::default() };
        let file = PublicSettings { tls: Some(TlsFiles { certificate: "c".into(), key: "k".into() }), edge };
        let read = |flags| read(flags, file.clone());
        assert_eq!(read(&[]), Ok(file.clone()));
        let flagged = read(&["--path-prefix", "/flag", "--tls-certificate", "a", "--tls-key", "b"]).unwrap();
        assert_eq!(flagged.url("127.0.0.1:8000".parse().unwrap()), "https://127.0.0.1:8000/flag");
        assert_eq!(flagged.edge.cors, Cors::Any);
        assert_eq!(read(&["--tls-certificate", "", "--tls-key", ""]), Ok(file.clone()));
        assert_eq!(read(&["--cors", ""]).unwrap().edge.cors, Cors::Off, "a flag can also take away");
        assert_eq!(read(&["--tls-key", "b"]).unwrap_err().missing, "--tls-certificate");
        assert!(Line::try_parse_from(["x", "--trusted-proxies", "10.0.0.0/8,proxy"]).is_err());
    }
}
