//! What a repository is asked for and reports, in the shapes that Python takes and makes. Knows no verb.

use std::ffi::OsString;

use incremental_backups_tools::{
    BackupReport, Came, Origin, ParityFound, ParityReport, ProtectReport, PruneReport, Restorable,
    SnapshotId, SnapshotInfo, VerifiedStore, Version, Went, dirindex,
};
use pyo3::prelude::*;

use crate::convert::{Entry, PyProblem, name};
use crate::tree::Counts;

/// Python's `Snapshot`.
#[derive(IntoPyObject)]
pub(crate) struct Snapshot {
    id: String,
    time: i64,
    host: Option<String>,
    path: Option<String>,
    name: Option<String>,
    files: Option<u64>,
    size: Option<u64>,
    tags: Vec<String>,
    seconds: Option<f64>,
    seen_again: Option<i64>,
    added: u64,
    is_full: bool,
    is_checkpoint: bool,
    is_restorable: bool,
    error: Option<String>,
}

impl From<SnapshotInfo> for Snapshot {
    fn from(info: SnapshotInfo) -> Snapshot {
        let origin = info.origin;
        let (host, path, name) = match origin {
            Some(Origin { host, path, name }) => (Some(host), Some(path), name),
            None => (None, None, None),
        };
        Snapshot {
            id: info.id.to_string(),
            time: info.time.secs(),
            host,
            path,
            name,
            files: info.size.map(|size| size.files),
            size: info.size.map(|size| size.bytes),
            tags: info.tags,
            seconds: info.duration.map(|duration| duration.as_secs_f64()),
            seen_again: info.seen_again.map(SnapshotId::secs),
            added: info.added,
            is_full: info.is_full,
            is_checkpoint: info.is_checkpoint,
            is_restorable: info.is_restorable,
            error: info.error.map(|error| error.to_string()),
        }
    }
}

/// Python's `BackupRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Backing {
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) full: bool,
    pub(crate) full_after: Option<usize>,
    pub(crate) full_ratio: Option<f64>,
    pub(crate) checkpoint: Option<u64>,
    pub(crate) verify: bool,
    pub(crate) refuse_changing: bool,
    pub(crate) allow_emptied: bool,
    pub(crate) parity: Option<u32>,
    pub(crate) zstd: Option<bool>,
    pub(crate) level: Option<i32>,
}

/// Python's `BackupReport`.
#[derive(IntoPyObject)]
pub(crate) struct Report {
    snapshot: String,
    is_new: bool,
    resumed: Option<String>,
    archive: Option<String>,
    archive_size: u64,
    changes: Counts,
    problems: Vec<PyProblem>,
    files: usize,
    snapshots: usize,
    store_size: u64,
    parity_size: u64,
    unprotected: Option<String>,
    unusable: Vec<String>,
}

impl TryFrom<BackupReport> for Report {
    type Error = dirindex::Error;

    fn try_from(report: BackupReport) -> Result<Report, dirindex::Error> {
        let made = report.made.as_ref();
        let changes = made.map(|made| Counts::of(&made.diff)).transpose()?;
        Ok(Report {
            snapshot: report.snapshot.to_string(),
            is_new: made.is_some(),
            resumed: report.resumed.map(|checkpoint| checkpoint.to_string()),
            archive: made.map(|made| made.archive.to_string()),
            archive_size: made.map_or(0, |made| made.archive_bytes),
            changes: changes.unwrap_or_default(),
            problems: report.index.problems().iter().map(PyProblem::from).collect(),
            files: report.index.len() - report.index.totals().dirs as usize,
            snapshots: report.snapshots,
            store_size: report.store_bytes,
            parity_size: made.map_or(0, |made| made.parity_bytes),
            unprotected: report.unprotected.as_ref().map(ToString::to_string),
            unusable: report.unusable.iter().map(|file| file.name.to_string()).collect(),
        })
    }
}

/// Python's `RestoreRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Restoring {
    pub(crate) paths: Vec<OsString>,
    pub(crate) overwrite: bool,
    pub(crate) delete: bool,
}

/// Python's `PruneRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Pruning {
    pub(crate) last: usize,
    pub(crate) within: Option<String>,
    pub(crate) hourly: usize,
    pub(crate) daily: usize,
    pub(crate) weekly: usize,
    pub(crate) monthly: usize,
    pub(crate) yearly: usize,
    pub(crate) tags: Vec<String>,
    pub(crate) dry_run: bool,
    pub(crate) ignore_clock: bool,
}

/// Python's `PruneReport`.
#[derive(IntoPyObject)]
pub(crate) struct Pruned {
    kept: Vec<String>,
    removed: Vec<String>,
    waiting: Vec<String>,
    lost: Vec<String>,
    freed: u64,
    store_size: u64,
}

pub(crate) fn ids(ids: &[SnapshotId]) -> Vec<String> {
    ids.iter().map(SnapshotId::to_string).collect()
}

impl From<PruneReport> for Pruned {
    fn from(report: PruneReport) -> Pruned {
        Pruned {
            kept: ids(&report.kept),
            removed: ids(&report.removed),
            waiting: ids(&report.waiting),
            lost: ids(&report.lost),
            freed: report.freed,
            store_size: report.store_bytes,
        }
    }
}

/// Python's `VerifyReport`.
#[derive(IntoPyObject)]
pub(crate) struct Verified {
    is_sound: bool,
    problems: Vec<(String, String)>,
    lost: Vec<(String, Option<Vec<OsString>>)>,
    whole: Vec<String>,
    mended: Vec<String>,
}

impl Verified {
    /// What was found after files were `healed`.
    pub(crate) fn new(found: &VerifiedStore, healed: &ParityReport) -> Verified {
        let (mut problems, mut lost, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for (stored, verified) in &found.archives {
            let each = verified.problems.iter();
            problems.extend(each.map(|it| (stored.name.to_string(), it.to_string())));
        }
        problems.extend(found.indexes.iter().map(|(name, it)| (name.to_string(), it.to_string())));
        problems
            .extend(found.missing.iter().map(|id| (id.to_string(), "it has no archive".into())));
        problems.extend(
            found.parity.found.iter().map(|(name, found)| (name.to_string(), of_parity(found))),
        );
        let mended = healed.found.iter().filter(|(_, found)| is_mended(found));
        let mended = mended.map(|(name, _)| name.to_string()).collect();
        for (id, restorable) in &found.snapshots {
            match restorable {
                Restorable::Whole => whole.push(id.to_string()),
                Restorable::Without(paths) => {
                    lost.push((id.to_string(), Some(paths.iter().map(name).collect())));
                }
                Restorable::Nothing => lost.push((id.to_string(), None)),
            }
        }
        Verified { is_sound: found.is_sound(), problems, lost, whole, mended }
    }
}

fn is_mended(found: &ParityFound) -> bool {
    matches!(
        found,
        ParityFound::Damaged { mended: true, .. }
            | ParityFound::Lost { mended: true }
            | ParityFound::ParityDamaged { mended: true }
    )
}

/// What the parity of a file says, where not all is as it was.
fn of_parity(found: &ParityFound) -> String {
    match found {
        ParityFound::Damaged { lost, shards, .. } => {
            format!("{lost} of {shards} shards are damaged, and its parity can mend them")
        }
        ParityFound::Lost { .. } => "it is lost, and a parity can make it again".into(),
        ParityFound::Beyond(error) => error.to_string(),
        ParityFound::ParityDamaged { .. } => "its parity is damaged, and it is not".into(),
        ParityFound::Alone => "there is a parity of it, and no such file".into(),
        ParityFound::Other => "its parity is of another file, or all of it is damaged".into(),
        ParityFound::Unreadable(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// Python's `ProtectReport`.
#[derive(IntoPyObject)]
pub(crate) struct Protected {
    percent: Option<u32>,
    made: Vec<String>,
    kept: usize,
    damaged: Vec<(String, String)>,
}

impl From<ProtectReport> for Protected {
    fn from(report: ProtectReport) -> Protected {
        let damaged = report.damaged.iter();
        Protected {
            percent: report.percent,
            made: report.made.iter().map(|made| made.name.to_string()).collect(),
            kept: report.kept,
            damaged: damaged.map(|(name, error)| (name.to_string(), error.to_string())).collect(),
        }
    }
}

/// Python's `Version`.
#[derive(IntoPyObject)]
pub(crate) struct PyVersion {
    entry: Entry,
    first: String,
    last: String,
    came: &'static str,
    came_from: Option<OsString>,
    went: Option<&'static str>,
    went_at: Option<String>,
    went_to: Option<OsString>,
}

impl From<&Version> for PyVersion {
    fn from(version: &Version) -> PyVersion {
        let (came, came_from) = match &version.came {
            Came::Created => ("created", None),
            Came::Moved { from } => ("moved", Some(name(from))),
            Came::Copied { from } => ("copied", Some(name(from))),
            _ => ("changed", None),
        };
        let (went, went_to) = match version.went.as_ref().map(|(_, went)| went) {
            None => (None, None),
            Some(Went::Deleted) => (Some("deleted"), None),
            Some(Went::Excluded) => (Some("excluded"), None),
            Some(Went::Moved { to }) => (Some("moved"), Some(name(to))),
            Some(_) => (Some("changed"), None),
        };
        PyVersion {
            entry: Entry::of_version(version),
            first: version.first.to_string(),
            last: version.last.to_string(),
            came,
            came_from,
            went,
            went_at: version.went.as_ref().map(|(at, _)| at.to_string()),
            went_to,
        }
    }
}
