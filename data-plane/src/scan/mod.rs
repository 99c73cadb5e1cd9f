//! Bytes read where they lie: JSON without a tree, server-sent events without copies.
//!
//! Bodies are kept as they came, so everything here answers "where", as a range of bytes, and never builds what it reads.
//! The lowest floor beside `table`: any room may use it, and it uses none.
//!
//! | file | holds |
//! |---|---|
//! | [`json`] | the grammar: checks and skips a value, with bounds on depth and size |
//! | [`plain`] | runs of bytes without a meaning, found many at a time |
//! | [`object`] | the members of one object, duplicates refused |
//! | [`splice`] | replaces ranges without touching the rest |
//! | [`sse`] | whole events out of a stream cut anywhere |
//! | [`multipart`] | the parts of a form that may be too large to hold |

pub(crate) mod json;
pub(crate) mod multipart;
pub(crate) mod object;
mod plain;
pub(crate) mod splice;
pub(crate) mod sse;
