//! Opening and scanning the directory that is named on the command line. Knows the options that
//! say what of it counts, not what the index is for.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use incremental_backups_tools::{Dir, DirIndex, DirOptions, ProblemKind, RelPath, ScanOptions};

use crate::args::Tree;
use crate::console::{Console, is_dash, shown};
use crate::files;

/// The directory, with what is left out of it.
pub(crate) fn open(tree: &Tree) -> Result<Dir> {
    let options = DirOptions {
        exclude_file: Some(tree.exclude_file.clone()),
        excludes: tree.exclude.clone(),
        ..DirOptions::default()
    };
    Ok(Dir::with_options(&tree.dir, &options)?)
}

/// Scans `dir`, not reading again what `previous` vouches for.
pub(crate) fn scan(dir: &Dir, previous: Option<&DirIndex>, console: &Console) -> Result<DirIndex> {
    let ticker = console.ticker("scanning", None);
    let progress = Some(Arc::clone(ticker.progress()));
    Ok(DirIndex::scan_with(dir, previous, &ScanOptions { progress, ..ScanOptions::default() })?)
}

/// Warns of what the scan could not take in as it should.
pub(crate) fn warn_of_problems(index: &DirIndex, console: &Console) {
    for problem in index.problems() {
        let (path, detail) = (&problem.path, &problem.detail);
        match problem.kind {
            ProblemKind::Unreadable => {
                console.warn(format_args!("{path} cannot be read: {detail}"))
            }
            ProblemKind::Unstable => console.warn(format_args!("{path} is unstable: {detail}")),
            ProblemKind::Unsupported => console.warn(format_args!("{path} is left out: {detail}")),
        }
    }
}

/// Refuses an output inside `dir` that the next scan would take for a part of the tree, and one that
/// is no file.
pub(crate) fn check_output(dir: &Dir, output: &Path) -> Result<()> {
    if is_dash(output) {
        bail!("archives and indexes cannot be written to standard output: name a file");
    }
    let Ok(root) = std::fs::canonicalize(dir.path()) else { return Ok(()) };
    let Some(place) = files::place(output) else { return Ok(()) };
    let Ok(inside) = place.strip_prefix(root) else { return Ok(()) };
    let path = RelPath::new(inside.as_os_str().as_bytes())?;
    if dir.is_excluded(&path)? {
        return Ok(());
    }
    bail!(
        "{} lies inside {} and would become part of the backup: write it elsewhere, or leave it \
         out with --exclude",
        shown(output),
        shown(dir.path()),
    )
}
