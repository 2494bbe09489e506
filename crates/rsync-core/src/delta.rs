//! Computing deltas of data at hand: segments scanned in parallel, joined and counted. Knows runs; no table and no encoding.

use crate::command;
use crate::join::Joiner;
use crate::matcher::{Matcher, Run};
use crate::scan::{Part, scan};
use crate::seal::{self, Sealed};
use crate::tree::{self, PIECE};
use crate::write::Provable;
use crate::{Digest, Error, Progress, Result, Seal, Signature, map};
use blake3::hazmat::ChainingValue;
use rayon::prelude::*;
use std::io::Write;

/// Where new data is cut between tasks: a power of two, not under [`PIECE`].
pub(crate) const SEGMENT: usize = 1 << 20;

/// More pieces are kept only of data so long that they are as long as a segment: 8 MiB of values.
const MAX_PIECES: usize = 1 << 18;

/// What a delta consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaStats {
    /// Bytes of the new data.
    pub new_len: u64,
    /// The digest of the new data.
    pub new_digest: Digest,
    /// Bytes of the new data that are copied from the base.
    pub copied: u64,
    /// Bytes of the new data that the delta holds.
    pub literal: u64,
    /// Copy and literal commands.
    pub commands: u64,
    /// Strong hashes computed while matching: at most a small constant for each block length of new data, whatever the input.
    pub strong_hashes: u64,
}

/// A delta that is computed but not yet written: which parts of the new data are copies, and proof of what the rest was.
#[derive(Debug, Clone)]
pub struct Delta {
    copies: Vec<Run>,
    /// Chaining values of the new data's pieces, from which its digest was made.
    pieces: Vec<ChainingValue>,
    /// Bytes of a piece.
    piece_len: usize,
    encoded_len: u64,
    stats: DeltaStats,
    /// Length and digest of the signature's file, if that tells.
    base: Option<(u64, Digest)>,
}

impl Delta {
    /// Computes the delta that turns the signature's file into `new`, on rayon's threads. The result does not depend on
    /// their number.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn compute(
        signature: &Signature,
        new: &[u8],
        progress: Option<&Progress>,
    ) -> Result<Delta> {
        compute(signature, new, progress, SEGMENT)
    }

    /// Exact length of what [`write_to`](Self::write_to) writes.
    pub fn encoded_len(&self) -> u64 {
        self.encoded_len
    }

    /// Length of the new data.
    pub fn new_len(&self) -> u64 {
        self.stats.new_len
    }

    /// Digest of the new data.
    pub fn new_digest(&self) -> Digest {
        self.stats.new_digest
    }

    /// What the delta consists of.
    pub fn stats(&self) -> DeltaStats {
        self.stats
    }

    /// Writes the delta stream and its [`Seal`], taking literals from `new`: a delta that stands by itself, which
    /// [`patch_sealed`](crate::patch_sealed) checks and `rdiff patch` takes too.
    ///
    /// # Errors
    /// As [`write_to`](Self::write_to).
    pub fn write_sealed(&self, new: &[u8], out: impl Write) -> Result<()> {
        let mut out = Sealed::new(out);
        self.write_to(new, &mut out)?;
        out.seal(Seal::new(self.base, &self.stats))
    }

    /// Writes the bare delta stream, taking literals from `new`: for who keeps digests and checks of his own.
    ///
    /// Every literal byte is copied out of `new`, checked against the hashes that [`new_digest`](Self::new_digest) was made
    /// of, and written from that copy: if the data under `new` (a mapped file) changed, the stream stops, it never lies.
    ///
    /// # Errors
    /// [`Error::Changed`] when `new` is not what the delta was computed from; [`Error::Io`].
    pub fn write_to(&self, new: &[u8], out: impl Write) -> Result<()> {
        if new.len() as u64 != self.stats.new_len {
            return Err(Error::Changed);
        }
        let digest = self.stats.new_digest;
        let Delta { pieces, piece_len, .. } = self;
        Provable { new, pieces, piece_len: *piece_len, digest }.write(&self.copies, out)
    }
}

fn compute(
    signature: &Signature,
    new: &[u8],
    progress: Option<&Progress>,
    cut: usize,
) -> Result<Delta> {
    let matcher = Matcher::new(signature);
    let part = Part { bytes: new, offset: 0 };
    let piece_len = piece_len(new.len(), cut);
    let range = |index: usize| index * cut..new.len().min((index + 1) * cut);
    let segment = |index: usize| {
        let range = range(index);
        if let Some(progress) = progress {
            progress.check()?;
            progress.add_bytes(range.len() as u64);
        }
        let (pieces, own) = hash_segment(&new[range.clone()], range.start as u64, &matcher, cut);
        let scanned = scan(&matcher, part, range.clone(), &own);
        map::done(new, range);
        Ok((tree::raise(pieces, PIECE, piece_len), scanned))
    };
    let count = new.len().div_ceil(cut);
    let segments: Vec<_> = if count < 2 {
        (0..count).map(segment).collect::<Result<_>>()?
    } else {
        (0..count).into_par_iter().map(segment).collect::<Result<_>>()?
    };
    let mut joiner = Joiner::new(&matcher);
    let mut pieces = Vec::with_capacity(new.len().div_ceil(piece_len));
    for (index, (values, scanned)) in segments.into_iter().enumerate() {
        pieces.extend(values);
        joiner.add(scanned, part, range(index));
        map::done(new, range(index));
    }
    joiner.finish(part);

    let mut tally = Tally::default();
    let mut at = 0;
    for copy in &joiner.copies {
        tally.literal(copy.new - at);
        tally.copy(copy);
        at = copy.new_end();
    }
    tally.literal(new.len() as u64 - at);
    let encoded_len = tally.encoded + command::MAGIC.len() as u64 + 1;
    let stats = tally.stats(tree::digest(new, pieces.iter().copied()), joiner.strong_hashes);
    let base = seal::base_of(signature);
    Ok(Delta { copies: joiner.copies, pieces, piece_len, encoded_len, stats, base })
}

/// The length of the pieces that data of `len` bytes is proven by, at most `longest`: the shortest with which not more than
/// [`MAX_PIECES`] have to be kept.
fn piece_len(len: usize, longest: usize) -> usize {
    len.div_ceil(MAX_PIECES).next_power_of_two().clamp(PIECE, longest)
}

/// The values of a segment's pieces, and those of the blocks in it, if blocks of the base are hashed in the same way.
fn hash_segment(
    bytes: &[u8],
    offset: u64,
    matcher: &Matcher<'_>,
    cut: usize,
) -> (Vec<ChainingValue>, Vec<ChainingValue>) {
    let block_len = matcher.block_len();
    if !matcher.shape.in_tree() || block_len > cut {
        return (tree::values(bytes, offset, PIECE), Vec::new());
    }
    let shorter = tree::values(bytes, offset, block_len.min(PIECE));
    let (mut own, pieces) = if block_len <= PIECE {
        (shorter.clone(), tree::raise(shorter, block_len, PIECE))
    } else {
        (tree::raise(shorter.clone(), PIECE, block_len), shorter)
    };
    own.truncate(bytes.len() / block_len);
    (pieces, own)
}

/// Counts what a delta consists of.
#[derive(Default)]
pub(crate) struct Tally {
    copied: u64,
    literal: u64,
    commands: u64,
    /// Bytes of the commands and literals.
    encoded: u64,
}

impl Tally {
    pub(crate) fn literal(&mut self, len: u64) {
        if len > 0 {
            self.literal += len;
            self.commands += 1;
            self.encoded += command::literal(len).as_bytes().len() as u64 + len;
        }
    }

    pub(crate) fn copy(&mut self, copy: &Run) {
        self.copied += copy.len;
        self.commands += 1;
        self.encoded += command::copy(copy.base, copy.len).as_bytes().len() as u64;
    }

    pub(crate) fn stats(&self, new_digest: Digest, strong_hashes: u64) -> DeltaStats {
        let Tally { copied, literal, commands, .. } = *self;
        DeltaStats {
            new_len: copied + literal,
            new_digest,
            copied,
            literal,
            commands,
            strong_hashes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::stream;
    use crate::{SignatureOptions, patch};
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Runs of few values, so that blocks repeat and cuts fall into runs.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let run = (prop_oneof![Just(0u8), any::<u8>()], 1usize..20_000, any::<bool>());
        prop::collection::vec(run, 0..6).prop_map(|runs| {
            let bytes = |(byte, len, noisy): (u8, usize, bool)| {
                (0..len).map(move |i| if noisy { (i * i * 7 + i / 251) as u8 ^ byte } else { byte })
            };
            runs.into_iter().flat_map(bytes).collect()
        })
    }

    fn options() -> impl Strategy<Value = SignatureOptions> {
        let of = |len, base| SignatureOptions { block_len: Some(len), ..base };
        prop_oneof![
            (20u32..3000).prop_map(move |len| of(len, SignatureOptions::pyrsync())),
            (10u32..16).prop_map(move |bits| of(1 << bits, SignatureOptions::default())),
        ]
    }

    #[test]
    fn pieces_are_few_and_whole_segments_at_most() {
        for (len, want) in [
            (0, PIECE),
            (4 << 30, PIECE),
            ((4 << 30) + 1, 2 * PIECE),
            (20 << 30, 8 * PIECE),
            (1 << 40, SEGMENT),
        ] {
            assert_eq!(piece_len(len, SEGMENT), want);
        }
    }

    /// Data whose pieces are longer than the hash function's own: literals are proven by them, and a change is noticed.
    #[test]
    fn longer_pieces_prove_as_well() {
        let old: Vec<u8> =
            (0..9 * PIECE as u32 + 77).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
        let mut new = old.clone();
        for at in [5, 7 * PIECE, 8 * PIECE - 1, 20 * PIECE, old.len() - 1] {
            new[at] ^= 1;
        }
        let signature = Signature::of_slice(&old, &SignatureOptions::default()).unwrap();
        let want = compute(&signature, &new, None, SEGMENT).unwrap();
        for piece_len in [2 * PIECE, 8 * PIECE, 16 * PIECE] {
            let values = tree::values(&new, 0, PIECE);
            let pieces = tree::raise(values, PIECE, piece_len);
            let delta = Delta { pieces, piece_len, ..want.clone() };
            let mut bytes = [Vec::new(), Vec::new()];
            want.write_to(&new, &mut bytes[0]).unwrap();
            delta.write_to(&new, &mut bytes[1]).unwrap();
            assert_eq!(bytes[0], bytes[1]);
            let mut torn = new.clone();
            torn[20 * PIECE] ^= 1;
            assert!(matches!(delta.write_to(&torn, Vec::new()), Err(Error::Changed)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Cuts between tasks, and between batches of a stream, change nothing in the result but commands.
        #[test]
        fn cuts_do_not_show(old in content(), insert in content(), at in any::<prop::sample::Index>(), options in options()) {
            let at = at.index(old.len() + 1);
            let new = [&old[..at], &insert, &old[at..]].concat();
            let signature = Signature::of_slice(&old, &options).unwrap();
            let whole = compute(&signature, &new, None, SEGMENT).unwrap();
            let cut = compute(&signature, &new, None, PIECE).unwrap();
            prop_assert_eq!(whole.new_digest(), Digest::of(&new));
            prop_assert_eq!(cut.new_digest(), whole.new_digest());
            let mut streams = [Vec::new(), Vec::new()];
            cut.write_to(&new, &mut streams[0]).unwrap();
            let stats = stream(&signature, new.as_slice(), &mut streams[1], PIECE).unwrap();
            prop_assert_eq!(stats.new_digest, whole.new_digest());
            for delta in streams {
                let mut out = Vec::new();
                patch(Cursor::new(&old), delta.as_slice(), &mut out, new.len() as u64).unwrap();
                prop_assert_eq!(&out, &new);
            }
        }
    }
}
