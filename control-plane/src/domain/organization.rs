//! Organizations: tenants.

use super::{Error, check_name};

/// All that an operator decides about an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationSpec {
    /// Unique among organizations.
    pub name: String,
    /// Switched off, with all that belongs to it.
    pub blocked: bool,
}

impl OrganizationSpec {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        check_name("name", &self.name)
    }
}
