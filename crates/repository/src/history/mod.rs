//! [`History`]: what became of paths from snapshot to snapshot. A view of the runs of a store: each archive says what changed
//! since the snapshot that it starts from, and is read once. Knows nothing of patterns.

mod fold;
mod log;
mod runs;
mod tree;

use std::fmt;

use diffindex::Content;
use dirindex::{Meta, Node, RelPath};

use self::fold::History as Fold;
use self::runs::Whole;
use crate::Repository;
use crate::chains::{Skipped, with_limit};
use crate::error::Result;
use crate::store::{SnapshotId, Store};

/// What became of some paths, over all snapshots of a store.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct History {
    /// What stood at the paths, and in which snapshots.
    pub versions: Vec<Version>,
    /// The snapshots that were looked at, in order.
    pub snapshots: Vec<SnapshotId>,
    /// The snapshots of which nothing can be said, in order: archives on the chain to them are missing or damaged.
    pub unreachable: Vec<SnapshotId>,
    /// The archives that were skipped, since they are damaged or do not follow those before them.
    pub skipped: Vec<Skipped>,
}

/// What stood at a path in some snapshots that follow one another, and was the same in all of them.
///
/// Of a directory the time is that in the first one: it is no other version when only something in it came or went.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Version {
    /// Where.
    pub path: RelPath,
    /// What stood there.
    pub node: Node,
    /// Its mode, owner, time and attributes.
    pub meta: Meta,
    /// How many bytes the file has that it is, or that it is a hard link to.
    pub len: Option<u64>,
    /// How the archive that brought it has its content.
    pub content: Content,
    /// The first snapshot that has it.
    pub first: SnapshotId,
    /// The last one.
    pub last: SnapshotId,
    /// How it came.
    pub came: Came,
    /// How it went, and the first snapshot without it; `None` when the last of all snapshots has it.
    pub went: Option<(SnapshotId, Went)>,
}

/// How a [`Version`] came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Came {
    /// Nothing stood there before.
    Created,
    /// Something else stood there, or the same with another content or other metadata.
    Changed,
    /// It stood elsewhere before, by itself or below a directory that moved; it may have been changed too.
    Moved {
        /// Where.
        from: RelPath,
    },
    /// It was made from what still stands elsewhere.
    Copied {
        /// Where.
        from: RelPath,
    },
}

/// How a [`Version`] went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Went {
    /// Something else stands there, or the same with another content or other metadata.
    Changed,
    /// Nothing stands there.
    Deleted,
    /// It is left out of the backup by a rule, and need not be gone.
    Excluded,
    /// It stands elsewhere.
    Moved {
        /// Where; the first place in path order, of several.
        to: RelPath,
    },
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Came::Created => f.pad("created"),
            Came::Changed => f.pad("changed"),
            Came::Moved { from } => write!(f, "moved from {from}"),
            Came::Copied { from } => write!(f, "copied from {from}"),
        }
    }
}

impl fmt::Display for Went {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Went::Changed => f.pad("changed"),
            Went::Moved { to } => write!(f, "moved to {to}"),
            Went::Deleted => f.pad("deleted"),
            Went::Excluded => f.pad("excluded"),
        }
    }
}

impl<S: Store> Repository<S> {
    /// What became of all paths that are `wanted`, over all snapshots: their versions, by path, then by time.
    ///
    /// Each archive's changes are read, and no contents. Held are what is found, and what changed since the full backup: what that brought
    /// stays in its archive. Where a new full backup begins another chain, what it has is
    /// compared with the snapshot before it; moves are not seen there. As with [`Snapshot::find`](archive::Snapshot::find), it
    /// is what the archives say: that they lead to the trees that they name is not proved.
    ///
    /// ```
    /// use dirindex::Dir;
    /// use repository::{BackupOptions, Came, Repository};
    /// # use std::fs;
    /// # let temporary = tempfile::tempdir()?;
    /// # let at = |name: &str| temporary.path().join(name);
    /// # fs::create_dir(at("mydir"))?;
    /// # fs::write(at("mydir/letter"), "dear")?;
    /// let (dir, repository) = (Dir::new(at("mydir"))?, Repository::create(at("store"))?);
    /// let first = repository.backup(&dir, &BackupOptions::default())?.snapshot;
    /// fs::rename(at("mydir/letter"), at("mydir/letter-to-Anna"))?;
    /// let second = repository.backup(&dir, &BackupOptions::default())?.snapshot;
    ///
    /// let history = repository.history(|path| path.name().starts_with(b"letter"))?;
    /// let [letter, anna] = &history.versions[..] else { panic!() };
    /// assert_eq!((letter.first, letter.last), (first, first));
    /// assert_eq!((anna.first, anna.last), (second, second));
    /// assert_eq!(anna.came, Came::Moved { from: letter.path.clone() });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store), [`Error::TooManyOpen`](crate::Error::TooManyOpen).
    pub fn history(&self, wanted: impl Fn(&RelPath) -> bool) -> Result<History> {
        let runs = Whole::new(self.store());
        let history = Fold::over(self.snapshots()?, runs, &wanted);
        history.map_err(with_limit)
    }

    /// What became of the file or directory that stands at `path` in the last snapshot that has something there: its versions,
    /// the oldest first, also those at the places where it stood before it moved, and before those what stood there earlier.
    /// None where no snapshot has anything at `path`.
    ///
    /// Of each archive a few blocks are read: those that have `path`, and the directories above it.
    ///
    /// # Errors
    /// As [`history`](Repository::history).
    pub fn history_of(&self, path: &RelPath) -> Result<History> {
        log::log(self.store(), self.snapshots()?, path).map_err(with_limit)
    }
}
