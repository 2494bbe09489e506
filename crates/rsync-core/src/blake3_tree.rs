//! BLAKE3's tree over a content: chaining values of aligned subtrees, and the digest they merge to. Must not
//! know blocks, signatures or deltas.
//!
//! BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020, section 2.1) hashes chunks of 1024 bytes and
//! merges them in a binary tree. The *chaining value* of a subtree depends on its bytes and on its place in
//! the content. Any thread can compute it without the rest of the content. So one pass gives the digest of a
//! content and a strong hash for each of its blocks. A chaining value that is kept shows later whether its
//! bytes are still those behind the digest.
//!
//! A subtree under 16 chunks does not fill the processor's vector lanes. So chunks of many subtrees are
//! hashed at once, with the `blake3` crate's undocumented module `platform`. That is why the dependency is
//! held at 1.8. Without `platform`, change one condition: let [`chaining_values`] always take its slow path. For
//! small files that takes 2.5 times as long (`docs/decisions/0017-block-hashes-from-the-blake3-tree.md`).

use crate::Digest;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::platform::{MAX_SIMD_DEGREE, Platform};
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

/// Bytes of the shortest subtree.
pub(crate) const MIN_SUBTREE_LEN: usize = CHUNK_LEN;
/// Bytes of an ordinary subtree: 16 chunks, as many as BLAKE3's AVX-512 code hashes at once.
pub(crate) const SUBTREE_LEN: usize = 16 << 10;
/// How many inputs the vector code gets at once.
const INPUTS_AT_ONCE: usize = 16;

// Constants of the BLAKE3 paper, section 2.2, tables 1 and 3.
const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;

/// The chaining values of the subtrees of `len` bytes in `data`. `len` is a power of two, at least
/// [`MIN_SUBTREE_LEN`]; the last subtree may be shorter. `data` begins at `offset` of the content, a multiple
/// of `len`.
pub(crate) fn chaining_values(data: &[u8], offset: u64, len: usize) -> Vec<ChainingValue> {
    if MAX_SIMD_DEGREE == 1 {
        let subtrees = data.chunks(len).zip((offset..).step_by(len));
        return subtrees.map(|(subtree, at)| chaining_value(subtree, at)).collect();
    }
    let (chunks, rest) = data.as_chunks::<CHUNK_LEN>();
    let mut values = vec![[0; OUT_LEN]; chunks.len()];
    let first = offset / CHUNK_LEN as u64;
    hash_many(chunks, Some(first), CHUNK_START, CHUNK_END, 0, &mut values);
    if !rest.is_empty() {
        values.push(chaining_value(rest, offset + (chunks.len() * CHUNK_LEN) as u64));
    }
    merge_to(values, CHUNK_LEN, len)
}

/// The chaining value of one subtree. It begins at `offset`, a multiple of the smallest power of two that is
/// at least its length. The subtree must not be the whole content.
pub(crate) fn chaining_value(subtree: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(subtree).finalize_non_root()
}

/// What the chaining value of a content's subtree becomes when it is bound to the content's `digest`: BLAKE3's parent of the
/// digest, as the left child, and the value, as the right one. So whoever wants another subtree with the same first bytes has to look
/// for it when the content is there, and cannot prepare two.
pub(crate) fn bind_one(digest: &Digest, value: &ChainingValue) -> ChainingValue {
    merge_subtrees_non_root(&digest.0, value, Mode::Hash)
}

/// [`bind_one`] for many, on the vector lanes.
pub(crate) fn bind(digest: &Digest, values: &[ChainingValue]) -> Vec<ChainingValue> {
    if MAX_SIMD_DEGREE == 1 {
        return values.iter().map(|value| bind_one(digest, value)).collect();
    }
    let mut bound = vec![[0; OUT_LEN]; values.len()];
    // The left halves stay; only the right ones are written for each group.
    let mut pairs = [[0; BLOCK_LEN]; INPUTS_AT_ONCE];
    pairs.iter_mut().for_each(|pair| pair[..OUT_LEN].copy_from_slice(&digest.0));
    for (values, bound) in values.chunks(INPUTS_AT_ONCE).zip(bound.chunks_mut(INPUTS_AT_ONCE)) {
        pairs
            .iter_mut()
            .zip(values)
            .for_each(|(pair, value)| pair[OUT_LEN..].copy_from_slice(value));
        hash_many(pairs.get(..values.len()).unwrap_or_default(), None, 0, 0, PARENT, bound);
    }
    bound
}

/// Merges the chaining values of neighbouring subtrees of `from` bytes to those of subtrees of `to` bytes.
/// Both lengths are powers of two. The first subtree begins at a multiple of `to`.
pub(crate) fn merge_to(
    mut values: Vec<ChainingValue>,
    from: usize,
    to: usize,
) -> Vec<ChainingValue> {
    let mut len = from;
    while len < to {
        let (pairs, rest) = values.as_flattened().as_chunks::<BLOCK_LEN>();
        let mut parents = vec![[0; OUT_LEN]; pairs.len()];
        hash_many(pairs, None, 0, 0, PARENT, &mut parents);
        // A subtree without a right neighbour is its own parent.
        parents.extend(rest.first_chunk());
        values = parents;
        len *= 2;
    }
    values
}

/// Hashes inputs of one length. Chunks have counters, from `first` on; parents have none.
fn hash_many<const N: usize>(
    inputs: &[[u8; N]],
    first: Option<u64>,
    start: u8,
    end: u8,
    flags: u8,
    out: &mut [ChainingValue],
) {
    let platform = Platform::detect();
    let groups = inputs.chunks(INPUTS_AT_ONCE).zip(out.chunks_mut(INPUTS_AT_ONCE));
    for (group, (inputs, out)) in groups.enumerate() {
        let mut references = [&[0; N]; INPUTS_AT_ONCE];
        references.iter_mut().zip(inputs).for_each(|(reference, input)| *reference = input);
        let references = references.get(..inputs.len()).unwrap_or_default();
        let (counter, increment) = match first {
            Some(first) => (first + (group * INPUTS_AT_ONCE) as u64, IncrementCounter::Yes),
            None => (0, IncrementCounter::No),
        };
        let out = out.as_flattened_mut();
        platform.hash_many(references, &IV, counter, increment, flags, start, end, out);
    }
}

/// Merges the chaining values of a content's subtrees, in order, to the content's digest. All subtrees have
/// the same power-of-two length; the last may be shorter. Holds one chaining value for each level of the
/// tree.
#[derive(Debug, Default)]
struct HashStack {
    /// Chaining values of complete subtrees without a right neighbour so far, the largest first.
    complete: Vec<ChainingValue>,
    /// How many subtrees were pushed.
    count: u64,
}

impl HashStack {
    /// Adds the next subtree.
    fn push(&mut self, value: ChainingValue) {
        // Merge two complete subtrees of one size only now: the last merge of all, at the root, is a
        // different one, and this push shows that none of these merges is the last.
        for _ in 0..self.count.trailing_zeros().min(63) {
            if let (Some(right), Some(left)) = (self.complete.pop(), self.complete.pop()) {
                self.complete.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
            }
        }
        self.complete.push(value);
        self.count += 1;
    }

    /// The digest of the content; `None` if it has fewer than two subtrees.
    fn digest(mut self) -> Option<Digest> {
        let mut right = self.complete.pop()?;
        while self.complete.len() > 1 {
            let left = self.complete.pop()?;
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        let left = self.complete.pop()?;
        Some(Digest(merge_subtrees_root(&left, &right, Mode::Hash).into()))
    }
}

/// The digest of `data`, from the chaining values of its subtrees.
pub(crate) fn digest(data: &[u8], values: impl IntoIterator<Item = ChainingValue>) -> Digest {
    let mut stack = HashStack::default();
    values.into_iter().for_each(|value| stack.push(value));
    stack.digest().unwrap_or_else(|| Digest(blake3::hash(data).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| ((i * i) >> 7) as u8).collect()
    }

    /// Promise: digests are those of BLAKE3, for any length and any length of the subtrees.
    #[test]
    fn values_merge_to_the_hash() {
        let data = data(40 * SUBTREE_LEN + 77);
        let lens = [
            0,
            1,
            1023,
            1024,
            1025,
            2048,
            2049,
            3072,
            SUBTREE_LEN - 1,
            SUBTREE_LEN,
            SUBTREE_LEN + 1,
        ];
        let longer = [2, 3, 4, 5, 7, 8, 16, 31, 32].map(|pieces| pieces * SUBTREE_LEN);
        for len in lens.into_iter().chain(longer).chain([7 * SUBTREE_LEN + 5, data.len()]) {
            let data = &data[..len];
            let want = Digest(blake3::hash(data).into());
            for subtree in [1, 2, 4, 8, 16, 32, 256].map(|chunks| chunks * CHUNK_LEN) {
                let values = chaining_values(data, 0, subtree);
                assert_eq!(values.len(), len.div_ceil(subtree));
                let merged = merge_to(values.clone(), subtree, 4 * subtree);
                assert_eq!(digest(data, values), want, "{len} in {subtree}");
                if merged.len() > 1 {
                    assert_eq!(digest(data, merged), want, "{len} merged from {subtree}");
                }
            }
        }
    }

    /// Promise: the vector path gives the same chaining values as the slow path.
    #[test]
    fn many_at_once_is_one_by_one() {
        let data = data(3 * SUBTREE_LEN + 5 * CHUNK_LEN + 9);
        for offset in [0, SUBTREE_LEN as u64, 5 << 40] {
            for len in [1, 2, 4, 8].map(|chunks| chunks * CHUNK_LEN) {
                let slow: Vec<_> = data
                    .chunks(len)
                    .zip((offset..).step_by(len))
                    .map(|(subtree, at)| chaining_value(subtree, at))
                    .collect();
                assert_eq!(chaining_values(&data, offset, len), slow, "{len} at {offset}");
            }
        }
    }
}
