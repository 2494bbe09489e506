//! What changed between two directory indexes. It is pure and must not touch the disk.
//!
//! A [`DiffIndex`] lists every path that differs, says what stood and what is to stand there, and
//! where the new content comes from: stored whole, a delta against a file of the old tree, or a copy
//! of one (which is how a move is seen). Its two ends are named by tree ids, so diffs form chains that
//! can be checked: old index + diff = new index.
//!
#![cfg_attr(feature = "scan", doc = "```")]
#![cfg_attr(not(feature = "scan"), doc = "```ignore")]
//! use diffindex::DiffIndex;
//! use dirindex::{Dir, DirIndex, RelPath};
//!
//! let tree = tempfile::tempdir()?;
//! let dir = Dir::new(tree.path())?;
//! std::fs::write(tree.path().join("before"), "the same content")?;
//! let old = DirIndex::scan(&dir)?;
//! std::fs::rename(tree.path().join("before"), tree.path().join("after"))?;
//! let new = DirIndex::scan_since(&dir, &old)?;
//!
//! let diff = DiffIndex::between(&old, &new);
//! let (before, after) = (RelPath::new("before")?, RelPath::new("after")?);
//! assert_eq!(diff.moved().collect::<Vec<_>>(), [(&before, &after)]);
//! assert_eq!(diff.moved_from(&after), Some(&before));
//! assert_eq!(diff.apply_to(&old)?, new);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Merge`] is what several diffs that follow one another lead to, and says of which of their contents each of its own is
//! made.
//!
//! Comparing is pure and cannot fail. The bytes depend on the two trees alone: nothing of when, where
//! or with how many threads they were scanned. A reader of a diff takes any bytes; damage, and what no
//! two trees can differ by, are errors.
//!
//! The feature `scan`, on by default, is for what touches the disk: [`DiffIndex::to_file`], and scans in `dirindex`. It needs Unix.
//! Without it this crate is for any system.

mod amend;
mod between;
mod change;
mod check;
mod collapse;
mod concerned;
mod diff;
mod encoded;
mod error;
mod lazy;
mod merge;
mod moves;
mod repeated;
mod resemble;
mod stored;

use dirindex::Entry;

pub use change::{Change, Class, Content, NewEntry};
pub use collapse::MovedTree;
pub use diff::DiffIndex;
pub use encoded::{BLOCK, Encoded, Signatures, read_block};
pub use error::Error;
pub use lazy::{ChangeList, ChangeLists, LazyDiff};
pub use merge::{Contents, Entries, Made, Merge, Merged, MergedEntry};
pub use moves::Moves;
pub use stored::StoredDiff;

/// The example of the README, compiled.
#[cfg(all(doctest, feature = "scan"))]
#[doc = include_str!("../README.md")]
struct Readme;
