//! The data planes: who may join, and who is there.

pub mod certificates;
mod enrolment;
mod join_tokens;
pub mod nodes;

pub use enrolment::{Enrolments, EnrolmentError, Enrolled, Revocations};
pub(crate) use enrolment::revoke_node;
pub(crate) use join_tokens::{DEFAULT_GROUP, DEFAULT_LIFETIME};
pub use join_tokens::{JoinRefusal, JoinTokenError, JoinTokens, NewJoinToken};
