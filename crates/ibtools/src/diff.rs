//! The verb `diff`: an archive of what has changed, or of everything.

use std::sync::Arc;

use anyhow::{Result, bail};
use incremental_backups_tools::dirindex::NewFile;
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, DiffIndex, Dir, DirIndex, ScanOptions,
};
use indicatif::HumanBytes;

use crate::Answer;
use crate::args::DiffArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::index::problems;
use crate::json::{self, object, put_file};
use crate::{files, scan};

/// `ibtools diff`
pub(crate) fn run(args: &DiffArgs, console: &mut Console) -> Result<Answer> {
    let dir = scan::open(&args.tree)?;
    check_outputs(args, &dir, console)?;
    let base = scan::for_good(Arc::new(match &args.base {
        Some(base) => DirIndex::from_file(base)?,
        None => DirIndex::empty(),
    }));
    let (index, (data, index_file)) = pack(args, &dir, &base, console)?;
    let (index, data) = (scan::for_good(index), scan::for_good(data));
    let output = data.archives().first().map_or(args.output.as_path(), Archive::path);
    let archive_bytes = data.size();
    // Never an index of what no archive has.
    index_file.map(NewFile::put).transpose()?;
    scan::warn_of_problems(&index, console);
    let totals = Totals::of(data.diff());
    let mut document = object([
        ("base", base.root().to_string().into()),
        ("result", index.root().to_string().into()),
        ("full", args.base.is_none().into()),
        ("totals", totals.json()),
        ("archive_bytes", archive_bytes.into()),
        ("problems", json::problems(index.problems())),
    ]);
    put_file(&mut document, "archive", output);
    if let Some(path) = &args.index {
        put_file(&mut document, "index", path);
    }
    console.document(document)?;
    let (output, len) = (shown(output), HumanBytes(archive_bytes));
    console.line(format_args!("{output} ({len}): {totals}{}", problems(&index)))?;
    Ok(Answer::Yes)
}

fn check_outputs(args: &DiffArgs, dir: &Dir, console: &Console) -> Result<()> {
    scan::check_output(dir, &args.output)?;
    if let Some(base) = &args.base {
        files::check_output(&args.output, &[base], console)?;
    }
    if let Some(index) = &args.index {
        scan::check_output(dir, index)?;
        if files::same(&args.output, index) {
            bail!("{} cannot be both the archive and the index", shown(index));
        }
    }
    Ok(())
}

/// The archive, and the index that it leads to in a file that has still to be put in its place.
type Packed = (DiffData, Option<NewFile>);

/// Scans the tree and packs what differs from `base`.
fn pack(
    args: &DiffArgs,
    dir: &Dir,
    base: &Arc<DirIndex>,
    console: &Console,
) -> Result<(DirIndex, Packed)> {
    let scan = |again: Option<&DirIndex>| {
        let options = ScanOptions { keep: Some(Arc::clone(base)), ..scan::options(&args.tree) };
        scan::scan(dir, again.or(Some(base)), options, console)
    };
    let archive = |diff: DiffIndex| {
        let ticker = console.ticker("packing", Some(Totals::of(&diff).content()));
        let progress = Some(Arc::clone(ticker.progress()));
        let options = ArchiveOptions { progress, ..ArchiveOptions::default() };
        let (output, options) = (&args.output, &options);
        match args.volume_size {
            Some(limit) => DiffData::create_volumes(dir, base, &diff, output, limit, options),
            None => DiffData::create_with(dir, base, &diff, output, options),
        }
    };
    let write = |index: &DirIndex, diff: DiffIndex| {
        let mut index_file = None;
        let data = rayon::in_place_scope(|scope| {
            scope.spawn(|_| index_file = args.index.as_ref().map(|to| index.to_new_file(to)));
            archive(diff)
        })?;
        Ok((data, index_file.transpose()?))
    };
    Ok(incremental_backups_tools::pack(base, scan, write)?)
}
