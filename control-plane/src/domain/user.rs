//! Users: people and services, with a role.

use chrono::{DateTime, Utc};
use shared::kernel::ids::{OrganizationId, RoleId};
use shared::kernel::money::Amount;

use super::text::check_text;
use super::{Error, check_email};

/// All that an operator decides about a user, but for the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSpec {
    /// Unique without regard to case.
    pub email: String,
    /// For display; may be empty.
    pub name: String,
    /// Subject at an identity provider.
    pub sub: Option<String>,
    /// The identity provider.
    pub iss: Option<String>,
    /// What they may do.
    pub role: RoleId,
    /// Whom they belong to.
    pub organization: Option<OrganizationId>,
    /// What they may spend; absent is no bound.
    pub budget: Option<Amount>,
    /// When they stop being valid.
    pub expires: Option<DateTime<Utc>>,
    /// Place in a queue.
    pub priority: i32,
    /// Switched off.
    pub blocked: bool,
}

impl UserSpec {
    /// Checks every field; `expires` is checked where it is set, by [`user_expiry`].
    ///
    /// # Errors
    /// [`Error::Invalid`], or [`Error::Forbidden`] for the reserved e-mail address.
    pub fn check(&self) -> Result<(), Error> {
        check_email(&self.email)?;
        if !self.name.is_empty() {
            check_text("name", &self.name, 255)?;
        }
        for (field, value) in [("sub", &self.sub), ("iss", &self.iss)] {
            if let Some(value) = value {
                check_text(field, value, 255)?;
            }
        }
        if let Some(budget) = self.budget.filter(|budget| budget.billionths() < 0) {
            return Err(Error::invalid("budget", budget, "0 or more, or null for no bound, is expected"));
        }
        if self.priority < 0 {
            return Err(Error::invalid("priority", self.priority, "0 or more is expected"));
        }
        Ok(())
    }
}

/// An expiry of a user, from Unix seconds: in the future, up to the year 9999.
///
/// # Errors
/// [`Error::Invalid`].
pub fn user_expiry(seconds: i64, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    future("expires", seconds, now)
}

/// Unix seconds that lie ahead, up to the end of the year 9999.
pub(super) fn future(field: &str, seconds: i64, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    const END_OF_9999: i64 = 253_402_300_799;
    let at = (seconds <= END_OF_9999).then(|| DateTime::from_timestamp(seconds, 0)).flatten();
    at.filter(|at| *at > now)
        .ok_or_else(|| Error::invalid(field, seconds, "Unix seconds in the future, up to the year 9999, are expected"))
}
