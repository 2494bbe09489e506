//! Opening and scanning the directory that is named on the command line. Knows the options that
//! say what of it counts and how it is read, not what the index is for.

use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use incremental_backups_tools::dirindex::FileId;
use incremental_backups_tools::{
    Dir, DirIndex, DirOptions, Problem, ProblemKind, RelPath, ScanOptions,
};

use crate::args::Tree;
use crate::console::{Console, is_dash, shown};
use crate::link;
use crate::output::Output;

/// The directory, with what is left out of it.
pub(crate) fn open(tree: &Tree) -> Result<Dir> {
    let options = DirOptions {
        exclude_files: tree.exclude_file.clone(),
        excludes: tree.exclude.clone(),
        exclude_from: tree.exclude_from.clone(),
        strict_excludes: tree.strict_excludes,
        exclude_caches: tree.exclude_caches,
        one_file_system: tree.one_file_system,
        max_file_len: tree.exclude_larger_than,
        ..DirOptions::default()
    };
    Ok(Dir::with_options(&tree.dir, &options)?)
}

/// How `tree` is to be read.
pub(crate) fn options(tree: &Tree) -> ScanOptions {
    ScanOptions { maps: !tree.no_map, ..ScanOptions::default() }
}

/// Scans `dir`, not reading again what looks as in `previous`.
pub(crate) fn scan(
    dir: &Dir,
    previous: Option<&DirIndex>,
    options: ScanOptions,
    console: &Console,
) -> Result<DirIndex, incremental_backups_tools::Error> {
    let ticker = console.ticker("scanning", None);
    let progress = Some(Arc::clone(ticker.progress()));
    Ok(DirIndex::scan_with(dir, previous, &ScanOptions { progress, ..options })?)
}

/// Leaves it to the end of the process, which is near, to give back what `value` takes up: the records of a large
/// tree are many.
pub(crate) fn for_good<T>(value: T) -> ManuallyDrop<T> {
    ManuallyDrop::new(value)
}

/// Warns of what the scan could not take in as it should.
pub(crate) fn warn_of_problems(index: &DirIndex, console: &Console) {
    for Problem { path, kind, detail, ranges } in index.problems() {
        match kind {
            ProblemKind::Unreadable => {
                console.warn(format_args!("{path} cannot be read: {detail}"))
            }
            ProblemKind::Unstable => console.warn(format_args!("{path} is unstable: {detail}")),
            ProblemKind::Unsupported => console.warn(format_args!("{path} is left out: {detail}")),
            ProblemKind::Attributes => console.warn(format_args!("{path}: {detail}")),
            ProblemKind::BitRot => {
                console.warn(format_args!("{path} is corrupt: {detail}: {}", bytes(ranges)));
            }
            ProblemKind::Exclude => console.warn(format_args!("{path}: {detail}")),
        }
    }
}

/// Whether any file is corrupt.
pub(crate) fn has_corrupt(index: &DirIndex) -> bool {
    index.problems().iter().any(|problem| problem.kind == ProblemKind::BitRot)
}

/// `bytes 0 to 1023, 4096 to 8191 and 3 more ranges`
fn bytes(ranges: &[(u64, u64)]) -> String {
    let shown = ranges.iter().take(RANGES_SHOWN);
    let shown: Vec<String> =
        shown.map(|(from, to)| format!("{from} to {}", to.saturating_sub(1))).collect();
    let more = match ranges.len().saturating_sub(RANGES_SHOWN) {
        0 => String::new(),
        1 => " and 1 more range".to_owned(),
        n => format!(" and {n} more ranges"),
    };
    format!("bytes {}{more}", shown.join(", "))
}

/// JSON has them all.
const RANGES_SHOWN: usize = 8;

/// Refuses an output inside `dir` that the next scan would take for a part of the tree.
pub(crate) fn check_output(dir: &Dir, output: &Output) -> Result<()> {
    output.place().map_or(Ok(()), |place| check_outside(dir, output.name(), &place, false))
}

/// Refuses such a store, which is a directory or will be one, and standard output.
pub(crate) fn check_store(dir: &Dir, store: &Path) -> Result<()> {
    if is_dash(store) {
        bail!("a store cannot be standard output: name a directory");
    }
    link::place_of(store).map_or(Ok(()), |place| check_outside(dir, store, &place, true))
}

/// Refuses what is called `name` and is at `place`, in which no part is a link.
fn check_outside(dir: &Dir, name: &Path, place: &Path, is_dir: bool) -> Result<()> {
    let Some(inside) = inside(dir.path(), place) else { return Ok(()) };
    if inside.as_os_str().is_empty() {
        bail!("{} is what is to be read, and cannot be written to", shown(name));
    }
    let path = RelPath::new(inside.as_os_str().as_bytes())?;
    if dir.will_exclude(&path, is_dir)? {
        return Ok(());
    }
    bail!(
        "{} lies inside {} and would become part of the backup: write it elsewhere, or leave it \
         out with --exclude",
        shown(name),
        shown(dir.path()),
    )
}

/// What `place`, in which no part is a link, is called in the directory `root`, by whatever way it leads there.
fn inside<'a>(root: &Path, place: &'a Path) -> Option<&'a Path> {
    let root = FileId::at(root)?;
    let above = place.ancestors().find(|above| FileId::at(above) == Some(root))?;
    place.strip_prefix(above).ok()
}
