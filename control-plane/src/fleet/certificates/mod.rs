//! The fleet's certificate authority: one per database, its key sealed by the key ring.
//!
//! It issues two sorts of certificates that cannot stand in for each other (extended key usage): those of nodes, which
//! name the node and its Group, and those of control planes, which name their hosts. Nodes trust this authority alone.

mod name;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
    SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use shared::kernel::ids::NodeId;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::store::nodes::AuthorityRow;
use crate::store::{Store, StoreError};
use crate::vault::{KeyRing, VaultError};

pub(crate) use name::NodeName;
pub use tls::NodePortTls;

/// Binds the sealed key to its place.
const CONTEXT: &[u8] = b"node_authority|sealed_key";
/// Nodes are enrolled again long before.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// Clocks of a fleet differ a little.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// How long a node's certificate lasts.
pub const LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// How long a control plane's own certificate lasts; it is issued anew every day.
const SERVER_LIFETIME: TimeDelta = TimeDelta::days(7);
/// A request for a certificate is a few hundred bytes.
const LARGEST_REQUEST: usize = 8 * 1024;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key does not open.
    #[error("the key of the fleet's certificate authority: {0}")]
    Vault(#[from] VaultError),
    /// It cannot be made, or what is kept is none.
    #[error("the fleet's certificate authority cannot be used: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take what it issued.
    #[error("the port for data planes cannot speak TLS")]
    Tls(#[from] rustls::Error),
    /// A name that no certificate can carry.
    #[error("`{name}` (--grpc-name, GATEWRIGHT_GRPC_NAME) is no name of a host: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong.
        reason: rcgen::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// Why a certificate, or a request for one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// Not from this authority, or not for a node.
    #[error("the certificate is not one of this fleet's nodes")]
    Foreign,
    /// It was good once.
    #[error("the certificate of node {node} expired at {at}; it must be renewed")]
    Expired {
        /// Of which node.
        node: NodeId,
        /// When.
        at: DateTime<Utc>,
    },
    /// The request.
    #[error("csr_der: {0}")]
    Request(&'static str),
}

/// What a good certificate of a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// Of which node.
    pub node: NodeId,
    /// In which Group.
    pub group: String,
    /// When it ends.
    pub not_after: DateTime<Utc>,
    /// Its public key as a point of the curve.
    pub(crate) key: Vec<u8>,
}

impl NodeCertificate {
    /// Whether whoever holds its key signed this.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.key).verify(message, signature).is_ok()
    }
}

/// A request for a certificate whose signature is good.
pub struct Request {
    parsed: CertificateSigningRequestParams,
}

impl Request {
    /// Reads a request; only its key counts, whatever names it asks for.
    ///
    /// # Errors
    /// [`CertificateRefusal::Request`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateRefusal> {
        if der.len() > LARGEST_REQUEST {
            return Err(CertificateRefusal::Request("it is larger than 8 KiB"));
        }
        let parsed = CertificateSigningRequestParams::from_der(&der.into()).map_err(|_| {
            CertificateRefusal::Request("a PKCS #10 request that is signed by its key is expected, in DER form")
        })?;
        if parsed.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(CertificateRefusal::Request("a key for ECDSA on P-256 is expected"));
        }
        Ok(Self { parsed })
    }

    /// SHA-256 of its key.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        sha256(self.parsed.public_key.der_bytes())
    }
}

/// A certificate that was just issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// In DER form.
    pub certificate: Vec<u8>,
    /// Its number.
    pub serial: Vec<u8>,
    /// When it ends.
    pub not_after: DateTime<Utc>,
}

/// The authority. Clones share it.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
    lifetime: TimeDelta,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("lifetime", &self.inner.lifetime).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority of a database; made by the first control plane that asks.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn load(store: &Store, ring: &KeyRing, lifetime: Duration) -> Result<Self, AuthorityError> {
        let row = match store.node_authority().await? {
            Some(row) => row,
            None => {
                store.keep_node_authority(&make(ring)?).await?;
                // Another replica may have been first.
                store.node_authority().await?.ok_or_else(StoreError::timed_out)?
            }
        };
        if let Some(fresh) = ring.rewrap(CONTEXT, &row.sealed_key)? {
            store.rewrap_node_authority(&row.sealed_key, &fresh).await?;
        }
        Self::open(&row, ring, lifetime)
    }

    fn open(row: &AuthorityRow, ring: &KeyRing, lifetime: Duration) -> Result<Self, AuthorityError> {
        let key = ring.open(CONTEXT, &row.sealed_key)?;
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.expose()), &PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateDer::from(row.certificate.clone());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let lifetime = TimeDelta::from_std(lifetime.min(LIFETIME)).unwrap_or(TimeDelta::days(1));
        let issuer = Issuer::new(authority_params(), key);
        Ok(Self { inner: Arc::new(Inner { issuer, certificate, verifier, lifetime }) })
    }

    /// Its certificate, in DER form.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.inner.certificate
    }

    /// Issues a certificate to a node.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(&self, request: &Request, node: NodeId, group: &str) -> Result<Issued, AuthorityError> {
        let (mut params, issued) = params(self.inner.lifetime)?;
        let name = NodeName { node, group: group.to_owned() };
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.subject_alt_names = vec![SanType::URI(name.to_uri().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.parsed.public_key, &self.inner.issuer)?;
        Ok(Issued { certificate: certificate.der().to_vec(), ..issued })
    }

    /// Issues a certificate to this control plane.
    fn issue_server(&self, names: &[String], key: &KeyPair) -> Result<CertificateDer<'static>, AuthorityError> {
        let (mut params, _) = params(SERVER_LIFETIME)?;
        params.distinguished_name.push(DnType::CommonName, "gatewright control plane");
        for name in names {
            let name_error = |reason| AuthorityError::Name { name: name.clone(), reason };
            let one = CertificateParams::new(vec![name.clone()]).map_err(name_error)?;
            params.subject_alt_names.extend(one.subject_alt_names);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(key, &self.inner.issuer)?.der().clone())
    }

    /// Checks a certificate that a node showed.
    ///
    /// # Errors
    /// [`CertificateRefusal`].
    pub fn check(&self, certificate: &[u8]) -> Result<NodeCertificate, CertificateRefusal> {
        let read = self.check_expired(certificate)?;
        if read.not_after <= Utc::now() {
            return Err(CertificateRefusal::Expired { node: read.node, at: read.not_after });
        }
        Ok(read)
    }

    /// The same for one that may have expired; how long ago is for the caller to judge.
    ///
    /// # Errors
    /// [`CertificateRefusal::Foreign`].
    pub fn check_expired(&self, certificate: &[u8]) -> Result<NodeCertificate, CertificateRefusal> {
        let read = read(certificate).ok_or(CertificateRefusal::Foreign)?;
        // Judged as of the last second of its life at the latest, so that its age is the only thing left open.
        let at = Utc::now().min(read.not_after - TimeDelta::seconds(1)).timestamp();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        let verified = self.inner.verifier.verify_client_cert(&CertificateDer::from(certificate), &[], at);
        match verified {
            Ok(_) => Ok(read),
            Err(error) => {
                tracing::debug!(%error, "a certificate was refused");
                Err(CertificateRefusal::Foreign)
            }
        }
    }
}

/// SHA-256 of an authority's certificate as join tokens carry it.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    sha256(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut all = [0; 32];
    for (to, from) in all.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    all
}

/// What a certificate says, before anybody checked who issued it.
fn read(der: &[u8]) -> Option<NodeCertificate> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let names = certificate.subject_alternative_name().ok().flatten()?;
    let name = names.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::URI(uri) => NodeName::parse(uri),
        _ => None,
    })?;
    let not_after = DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)?;
    let key = certificate.public_key().subject_public_key.data.to_vec();
    Some(NodeCertificate { node: name.node, group: name.group, not_after, key })
}

fn make(ring: &KeyRing) -> Result<AuthorityRow, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority_params().self_signed(&key)?;
    let sealed_key = ring.seal(CONTEXT, key.serialized_der())?;
    Ok(AuthorityRow { certificate: certificate.der().to_vec(), sealed_key })
}

/// The same at each start: what it issues names it by them.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "gatewright fleet");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = Utc::now();
    params.not_before = moment(now - SKEW);
    params.not_after = moment(now + TimeDelta::days(AUTHORITY_DAYS));
    params
}

/// What every issued certificate has.
fn params(lifetime: TimeDelta) -> Result<(CertificateParams, Issued), AuthorityError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| AuthorityError::Random)?;
    // Positive, and never shorter than it looks.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let now = Utc::now();
    let not_after = now + lifetime;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = moment(now - SKEW);
    params.not_after = moment(not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok((params, Issued { certificate: Vec::new(), serial: serial.to_vec(), not_after }))
}

fn moment(time: DateTime<Utc>) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
