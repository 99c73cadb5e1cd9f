//! What data planes speak to: tonic services, each a thin face over a service room.

pub mod enrollment;
pub mod peer;
pub mod port;
pub mod sync;
pub mod usage;
