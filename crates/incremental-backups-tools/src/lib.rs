//! Building blocks for incremental backups: index a directory, compare two indexes, pack what
//! changed into one archive, and apply that archive to a copy of the old directory to get the new
//! one; and on top of them a [store](#stores) of such archives. It has no code but re-exports.
//!
//! # The nouns
//!
//! - A [`Dir`] is a directory of the user's and what in it is excluded.
//! - A [`DirIndex`] is the state of such a directory at one point in time: every path with its
//!   kind, content digest and metadata, and a block signature of every file. It is small, it is
//!   kept in a file, and it is all that the next backup needs: the old data itself need not be at
//!   hand.
//! - A [`DiffIndex`] is what changed between two indexes. Old index + diff = new index.
//! - [`DiffData`] is the archive of a diff: the diff, new files whole, changed files as rsync
//!   deltas. It is an ordinary `.tar.gz` or `.tar.zst`.
//! - [`apply_diff`] turns a copy of the old tree into the new one; [`apply_stream`] does so by an archive
//!   that comes out of a pipe, a [`DiffStream`]. [`DirIndex::empty`] makes a
//!   full backup an ordinary diff, and an empty directory an ordinary copy of the old tree.
//!
//! # Example
//!
//! ```
//! use incremental_backups_tools::{Dir, DirIndex, DiffIndex, DiffData, apply_diff};
//! # use std::fs;
//! # let temporary = tempfile::tempdir()?;
//! # std::env::set_current_dir(&temporary)?;
//! # fs::create_dir("mydir")?;
//! # fs::write("mydir/file1", "contents1")?;
//! # fs::create_dir("copy-of-old-mydir")?;
//!
//! // A full backup: the difference from nothing.
//! let dir = Dir::new("mydir")?;
//! let full = DirIndex::scan(&dir)?;
//! full.to_file("mydir.index")?;
//! let diff = DiffIndex::between(&DirIndex::empty(), &full);
//! let data = DiffData::create(&dir, &DirIndex::empty(), &diff, "mydir.full.tgz")?;
//! apply_diff("copy-of-old-mydir", &diff, &data)?;
//!
//! // The directory changes.
//! fs::write("mydir/file1", "contents2")?;
//! fs::write("mydir/file2", "more")?;
//!
//! // An incremental one, from the index of the old state alone.
//! let old = DirIndex::from_file("mydir.index")?;
//! let new = DirIndex::scan_since(&dir, &old)?; // unchanged files are not read again
//! let diff = DiffIndex::between(&old, &new);
//! let data = DiffData::create(&dir, &old, &diff, "mydir.diff.tgz")?;
//! apply_diff("copy-of-old-mydir", &diff, &data)?;
//!
//! assert_eq!(fs::read("copy-of-old-mydir/file1")?, b"contents2");
//! assert_eq!(diff.apply_to(&old)?.tree_id(), new.tree_id());
//! let copy = DirIndex::scan(&Dir::new("copy-of-old-mydir")?)?;
//! assert_eq!(copy.tree_id(), new.tree_id(), "the same tree: names, bytes, modes, times");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//!
//! The work is done by the threads of the `rayon` pool that it is called in, or of rayon's own. That one
//! is made when it is first needed, and panics where the system gives no threads. A program that may run
//! under such a limit makes a pool of fewer threads and calls this crate inside `ThreadPool::install`, or
//! gives rayon the only thread there is (`ThreadPoolBuilder::use_current_thread`).
//!
//! # Stores
//!
//! [`Repository`] is the one door: it [backs up](Repository::backup) a tree to a [`Store`], such as a directory,
//! [restores](Repository::restore) any snapshot of it, or some paths, writing only what differs, [verifies](Repository::verify)
//! everything without restoring, [prunes](Repository::prune) what no rule keeps, and [repairs](Repository::repair)
//! corrupt files of the tree. `docs/chains.md` has the whole story.
//!
//! ```
//! use incremental_backups_tools::{BackupOptions, Dir, Repository, RestoreOptions};
//! # use std::fs;
//! # let temporary = tempfile::tempdir()?;
//! # let at = |name: &str| temporary.path().join(name);
//! # fs::create_dir(at("mydir"))?;
//! # fs::write(at("mydir/file"), "old")?;
//! # fs::create_dir(at("back"))?;
//! let (dir, repository) = (Dir::new(at("mydir"))?, Repository::create(at("store"))?);
//! let first = repository.backup(&dir, &BackupOptions::default())?;
//! fs::write(at("mydir/file"), "new")?;
//! let second = repository.backup(&dir, &BackupOptions::default())?;
//! assert!(repository.verify(None)?.is_sound());
//! assert_eq!(repository.snapshots()?.latest(), Some(second.snapshot));
//!
//! // Where several chains of archives lead to a snapshot, one without damaged archives is taken.
//! let report = repository.restore(second.snapshot, at("back"), &RestoreOptions::default())?;
//! assert!(report.skipped.is_empty());
//! assert_eq!(fs::read(at("back/file"))?, b"new");
//!
//! // A directory that is exactly as one snapshot becomes another.
//! repository.restore(first.snapshot, at("back"), &RestoreOptions::default())?;
//! assert_eq!(fs::read(at("back/file"))?, b"old");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What applying promises
//!
//! Nothing is replaced before its whole new content is there and verified; a wrong base is found
//! before the first write; only what the diff lists is deleted; and after any interruption,
//! applying again, or [`recover`], ends in exactly the new tree, or the old one is untouched. The
//! steps are in `docs/apply.md`.
//!
//! # The crates below
//!
//! This crate re-exports them: [`rsync_core`] (signatures, deltas, patches), [`container`] (the checked file that the others
//! are written in), [`dirindex`] (a tree and its index), [`diffindex`] (what changed), [`archive`] (the files that hold it),
//! [`apply`](mod@apply) (changing a tree), [`repository`] (stores), [`stores`] (where they may be). [`Error`] is the last one's; what applying gives is
//! [`apply::Error`].
//!
//! # Features
//!
//! `clouds`, `sftp` and `encryption`, off by default: stores in S3 and its like, Google Cloud and Azure, in directories of other
//! machines, and encrypted ones, by their [`address`](stores::Address). `serde`: reports are `Serialize`; in formats for people
//! names and digests are text, and so are errors, with their causes.

pub use ::apply;
pub use archive;
pub use container;
pub use diffindex;
pub use dirindex;
pub use parity;
pub use repository;
pub use rsync_core;
pub use stores;

pub use ::apply::{
    Aborted, Applied, AppliedChain, ApplyOptions, ApplyStatus, Loss, Losses, Obstacle, Preview,
    Space, Unapplied, Unkept, abort, apply, apply_chain, apply_diff, apply_snapshot, apply_status,
    apply_stream, apply_with, in_made_dir, preview_diff, recover, recover_with,
};
pub use repository::{
    BackupOptions, BackupReport, Came, DirStore, Error, History, Keep, Known, NewArchive, Origin,
    ParityFound, ParityReport, ProtectReport, PruneOptions, PruneReport, Repaired, Repository,
    Restorable, RestoreOptions, RestorePlan, RestoreReport, Result, Skipped, SnapshotId,
    SnapshotInfo, Snapshots, Squashed, Store, Trees, Unusable, Verified, VerifiedStore, Version,
    Went, pack, plan_restore, restore, store, verify_archives,
};

pub use archive::{Archive, ArchiveOptions, DiffData, DiffStream, Format, Snapshot, SnapshotTree};
pub use container::ReadAt;
pub use diffindex::{Change, Class, Content, DiffIndex, LazyDiff, MovedTree, NewEntry};
pub use dirindex::{
    Dir, DirIndex, DirOptions, Entry, IndexRun, LazyIndex, Meta, Node, Problem, ProblemKind,
    RelPath, ScanOptions, Time, TreeId, Xattr,
};
pub use rsync_core::{Digest, Progress, Signature, SignatureOptions, Stage, Total};

/// The example of the repository's front page, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
