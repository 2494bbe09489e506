//! The digest of a whole content, BLAKE3, and its tree. Knows nothing of blocks or deltas.
//!
//! BLAKE3 is a tree over chunks of 1024 bytes. A content is cut into *pieces* of 16 KiB, each a subtree whose chaining
//! value can be computed on its own, on any thread; merging them gives the digest. A kept chaining value also proves later
//! that a piece is still the one the digest was made of.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use std::{fmt, str::FromStr};

/// Bytes of a piece: 16 chunks, what one AVX-512 pass of BLAKE3 takes.
pub(crate) const PIECE: usize = 16 << 10;
/// From here on hashing one slice is worth several threads.
const PARALLEL_FROM: usize = 256 << 10;

/// The BLAKE3 hash of a whole content: what `b3sum` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `data`; on rayon's threads when it is large.
    pub fn of(data: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        if data.len() < PARALLEL_FROM {
            hasher.update(data);
        } else {
            hasher.update_rayon(data);
        }
        hasher.finalize().into()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Digest {
        Digest(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;
    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        blake3::Hash::from_hex(text).map(Digest::from).map_err(|_| ParseDigestError)
    }
}

/// The chaining value of a subtree that begins at `offset`. The offset must be a multiple of the largest power of two not
/// under the length, and the content must not consist of this subtree alone.
pub(crate) fn chaining_value(subtree: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(subtree).finalize_non_root()
}

/// The chaining values of the pieces of `data`, which begins at `offset`, a multiple of [`PIECE`].
pub(crate) fn pieces(data: &[u8], offset: u64) -> Vec<ChainingValue> {
    let offsets = (offset..).step_by(PIECE);
    data.chunks(PIECE).zip(offsets).map(|(piece, at)| chaining_value(piece, at)).collect()
}

/// The chaining value of neighbouring subtrees, all of one power-of-two length but the last, which may be shorter.
fn merge(parts: &[ChainingValue]) -> ChainingValue {
    match parts {
        [] => ChainingValue::default(),
        [one] => *one,
        _ => {
            let (left, right) = parts.split_at(left_len(parts.len()));
            merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
        }
    }
}

/// The digest of `data`, given the chaining values of its pieces, in order.
pub(crate) fn root(data: &[u8], pieces: &[ChainingValue]) -> Digest {
    if pieces.len() < 2 {
        return blake3::hash(data).into();
    }
    let (left, right) = pieces.split_at(left_len(pieces.len()));
    merge_subtrees_root(&merge(left), &merge(right), Mode::Hash).into()
}

/// How many of `n` ≥ 2 subtrees go to the left child: the largest power of two under `n`.
fn left_len(n: usize) -> usize {
    n.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_merge_to_the_hash() {
        let data: Vec<u8> = (0..40 * PIECE + 77).map(|i| ((i * i) >> 7) as u8).collect();
        for len in [
            0,
            1,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            2 * PIECE,
            3 * PIECE,
            7 * PIECE + 5,
            16 * PIECE,
            data.len(),
        ] {
            let data = &data[..len];
            assert_eq!(root(data, &pieces(data, 0)), Digest(blake3::hash(data).into()), "{len}");
            assert_eq!(Digest::of(data), Digest(blake3::hash(data).into()));
        }
    }

    #[test]
    fn text_form() {
        let digest = Digest::of(b"");
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!("af13".parse::<Digest>(), Err(ParseDigestError));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(ParseDigestError));
    }
}
