//! BLAKE3 of many equal-length blocks at once. Knows nothing of what the blocks are.
//!
//! `blake3::hash` fills the processor's vector lanes with the chunks of one input, and a block of 1 to 8 KiB has too few of
//! them: most lanes idle. Here the lanes are filled with the same chunk of different blocks. This stands on the `blake3`
//! crate's undocumented `platform` module, for which the dependency is held at 1.8; without it, one line is to be changed:
//! let [`hash_blocks`] always take its slow path.

use blake3::platform::{MAX_SIMD_DEGREE, Platform};
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter, OUT_LEN};

/// The most blocks that are worth passing at once.
pub(crate) const LANES: usize = 16;
/// Longer blocks fill the lanes by themselves.
const MAX_CHUNKS: usize = 8;

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
const ROOT: u8 = 8;

type Node = [u8; OUT_LEN];

/// The hashes of the first [`LANES`] (or fewer) blocks of `data`, each of `block_len` bytes; the last may be shorter.
pub(crate) fn hash_blocks(data: &[u8], block_len: usize) -> [Node; LANES] {
    let mut hashes = [[0; OUT_LEN]; LANES];
    let chunks = block_len / CHUNK_LEN;
    let whole = (data.len() / block_len).min(LANES);
    let fits = block_len.is_multiple_of(CHUNK_LEN) && chunks <= MAX_CHUNKS && MAX_SIMD_DEGREE > 1;
    let wide = if fits && whole > 1 { whole } else { 0 };
    if wide > 0 {
        hash_wide(data, chunks, wide, &mut hashes);
    }
    let rest = data.chunks(block_len).zip(&mut hashes).skip(wide);
    rest.for_each(|(block, hash)| *hash = blake3::hash(block).into());
    hashes
}

/// The first `count` blocks of `data`, each of `chunks` chunks.
fn hash_wide(data: &[u8], chunks: usize, count: usize, hashes: &mut [Node; LANES]) {
    let platform = Platform::detect();
    let (all, _) = data.as_chunks::<CHUNK_LEN>();
    // nodes[block][i]: the chaining value of the block's i-th subtree of the current level.
    let mut nodes = [[[0; OUT_LEN]; MAX_CHUNKS]; LANES];
    let mut out = [0; OUT_LEN * LANES];
    let root = if chunks == 1 { ROOT } else { 0 };
    for chunk in 0..chunks {
        let inputs = gather(count, |block| all.get(block * chunks + chunk));
        platform.hash_many(
            inputs.get(..count).unwrap_or_default(),
            &IV,
            chunk as u64,
            IncrementCounter::No,
            0,
            CHUNK_START,
            CHUNK_END | root,
            &mut out,
        );
        for (node, bytes) in nodes.iter_mut().zip(out.as_chunks().0) {
            node[chunk] = *bytes;
        }
    }
    let mut width = chunks;
    while width > 1 {
        let root = if width == 2 { ROOT } else { 0 };
        for pair in 0..width / 2 {
            let mut parents = [[0; BLOCK_LEN]; LANES];
            for (parent, node) in parents.iter_mut().zip(&nodes) {
                parent[..OUT_LEN].copy_from_slice(&node[2 * pair]);
                parent[OUT_LEN..].copy_from_slice(&node[2 * pair + 1]);
            }
            let inputs = gather(count, |block| parents.get(block));
            platform.hash_many(
                inputs.get(..count).unwrap_or_default(),
                &IV,
                0,
                IncrementCounter::No,
                PARENT | root,
                0,
                0,
                &mut out,
            );
            for (node, bytes) in nodes.iter_mut().zip(out.as_chunks().0) {
                node[pair] = *bytes;
            }
        }
        if width % 2 == 1 {
            nodes.iter_mut().for_each(|node| node[width / 2] = node[width - 1]);
        }
        width = width.div_ceil(2);
    }
    for (hash, node) in hashes.iter_mut().zip(&nodes).take(count) {
        *hash = node[0];
    }
}

/// References to `count` inputs; the rest of the array is filled with zeros' and not used.
fn gather<'a, const N: usize>(
    count: usize,
    input: impl Fn(usize) -> Option<&'a [u8; N]>,
) -> [&'a [u8; N]; LANES] {
    std::array::from_fn(|i| if i < count { input(i) } else { None }.unwrap_or(&[0; N]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_to_the_plain_hash() {
        let data: Vec<u8> =
            (0..(LANES + 1) * 9 * CHUNK_LEN).map(|i| ((i * i) >> 9) as u8).collect();
        for block_len in [1000, 1024, 1025, 2048, 3072, 4096, 5120, 6144, 7168, 8192, 9216] {
            for len in
                [0, 1, block_len, 2 * block_len, 5 * block_len + 7, 16 * block_len, 17 * block_len]
            {
                let data = &data[..len];
                let hashes = hash_blocks(data, block_len);
                for (block, hash) in data.chunks(block_len).zip(hashes) {
                    assert_eq!(hash, *blake3::hash(block).as_bytes(), "{block_len} {len}");
                }
            }
        }
    }
}
