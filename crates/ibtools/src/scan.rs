//! Opening and scanning the directory that is named on the command line. Knows the options that
//! say what of it counts and how it is read, not what the index is for.

use std::io::Read;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::dirindex::FileId;
use incremental_backups_tools::{
    Dir, DirOptions, LazyIndex, Problem, ProblemKind, RelPath, ScanOptions,
};

use crate::args::{Scan, Tree};
use crate::console::{Console, complain, is_dash, shown};
use crate::files::Opened;
use crate::link;
use crate::output::Output;
use crate::paths::{self, bytes_as_path};

/// The directory, with what is left out of it.
pub(crate) fn open(tree: &Tree) -> Result<Dir> {
    let rules = rules(&tree.scan)?;
    let dir = Dir::with_options(&tree.dir, &rules)?;
    warn_of_missing(&dir, &rules.only);
    Ok(dir)
}

/// What counts.
pub(crate) fn rules(scan: &Scan) -> Result<DirOptions> {
    Ok(DirOptions {
        exclude_files: scan.exclude_file.clone(),
        excludes: scan.exclude.clone(),
        exclude_from: scan.exclude_from.clone(),
        strict_excludes: scan.strict_excludes,
        exclude_caches: scan.exclude_caches,
        exclude_if_present: scan.exclude_if_present.clone(),
        one_file_system: scan.one_file_system,
        max_file_len: scan.exclude_larger_than,
        // What a user does not name is backed up, also work in `.git/` that is nowhere else.
        default_excludes: Vec::new(),
        only: scan.files_from.as_deref().map_or(Ok(Vec::new()), |from| listed(from, scan.from0))?,
    })
}

/// The paths that the file `from` lists.
fn listed(from: &Path, zero: bool) -> Result<Vec<RelPath>> {
    let failed = || format!("cannot read the list of paths {}", shown(from));
    let mut text = Vec::new();
    Opened::open(from)?.stream().read_to_end(&mut text).with_context(failed)?;
    let end = if zero { 0 } else { b'\n' };
    let lines = text.split(|&byte| byte == end).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let paths = lines.map(|(number, line)| {
        paths::inside(bytes_as_path(line), None)
            .with_context(|| format!("{}, line {}", shown(from), number + 1))
    });
    let paths: Vec<Option<RelPath>> = paths.collect::<Result<_>>()?;
    anyhow::ensure!(
        !paths.is_empty(),
        "{} lists no path, and nothing would be backed up",
        shown(from)
    );
    // With the top itself in the list, everything is.
    Ok(paths.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default())
}

/// Warns of the paths that alone are to count, and are not there.
pub(crate) fn warn_of_missing(dir: &Dir, only: &[RelPath]) {
    let missing = |path: &&RelPath| dir.path().join(path.as_path()).symlink_metadata().is_err();
    let mut missing = only.iter().filter(missing);
    if let Some(first) = missing.next() {
        let others = match missing.count() {
            0 => String::new(),
            more => format!(", nor are {more} more of the list"),
        };
        complain(&format!("warning: {first} is not in {}{others}", shown(dir.path())));
    }
}

/// How a tree is to be read.
pub(crate) fn options(scan: &Scan) -> ScanOptions {
    ScanOptions { maps: !scan.no_map, ..ScanOptions::default() }
}

/// Scans `dir`, not reading again what looks as in `previous`.
pub(crate) fn scan(
    dir: &Dir,
    previous: Option<&LazyIndex>,
    options: ScanOptions,
    console: &Console,
) -> Result<LazyIndex, incremental_backups_tools::Error> {
    let ticker = console.ticker("scanning", None);
    let progress = Some(Arc::clone(ticker.progress()));
    Ok(LazyIndex::scan(dir, previous, &ScanOptions { progress, ..options })?)
}

/// Leaves it to the end of the process, which is near, to give back what `value` takes up: the records of a large
/// tree are many.
pub(crate) fn for_good<T>(value: T) -> ManuallyDrop<T> {
    ManuallyDrop::new(value)
}

/// Warns of what the scan could not take in as it should.
pub(crate) fn warn_of_problems(problems: &[Problem], console: &Console) {
    for Problem { path, kind, detail, ranges, .. } in problems {
        match kind {
            ProblemKind::Unreadable => {
                console.warn(format_args!("{path} cannot be read: {detail}"))
            }
            ProblemKind::Unstable => console.warn(format_args!("{path} is unstable: {detail}")),
            // A socket is there each night, and nothing is to be done about it: the summary counts it.
            ProblemKind::Unsupported => {}
            ProblemKind::Changing => console.warn(format_args!(
                "{path} changed while it was stored: it is kept as it was read"
            )),
            ProblemKind::BitRot => {
                console.warn(format_args!("{path} is corrupt: {detail}: {}", bytes(ranges)));
            }
            _ => console.warn(format_args!("{path}: {detail}")),
        }
    }
}

/// Whether any file is corrupt.
pub(crate) fn has_corrupt(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.kind == ProblemKind::BitRot)
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
    let Some(store) = &crate::source::local(store) else { return Ok(()) };
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
