//! The data planes: who may join, and who is there.

mod join_tokens;
pub mod nodes;

pub(crate) use join_tokens::{DEFAULT_GROUP, DEFAULT_LIFETIME};
pub use join_tokens::{JoinRefusal, JoinTokenError, JoinTokens, NewJoinToken};
