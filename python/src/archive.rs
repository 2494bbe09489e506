//! The archive of a diff, and how one is applied. Knows their shape for Python and no more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use incremental_backups_tools::{
    Applied, ApplyOptions, ArchiveOptions, DiffData, Format, Obstacle, apply_diff, apply_with,
    in_made_dir,
};
use pyo3::prelude::*;

use crate::convert::name;
use crate::errors::Failure;
use crate::tree::{Diff, Dir, Index};
use crate::work::{Watch, quick, run};

/// The archive of a diff.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Archive(DiffData);

/// Python's `ApplyRules`: how a diff is applied.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Applying {
    privileged: bool,
    sync: bool,
    strict: bool,
    skip_obstacles: bool,
    skip_damaged: bool,
}

impl Applying {
    pub(crate) fn options(&self) -> ApplyOptions {
        ApplyOptions {
            privileged: self.privileged,
            sync: self.sync,
            strict: self.strict,
            on_obstacle: if self.skip_obstacles { Obstacle::Skip } else { Obstacle::Undo },
            skip_damaged: self.skip_damaged,
            ..ApplyOptions::default()
        }
    }
}

/// Python's `Applied`.
#[derive(IntoPyObject)]
pub(crate) struct PyApplied {
    created: u64,
    updated: u64,
    metadata: u64,
    deleted: u64,
    unchanged: u64,
    bytes: u64,
    finished: bool,
    skipped_paths: Vec<(OsString, String)>,
    unkept: u64,
}

impl From<Applied> for PyApplied {
    fn from(applied: Applied) -> PyApplied {
        let skipped = applied.unapplied.iter();
        PyApplied {
            created: applied.created,
            updated: applied.updated,
            metadata: applied.metadata,
            deleted: applied.deleted,
            unchanged: applied.unchanged,
            bytes: applied.bytes,
            finished: applied.finished,
            skipped_paths: skipped.map(|it| (name(&it.path), it.why.clone())).collect(),
            unkept: applied.unkept.count(),
        }
    }
}

#[pymethods]
impl Archive {
    #[staticmethod]
    #[pyo3(signature = (dir, old, diff, path, level=None, zstd=None, watch=None))]
    #[allow(clippy::too_many_arguments, reason = "Python's keywords")]
    fn create(
        py: Python<'_>,
        dir: &Bound<'_, Dir>,
        old: &Bound<'_, Index>,
        diff: &Bound<'_, Diff>,
        path: PathBuf,
        level: Option<i32>,
        zstd: Option<bool>,
        watch: Option<Watch<'_>>,
    ) -> PyResult<Archive> {
        let (dir, old, diff) = (dir.get(), old.get(), diff.get());
        let data = run(py, watch, |progress| {
            let format = zstd.map(|zstd| if zstd { Format::Zstd } else { Format::Gzip });
            let progress = Some(Arc::clone(progress));
            let options = ArchiveOptions { format, level, progress, ..ArchiveOptions::default() };
            DiffData::create_with(&dir.0, old.0.as_ref(), &diff.0, path, &options)
        })?;
        Ok(Archive(data))
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Archive> {
        Ok(Archive(quick(py, || DiffData::open(path))?))
    }

    fn diff(&self) -> Diff {
        Diff(self.0.diff().clone())
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    /// Applies it to the directory `dest`, which is made if this is a full backup and it is not there. With a `diff`, that has
    /// to be the one in it.
    #[pyo3(signature = (dest, diff, how, watch=None))]
    fn apply(
        &self,
        py: Python<'_>,
        dest: PathBuf,
        diff: Option<&Bound<'_, Diff>>,
        how: Applying,
        watch: Option<Watch<'_>>,
    ) -> PyResult<PyApplied> {
        let diff = diff.map(|diff| &diff.get().0);
        let applied = run(py, watch, |progress| {
            if let Some(diff) = diff.filter(|diff| *diff != self.0.diff()) {
                // It says what is wrong.
                apply_diff(&dest, diff, &self.0)?;
            }
            let options = ApplyOptions { progress: Some(Arc::clone(progress)), ..how.options() };
            let apply = || Ok::<_, Failure>(apply_with(&dest, &self.0, &options)?);
            match self.0.is_full() {
                true => in_made_dir(&dest, self.0.diff().top_mode(), apply),
                false => apply(),
            }
        })?;
        Ok(applied.into())
    }
}
