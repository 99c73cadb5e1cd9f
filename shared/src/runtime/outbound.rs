//! How a process meets upstreams over TLS: whom it trusts beside the system's store, and how it shows who it is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::public::{HalfPair, given, pair, path};
use super::tls::files::{chain, key};
use super::tls::{FileRole, TlsError, TlsFiles};

const BUNDLE: FileRole = FileRole {
    what: "bundle of certificate authorities",
    names: "--upstream-ca-bundle, GATEWRIGHT_UPSTREAM_CA_BUNDLE, settings.egress.ca_bundle",
};
const CERTIFICATE: FileRole = FileRole {
    what: "client certificate",
    names: "--upstream-client-certificate, GATEWRIGHT_UPSTREAM_CLIENT_CERTIFICATE, settings.egress.client_certificate",
};
const KEY: FileRole = FileRole {
    what: "client key",
    names: "--upstream-client-key, GATEWRIGHT_UPSTREAM_CLIENT_KEY, settings.egress.client_key",
};
/// A shorter name of the bundle's variable.
const BUNDLE_ALIAS: &str = "GATEWRIGHT_CA_BUNDLE";
/// Where OpenSSL, and most programs after it, are told of another store than the system's.
const STORE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is needed to speak TLS with upstreams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// More certificate authorities, in PEM form.
    pub ca_bundle: Option<PathBuf>,
    /// What is shown to upstreams that ask who calls.
    pub client: Option<TlsFiles>,
}

/// The flags of outbound TLS; each has a `GATEWRIGHT_…` variable, and wins over the configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OutboundArgs {
    /// Trust the certificate authorities in this file (PEM) too, beside the system's [also: GATEWRIGHT_CA_BUNDLE].
    #[arg(long, env = "GATEWRIGHT_UPSTREAM_CA_BUNDLE", value_name = "FILE", value_parser = path())]
    pub upstream_ca_bundle: Option<PathBuf>,
    /// Show this certificate (PEM, intermediates after it) to upstreams that ask for one.
    #[arg(long, env = "GATEWRIGHT_UPSTREAM_CLIENT_CERTIFICATE", value_name = "FILE", value_parser = path())]
    pub upstream_client_certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, env = "GATEWRIGHT_UPSTREAM_CLIENT_KEY", value_name = "FILE", value_parser = path())]
    pub upstream_client_key: Option<PathBuf>,
}

impl OutboundArgs {
    /// The flags, and below them what the configuration file says.
    ///
    /// # Errors
    /// [`HalfPair`] when a certificate has no key, or the other way round.
    pub fn over(self, file: OutboundSettings) -> Result<OutboundSettings, HalfPair> {
        let client = pair(
            (self.upstream_client_certificate, "--upstream-client-certificate"),
            (self.upstream_client_key, "--upstream-client-key"),
        )?;
        let client = client.or(file.client);
        let alias = || given(std::env::var_os(BUNDLE_ALIAS).map(PathBuf::from));
        Ok(OutboundSettings { ca_bundle: given(self.upstream_ca_bundle).or_else(alias).or(file.ca_bundle), client })
    }
}

impl OutboundSettings {
    /// How TLS is spoken with upstreams: by the system's store (or the one of `SSL_CERT_FILE` and `SSL_CERT_DIR`) and the
    /// bundle. Files are read once.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what is wrong with it.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = system_roots()?;
        if let Some(path) = &self.ca_bundle {
            for authority in chain(BUNDLE, path)? {
                let problem = "holds a certificate that nobody can trust";
                roots.add(authority).map_err(|_| TlsError::Content { role: BUNDLE, path: path.clone(), problem })?;
            }
        }
        if roots.is_empty() {
            tracing::warn!(
                "no certificate authorities are known: upstreams with https cannot be called (--upstream-ca-bundle)"
            );
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable(Box::new(source)))?
            .with_root_certificates(roots);
        let Some(files) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let (chain, key) = (chain(CERTIFICATE, &files.certificate)?, key(KEY, &files.key)?);
        builder.with_client_auth_cert(chain, key).map_err(|source| TlsError::Pair {
            files: Box::new(files.clone()),
            names: "--upstream-client-certificate, --upstream-client-key",
            source: Box::new(source),
        })
    }
}

/// The system's store. A store that somebody named and that cannot be used is an error, because another one than was
/// meant would decide; a machine without any store may still call upstreams without TLS.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    let named: Vec<(&str, OsString)> =
        STORE.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect();
    if taken == 0 && !named.is_empty() {
        let values: Vec<_> = named.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
        let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::Store { named: values.join(" "), why: why.join("; ") });
    }
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        outbound: OutboundArgs,
    }

    fn read(flags: &[&str], file: OutboundSettings) -> Result<OutboundSettings, HalfPair> {
        Line::try_parse_from(["x"].iter().chain(flags)).unwrap().outbound.over(file)
    }

    #[test]
    fn flags_win_over_the_file() {
        let pair = |name: &str| Some(TlsFiles { certificate: name.into(), key: name.into() });
        let file = OutboundSettings { ca_bundle: Some("file".into()), client: pair("file") };
        assert_eq!(read(&[], file.clone()), Ok(file.clone()));
        let flags =
            ["--upstream-ca-bundle", "flag", "--upstream-client-certificate", "flag", "--upstream-client-key", "flag"];
        assert_eq!(
            read(&flags, file.clone()),
            Ok(OutboundSettings { ca_bundle: Some("flag".into()), client: pair("flag") })
        );
        let half = read(&["--upstream-client-key", "k"], file).unwrap_err();
        assert_eq!(half.missing, "--upstream-client-certificate");
    }

    #[test]
    fn wrong_files_are_named() {
        let folder = std::env::temp_dir().join(format!("gatewright-outbound-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
            folder.join(name)
        };
        let (one, other) = (
            rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap(),
            rcgen::generate_simple_self_signed(vec!["b".to_owned()]).unwrap(),
        );
        let certificate = file("a.crt", &one.cert.pem());
        let (key, wrong) =
            (file("a.key", &one.signing_key.serialize_pem()), file("b.key", &other.signing_key.serialize_pem()));
        let client = |certificate: &PathBuf, key: &PathBuf| {
            Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })
        };
        let problem = |ca_bundle: Option<PathBuf>, client| {
            OutboundSettings { ca_bundle, client }
                .client_config()
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert_eq!(problem(Some(certificate.clone()), client(&certificate, &key)), "");
        let absent = problem(Some(folder.join("absent.pem")), None);
        assert!(absent.contains("absent.pem (--upstream-ca-bundle,") && absent.contains("cannot be read"), "{absent}");
        assert!(
            problem(Some(key.clone()), None).contains("a.key")
                && problem(Some(key.clone()), None).contains("holds no certificate")
        );
        assert!(problem(None, client(&key, &key)).contains("--upstream-client-certificate"));
        assert!(problem(None, client(&certificate, &certificate)).contains("--upstream-client-key"));
        let mixed = problem(None, client(&certificate, &wrong));
        assert!(
            mixed.contains("b.key") && mixed.contains("cannot be used together (--upstream-client-certificate"),
            "{mixed}"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
