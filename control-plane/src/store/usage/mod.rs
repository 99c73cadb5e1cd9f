//! The ledger of metered work: taken in by batches, read by page and by sum.

mod partitions;
mod read;
mod row;
mod summary;
mod write;

pub use partitions::Retention;
pub use read::{UsageFilter, UsageLine, UsagePage, key_of_number};
pub use row::{AttemptRow, UsageRow};
pub use summary::{GroupBy, SummaryLine, UnknownGroup};
pub use write::{Batch, smallest_id_at};
