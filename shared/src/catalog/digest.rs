//! What a node holds, as one number for each kind: both sides keep it incrementally and compare it at each ack.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use super::Kind;

/// Per kind the 128-bit wrapping sum of H(kind, id, version), H being SHA-256 cut to 128 bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digest(BTreeMap<Kind, u128>);

impl Digest {
    /// Counts a resource in.
    pub fn add(&mut self, kind: Kind, id: Uuid, version: u64) {
        self.change(kind, |sum| sum.wrapping_add(hash(kind, id, version)));
    }

    /// Counts a resource out.
    pub fn remove(&mut self, kind: Kind, id: Uuid, version: u64) {
        self.change(kind, |sum| sum.wrapping_sub(hash(kind, id, version)));
    }

    /// What two sets that share nothing hold together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (kind, more) in other.sums() {
            both.change(kind, |sum| sum.wrapping_add(more));
        }
        both
    }

    /// The sums of the kinds that hold anything, in order of kind.
    pub fn sums(&self) -> impl Iterator<Item = (Kind, u128)> + '_ {
        self.0.iter().map(|(kind, sum)| (*kind, *sum))
    }

    /// Rebuilds a digest from sums that travelled.
    #[must_use]
    pub fn from_sums(sums: impl IntoIterator<Item = (Kind, u128)>) -> Self {
        Self(sums.into_iter().filter(|(_, sum)| *sum != 0).collect())
    }

    fn change(&mut self, kind: Kind, apply: impl FnOnce(u128) -> u128) {
        let sum = apply(self.0.get(&kind).copied().unwrap_or(0));
        if sum == 0 {
            self.0.remove(&kind);
        } else {
            self.0.insert(kind, sum);
        }
    }
}

fn hash(kind: Kind, id: Uuid, version: u64) -> u128 {
    let mut input = Vec::with_capacity(48);
    input.extend_from_slice(kind.as_str().as_bytes());
    input.push(0);
    input.extend_from_slice(id.as_bytes());
    input.extend_from_slice(&version.to_be_bytes());
    digest(&SHA256, &input).as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut one = Digest::default();
        one.add(Kind::Key, a, 1);
        one.add(Kind::Router, b, 7);
        let mut two = Digest::default();
        two.add(Kind::Router, b, 7);
        two.add(Kind::Key, b, 3);
        two.add(Kind::Key, a, 1);
        assert_ne!(one, two);
        two.remove(Kind::Key, b, 3);
        assert_eq!(one, two);
        let mut more = Digest::default();
        more.add(Kind::Key, b, 3);
        let mut all = one.clone();
        all.add(Kind::Key, b, 3);
        assert_eq!(one.plus(&more), all);
        one.remove(Kind::Key, a, 1);
        one.remove(Kind::Router, b, 7);
        assert_eq!(one, Digest::default());
    }
}
