//! The verbs `prune` and `forget`: fewer snapshots in a store.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use incremental_backups_tools::store::StoredArchive;
use incremental_backups_tools::stores::AnyStore;
use incremental_backups_tools::{
    ArchiveOptions, Error, Keep, PruneOptions, PruneReport, Repository, Result as Done, SnapshotId,
    Squashed,
};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::Answer;
use crate::args::{ForgetArgs, PruneArgs};
use crate::console::{Console, in_words, number_of, shown};
use crate::json::{object, put_file};
use crate::source::open_dir;

/// `ibtools prune`
pub(crate) fn run(args: &PruneArgs, console: &mut Console) -> Result<Answer> {
    let keep = Keep {
        last: args.keep.keep_last,
        within: args.keep.keep_within,
        hourly: args.keep.keep_hourly,
        daily: args.keep.keep_daily,
        weekly: args.keep.keep_weekly,
        monthly: args.keep.keep_monthly,
        yearly: args.keep.keep_yearly,
    };
    anyhow::ensure!(
        keep != Keep::default() || !args.keep.keep_tag.is_empty(),
        "no rule says what to keep: give one or more, such as --keep-last 3 or --keep-daily 14"
    );
    let (dry_run, ignore_clock) = (args.dry_run, args.ignore_clock);
    let options = PruneOptions {
        keep,
        keep_tags: args.keep.keep_tag.clone(),
        dry_run,
        ignore_clock,
        ..PruneOptions::default()
    };
    thin_out(&args.store, options, console, |store, options| store.prune(options))
}

/// `ibtools forget`
pub(crate) fn forget(args: &ForgetArgs, console: &mut Console) -> Result<Answer> {
    let snapshots = open_dir(&args.store)?.snapshots()?;
    let ids = args.ids.iter().map(|id| snapshots.by_id(id));
    let ids = ids.collect::<Result<Vec<_>, _>>().with_context(|| shown(&args.store))?;
    let options = PruneOptions { dry_run: args.dry_run, ..PruneOptions::default() };
    thin_out(&args.store, options, console, |store, options| store.forget(&ids, options))
}

/// Does what `work` does with the store at `path`, and says what that was.
fn thin_out(
    path: &Path,
    options: PruneOptions,
    console: &mut Console,
    work: impl FnOnce(&Repository<AnyStore>, &PruneOptions) -> Done<PruneReport>,
) -> Result<Answer> {
    let store = open_dir(path)?;
    let dry_run = options.dry_run;
    let report = {
        let ticker = console.ticker("pruning", None);
        let progress = Some(Arc::clone(ticker.progress()));
        let archive = ArchiveOptions { progress, ..ArchiveOptions::default() };
        work(&store, &PruneOptions { archive, ..options })
    };
    let report =
        report.map_err(explained).with_context(|| format!("cannot prune {}", shown(path)))?;
    if !report.lost.is_empty() {
        console.warn(format_args!(
            "{} cannot be restored, since what they start from is missing; they are left alone",
            number_of(report.lost.len(), "snapshot")
        ));
    }
    if !report.waiting.is_empty() {
        console.warn(format_args!(
            "{} stay though no rule keeps them: there is no room for an archive in place of those that lead \
             to them, for which {} free are enough. What could be freed was",
            number_of(report.waiting.len(), "snapshot"),
            HumanBytes(report.room_wanted)
        ));
    }
    let mut document = document(path, dry_run, &report);
    document.insert("seconds".into(), console.seconds().into());
    console.document(document)?;
    let PruneReport { kept, removed, squashed, deleted, freed, store_bytes, .. } = &report;
    for Squashed { name, size, parts, .. } in squashed {
        let size = size.map(|size| format!(" ({})", HumanBytes(size))).unwrap_or_default();
        let (count, bytes) = (parts.len(), HumanBytes(parts.iter().map(|part| part.size).sum()));
        console.line(format_args!("+ {name}{size}, from {count} archives ({bytes})"))?;
    }
    for StoredArchive { name, size, .. } in deleted {
        console.line(format_args!("- {name} ({})", HumanBytes(*size)))?;
    }
    let (kept, removed) = (number_of(kept.len(), "snapshot"), number_of(removed.len(), "snapshot"));
    let (freed, bytes) = (HumanBytes(*freed), HumanBytes(*store_bytes));
    let path = shown(path);
    let about = if squashed.is_empty() { "" } else { "about " };
    if dry_run {
        console.line(format_args!("{kept} kept, {removed} removed, if it were done"))?;
        console.line(format_args!("{path}: {bytes}, of which {about}{freed} would be freed"))?;
    } else {
        console.line(format_args!("{kept} kept, {removed} removed"))?;
        let took = console.took();
        console.line(format_args!("{path}: {bytes}, {freed} freed, in {took}"))?;
    }
    Ok(Answer::Yes)
}

/// The error, with what to do.
fn explained(error: Error) -> anyhow::Error {
    match error {
        Error::Unsound { snapshot, archive, source } => {
            let cause = in_words(&source);
            anyhow!(
                "{archive}: {cause}. {snapshot} is to be kept and needs it, so no archive was deleted that is sound: make a \
                 new full backup (ibtools backup --full) and prune again, or remove {archive}"
            )
        }
        Error::Clock { snapshot, clock, after } => {
            let why = match after {
                true => format!("and it is {} now", SnapshotId::now()),
                false => "and that does not fit into the order of the others".to_owned(),
            };
            anyhow!(
                "{snapshot} was made at {clock} by the clock, {why}: the clock was wrong, or is, and days cannot be \
                 counted by it. Look at the snapshots with `ibtools show`; --keep-last counts no days, and --ignore-clock \
                 takes for a wrong time that of the snapshot before"
            )
        }
        Error::NewestStays { .. } => {
            anyhow!("{error}: back up once more without what is to go, then forget it")
        }
        other => other.into(),
    }
}

fn document(path: &Path, dry_run: bool, report: &PruneReport) -> crate::json::Object {
    let PruneReport { kept, removed, waiting, room_wanted, lost, squashed, deleted, .. } = report;
    let names = |archives: &[StoredArchive]| -> Value {
        archives.iter().map(|archive| archive.name.to_string()).collect()
    };
    let squashed = squashed.iter().map(|Squashed { name, size, parts, .. }| {
        Value::from(object([
            ("archive", name.to_string().into()),
            ("archive_bytes", (*size).into()),
            ("parts", names(parts)),
        ]))
    });
    let mut document = object([
        ("kept", kept.iter().map(ToString::to_string).collect()),
        ("removed", removed.iter().map(ToString::to_string).collect()),
        ("waiting", waiting.iter().map(ToString::to_string).collect()),
        ("room_wanted", (*room_wanted).into()),
        ("lost", lost.iter().map(ToString::to_string).collect()),
        ("squashed", squashed.collect()),
        ("deleted", names(deleted)),
        ("dry_run", dry_run.into()),
        ("freed_bytes", report.freed.into()),
        ("store_bytes", report.store_bytes.into()),
    ]);
    put_file(&mut document, "store", path);
    document
}
