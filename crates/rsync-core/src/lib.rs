//! The rsync algorithm for bytes and files: signatures, deltas and patches. Parallel, streaming, with bounded
//! memory, and in librsync's formats. Knows bytes and files, never directories. The same input gives the same
//! output bytes for any thread count.
//!
//! # The algorithm
//!
//! One side has an old file, the other side a new one. Only a small *signature* of the old file passes
//! between them (A. Tridgell, P. Mackerras: *The rsync algorithm*, TR-CS-96-05, 1996).
//!
//! 1. [`Signature`]: the old file is cut into blocks of equal length. Each block gets a *weak* sum, which can
//!    move along the data byte by byte in constant time, and a *strong* hash.
//! 2. [`Delta`]: a window of one block's length moves over the new data. If a block has the window's weak sum
//!    and strong hash, the delta says *copy*, and the window moves behind it. Bytes that no block covers are
//!    *literal*.
//! 3. [`patch()`]: copies from the old file and literals from the delta make the new data.
//!
//! This crate's own signatures differ in two ways. The weak sum is an *anchor*: a place in the block that the
//! block's content marks. So new data is looked up at a few marked places instead of at every byte. This
//! finds the same blocks, several times faster ([`Sums::AnchorBlake3`]). And the strong hash is the block's node
//! in the file's BLAKE3 tree, so that one pass gives all strong hashes and the file's digest. Signatures of
//! pyrsync and librsync keep their rolling sums.
//!
//! ```
//! use rsync_core::{Delta, Digest, Signature, SignatureOptions, patch_sealed};
//! use std::io::Cursor;
//!
//! let old = b"a line that stays\n".repeat(500);
//! let new = [b"a new first line\n".as_slice(), &old].concat();
//!
//! let signature = Signature::of_slice(&old, &SignatureOptions::default(), None)?;
//! let delta = Delta::compute(&signature, &new, None)?;
//! let mut stream = Vec::new();
//! delta.write_sealed(&new, &mut stream, None)?;
//! assert!(stream.len() < 200);
//!
//! let mut rebuilt = Vec::new();
//! let (patched, seal) =
//!     patch_sealed(Cursor::new(&old), stream.as_slice(), &mut rebuilt, delta.new_len(), None)?;
//! assert!(seal.is_some());
//! assert_eq!(rebuilt, new);
//! assert_eq!(patched.digest, Digest::of(&new));
//! # Ok::<(), rsync_core::Error>(())
//! ```
//!
//! # Which function
//!
//! | input | digest | signature | delta |
//! |---|---|---|---|
//! | bytes in memory | [`Digest::of`] | [`Signature::of_slice`] | [`Delta::compute`] |
//! | a file, mapped or read | [`FileBytes::digest`] | [`FileBytes::signature`] | [`FileBytes::delta`] |
//! | a stream, with bounded memory | [`Digest::of_reader`] | [`Signature::of_reader`] | [`delta_sealed`] |
//!
//! All use rayon's threads, with the feature `parallel`. Run them inside a `rayon::ThreadPool` to choose how many. [`Signature::write_to`]
//! and [`Signature::read_from`] use this crate's format and librsync's. Deltas are in librsync's format, with
//! a [`Seal`] that librsync ignores: `rdiff` applies our deltas, and we apply rdiff's.
//!
//! # Features
//!
//! | feature | without it |
//! |---|---|
//! | `parallel` | the caller's thread does all the work, and rayon is not needed |
//! | `sha2` | no signatures of pyrsync's |
//! | `librsync` | no signatures of librsync's; deltas are in its format all the same |
//! | `mmap` (off by default) | large files are read into memory, and there is no handler for SIGBUS |
//! | `serde` (off by default) | [`Digest`] is no serde type |
//!
//! Results are the same with any of them. Without default features, BLAKE3 and a hash table are all that is needed.
//!
//! # Mapped files, and SIGBUS
//!
//! With `mmap`, on Linux, [`FileBytes`] maps files of [`MAP_FROM`] bytes or more. If another process truncates such a file, the kernel
//! answers the next read of a lost page with SIGBUS, which would kill the process. So the first map installs a handler for SIGBUS, for
//! the whole process and for good. It puts a page of zeros in the place of a lost page of our maps, and
//! [`FileBytes::check`] reports the loss. Every other SIGBUS goes to the handler that was there before. This is why the
//! feature is off unless it is asked for; `dirindex` and what stands on it ask for it. [`map_files`] turns
//! mapping off at run time, for a program that wants no handler though another crate asked for the feature.
//!
//! # Progress
//!
//! Whatever reads or writes contents takes an `Option<&`[`Progress`]`>` as its last argument. It counts the bytes in it, and stops
//! with [`Error::Cancelled`] soon after [`Progress::cancel`], within a few MiB.
//!
//! # Systems
//!
//! Linux, macOS and Windows, 32 and 64 bits. Windows has no time of a file that every change moves: there
//! [`FileBytes::check`] compares length and time of the last write.
//!
//! # Promised
//!
//! - Every [`Digest`] is the BLAKE3 of the whole content, what `b3sum` prints. [`patch()`] computes it as it
//!   writes.
//! - No input, however crafted, makes these functions panic or allocate by an unchecked length. Matching
//!   computes at most a small constant number of strong hashes for each block length of data
//!   ([`DeltaStats::strong_hashes`]).
//! - [`Delta::write_to`] writes only literals that were hashed into [`Delta::new_digest`], or fails. After a
//!   delta of a mapped file, also call [`FileBytes::check`]: a block may have changed after it was hashed and
//!   before it was matched. Truncation of a mapped file gives [`Error::Changed`]; it does not kill the
//!   process.
//!
//! # Not promised
//!
//! - A bare delta stream does not say that it fits its base, or that it is whole. [`Delta::write_sealed`] and
//!   [`delta_sealed`] add a [`Seal`], which [`patch_sealed`] checks. With bare deltas ([`Delta::write_to`],
//!   [`delta()`], [`patch()`]), keep [`Signature::digest`], [`Delta::new_digest`] and a checksum of the
//!   stream elsewhere.
//! - A signature in librsync's format has no checksum. If it is damaged, the seal of its delta shows that in
//!   patching.
//! - The delta is not the smallest possible. Matches begin at whole blocks of the old file; a rebuilt binary
//!   may share hardly any. Compare [`Delta::encoded_len`] with the new data's length.
//! - MD4 signatures can be forged, and so can strong hashes that are kept in few bytes.

mod blake3_tree;
mod delta;
mod digest;
mod error;
mod file_bytes;
mod matching;
mod parallel;
mod progress;
mod signature;
mod weak_sum;

pub use delta::{
    CommandBytes, Delta, DeltaFault, DeltaPart, DeltaParts, DeltaStats, MAX_SEGMENTS, Patched,
    Seal, Segments, delta, delta_sealed, patch, patch_sealed,
};
pub use digest::{Digest, ParseDigestError};
pub use error::{Error, Result};
pub use file_bytes::{FileBytes, MAP_FROM, map_files};
pub use progress::{Cancelled, Progress, Stage, Total};
pub use signature::{
    Block, MAX_BLOCK_LEN, Shape, Signature, SignatureFault, SignatureOptions, Sums, block_len_for,
};
pub use weak_sum::rolling::RollingSum;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
