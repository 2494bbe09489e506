//! Reports for serde, one way: names as they are written, errors as a text with their causes. Must not know any format.

use diffindex::LazyDiff;
use dirindex::{LazyIndex, Problem, TreeId};
use serde::{Serialize, Serializer};

use crate::Error;
use crate::store::{ArchiveName, IndexName, SnapshotId, StoredName};

/// An error and what caused it: `cannot read x: Permission denied`.
pub(crate) fn text<S: Serializer>(
    error: &impl std::error::Error,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    serializer.serialize_str(&text)
}

/// As `text`: an error and its causes.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text(self, serializer)
    }
}

/// What an index is of, without its entries.
pub(crate) fn index<S: Serializer>(index: &LazyIndex, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Summary<'a> {
        tree_id: TreeId,
        entries: usize,
        problems: &'a [Problem],
    }
    let (tree_id, entries, problems) = (index.tree_id(), index.len(), index.problems());
    Summary { tree_id, entries, problems }.serialize(serializer)
}

/// Between which trees a diff is, without its changes.
pub(crate) fn diff<S: Serializer>(diff: &LazyDiff, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Summary {
        base: TreeId,
        result: TreeId,
        changes: usize,
    }
    let changes =
        diff.lists().try_fold(0, |count, list| Ok::<_, dirindex::Error>(count + list?.len()));
    let changes = changes.map_err(serde::ser::Error::custom)?;
    let (base, result) = (diff.base(), diff.result());
    Summary { base, result, changes }.serialize(serializer)
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ArchiveName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for IndexName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for StoredName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
