//! placeholder
pub mod link;
pub mod table;

pub(crate) mod balance;
pub(crate) mod exchange;
pub(crate) mod meter;
pub(crate) mod observe;
pub(crate) mod scan;
pub(crate) mod spool;
pub(crate) mod surface;
pub(crate) mod translate;
pub(crate) mod upstream;
pub(crate) mod vitals;
