//! [`Blocks`]: what was read of objects, block by block, in memory. Knows nothing of where it came from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::{Object, locked};

/// The length of a block. The last one of an object may be shorter.
pub(super) const BLOCK_LEN: u64 = 16 << 10;
/// So many blocks are held: 64 MiB.
const MOST: usize = (64 << 20) / BLOCK_LEN as usize;

/// The blocks that were read last.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Held>);

#[derive(Default)]
struct Held {
    blocks: HashMap<(Key, u64), Arc<[u8]>>,
    /// The first came first.
    order: VecDeque<(Key, u64)>,
}

/// An object, as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 16]);

impl Key {
    pub(super) fn of(object: &Object) -> Key {
        // Some servers have the tag in quotes in one answer, and without in another.
        let Object { name, size, tag, .. } = object;
        let tag = tag.trim_matches('"');
        let hash = blake3::hash(format!("{name}\n{size}\n{tag}").as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(hash.as_bytes().split_at(16).0);
        Key(key)
    }

    pub(super) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn from_hex(hex: &str) -> Option<Key> {
        let number = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32)?;
        Some(Key(number.to_be_bytes()))
    }
}

impl Blocks {
    /// Block `number` of an object, if it is here.
    pub(super) fn get(&self, key: Key, number: u64) -> Option<Arc<[u8]>> {
        locked(&self.0).blocks.get(&(key, number)).cloned()
    }

    /// Keeps the blocks of an object from block `first` on. What ends within a block, and not with the object, is left out.
    pub(super) fn keep(&self, object: &Object, first: u64, bytes: &[u8]) {
        let (key, mut held) = (Key::of(object), locked(&self.0));
        for (number, block) in (first..).zip(bytes.chunks(BLOCK_LEN as usize)) {
            let is_last = number * BLOCK_LEN + block.len() as u64 == object.size;
            if block.len() as u64 == BLOCK_LEN || is_last {
                held.insert((key, number), block.into());
            }
        }
    }

    /// Forgets an object. Whether any of it was here.
    pub(super) fn forget(&self, key: Key) -> bool {
        let mut held = locked(&self.0);
        let before = held.order.len();
        held.blocks.retain(|(of, _), _| *of != key);
        held.order.retain(|(of, _)| *of != key);
        held.order.len() < before
    }
}

impl Held {
    fn insert(&mut self, at: (Key, u64), block: Arc<[u8]>) {
        if self.blocks.insert(at, block).is_none() {
            self.order.push_back(at);
        }
        while self.order.len() > MOST {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.blocks.remove(&oldest));
        }
    }
}
