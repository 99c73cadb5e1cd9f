//! Join tokens: made, shown once, hashed at rest, checked at each enrolment, revoked.
//!
//! A token is `gw-join-<secret>.<fingerprint>`. The fingerprint is the SHA-256 of the fleet's certificate authority, by
//! which a node knows the control plane before it shows the secret; only the part before the dot is looked up.

use std::time::Duration;

use aws_lc_rs::rand;
use chrono::{DateTime, TimeDelta, Utc};
use shared::kernel::ids::JoinTokenId;
use shared::kernel::secret::Secret;
use shared::kernel::virtual_key::sha256_digest;
use uuid::Uuid;

use super::certificates::fingerprint;
use crate::store::join_tokens::JoinTokenRow;
use crate::store::nodes::authority_certificate;
use crate::store::{Actor, AuditEntry, CatalogTx, Store, StoreError};

const PREFIX: &str = "gw-join-";
/// 256 random bits in hexadecimal.
const LENGTH: usize = 64;
/// Ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A day: long enough to roll out a fleet.
pub(crate) const DEFAULT_LIFETIME: Duration = Duration::from_secs(86_400);
/// The Group of nodes that name none.
pub(crate) const DEFAULT_GROUP: &str = "default";

/// What a new token is to be like.
#[derive(Debug, Clone)]
pub struct NewJoinToken {
    /// To tell it from others.
    pub name: String,
    /// The Group that its nodes belong to.
    pub group: String,
    /// Whether it lets in one node alone.
    pub single_use: bool,
    /// How long it lets nodes in.
    pub lifetime: Duration,
}

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// A field is not as it should be.
    #[error("`{field}` is `{}`: {expected}", value.escape_debug())]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it held.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// The database did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a node is not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinRefusal {
    /// No such token.
    #[error("the join token is not known")]
    Unknown,
    /// It was valid once.
    #[error("the join token `{name}` expired at {at}; make a new one")]
    Expired {
        /// Its name.
        name: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody took it back.
    #[error("the join token `{name}` was revoked at {at}; make a new one")]
    Revoked {
        /// Its name.
        name: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// It was for one node.
    #[error("the join token `{name}` is for one node and was used; make a new one")]
    Used {
        /// Its name.
        name: String,
    },
    /// It is for enrolment, and was shown in place of a certificate.
    #[error(
        "the join token `{name}` is for one enrolment, which needs TLS: an https:// address of the control plane is expected"
    )]
    EnrolmentOnly {
        /// Its name.
        name: String,
    },
    /// It could not be looked up.
    #[error("join tokens cannot be checked now")]
    Unavailable(#[source] StoreError),
}

/// All tokens of the fleet. Clones share the store.
#[derive(Debug, Clone)]
pub struct JoinTokens {
    store: Store,
}

impl JoinTokens {
    /// Over the database.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes a token; its text exists here only.
    ///
    /// # Errors
    /// [`JoinTokenError`] when a field is wrong or the database does not answer.
    pub async fn create(&self, actor: Actor, new: &NewJoinToken) -> Result<(JoinTokenRow, Secret), JoinTokenError> {
        let mut tx = self.store.begin(actor).await?;
        let made = Self::create_within(&mut tx, new).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// The same inside a transaction that the caller commits.
    ///
    /// # Errors
    /// As [`JoinTokens::create`].
    pub async fn create_within(
        tx: &mut CatalogTx,
        new: &NewJoinToken,
    ) -> Result<(JoinTokenRow, Secret), JoinTokenError> {
        check_word("name", &new.name)?;
        check_word("group", &new.group)?;
        if new.lifetime.is_zero() || new.lifetime > LONGEST {
            let value = new.lifetime.as_secs().to_string();
            let expected = "1 to 315360000 seconds (10 years) are expected";
            return Err(JoinTokenError::Invalid { field: "expires_in_seconds", value, expected });
        }
        let secret = generate()?;
        let expires = Utc::now() + TimeDelta::from_std(new.lifetime).unwrap_or(TimeDelta::MAX);
        let digest = sha256_digest(secret.expose());
        let id = JoinTokenId::generate();
        let row = tx.insert_join_token(id, &new.name, &new.group, new.single_use, &digest, expires).await?;
        tx.audit(entry("create", &row));
        // Before the first control plane started there is no authority yet: such a token is good without TLS alone.
        let text = match authority_certificate(tx.connection()).await? {
            Some(authority) => Secret::new(format!("{}.{}", secret.expose(), fingerprint(&authority))),
            None => secret,
        };
        Ok((row, text))
    }

    /// A page, newest first, and how many there are.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list(&self, offset: i64, limit: i64) -> Result<(i64, Vec<JoinTokenRow>), StoreError> {
        self.store.join_tokens(offset, limit).await
    }

    /// One token.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn get(&self, id: Uuid) -> Result<Option<JoinTokenRow>, StoreError> {
        self.store.join_token(id).await
    }

    /// Takes a token back: it lets nobody in from now on.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn revoke(&self, actor: Actor, id: Uuid) -> Result<Option<JoinTokenRow>, StoreError> {
        let mut tx = self.store.begin(actor).await?;
        let row = tx.revoke_join_token(id).await?;
        if let Some(row) = &row {
            tx.audit(entry("revoke", row));
            tx.commit().await?;
        }
        Ok(row)
    }

    /// The Group that a token lets a node into.
    ///
    /// # Errors
    /// [`JoinRefusal`] when it lets nobody in.
    pub async fn verify(&self, token: &str) -> Result<String, JoinRefusal> {
        let digest = digest_of(token)?;
        let found = self.store.show_join_token(&digest).await.map_err(JoinRefusal::Unavailable)?;
        let row = still_good(found)?;
        if row.single_use {
            return Err(JoinRefusal::EnrolmentOnly { name: row.name });
        }
        Ok(row.node_group)
    }
}

/// The digest that a token is kept under. Anything of another form is refused without asking the database.
pub(super) fn digest_of(token: &str) -> Result<[u8; 32], JoinRefusal> {
    let secret = token.split_once('.').map_or(token, |(secret, _)| secret);
    let form = secret
        .strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if form { Ok(sha256_digest(secret)) } else { Err(JoinRefusal::Unknown) }
}

/// Neither unknown, nor revoked, nor expired.
pub(super) fn still_good(found: Option<JoinTokenRow>) -> Result<JoinTokenRow, JoinRefusal> {
    let row = found.ok_or(JoinRefusal::Unknown)?;
    if let Some(at) = row.revoked {
        return Err(JoinRefusal::Revoked { name: row.name, at });
    }
    if row.expires <= Utc::now() {
        return Err(JoinRefusal::Expired { name: row.name, at: row.expires });
    }
    Ok(row)
}

fn generate() -> Result<Secret, JoinTokenError> {
    let mut bytes = [0; LENGTH / 2];
    rand::fill(&mut bytes).map_err(|_| JoinTokenError::Random)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(format!("{PREFIX}{digits}")))
}

fn check_word(field: &'static str, text: &str) -> Result<(), JoinTokenError> {
    if (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let value = text.chars().take(80).collect::<String>();
    Err(JoinTokenError::Invalid {
        field,
        value,
        expected: "1 to 64 characters without control characters are expected",
    })
}

fn entry(operation: &'static str, row: &JoinTokenRow) -> AuditEntry {
    let facts = serde_json::json!({ "name": row.name, "group": row.node_group, "single_use": row.single_use, "expires": row.expires, "revoked": row.revoked });
    AuditEntry {
        operation,
        kind: "join_token",
        id: Some(row.id),
        subject: row.name.clone(),
        before: None,
        after: Some(facts),
    }
}
