//! The verb `apply`: archives, one after the other, onto a directory.

mod preview;
pub(crate) mod unapplied;
mod unfinished;
pub(crate) mod unkept;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::apply::Error;
use incremental_backups_tools::archive::LazyData;
use incremental_backups_tools::{
    Applied, ApplyOptions, LazyDiff, Obstacle, Progress, TreeId, apply_chain, apply_stream,
    in_made_dir,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use crate::Answer;
use crate::args::{ApplyArgs, How};
use crate::changes::{Totals, UNREADABLE};
use crate::console::{Console, is_dash, shown};
use crate::files;
use crate::json::{Object, object, put_file};

/// `ibtools apply`
pub(crate) fn run(args: &ApplyArgs, console: &mut Console) -> Result<Answer> {
    if args.status {
        return unfinished::status(&args.dir, console);
    }
    if args.abort {
        return unfinished::abort(&args.dir, console);
    }
    if let ([only], false) = (args.archives.as_slice(), args.dry_run)
        && is_dash(only)
    {
        return run_stream(args, only, console);
    }
    let archives = open(&args.archives)?;
    if args.dry_run {
        return preview::run(args, &archives, console);
    }
    let full = archives.first().is_some_and(|(_, data)| data.diff().is_full());
    let links: Vec<Link<'_>> =
        archives.iter().map(|(path, data)| Link::new(path, data.diff())).collect();
    let top = archives.last().and_then(|(_, data)| data.diff().top_mode());
    let applied = in_dir(args, full, top, || apply(args, archives, console))?;
    report(args, &links, &applied, console)
}

/// Does `work` in the tree's directory, which is made for a full backup.
fn in_dir<T>(
    args: &ApplyArgs,
    full: bool,
    top_mode: Option<u32>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if full { in_made_dir(&args.dir, top_mode, work) } else { work() }
}

/// Applies the one archive that comes out of standard input, as it comes.
fn run_stream(args: &ApplyArgs, path: &Path, console: &mut Console) -> Result<Answer> {
    let stream = files::archive_stream()?;
    let diff = LazyDiff::from(stream.diff());
    let total = Totals::of(stream.diff()).content();
    let applied = in_dir(args, diff.is_full(), diff.top_mode(), || {
        let ticker = console.ticker("applying", Some(total));
        let applied = apply_stream(&args.dir, stream, &counting(args, ticker.progress()));
        applied.map_err(|error| explained(error, args, path))
    })?;
    report(args, &[Link::new(path, &diff)], &(0, applied), console)
}

/// Says what was done with these archives.
fn report(
    args: &ApplyArgs,
    archives: &[Link<'_>],
    (skipped, applied): &(usize, Applied),
    console: &mut Console,
) -> Result<Answer> {
    let (skipped, rest) = archives.split_at((*skipped).min(archives.len()));
    let document = |links: &[Link<'_>], skipped: bool| {
        links.iter().map(|link| link.document(skipped)).collect::<Vec<Value>>()
    };
    let rows = [document(skipped, true), document(rest, false)].concat();
    let mut document = numbers(applied);
    // With something skipped it is no tree that has an id.
    let whole = applied.unapplied.is_empty();
    let result = archives.last().filter(|_| whole).map(|link| link.result.to_string());
    document.extend(object([("result", result.into()), ("archives", rows.into())]));
    put_file(&mut document, "directory", &args.dir);
    console.document(document)?;
    unkept::warn(&applied.unkept, &args.dir, console);
    for link in skipped {
        console.line(format_args!("{}: was applied already", shown(link.path)))?;
    }
    let sentence = sentence(applied);
    match rest {
        [] => {}
        [only] => console.line(format_args!("{}: {sentence}", shown(only.path)))?,
        [first, .., last] => {
            let (first, last) = (shown(first.path), shown(last.path));
            console.line(format_args!("{first} to {last}: {sentence}"))?;
        }
    }
    Ok(unapplied::answer(applied, console))
}

/// The archives, all of them readable and each starting where the one before it ends.
fn open(paths: &[PathBuf]) -> Result<Vec<(&PathBuf, LazyData)>> {
    let mut archives: Vec<(&PathBuf, LazyData)> = Vec::with_capacity(paths.len());
    for path in paths {
        let data = LazyData::open(&files::open_archive(path)?)?;
        if let Some((before, previous)) = archives.last()
            && previous.diff().result() != data.diff().base()
        {
            let (path, before) = (shown(path), shown(before));
            bail!(
                "{path} does not continue {before}: archives are named in the order they were made"
            );
        }
        archives.push((path, data));
    }
    Ok(archives)
}

/// Applies them. Gives how many the tree was past, and what the others did.
fn apply(
    args: &ApplyArgs,
    archives: Vec<(&PathBuf, LazyData)>,
    console: &Console,
) -> Result<(usize, Applied)> {
    let (paths, archives): (Vec<&PathBuf>, Vec<LazyData>) = archives.into_iter().unzip();
    let totals = archives.iter().map(|data| Totals::of_lazy(data.diff()));
    let totals = totals.collect::<Result<Vec<_>, _>>().context(UNREADABLE)?;
    let ticker = console.ticker("applying", Some(totals.iter().map(Totals::content).sum()));
    match apply_chain(&args.dir, &archives, &counting(args, ticker.progress())) {
        Ok(done) => Ok((done.skipped, done.applied)),
        Err(Error::OfChain { number, source }) => {
            let path = paths.get(number).map_or(Path::new("?"), |path| path.as_path());
            Err(explained(*source, args, path))
        }
        Err(error) => Err(error.into()),
    }
}

/// How a tree is changed, as it was typed.
pub(crate) fn options(how: &How) -> ApplyOptions {
    ApplyOptions {
        privileged: how.privileged,
        check_space: !how.ignore_space,
        strict: how.strict,
        on_obstacle: if how.skip_obstacles { Obstacle::Skip } else { Obstacle::Undo },
        skip_damaged: how.skip_damaged,
        ..ApplyOptions::default()
    }
}

/// [`options`], with what counts what is done.
fn counting(args: &ApplyArgs, progress: &Arc<Progress>) -> ApplyOptions {
    ApplyOptions { progress: Some(Arc::clone(progress)), ..options(&args.how) }
}

fn explained(error: Error, args: &ApplyArgs, archive: &Path) -> anyhow::Error {
    let context = format!("cannot apply {} to {}", shown(archive), shown(&args.dir));
    anyhow::Error::new(error).context(context)
}

/// An archive, and the trees that it leads from and to.
struct Link<'a> {
    path: &'a Path,
    base: TreeId,
    result: TreeId,
}

impl<'a> Link<'a> {
    fn new(path: &'a Path, diff: &LazyDiff) -> Link<'a> {
        Link { path, base: diff.base(), result: diff.result() }
    }

    fn document(&self, skipped: bool) -> Value {
        let mut document = object([
            ("base", self.base.to_string().into()),
            ("result", self.result.to_string().into()),
            ("skipped", skipped.into()),
        ]);
        put_file(&mut document, "archive", self.path);
        document.into()
    }
}

pub(crate) fn numbers(applied: &Applied) -> Object {
    object([
        ("created", applied.created.into()),
        ("updated", applied.updated.into()),
        ("metadata", applied.metadata.into()),
        ("deleted", applied.deleted.into()),
        ("unchanged", applied.unchanged.into()),
        ("bytes", applied.bytes.into()),
        ("finished", applied.finished.into()),
        ("unkept", unkept::document(&applied.unkept)),
        ("unapplied", unapplied::document(&applied.unapplied)),
    ])
}

fn sentence(applied: &Applied) -> String {
    let finished = if applied.finished { " (an interrupted apply was finished)" } else { "" };
    format!("{}; {} written{finished}", counted(applied), HumanBytes(applied.bytes))
}

pub(crate) fn counted(applied: &Applied) -> String {
    let counts = [
        (applied.created, "created"),
        (applied.updated, "updated"),
        (applied.metadata, "with other metadata"),
        (applied.deleted, "deleted"),
        (applied.unchanged, "as they should be already"),
    ];
    let there = counts.iter().filter(|(count, _)| *count > 0);
    let mut parts: Vec<String> =
        there.map(|(count, what)| format!("{} {what}", HumanCount(*count))).collect();
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    parts.join(", ")
}
