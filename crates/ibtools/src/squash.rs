//! The verb `squash`: one archive of several that follow one another, or of those that lead to a point.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use incremental_backups_tools::{Archive, ArchiveOptions, DiffData};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::SquashArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::files;
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
    let data = {
        let ticker = console.ticker("packing", Some(totals.content()));
        let progress = Some(Arc::clone(ticker.progress()));
        let options = ArchiveOptions { progress, ..ArchiveOptions::default() };
        let packed = squashed.repack(&args.output, &options);
        packed.with_context(|| format!("cannot squash into {}", shown(&args.output)))?
    };

    let mut document = object([
        ("archive_bytes", data.size().into()),
        ("base", data.diff().base().to_string().into()),
        ("result", data.diff().result().to_string().into()),
        ("full", data.is_full().into()),
        ("totals", totals.json()),
        ("parts", rows),
    ]);
    put_file(&mut document, "archive", &args.output);
    console.document(document)?;
    let (output, len, apart) = (shown(&args.output), HumanBytes(data.size()), HumanBytes(apart));
    console.line(format_args!("{output} ({len}): {totals}; from {count} archives ({apart})"))?;
    Ok(Answer::Yes)
}
