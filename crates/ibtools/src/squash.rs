//! The verb `squash`: one archive of several that follow one another, or of those that lead to a snapshot.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use incremental_backups_tools::{
    Archive, ArchiveOptions, DiffData, DirIndex, Error, Format, Progress, archive, diffindex,
};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::SquashArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::files::{self, Counted};
use crate::json::{object, put_file};
use crate::output::Output;
use crate::source::Source;

/// `ibtools squash`
pub(crate) fn run(args: &SquashArgs, console: &mut Console) -> Result<Answer> {
    let inputs: Vec<&Path> = args.sources.iter().chain(&args.base).map(AsRef::as_ref).collect();
    let output = Output::of(&args.output)?;
    output.check(&inputs, console)?;
    let failed = || format!("cannot squash into {}", shown(&args.output));
    let source = Source::open(&args.sources, args.at.as_deref())?;
    let base = args.base.as_deref().map(|path| base(path, &source)).transpose()?;
    let made = source.with_archives(console, |archives| {
        let squashed = squash(archives, base.as_ref())?;
        // What has gone into a pipe cannot be taken back: so that is written when a chain has been chosen.
        let place = if output.is_stream() { None } else { output.file().ok() };
        let len = place.map(|place| pack(args, place, &squashed, console)).transpose()?;
        Ok((squashed, archives.to_vec(), len))
    });
    let (squashed, parts, len) = made.map_err(explained).with_context(failed)?;
    let len = match len {
        Some(len) => len,
        None => stream(args, &output, &squashed, console).with_context(failed)?,
    };
    let totals = Totals::of(squashed.diff());
    let apart: u64 = parts.iter().map(Archive::size).sum();
    let rows = parts.iter().map(|part| {
        let mut object = object([("archive_bytes", part.size().into())]);
        put_file(&mut object, "archive", part.path());
        Value::from(object)
    });
    let (rows, count) = (rows.collect::<Value>(), parts.len());

    let mut document = object([
        ("archive_bytes", len.into()),
        ("base", squashed.diff().base().to_string().into()),
        ("result", squashed.diff().result().to_string().into()),
        ("full", squashed.is_full().into()),
        ("totals", totals.json()),
        ("parts", rows),
    ]);
    put_file(&mut document, "archive", &args.output);
    console.document(document)?;
    if !output.is_standard_output() {
        let (output, len, apart) = (shown(&args.output), HumanBytes(len), HumanBytes(apart));
        console
            .line(format_args!("{output} ({len}): {totals}; from {count} archives ({apart})"))?;
    }
    Ok(Answer::Yes)
}

/// The archives squashed. Their own diffs, which are large for large trees, are dropped first.
fn squash(archives: &[Archive], base: Option<&DirIndex>) -> Result<DiffData, Error> {
    let parts = archives.iter().map(Archive::load).collect::<Result<Vec<_>, _>>()?;
    Ok(match base {
        Some(base) => DiffData::squash_from(base, &parts)?,
        None => DiffData::squash(&parts)?,
    })
}

/// The index in the file at `path`, which has to be that of the tree that the archives start from.
fn base(path: &Path, source: &Source) -> Result<DirIndex> {
    let Some(base_id) = source.base() else {
        bail!("{source} starts from nothing: --base is for increments alone");
    };
    let base = files::open_index(path)?.load()?;
    if base.tree_id() != base_id {
        let (path, found) = (shown(path), base.tree_id());
        bail!("{path} is the index of the tree {found}, and {source} starts from {base_id}");
    }
    Ok(base)
}

/// The error, with what helps.
fn explained(error: Error) -> anyhow::Error {
    match error {
        Error::Archived(archive::Error::Diff {
            archive,
            source: diffindex::Error::Collapsed { path, .. },
        }) => anyhow!(
            "{archive} moves the directory {path} with all that is below it, and these archives do not say \
             what that is: give those before them too, from a full backup on, or the index of the tree that \
             the first starts from (--base INDEX)"
        ),
        other => other.into(),
    }
}

/// Packs what was squashed into a file, and gives the length of the archive.
fn pack(
    args: &SquashArgs,
    place: &Path,
    squashed: &DiffData,
    console: &Console,
) -> Result<u64, Error> {
    let ticker = console.ticker("packing", Some(Totals::of(squashed.diff()).content()));
    let options = options(args, ticker.progress());
    Ok(squashed.compact(place, &options)?.size())
}

/// Packs what was squashed into what is no file, and gives the length of the archive.
fn stream(
    args: &SquashArgs,
    output: &Output,
    squashed: &DiffData,
    console: &Console,
) -> Result<u64> {
    let ticker = console.ticker("packing", Some(Totals::of(squashed.diff()).content()));
    let (options, written) = (options(args, ticker.progress()), Progress::default());
    output.write(|out| Ok(squashed.repack_to(Counted { out, progress: &written }, &options)?))?;
    Ok(written.bytes())
}

fn options(args: &SquashArgs, progress: &Arc<Progress>) -> ArchiveOptions {
    let format = args.zstd.then_some(Format::Zstd);
    let progress = Some(Arc::clone(progress));
    ArchiveOptions { format, progress, ..ArchiveOptions::default() }
}
