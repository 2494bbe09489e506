//! What passes between Rust and Python: names, times, entries. Knows both sides' shapes and no verb.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use incremental_backups_tools::dirindex::EntryRef;
use incremental_backups_tools::{Node, Problem, RelPath, Time, Version};
use pyo3::prelude::*;

use crate::errors::Failure;

/// A path for Python.
pub(crate) fn name(path: &RelPath) -> OsString {
    text(path.as_bytes())
}

/// Bytes that name something, for Python.
pub(crate) fn text(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Paths for Python.
pub(crate) fn names<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Vec<OsString> {
    paths.map(name).collect()
}

/// A path from Python.
pub(crate) fn path(text: OsString) -> Result<RelPath, Failure> {
    RelPath::new(text.into_vec()).map_err(|error| Failure::usage("path", error.to_string()))
}

/// A time for Python: seconds and nanoseconds.
type Moment = (i64, u32);

fn moment(time: Time) -> Moment {
    (time.secs, time.nanos)
}

/// Python's `Entry`.
#[derive(IntoPyObject)]
pub(crate) struct Entry {
    path: OsString,
    kind: &'static str,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Moment,
    digest: Option<String>,
    target: Option<OsString>,
}

impl Entry {
    /// The entry, whose content is `file`'s where it is a hard link.
    pub(crate) fn new(entry: EntryRef<'_>, file: &Node) -> Entry {
        let digest = match file {
            Node::File { digest, .. } => Some(digest.to_string()),
            _ => None,
        };
        let target = match entry.node {
            Node::Symlink { target } => Some(text(target)),
            Node::HardLink { to } => Some(name(to)),
            _ => None,
        };
        Entry {
            path: name(entry.path),
            kind: entry.node.kind(),
            size: file.len(),
            mode: entry.meta.mode,
            uid: entry.meta.uid,
            gid: entry.meta.gid,
            mtime: moment(entry.meta.mtime),
            digest,
            target,
        }
    }
}

impl Entry {
    /// What stood at a path in some snapshots. Of a hard link the digest is not known.
    pub(crate) fn of_version(version: &Version) -> Entry {
        let Version { path, node, meta, .. } = version;
        let entry = Entry::new(EntryRef { path, node, meta }, node);
        Entry { size: version.len.unwrap_or_default(), ..entry }
    }
}

/// Python's `Problem`.
#[derive(IntoPyObject)]
pub(crate) struct PyProblem {
    path: OsString,
    kind: String,
    detail: String,
    ranges: Vec<(u64, u64)>,
}

impl From<&Problem> for PyProblem {
    fn from(problem: &Problem) -> PyProblem {
        PyProblem {
            path: name(&problem.path),
            kind: problem.kind.to_string(),
            detail: problem.detail.clone(),
            ranges: problem.ranges.clone(),
        }
    }
}
