//! What applying is asked for, and what it says it did. Knows no file.

use std::fmt;
use std::sync::Arc;

use diffindex::Content;
use dirindex::{Node, RelPath, TreeId};
use rsync_core::Progress;

use crate::changes::Changes;
use crate::error::Result;
use crate::plan::{Plan, Step, Task};
use crate::{Space, Unkept};

/// How a diff is applied.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Also restores owners, setuid and setgid bits, devices, and the extended attributes of
    /// `security.` and `trusted.`: for a diff whose origin is trusted, and a process that may.
    /// Without it, a device in the diff is an error before anything is written, and the rest is
    /// left out.
    pub privileged: bool,
    /// Counts files and bytes as they are staged. Cancelling leaves the tree as it was; once the
    /// new contents are all staged and the work is committed, it has no effect.
    pub progress: Option<Arc<Progress>>,
    /// Whether to wait for the disk where the promise about power failures needs it. Without it,
    /// only the death of the process is survived.
    pub sync: bool,
    /// Whether to refuse what does not fit beside the tree as it is. A sparse file counts with its
    /// whole length there, so one that does fit may have to be let through.
    pub check_space: bool,
    /// Whether a diff from nothing may come into a directory that has something else, which stays as it
    /// is. Without it, a full backup wants one that has nothing but what it brings.
    pub beside: bool,
    /// Whether metadata that the file system of the tree does not take is an error, before the tree is changed.
    /// Without it, all else is restored, and [`Applied::unkept`] says what is not.
    pub strict: bool,
    /// What becomes of an apply when something in the tree is in its way.
    pub on_obstacle: Obstacle,
    /// Whether contents that are damaged in the archives, or cannot be read there, are skipped: each stays as it was, with
    /// what hangs on it, and [`Applied::unapplied`] names it. All contents are read before, to find them. Without it, damage is
    /// an error and the tree is as it was.
    pub skip_damaged: bool,
}

/// What becomes of an apply when something in the tree is in its way: an immutable file, a directory of somebody else, a name
/// that the file system does not take, a path that is not as the diff expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Obstacle {
    /// Nothing is done, or what was done is undone: the tree is as it was. The error names the obstacle.
    #[default]
    Undo,
    /// All else is done. What is in the way stays as it was, with what hangs on it, and [`Applied::unapplied`] names both. An error
    /// that names no path of the tree, such as a full disk, undoes all the same.
    ///
    /// It takes an archive that can be read again: contents are staged anew when an obstacle shows late.
    Skip,
}

/// A change that was skipped: its path is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Unapplied {
    /// Where. Of a directory that moves as a whole, all below it is skipped too.
    pub path: RelPath,
    /// What is in the way, or what it needs that is skipped.
    pub why: String,
}

impl Default for ApplyOptions {
    fn default() -> ApplyOptions {
        ApplyOptions {
            privileged: false,
            progress: None,
            sync: true,
            check_space: true,
            beside: false,
            strict: false,
            on_obstacle: Obstacle::Undo,
            skip_damaged: false,
        }
    }
}

/// What applying a diff did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Applied {
    /// Paths where nothing stood.
    pub created: u64,
    /// Paths whose content was replaced, by the same kind or another.
    pub updated: u64,
    /// Paths of which only the metadata was set.
    pub metadata: u64,
    /// Paths removed.
    pub deleted: u64,
    /// Changes that the tree had already.
    pub unchanged: u64,
    /// Bytes of new files.
    pub bytes: u64,
    /// Whether an earlier apply, interrupted in this tree, was finished first.
    pub finished: bool,
    /// Metadata that could not be restored. Of an apply that was interrupted and finished here, only what was set here.
    pub unkept: Unkept,
    /// What was skipped, in path order ([`Obstacle::Skip`], [`skip_damaged`](ApplyOptions::skip_damaged)). The other numbers do not count it.
    pub unapplied: Vec<Unapplied>,
}

/// How many paths: `3 created, 1 deleted`. Numbers that are 0 are left out; of nothing at all, `nothing to do`.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.metadata, "with other metadata"),
            (self.deleted, "deleted"),
            (self.unchanged, "as they should be already"),
            (self.unapplied.len() as u64, "skipped"),
        ];
        let mut between = "";
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{between}{count} {what}")?;
            between = ", ";
        }
        if between.is_empty() { f.write_str("nothing to do") } else { Ok(()) }
    }
}

/// What applying a diff would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Preview {
    /// What it would report.
    pub applied: Applied,
    /// The paths where something is still to be done, in order.
    pub pending: Vec<RelPath>,
    /// What staging takes, and what there is.
    pub space: Space,
}

/// What a tree says of earlier applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum ApplyStatus {
    /// No apply is under way or was interrupted.
    Clean,
    /// One is under way.
    Running,
    /// An apply was interrupted before it changed anything; what it left goes with the next one, or
    /// with [`abort`](crate::abort).
    Staged,
    /// An apply was interrupted while it changed the tree. [`recover`](crate::recover), or any apply, finishes it.
    Unfinished {
        /// The tree it started from.
        base: TreeId,
        /// The tree it leads to. None where something is skipped.
        result: Option<TreeId>,
    },
    /// Rolling an apply back was interrupted. [`recover`](crate::recover), or any apply, or [`abort`](crate::abort), finishes that.
    RollingBack {
        /// The tree it started from, and leads back to.
        base: TreeId,
    },
}

/// What [`abort`](crate::abort) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Aborted {
    /// Nothing: no apply was unfinished.
    Nothing,
    /// It cleared away what an apply left that had changed nothing in the tree.
    Cleared,
    /// It rolled an unfinished apply back.
    RolledBack,
}

impl fmt::Display for ApplyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ApplyStatus::Clean => "clean",
            ApplyStatus::Running => "running",
            ApplyStatus::Staged => "staged",
            ApplyStatus::Unfinished { .. } => "unfinished",
            ApplyStatus::RollingBack { .. } => "rolling back",
        })
    }
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Aborted::Nothing => "nothing",
            Aborted::Cleared => "cleared",
            Aborted::RolledBack => "rolled back",
        })
    }
}

/// What carrying out `plan` does. Shows each task to `each`.
pub(crate) fn count(
    changes: &Changes,
    plan: &Plan,
    mut each: impl FnMut(&Task<'_>),
) -> Result<Applied> {
    let mut applied = Applied::default();
    let mut count = |task: &Task<'_>| {
        each(task);
        if let Some(tree) = task.change.moved_tree() {
            match task.takes() {
                Some(_) => {
                    applied.created += tree.entries;
                    applied.deleted += tree.entries;
                }
                None => applied.unchanged += 2 * tree.entries,
            }
        }
        match (task.step, &task.change.old) {
            (Step::Done, _) => applied.unchanged += 1,
            (Step::Meta, _) => applied.metadata += 1,
            (Step::Remove, _) => applied.deleted += 1,
            (Step::Place | Step::Inside, None) => applied.created += 1,
            (Step::Place | Step::Inside, Some(old)) => match &task.change.new {
                Some(new) if new.content == Content::Keep && new.node == *old => {
                    applied.metadata += 1
                }
                _ => applied.updated += 1,
            },
        }
        if task.is_staged() {
            applied.bytes += task.change.new.as_ref().map_or(0, |new| Node::len(&new.node));
        }
    };
    plan.each_chunk(
        changes,
        |_| true,
        |tasks| {
            tasks.iter().for_each(&mut count);
            Ok(())
        },
    )?;
    Ok(applied)
}
