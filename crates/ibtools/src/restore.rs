//! The verb `restore`: a snapshot, or single paths of it, into a directory.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use incremental_backups_tools::diffindex::Moves;
use incremental_backups_tools::{
    Applied, ApplyOptions, Error, LazyDiff, Meta, RestoreOptions, RestorePlan, in_made_dir,
    recover_with,
};
use indicatif::HumanBytes;

use crate::Answer;
use crate::apply::{counted, numbers, options, unapplied, unkept};
use crate::args::RestoreArgs;
use crate::changes::{Totals, UNREADABLE, rows_of};
use crate::console::{Console, in_words, shown};
use crate::json::{object, put_file, put_names};
use crate::paths::{self, all_inside};
use crate::source::Source;

/// `ibtools restore`
pub(crate) fn run(args: &RestoreArgs, console: &mut Console) -> Result<Answer> {
    let source = Source::open(&args.sources, args.at.as_deref())?;
    if args.delete && source.lies_in(&args.dest) {
        bail!("{source} lies in {}: --delete would remove it", shown(&args.dest));
    }
    let failed = || format!("cannot restore {source} into {}", shown(&args.dest));
    let options = RestoreOptions {
        paths: all_inside(&source, &args.path, console)?,
        overwrite: args.overwrite || args.delete,
        delete: args.delete,
        apply: ApplyOptions { beside: true, ..options(&args.how) },
        ..RestoreOptions::default()
    };
    if !args.dry_run && args.dest.try_exists().with_context(failed)? {
        recover_with(&args.dest, &options.apply).with_context(failed)?;
    }
    let mut looking = Some(console.ticker("looking", None));
    let progress = looking.as_ref().map(|ticker| Arc::clone(ticker.progress()));
    let looks = ApplyOptions { progress, ..options.apply.clone() };
    let looks = RestoreOptions { apply: looks, ..options.clone() };
    let done = source.restore_by(&args.dest, &looks, console, |plan, apply_options| {
        looking = None;
        let diff = plan.diff()?;
        let applied = match args.dry_run {
            true => preview(args, plan, apply_options)?,
            false => Some(apply(args, plan, &diff, apply_options, console)?),
        };
        Ok((diff, applied))
    });
    let done = done.map_err(|error| explained(error, args, &source, console));
    let (diff, applied) = done.with_context(failed)?;
    report(args, &source, &diff, applied.as_ref(), console)?;
    Ok(applied.map_or(Answer::Yes, |applied| unapplied::answer(&applied, console)))
}

fn explained(
    error: Error,
    args: &RestoreArgs,
    source: &Source,
    console: &Console,
) -> anyhow::Error {
    match error {
        Error::Occupied { .. } => {
            anyhow!("{error}: --overwrite allows to replace, --delete also to remove")
        }
        error if error.is_of_archives() && !args.how.skip_damaged => {
            anyhow!("{}. --skip-damaged restores all that is not damaged", in_words(&error))
        }
        error => paths::explained(error, source, console),
    }
}

/// Does it, in the directory, which is made if it is not there.
fn apply(
    args: &RestoreArgs,
    plan: &RestorePlan,
    diff: &LazyDiff,
    options: &ApplyOptions,
    console: &Console,
) -> Result<Applied, Error> {
    let total = Totals::of_lazy(diff)?.content();
    let ticker = console.ticker("restoring", Some(total));
    let progress = Some(Arc::clone(ticker.progress()));
    let options = ApplyOptions { progress, ..options.clone() };
    in_made_dir(&args.dest, diff.top_mode(), || plan.apply(&args.dest, &options))
}

/// What would be done; `None` where the directory is not there: all of it.
fn preview(
    args: &RestoreArgs,
    plan: &RestorePlan,
    options: &ApplyOptions,
) -> Result<Option<Applied>, Error> {
    // Where it cannot be looked at, the preview says why.
    match args.dest.try_exists().unwrap_or(true) {
        true => Ok(Some(plan.preview(&args.dest, options)?.applied)),
        false => Ok(None),
    }
}

/// Root could have brought back owners, and may expect them.
fn warn_of_owners(args: &RestoreArgs, diff: &LazyDiff, console: &Console) -> Result<()> {
    if !rustix::process::geteuid().is_root() || args.how.privileged {
        return Ok(());
    }
    let has_own = |meta: &Meta| (meta.uid, meta.gid) != (0, 0) || meta.mode & 0o6000 != 0;
    for list in diff.lists() {
        let list = list.context(UNREADABLE)?;
        let mut metas = list.iter().filter_map(|change| Some(&change.new.as_ref()?.meta));
        if metas.any(has_own) {
            let what = "owners and setuid bits were not brought back";
            console.warn(format_args!("{what}: as root, --privileged does that"));
            break;
        }
    }
    Ok(())
}

/// Says what was done, or would be.
fn report(
    args: &RestoreArgs,
    source: &Source,
    diff: &LazyDiff,
    applied: Option<&Applied>,
    console: &mut Console,
) -> Result<()> {
    // With something skipped it is no tree that has an id.
    let whole = applied.is_none_or(|applied| applied.unapplied.is_empty());
    let result = whole.then(|| diff.result().to_string());
    let mut document = object([("result", result.into()), ("dry_run", args.dry_run.into())]);
    source.put_into(&mut document);
    put_names(&mut document, "paths", args.path.iter().map(|path| path.as_os_str().as_bytes()));
    put_file(&mut document, "directory", &args.dest);
    document.extend(applied.map(numbers).unwrap_or_default());
    document.insert("seconds".into(), console.seconds().into());
    let dest = shown(&args.dest);
    match args.dry_run {
        true => {
            let moves = Moves::of_lazy(diff).context(UNREADABLE)?;
            let mut lines = rows_of(diff, &moves, |row| row.to_string());
            lines.try_for_each(|line| console.line(line?))?;
            let changes = rows_of(diff, &moves, |row| row.json());
            console.document_with_rows(document, "changes", changes)?;
        }
        false => console.document(document)?,
    }
    if let Some(applied) = applied {
        unkept::warn(&applied.unkept, &args.dest, console);
        warn_of_owners(args, diff, console)?;
    }
    match applied {
        None => {
            let totals = Totals::of_lazy(diff).context(UNREADABLE)?;
            console.line(format_args!("{dest} would be made: {totals}"))
        }
        Some(applied) if args.dry_run => {
            console.line(format_args!("{dest} from {source}: {}", counted(applied)))
        }
        Some(applied) => {
            let (counted, bytes) = (counted(applied), HumanBytes(applied.bytes));
            let took = console.took();
            console
                .line(format_args!("{dest} from {source}: {counted}; {bytes} written, in {took}"))
        }
    }
}
