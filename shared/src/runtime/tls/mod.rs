//! TLS on public ports: one certificate from two files, taken anew when the files change.
//!
//! TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. Certificates are renewed while a process runs, so both files are looked at each
//! second; a pair that is not good (half written, not matching, gone) leaves the last good one in place, is logged and
//! counted, and is tried again when the files change again. Connections keep what they were opened with.

pub(super) mod files;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::metrics::{Family, FamilyKind, describe};
use super::shutdown::Shutdown;
use files::Stamp;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What is offered, best first.
const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];
/// HTTP/2 in the words of the handshake.
const H2: &[u8] = b"h2";

pub(super) const HANDSHAKE_FAILURES: &str = "gatewright_tls_handshake_failures_total";
const RELOADS: &str = "gatewright_tls_reloads_total";

/// The families of this room.
pub const FAMILIES: &[Family] = &[
    Family {
        name: HANDSHAKE_FAILURES,
        kind: FamilyKind::Counter,
        labels: &["reason"],
        help: "Connections that ended before TLS was agreed on, by reason (timeout, plain_http, refused).",
    },
    Family {
        name: RELOADS,
        kind: FamilyKind::Counter,
        labels: &["outcome"],
        help: "Changed certificate files, by outcome (taken, kept_old).",
    },
];

/// Where the certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with its intermediates after it, in PEM form.
    pub certificate: PathBuf,
    /// Its private key, in PEM form and not encrypted.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{role} {} ({}) cannot be read", path.display(), role.names)]
    Read {
        /// What it is for.
        role: FileRole,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{role} {} ({}) {problem}", path.display(), role.names)]
    Content {
        /// What it is for.
        role: FileRole,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// The two do not belong together, or TLS has no use for them.
    #[error("certificate {} and key {} cannot be used together ({names})", files.certificate.display(), files.key.display())]
    Pair {
        /// Where they lie.
        files: Box<TlsFiles>,
        /// How people name them.
        names: &'static str,
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// A store of certificate authorities was named and is none.
    #[error("{named} names a store of certificate authorities, and none can be read from it: {why}")]
    Store {
        /// The variables with their values.
        named: String,
        /// What was found.
        why: String,
    },
    /// TLS itself cannot be had.
    #[error("TLS cannot be set up")]
    Unusable(#[source] Box<rustls::Error>),
}

/// What a file is for, and how people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRole {
    /// What it holds.
    pub what: &'static str,
    /// Flag, variable and setting that give it.
    pub names: &'static str,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

const CERTIFICATE: FileRole =
    FileRole { what: "certificate", names: "--tls-certificate, GATEWRIGHT_TLS_CERTIFICATE, settings.tls.certificate" };
const KEY: FileRole = FileRole { what: "key", names: "--tls-key, GATEWRIGHT_TLS_KEY, settings.tls.key" };

/// The certificate of a port, as it is now. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads both files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        describe(FAMILIES);
        let config = build(&files)?;
        Ok(Self { files: Arc::new(files), current: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// Starts the task that takes the files anew when they change, until the process stops.
    pub fn watch(&self, shutdown: &Shutdown) {
        let (tls, ending) = (self.clone(), shutdown.clone());
        // Taken before the task runs: a change from now on is a change.
        let mut seen = Stamp::of(&self.files);
        shutdown.spawn("certificate reload", async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = ending.stopping() => return,
                }
                let files = Arc::clone(&tls.files);
                let Ok(now) = tokio::task::spawn_blocking(move || Stamp::of(&files)).await else { continue };
                if now != seen {
                    seen = now;
                    let tls = tls.clone();
                    let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
                }
            }
        });
    }

    /// Takes the files as they are now, or keeps what it has.
    fn reload(&self) {
        let certificate = self.files.certificate.display();
        match build(&self.files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                metrics::counter!(RELOADS, "outcome" => "taken").increment(1);
                tracing::info!(%certificate, "the certificate was taken anew");
            }
            Err(error) => {
                metrics::counter!(RELOADS, "outcome" => "kept_old").increment(1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(%certificate, error, "the changed certificate is not good: the last good one stays");
            }
        }
    }

    /// Agrees on TLS with a client; also tells whether HTTP/2 was agreed on, or nothing at all.
    pub(super) async fn accept<T>(&self, stream: T) -> std::io::Result<(TlsStream<T>, Option<bool>)>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.current.load_full()).accept(stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == H2);
        Ok((stream, http2))
    }
}

fn build(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let (chain, key) = (files::chain(CERTIFICATE, &files.certificate)?, files::key(KEY, &files.key)?);
    let pair = |source| TlsError::Pair {
        files: Box::new(files.clone()),
        names: "--tls-certificate, --tls-key",
        source: Box::new(source),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    // New with each certificate: a session of the one before is not resumed, so that nobody trusts it any longer.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(pair)?;
    Ok(config)
}

#[cfg(test)]
mod tests;
