//! What a call used: as reported by the upstream, else counted here; its cost; its record.
//!
//! | file | holds |
//! |---|---|
//! | [`reported`] | usage objects of upstreams, read leniently |
//! | [`text`] | the text of requests and answers, for counting |
//! | [`tokenizer`] | counting, off the request path |
//! | [`carbon`] | an estimate of electricity and greenhouse gases |
//! | [`sink`] | where records go |
//! | [`refusals`] | one record for many equal refusals |
//!
//! Admission never tokenises; only a call whose upstream reported nothing is counted, and its record says so.

pub(crate) mod carbon;
pub(crate) mod refusals;
pub(crate) mod reported;
pub(crate) mod sink;
pub(crate) mod text;
pub(crate) mod tokenizer;

#[cfg(test)]
mod tests;
