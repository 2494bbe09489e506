//! The one error type of the facade: which operation, on which path, and why. Knows no wording of
//! callers.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dirindex::{RelPath, Root, SectionError, escape};

use crate::apply::Unkept;
use crate::store::Point;

/// What can go wrong when a diff is applied to a tree, or with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on the root of the tree, or on the directory kept for staging, failed.
    #[error("cannot {operation} {}", shown(path))]
    Root {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A system call inside the tree failed.
    #[error("cannot {operation} {path}")]
    Tree {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On what, below the root.
        path: RelPath,
        /// The system's word.
        source: io::Error,
    },
    /// Another process is applying a diff to the same tree.
    #[error("another apply is at work in {}", shown(root))]
    Locked {
        /// The root of the tree.
        root: PathBuf,
    },
    /// An earlier apply was interrupted while it changed the tree, and can only be finished: by
    /// [`recover`](crate::recover) or any apply.
    #[error(
        "an interrupted apply in {} has to be finished first: apply its archive again",
        shown(root)
    )]
    Unfinished {
        /// The root of the tree.
        root: PathBuf,
    },
    /// Something was in the way of an apply that had begun to change the tree. All that it did was undone.
    #[error(
        "the tree in {} is as it was: what was begun is undone, since it cannot be finished",
        shown(root)
    )]
    RolledBack {
        /// The root of the tree.
        root: PathBuf,
        /// What was in the way.
        source: Box<Error>,
    },
    /// Something was in the way of an apply that had begun to change the tree, and something of undoing it. The
    /// journal stays: [`recover`](crate::recover), [`abort`](crate::abort) or any apply goes on undoing.
    #[error(
        "the apply in {} cannot be finished ({}), and undoing it stopped: \
         apply --abort goes on when this is out of the way",
        shown(root),
        chain(cause)
    )]
    NotRolledBack {
        /// The root of the tree.
        root: PathBuf,
        /// What was in the way of finishing.
        cause: Box<Error>,
        /// What was in the way of undoing.
        source: Box<Error>,
    },
    /// An interrupted apply was privileged, and this call is not.
    #[error(
        "the interrupted apply in {} was privileged: finish it with --privileged, or undo it with apply --abort",
        shown(root)
    )]
    PrivilegedJournal {
        /// The root of the tree.
        root: PathBuf,
    },
    /// Something that would have to change is immutable or append-only. The tree was not touched.
    #[error("{path} is immutable or append-only: chattr -ia lets it change")]
    Fixed {
        /// Where.
        path: RelPath,
    },
    /// The tree is not the one the diff was made from, nor the one it leads to.
    #[error("{path} is not as the diff expects: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        path: RelPath,
        /// What the diff says stood there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Something that the diff does not list stands where it would be lost, or mixed up with what
    /// the diff brings.
    #[error("{path} is in the way: the diff does not list it")]
    Extra {
        /// What stands there.
        path: RelPath,
    },
    /// A path changed while the new contents were being staged. The tree was not touched.
    #[error("{path} changed while the diff was being applied")]
    Changed {
        /// Which path.
        path: RelPath,
    },
    /// A part of the tree lies on another file system, where a rename cannot reach.
    #[error("{path} lies on another file system, or in another mount, than the root of the tree")]
    OtherFilesystem {
        /// The first such directory.
        path: RelPath,
    },
    /// The new contents do not fit.
    #[error("not enough space in {}: {needed} {unit} needed, {available} free", shown(root))]
    NoSpace {
        /// The root of the tree.
        root: PathBuf,
        /// How much staging takes.
        needed: u64,
        /// How much there is.
        available: u64,
        /// Of what: `bytes` or `inodes`.
        unit: &'static str,
    },
    /// Metadata that the file system of the tree does not take, where all of it was asked for
    /// ([`ApplyOptions::strict`](crate::ApplyOptions)). The tree was not touched.
    #[error("{} cannot hold all metadata: {}{}", shown(root), unkept.first().unwrap_or_default(),
        and_more(unkept.count().saturating_sub(1)))]
    Unkept {
        /// The root of the tree.
        root: PathBuf,
        /// All that it does not take.
        unkept: Box<Unkept>,
    },
    /// A device, which is made only when [`ApplyOptions::privileged`](crate::ApplyOptions) is set.
    #[error("{path} is a {kind}, which takes `privileged`")]
    Privileged {
        /// Where.
        path: RelPath,
        /// Which kind.
        kind: &'static str,
    },
    /// The diff and the archive handed over do not belong together.
    #[error("the diff is not the one in the archive")]
    OtherArchive,
    /// The diff asks for something that no two trees can give.
    #[error("the diff is unusable: {problem} at {path}")]
    Unusable {
        /// Where.
        path: RelPath,
        /// What is wrong.
        problem: &'static str,
    },
    /// A content came out of the archive, or of the base it starts from, other than the diff says.
    #[error("the new content of {path} is not what the diff declares")]
    Content {
        /// Whose content.
        path: RelPath,
    },
    /// A content cannot be read from the archive.
    #[error("cannot read the new content of {path}")]
    Archive {
        /// Whose content.
        path: RelPath,
        /// Why.
        source: archive::Error,
    },
    /// A delta cannot be applied, or a file not be hashed.
    #[error("cannot {operation} {path}")]
    Bytes {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// Where.
        path: RelPath,
        /// Why.
        source: rsync_core::Error,
    },
    /// What a diff is kept in cannot be written or read back.
    #[error("cannot encode or decode the diff")]
    Diff(#[from] diffindex::Error),
    /// The journal of an unfinished apply is unusable.
    #[error("the journal in {} is unusable: {problem}", shown(root))]
    Journal {
        /// The root of the tree.
        root: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The container of the journal is damaged or cannot be written.
    #[error("the journal in {} is unusable", shown(root))]
    JournalSections {
        /// The root of the tree.
        root: PathBuf,
        /// Where and why.
        source: SectionError,
    },
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
    /// So many files are open that no more can be opened. It says nothing of those that were to be read.
    #[error("too many open files: raise the limit, as with `ulimit -n`")]
    TooManyOpen {
        /// What was to be done.
        source: Box<Error>,
    },
    /// A point that is to be kept cannot be restored from what would stay, so nothing was deleted.
    #[error(
        "{point} is to be kept and cannot be restored by {archive}, so nothing was deleted: make a new full backup, or remove that archive"
    )]
    Unsound {
        /// The point.
        point: Point,
        /// The archive on the way to it that is no good.
        archive: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The clock was wrong at some time, so what is kept by days, weeks, months or years may be the wrong.
    #[error(
        "{point} was made at {clock} by the clock{}, so days cannot be counted without `ignore_clock`",
        of_wrong_clock(*after)
    )]
    Clock {
        /// The first point of which that is so.
        point: Point,
        /// Its time, as the clock said.
        clock: Point,
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
    /// Another process is changing the store.
    #[error("another backup or prune is at work in the store")]
    Busy,
    /// An archive cannot be read or made, or does not go with the others.
    #[error(transparent)]
    Archived(#[from] archive::Error),
    /// The first of the archives to restore from is no full backup.
    #[error("{} is no full backup, and there is none before it", shown(archive))]
    NoFull {
        /// The archive.
        archive: PathBuf,
    },
    /// A point of a store cannot be restored.
    #[error("archives are missing on the way to {point}")]
    NoWay {
        /// The point.
        point: Point,
    },
    /// An archive of a store starts from a point that no archives lead to.
    #[error("it starts from {since}, to which no archives lead")]
    Unlinked {
        /// The point.
        since: Point,
    },
    /// Two archives of a store lead to one point, and not to one state.
    #[error("it leads to the tree {found}, and another to the same point to {expected}")]
    OtherResult {
        /// The root that the other archive leads to.
        expected: Root,
        /// The root that this one leads to.
        found: Root,
    },
    /// The index of a point is not of the state that its archives lead to.
    #[error("it is of the tree {found}, and archives lead to {expected}")]
    OtherIndex {
        /// The root that archives lead to.
        expected: Root,
        /// The root of the index.
        found: Root,
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
    /// Nothing says which points of a store are to be kept.
    #[error("no rule says what to keep")]
    NoRule,
    /// The clock, or a point in the store, is at the end of time.
    #[error("there is no later point in time to name a backup by")]
    EndOfTime,
    /// The caller has set the flag of its [`Progress`](rsync_core::Progress). The tree was not
    /// touched.
    #[error("cancelled")]
    Cancelled,
}

/// The facade's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A path that comes from a caller, fit for a terminal.
fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn and_more(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

/// An error with its causes, in one line.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
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

/// Names the operation and the path of a system call inside the tree.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T> {
        self.map_err(|source| Error::Tree { operation, path: path.clone(), source })
    }
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T> {
        self.map_err(io::Error::from).during(operation, path)
    }
}
