//! Routers: public model names.

use std::collections::BTreeSet;

use shared::catalog::{BalanceStrategy, RouterKind};
use shared::kernel::ids::OrganizationId;
use shared::kernel::money::{Amount, Prices};

use super::text::check_text;
use super::{Error, check_name};

/// Longest alias, in characters.
const ALIAS: usize = 64;
/// Most aliases of one router.
const ALIASES: usize = 100;
/// Longest name of a Group, in characters.
const GROUP: usize = 64;
/// Most Groups of one router.
const GROUPS: usize = 100;

/// All that an operator decides about a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSpec {
    /// Unique for its owner, among names and aliases together.
    pub name: String,
    /// What it serves.
    pub kind: RouterKind,
    /// Other names for it, in order.
    pub aliases: Vec<String>,
    /// How it picks a provider.
    pub strategy: BalanceStrategy,
    /// What it charges; `revision` is kept by the store.
    pub prices: Prices,
    /// Whose name it is; absent is global.
    pub organization: Option<OrganizationId>,
    /// Shown as `owned_by`; empty for the title of the application.
    pub owned_by: String,
    /// Tokens of prompt and answer together.
    pub max_context_length: Option<u64>,
    /// Tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// Dimensions of an embedding.
    pub vector_size: Option<u64>,
    /// Switched off.
    pub blocked: bool,
    /// The Groups of data planes that serve it; none named means all of them.
    pub groups: Vec<String>,
}

impl RouterSpec {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        check_name("name", &self.name)?;
        if !self.owned_by.is_empty() {
            check_name("owned_by", &self.owned_by)?;
        }
        self.check_aliases()?;
        self.check_groups()?;
        let prices = [
            ("cost_prompt_tokens", self.prices.prompt),
            ("cost_completion_tokens", self.prices.completion),
            ("cost_cached_prompt_tokens", self.prices.cached_prompt),
        ];
        for (field, price) in prices {
            if let Some(price) = price.filter(|price| *price < Amount::ZERO) {
                return Err(Error::invalid(field, price, "0 or more is expected"));
            }
        }
        let sizes = [
            ("max_context_length", self.max_context_length),
            ("max_output_tokens", self.max_output_tokens),
            ("vector_size", self.vector_size),
        ];
        for (field, size) in sizes {
            if let Some(size) = size.filter(|size| *size == 0 || i64::try_from(*size).is_err()) {
                return Err(Error::invalid(field, size, "1 or more is expected"));
            }
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), Error> {
        if self.groups.len() > GROUPS {
            return Err(Error::invalid("groups", self.groups.len(), format!("at most {GROUPS} are expected")));
        }
        let mut seen = BTreeSet::new();
        for group in &self.groups {
            check_text("groups", group, GROUP)?;
            if !seen.insert(group) {
                return Err(Error::invalid("groups", group, "each Group once"));
            }
        }
        Ok(())
    }

    fn check_aliases(&self) -> Result<(), Error> {
        if self.aliases.len() > ALIASES {
            return Err(Error::invalid("aliases", self.aliases.len(), format!("at most {ALIASES} are expected")));
        }
        let mut seen = BTreeSet::from([self.name.as_str()]);
        for alias in &self.aliases {
            check_text("aliases", alias, ALIAS)?;
            if !seen.insert(alias) {
                return Err(Error::invalid("aliases", alias, "each name once, and not the name of the router itself"));
            }
        }
        Ok(())
    }
}
