//! The one error type of the crate: which operation, on what in a store, and why. Knows no wording of callers.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dirindex::{RelPath, TreeId, escape};

use crate::Skipped;
use crate::origin::Origin;
use crate::store::marker;
use crate::store::{Contents, SnapshotId};

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store did not do what was asked of it.
    #[error("cannot {operation} {name}")]
    Store {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On which of its files.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is no store where one is wanted.
    #[error("there is no store{}: {}", at(place.as_deref()), instead(found))]
    NoStore {
        /// Where, if that is a directory.
        place: Option<PathBuf>,
        /// What is there.
        found: Contents,
    },
    /// There is a store where one is to be made.
    #[error("there is a store{} already", at(place.as_deref()))]
    IsStore {
        /// Where, if that is a directory.
        place: Option<PathBuf>,
    },
    /// The file that makes a place a store cannot be used.
    #[error("cannot use {}: {detail}", marker::MARKER)]
    Marker {
        /// Why, and what to do.
        detail: String,
    },
    /// The store has the snapshots of another tree.
    #[error("the store has the snapshots of {before}, and {given} is another tree")]
    OtherOrigin {
        /// Whose tree the newest snapshot is of.
        before: Box<Origin>,
        /// Whose tree was to be backed up.
        given: Box<Origin>,
    },
    /// So many files are open that no more can be opened. It says nothing of those that were to be read.
    #[error("too many open files: raise the limit, as with `ulimit -n`")]
    TooManyOpen {
        /// What was to be done.
        source: Box<Error>,
    },
    /// A snapshot that is to be kept cannot be restored from what would stay, so nothing was deleted.
    #[error(
        "{snapshot} is to be kept and cannot be restored by {archive}, so nothing was deleted: make a new full backup, or remove that archive"
    )]
    Unsound {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The archive on the chain to it that is no good.
        archive: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The clock was wrong at some time, so what is kept by days, weeks, months or years may be the wrong.
    #[error(
        "{snapshot} was made at {clock} by the clock{}, so days cannot be counted without `ignore_clock`",
        of_wrong_clock(*after)
    )]
    Clock {
        /// The first snapshot of which that is so.
        snapshot: SnapshotId,
        /// Its time, as the clock said.
        clock: SnapshotId,
        /// Whether that is after now; else it does not fit into the order.
        after: bool,
    },
    /// Nearly all that was in the tree is gone.
    #[error(
        "{removed} of {entries} entries of the last backup are gone, as when a disk is not mounted or another directory was given: \
         `allow_emptied` backs that up all the same"
    )]
    Emptied {
        /// How many entries are gone.
        removed: u64,
        /// How many there were.
        entries: u64,
    },
    /// The store lies in the tree, or is it.
    #[error("the store is in the tree, at {path}: keep it elsewhere, or leave it out")]
    StoreInside {
        /// Where; `.` for the root of the tree.
        path: String,
    },
    /// The parity of a file cannot be made, read or used.
    #[error("cannot {operation} {name}")]
    Parity {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On which file of the store.
        name: String,
        /// Why.
        source: parity::Error,
    },
    /// Another process is changing the store.
    #[error("another backup or prune is at work in the store")]
    Busy,
    /// Another process is changing the store, and it is known which.
    #[error("the store is locked")]
    Locked {
        /// Who has the lock, and what to do.
        source: io::Error,
    },
    /// An archive cannot be read or made, or does not go with the others.
    #[error(transparent)]
    Archived(#[from] archive::Error),
    /// The first of the archives to restore from is no full backup.
    #[error("{} is no full backup, and there is none before it", shown(archive))]
    NoFull {
        /// The archive.
        archive: PathBuf,
    },
    /// Every chain of archives to a snapshot that was tried failed.
    #[error("every chain of archives failed that was tried")]
    EveryChain {
        /// The archives that are damaged or do not go with the others.
        skipped: Vec<Skipped>,
        /// How the last chain failed.
        source: Box<Error>,
    },
    /// There is no snapshot.
    #[error("there are no backups")]
    Empty,
    /// A snapshot of a store cannot be restored.
    #[error("archives are missing on the chain to {snapshot}")]
    NoChain {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// An archive of a store starts from a snapshot that no archives lead to.
    #[error("it starts from {since}, to which no archives lead")]
    Unlinked {
        /// The snapshot.
        since: SnapshotId,
    },
    /// A run of an index of a store is upon the index of another snapshot.
    #[error("it is upon the index of {of}, which is missing or damaged")]
    IndexMissing {
        /// The snapshot.
        of: SnapshotId,
    },
    /// Two archives of a store lead to one snapshot, but to different trees.
    #[error("it leads to the tree {found}, and another to the same snapshot to {expected}")]
    OtherResult {
        /// The tree id that the other archive leads to.
        expected: TreeId,
        /// The tree id that this one leads to.
        found: TreeId,
    },
    /// The index of a snapshot is not of the tree that its archives lead to.
    #[error("it is of the tree {found}, and archives lead to {expected}")]
    OtherIndex {
        /// The tree id that archives lead to.
        expected: TreeId,
        /// The tree id of the index.
        found: TreeId,
    },
    /// Restoring would replace or remove what stands in the directory, and must not.
    #[error("{path}{} in {} would be replaced or removed", and_others(*others), shown(dest))]
    Occupied {
        /// The directory.
        dest: PathBuf,
        /// The first path of which something would be lost.
        path: RelPath,
        /// How many more there are.
        others: usize,
    },
    /// What is in a directory has to be known before it is changed, and cannot be read.
    #[error("cannot read {path}: {detail}")]
    Unreadable {
        /// Where.
        path: RelPath,
        /// Why.
        detail: String,
    },
    /// A tree cannot be scanned, or an index not be read or written.
    #[error(transparent)]
    Index(#[from] dirindex::Error),
    /// The store has no such snapshot.
    #[error("there is no snapshot {snapshot}")]
    NoSnapshot {
        /// Its id.
        snapshot: SnapshotId,
    },
    /// The newest snapshot was to be forgotten.
    #[error("{snapshot} is the newest snapshot, from which the next backup starts")]
    NewestStays {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// Nothing says which snapshots of a store are to be kept.
    #[error("no rule says what to keep")]
    NoRule,
    /// The clock, or a snapshot in the store, is at the end of time.
    #[error("there is no later snapshot in time to name a backup by")]
    EndOfTime,
    /// A content that archives bring cannot be read, or is another than they say.
    #[error("cannot read the new content of {path}")]
    Content {
        /// Whose content.
        path: RelPath,
        /// Why.
        source: io::Error,
    },
    /// A content could not be read, and the store has not changed since.
    #[error("{path} could not be read before, and the store has not changed since")]
    FailedBefore {
        /// Whose content.
        path: RelPath,
    },
    /// A file of a tree is asked for by the number of something else.
    #[error("entry {number} of the tree is no file")]
    NoFile {
        /// The number.
        number: usize,
    },
    /// A diff that archives bring is none of a tree.
    #[error("cannot use the diff")]
    Diff(#[from] diffindex::Error),
    /// The tree that is restored into cannot be changed.
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A path that comes from a caller, fit for a terminal.
pub(crate) fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

/// ` at PLACE`
fn at(place: Option<&Path>) -> String {
    place.map(|place| format!(" at {}", shown(place))).unwrap_or_default()
}

/// What is in a place that is no store.
fn instead(found: &Contents) -> String {
    match found {
        Contents::Store => "a store is there".to_owned(),
        Contents::Archives { other: None } => {
            "it has archives, and was never made a store".to_owned()
        }
        Contents::Archives { other: Some(other) } => {
            format!("it has archives, and other files too, such as {}", escape(other.as_bytes()))
        }
        Contents::Other(other) => {
            format!("it has other files, such as {}", escape(other.as_bytes()))
        }
        Contents::Nothing => "it is empty".to_owned(),
        Contents::Missing => "there is no such directory".to_owned(),
    }
}

impl Error {
    /// Whether the work ended because the caller [cancelled](rsync_core::Progress::cancel) it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Archived(archive::Error::Cancelled) => true,
            Error::Index(dirindex::Error::Cancelled) => true,
            Error::Apply(error) => error.is_cancelled(),
            Error::Parity { source: parity::Error::Cancelled(_), .. } => true,
            _ => false,
        }
    }
}

/// Around this error. The kind is that of the failed system call, if one is the cause.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let causes = std::iter::successors(std::error::Error::source(&error), |it| it.source());
        let kind = causes.filter_map(|it| it.downcast_ref::<io::Error>()).last();
        let kind = kind.map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " and 1 other path".to_owned(),
        others => format!(" and {others} other paths"),
    }
}

fn of_wrong_clock(after: bool) -> &'static str {
    if after { ", which is after now" } else { ", which does not fit into the order of the others" }
}
