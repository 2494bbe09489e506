//! A store of snapshots. Knows their shape for Python and no more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use incremental_backups_tools::dirindex::Patterns;
use incremental_backups_tools::stores::{self, Address, AnyStore};
use incremental_backups_tools::{
    self as ibt, ApplyOptions, ArchiveOptions, BackupOptions, Format, Keep, Origin, ParityReport,
    PruneOptions, RestoreOptions, ScanOptions, SnapshotId, Trees, in_made_dir, recover_with,
};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;

use crate::archive::{Applying, PyApplied};
use crate::convert::path;
use crate::errors::Failure;
use crate::keys::Keys;
use crate::reports::{
    Backing, Protected, Pruned, Pruning, PyVersion, Report, Restoring, Snapshot, Verified,
};
use crate::tree::Dir;
use crate::trees::Tree;
use crate::work::{Watch, quick, run};

/// A store of snapshots, wherever it is.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Repository {
    address: Address,
    keys: Keys,
    opened: Mutex<Opened>,
}

/// What belongs to one process: a store elsewhere and trees have threads, and those of a process that was forked are not in it.
struct Opened {
    process: u32,
    repository: Arc<ibt::Repository<AnyStore>>,
    /// Made when they are asked for.
    trees: Option<Arc<Trees<AnyStore>>>,
}

impl Repository {
    fn new(address: Address, keys: Keys, repository: ibt::Repository<AnyStore>) -> Repository {
        Repository { address, keys, opened: Mutex::new(Opened::new(repository)) }
    }

    /// Does something with what this process has.
    fn with_opened<T>(&self, work: impl FnOnce(&mut Opened) -> T) -> Result<T, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.process != process::id() {
            let new = Opened::new(stores::open(&self.address, &self.keys.options()?)?);
            // What the process before had waits for threads that are not here.
            std::mem::forget(std::mem::replace(&mut *opened, new));
        }
        Ok(work(&mut opened))
    }

    fn repository(&self) -> Result<Arc<ibt::Repository<AnyStore>>, Failure> {
        self.with_opened(|opened| Arc::clone(&opened.repository))
    }

    fn trees(&self) -> Result<Arc<Trees<AnyStore>>, Failure> {
        self.with_opened(|opened| {
            let repository = &opened.repository;
            let new = || Arc::new(Trees::new(ibt::Repository::clone(repository), |_, _| ()));
            Arc::clone(opened.trees.get_or_insert_with(new))
        })
    }

    /// The snapshot that `at` names, or the latest.
    fn snapshot(&self, at: Option<&str>) -> Result<SnapshotId, Failure> {
        let snapshots = self.repository()?.snapshots()?;
        Ok(snapshots.resolve(at.unwrap_or("latest"))?)
    }
}

#[pymethods]
impl Repository {
    #[staticmethod]
    fn create(
        py: Python<'_>,
        place: OsString,
        recipients: Vec<String>,
        keys: Keys,
    ) -> PyResult<Repository> {
        quick(py, || {
            let (address, options) = (Address::parse(place)?, keys.options()?);
            let repository = match recipients.is_empty() {
                true => stores::create(&address, &options)?,
                false => {
                    let recipients = keys.recipients(&recipients)?;
                    stores::create_encrypted(&address, &options, recipients)?
                }
            };
            Ok::<_, Failure>(Repository::new(address, keys, repository))
        })
    }

    #[staticmethod]
    fn open(py: Python<'_>, place: OsString, keys: Keys) -> PyResult<Repository> {
        quick(py, || {
            let address = Address::parse(place)?;
            let repository = stores::open(&address, &keys.options()?)?;
            Ok::<_, Failure>(Repository::new(address, keys, repository))
        })
    }

    fn list(&self, py: Python<'_>) -> PyResult<Vec<Snapshot>> {
        let list = quick(py, || Ok::<_, Failure>(self.repository()?.list()?))?;
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
                checkpoint: how.checkpoint,
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
                parity: how.parity,
                archive: ArchiveOptions {
                    format: how.zstd.map(|zstd| if zstd { Format::Zstd } else { Format::Gzip }),
                    level: how.level,
                    progress,
                    ..ArchiveOptions::default()
                },
            };
            let report = self.repository()?.backup(&dir.0, &options)?;
            Ok::<_, Failure>(Report::try_from(report)?)
        })?;
        Ok(report)
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
            let restored =
                self.repository()?.restore_by(snapshot, &dest, &options, |plan, apply| {
                    in_made_dir(&dest, plan.diff()?.top_mode(), || plan.apply(&dest, apply))
                });
            let (applied, skipped) = restored?;
            Ok::<_, Failure>((snapshot, applied, skipped))
        })?;
        let skipped = skipped.iter().map(|skipped| skipped.archive.to_string()).collect();
        Ok((snapshot.to_string(), applied.into(), skipped))
    }

    #[pyo3(signature = (heal, watch=None))]
    fn verify(&self, py: Python<'_>, heal: bool, watch: Option<Watch<'_>>) -> PyResult<Verified> {
        let (healed, found) = run(py, watch, |progress| {
            let repository = self.repository()?;
            let healed =
                if heal { repository.heal(Some(progress))? } else { ParityReport::default() };
            Ok::<_, Failure>((healed, repository.verify(Some(progress))?))
        })?;
        Ok(Verified::new(&found, &healed))
    }

    #[pyo3(signature = (percent, watch=None))]
    fn protect(
        &self,
        py: Python<'_>,
        percent: Option<u32>,
        watch: Option<Watch<'_>>,
    ) -> PyResult<Protected> {
        let report = run(py, watch, |progress| {
            Ok::<_, Failure>(self.repository()?.protect(percent, Some(progress))?)
        })?;
        Ok(report.into())
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
            Ok::<_, Failure>(self.repository()?.prune(&options)?)
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
            let all = self.repository()?.snapshots()?;
            let forgotten =
                snapshots.iter().map(|id| all.by_id(id)).collect::<Result<Vec<_>, _>>()?;
            let archive = archive_options(progress);
            let options = PruneOptions { dry_run, archive, ..PruneOptions::default() };
            Ok::<_, Failure>(self.repository()?.forget(&forgotten, &options)?)
        })?;
        Ok(report.into())
    }

    /// The tree of a snapshot.
    fn tree(&self, py: Python<'_>, at: Option<String>) -> PyResult<Tree> {
        quick(py, || {
            let snapshot = self.snapshot(at.as_deref())?;
            let trees = self.trees()?;
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
                Ok(self.repository()?.history(wanted)?)
            }
            (None, of) => Ok(self.repository()?.history_of(&path(of.unwrap_or_default())?)?),
        })?;
        Ok(history.versions.iter().map(PyVersion::from).collect())
    }
}

fn archive_options(progress: &Arc<ibt::Progress>) -> ArchiveOptions {
    ArchiveOptions { progress: Some(Arc::clone(progress)), ..ArchiveOptions::default() }
}

impl Opened {
    fn new(repository: ibt::Repository<AnyStore>) -> Opened {
        Opened { process: process::id(), repository: Arc::new(repository), trees: None }
    }
}

/// How stores elsewhere are reached. What a user has to know is a warning of Python's.
pub(crate) fn options() -> stores::Options {
    let warn = |text: &str| {
        Python::attach(|py| {
            let text = std::ffi::CString::new(text).unwrap_or_default();
            let category = py.get_type::<PyUserWarning>();
            // Where warnings are errors, the work goes on all the same: it is not wrong.
            drop(PyErr::warn(py, &category, &text, 1));
        });
    };
    stores::Options { tell: Arc::new(warn), ..stores::Options::default() }
}
