//! The tree of a snapshot, to be looked into. Knows its shape for Python and no more.

use std::ffi::OsString;
use std::sync::Arc;

use incremental_backups_tools::dirindex::EntryRef;
use incremental_backups_tools::stores::AnyStore;
use incremental_backups_tools::{SnapshotId, SnapshotTree, Trees};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{Entry, path};
use crate::errors::Failure;
use crate::work::quick;

/// The tree of a snapshot, to be looked into. Entries have numbers.
#[pyclass(frozen, module = "incremental_backups_tools._native")]
pub(crate) struct Tree {
    pub(crate) snapshot: SnapshotId,
    pub(crate) trees: Arc<Trees<AnyStore>>,
    pub(crate) tree: Arc<SnapshotTree>,
}

impl Tree {
    /// The entry with a number.
    fn entry(&self, number: usize) -> Option<Entry> {
        let entry = self.tree.entry(number)?;
        let file = self.tree.file(number).and_then(|file| self.tree.entry(file)).unwrap_or(entry);
        Some(Entry::new(EntryRef { meta: file.meta, ..entry }, file.node))
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
