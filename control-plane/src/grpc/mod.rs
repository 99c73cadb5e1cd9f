//! What data planes speak to: tonic services, each a thin face over a service room.

pub mod peer;
pub mod sync;
pub mod usage;
