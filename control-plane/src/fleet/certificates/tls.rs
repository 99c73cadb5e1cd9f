//! TLS 1.3 on the port for data planes, under a certificate of the fleet's own authority.
//!
//! A node's certificate is asked for and not demanded, and TLS checks only that the node holds its key: who may do what is
//! decided for each call, where a refusal has a status and a reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use shared::runtime::shutdown::Shutdown;
use tokio::time::sleep;

use super::{Authority, AuthorityError};

/// How often this control plane gives itself a new certificate.
const REISSUE: Duration = Duration::from_secs(24 * 3_600);
/// Names by which it is reached on its own machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What the port for data planes speaks TLS with.
#[derive(Clone)]
pub struct NodePortTls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    authority: Authority,
    names: Vec<String>,
}

impl NodePortTls {
    /// Under these names, beside those of this machine.
    ///
    /// # Errors
    /// [`AuthorityError`] when a name is none.
    pub fn new(authority: Authority, names: &[String]) -> Result<Self, AuthorityError> {
        let mut all: Vec<String> = HERE.iter().map(ToString::to_string).collect();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let current = Arc::new(Current(ArcSwap::from_pointee(certify(&authority, &all)?)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(HoldsItsKey(provider())))
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { config: Arc::new(config), current, authority, names: all })
    }

    /// For an acceptor.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Issues a new certificate from time to time; connections keep what they were opened with.
    pub fn keep_up(self, shutdown: &Shutdown) {
        let ending = shutdown.clone();
        shutdown.spawn("certificate of the port for data planes", async move {
            loop {
                tokio::select! {
                    () = sleep(REISSUE) => {}
                    () = ending.stopping() => return,
                }
                match certify(&self.authority, &self.names) {
                    Ok(fresh) => self.current.0.store(Arc::new(fresh)),
                    Err(error) => tracing::error!(%error, "no new certificate for the port for data planes"),
                }
            }
        });
    }
}

fn certify(authority: &Authority, names: &[String]) -> Result<CertifiedKey, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority.issue_server(names, &key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // The authority goes with it: a node that enrols knows no more than its digest.
    let chain = vec![certificate, authority.certificate().clone()];
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Takes any certificate whose key the other side holds.
#[derive(Debug)]
struct HoldsItsKey(Arc<CryptoProvider>);

impl ClientCertVerifier for HoldsItsKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
