//! The rsync algorithm over bytes and files: signatures, deltas and patches, parallel, streaming, bounded and in librsync's
//! formats. Knows bytes and files, never directories; the same input gives the same output bytes for any thread count.
//!
//! # The algorithm
//!
//! Someone has an old file, someone else the new one, and only a small *signature* of the old passes between them
//! (A. Tridgell, P. Mackerras: *The rsync algorithm*, TR-CS-96-05, 1996).
//!
//! 1. [`Signature`]: the old file is cut into blocks of equal length. For each block it keeps a *weak* sum, which can be moved
//!    along the data byte by byte in constant time, and a *strong* hash.
//! 2. [`Delta`]: a window of one block's length moves over the new data. Where its weak sum is known, and its strong hash is
//!    that of the block, the delta says *copy*, and the window jumps on; bytes no block covers are *literal*.
//! 3. [`patch()`]: copies from the old file and literals from the delta make the new data.
//!
//! Two things are different here, in this crate's own signatures. The weak sum is an *anchor*: a place in the block that its
//! content marks, so that the new data is looked up at a few marked places instead of at every byte, which finds the same
//! blocks several times faster ([`WeakSum::Anchor`]). And the strong hash is the block's node in the file's BLAKE3 tree, so
//! that one pass gives all of them and the file's digest. Signatures of pyrsync and librsync keep their rolling sums.
//!
//! ```
//! use rsync_core::{Delta, Digest, Signature, SignatureOptions, patch_sealed};
//! use std::io::Cursor;
//!
//! let old = b"a line that stays\n".repeat(500);
//! let new = [b"a new first line\n".as_slice(), &old].concat();
//!
//! let signature = Signature::of_slice(&old, &SignatureOptions::default())?;
//! let delta = Delta::compute(&signature, &new, None)?;
//! let mut stream = Vec::new();
//! delta.write_sealed(&new, &mut stream)?;
//! assert!(stream.len() < 200);
//!
//! let mut rebuilt = Vec::new();
//! let (patched, seal) =
//!     patch_sealed(Cursor::new(&old), stream.as_slice(), &mut rebuilt, delta.new_len())?;
//! assert!(seal.is_some());
//! assert_eq!(rebuilt, new);
//! assert_eq!(patched.digest, Digest::of(&new));
//! # Ok::<(), rsync_core::Error>(())
//! ```
//!
//! # Which function
//!
//! For bytes in memory: [`Signature::of_slice`] and [`Delta::compute`]; for a file, mapped or read: [`FileBytes`]. All use
//! rayon's threads (run them inside a `rayon::ThreadPool` to choose how many). For streams, with bounded memory: [`Signature::of_reader`] and
//! [`delta_sealed`]. [`Signature::write_to`] and [`Signature::read_from`] speak this crate's format and librsync's; delta streams
//! are librsync's, with a [`Seal`] that librsync passes over, so `rdiff` applies ours and we apply rdiff's.
//!
//! # Promised
//!
//! - Every [`Digest`] is the BLAKE3 of the whole content, what `b3sum` prints; [`patch()`] computes it on the way.
//! - No input, however crafted, makes these functions panic, allocate by an unchecked length, or take more than a small
//!   constant number of strong hashes for each block length of data ([`DeltaStats::strong_hashes`]).
//! - [`Delta::write_to`] writes only literals that were hashed into [`Delta::new_digest`], or fails. Who maps a file that may
//!   change also asks [`FileBytes::check`] afterwards, since a block may have changed after it was hashed and before it was
//!   matched. A mapped file that is truncated is [`Error::Changed`], not a dead process.
//!
//! # Not promised
//!
//! - That a bare delta stream fits its base, or is whole: it names neither. [`Delta::write_sealed`] and [`delta_sealed`] put a
//!   [`Seal`] behind it, which [`patch_sealed`] checks. Who writes bare ones ([`Delta::write_to`], [`delta()`], [`patch()`])
//!   keeps [`Signature::digest`], [`Delta::new_digest`] and a check of the stream elsewhere.
//! - That a signature in librsync's format is whole: it has no check. A delta made from a damaged one is found out by its
//!   seal when it is applied.
//! - The smallest delta. Matches begin at whole blocks of the old file; a rebuilt binary may share hardly any. Compare
//!   [`Delta::encoded_len`] with the new data's length.
//! - Safety of what others chose: MD4 signatures are forgeable, and so are strong hashes kept in few bytes.

mod anchor;
mod command;
mod commands;
mod compose;
mod contexts;
mod delta;
mod digest;
mod error;
mod fault;
mod filter;
mod join;
mod map;
mod matcher;
mod patch;
mod progress;
mod sample;
mod scan;
mod seal;
mod shape;
mod sigfile;
mod signature;
mod stream;
mod table;
mod tree;
mod weak;
mod wide;
mod write;

pub use command::CommandBytes;
pub use commands::DeltaFault;
pub use compose::{Extents, MAX_RUNS, Piece, Pieces};
pub use delta::{Delta, DeltaStats};
pub use digest::{Digest, ParseDigestError};
pub use error::{Error, Result};
pub use map::{FileBytes, MAP_FROM};
pub use patch::{Patched, patch, patch_sealed};
pub use progress::{Cancelled, Progress};
pub use seal::Seal;
pub use shape::{MAX_BLOCK_LEN, Shape, SignatureOptions, StrongHash, WeakSum, block_len_for};
pub use sigfile::SignatureFault;
pub use signature::{Block, Signature};
pub use stream::{delta, delta_sealed};
pub use weak::RollingSum;
