//! Inputs that are large enough for threads, maps and batches.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests say so when they fail"
)]

use rsync_core::*;
use std::fs::File;
use std::io::{self, Cursor, Write};

/// Bytes that look random. They are the same in every run.
fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        bytes.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `data` with a few bytes changed, inserted and removed.
fn edited(data: &[u8]) -> Vec<u8> {
    let mut new = Vec::new();
    for (i, part) in data.chunks(700_001).enumerate() {
        new.extend_from_slice(&part[i * 3..]);
        new.extend_from_slice(&noise(i * 7, i as u64));
        if let Some(byte) = new.get_mut(i * 333_333) {
            *byte ^= 1;
        }
    }
    new
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn delta_bytes(signature: &Signature, new: &[u8]) -> (Vec<u8>, DeltaStats) {
    let delta = Delta::compute(signature, new, None).unwrap();
    let mut bytes = Vec::new();
    delta.write_to(new, &mut bytes, None).unwrap();
    assert_eq!(bytes.len() as u64, delta.encoded_len());
    (bytes, delta.stats())
}

fn patched(base: &[u8], delta: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    patch(Cursor::new(base), delta, &mut out, u64::MAX, None).unwrap();
    out
}

fn blocks(len: u32) -> SignatureOptions {
    SignatureOptions { block_len: Some(len), ..Default::default() }
}

fn rolling(len: u32) -> SignatureOptions {
    SignatureOptions { block_len: Some(len), ..SignatureOptions::pyrsync() }
}

#[test]
fn same_bytes_for_any_thread_count() {
    let old = noise(9_000_017, 1);
    let new = edited(&old);
    for options in [blocks(2048), blocks(65536), rolling(3001), SignatureOptions::rdiff_md4()] {
        let results: Vec<_> = [1, 2, 8]
            .into_iter()
            .map(|threads| {
                with_threads(threads, || {
                    let signature = Signature::of_slice(&old, &options, None).unwrap();
                    let (bytes, stats) = delta_bytes(&signature, &new);
                    let mut streamed = Vec::new();
                    delta(&signature, new.as_slice(), &mut streamed, None).unwrap();
                    (signature, bytes, stats, streamed)
                })
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        let (_, bytes, stats, streamed) = &results[0];
        assert_eq!(patched(&old, bytes), new);
        assert_eq!(patched(&old, streamed), new);
        assert!(stats.literal < 40 * 2 * u64::from(results[0].0.shape().block_len), "{stats:?}");
        assert_eq!(stats.new_digest, Digest(blake3::hash(&new).into()));
    }
}

/// Promise: the signature does not depend on how the data is read.
#[test]
fn slice_reader_and_file_agree() {
    for len in [0, 1, 70_000, MAP_FROM as usize - 1, MAP_FROM as usize, 6_000_001] {
        let data = noise(len, 2);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&data).unwrap();
        for options in [
            SignatureOptions::default(),
            blocks(16 << 10),
            blocks(1 << 20),
            rolling(1000),
            // As long as the subtrees that the digest is made of.
            rolling(16 << 10),
            SignatureOptions::rdiff_md4(),
        ] {
            let of_slice = Signature::of_slice(&data, &options, None).unwrap();
            assert_eq!(Signature::of_file(&file, &options, None).unwrap(), of_slice, "{len}");
            assert_eq!(
                Signature::of_reader(data.as_slice(), Some(len as u64), &options, None).unwrap(),
                of_slice,
                "{len}"
            );
        }
    }
}

/// Promise: unchanged data is one copy, also with repeated blocks.
#[test]
fn identical_data_is_one_copy() {
    let zeros = vec![0; 3 << 20];
    let half = [noise(3 << 20, 3), zeros.clone()].concat();
    let other_half = [zeros.clone(), noise((3 << 20) + 77, 4)].concat();
    for data in [half, other_half, zeros, noise(5_000_003, 5)] {
        for options in
            [blocks(4096), blocks(1 << 20), rolling(3000), SignatureOptions::rdiff_blake2()]
        {
            let signature = Signature::of_slice(&data, &options, None).unwrap();
            let (bytes, stats) = delta_bytes(&signature, &data);
            assert_eq!((stats.commands, stats.literal), (1, 0), "{options:?}");
            assert_eq!(patched(&data, &bytes), data);
        }
    }
}

/// Promise: moved data is one copy, also if a task begins among equal or periodic blocks.
#[test]
fn moved_data_is_one_copy() {
    let period = noise(512, 14).repeat(6000);
    for repeated in [vec![0; 3 << 20], period] {
        let old = [noise(1 << 20, 15), repeated, noise(1 << 20, 16)].concat();
        let new = [b"seven b".as_slice(), &old].concat();
        for options in [blocks(4096), rolling(4096)] {
            let signature = Signature::of_slice(&old, &options, None).unwrap();
            let (bytes, stats) = delta_bytes(&signature, &new);
            assert_eq!((stats.commands, stats.literal), (2, 7), "{options:?}");
            assert_eq!(patched(&old, &bytes), new);
        }
    }
}

/// Promise: the short last block matches too.
#[test]
fn appended_data_copies_the_whole_base() {
    for len in [5, 1000, 4096, 100_001, 3_000_001] {
        let old = noise(len, 6);
        let new = [old.clone(), noise(50, 7)].concat();
        let signature = Signature::of_slice(&old, &SignatureOptions::default(), None).unwrap();
        assert_eq!(Delta::compute(&signature, &new, None).unwrap().stats().literal, 50, "{len}");
    }
}

/// Promise: the batches of a stream cost no literals and hardly any commands.
#[test]
fn streams_longer_than_a_batch() {
    let old = noise(40 << 20, 8);
    let new = [&old[1 << 20..], &noise(3 << 20, 9), &old[..20 << 20], b"end"].concat();
    let signature = Signature::of_slice(&old, &blocks(4096), None).unwrap();
    let (bytes, stats) = delta_bytes(&signature, &new);
    let mut streamed = Vec::new();
    let stream_stats = delta(&signature, new.as_slice(), &mut streamed, None).unwrap();
    assert_eq!(stream_stats.literal, stats.literal);
    assert!(streamed.len() <= bytes.len() + 64);
    assert_eq!(patched(&old, &streamed), new);
    assert_eq!(patched(&old, &bytes), new);
}

/// Promise: a delta never has literals that were not hashed into its digest.
#[test]
fn write_to_notices_changed_literals() {
    let old = noise(300_000, 10);
    let mut new = edited(&old);
    new.extend_from_slice(&noise(40_000, 11));
    let signature = Signature::of_slice(&old, &SignatureOptions::default(), None).unwrap();
    let delta = Delta::compute(&signature, &new, None).unwrap();
    let last = new.len() - 1;
    new[last] ^= 1;
    assert!(matches!(delta.write_to(&new, Vec::new(), None), Err(Error::Changed)));
    new[last] ^= 1;
    delta.write_to(&new, Vec::new(), None).unwrap();
    new.pop();
    assert!(matches!(delta.write_to(&new, Vec::new(), None), Err(Error::Changed)));
}

/// Promise: whatever reads or writes contents takes a [`Progress`], whose counter is exact after the work, and stops with
/// [`Error::Cancelled`] when it is asked to.
#[test]
fn progress_counts_and_cancels() {
    let (data, options) = (noise(3_000_000, 12), SignatureOptions::default());
    let (new, len) = (noise(2_000_000, 13), 2_000_000);
    let signature = Signature::of_slice(&data, &options, None).unwrap();
    let delta = Delta::compute(&signature, &new, None).unwrap();
    let (mut bare, mut sealed) = (Vec::new(), Vec::new());
    delta.write_to(&new, &mut bare, None).unwrap();
    delta.write_sealed(&new, &mut sealed, None).unwrap();
    let file = tempfile::tempfile().unwrap();
    (&file).write_all(&data).unwrap();
    let bytes = FileBytes::open(&file).unwrap();

    type Work<'a> = Box<dyn Fn(Option<&Progress>) -> Result<()> + 'a>;
    let old = || Cursor::new(&data);
    let works: Vec<(Work<'_>, u64)> = vec![
        (Box::new(|to| Digest::of_reader(&data[..], to).map(drop)), 3_000_000),
        (Box::new(|to| bytes.digest(to).map(drop)), 3_000_000),
        (Box::new(|to| Signature::of_slice(&data, &options, to).map(drop)), 3_000_000),
        (Box::new(|to| Signature::of_reader(&data[..], None, &options, to).map(drop)), 3_000_000),
        (Box::new(|to| Signature::of_file(&file, &options, to).map(drop)), 3_000_000),
        (Box::new(|to| bytes.signature(&options, to).map(drop)), 3_000_000),
        (Box::new(|to| Delta::compute(&signature, &new, to).map(drop)), len),
        (Box::new(|to| rsync_core::delta(&signature, &new[..], io::sink(), to).map(drop)), len),
        (Box::new(|to| delta_sealed(&signature, &new[..], io::sink(), to).map(drop)), len),
        (Box::new(|to| delta.write_to(&new, io::sink(), to)), delta.encoded_len()),
        (Box::new(|to| delta.write_sealed(&new, io::sink(), to)), delta.encoded_len()),
        (Box::new(|to| patch(old(), &bare[..], io::sink(), len, to).map(drop)), len),
        (Box::new(|to| patch_sealed(old(), &sealed[..], io::sink(), len, to).map(drop)), len),
    ];
    for (number, (work, expected)) in works.into_iter().enumerate() {
        let progress = Progress::new();
        work(Some(&progress)).unwrap();
        assert_eq!(progress.bytes(), expected, "{number}");
        progress.cancel();
        assert!(matches!(work(Some(&progress)), Err(Error::Cancelled(_))), "{number}");
    }
}

/// Promise: matching computes at most a few strong hashes for each block length of data, for any input.
#[test]
fn strong_hashes_are_bounded() {
    let block_len = 64usize;
    // Blocks that all have one weak sum: +1, −2, +1 at various places in a block of threes.
    let decoy = |i: usize| {
        let mut block = vec![3u8; block_len];
        for (at, bit) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
            if i & bit != 0 {
                for (j, add) in [(0, 1u8), (1, 254), (2, 1)] {
                    block[at * 4 + j] = block[at * 4 + j].wrapping_add(add);
                }
            }
        }
        block[40 + i / 16 % 8 * 3..][..3].copy_from_slice(&[4, 1, 4]);
        block
    };
    let decoys: Vec<u8> = (0..20_000).flat_map(decoy).collect();
    // The same sum at every offset of a window, but never a block of the base.
    let mut near = vec![3u8; 1 << 20];
    near.iter_mut().step_by(997).for_each(|byte| *byte = 4);
    let zeros = vec![0; 1 << 20];
    let equal = noise(block_len, 13).repeat(100_000);
    let cases = [
        (&decoys, &near),
        (&decoys, &zeros),
        (&zeros, &near),
        (&zeros, &zeros),
        (&equal, &equal),
        (&near, &decoys),
    ];
    for (i, (old, new)) in cases.into_iter().enumerate() {
        let signature = Signature::of_slice(old, &rolling(block_len as u32), None).unwrap();
        let (bytes, stats) = delta_bytes(&signature, new);
        let windows = new.len() as u64 / block_len as u64;
        assert!(
            stats.strong_hashes <= 3 * windows + 200,
            "case {i}: {} for {windows} windows",
            stats.strong_hashes
        );
        assert_eq!(&patched(old, &bytes), new, "case {i}");
    }
}

/// Promise: long blocks do not allow more hashing. A task of a parallel delta may waste a few windows, not a
/// fixed number of them.
#[test]
fn strong_hashes_of_long_blocks_are_bounded() {
    const BLOCK: usize = 256 << 10;
    const LEN: usize = 4 << 20;
    // Threes, with +1, −2, +1 at some places. All windows that cut none of these places have the same sum.
    let threes = |places: &mut dyn Iterator<Item = usize>| {
        let mut data = vec![3u8; LEN];
        places.for_each(|at| data[at..at + 3].copy_from_slice(&[4, 1, 4]));
        data
    };
    let old = threes(&mut (0..LEN / BLOCK).map(|i| i * BLOCK + 1000 * i));
    let new = threes(&mut (0..LEN - 3).step_by(1009));
    let signature = Signature::of_slice(&old, &rolling(BLOCK as u32), None).unwrap();
    let (bytes, stats) = delta_bytes(&signature, &new);
    let windows = (LEN / BLOCK) as u64;
    assert!(stats.strong_hashes <= 3 * windows, "{stats:?}");
    assert_eq!(patched(&old, &bytes), new);
}

/// Promise: the same bound for anchors. The cases: a context that every block shares, samples at every byte,
/// data without samples.
#[test]
fn strong_hashes_of_anchored_blocks_are_bounded() {
    const BLOCK: usize = 1024;
    const LEN: usize = 1 << 20;
    let shared = noise(BLOCK / 2, 17);
    let crowd = |seed: u64| -> Vec<u8> {
        let parts =
            (0..).flat_map(|i| [shared.clone(), noise(BLOCK / 2 + i % 97, seed << 32 | i as u64)]);
        parts.flatten().take(LEN).collect()
    };
    // Data in which these two bytes alternate has a sample at every position.
    let dense = [120, 136].repeat(LEN / 2);
    // Two contents with one rolling sum: equal bytes, except for +1, −2, +1 somewhere.
    let decoys = |at: usize| -> Vec<u8> {
        let mut data = noise(BLOCK, 18).repeat(LEN / BLOCK);
        for (i, block) in data.chunks_mut(BLOCK).enumerate() {
            let at = BLOCK / 2 + (at + 3 * i) % 300;
            for (place, add) in [(at, 1u8), (at + 1, 254), (at + 2, 1)] {
                block[place] = block[place].wrapping_add(add);
            }
        }
        data
    };
    let zeros = vec![0; LEN];
    let cases = [
        (crowd(1), crowd(2)),
        (dense.clone(), [vec![1], dense.clone()].concat()),
        (noise(LEN, 19), dense),
        (zeros.clone(), zeros),
        (decoys(0), decoys(150)),
        (decoys(0), [vec![1; 77], decoys(150)].concat()),
    ];
    for (i, (old, new)) in cases.into_iter().enumerate() {
        let signature = Signature::of_slice(&old, &blocks(BLOCK as u32), None).unwrap();
        let (bytes, stats) = delta_bytes(&signature, &new);
        let windows = new.len().div_ceil(BLOCK) as u64;
        assert!(stats.strong_hashes <= 3 * windows + 200, "case {i}: {stats:?}");
        assert_eq!(patched(&old, &bytes), new, "case {i}");
    }
}

/// Promise: truncation of a file while it is mapped and read is an error, not a deadly signal.
#[cfg(all(feature = "mmap", target_os = "linux"))]
#[test]
fn truncation_while_mapped_is_an_error() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    for round in 0..20u64 {
        std::fs::write(&path, noise(4 << 20, round)).unwrap();
        let file = File::open(&path).unwrap();
        let bytes = FileBytes::open(&file).unwrap();
        assert_eq!(bytes.len(), 4 << 20);
        bytes.check().unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.set_len(round * 100_000 + 1).unwrap());
            for _ in 0..20 {
                drop(bytes.digest(None));
            }
        });
        assert!(bytes.digest(None).unwrap() != Digest::of(&noise(4 << 20, round)) || round == 42);
        assert!(matches!(bytes.check(), Err(Error::Changed)), "{round}");
        // A map that is made afterwards is not torn.
        drop(bytes);
        writer.set_len(2 << 20).unwrap();
        FileBytes::open(&file).unwrap().check().unwrap();
    }
}

/// Promise: a computation on a large map releases the pages behind it, and still gets all bytes right.
#[test]
fn large_maps_are_gone_through_in_little_memory() {
    const LEN: usize = (160 << 20) + 12_345;
    let mut old = noise(1 << 20, 1).repeat(LEN >> 20);
    old.extend(noise(12_345, 2));
    for (at, byte) in old.iter_mut().step_by(4096).enumerate() {
        *byte = at as u8 ^ (at >> 8) as u8;
    }
    let signature = Signature::of_slice(&old, &SignatureOptions::default(), None).unwrap();
    let digest = Digest::of(&old);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &old).unwrap();
    drop(old);
    let bytes = FileBytes::open(&file).unwrap();
    let within = |what: &str| {
        let resident = mapped_file_pages();
        assert!(resident < 48 << 20, "{resident} bytes resident after {what}");
    };
    for _ in 0..2 {
        assert_eq!(bytes.digest(None).unwrap(), digest);
        within("hashing");
        assert_eq!(bytes.signature(&SignatureOptions::default(), None).unwrap(), signature);
        within("signing");
        let delta = bytes.delta(&signature, None).unwrap();
        assert_eq!((delta.stats().copied, delta.new_digest()), (LEN as u64, digest));
        within("a delta of all copies");
    }
    let nothing = Signature::of_slice(b"", &SignatureOptions::default(), None).unwrap();
    let delta = bytes.delta(&nothing, None).unwrap();
    bytes.write_delta(&delta, std::io::sink(), None).unwrap();
    within("a delta of all literals");
    bytes.check().unwrap();
}

/// Bytes of mapped files that are in memory: RssFile of this process.
fn mapped_file_pages() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Promise: a directory is an error.
#[cfg(unix)]
#[test]
fn only_regular_files() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(FileBytes::open(&File::open(dir.path()).unwrap()), Err(Error::Io { .. })));
}

/// Promise: a map of a file that was not truncated keeps its bytes, while other maps are torn and slots are
/// reused.
#[test]
fn a_truncation_never_touches_another_map() {
    const LEN: usize = 3 << 20;
    let truncated = tempfile::NamedTempFile::new().unwrap();
    let whole = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(whole.path(), noise(LEN, 5)).unwrap();
    let digest = Digest::of(&noise(LEN, 5));
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let file = File::open(whole.path()).unwrap();
                while !is_done() {
                    let bytes = FileBytes::open(&file).unwrap();
                    assert_eq!(bytes.digest(None).unwrap(), digest);
                    bytes.check().unwrap();
                }
            });
        }
        let file = File::options().read(true).write(true).open(truncated.path()).unwrap();
        for round in 0..300 {
            file.set_len((1 << 20) + round % 7 * 100_000).unwrap();
            let bytes = FileBytes::open(&file).unwrap();
            file.set_len(1).unwrap();
            drop(bytes.digest(None));
            assert!(matches!(bytes.check(), Err(Error::Changed)), "{round}");
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

/// Bug: `stat` reports 0 bytes for a file in `/proc`, and nothing was read.
#[test]
fn a_file_is_read_to_its_end_whatever_its_length_is_said_to_be() {
    let path = "/proc/self/environ";
    let content = std::fs::read(path).unwrap();
    assert!(!content.is_empty());
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    let bytes = FileBytes::open(&file).unwrap();
    assert_eq!(bytes.to_vec(), content);
    assert_eq!(bytes.digest(None).unwrap(), Digest::of(&content));
    bytes.check().unwrap();
    let signature = Signature::of_file(&file, &SignatureOptions::default(), None).unwrap();
    assert_eq!(signature.file_len(), content.len() as u64);
}
