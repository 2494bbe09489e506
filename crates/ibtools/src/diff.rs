//! The verb `diff`: an archive of what has changed, or of everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::dirindex::{self, NewFile};
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, Dir, Format, LazyDiff, LazyIndex, Progress, ScanOptions,
    SignatureOptions,
};
use indicatif::HumanBytes;

use crate::Answer;
use crate::args::DiffArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::files::{self, Counted};
use crate::index::remarks;
use crate::json::{self, object, put_file};
use crate::output::Output;
use crate::progress::Ticker;
use crate::scan;

/// `ibtools diff`
pub(crate) fn run(args: &DiffArgs, console: &mut Console) -> Result<Answer> {
    let dir = scan::open(&args.tree)?;
    let outputs = Outputs::of(args)?;
    outputs.check(args, &dir, console)?;
    let base = scan::for_good(match &args.base {
        Some(base) => files::open_index(base)?,
        None => LazyIndex::empty(),
    });
    let (index, written) = match outputs.archive.is_stream() {
        true => stream(args, &outputs, &dir, &base, console)?,
        false => pack(args, &outputs, &dir, &base, console)?,
    };
    let index = scan::for_good(index);
    // Never an index of what no archive has.
    written.index.map(NewFile::put).transpose()?;
    scan::warn_of_problems(index.problems(), console);
    let mut document = object([
        ("base", base.tree_id().to_string().into()),
        ("result", index.tree_id().to_string().into()),
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
    if !outputs.archive.is_standard_output() {
        let (archive, len) = (shown(&written.archive), HumanBytes(written.len));
        let (totals, remarks) = (written.totals, remarks(index.remarks()));
        console.line(format_args!("{archive} ({len}): {totals}{remarks}"))?;
    }
    Ok(Answer::Yes)
}

struct Outputs {
    archive: Output,
    index: Option<Output>,
}

impl Outputs {
    fn of(args: &DiffArgs) -> Result<Outputs> {
        let index = args.index.as_deref().map(Output::of).transpose()?;
        Ok(Outputs { archive: Output::of(&args.output)?, index })
    }

    fn check(&self, args: &DiffArgs, dir: &Dir, console: &Console) -> Result<()> {
        let base: Vec<&Path> = args.base.iter().map(AsRef::as_ref).collect();
        self.archive.check(&base, console)?;
        if self.archive.is_stream() && args.volume_size.is_some() {
            bail!("volumes are files, and {} is none", shown(&args.output))
        }
        scan::check_output(dir, &self.archive)?;
        if let Some(index) = &self.index {
            index.file()?;
            scan::check_output(dir, index)?;
            if index.is_same(&self.archive) {
                bail!("{} cannot be both the archive and the index", shown(index.name()));
            }
        }
        Ok(())
    }

    /// Writes the index, if one is wanted.
    fn new_index(&self, index: &LazyIndex) -> Result<Option<NewFile>, dirindex::Error> {
        // Checked before: it is a file.
        let place = self.index.as_ref().and_then(|output| output.file().ok());
        place.map(|place| index.to_new_file(place)).transpose()
    }
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
    outputs: &Outputs,
    dir: &Dir,
    base: &LazyIndex,
    console: &Console,
) -> Result<(LazyIndex, Written)> {
    let output = outputs.archive.file()?;
    let scan = |again: Option<&LazyIndex>, reads_all: bool| {
        take_stock(args, dir, (again, reads_all), base, console)
    };
    let archive = |index: &LazyIndex, diff: LazyDiff| {
        let (_ticker, options) = packing(args, &diff, console)?;
        let (options, signature) = (&options, SignatureOptions::default());
        let Some(limit) = args.volume_size else {
            let made = (index, &diff);
            return Ok(DiffData::create_live(dir, base, made, output, &signature, options)?);
        };
        let data = DiffData::create_volumes(dir, base, &diff.load()?, output, limit, options)?;
        let archive = data.archives().first().cloned();
        Ok((archive.map_or_else(|| Archive::open(output), Ok)?, data.into_diff().into(), None))
    };
    let write = |index: &LazyIndex, diff: LazyDiff| {
        let mut index_file = Ok(None);
        let made: Result<_, incremental_backups_tools::Error> = rayon::in_place_scope(|scope| {
            scope.spawn(|_| index_file = outputs.new_index(index));
            archive(index, diff)
        });
        let (archive, diff, amended) = made?;
        let diff = scan::for_good(diff);
        let mut index_file = index_file?;
        if let Some(amended) = &amended {
            index_file = outputs.new_index(amended)?;
        }
        let (totals, len) = (Totals::of_lazy(&diff)?, archive.size());
        let archive = archive.path().to_path_buf();
        Ok((amended, Written { totals, archive, len, index: index_file }))
    };
    Ok(incremental_backups_tools::pack(base, scan, write)?)
}

/// Scans the tree, and packs what differs from `base` into a pipe or a device: what went there cannot be
/// taken back, so a file that changes meanwhile is a failure.
fn stream(
    args: &DiffArgs,
    outputs: &Outputs,
    dir: &Dir,
    base: &LazyIndex,
    console: &Console,
) -> Result<(LazyIndex, Written)> {
    let index = take_stock(args, dir, (None, false), base, console)?;
    let diff = scan::for_good(LazyDiff::between(base, &index)?);
    let index_file = outputs.new_index(&index)?;
    let (_ticker, options) = packing(args, &diff, console)?;
    let written = Progress::default();
    let done = outputs.archive.write(|out| {
        let out = Counted { out, progress: &written };
        Ok(DiffData::write(dir, base, &*diff, out, &options)?)
    });
    done.with_context(|| format!("what {} was given is no archive", shown(&args.output)))?;
    let (totals, archive) = (Totals::of_lazy(&diff)?, args.output.clone());
    Ok((index, Written { totals, archive, len: written.bytes(), index: index_file }))
}

/// Scans the tree; `again` is what the last scan found. Whether it `reads_all` files comes with it.
fn take_stock(
    args: &DiffArgs,
    dir: &Dir,
    (again, reads_all): (Option<&LazyIndex>, bool),
    base: &LazyIndex,
    console: &Console,
) -> Result<LazyIndex, incremental_backups_tools::Error> {
    // What is packed into a file may be amended then.
    let provisional = args.volume_size.is_none() && !crate::console::is_dash(&args.output);
    let (keep, verify) = (Some(base.clone()), reads_all);
    let options = ScanOptions { keep, provisional, verify, ..scan::options(&args.tree.scan) };
    scan::scan(dir, again.or(Some(base)), options, console)
}

/// What shows how far packing `diff` is, and the options that have it do so.
fn packing(
    args: &DiffArgs,
    diff: &LazyDiff,
    console: &Console,
) -> Result<(Ticker, ArchiveOptions), dirindex::Error> {
    let ticker = console.ticker("packing", Some(Totals::of_lazy(diff)?.content()));
    let progress = Some(Arc::clone(ticker.progress()));
    let format = args.zstd.then_some(Format::Zstd);
    Ok((ticker, ArchiveOptions { format, progress, ..ArchiveOptions::default() }))
}
