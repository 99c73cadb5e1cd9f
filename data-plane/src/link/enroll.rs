//! How this node becomes and stays a member of its fleet: a join token becomes a certificate, a certificate its successor.
//!
//! The join token carries the SHA-256 of the fleet's certificate authority, so the first connection is to the right control
//! plane or to nobody. What comes of it is kept in `<data-dir>/identity/`, readable by this process's user alone; with it a
//! node starts without any control plane. At about two thirds of a certificate's life the node asks for the next one, for
//! a new key that the old one vouches for. Streams that are open stay; new ones show the new certificate.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};
use shared::kernel::ids::NodeId;
use shared::kernel::secret::{Secret, SecretBytes};
use shared::proto::enrollment_client::EnrollmentClient;
use shared::proto::{EnrollRequest, EnrollResponse, RenewRequest};
use shared::runtime::shutdown::Shutdown;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::backoff::Backoff;
use super::connect::{DialError, Dialer};

const FOLDER: &str = "identity";
const FILE: &str = "identity.json";
/// How long a control plane may take to issue a certificate.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A renewal that was refused is tried again: an operator may have meant another node.
const REFUSED: Duration = Duration::from_secs(60);

/// Why this node is no member of its fleet.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nothing to enrol with.
    #[error("this node has no identity yet and no join token (--join-token, GATEWRIGHT_JOIN_TOKEN)")]
    NoToken,
    /// It cannot be told who the control plane is.
    #[error(
        "the join token names no certificate authority (gw-join-SECRET.FINGERPRINT is expected); make it again now that a \
         control plane has started"
    )]
    NoFingerprint,
    /// The control plane does not want this node.
    #[error("the control plane refused to enrol this node: {0}")]
    Refused(String),
    /// What is kept cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} holds no identity; delete it to enrol this node anew")]
    Content {
        /// Which file.
        path: PathBuf,
    },
    /// A key or a request for a certificate cannot be made.
    #[error("no key can be made")]
    Key(#[from] rcgen::Error),
    /// TLS does not take what was issued.
    #[error("the certificate cannot be used")]
    Tls(#[from] rustls::Error),
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    node: NodeId,
    group: String,
    issued_unix_s: u64,
    not_after_unix_s: u64,
    certificate: String,
    authorities: Vec<String>,
    key: String,
}

/// This node with its certificate.
pub(super) struct Member {
    pub(super) node: NodeId,
    group: String,
    issued: u64,
    not_after: u64,
    certificate: Vec<u8>,
    authorities: Vec<Vec<u8>>,
    key: SecretBytes,
    /// Shows the certificate, and trusts the fleet's authority alone.
    pub(super) tls: Arc<ClientConfig>,
}

/// What became of asking for a certificate.
enum Failed {
    /// Asking again cannot help.
    Refused(String),
    /// It may.
    Now(String),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                Self::Refused(status.message().to_owned())
            }
            code => Self::Now(format!("{code:?}: {}", status.message())),
        }
    }
}

impl From<DialError> for Failed {
    fn from(error: DialError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self::Now(text)
    }
}

impl Dialer {
    /// Makes this node a member of its fleet where control planes are reached by TLS: by what an earlier start left in the
    /// data folder, else by the join token, for as long as that takes. False when the process ends first.
    ///
    /// # Errors
    /// [`EnrolError`] when waiting does not help.
    pub async fn join(
        &self,
        folder: Option<&Path>,
        token: Option<&Secret>,
        shutdown: &Shutdown,
    ) -> Result<bool, EnrolError> {
        if !self.is_tls() {
            return Ok(true);
        }
        let file = folder.map(|folder| folder.join(FOLDER).join(FILE));
        let kept = file.as_deref().map(load).transpose()?.flatten();
        let member = match kept {
            Some(member) => member,
            None => {
                let enrolled = tokio::select! {
                    enrolled = self.enrol(token) => enrolled?,
                    () = shutdown.draining() => return Ok(false),
                };
                keep(file.as_deref(), &enrolled)?;
                enrolled
            }
        };
        tracing::info!(node = %member.node, group = member.group, "a member of the fleet");
        self.admit(Arc::new(member));
        let (dialer, ending) = (self.clone(), shutdown.clone());
        shutdown.spawn("certificate of this node", async move {
            tokio::select! {
                () = dialer.stay(file) => {}
                () = ending.stopping() => {}
            }
        });
        Ok(true)
    }

    async fn enrol(&self, token: Option<&Secret>) -> Result<Member, EnrolError> {
        let token = token.filter(|token| !token.expose().is_empty()).ok_or(EnrolError::NoToken)?;
        let fingerprint =
            token.expose().split_once('.').map(|(_, print)| print.to_owned()).ok_or(EnrolError::NoFingerprint)?;
        let tls = Arc::new(pinned(fingerprint)?);
        // One key for all tries: an answer that was lost is given again to the same key.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = EnrollRequest {
            join_token: token.expose().to_owned(),
            csr_der: certificate_request(&key)?,
            facts: facts(),
        };
        let mut backoff = Backoff::default();
        loop {
            let failed = match self.ask_to_enrol(&tls, request.clone()).await {
                Ok(answer) => match member(answer, &key) {
                    Some(member) => return member,
                    None => Failed::Now("the answer is not readable".to_owned()),
                },
                Err(failed) => failed,
            };
            match failed {
                Failed::Refused(reason) => return Err(EnrolError::Refused(reason)),
                Failed::Now(reason) => tracing::warn!(reason, "this node cannot be enrolled yet"),
            }
            self.give_up();
            sleep(backoff.next()).await;
        }
    }

    async fn ask_to_enrol(&self, tls: &Arc<ClientConfig>, request: EnrollRequest) -> Result<EnrollResponse, Failed> {
        let channel = self.channel(Some(tls)).await?;
        let answer = timeout(ANSWER_WITHIN, EnrollmentClient::new(channel).enroll(request)).await;
        Ok(answer.map_err(|_| Failed::Now("no answer".to_owned()))??.into_inner())
    }

    /// Renews for ever.
    async fn stay(&self, file: Option<PathBuf>) {
        let mut backoff = Backoff::default();
        while let Some(member) = self.member() {
            sleep(member.due(SystemTime::now())).await;
            let renewed = match self.renew(&member).await {
                Ok(renewed) => renewed,
                Err(Failed::Refused(reason)) => {
                    tracing::error!(reason, node = %member.node, "the control plane does not renew this node's certificate; to enrol it anew, delete its identity folder");
                    sleep(REFUSED).await;
                    continue;
                }
                Err(Failed::Now(reason)) => {
                    tracing::warn!(reason, "this node's certificate cannot be renewed yet");
                    self.give_up();
                    sleep(backoff.next()).await;
                    continue;
                }
            };
            backoff.reset();
            if let Err(error) = keep(file.as_deref(), &renewed) {
                tracing::error!(error = &error as &dyn std::error::Error, "the renewed certificate is not kept");
            }
            tracing::info!(node = %renewed.node, "certificate renewed");
            self.admit(Arc::new(renewed));
        }
    }

    async fn renew(&self, old: &Member) -> Result<Member, Failed> {
        let broken = |error: rcgen::Error| Failed::Now(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
        let csr_der = certificate_request(&key).map_err(broken)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(old.key.expose());
        let proof = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)
            .and_then(|key| key.sign(&csr_der))
            .map_err(broken)?;
        let channel = self.channel(Some(&old.tls)).await?;
        let request = RenewRequest { csr_der, proof, certificate_der: old.certificate.clone() };
        let answer = timeout(ANSWER_WITHIN, EnrollmentClient::new(channel).renew(request)).await;
        let answer = answer.map_err(|_| Failed::Now("no answer".to_owned()))??.into_inner();
        let unreadable = || Failed::Now("the answer is not readable".to_owned());
        member(answer, &key).ok_or_else(unreadable)?.map_err(|error| Failed::Now(error.to_string()))
    }
}

impl Member {
    fn of(kept: &Kept) -> Option<Result<Self, EnrolError>> {
        let certificate = STANDARD.decode(&kept.certificate).ok()?;
        let authorities =
            kept.authorities.iter().map(|one| STANDARD.decode(one)).collect::<Result<Vec<_>, _>>().ok()?;
        let key = SecretBytes::new(STANDARD.decode(&kept.key).ok()?);
        let tls = match show(&certificate, &authorities, &key) {
            Ok(tls) => Arc::new(tls),
            Err(error) => return Some(Err(error.into())),
        };
        let (issued, not_after) = (kept.issued_unix_s, kept.not_after_unix_s);
        Some(Ok(Self {
            node: kept.node,
            group: kept.group.clone(),
            issued,
            not_after,
            certificate,
            authorities,
            key,
            tls,
        }))
    }

    /// How long until it is time for the next certificate: two thirds of its life, give or take a tenth.
    fn due(&self, now: SystemTime) -> Duration {
        let life = Duration::from_secs(self.not_after.saturating_sub(self.issued));
        let share = 2.0 / 3.0 * rand::rng().random_range(0.9..1.1);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(self.issued) + life.mul_f64(share);
        at.duration_since(now).unwrap_or_default()
    }
}

/// Reads an answer; nothing when it is none.
fn member(answer: EnrollResponse, key: &KeyPair) -> Option<Result<Member, EnrolError>> {
    let kept = Kept {
        node: NodeId::from_bytes(&answer.node_id).ok()?,
        group: answer.group,
        issued_unix_s: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs(),
        not_after_unix_s: u64::try_from(answer.not_after_unix_s).ok()?,
        certificate: STANDARD.encode(answer.certificate_der),
        authorities: answer.ca_der.iter().map(|one| STANDARD.encode(one)).collect(),
        key: STANDARD.encode(key.serialized_der()),
    };
    Member::of(&kept)
}

fn load(path: &Path) -> Result<Option<Member>, EnrolError> {
    let text = match std::fs::read(path) {
        Ok(text) => SecretBytes::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EnrolError::File { path: path.to_owned(), source }),
    };
    let content = || EnrolError::Content { path: path.to_owned() };
    let kept: Kept = serde_json::from_slice(text.expose()).map_err(|_| content())?;
    Member::of(&kept).ok_or_else(content)?.map(Some)
}

/// Whole or not at all: key and certificate belong together.
fn keep(path: Option<&Path>, member: &Member) -> Result<(), EnrolError> {
    let Some((path, folder)) = path.and_then(|path| Some((path, path.parent()?))) else { return Ok(()) };
    let kept = Kept {
        node: member.node,
        group: member.group.clone(),
        issued_unix_s: member.issued,
        not_after_unix_s: member.not_after,
        certificate: STANDARD.encode(&member.certificate),
        authorities: member.authorities.iter().map(|one| STANDARD.encode(one)).collect(),
        key: STANDARD.encode(member.key.expose()),
    };
    let failed = |source| EnrolError::File { path: path.to_owned(), source };
    let write = || {
        let text = SecretBytes::new(serde_json::to_vec(&kept)?);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let fresh = path.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.expose())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().map_err(failed)
}

fn certificate_request(key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    Ok(CertificateParams::default().serialize_request(key)?.der().to_vec())
}

/// What operators see of a node that enrols.
fn facts() -> HashMap<String, String> {
    let mut facts = HashMap::from([("build".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        facts.insert("host".to_owned(), host.trim().to_owned());
    }
    facts
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Trusts the fleet's authority and shows this node's certificate.
fn show(certificate: &[u8], authorities: &[Vec<u8>], key: &SecretBytes) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from(authority.clone()))?;
    }
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(certificate.to_vec())], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Trusts an authority of which only the digest is known.
fn pinned(fingerprint: String) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider: provider() }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The other side shows its authority beside its certificate; that one must have the digest of the join token.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let named = |one: &&CertificateDer<'_>| {
            let print: String = digest(&SHA256, one).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            print == self.fingerprint
        };
        let authority = others.iter().find(named).ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(certificate, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
