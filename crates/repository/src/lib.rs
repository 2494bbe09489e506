//! Backups of a tree in a store: back up, restore, verify, prune, repair. It alone knows the names in a store; it must not
//! know how a tree is changed, nor how an archive is laid out.
//!
//! [`Repository`] is the one door: it [backs up](Repository::backup) a tree to a [`Store`], such as a directory,
//! [restores](Repository::restore) any snapshot of it, or some paths, writing only what differs, [verifies](Repository::verify)
//! everything without restoring, [prunes](Repository::prune) what no rule keeps, and [repairs](Repository::repair)
//! corrupt files of the tree. [`history`](Repository::history) shows what became of paths from snapshot to snapshot.
//! `docs/chains.md` has the whole story.
//!
//! ```
//! use dirindex::Dir;
//! use repository::{BackupOptions, Repository, RestoreOptions};
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

mod backup;
mod chains;
mod error;
mod heal;
mod history;
mod list;
mod origin;
mod pack;
mod protect;
mod prune;
mod repair;
mod repository;
mod restore;
#[cfg(feature = "serde")]
mod serialized;
pub mod store;
mod trees;
mod verify;

pub use self::repository::Repository;
pub use backup::{BackupOptions, BackupReport, NewArchive, Unusable};
pub use chains::Skipped;
pub use error::{Error, Result};
pub use heal::{ParityFound, ParityReport};
pub use history::{Came, History, Version, Went};
pub use list::SnapshotInfo;
pub use origin::{Origin, Size};
pub use pack::pack;
pub use protect::{Kept, ProtectReport};
pub use prune::{PruneOptions, PruneReport, Squashed};
pub use repair::Repaired;
pub use restore::{Known, RestoreOptions, RestorePlan, RestoreReport, plan_restore, restore};
pub use store::{DirStore, Keep, SnapshotId, Snapshots, Store};
pub use trees::Trees;
pub use verify::{Restorable, Verified, VerifiedStore, verify_archives};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
