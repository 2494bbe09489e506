//! The verb `diff`: an archive of what has changed, or of everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::dirindex::{self, NewFile};
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, DiffIndex, Dir, DirIndex, Format, Progress, ScanOptions,
};
use indicatif::HumanBytes;

use crate::Answer;
use crate::args::DiffArgs;
use crate::changes::Totals;
use crate::console::{Console, Ticker, is_dash, shown};
use crate::files::{self, Counted};
use crate::index::problems;
use crate::json::{self, object, put_file};
use crate::scan;

/// `ibtools diff`
pub(crate) fn run(args: &DiffArgs, console: &mut Console) -> Result<Answer> {
    let dir = scan::open(&args.tree)?;
    check_outputs(args, &dir, console)?;
    let base = scan::for_good(Arc::new(match &args.base {
        Some(base) => DirIndex::from_file(base)?,
        None => DirIndex::empty(),
    }));
    let (index, written) = match files::is_stream(&args.output) {
        true => stream(args, &dir, &base, console)?,
        false => pack(args, &dir, &base, console)?,
    };
    let index = scan::for_good(index);
    // Never an index of what no archive has.
    written.index.map(NewFile::put).transpose()?;
    scan::warn_of_problems(&index, console);
    let mut document = object([
        ("base", base.root().to_string().into()),
        ("result", index.root().to_string().into()),
        ("full", args.base.is_none().into()),
        ("totals", written.totals.json()),
        ("archive_bytes", written.len.into()),
        ("problems", json::problems(index.problems())),
    ]);
    put_file(&mut document, "archive", &written.archive);
    if let Some(path) = &args.index {
        put_file(&mut document, "index", path);
    }
    console.document(document)?;
    if !is_dash(&args.output) {
        let (archive, len) = (shown(&written.archive), HumanBytes(written.len));
        let (totals, problems) = (written.totals, problems(&index));
        console.line(format_args!("{archive} ({len}): {totals}{problems}"))?;
    }
    Ok(Answer::Yes)
}

fn check_outputs(args: &DiffArgs, dir: &Dir, console: &Console) -> Result<()> {
    let base: Vec<&Path> = args.base.iter().map(AsRef::as_ref).collect();
    files::check_output(&args.output, &base, console)?;
    match files::is_stream(&args.output) {
        true if args.volume_size.is_some() => {
            bail!("volumes are files, and {} is none", shown(&args.output))
        }
        true => {}
        false => scan::check_output(dir, &args.output, scan::Output::File)?,
    }
    if let Some(index) = &args.index {
        scan::check_output(dir, index, scan::Output::File)?;
        NewFile::check_place(index)?;
        if files::same(&args.output, index) {
            bail!("{} cannot be both the archive and the index", shown(index));
        }
    }
    Ok(())
}

/// What was written.
struct Written {
    totals: Totals,
    archive: PathBuf,
    len: u64,
    /// In a file that has still to be put in its place.
    index: Option<NewFile>,
}

/// Scans the tree, and packs what differs from `base` into files.
fn pack(
    args: &DiffArgs,
    dir: &Dir,
    base: &Arc<DirIndex>,
    console: &Console,
) -> Result<(DirIndex, Written)> {
    let scan = |again: Option<&DirIndex>| take_stock(args, dir, again, base, console);
    let archive = |diff: DiffIndex| {
        let (_ticker, options) = packing(args, &diff, console);
        let (output, options) = (&files::behind_link(&args.output), &options);
        match args.volume_size {
            Some(limit) => DiffData::create_volumes(dir, base, &diff, output, limit, options),
            None => DiffData::create_with(dir, base, &diff, output, options),
        }
    };
    let write = |index: &DirIndex, diff: DiffIndex| {
        let mut index_file = Ok(None);
        let data = rayon::in_place_scope(|scope| {
            scope.spawn(|_| index_file = new_index(args, index));
            archive(diff)
        })?;
        let data = scan::for_good(data);
        let archive = data.archives().first().map_or(args.output.as_path(), Archive::path);
        let (totals, archive) = (Totals::of(data.diff()), archive.to_path_buf());
        Ok(Written { totals, archive, len: data.size(), index: index_file? })
    };
    Ok(incremental_backups_tools::pack(base, scan, write)?)
}

/// Scans the tree, and packs what differs from `base` into a pipe or a device: what went there cannot be
/// taken back, so a file that changes meanwhile is a failure.
fn stream(
    args: &DiffArgs,
    dir: &Dir,
    base: &Arc<DirIndex>,
    console: &mut Console,
) -> Result<(DirIndex, Written)> {
    let index = take_stock(args, dir, None, base, console)?;
    let diff = scan::for_good(DiffIndex::between(base, &index));
    let index_file = new_index(args, &index)?;
    let (_ticker, options) = packing(args, &diff, console);
    let written = Progress::default();
    let done = files::write(&args.output, console, |out| {
        let out = Counted { out, progress: &written };
        Ok(DiffData::write(dir, base, &diff, out, &options)?)
    });
    done.with_context(|| format!("what {} was given is no archive", shown(&args.output)))?;
    let (totals, archive) = (Totals::of(&diff), args.output.clone());
    Ok((index, Written { totals, archive, len: written.bytes(), index: index_file }))
}

/// Scans the tree; `again` is what the last scan found.
fn take_stock(
    args: &DiffArgs,
    dir: &Dir,
    again: Option<&DirIndex>,
    base: &Arc<DirIndex>,
    console: &Console,
) -> Result<DirIndex, incremental_backups_tools::Error> {
    let options = ScanOptions { keep: Some(Arc::clone(base)), ..scan::options(&args.tree) };
    scan::scan(dir, again.or(Some(base)), options, console)
}

/// Writes the index, if one is wanted.
fn new_index(args: &DiffArgs, index: &DirIndex) -> Result<Option<NewFile>, dirindex::Error> {
    let place = args.index.as_deref().map(files::behind_link);
    place.map(|place| index.to_new_file(place)).transpose()
}

/// What shows how far packing `diff` is, and the options that have it do so.
fn packing(args: &DiffArgs, diff: &DiffIndex, console: &Console) -> (Ticker, ArchiveOptions) {
    let ticker = console.ticker("packing", Some(Totals::of(diff).content()));
    let progress = Some(Arc::clone(ticker.progress()));
    let format = args.zstd.then_some(Format::Zstd);
    (ticker, ArchiveOptions { format, progress, ..ArchiveOptions::default() })
}
