//! The verb `apply`: archives, one after the other, onto a directory.

mod preview;
mod reached;
mod unfinished;
pub(crate) mod unkept;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::apply::Error;
use incremental_backups_tools::{
    Applied, ApplyOptions, ApplyStatus, DiffData, DiffIndex, DirIndex, Root, apply_status,
    apply_stream, apply_with, recover_with,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use crate::Answer;
use crate::args::ApplyArgs;
use crate::changes::Totals;
use crate::console::{Console, is_dash, shown};
use crate::files;
use crate::json::{Object, object, put_file};
use crate::restore::is_empty;

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
    let full = archives.first().is_some_and(|(_, data)| data.is_full());
    let links: Vec<Link<'_>> =
        archives.iter().map(|(path, data)| Link::new(path, data.diff())).collect();
    let top = archives.last().and_then(|(_, data)| data.diff().top_mode());
    let make = full.then(|| files::mode_for(top));
    let applied = files::in_dir(&args.dir, make, || apply(args, archives, console))?;
    report(args, &links, &applied, console)
}

/// Applies the one archive that comes out of standard input, as it comes.
fn run_stream(args: &ApplyArgs, path: &Path, console: &mut Console) -> Result<Answer> {
    let stream = files::archive_stream()?;
    let (diff, full) = (stream.diff().clone(), stream.diff().is_full());
    let make = full.then(|| files::mode_for(diff.top_mode()));
    let total = files::in_dir(&args.dir, make, || {
        let apply = |options: &ApplyOptions| apply_stream(&args.dir, stream, options);
        with_progress(args, &diff, console, apply).map_err(|error| explained(error, args, path))
    })?;
    report(args, &[Link::new(path, &diff)], &Done { total, ..Done::default() }, console)
}

/// Says what was done with these archives.
fn report(
    args: &ApplyArgs,
    archives: &[Link<'_>],
    applied: &Done,
    console: &mut Console,
) -> Result<Answer> {
    let (skipped, rest) = archives.split_at(applied.skipped.min(archives.len()));
    let document = |links: &[Link<'_>], skipped: bool| {
        links.iter().map(|link| link.document(skipped)).collect::<Vec<Value>>()
    };
    let rows = [document(skipped, true), document(rest, false)].concat();
    let mut document = numbers(&applied.total);
    let result = archives.last().map(|link| link.result.to_string());
    document.extend(object([("result", result.into()), ("archives", rows.into())]));
    put_file(&mut document, "directory", &args.dir);
    console.document(document)?;
    unkept::warn(&applied.total.unkept, &args.dir, console);
    for link in skipped {
        console.line(format_args!("{}: was applied already", shown(link.path)))?;
    }
    let sentence = sentence(&applied.total);
    match rest {
        [] => {}
        [only] => console.line(format_args!("{}: {sentence}", shown(only.path)))?,
        [first, .., last] => {
            let (first, last) = (shown(first.path), shown(last.path));
            console.line(format_args!("{first} to {last}: {sentence}"))?;
        }
    }
    Ok(Answer::Yes)
}

/// The archives, all of them readable and each starting where the one before it ends.
fn open(paths: &[PathBuf]) -> Result<Vec<(&PathBuf, DiffData)>> {
    let mut archives: Vec<(&PathBuf, DiffData)> = Vec::with_capacity(paths.len());
    for path in paths {
        let data = files::open_archive(path)?.load()?;
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

/// What was done with a row of archives.
#[derive(Default)]
struct Done {
    /// How many of the first ones the tree was past.
    skipped: usize,
    /// How many the tree is past now.
    reached: usize,
    /// What those after the skipped ones did, together.
    total: Applied,
}

impl Done {
    fn add(&mut self, archives: usize, applied: Applied) {
        self.reached += archives;
        let total = &mut self.total;
        total.created += applied.created;
        total.updated += applied.updated;
        total.metadata += applied.metadata;
        total.deleted += applied.deleted;
        total.unchanged += applied.unchanged;
        total.bytes += applied.bytes;
        total.finished |= applied.finished;
        total.unkept.add(&applied.unkept);
    }
}

fn apply(args: &ApplyArgs, archives: Vec<(&PathBuf, DiffData)>, console: &Console) -> Result<Done> {
    let mut done = resume(args, &archives)?;
    if let ([(path, first), _, ..], 0) = (archives.as_slice(), done.reached)
        && first.is_full()
        && is_empty(&args.dir)
    {
        // None of the states in between need ever be there. (In a tree of which the archives tell only
        // a part, those in between could leave what none of the ends has.)
        let (path, count) = (*path, archives.len());
        let parts: Vec<DiffData> = archives.into_iter().map(|(_, data)| data).collect();
        // Not only squashed: that it leads to the tree that the last one names is seen on the way.
        let whole = DiffData::squash(&parts)?.retarget(&DirIndex::empty())?;
        // Diffs of large trees are large, and only that of all is needed from here on.
        drop(parts);
        let applied = apply_one(args, &whole, console);
        done.add(count, applied.map_err(|error| explained(error, args, path))?);
        return Ok(done);
    }
    while let Some((path, data)) = archives.get(done.reached) {
        match apply_one(args, data, console) {
            Ok(applied) => done.add(1, applied),
            Err(error) if done.reached == 0 && is_mismatch(&error) => {
                // Applying the one it is at changes nothing but what may be amiss with metadata.
                match reached::reached(args, &archives, console) {
                    Some(number) => (done.skipped, done.reached) = (number, number),
                    None => return Err(explained(error, args, path)),
                }
            }
            Err(error) => return Err(explained(error, args, path)),
        }
    }
    Ok(done)
}

/// Finishes an earlier run of the same command that was interrupted while it changed the tree.
fn resume(args: &ApplyArgs, archives: &[(&PathBuf, DiffData)]) -> Result<Done> {
    let mut done = Done::default();
    let ApplyStatus::Unfinished { base, result } = apply_status(&args.dir)? else {
        return Ok(done);
    };
    let from = archives.iter().position(|(_, data)| data.diff().base() == base);
    let to = archives.iter().rposition(|(_, data)| data.diff().result() == result);
    let Some((from, to)) = from.zip(to).filter(|(from, to)| from <= to) else {
        // Some other archive's: applying the first of these finishes that before anything else.
        return Ok(done);
    };
    let finished = recover_with(&args.dir, &options(args))
        .with_context(|| format!("cannot finish the interrupted apply in {}", shown(&args.dir)))?;
    (done.skipped, done.reached) = (from, from);
    done.add(to + 1 - from, finished.unwrap_or_default());
    Ok(done)
}

fn apply_one(args: &ApplyArgs, data: &DiffData, console: &Console) -> Result<Applied, Error> {
    let apply = |options: &ApplyOptions| apply_with(&args.dir, data, options);
    with_progress(args, data.diff(), console, apply)
}

/// Does `apply`, and shows how far it has come with `diff`.
fn with_progress(
    args: &ApplyArgs,
    diff: &DiffIndex,
    console: &Console,
    apply: impl FnOnce(&ApplyOptions) -> Result<Applied, Error>,
) -> Result<Applied, Error> {
    let ticker = console.ticker("applying", Some(Totals::of(diff).content()));
    apply(&ApplyOptions { progress: Some(Arc::clone(ticker.progress())), ..options(args) })
}

fn options(args: &ApplyArgs) -> ApplyOptions {
    ApplyOptions {
        privileged: args.privileged,
        check_space: !args.ignore_space,
        strict: args.strict,
        ..ApplyOptions::default()
    }
}

fn is_mismatch(error: &Error) -> bool {
    matches!(error, Error::Unexpected { .. } | Error::Extra { .. })
}

fn explained(error: Error, args: &ApplyArgs, archive: &Path) -> anyhow::Error {
    let context = format!("cannot apply {} to {}", shown(archive), shown(&args.dir));
    anyhow::Error::new(error).context(context)
}

/// An archive, and the trees that it leads from and to.
struct Link<'a> {
    path: &'a Path,
    base: Root,
    result: Root,
}

impl<'a> Link<'a> {
    fn new(path: &'a Path, diff: &DiffIndex) -> Link<'a> {
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
