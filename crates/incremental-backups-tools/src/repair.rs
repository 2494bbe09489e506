//! Taking back from backups what has rotten in the tree they were made of. Knows rot from a scan that
//! looked for it; bringing files back is `restore`'s.

use std::collections::HashSet;
use std::path::Path;

use archive::Archive;
use dirindex::{DirIndex, Node, ProblemKind, RelPath};

use crate::apply::{Applied, ApplyOptions};
use crate::error::Result;
use crate::restore::{RestoreOptions, restore};

/// Replaces the files of the tree `dir` that `scan` found to be rotten by what `archives`, the first a full
/// backup, have of them in the end. All else is left alone.
///
/// `scan` was made with [`ScanOptions::verify`](dirindex::ScanOptions::verify) since an index of the
/// state that the archives lead to.
///
/// # Errors
/// As [`restore`].
pub fn repair(
    archives: &[Archive],
    dir: impl AsRef<Path>,
    scan: &DirIndex,
    options: &ApplyOptions,
) -> Result<Applied> {
    let rotten = scan.problems().iter().filter(|problem| problem.kind == ProblemKind::Rotten);
    let rotten: HashSet<&RelPath> = rotten.map(|problem| &problem.path).collect();
    if rotten.is_empty() {
        return Ok(Applied::default());
    }
    // A file is replaced, not written to: its other names have to come along.
    let names = scan.entries().filter(|entry| match &entry.node {
        Node::HardLink { to } => rotten.contains(to),
        _ => rotten.contains(&entry.path),
    });
    let paths = names.map(|entry| entry.path.clone()).collect();
    let apply = options.clone();
    restore(
        archives,
        dir,
        &RestoreOptions { paths, overwrite: true, apply, ..RestoreOptions::default() },
    )
}
