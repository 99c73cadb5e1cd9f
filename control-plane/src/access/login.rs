//! A login: from an e-mail address and a password to a key that is valid for a while.

use std::net::IpAddr;

use chrono::Utc;
use serde_json::json;
use shared::kernel::ids::UserId;
use shared::kernel::secret::Secret;
use shared::kernel::virtual_key;

use super::{Access, AccessError};
use crate::domain::KeySpec;
use crate::store::keys::{self, KeyRow, NewVerifier};
use crate::store::{Actor, ActorKind, AuditEntry, users};

/// The name of the key that a login gives; the next login replaces it.
const SESSION_KEY_NAME: &str = "playground";

/// What a login gives.
#[derive(Debug)]
pub enum Login {
    /// The holder of the master key: the key that they logged in with.
    Master {
        /// It.
        key: Secret,
    },
    /// A user.
    User {
        /// The new key.
        row: Box<KeyRow>,
        /// Its text, shown once.
        key: Secret,
    },
}

impl Access {
    /// Logs in, and writes down that it was tried.
    ///
    /// # Errors
    /// [`AccessError::WrongPassword`] whichever of the two is wrong, [`AccessError::NoPassword`],
    /// [`AccessError::TooMany`], [`AccessError::Disabled`], [`AccessError::Expired`], or the database.
    pub async fn login(
        &self,
        email: &str,
        password: Secret,
        request_id: &str,
        address: Option<IpAddr>,
    ) -> Result<Login, AccessError> {
        let account = email.to_lowercase();
        if let Some(too_many) = self.guard.may_try(&account, address) {
            return Err(AccessError::TooMany { retry_after: too_many.retry_after });
        }
        let from = |kind, id, name: &str| Actor {
            kind,
            id,
            name: name.to_owned(),
            request_id: request_id.to_owned(),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
        };
        if account == self.master_name.to_lowercase() {
            return if self.master_key.matches(password.expose()) {
                self.guard.right_password(&account, address);
                self.write_down("login", "user", None, from(ActorKind::Master, None, &self.master_name)).await?;
                Ok(Login::Master { key: password })
            } else {
                self.refuse(&account, address, from(ActorKind::Anonymous, None, email)).await
            };
        }
        let found = users::by_email(&mut *self.store.acquire().await?, email).await?;
        let stored = found.as_ref().and_then(|user| user.password.clone());
        let without = found.is_some() && stored.is_none();
        let right = self.passwords.verify(password, stored).await?;
        if without {
            return Err(AccessError::NoPassword);
        }
        let Some(user) = found.filter(|_| right) else {
            return self.refuse(&account, address, from(ActorKind::Anonymous, None, email)).await;
        };
        self.guard.right_password(&account, address);
        if user.blocked || user.organization_blocked {
            let what = if user.blocked { "account" } else { "organization" };
            return Err(AccessError::Disabled { what });
        }
        if user.expires.is_some_and(|expires| expires <= Utc::now()) {
            return Err(AccessError::Expired);
        }
        self.open_session(UserId::from_uuid(user.id), from(ActorKind::User, Some(user.id), &user.email)).await
    }

    /// Replaces the session key of a user.
    async fn open_session(&self, user: UserId, actor: Actor) -> Result<Login, AccessError> {
        let made = virtual_key::generate()?;
        let expires = chrono::Duration::from_std(self.session_duration)
            .ok()
            .and_then(|duration| Utc::now().checked_add_signed(duration));
        let spec = KeySpec { name: SESSION_KEY_NAME.to_owned(), user, allowed_routers: None, expires, blocked: false };
        let verifier = NewVerifier::native(&made, self.pepper.expose());
        let mut tx = self.store.begin(actor).await?;
        keys::delete_sessions(&mut tx, user, None).await?;
        let row = keys::insert(&mut tx, &spec, &verifier, true).await?;
        tx.audit(AuditEntry {
            operation: "login",
            kind: "user",
            id: Some(user.uuid()),
            subject: tx.actor().name.clone(),
            before: None,
            after: Some(json!({ "key_id": row.number, "expires": row.expires.map(|at| at.timestamp()) })),
        });
        tx.commit().await?;
        Ok(Login::User { row: Box::new(row), key: made.text })
    }

    async fn refuse(&self, account: &str, address: Option<IpAddr>, actor: Actor) -> Result<Login, AccessError> {
        self.guard.wrong_password(account, address);
        self.write_down("login_refused", "user", None, actor).await?;
        Err(AccessError::WrongPassword)
    }

    /// An audit line without a change.
    async fn write_down(
        &self,
        operation: &'static str,
        kind: &'static str,
        id: Option<uuid::Uuid>,
        mut actor: Actor,
    ) -> Result<(), AccessError> {
        // What an anonymous caller typed may be anything, a password in the wrong field included.
        if actor.kind == ActorKind::Anonymous {
            actor.name = actor.name.chars().filter(|letter| !letter.is_control()).take(64).collect();
        }
        let subject = actor.name.clone();
        let mut tx = self.store.begin(actor).await?;
        tx.audit(AuditEntry { operation, kind, id, subject, before: None, after: None });
        tx.commit().await?;
        Ok(())
    }
}
