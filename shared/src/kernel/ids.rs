//! The registry of id kinds: ids of different things cannot be mixed.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Timestamp, Uuid};

use super::clock::FleetTime;

/// An id that is not sixteen bytes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id must have 16 bytes, got {length}")]
pub struct BadId {
    /// How many bytes there were.
    pub length: usize,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, UUID v7 (RFC 9562) by the wall clock.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// A new id, UUID v7 by fleet time: for what other machines order or judge by the time in its id.
            #[must_use]
            pub fn generate_at(time: FleetTime) -> Self {
                let micros = u64::try_from(time.unix_micros()).unwrap_or(0);
                let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
                let nanos = u32::try_from(rest * 1_000).unwrap_or(0);
                Self(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanos)))
            }

            /// Wraps an id that already exists.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The bare UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The sixteen bytes that travel in protobuf.
            #[must_use]
            pub fn to_bytes(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            /// Reads the sixteen bytes that travel in protobuf.
            ///
            /// # Errors
            /// [`BadId`] for any other length.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| BadId { length: bytes.len() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// One exchange with a client; also the id of its usage record.
    CallId
    /// The lineage of a control plane's database.
    Epoch
    /// A running start of a node.
    BootId
    /// A join token.
    JoinTokenId
    /// A role × router limit.
    LimitId
    /// A data plane.
    NodeId
    /// An organization.
    OrganizationId
    /// A project of an organization.
    ProjectId
    /// An upstream of a router.
    ProviderId
    /// A role.
    RoleId
    /// A public model name.
    RouterId
    /// A secret value.
    SecretId
    /// A setting of the fleet.
    SettingId
    /// A user.
    UserId
    /// A virtual key.
    VirtualKeyId
}

/// Number of a catalog state; grows by one with each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
