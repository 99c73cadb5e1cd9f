//! Roles: permissions on the management side, and which routers how much.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use shared::catalog::{LimitUnit, Permission, Window};
use shared::kernel::ids::RouterId;

use super::{Error, check_name};

/// All that an operator decides about a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSpec {
    /// Unique among roles.
    pub name: String,
    /// Rights on the management side.
    pub permissions: Vec<Permission>,
    /// Every router, without limits.
    pub all_routers: bool,
    /// Per router; a role needs all four types for a router to be of use.
    pub limits: Vec<LimitSpec>,
}

/// A limit of a role on a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSpec {
    /// Which router.
    pub router: RouterId,
    /// What it counts, over how long.
    pub limit: LimitType,
    /// How much; absent is unlimited, 0 is no access.
    pub amount: Option<i64>,
}

/// The four types of limit of the compatible API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitType {
    /// Tokens per minute.
    Tpm,
    /// Tokens per day.
    Tpd,
    /// Requests per minute.
    Rpm,
    /// Requests per day.
    Rpd,
}

impl LimitType {
    /// Every member.
    pub const ALL: &[Self] = &[Self::Tpm, Self::Tpd, Self::Rpm, Self::Rpd];

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tpm => "tpm",
            Self::Tpd => "tpd",
            Self::Rpm => "rpm",
            Self::Rpd => "rpd",
        }
    }

    /// What it counts.
    #[must_use]
    pub const fn unit(self) -> LimitUnit {
        match self {
            Self::Tpm | Self::Tpd => LimitUnit::Tokens,
            Self::Rpm | Self::Rpd => LimitUnit::Requests,
        }
    }

    /// Over how long.
    #[must_use]
    pub const fn window(self) -> Window {
        match self {
            Self::Tpm | Self::Rpm => Window::Minute,
            Self::Tpd | Self::Rpd => Window::Day,
        }
    }

    /// The word for a unit and a window, where the compatible API has one.
    #[must_use]
    pub fn of(unit: &str, window: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.unit().as_str() == unit && limit.window().as_str() == window)
    }
}

impl fmt::Display for LimitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LimitType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .copied()
            .find(|limit| limit.as_str() == text)
            .ok_or_else(|| Error::invalid("type", text, "one of: tpm, tpd, rpm, rpd"))
    }
}

impl RoleSpec {
    /// Checks every field, and that no limit is named twice.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        check_name("name", &self.name)?;
        let mut seen = BTreeSet::new();
        for limit in &self.limits {
            if limit.amount.is_some_and(|amount| amount < 0) {
                let amount = limit.amount.unwrap_or_default();
                return Err(Error::invalid(
                    "limits",
                    amount,
                    "a value of 0 or more, or null for no bound, is expected",
                ));
            }
            if !seen.insert((limit.router, limit.limit)) {
                return Err(Error::invalid("limits", limit.limit, "each type at most once for each router"));
            }
        }
        Ok(())
    }
}
