//! Digests on the wire.

use super::{kind_from_wire, kind_to_wire};
use crate::catalog::Digest;
use crate::proto;

/// Writes a digest.
#[must_use]
pub fn digest_to_wire(digest: &Digest) -> proto::Digest {
    proto::Digest {
        kinds: digest
            .sums()
            .map(|(kind, sum)| proto::KindDigest { kind: kind_to_wire(kind), sum: sum.to_be_bytes().to_vec() })
            .collect(),
    }
}

/// Reads a digest; a kind that this build does not know, or a sum of another length, makes it unreadable.
#[must_use]
pub fn digest_from_wire(digest: &proto::Digest) -> Option<Digest> {
    let sums = digest
        .kinds
        .iter()
        .map(|entry| Some((kind_from_wire(entry.kind)?, u128::from_be_bytes(entry.sum.as_slice().try_into().ok()?))))
        .collect::<Option<Vec<_>>>()?;
    Some(Digest::from_sums(sums))
}
