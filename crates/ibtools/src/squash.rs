//! The verb `squash`: one archive of several that follow one another, or of those that lead to a point.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use incremental_backups_tools::{Archive, ArchiveOptions, DiffData, Format, Progress};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::SquashArgs;
use crate::changes::Totals;
use crate::console::{Console, is_dash, shown};
use crate::files::{self, Counted};
use crate::json::{object, put_file};
use crate::source::Source;

/// `ibtools squash`
pub(crate) fn run(args: &SquashArgs, console: &mut Console) -> Result<Answer> {
    let inputs: Vec<&Path> = args.sources.iter().map(AsRef::as_ref).collect();
    files::check_output(&args.output, &inputs, console)?;
    let source = Source::open(&args.sources, args.at.as_deref())?;
    let parts = source.archives.iter().map(Archive::load).collect::<Result<Vec<_>, _>>()?;
    let squashed = DiffData::squash(&parts)?;
    let part = |part: &DiffData| {
        let mut object = object([("archive_bytes", part.size().into())]);
        if let Some(archive) = part.archives().first() {
            put_file(&mut object, "archive", archive.path());
        }
        Value::from(object)
    };
    let (rows, count) = (parts.iter().map(part).collect::<Value>(), parts.len());
    let apart: u64 = parts.iter().map(DiffData::size).sum();
    // Diffs of large trees are large.
    drop(parts);
    let totals = Totals::of(squashed.diff());
    let packed = pack(args, &squashed, &totals, console);
    let len = packed.with_context(|| format!("cannot squash into {}", shown(&args.output)))?;

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
    if !is_dash(&args.output) {
        let (output, len, apart) = (shown(&args.output), HumanBytes(len), HumanBytes(apart));
        console
            .line(format_args!("{output} ({len}): {totals}; from {count} archives ({apart})"))?;
    }
    Ok(Answer::Yes)
}

/// Packs what was squashed, and gives the length of the archive.
fn pack(
    args: &SquashArgs,
    squashed: &DiffData,
    totals: &Totals,
    console: &mut Console,
) -> Result<u64> {
    let output = &args.output;
    let ticker = console.ticker("packing", Some(totals.content()));
    let progress = Some(Arc::clone(ticker.progress()));
    let format = args.zstd.then_some(Format::Zstd);
    let options = ArchiveOptions { format, progress, ..ArchiveOptions::default() };
    if !files::is_stream(output) {
        return Ok(squashed.repack(files::behind_link(output), &options)?.size());
    }
    let written = Progress::default();
    files::write(output, console, |out| {
        Ok(squashed.repack_to(Counted { out, progress: &written }, &options)?)
    })?;
    Ok(written.bytes())
}
