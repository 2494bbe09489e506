//! The verb `prune`: fewer points in a store.

use std::sync::Arc;

use anyhow::{Context, Result};
use incremental_backups_tools::store::StoredArchive;
use incremental_backups_tools::{ArchiveOptions, Keep, PruneOptions, PruneReport, Squashed, prune};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::PruneArgs;
use crate::console::{Console, number_of, shown};
use crate::json::{object, put_file};
use crate::source::open_dir;

/// `ibtools prune`
pub(crate) fn run(args: &PruneArgs, console: &mut Console) -> Result<Answer> {
    let store = open_dir(&args.store)?;
    let report = {
        let ticker = console.ticker("pruning", None);
        let progress = Some(Arc::clone(ticker.progress()));
        let options = PruneOptions {
            keep: Keep {
                last: args.keep.keep_last,
                daily: args.keep.keep_daily,
                weekly: args.keep.keep_weekly,
                monthly: args.keep.keep_monthly,
                yearly: args.keep.keep_yearly,
            },
            dry_run: args.dry_run,
            archive: ArchiveOptions { progress, ..ArchiveOptions::default() },
        };
        prune(&store, &options)
    };
    let report = report.with_context(|| format!("cannot prune {}", shown(&args.store)))?;
    if !report.lost.is_empty() {
        console.warn(format_args!(
            "{} cannot be restored, since what they start from is missing; they are left alone",
            number_of(report.lost.len(), "point")
        ));
    }
    console.document(document(args, &report))?;
    let PruneReport { kept, removed, squashed, deleted, store_bytes, .. } = &report;
    for Squashed { name, size, parts } in squashed {
        let size = size.map(|size| format!(" ({})", HumanBytes(size))).unwrap_or_default();
        let (count, bytes) = (parts.len(), HumanBytes(parts.iter().map(|part| part.size).sum()));
        console.line(format_args!("+ {name}{size}, from {count} archives ({bytes})"))?;
    }
    for StoredArchive { name, size } in deleted {
        console.line(format_args!("- {name} ({})", HumanBytes(*size)))?;
    }
    let would = if args.dry_run { ", if it were done" } else { "" };
    let (kept, removed) = (number_of(kept.len(), "point"), number_of(removed.len(), "point"));
    console.line(format_args!("{kept} kept, {removed} removed{would}"))?;
    console.line(format_args!("{}: {}", shown(&args.store), HumanBytes(*store_bytes)))?;
    Ok(Answer::Yes)
}

fn document(args: &PruneArgs, report: &PruneReport) -> crate::json::Object {
    let PruneReport { kept, removed, lost, squashed, deleted, store_bytes } = report;
    let names = |archives: &[StoredArchive]| -> Value {
        archives.iter().map(|archive| archive.name.to_string()).collect()
    };
    let squashed = squashed.iter().map(|Squashed { name, size, parts }| {
        Value::from(object([
            ("archive", name.to_string().into()),
            ("archive_bytes", (*size).into()),
            ("parts", names(parts)),
        ]))
    });
    let mut document = object([
        ("kept", kept.iter().map(ToString::to_string).collect()),
        ("removed", removed.iter().map(ToString::to_string).collect()),
        ("lost", lost.iter().map(ToString::to_string).collect()),
        ("squashed", squashed.collect()),
        ("deleted", names(deleted)),
        ("dry_run", args.dry_run.into()),
        ("store_bytes", (*store_bytes).into()),
    ]);
    put_file(&mut document, "store", &args.store);
    document
}
