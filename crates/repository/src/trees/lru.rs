//! [`Lru`]: a map of limited weight that forgets what was not asked for the longest. Knows nothing of what it holds.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map that holds no more than a weight, and one value at least. What was not asked for the longest goes first.
pub(super) struct Lru<K, V> {
    most: u64,
    held: u64,
    clock: u64,
    values: HashMap<K, Held<V>>,
    /// When each key was asked for last.
    order: BTreeMap<u64, K>,
}

struct Held<V> {
    value: V,
    weight: u64,
    at: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Lru<K, V> {
    pub(super) fn new(most: u64) -> Lru<K, V> {
        Lru { most, held: 0, clock: 0, values: HashMap::new(), order: BTreeMap::new() }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let held = self.values.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&held.at);
        held.at = self.clock;
        self.order.insert(self.clock, key.clone());
        Some(held.value.clone())
    }

    /// Puts `value` there, in the place of another.
    pub(super) fn put(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        while self.held.saturating_add(weight) > self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.held -= self.values.remove(&oldest).map_or(0, |held| held.weight);
        }
        self.clock += 1;
        self.held += weight;
        self.order.insert(self.clock, key.clone());
        self.values.insert(key, Held { value, weight, at: self.clock });
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(held) = self.values.remove(key) {
            self.order.remove(&held.at);
            self.held -= held.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let mut lru = Lru::new(10);
        for key in [1, 2, 3] {
            lru.put(key, key, 3);
        }
        assert_eq!(lru.get(&1), Some(1));
        lru.put(4, 4, 4);
        assert_eq!([1, 2, 3, 4].map(|key| lru.get(&key)), [Some(1), None, Some(3), Some(4)]);
        // The same key again takes its old place, and one value is held whatever it weighs.
        lru.put(4, 5, 1);
        assert_eq!([1, 3, 4].map(|key| lru.get(&key)), [Some(1), Some(3), Some(5)]);
        lru.put(6, 6, 99);
        assert_eq!([1, 3, 4, 6].map(|key| lru.get(&key)), [None, None, None, Some(6)]);
    }
}
