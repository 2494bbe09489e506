//! Properties of signature, delta and patch, over generated contents and edits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say so when they fail"
)]

use proptest::prelude::*;
use rsync_core::*;
use std::io::Cursor;

/// One change of a file.
#[derive(Debug, Clone)]
enum Edit {
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Overwrite(prop::sample::Index, Vec<u8>),
    /// Copies a part of the old content somewhere else.
    Move(prop::sample::Index, prop::sample::Index, usize),
    Append(Vec<u8>),
}

impl Edit {
    fn apply(&self, data: &mut Vec<u8>) {
        let place = |index: &prop::sample::Index, data: &[u8]| index.index(data.len() + 1);
        match self {
            Edit::Insert(index, bytes) => {
                let at = place(index, data);
                data.splice(at..at, bytes.iter().copied());
            }
            Edit::Remove(index, len) => {
                let at = place(index, data);
                data.drain(at..data.len().min(at + len));
            }
            Edit::Overwrite(index, bytes) => {
                let at = place(index, data);
                data.iter_mut().skip(at).zip(bytes).for_each(|(old, new)| *old = *new);
            }
            Edit::Move(from, to, len) => {
                let from = place(from, data);
                let part = data[from..data.len().min(from + len)].to_vec();
                let to = place(to, data);
                data.splice(to..to, part);
            }
            Edit::Append(bytes) => data.extend_from_slice(bytes),
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (any::<prop::sample::Index>(), bytes()).prop_map(|(i, b)| Edit::Insert(i, b)),
        (any::<prop::sample::Index>(), 1usize..200).prop_map(|(i, n)| Edit::Remove(i, n)),
        (any::<prop::sample::Index>(), bytes()).prop_map(|(i, b)| Edit::Overwrite(i, b)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..500)
            .prop_map(|(i, j, n)| Edit::Move(i, j, n)),
        bytes().prop_map(Edit::Append),
    ]
}

/// Contents from random to nearly constant, and runs of one byte.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000),
        prop::collection::vec(0u8..2, 0..1500),
        prop::collection::vec((any::<u8>(), 1usize..300), 0..12).prop_map(|runs| runs
            .into_iter()
            .flat_map(|(byte, n)| std::iter::repeat_n(byte, n))
            .collect()),
    ]
}

fn pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (content(), prop::collection::vec(edit(), 0..6)).prop_map(|(old, edits)| {
        let mut new = old.clone();
        edits.iter().for_each(|edit| edit.apply(&mut new));
        (old, new)
    })
}

fn options() -> impl Strategy<Value = SignatureOptions> {
    let base = prop::sample::select(vec![
        SignatureOptions::pyrsync(),
        SignatureOptions::rdiff_blake2(),
        SignatureOptions::rdiff_md4(),
        SignatureOptions { sums: Sums::RollsumBlake2b, ..SignatureOptions::rdiff_blake2() },
    ]);
    let len = prop_oneof![1u32..9, 9u32..70, Just(128)];
    let rolling =
        (base, len).prop_map(|(base, len)| SignatureOptions { block_len: Some(len), ..base });
    prop_oneof![4 => rolling, 1 => Just(anchors(1024))]
}

fn anchors(block_len: u32) -> SignatureOptions {
    SignatureOptions { block_len: Some(block_len), ..Default::default() }
}

/// Contents of some dozens of blocks of 1 or 2 KiB: noise, words, runs, short periods. Parts repeat.
fn large_content() -> impl Strategy<Value = Vec<u8>> {
    let part = (0u8..4, any::<u8>(), 1usize..12_000);
    prop::collection::vec(part, 0..8).prop_map(|parts| {
        let mut content = Vec::new();
        for (kind, seed, len) in parts {
            let mut state = u64::from(seed % 8);
            let mut next = || {
                state =
                    state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                (state >> 33) as usize
            };
            let end = content.len() + len;
            while content.len() < end {
                match kind {
                    0 => content.push(next() as u8),
                    1 => content.extend_from_slice(
                        [&b"static "[..], b"int ", b"return;\n", b"    "][next() % 4],
                    ),
                    2 => content.push(seed),
                    _ => content.extend((0..seed).take(1 + usize::from(seed % 13))),
                }
                if kind == 3 && seed == 0 {
                    content.push(7);
                }
            }
            content.truncate(end);
        }
        content
    })
}

fn large_pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (
        large_content(),
        prop::collection::vec(edit(), 0..6),
        any::<prop::sample::Index>(),
        0usize..9000,
    )
        .prop_map(|(old, edits, from, len)| {
            let mut new = old.clone();
            edits.iter().for_each(|edit| edit.apply(&mut new));
            let from = from.index(old.len() + 1);
            new.extend_from_slice(&old[from..old.len().min(from + len)]);
            (old, new)
        })
}

fn written(delta: &Delta, new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    delta.write_to(new, &mut out, None).unwrap();
    assert_eq!(out.len() as u64, delta.encoded_len());
    out
}

fn patched(base: &[u8], delta: &[u8], max_len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let result = patch(Cursor::new(base), delta, &mut out, max_len, None).unwrap();
    assert_eq!((result.len, result.digest), (out.len() as u64, Digest::of(&out)));
    out
}

/// The oracle: a plain greedy matcher that has the base and compares bytes. Returns the number of literal
/// bytes.
fn naive_literals(base: &[u8], new: &[u8], block_len: usize) -> usize {
    let blocks: Vec<&[u8]> = base.chunks(block_len).collect();
    let full: std::collections::HashSet<&[u8]> =
        blocks.iter().copied().filter(|b| b.len() == block_len).collect();
    let tail = blocks.last().copied().filter(|b| b.len() < block_len).unwrap_or_default();
    let (mut at, mut literals) = (0, 0);
    while at < new.len() {
        let rest = &new[at..];
        if rest.len() >= block_len && full.contains(&rest[..block_len]) {
            at += block_len;
        } else if !tail.is_empty() && rest == tail {
            at = new.len();
        } else {
            at += 1;
            literals += 1;
        }
    }
    literals
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Promise: a delta applied to its base gives the new data. The stream form writes the same bytes.
    #[test]
    fn patch_of_delta_is_new((old, new) in pair(), options in options()) {
        let signature = Signature::of_slice(&old, &options, None).unwrap();
        let delta = Delta::compute(&signature, &new, None).unwrap();
        let stats = delta.stats();
        prop_assert_eq!(stats.copied + stats.literal, new.len() as u64);
        prop_assert_eq!(delta.new_digest(), Digest::of(&new));
        let bytes = written(&delta, &new);
        prop_assert_eq!(&patched(&old, &bytes, new.len() as u64), &new);

        let mut streamed = Vec::new();
        let stream_stats = rsync_core::delta(&signature, new.as_slice(), &mut streamed, None).unwrap();
        let uncounted = |mut stats: DeltaStats| {
            stats.strong_hashes = 0;
            stats
        };
        prop_assert_eq!(uncounted(stream_stats), uncounted(stats));
        prop_assert_eq!(streamed, bytes);
    }

    /// Promise: rolling sums miss no block that comparing bytes finds.
    #[test]
    fn finds_what_a_naive_matcher_finds((old, new) in pair(), block_len in 12u32..70) {
        let options = SignatureOptions { block_len: Some(block_len), ..SignatureOptions::pyrsync() };
        let signature = Signature::of_slice(&old, &options, None).unwrap();
        let stats = Delta::compute(&signature, &new, None).unwrap().stats();
        prop_assert!(stats.literal <= naive_literals(&old, &new, block_len as usize) as u64, "{:?}", stats);
    }

    /// Promise: anchors miss no block either.
    #[test]
    fn anchors_find_what_a_naive_matcher_finds((old, new) in large_pair(), block_len in prop::sample::select(vec![1024, 2048])) {
        let signature = Signature::of_slice(&old, &anchors(block_len), None).unwrap();
        let by_reader = Signature::of_reader(old.as_slice(), None, &anchors(block_len), None).unwrap();
        prop_assert_eq!(&by_reader, &signature);
        let delta = Delta::compute(&signature, &new, None).unwrap();
        let stats = delta.stats();
        let naive = naive_literals(&old, &new, block_len as usize) as u64;
        // In periodic data many windows may look like blocks. Then the bound on hashing ends the search.
        prop_assert!(stats.literal <= naive || stats.strong_hashes > 64, "{} < {:?}", naive, stats);
        prop_assert_eq!(stats.new_digest, Digest::of(&new));
        prop_assert_eq!(patched(&old, &written(&delta, &new), new.len() as u64), new);
    }

    /// Promise: slice and reader give the same signature, and it survives storage.
    #[test]
    fn signature_of_slice_and_reader_agree(data in content(), options in options()) {
        let of_slice = Signature::of_slice(&data, &options, None).unwrap();
        let of_reader = Signature::of_reader(data.as_slice(), None, &options, None).unwrap();
        prop_assert_eq!(&of_slice, &of_reader);
        prop_assert_eq!(of_slice.digest(), Some(Digest::of(&data)));
        let block_len = of_slice.shape().block_len as usize;
        prop_assert_eq!(of_slice.block_count(), data.len().div_ceil(block_len));

        let mut file = Vec::new();
        of_slice.write_to(&mut file).unwrap();
        let back = Signature::read_from(file.as_slice()).unwrap();
        prop_assert_eq!(back.packed(), of_slice.packed());
        prop_assert_eq!(back.shape(), of_slice.shape());
        if !options.sums.is_librsync() {
            prop_assert_eq!(&back, &of_slice);
        }
        let packed = of_slice.clone().into_packed();
        let again = Signature::from_packed(of_slice.shape(), of_slice.file_len(), of_slice.digest(), packed).unwrap();
        prop_assert_eq!(again, of_slice);
    }

    /// Promise: the blocks that differ are those that differ, also where the other data is shorter or longer.
    #[test]
    fn differing_blocks_are_those_of_the_definition(
        data in content(), options in options(), edits in prop::collection::vec(any::<prop::sample::Index>(), 0..4), len in 0usize..9000,
    ) {
        let signature = Signature::of_slice(&data, &options, None).unwrap();
        let mut other = data.clone();
        for edit in edits.iter().filter(|_| !data.is_empty()) {
            other[edit.index(data.len())] ^= 1;
        }
        if len < 3000 {
            other.truncate(len);
        }
        other.extend(vec![9; len % 7]);
        let block_len = signature.shape().block_len as usize;
        let starts = (0..data.len()).step_by(block_len);
        let blocks = starts.map(|start| start..data.len().min(start + block_len));
        let differ = blocks.filter(|block| other.get(block.clone()) != Some(&data[block.clone()]));
        let mut want: Vec<std::ops::Range<u64>> = Vec::new();
        for block in differ {
            match want.last_mut() {
                Some(last) if last.end == block.start as u64 => last.end = block.end as u64,
                _ => want.push(block.start as u64..block.end as u64),
            }
        }
        prop_assert_eq!(signature.differing(other.as_slice()).unwrap(), want);
    }

    /// Promise: a strong hash is BLAKE3's parent of the file's digest and the block's node, as `docs/format.md` says.
    #[test]
    fn strong_hashes_are_bound_to_the_file(data in content(), bits in 10u32..13) {
        use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root};
        let block_len = 1usize << bits;
        let options = SignatureOptions { block_len: Some(block_len as u32), ..Default::default() };
        let signature = Signature::of_slice(&data, &options, None).unwrap();
        let digest = blake3::hash(&data);
        prop_assert_eq!(signature.packed().len(), 16 * data.len().div_ceil(block_len));
        for (number, (block, bytes)) in signature.blocks().zip(data.chunks(block_len)).enumerate() {
            let node = match data.len() <= block_len {
                true => digest.into(),
                false => {
                    let mut hasher = blake3::Hasher::new();
                    hasher.set_input_offset((number * block_len) as u64).update(bytes).finalize_non_root()
                }
            };
            let bound = merge_subtrees_non_root(digest.as_bytes(), &node, Mode::Hash);
            prop_assert_eq!(block.strong, &bound[..10]);
        }
    }

    /// Promise: a signature without file length and digest is as good for matching.
    #[test]
    fn signature_read_from_librsyncs_format_still_works((old, new) in pair(), block_len in 8u32..70) {
        let options = SignatureOptions { block_len: Some(block_len), ..SignatureOptions::rdiff_blake2() };
        let mut file = Vec::new();
        Signature::of_slice(&old, &options, None).unwrap().write_to(&mut file).unwrap();
        let signature = Signature::read_from(file.as_slice()).unwrap();
        let delta = Delta::compute(&signature, &new, None).unwrap();
        prop_assert!(delta.stats().literal <= naive_literals(&old, &new, block_len as usize) as u64);
        prop_assert_eq!(patched(&old, &written(&delta, &new), new.len() as u64), new);
    }
}
