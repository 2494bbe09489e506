//! The state of a directory tree, in one checked file. It reads the tree and writes nothing but that file; it must not know
//! what changes a tree.
//!
//! A [`Dir`] is a directory and what of it counts (gitignore-like excludes, caches, file systems,
//! sizes: [`DirOptions`]); a [`DirIndex`] is its
//! state at one point in time: every path with its kind, content digest, metadata, and for each
//! file the block signature from which deltas are made later, without the old data. [`RelPath`] is
//! the only type that may be joined to a root.
//!
#![cfg_attr(feature = "scan", doc = "```")]
#![cfg_attr(not(feature = "scan"), doc = "```ignore")]
//! use dirindex::{Dir, DirIndex, RelPath};
//!
//! let tree = tempfile::tempdir()?;
//! std::fs::write(tree.path().join("file1"), "contents1")?;
//! let dir = Dir::new(tree.path())?;
//! let index = DirIndex::scan(&dir)?;
//! assert_eq!(index.files().collect::<Vec<_>>(), [&RelPath::new("file1")?]);
//!
//! let file = tempfile::NamedTempFile::new()?;
//! index.to_file(file.path())?;
//! let old = DirIndex::from_file(file.path())?;
//! let new = DirIndex::scan_since(&dir, &old)?; // unchanged files are not read again
//! assert_eq!(new.tree_id(), old.tree_id());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a scan promises
//!
//! - It reads the tree and writes nothing in it, and never leaves it: every opening goes through a
//!   held directory ([`Beneath`]) and follows no symbolic link.
//! - A file's state (length, times, inode) is known before and after it is read, and reading begins
//!   only once a change would show in it. A file that changes meanwhile is read again; if it never
//!   holds still, the index has what was read last and says so ([`DirIndex::problems`]). Stores
//!   through another process's memory map to a page that was not on the disk yet leave no trace in a
//!   file's times and cannot be noticed; nor can the rest of one long write that began before. So a
//!   file that was read within ten minutes of its last change is read once more after these, and the
//!   next time if it is mapped for writing when the scan ends.
//! - Content that changed though the state did not is found when asked for ([`ScanOptions::verify`]).
//! - What a rule left out and what is not there are kept apart ([`DirIndex::excluded`]).
//! - What cannot be read is reported and keeps what the previous index has of it: each name its own
//!   content, also one that was a hard link to a file that is another now.
//! - A file with several names is taken in as long as it can be read by one of them.
//! - Attributes that cannot be read leave nothing else out. They are as the previous index has them.
//! - A file is read to its end, whatever length it is said to have (`/proc`, FUSE), and again each
//!   time if that is not its length. One without end, one of more than 16 TiB, and one of more than
//!   1 TiB of which less than a thousandth is stored are reported and not read.
//! - A directory below the root that an interrupted apply left half old, half new is reported and as
//!   the previous index has it. What lies in a stage ([`STAGE_DIR`]) is never content.
//! - The same tree has the same [`TreeId`] for any number of threads and any order of names, and a scan
//!   has a few files open for each thread, whatever the tree's depth and width.
//! - A file counts as unchanged when its length, times of modification and change, and inode are
//!   those of the previous index, and its last change is so far back that a later one would show.
//!
//! # What an index does not have
//!
//! The root directory's own mode and times, which are the caller's; sockets; that links, fifos or
//! devices are names of one another (each is an entry by itself, as only contents can be lost by that);
//! holes of sparse files (their content reads as zeros; a scan does not read them).
//!
//! The feature `scan`, on by default, is for what touches the disk: [`Dir`], scans and [`DirIndex::to_file`]. It needs Unix.
//! Without it, indexes are read from bytes and compared, on any system, and neither rustix nor tempfile is needed.
//!
//! The file's bytes are written down in `docs/format.md`. A reader of one takes any bytes: damage is
//! an error that says where.

mod bytes;
#[cfg(feature = "scan")]
mod disk;
mod entry;
mod error;
mod escape;
mod fingerprint;
mod index;
mod index_file;
mod index_run;
mod lazy;
mod path;
mod problem;
mod remarks;
mod reserved;
#[doc(hidden)]
pub mod stored;
mod subtrees;
mod time;
mod totals;
mod tree;
mod tree_id;
mod xattrs;

#[cfg(feature = "scan")]
pub use disk::*;
pub use entry::{Entry, EntryRef, Meta, Node};
pub use error::Error;
pub use escape::{escape, escape_controls, is_hidden};
pub use fingerprint::StatFingerprint;
pub use index::{DirIndex, Record, content_hash};
pub use index_run::IndexRun;
pub use lazy::{HashedRecord, LazyIndex, Pair, RecordChunks};
pub use path::{InvalidPath, MAX_NAME_LEN, MAX_PATH_LEN, PathSlice, RelPath};
pub use problem::{Problem, ProblemKind};
pub use remarks::Remarks;
pub use reserved::{STAGE_DIR, UNFINISHED_MARK, is_stage_name};
pub use stored::StoredSignature;
pub use subtrees::Subtrees;
pub use time::{Time, TimeOutOfRange};
pub use totals::Totals;
pub use tree::{Child, directory_hash, tree_hashes};
pub use tree_id::TreeId;
pub use xattrs::{Xattr, XattrIter, Xattrs};

/// The example of the README, compiled.
#[cfg(all(doctest, feature = "scan"))]
#[doc = include_str!("../README.md")]
struct Readme;
