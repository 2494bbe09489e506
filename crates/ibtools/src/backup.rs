//! The verb `backup`: one more snapshot in a store.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use incremental_backups_tools::store::{Contents, StoredName};
use incremental_backups_tools::stores::{self, Address, AnyStore};
use incremental_backups_tools::{
    ArchiveOptions, BackupOptions, BackupReport, Error, Format, ProblemKind, Repository,
    ScanOptions, SnapshotId,
};
use indicatif::HumanBytes;

use crate::Answer;
use crate::args::BackupArgs;
use crate::changes::Totals;
use crate::console::{Console, number_of, shown};
use crate::index::remarks;
use crate::json::{self, object, put_file};
use crate::scan;
use crate::source::{no_store, reached};
use crate::sources::Sources;

/// `ibtools backup`
pub(crate) fn run(args: &BackupArgs, console: &mut Console) -> Result<Answer> {
    let sources = Sources::open(args)?;
    scan::check_store(&sources.dir, &args.store)?;
    let store = open(args)?;
    let report = {
        let ticker = console.ticker("backing up", None);
        let progress = Some(Arc::clone(ticker.progress()));
        let options = BackupOptions {
            full: args.full,
            full_after: args.full_after,
            full_ratio: args.full_ratio,
            checkpoint: args.checkpoint,
            refuse_changing: args.strict,
            allow_emptied: args.allow_emptied,
            origin: Some(sources.origin.clone()),
            tags: args.tag.clone(),
            time: None,
            parity: args.parity,
            scan: ScanOptions { progress: progress.clone(), ..scan::options(&args.scan) },
            archive: ArchiveOptions {
                format: args.zstd.then_some(Format::Zstd),
                progress,
                ..ArchiveOptions::default()
            },
        };
        store.backup(&sources.dir, &options)
    };
    let report = report
        .map_err(explained)
        .with_context(|| format!("cannot back up {} to {}", sources.shown, shown(&args.store)))?;
    warn(&report, console);
    say(args, &report, console)?;
    let missed = |kind| {
        use ProblemKind::{Attributes, Changing, Unreadable, Unstable};
        matches!(kind, Unreadable | Unstable | Changing | Attributes)
    };
    let missed = report.index.problems().iter().any(|problem| missed(problem.kind));
    let is_whole = report.unprotected.is_none() && !(args.strict && missed);
    Ok(if is_whole { Answer::Yes } else { Answer::No })
}

/// The store, which is made first if it is to be and there is none.
fn open(args: &BackupArgs) -> Result<Repository<AnyStore>> {
    let path = &args.store;
    let address = Address::parse(path)?;
    let reached = reached()?;
    let store = match stores::open(&address, &reached) {
        Err(Error::NoStore { .. }) if args.init => stores::create(&address, &reached),
        opened => opened,
    };
    store.map(crate::protect::witnessed).map_err(|error| match error {
        Error::NoStore { found: Contents::Other(_), .. } => anyhow!(
            "{error}. A backup reads the first directory and writes to the second: are they swapped? Else name \
             another directory for the store"
        ),
        error => no_store(error, path),
    })
}

/// The error, with what to do.
fn explained(error: Error) -> anyhow::Error {
    match error {
        Error::Emptied { removed, entries } => anyhow!(
            "{removed} of {entries} entries of the last backup are gone, as when a disk is not mounted or another \
             directory was given: --allow-emptied backs that up all the same"
        ),
        Error::StoreInside { path } => anyhow!(
            "the store is in the directory, at {path}, and would become part of the backup: keep it elsewhere, or \
             leave it out with --exclude"
        ),
        Error::OtherOrigin { .. } => anyhow!(
            "{error}: make a store of its own for it with `ibtools init`, or say with --as NAME that it is the same tree"
        ),
        other => other.into(),
    }
}

fn warn(report: &BackupReport, console: &Console) {
    if let Some(time) = report.clock_behind {
        let now = SnapshotId::now();
        console.warn(format_args!(
            "the clock says {now}, and the newest snapshot in the store was made at {time}: one of both is wrong. \
             Snapshots are kept in the order in which they are made"
        ));
    }
    for file in &report.unusable {
        match (&file.error, file.name) {
            (None, name) => {
                let is_full = report.made.as_ref().is_some_and(|made| made.archive.since.is_none());
                console.warn(match is_full {
                    false => {
                        format!("{name} was not there: the index was made again from the archives")
                    }
                    true => {
                        format!("{name} is not there for this machine: the backup is a full one")
                    }
                });
            }
            (Some(error), name) => {
                let error = crate::console::in_words(error);
                console.warn(format_args!("{name} cannot be used: {error}"));
            }
        }
    }
    if let Some(error) = &report.unprotected {
        let error = crate::console::in_words(error);
        console.warn(format_args!(
            "the snapshot is there, and not all of its parity: {error}. The next backup makes it, or `ibtools protect`"
        ));
    }
    scan::warn_of_problems(report.index.problems(), console);
}

fn say(args: &BackupArgs, report: &BackupReport, console: &mut Console) -> Result<()> {
    let BackupReport { snapshot, made, resumed, index, snapshots, store_bytes, unusable, .. } =
        report;
    let unprotected = report.unprotected.as_ref().map(|error| crate::console::in_words(error));
    let mut document = object([
        ("snapshot", snapshot.to_string().into()),
        ("changed", made.is_some().into()),
        ("result", index.tree_id().to_string().into()),
        ("snapshots", (*snapshots).into()),
        ("store_bytes", (*store_bytes).into()),
        ("problems", json::problems(index.problems())),
        ("clock_behind", report.clock_behind.map(|time| time.to_string()).into()),
        ("unprotected", unprotected.into()),
        ("unusable", unusable.iter().map(|file| file.name.to_string()).collect()),
    ]);
    put_file(&mut document, "store", &args.store);
    document.insert("seconds".into(), console.seconds().into());
    let (store, total) = (shown(&args.store), HumanBytes(*store_bytes));
    let took = console.took();
    let total = format!("{store}: {}, {total}, in {took}", number_of(*snapshots, "snapshot"));
    let remarks = remarks(index.remarks());
    let Some(made) = made else {
        if !args.tag.is_empty() {
            console.warn(format_args!(
                "nothing changed, so that there is no new snapshot to mark with a tag: --full makes one"
            ));
        }
        console.document(document)?;
        console.line(format_args!("nothing changed since {snapshot}{remarks}"))?;
        return console.line(total);
    };
    let name = StoredName::Archive(made.archive).to_string();
    let totals = Totals::of_lazy(&made.diff)?;
    document.extend(object([
        ("archive", name.clone().into()),
        ("archive_bytes", made.archive_bytes.into()),
        ("index_bytes", made.index_bytes.into()),
        ("parity_bytes", made.parity_bytes.into()),
        ("full", made.archive.since.is_none().into()),
        ("base", made.diff.base().to_string().into()),
        ("resumed", resumed.map(|checkpoint| checkpoint.to_string()).into()),
        ("totals", totals.json()),
    ]));
    console.document(document)?;
    let [archive, index] = [made.archive_bytes, made.index_bytes].map(HumanBytes);
    let parity = match made.parity_bytes {
        0 => String::new(),
        bytes => format!(", parity {}", HumanBytes(bytes)),
    };
    if let Some(checkpoint) = resumed {
        console.line(format_args!("went on from the checkpoint {checkpoint}"))?;
    }
    console.line(format_args!("{name} ({archive}, index {index}{parity}): {totals}{remarks}"))?;
    console.line(total)
}
