//! Enrolment: a join token becomes a certificate, a certificate its successor, and a node that was shut out stays out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use shared::kernel::ids::NodeId;
use shared::runtime::shutdown::Shutdown;
use tokio::time::sleep;
use uuid::Uuid;

use super::certificates::{Authority, AuthorityError, CertificateRefusal, NodeCertificate, Request};
use super::join_tokens::{JoinRefusal, JoinTokens, digest_of, still_good};
use crate::store::nodes::{EnrolmentRow, IssuedRow, NodeRow};
use crate::store::{Actor, AuditEntry, CatalogTx, Store, StoreError};

/// How long after its end a certificate may still be renewed.
const GRACE: TimeDelta = TimeDelta::days(30);
/// How often the database is asked who was shut out: by this or by another replica.
const LOOK: Duration = Duration::from_secs(1);
/// Facts of a node beyond these are not kept.
const MOST_FACTS: usize = 32;
const LONGEST_FACT: usize = 256;

/// What a node gets.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Its certificate, in DER form.
    pub certificate: Vec<u8>,
    /// The authority's, in DER form.
    pub authority: Vec<u8>,
    /// Who it is from now on.
    pub node: NodeId,
    /// In which Group.
    pub group: String,
    /// When the certificate ends.
    pub not_after: DateTime<Utc>,
}

/// Why a node gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// Its token.
    #[error(transparent)]
    Token(JoinRefusal),
    /// Its request or its old certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// It does not hold the key of the certificate that it shows.
    #[error("proof: it is not a signature over csr_der by the key of certificate_der")]
    Proof,
    /// Its certificate ended too long ago, or the node is not known any more.
    #[error(
        "the certificate of node {node} expired at {at}, too long ago to renew it; enrol the node anew with a join token"
    )]
    TooOld {
        /// Which node.
        node: NodeId,
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody shut it out.
    #[error("node {node} was revoked")]
    Revoked {
        /// Which node.
        node: NodeId,
    },
    /// The database does not answer.
    #[error("nodes cannot be enrolled now")]
    Unavailable(#[source] StoreError),
    /// The authority failed.
    #[error("no certificate can be issued")]
    Authority(#[source] AuthorityError),
}

impl From<StoreError> for EnrolmentError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// Issues certificates. Clones share everything.
#[derive(Debug, Clone)]
pub struct Enrolments {
    store: Store,
    authority: Authority,
}

impl Enrolments {
    /// Over the database.
    #[must_use]
    pub const fn new(store: Store, authority: Authority) -> Self {
        Self { store, authority }
    }

    /// Who may issue.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether a node with a good certificate is shut out all the same; notes that it was there.
    ///
    /// Nodes come back while the database is away; what is known of them holds then.
    pub async fn is_shut_out(&self, node: NodeId, revocations: &Revocations) -> bool {
        match self.store.see_node(node).await {
            Ok(revoked) => revoked,
            Err(error) => {
                tracing::debug!(%error, %node, "a node is let in by its certificate alone");
                revocations.contains(node)
            }
        }
    }

    /// The tokens that let nodes in without TLS.
    #[must_use]
    pub fn tokens(&self) -> JoinTokens {
        JoinTokens::new(self.store.clone())
    }

    /// Lets a new node in. The token is consumed in the transaction that adds the node; asked again with the same key, a
    /// token that is for one node gives that node again, since the first answer may have been lost.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub async fn enroll(
        &self,
        token: &str,
        request: &[u8],
        facts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Enrolled, EnrolmentError> {
        let digest = digest_of(token).map_err(EnrolmentError::Token)?;
        let request = Request::parse(request)?;
        let facts = tidy(facts);
        let mut tx = self.store.begin(Actor::system("enrolment")).await?;
        let row = still_good(tx.hold_join_token(&digest).await?).map_err(EnrolmentError::Token)?;
        let key = request.key_digest();
        let before = if row.single_use && row.used.is_some() {
            let before = tx.enrolled_with(row.id, &key).await?;
            Some(before.ok_or_else(|| EnrolmentError::Token(JoinRefusal::Used { name: row.name.clone() }))?)
        } else {
            None
        };
        let node = before.map_or_else(NodeId::generate, NodeId::from_uuid);
        let issued = self.authority.issue(&request, node, &row.node_group).map_err(EnrolmentError::Authority)?;
        let kept = IssuedRow { node, group: &row.node_group, serial: &issued.serial, not_after: issued.not_after };
        tx.insert_node(&kept, EnrolmentRow { token: row.id, key: &key, facts: &facts }).await?;
        tx.use_join_token(row.id).await?;
        let after = serde_json::json!({ "group": row.node_group, "join_token": row.id, "facts": facts });
        tx.audit(AuditEntry {
            operation: "enroll",
            kind: "node",
            id: Some(node.uuid()),
            subject: node.to_string(),
            before: None,
            after: Some(after),
        });
        tx.commit().await?;
        tracing::info!(%node, group = row.node_group, token = row.name, "a node enrolled");
        Ok(self.enrolled(node, row.node_group, issued.certificate, issued.not_after))
    }

    /// Gives a node its next certificate, for a new key that the old one vouches for.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub async fn renew(&self, certificate: &[u8], request: &[u8], proof: &[u8]) -> Result<Enrolled, EnrolmentError> {
        let old = self.authority.check_expired(certificate)?;
        if !old.signed(request, proof) {
            return Err(EnrolmentError::Proof);
        }
        let request = Request::parse(request)?;
        let NodeCertificate { node, group, not_after: at, .. } = old;
        let known = self.store.node(node).await?;
        if known.as_ref().is_some_and(|known| known.revoked.is_some()) {
            return Err(EnrolmentError::Revoked { node });
        }
        // A node that the database forgot (it was set back) goes on as long as its certificate is good.
        let until = if known.is_some() { at + GRACE } else { at };
        if until <= Utc::now() {
            return Err(EnrolmentError::TooOld { node, at });
        }
        let issued = self.authority.issue(&request, node, &group).map_err(EnrolmentError::Authority)?;
        let kept = IssuedRow { node, group: &group, serial: &issued.serial, not_after: issued.not_after };
        if !self.store.renew_node(&kept).await? {
            return Err(EnrolmentError::Revoked { node });
        }
        tracing::info!(%node, group, "a node renewed its certificate");
        Ok(self.enrolled(node, group, issued.certificate, issued.not_after))
    }

    fn enrolled(&self, node: NodeId, group: String, certificate: Vec<u8>, not_after: DateTime<Utc>) -> Enrolled {
        Enrolled { certificate, authority: self.authority.certificate().to_vec(), node, group, not_after }
    }
}

/// Shuts a node out within a transaction that the caller commits.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub(crate) async fn revoke_node(tx: &mut CatalogTx, id: Uuid) -> Result<Option<NodeRow>, StoreError> {
    let row = tx.revoke_node(id).await?;
    if let Some(row) = &row {
        tx.audit(AuditEntry {
            operation: "revoke",
            kind: "node",
            id: Some(row.id),
            subject: row.id.to_string(),
            before: None,
            after: Some(serde_json::json!({ "group": row.node_group, "revoked": row.revoked })),
        });
    }
    Ok(row)
}

/// Nodes that are shut out, so that streams which are open already end. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    nodes: Arc<RwLock<HashSet<Uuid>>>,
}

impl Revocations {
    /// Whether a node is shut out.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.read().contains(&node.uuid())
    }

    /// Keeps them up to date until the process ends. While the database is away, what is known holds.
    pub fn follow(&self, store: Store, shutdown: &Shutdown) {
        let (nodes, ending) = (Arc::clone(&self.nodes), shutdown.clone());
        shutdown.spawn("revoked nodes", async move {
            loop {
                match store.revoked_nodes().await {
                    Ok(revoked) => *nodes.write() = revoked.into_iter().collect(),
                    Err(error) => tracing::debug!(%error, "revoked nodes cannot be read"),
                }
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = ending.stopping() => return,
                }
            }
        });
    }
}

fn tidy(facts: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let cut = |text: String| text.chars().filter(|letter| !letter.is_control()).take(LONGEST_FACT).collect::<String>();
    facts.into_iter().take(MOST_FACTS).map(|(name, value)| (cut(name), cut(value))).collect()
}
