//! A store of snapshots, and the trees of these. Knows their shape for Python and no more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use incremental_backups_tools::dirindex::Patterns;
use incremental_backups_tools::store::AtError;
use incremental_backups_tools::{
    self as ibt, ApplyOptions, ArchiveOptions, BackupOptions, BackupReport, Came, DirStore, Error,
    Format, Keep, Origin, PruneOptions, PruneReport, Restorable, RestoreOptions, ScanOptions,
    SnapshotId, SnapshotInfo, SnapshotTree, Trees, VerifiedStore, Version, Went, apply_with,
    in_made_dir, recover_with,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{Entry, PyProblem, name, path};
use crate::errors::Failure;
use crate::tree::{Applying, Counts, Dir, PyApplied};
use crate::work::{Watch, quick, run};

/// A store of snapshots in a directory.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Repository {
    repository: ibt::Repository<DirStore>,
    /// Made when it is asked for, once in each process: its threads are in the one that made it.
    trees: Mutex<Option<(u32, Arc<Trees<DirStore>>)>>,
}

impl From<ibt::Repository<DirStore>> for Repository {
    fn from(repository: ibt::Repository<DirStore>) -> Repository {
        Repository { repository, trees: Mutex::default() }
    }
}

impl Repository {
    fn trees(&self) -> Arc<Trees<DirStore>> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        match &*trees {
            Some((process, trees)) if *process == process::id() => Arc::clone(trees),
            _ => {
                let new = Arc::new(Trees::new(self.repository.clone(), |_, _| ()));
                let old = trees.replace((process::id(), Arc::clone(&new)));
                // Of a process that was forked: it waits for threads that are not here.
                std::mem::forget(old);
                new
            }
        }
    }

    /// The snapshot that `at` names, or the latest.
    fn snapshot(&self, at: Option<&str>) -> Result<SnapshotId, Failure> {
        let snapshots = self.repository.snapshots()?;
        match at {
            Some(at) => Ok(snapshots.resolve(at)?),
            None => Ok(snapshots.latest().ok_or(AtError::Nothing)?),
        }
    }
}

/// Python's `Snapshot`.
#[derive(IntoPyObject)]
struct Snapshot {
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
            is_restorable: info.is_restorable,
            error: info.error.map(|error| error.to_string()),
        }
    }
}

/// Python's `BackupRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Backing {
    name: Option<String>,
    tags: Vec<String>,
    full: bool,
    full_after: Option<usize>,
    full_ratio: Option<f64>,
    verify: bool,
    refuse_changing: bool,
    allow_emptied: bool,
    zstd: Option<bool>,
    level: Option<i32>,
}

/// Python's `BackupReport`.
#[derive(IntoPyObject)]
struct Report {
    snapshot: String,
    is_new: bool,
    archive: Option<String>,
    archive_size: u64,
    changes: Counts,
    problems: Vec<PyProblem>,
    files: usize,
    snapshots: usize,
    store_size: u64,
    unusable: Vec<String>,
}

impl From<BackupReport> for Report {
    fn from(report: BackupReport) -> Report {
        let made = report.made.as_ref();
        Report {
            snapshot: report.snapshot.to_string(),
            is_new: made.is_some(),
            archive: made.map(|made| made.archive.to_string()),
            archive_size: made.map_or(0, |made| made.archive_bytes),
            changes: made.map(|made| Counts::of(&made.diff)).unwrap_or_default(),
            problems: report.index.problems().iter().map(PyProblem::from).collect(),
            files: report.index.files().count(),
            snapshots: report.snapshots,
            store_size: report.store_bytes,
            unusable: report.unusable.iter().map(|file| file.name.to_string()).collect(),
        }
    }
}

/// Python's `RestoreRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Restoring {
    paths: Vec<OsString>,
    overwrite: bool,
    delete: bool,
}

/// Python's `PruneRules`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Pruning {
    last: usize,
    within: Option<String>,
    hourly: usize,
    daily: usize,
    weekly: usize,
    monthly: usize,
    yearly: usize,
    tags: Vec<String>,
    dry_run: bool,
    ignore_clock: bool,
}

/// Python's `PruneReport`.
#[derive(IntoPyObject)]
struct Pruned {
    kept: Vec<String>,
    removed: Vec<String>,
    waiting: Vec<String>,
    lost: Vec<String>,
    freed: u64,
    store_size: u64,
}

fn ids(ids: &[SnapshotId]) -> Vec<String> {
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
struct Verified {
    is_sound: bool,
    problems: Vec<(String, String)>,
    lost: Vec<(String, Option<Vec<OsString>>)>,
    whole: Vec<String>,
}

impl From<VerifiedStore> for Verified {
    fn from(found: VerifiedStore) -> Verified {
        let (mut problems, mut lost, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for (stored, verified) in &found.archives {
            let each = verified.problems.iter();
            problems.extend(each.map(|it| (stored.name.to_string(), it.to_string())));
        }
        problems.extend(
            found.indexes.iter().map(|(id, it)| (format!("index of {id}"), it.to_string())),
        );
        problems
            .extend(found.missing.iter().map(|id| (id.to_string(), "it has no archive".into())));
        for (id, restorable) in &found.snapshots {
            match restorable {
                Restorable::Whole => whole.push(id.to_string()),
                Restorable::Without(paths) => {
                    lost.push((id.to_string(), Some(paths.iter().map(name).collect())));
                }
                Restorable::Nothing => lost.push((id.to_string(), None)),
            }
        }
        Verified { is_sound: found.is_sound(), problems, lost, whole }
    }
}

/// Python's `Version`.
#[derive(IntoPyObject)]
struct PyVersion {
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
            Came::Changed => ("changed", None),
            Came::Moved { from } => ("moved", Some(name(from))),
            Came::Copied { from } => ("copied", Some(name(from))),
        };
        let (went, went_to) = match version.went.as_ref().map(|(_, went)| went) {
            None => (None, None),
            Some(Went::Changed) => (Some("changed"), None),
            Some(Went::Deleted) => (Some("deleted"), None),
            Some(Went::Excluded) => (Some("excluded"), None),
            Some(Went::Moved { to }) => (Some("moved"), Some(name(to))),
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

#[pymethods]
impl Repository {
    #[staticmethod]
    fn create(py: Python<'_>, place: PathBuf) -> PyResult<Repository> {
        Ok(quick(py, || ibt::Repository::create(place))?.into())
    }

    #[staticmethod]
    fn open(py: Python<'_>, place: PathBuf) -> PyResult<Repository> {
        Ok(quick(py, || ibt::Repository::open(place))?.into())
    }

    fn list(&self, py: Python<'_>) -> PyResult<Vec<Snapshot>> {
        let list = quick(py, || self.repository.list())?;
        Ok(list.into_iter().map(Snapshot::from).collect())
    }

    /// The id of the snapshot that `at` names.
    fn resolve(&self, py: Python<'_>, at: Option<String>) -> PyResult<String> {
        Ok(quick(py, || self.snapshot(at.as_deref()))?.to_string())
    }

    #[pyo3(signature = (dir, how, watch=None))]
    fn backup(
        &self,
        py: Python<'_>,
        dir: &Bound<'_, Dir>,
        how: Backing,
        watch: Option<Watch<'_>>,
    ) -> PyResult<Report> {
        let dir = dir.get();
        let report = run(py, watch, |progress| {
            let progress = Some(Arc::clone(progress));
            let options = BackupOptions {
                full: how.full,
                full_after: how.full_after,
                full_ratio: how.full_ratio,
                scan: ScanOptions {
                    verify: how.verify,
                    progress: progress.clone(),
                    ..ScanOptions::default()
                },
                refuse_changing: how.refuse_changing,
                allow_emptied: how.allow_emptied,
                origin: Some(Origin::of(&dir.0, how.name.as_deref())?),
                tags: how.tags,
                time: None,
                archive: ArchiveOptions {
                    format: how.zstd.map(|zstd| if zstd { Format::Zstd } else { Format::Gzip }),
                    level: how.level,
                    progress,
                    ..ArchiveOptions::default()
                },
            };
            Ok::<_, Failure>(self.repository.backup(&dir.0, &options)?)
        })?;
        Ok(report.into())
    }

    #[pyo3(signature = (dest, at, what, how, watch=None))]
    fn restore(
        &self,
        py: Python<'_>,
        dest: PathBuf,
        at: Option<String>,
        what: Restoring,
        how: Applying,
        watch: Option<Watch<'_>>,
    ) -> PyResult<(String, PyApplied, Vec<String>)> {
        let (snapshot, applied, skipped) = run(py, watch, |progress| {
            let snapshot = self.snapshot(at.as_deref())?;
            let apply = ApplyOptions {
                progress: Some(Arc::clone(progress)),
                beside: true,
                ..how.options()
            };
            let options = RestoreOptions {
                paths: what.paths.into_iter().map(path).collect::<Result<_, _>>()?,
                overwrite: what.overwrite || what.delete,
                delete: what.delete,
                apply,
                ..RestoreOptions::default()
            };
            if dest.exists() {
                recover_with(&dest, &options.apply)?;
            }
            let restored = self.repository.restore_by(snapshot, &dest, &options, |plan, apply| {
                let apply = || Ok::<_, Error>(apply_with(&dest, plan, apply)?);
                in_made_dir(&dest, plan.diff().top_mode(), apply)
            });
            let (applied, skipped) = restored?;
            Ok::<_, Failure>((snapshot, applied, skipped))
        })?;
        let skipped = skipped.iter().map(|skipped| skipped.archive.to_string()).collect();
        Ok((snapshot.to_string(), applied.into(), skipped))
    }

    #[pyo3(signature = (watch=None))]
    fn verify(&self, py: Python<'_>, watch: Option<Watch<'_>>) -> PyResult<Verified> {
        Ok(run(py, watch, |progress| self.repository.verify(Some(progress)))?.into())
    }

    #[pyo3(signature = (rules, watch=None))]
    fn prune(&self, py: Python<'_>, rules: Pruning, watch: Option<Watch<'_>>) -> PyResult<Pruned> {
        let report = run(py, watch, |progress| {
            let within = rules.within.map(|within| within.parse()).transpose();
            let within = within.map_err(|error: ibt::store::InvalidWithin| {
                Failure::usage("within", error.to_string())
            })?;
            let options = PruneOptions {
                keep: Keep {
                    last: rules.last,
                    within,
                    hourly: rules.hourly,
                    daily: rules.daily,
                    weekly: rules.weekly,
                    monthly: rules.monthly,
                    yearly: rules.yearly,
                },
                keep_tags: rules.tags,
                dry_run: rules.dry_run,
                ignore_clock: rules.ignore_clock,
                archive: archive_options(progress),
            };
            Ok::<_, Failure>(self.repository.prune(&options)?)
        })?;
        Ok(report.into())
    }

    #[pyo3(signature = (snapshots, dry_run, watch=None))]
    fn forget(
        &self,
        py: Python<'_>,
        snapshots: Vec<String>,
        dry_run: bool,
        watch: Option<Watch<'_>>,
    ) -> PyResult<Pruned> {
        let report = run(py, watch, |progress| {
            let all = self.repository.snapshots()?;
            let forgotten =
                snapshots.iter().map(|id| all.by_id(id)).collect::<Result<Vec<_>, _>>()?;
            let archive = archive_options(progress);
            let options = PruneOptions { dry_run, archive, ..PruneOptions::default() };
            Ok::<_, Failure>(self.repository.forget(&forgotten, &options)?)
        })?;
        Ok(report.into())
    }

    /// The tree of a snapshot.
    fn tree(&self, py: Python<'_>, at: Option<String>) -> PyResult<Tree> {
        quick(py, || {
            let snapshot = self.snapshot(at.as_deref())?;
            let trees = self.trees();
            let tree = trees.tree(snapshot)?;
            Ok::<_, Failure>(Tree { snapshot, trees, tree })
        })
    }

    /// What became of the paths that match a pattern, over all snapshots, or of one path.
    fn history(
        &self,
        py: Python<'_>,
        pattern: Option<String>,
        of: Option<OsString>,
    ) -> PyResult<Vec<PyVersion>> {
        let history = quick(py, || match (pattern, of) {
            (Some(pattern), _) => {
                let (patterns, unusable) = Patterns::parse(pattern.as_bytes());
                if let Some(unusable) = unusable {
                    let text = format!("{pattern:?} is no pattern: {}", unusable.problem);
                    return Err(Failure::usage("pattern", text));
                }
                let wanted = |path: &ibt::RelPath| patterns.verdict(path, true) == Some(true);
                Ok(self.repository.history(wanted)?)
            }
            (None, of) => Ok(self.repository.history_of(&path(of.unwrap_or_default())?)?),
        })?;
        Ok(history.versions.iter().map(PyVersion::from).collect())
    }
}

fn archive_options(progress: &Arc<ibt::Progress>) -> ArchiveOptions {
    ArchiveOptions { progress: Some(Arc::clone(progress)), ..ArchiveOptions::default() }
}

/// The tree of a snapshot, to be looked into. Entries have numbers.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Tree {
    snapshot: SnapshotId,
    trees: Arc<Trees<DirStore>>,
    tree: Arc<SnapshotTree>,
}

impl Tree {
    /// The entry with a number.
    fn entry(&self, number: usize) -> Option<Entry> {
        let entry = self.tree.entry(number)?;
        let file = self.tree.file(number).and_then(|file| self.tree.entry(file)).unwrap_or(entry);
        Some(Entry::new(ibt::dirindex::EntryRef { meta: file.meta, ..entry }, file.node))
    }
}

#[pymethods]
impl Tree {
    #[getter]
    fn snapshot(&self) -> String {
        self.snapshot.to_string()
    }

    /// The number and the entry at `at`; `None` for what is not there.
    fn find(&self, at: OsString) -> PyResult<Option<(usize, Entry)>> {
        let Ok(path) = path(at) else { return Ok(None) };
        let found = self.tree.number(&path);
        Ok(found.and_then(|number| Some((number, self.entry(number)?))))
    }

    /// What is in the directory with a number, in path order; `None` is the top.
    fn children(&self, dir: Option<usize>) -> Vec<Entry> {
        self.tree.children(dir, None).filter_map(|number| self.entry(number)).collect()
    }

    /// All that is below the directory at a path, in path order; `None` is the top.
    fn below(&self, py: Python<'_>, dir: Option<usize>) -> PyResult<Vec<Entry>> {
        quick(py, || {
            let (mut found, mut open) = (Vec::new(), vec![]);
            open.push(self.tree.children(dir, None).collect::<Vec<_>>().into_iter());
            while let Some(last) = open.last_mut() {
                let Some(number) = last.next() else {
                    open.pop();
                    continue;
                };
                found.extend(self.entry(number));
                open.push(self.tree.children(Some(number), None).collect::<Vec<_>>().into_iter());
            }
            Ok::<_, Failure>(found)
        })
    }

    /// So many bytes from an offset on of the file with a number; fewer at its end.
    fn read<'py>(
        &self,
        py: Python<'py>,
        number: usize,
        offset: u64,
        len: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let number = self.tree.file(number).unwrap_or(number);
        let bytes = quick(py, || self.trees.read(self.snapshot, number, offset, len))?;
        Ok(PyBytes::new(py, &bytes))
    }
}
