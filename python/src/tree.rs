//! The original's nouns: a directory, its index, a diff. Knows their shape for Python and no more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use incremental_backups_tools::diffindex::Moves;
use incremental_backups_tools::dirindex::{self, EntryRef};
use incremental_backups_tools::{
    Change, Class, DiffIndex, DirIndex, DirOptions, LazyDiff, Node, RelPath, ScanOptions,
};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{Entry, PyProblem, name, names, path};
use crate::errors::Failure;
use crate::work::{Watch, quick, run};

/// A directory and what of it counts.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Dir(pub(crate) Arc<incremental_backups_tools::Dir>);

/// Python's `Rules`: what of a directory counts.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Rules {
    exclude_files: Vec<String>,
    default_excludes: Vec<OsString>,
    excludes: Vec<OsString>,
    exclude_from: Vec<PathBuf>,
    exclude_caches: bool,
    exclude_if_present: Vec<String>,
    one_file_system: bool,
    max_file_size: Option<u64>,
    only: Vec<OsString>,
}

#[pymethods]
impl Dir {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf, rules: Rules) -> PyResult<Dir> {
        quick(py, || {
            let options = DirOptions {
                exclude_files: rules.exclude_files,
                default_excludes: rules.default_excludes,
                excludes: rules.excludes,
                exclude_from: rules.exclude_from,
                strict_excludes: false,
                exclude_caches: rules.exclude_caches,
                exclude_if_present: rules.exclude_if_present,
                one_file_system: rules.one_file_system,
                max_file_len: rules.max_file_size,
                only: rules.only.into_iter().map(path).collect::<Result<_, _>>()?,
            };
            let dir = incremental_backups_tools::Dir::with_options(directory, &options)?;
            Ok::<_, Failure>(Dir(Arc::new(dir)))
        })
    }

    fn walk(&self, py: Python<'_>) -> PyResult<Vec<(OsString, bool)>> {
        let found = quick(py, || self.0.walk())?;
        Ok(found.iter().map(|(path, is_dir)| (name(path), *is_dir)).collect())
    }

    fn files(&self, py: Python<'_>, pattern: &str) -> PyResult<Vec<OsString>> {
        Ok(names(quick(py, || self.0.files(pattern))?.iter()))
    }

    fn subdirs(&self, py: Python<'_>, pattern: &str) -> PyResult<Vec<OsString>> {
        Ok(names(quick(py, || self.0.subdirs(pattern))?.iter()))
    }

    fn find_projects(&self, py: Python<'_>, marker: &str) -> PyResult<Vec<OsString>> {
        let found = quick(py, || self.0.find_projects(marker))?;
        Ok(found.iter().map(|path| path.as_ref().map(name).unwrap_or_default()).collect())
    }

    fn is_excluded(&self, py: Python<'_>, at: OsString) -> PyResult<bool> {
        quick(py, || Ok::<_, Failure>(self.0.is_excluded(&path(at)?)?))
    }

    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        quick(py, || self.0.size())
    }

    #[pyo3(signature = (watch=None))]
    fn hash(&self, py: Python<'_>, watch: Option<Watch<'_>>) -> PyResult<String> {
        let hash = run(py, watch, |progress| {
            let options =
                ScanOptions { progress: Some(Arc::clone(progress)), ..ScanOptions::default() };
            self.0.hash_with(&options)
        })?;
        Ok(hash.to_string())
    }
}

/// The state of a directory.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Index(pub(crate) Arc<DirIndex>);

impl Index {
    fn entry_of(&self, entry: &dirindex::Entry) -> Entry {
        let file = match &entry.node {
            Node::HardLink { to } => self.0.get(to).map_or(&entry.node, |file| &file.node),
            node => node,
        };
        Entry::new(EntryRef { path: &entry.path, node: &entry.node, meta: &entry.meta }, file)
    }
}

#[pymethods]
impl Index {
    #[staticmethod]
    fn empty() -> Index {
        Index(Arc::new(DirIndex::empty()))
    }

    #[staticmethod]
    #[pyo3(signature = (dir, since=None, verify=false, watch=None))]
    fn scan(
        py: Python<'_>,
        dir: &Bound<'_, Dir>,
        since: Option<&Bound<'_, Index>>,
        verify: bool,
        watch: Option<Watch<'_>>,
    ) -> PyResult<Index> {
        let (dir, since) = (dir.get(), since.map(|since| since.get()));
        let index = run(py, watch, |progress| {
            let progress = Some(Arc::clone(progress));
            let options = ScanOptions { progress, verify, ..ScanOptions::default() };
            DirIndex::scan_with(&dir.0, since.map(|since| since.0.as_ref()), &options)
        })?;
        Ok(Index(Arc::new(index)))
    }

    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Index> {
        Ok(Index(Arc::new(quick(py, || DirIndex::from_file(path))?)))
    }

    fn to_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        quick(py, || self.0.to_file(path))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: Vec<u8>) -> PyResult<Index> {
        Ok(Index(Arc::new(quick(py, || DirIndex::from_bytes(bytes))?)))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = quick(py, || {
            let mut bytes = Vec::new();
            self.0.write_to(&mut bytes).map(|()| bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn files(&self) -> Vec<OsString> {
        names(self.0.files())
    }

    fn subdirs(&self) -> Vec<OsString> {
        names(self.0.subdirs())
    }

    fn tree_id(&self) -> String {
        self.0.tree_id().to_string()
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.entries().map(|entry| self.entry_of(entry)).collect()
    }

    fn get(&self, at: OsString) -> Option<Entry> {
        let path = path(at).ok()?;
        self.0.get(&path).map(|entry| self.entry_of(entry))
    }

    fn signature<'py>(
        &self,
        py: Python<'py>,
        at: OsString,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let bytes = quick(py, || {
            let Some(signature) = self.0.signature(&path(at)?)? else { return Ok(None) };
            let mut bytes = Vec::new();
            signature.write_to(&mut bytes)?;
            Ok::<_, Failure>(Some(bytes))
        })?;
        Ok(bytes.map(|bytes| PyBytes::new(py, &bytes)))
    }

    fn problems(&self) -> Vec<PyProblem> {
        self.0.problems().iter().map(PyProblem::from).collect()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// What changed between two indexes.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Diff(pub(crate) DiffIndex);

/// Python's lists of what changed.
#[derive(IntoPyObject)]
struct Changes {
    created: Vec<OsString>,
    updated: Vec<OsString>,
    metadata: Vec<OsString>,
    type_changed: Vec<OsString>,
    deleted: Vec<OsString>,
    excluded: Vec<OsString>,
    created_dirs: Vec<OsString>,
    deleted_dirs: Vec<OsString>,
    moved: Vec<(OsString, OsString)>,
    copied: Vec<(OsString, OsString)>,
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a RelPath, &'a RelPath)>) -> Vec<(OsString, OsString)> {
    pairs.map(|(from, to)| (name(from), name(to))).collect()
}

#[pymethods]
impl Diff {
    #[staticmethod]
    fn between(py: Python<'_>, old: &Bound<'_, Index>, new: &Bound<'_, Index>) -> PyResult<Diff> {
        let (old, new) = (old.get(), new.get());
        quick(py, || Ok::<_, Failure>(Diff(DiffIndex::between(&old.0, &new.0))))
    }

    fn changes(&self) -> Changes {
        let diff = &self.0;
        Changes {
            created: names(diff.created()),
            updated: names(diff.updated()),
            metadata: names(diff.metadata()),
            type_changed: names(diff.type_changed()),
            deleted: names(diff.deleted()),
            excluded: names(diff.excluded()),
            created_dirs: names(diff.created_dirs()),
            deleted_dirs: names(diff.deleted_dirs()),
            moved: pairs(diff.moved()),
            copied: pairs(diff.copied()),
        }
    }

    /// The tree ids from which and to which it leads.
    fn trees(&self) -> (String, String) {
        (self.0.base().to_string(), self.0.result().to_string())
    }

    fn apply_to(&self, py: Python<'_>, index: &Bound<'_, Index>) -> PyResult<Index> {
        let index = index.get();
        Ok(Index(Arc::new(quick(py, || self.0.apply_to(&index.0))?)))
    }

    fn __len__(&self) -> usize {
        self.0.changes().len()
    }
}

/// How many changes of each class a diff has, for Python's `ChangeCounts`.
#[derive(IntoPyObject, Default)]
pub(crate) struct Counts {
    created: usize,
    updated: usize,
    metadata: usize,
    type_changed: usize,
    deleted: usize,
    excluded: usize,
    moved: usize,
    copied: usize,
}

impl Counts {
    /// What comes from elsewhere is counted as created too, and what moved as deleted there, as in the lists.
    pub(crate) fn of(diff: &LazyDiff) -> Result<Counts, dirindex::Error> {
        let (moved, copied) = Moves::of_lazy(diff)?.counts();
        let mut counts = Counts { moved, copied, ..Counts::default() };
        for list in diff.lists() {
            list?.iter().for_each(|change| counts.add(change));
        }
        Ok(counts)
    }

    fn add(&mut self, change: &Change) {
        let count = match change.class() {
            Class::Created => &mut self.created,
            Class::Metadata => &mut self.metadata,
            Class::TypeChanged => &mut self.type_changed,
            Class::Deleted => &mut self.deleted,
            Class::Excluded => &mut self.excluded,
            _ => &mut self.updated,
        };
        *count += 1;
    }
}
