//! Deltas: what turns an old file into a new one. Owns the computation of a delta for data in memory; must
//! not know how matches are found.
//!
//! - Making a delta: this module for data in memory, [`stream`] for data that cannot be read twice,
//!   [`writer`] for the output, [`seal`] for the check at its end.
//! - Using a delta: [`patch`](mod@patch) applies one, [`compose`] joins several without their data. Both get
//!   the commands from [`reader`].
//! - [`command`] has the encoding of one command.

mod command;
mod compose;
mod patch;
mod reader;
mod seal;
mod stream;
mod writer;

pub use command::CommandBytes;
pub use compose::{DeltaPart, DeltaParts, MAX_SEGMENTS, Segments};
pub use patch::{Patched, patch, patch_sealed};
pub use reader::DeltaFault;
pub use seal::Seal;
pub use stream::{delta, delta_sealed};

use crate::blake3_tree::{self, SUBTREE_LEN};
use crate::file_bytes::Input;
use crate::matching::{Match, Part, join::Joiner, matcher::Matcher, scan::scan};
use crate::progress::advance;
use crate::{Digest, Error, Progress, Result, Signature, parallel};
use blake3::hazmat::ChainingValue;
use seal::SealingWriter;
use std::io::Write;
use writer::LiteralSource;

/// Bytes of new data that one parallel task takes: a power of two, at least [`SUBTREE_LEN`].
pub(crate) const TASK_LEN: usize = 1 << 20;

/// The limit on chaining values that are kept, 8 MiB of them. Longer data has longer subtrees, up to a task's
/// length; from there on more values are kept.
const MAX_SUBTREES: usize = 1 << 18;

/// What a delta consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Strong hashes computed while matching: at most a small constant for each block length of new data, for
    /// any input.
    pub strong_hashes: u64,
}

/// A delta that is computed but not yet written: which segments of the new data are copies, and chaining
/// values to verify the literals.
#[derive(Debug, Clone)]
pub struct Delta {
    copies: Vec<Match>,
    /// The chaining values of the new data's subtrees. The digest was made of them.
    subtrees: Vec<ChainingValue>,
    /// Bytes of a subtree.
    subtree_len: usize,
    encoded_len: u64,
    stats: DeltaStats,
    /// Length and digest of the signature's file, if the signature has them.
    base: Option<(u64, Digest)>,
}

impl Delta {
    /// Computes the delta that turns the signature's file into `new`, on rayon's threads. The result is the
    /// same for any number of threads. Counts bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn compute(
        signature: &Signature,
        new: &[u8],
        progress: Option<&Progress>,
    ) -> Result<Delta> {
        compute(signature, Input::from(new), progress, TASK_LEN)
    }

    /// The exact length of the stream that [`write_to`](Self::write_to) writes.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        self.encoded_len
    }

    /// The length of the new data.
    #[must_use]
    pub fn new_len(&self) -> u64 {
        self.stats.new_len
    }

    /// The digest of the new data.
    #[must_use]
    pub fn new_digest(&self) -> Digest {
        self.stats.new_digest
    }

    /// What the delta consists of.
    #[must_use]
    pub fn stats(&self) -> DeltaStats {
        self.stats
    }

    /// Writes the delta stream and its [`Seal`]. Takes the literals from `new`. Such a delta checks itself:
    /// [`patch_sealed`] reads the seal, and `rdiff patch` ignores it.
    ///
    /// # Errors
    /// Those of [`write_to`](Self::write_to).
    pub fn write_sealed(
        &self,
        new: &[u8],
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        self.write_sealed_from(Input::from(new), out, progress)
    }

    pub(crate) fn write_sealed_from(
        &self,
        new: Input<'_>,
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        let mut out = SealingWriter::new(out);
        self.write_from(new, &mut out, progress)?;
        out.seal(Seal::new(self.base, &self.stats))
    }

    /// Writes the bare delta stream, for callers that keep digests and checksums themselves. Takes the
    /// literals from `new`.
    ///
    /// Every literal byte is copied out of `new`, verified in the copy against the hashes behind
    /// [`new_digest`](Self::new_digest), and written from the copy. If `new` changed (a mapped file), the
    /// stream stops; it never has wrong bytes. Counts the bytes of the stream in `progress`: in all
    /// [`encoded_len`](Self::encoded_len).
    ///
    /// # Errors
    /// [`Error::Changed`] if `new` is not the data that the delta was computed from; [`Error::Io`],
    /// [`Error::Cancelled`].
    pub fn write_to(&self, new: &[u8], out: impl Write, progress: Option<&Progress>) -> Result<()> {
        self.write_from(Input::from(new), out, progress)
    }

    pub(crate) fn write_from(
        &self,
        new: Input<'_>,
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        if new.bytes.len() as u64 != self.stats.new_len {
            return Err(Error::Changed);
        }
        let digest = self.stats.new_digest;
        let Delta { subtrees, subtree_len, .. } = self;
        LiteralSource { new, subtrees, subtree_len: *subtree_len, digest }.write(
            &self.copies,
            out,
            progress,
        )
    }
}

/// [`Delta::compute`], with tasks of `task_len` bytes.
pub(crate) fn compute(
    signature: &Signature,
    input: Input<'_>,
    progress: Option<&Progress>,
    task_len: usize,
) -> Result<Delta> {
    let new = input.bytes;
    let matcher = Matcher::new(signature);
    let part = Part { bytes: new, offset: 0 };
    let subtree_len = subtree_len(new.len(), task_len);
    let range = |index: usize| index * task_len..new.len().min((index + 1) * task_len);
    let run_task = |index: usize| {
        let range = range(index);
        advance(progress, range.len())?;
        let (bytes, offset) = (&new[range.clone()], range.start as u64);
        let (subtrees, blocks) = hash_task(bytes, offset, &matcher, task_len);
        let scanned = scan(&matcher, part, range.clone(), &blocks);
        input.release(range);
        Ok((blake3_tree::merge_to(subtrees, SUBTREE_LEN, subtree_len), scanned))
    };
    let count = new.len().div_ceil(task_len);
    let results = parallel::map((0..count).collect(), run_task);
    let results = results.into_iter().collect::<Result<Vec<_>>>()?;
    let mut joiner = Joiner::new(&matcher);
    let mut subtrees = Vec::with_capacity(new.len().div_ceil(subtree_len));
    for (index, (values, scanned)) in results.into_iter().enumerate() {
        subtrees.extend(values);
        joiner.add(scanned, part, range(index));
        input.release(range(index));
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
    let digest = blake3_tree::digest(new, subtrees.iter().copied());
    let stats = tally.stats(digest, joiner.strong_hashes);
    let base = seal::base_of(signature);
    Ok(Delta { copies: joiner.copies, subtrees, subtree_len, encoded_len, stats, base })
}

/// The length of the subtrees that verify data of `len` bytes: the shortest that keeps at most
/// [`MAX_SUBTREES`], but not over `longest`.
fn subtree_len(len: usize, longest: usize) -> usize {
    len.div_ceil(MAX_SUBTREES).next_power_of_two().clamp(SUBTREE_LEN, longest)
}

/// The chaining values of a task's subtrees, and those of its blocks. The second list is empty if the base's
/// strong hashes are not chaining values.
fn hash_task(
    bytes: &[u8],
    offset: u64,
    matcher: &Matcher<'_>,
    task_len: usize,
) -> (Vec<ChainingValue>, Vec<ChainingValue>) {
    let block_len = matcher.block_len();
    if !matcher.shape.in_tree() || block_len > task_len {
        return (blake3_tree::chaining_values(bytes, offset, SUBTREE_LEN), Vec::new());
    }
    let shorter = blake3_tree::chaining_values(bytes, offset, block_len.min(SUBTREE_LEN));
    let (mut blocks, subtrees) = if block_len <= SUBTREE_LEN {
        (shorter.clone(), blake3_tree::merge_to(shorter, block_len, SUBTREE_LEN))
    } else {
        (blake3_tree::merge_to(shorter.clone(), SUBTREE_LEN, block_len), shorter)
    };
    blocks.truncate(bytes.len() / block_len);
    (subtrees, blocks)
}

/// Counts what a delta consists of.
#[derive(Default)]
struct Tally {
    copied: u64,
    literal: u64,
    commands: u64,
    /// Bytes of the commands and literals.
    encoded: u64,
}

impl Tally {
    fn literal(&mut self, len: u64) {
        if len > 0 {
            self.literal += len;
            self.commands += 1;
            self.encoded += command::literal(len).as_bytes().len() as u64 + len;
        }
    }

    fn copy(&mut self, copy: &Match) {
        self.copied += copy.len;
        self.commands += 1;
        self.encoded += command::copy(copy.base, copy.len).as_bytes().len() as u64;
    }

    fn stats(&self, new_digest: Digest, strong_hashes: u64) -> DeltaStats {
        let Tally { copied, literal, commands, .. } = *self;
        let new_len = copied + literal;
        DeltaStats { new_len, new_digest, copied, literal, commands, strong_hashes }
    }
}

#[cfg(all(test, feature = "sha2", feature = "librsync"))]
mod tests {
    use super::stream::stream;
    use super::*;
    use crate::SignatureOptions;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Runs of few values. So blocks repeat, and tasks begin inside runs.
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

    /// Promise: the memory for chaining values is bounded.
    #[test]
    fn subtrees_are_few_and_at_most_a_task_long() {
        for (len, want) in [
            (0u64, SUBTREE_LEN),
            (4 << 30, SUBTREE_LEN),
            ((4 << 30) + 1, 2 * SUBTREE_LEN),
            (20 << 30, 8 * SUBTREE_LEN),
            (1 << 40, TASK_LEN),
        ] {
            // Longer than the memory of this system's processes can be.
            let Ok(len) = usize::try_from(len) else { continue };
            assert_eq!(subtree_len(len, TASK_LEN), want);
        }
    }

    /// Promise: a change is noticed in long data too, where longer subtrees verify the literals.
    #[test]
    fn longer_subtrees_verify_as_well() {
        let old: Vec<u8> = (0..9 * SUBTREE_LEN as u32 + 77)
            .flat_map(|i| i.wrapping_mul(i).to_le_bytes())
            .collect();
        let mut new = old.clone();
        for at in [5, 7 * SUBTREE_LEN, 8 * SUBTREE_LEN - 1, 20 * SUBTREE_LEN, old.len() - 1] {
            new[at] ^= 1;
        }
        let signature = Signature::of_slice(&old, &SignatureOptions::default(), None).unwrap();
        let want = compute(&signature, Input::from(new.as_slice()), None, TASK_LEN).unwrap();
        for subtree_len in [2 * SUBTREE_LEN, 8 * SUBTREE_LEN, 16 * SUBTREE_LEN] {
            let values = blake3_tree::chaining_values(&new, 0, SUBTREE_LEN);
            let subtrees = blake3_tree::merge_to(values, SUBTREE_LEN, subtree_len);
            let delta = Delta { subtrees, subtree_len, ..want.clone() };
            let mut bytes = [Vec::new(), Vec::new()];
            want.write_to(&new, &mut bytes[0], None).unwrap();
            delta.write_to(&new, &mut bytes[1], None).unwrap();
            assert_eq!(bytes[0], bytes[1]);
            let mut torn = new.clone();
            torn[20 * SUBTREE_LEN] ^= 1;
            assert!(matches!(delta.write_to(&torn, Vec::new(), None), Err(Error::Changed)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Promise: borders of tasks and of a stream's batches change commands, never the result.
        #[test]
        fn cuts_do_not_show(old in content(), insert in content(), at in any::<prop::sample::Index>(), options in options()) {
            let at = at.index(old.len() + 1);
            let new = [&old[..at], &insert, &old[at..]].concat();
            let signature = Signature::of_slice(&old, &options, None).unwrap();
            let whole = compute(&signature, Input::from(new.as_slice()), None, TASK_LEN).unwrap();
            let cut = compute(&signature, Input::from(new.as_slice()), None, SUBTREE_LEN).unwrap();
            prop_assert_eq!(whole.new_digest(), Digest::of(&new));
            prop_assert_eq!(cut.new_digest(), whole.new_digest());
            let mut streams = [Vec::new(), Vec::new()];
            cut.write_to(&new, &mut streams[0], None).unwrap();
            let stats = stream(&signature, new.as_slice(), &mut streams[1], None, SUBTREE_LEN).unwrap();
            prop_assert_eq!(stats.new_digest, whole.new_digest());
            for delta in streams {
                let mut out = Vec::new();
                patch(Cursor::new(&old), delta.as_slice(), &mut out, new.len() as u64, None).unwrap();
                prop_assert_eq!(&out, &new);
            }
        }
    }
}
