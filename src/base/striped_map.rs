#![forbid(unsafe_code)]
//! A hash map in stripes. A hash map doubles in one go, which at a million entries stops its core for tens of
//! milliseconds; here each stripe doubles on its own, a 64th at a time.
//!
//! Not for several cores: one owner, no locks. Hashes have given seeds, so that two runs agree.

use std::collections::HashMap;
use std::hash::Hash;

use ahash::RandomState;

const STRIPES: usize = 64;

/// Values by key.
#[derive(Clone, Debug)]
pub struct StripedMap<K, V> {
    state: RandomState,
    stripes: Box<[HashMap<K, V, RandomState>]>,
    len: usize,
}

impl<K: Eq + Hash, V> StripedMap<K, V> {
    /// An empty map; nothing is allocated for entries yet.
    pub fn new(seed: u64) -> Self {
        // Two states: the stripe is chosen by other bits than the bucket within it.
        let state = RandomState::with_seeds(seed, 1, 2, 3);
        let within = RandomState::with_seeds(seed, 4, 5, 6);
        let stripes = (0..STRIPES).map(|_| HashMap::with_hasher(within.clone())).collect();
        StripedMap { state, stripes, len: 0 }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.stripes[self.stripe(key)].get(key)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.stripes[self.stripe(key)].get_mut(key)
    }

    /// The value of `key`, made by `make` if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let len = &mut self.len;
        self.stripes[Self::stripe_of(&self.state, &key)].entry(key).or_insert_with(|| {
            *len += 1;
            make()
        })
    }

    /// Whether `key` has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of `key`; gives the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.stripes[self.stripe(&key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.stripes[self.stripe(key)].remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no order: sort what leaves the core.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.stripes.iter().flatten()
    }

    fn stripe(&self, key: &K) -> usize {
        Self::stripe_of(&self.state, key)
    }

    fn stripe_of(state: &RandomState, key: &K) -> usize {
        state.hash_one(key) as usize % STRIPES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3u8, any::<u8>(), any::<u16>()), 0..300)) {
            let (mut map, mut model) = (StripedMap::new(1), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    1 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => prop_assert_eq!(map.get_or_insert_with(key, || value), model.entry(key).or_insert(value)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((map.get(&key), map.contains_key(&key)), (model.get(&key), model.contains_key(&key)));
            }
            let all: BTreeMap<_, _> = map.iter().map(|(&k, &v)| (k, v)).collect();
            prop_assert_eq!(all, model);
        }
    }

    #[test]
    fn stripes_fill_evenly() {
        let mut map = StripedMap::new(1);
        for n in 0..64_000u64 {
            map.insert(n, ());
        }
        let (least, most) =
            map.stripes.iter().map(HashMap::len).fold((usize::MAX, 0), |(l, m), n| (l.min(n), m.max(n)));
        assert!(least > 800 && most < 1200, "{least}..{most}");
    }
}
