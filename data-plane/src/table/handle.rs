//! The current table: read once per call, replaced as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Table;

/// Handle to the current table; clones share it.
#[derive(Clone, Debug)]
pub struct Handle {
    current: Arc<ArcSwap<Table>>,
}

impl Handle {
    /// Starts with a table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(table)) }
    }

    /// The table of this moment. A call loads it once, so that a swap in its middle cannot change it.
    #[must_use]
    pub fn load(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Puts another table in place and returns the old one, whose last owner should drop it off the hot path.
    pub fn swap(&self, table: Arc<Table>) -> Arc<Table> {
        self.current.swap(table)
    }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new(Table::empty())
    }
}
