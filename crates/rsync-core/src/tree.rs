//! BLAKE3's tree over a content: the values of its aligned subtrees, and the digest they merge to. Knows nothing of blocks,
//! signatures or deltas.
//!
//! BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020, section 2.1) hashes chunks of 1024 bytes and merges them in a
//! binary tree. The *value* of a subtree depends on its bytes and on where in the content it begins, and can be computed on
//! its own, on any thread. So one pass gives the digest of a content and a strong hash for each of its blocks, and a value
//! that was kept proves later that its bytes are still those the digest was made of.
//!
//! Subtrees under 16 chunks do not fill the processor's vector lanes if they are hashed one by one. Their chunks are hashed
//! many at once, through the `blake3` crate's undocumented `platform` module, for which the dependency is held at 1.8;
//! without it, one condition is to be changed: let [`values`] always take its slow path.

use crate::Digest;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::platform::{MAX_SIMD_DEGREE, Platform};
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

/// The shortest subtree.
pub(crate) const MIN_SUBTREE: usize = CHUNK_LEN;
/// Bytes of a *piece*: 16 chunks, what one AVX-512 pass of BLAKE3 takes.
pub(crate) const PIECE: usize = 16 << 10;
/// How many inputs are passed to the vector code at once.
const BATCH: usize = 16;

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

/// The values of the subtrees of `len` bytes, a power of two not under [`MIN_SUBTREE`], that `data` consists of; the last may
/// be shorter. `data` begins at `offset` of the content, a multiple of `len`.
pub(crate) fn values(data: &[u8], offset: u64, len: usize) -> Vec<ChainingValue> {
    if MAX_SIMD_DEGREE == 1 {
        let offsets = (offset..).step_by(len);
        return data.chunks(len).zip(offsets).map(|(subtree, at)| value(subtree, at)).collect();
    }
    let (chunks, rest) = data.as_chunks::<CHUNK_LEN>();
    let mut values = vec![[0; OUT_LEN]; chunks.len()];
    let first = offset / CHUNK_LEN as u64;
    hash_many(chunks, Some(first), CHUNK_START, CHUNK_END, 0, &mut values);
    if !rest.is_empty() {
        values.push(value(rest, offset + (chunks.len() * CHUNK_LEN) as u64));
    }
    raise(values, CHUNK_LEN, len)
}

/// The value of one subtree that begins at `offset`: a multiple of the largest power of two not under its length. The content
/// must not consist of it alone.
pub(crate) fn value(subtree: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(subtree).finalize_non_root()
}

/// From the values of neighbouring subtrees of `from` bytes, beginning at a multiple of `to`, those of subtrees of `to` bytes.
/// Both are powers of two.
pub(crate) fn raise(mut values: Vec<ChainingValue>, from: usize, to: usize) -> Vec<ChainingValue> {
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

/// Hashes inputs of one length: chunks are counted up from the first, parents have no counter.
fn hash_many<const N: usize>(
    inputs: &[[u8; N]],
    first: Option<u64>,
    start: u8,
    end: u8,
    flags: u8,
    out: &mut [ChainingValue],
) {
    let platform = Platform::detect();
    for (batch, (inputs, out)) in inputs.chunks(BATCH).zip(out.chunks_mut(BATCH)).enumerate() {
        let mut references = [&[0; N]; BATCH];
        references.iter_mut().zip(inputs).for_each(|(reference, input)| *reference = input);
        let references = references.get(..inputs.len()).unwrap_or_default();
        let (counter, increment) = match first {
            Some(first) => (first + (batch * BATCH) as u64, IncrementCounter::Yes),
            None => (0, IncrementCounter::No),
        };
        let out = out.as_flattened_mut();
        platform.hash_many(references, &IV, counter, increment, flags, start, end, out);
    }
}

/// The digest of a content from the values of its subtrees, which come one after the other, all of one power-of-two length but
/// the last, which may be shorter. Holds one value a level, whatever the length.
#[derive(Debug, Default)]
pub(crate) struct Crown {
    /// Values of complete subtrees that wait for their right neighbours, largest first.
    waiting: Vec<ChainingValue>,
    /// Subtrees taken so far.
    count: u64,
}

impl Crown {
    /// Takes the next subtree.
    pub(crate) fn push(&mut self, value: ChainingValue) {
        // Two subtrees of one size are merged only now that something follows: the last merge of all is another.
        for _ in 0..self.count.trailing_zeros().min(63) {
            if let (Some(right), Some(left)) = (self.waiting.pop(), self.waiting.pop()) {
                self.waiting.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
            }
        }
        self.waiting.push(value);
        self.count += 1;
    }

    /// The digest of the content; that is `alone()` if it has fewer than two subtrees.
    pub(crate) fn digest(mut self, alone: impl FnOnce() -> Digest) -> Digest {
        if self.count < 2 {
            return alone();
        }
        let mut right = self.waiting.pop().unwrap_or_default();
        while self.waiting.len() > 1 {
            let left = self.waiting.pop().unwrap_or_default();
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        let left = self.waiting.pop().unwrap_or_default();
        merge_subtrees_root(&left, &right, Mode::Hash).into()
    }
}

/// The digest of `data`, given the values of its subtrees.
pub(crate) fn digest(data: &[u8], values: impl IntoIterator<Item = ChainingValue>) -> Digest {
    let mut crown = Crown::default();
    values.into_iter().for_each(|value| crown.push(value));
    crown.digest(|| blake3::hash(data).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * i) >> 7) as u8).collect()
    }

    #[test]
    fn values_merge_to_the_hash() {
        let data = data(40 * PIECE + 77);
        let lens = [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, PIECE - 1, PIECE, PIECE + 1];
        let longer = [2, 3, 4, 5, 7, 8, 16, 31, 32].map(|pieces| pieces * PIECE);
        for len in lens.into_iter().chain(longer).chain([7 * PIECE + 5, data.len()]) {
            let data = &data[..len];
            let want = Digest(blake3::hash(data).into());
            for subtree in [1, 2, 4, 8, 16, 32, 256].map(|chunks| chunks * CHUNK_LEN) {
                let values = values(data, 0, subtree);
                assert_eq!(values.len(), len.div_ceil(subtree));
                let raised = raise(values.clone(), subtree, 4 * subtree);
                assert_eq!(digest(data, values), want, "{len} in {subtree}");
                if raised.len() > 1 {
                    assert_eq!(digest(data, raised), want, "{len} raised from {subtree}");
                }
            }
        }
    }

    #[test]
    fn many_at_once_is_one_by_one() {
        let data = data(3 * PIECE + 5 * CHUNK_LEN + 9);
        for offset in [0, PIECE as u64, 5 << 40] {
            for len in [1, 2, 4, 8].map(|chunks| chunks * CHUNK_LEN) {
                let slow: Vec<_> = data
                    .chunks(len)
                    .zip((offset..).step_by(len))
                    .map(|(subtree, at)| value(subtree, at))
                    .collect();
                assert_eq!(values(&data, offset, len), slow, "{len} at {offset}");
            }
        }
    }
}
