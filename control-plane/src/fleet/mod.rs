//! The data planes: who may join, and who is there.

pub mod certificates;
mod enrolment;
mod join_tokens;
pub mod nodes;
mod orders;
mod standing;
mod together;
mod view;

pub(crate) use enrolment::revoke_node;
pub use enrolment::{Enrolled, EnrolmentError, Enrolments, Revocations};
pub(crate) use join_tokens::{DEFAULT_GROUP, DEFAULT_LIFETIME};
pub use join_tokens::{JoinRefusal, JoinTokenError, JoinTokens, NewJoinToken};
pub use orders::Order;
pub use together::{Delivery, Together};
pub use view::{FleetView, Member, MemberState};
