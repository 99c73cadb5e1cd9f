//! The data planes: who may join, and who is there.

mod join_tokens;

pub use join_tokens::{JoinRefusal, JoinTokenError, JoinTokens, NewJoinToken};
pub(crate) use join_tokens::{DEFAULT_GROUP, DEFAULT_LIFETIME};
