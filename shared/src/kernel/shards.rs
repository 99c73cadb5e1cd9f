//! A map whose copies share what did not change: many small sorted arrays, of which an edit replaces only a few.
//!
//! A change of ten entries among a million copies ten arrays of a few hundred entries; comparing two states costs one
//! pointer comparison for each array that they share.

use std::cmp::Ordering;
use std::sync::Arc;

use uuid::Uuid;

/// A key that can say, always alike, which array it lies in.
pub trait ShardKey: Ord + Copy {
    /// A number whose bits depend on all of the key.
    fn spread(&self) -> u64;
}

impl ShardKey for Uuid {
    fn spread(&self) -> u64 {
        mix(self.as_u128())
    }
}

impl ShardKey for (Uuid, Uuid) {
    fn spread(&self) -> u64 {
        mix(self.0.as_u128() ^ self.1.as_u128().rotate_left(61))
    }
}

/// Spreads the bits of a number of 128 bits; not a defence against chosen keys, for which an array only grows longer.
#[must_use]
pub const fn mix(number: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    let folded = (number >> 64) as u64 ^ (number as u64).rotate_left(32);
    let once = (folded ^ (folded >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    once ^ (once >> 33)
}

type Shard<K, V> = Arc<[(K, V)]>;

/// The map. Clones are cheap and never change each other.
#[derive(Debug)]
pub struct Shards<K, V> {
    shards: Arc<Vec<Shard<K, V>>>,
    length: usize,
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { shards: Arc::clone(&self.shards), length: self.length }
    }
}

impl<K: ShardKey, V: Clone> Shards<K, V> {
    /// An empty map of 2^`bits` arrays.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        let empty: Shard<K, V> = Arc::new([]);
        Self { shards: Arc::new(vec![empty; 1 << bits.min(16)]), length: 0 }
    }

    /// The empty map with the same number of arrays.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let empty: Shard<K, V> = Arc::new([]);
        Self { shards: Arc::new(vec![empty; self.shards.len()]), length: 0 }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let shard = self.shards.get(self.place(key))?;
        let at = shard.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        shard.get(at).map(|(_, value)| value)
    }

    /// Every entry, in an order that only this map knows.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(key, value)| (key, value)))
    }

    /// The map after changes, the last one winning for each key; `None` removes.
    #[must_use]
    pub fn edited(&self, changes: impl IntoIterator<Item = (K, Option<V>)>) -> Self {
        let mut by_shard: Vec<(usize, K, Option<V>)> =
            changes.into_iter().map(|(key, value)| (self.place(&key), key, value)).collect();
        if by_shard.is_empty() {
            return self.clone();
        }
        // Stable, so that the changes of one key keep their order.
        by_shard.sort_by(|one, other| one.0.cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
        let mut shards = Vec::clone(&self.shards);
        let mut length = self.length;
        let mut changes = by_shard.into_iter().peekable();
        while let Some((place, _, _)) = changes.peek() {
            let place = *place;
            let here =
                std::iter::from_fn(|| changes.next_if(|change| change.0 == place)).map(|(_, key, value)| (key, value));
            if let Some(shard) = shards.get_mut(place) {
                let merged = merge(shard, here);
                length = length + merged.len() - shard.len();
                *shard = merged.into();
            }
        }
        Self { shards: Arc::new(shards), length }
    }

    /// What must change in `older` to become this map; arrays that both share cost one comparison.
    /// Entries for which `same` says yes are left out.
    pub fn changes_since<'a>(
        &'a self,
        older: &'a Self,
        same: impl Fn(&V, &V) -> bool + 'a,
    ) -> impl Iterator<Item = Change<'a, K, V>> + 'a {
        self.shards
            .iter()
            .zip(older.shards.iter())
            .filter(|(new, old)| !Arc::ptr_eq(new, old))
            .flat_map(move |(new, old)| differences(old, new, &same))
    }

    /// How many arrays this map does not share with another of the same size.
    #[must_use]
    pub fn unshared_with(&self, other: &Self) -> usize {
        self.shards.iter().zip(other.shards.iter()).filter(|(one, two)| !Arc::ptr_eq(one, two)).count()
    }

    fn place(&self, key: &K) -> usize {
        // The number of arrays is a power of two.
        usize::try_from(key.spread()).unwrap_or(0) & (self.shards.len() - 1)
    }
}

/// One entry that differs between two states of a map.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    /// Its key.
    pub key: K,
    /// What it was.
    pub old: Option<&'a V>,
    /// What it is.
    pub new: Option<&'a V>,
}

/// Both sides are sorted by key.
fn merge<K: ShardKey, V: Clone>(shard: &[(K, V)], changes: impl Iterator<Item = (K, Option<V>)>) -> Vec<(K, V)> {
    let mut merged = Vec::with_capacity(shard.len() + changes.size_hint().0);
    let mut kept = shard.iter().peekable();
    let mut changes = changes.peekable();
    while let Some((key, value)) = changes.next() {
        if changes.peek().is_some_and(|(next, _)| *next == key) {
            continue;
        }
        merged.extend(std::iter::from_fn(|| kept.next_if(|(other, _)| *other < key)).cloned());
        kept.next_if(|(other, _)| *other == key);
        merged.extend(value.map(|value| (key, value)));
    }
    merged.extend(kept.cloned());
    merged
}

fn differences<'a, K: ShardKey, V>(
    old: &'a [(K, V)],
    new: &'a [(K, V)],
    same: &impl Fn(&V, &V) -> bool,
) -> Vec<Change<'a, K, V>> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((one, _)), Some((two, _))) => one.cmp(two),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changes,
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let Some(key) = before.or(after).map(|(key, _)| *key) else { return changes };
        let (before, after) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if !matches!((before, after), (Some(one), Some(two)) if same(one, two)) {
            changes.push(Change { key, old: before, new: after });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u128) -> Uuid {
        Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn it_is_a_map() {
        let mut model = BTreeMap::new();
        let mut shards = Shards::new(4);
        for round in 0..50_u128 {
            let changes: Vec<_> = (0..40)
                .map(|one| (key((round * 7 + one * 3) % 90), (one % 3 != 0).then_some(round * 100 + one)))
                .collect();
            for (key, value) in &changes {
                match value {
                    Some(value) => model.insert(*key, *value),
                    None => model.remove(key),
                };
            }
            let before = shards.clone();
            shards = shards.edited(changes);
            assert_eq!(shards.len(), model.len());
            assert!(model.iter().all(|(key, value)| shards.get(key) == Some(value)));
            let mut copy: BTreeMap<_, _> = before.iter().map(|(key, value)| (*key, *value)).collect();
            for change in shards.changes_since(&before, |one, two| one == two) {
                assert_eq!(copy.get(&change.key), change.old);
                match change.new {
                    Some(value) => copy.insert(change.key, *value),
                    None => copy.remove(&change.key),
                };
            }
            assert_eq!(copy, model);
        }
    }

    #[test]
    fn an_edit_shares_what_it_does_not_touch() {
        let all = Shards::new(10).edited((0..100_000).map(|number| (key(number), Some(number))));
        let edited = all.edited([(key(5), Some(0)), (key(6), None), (key(200_000), Some(1))]);
        assert!(edited.unshared_with(&all) <= 3);
        assert_eq!((all.len(), edited.len()), (100_000, 100_000));
        assert_eq!(edited.changes_since(&all, |one, two| one == two).count(), 3);
        assert_eq!(all.get(&key(6)), Some(&6));
        // Spread evenly: no array is far above the mean of 98.
        assert!(all.shards.iter().all(|shard| shard.len() < 180));
    }
}
