//! Catalog ↔ protobuf: strict out, lenient in.
//!
//! A resource that cannot be read is rejected alone, with a [`Rejection`] that says which and why; the envelope
//! around it is read first, because a deletion or a block must apply even when the body does not.

mod body;
mod digest;
mod envelope;
mod reject;

pub use digest::{digest_from_wire, digest_to_wire};
pub use envelope::{Envelope, decode, encode, kind_from_wire, kind_to_wire, ref_from_wire, ref_to_wire};
pub use reject::{RejectCode, Rejection};

/// The schema of catalog bodies that this build writes, and the newest that it reads.
pub const SCHEMA_MAX: u32 = 1;
/// The oldest schema of catalog bodies that this build reads.
pub const SCHEMA_MIN: u32 = 1;
/// The largest gRPC message that either side accepts, in bytes; chunks stay far below it.
pub const MESSAGE_LIMIT: usize = 8 * 1024 * 1024;
/// About how many bytes of resources go into one chunk.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// How often either side says that it is alive.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests;
