//! The verb `apply`: archives, one after the other, onto a directory.

mod preview;
mod unfinished;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{
    Applied, ApplyOptions, ApplyStatus, DiffData, Dir, DirOptions, Error, Node, RelPath,
    ScanOptions, apply_diff_with, apply_status, recover,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use crate::Answer;
use crate::args::ApplyArgs;
use crate::changes::Totals;
use crate::console::{Console, shown};
use crate::json::{Object, object, put_file};
use crate::{files, scan};

/// `ibtools apply`
pub(crate) fn run(args: &ApplyArgs, console: &mut Console) -> Result<Answer> {
    if args.status {
        return unfinished::status(&args.dir, console);
    }
    if args.abort {
        return unfinished::abort(&args.dir, console);
    }
    let archives = open(&args.archives)?;
    if args.dry_run {
        return preview::run(args, &archives, console);
    }
    let made = make_dir(&args.dir, &archives)?;
    let applied = apply(args, &archives, console);
    if made && applied.is_err() {
        // It goes only if it is empty: an archive before the one that failed may have filled it.
        drop(fs::remove_dir(&args.dir));
    }
    let applied = applied?;
    let result = archives.last().map(|(_, data)| data.diff().result().to_string());
    let mut document = object([
        ("result", result.into()),
        ("archives", applied.iter().zip(&archives).map(document).collect::<Value>()),
    ]);
    put_file(&mut document, "directory", &args.dir);
    console.document(document)?;
    for (applied, (path, _)) in applied.iter().zip(&archives) {
        console.line(format_args!("{}: {}", shown(path), sentence(applied)))?;
    }
    Ok(Answer::Yes)
}

/// The archives, all of them readable and each starting where the one before it ends.
fn open(paths: &[PathBuf]) -> Result<Vec<(&PathBuf, DiffData)>> {
    let mut archives: Vec<(&PathBuf, DiffData)> = Vec::with_capacity(paths.len());
    for path in paths {
        let data = files::archive(path)?.load()?;
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

/// Makes the directory for a full backup. Whether it was not there.
fn make_dir(dir: &Path, archives: &[(&PathBuf, DiffData)]) -> Result<bool> {
    let full = archives.first().is_some_and(|(_, data)| data.is_full());
    match fs::symlink_metadata(dir) {
        Err(error) if full && error.kind() == ErrorKind::NotFound => {
            let made = fs::create_dir(dir);
            made.with_context(|| format!("cannot create the directory {}", shown(dir)))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// What was done for each archive; `None` where the tree was past it.
fn apply(
    args: &ApplyArgs,
    archives: &[(&PathBuf, DiffData)],
    console: &Console,
) -> Result<Vec<Option<Applied>>> {
    let mut applied = resume(args, archives)?;
    while let Some((path, data)) = archives.get(applied.len()) {
        match apply_one(args, data, console) {
            Ok(done) => applied.push(Some(done)),
            Err(error) if applied.is_empty() && is_mismatch(&error) => {
                // Applying the one it is at changes nothing but what may be amiss with metadata.
                match reached(args, archives, console) {
                    Some(number) => applied.resize(number, None),
                    None => return Err(explained(error, args, path)),
                }
            }
            Err(error) => return Err(explained(error, args, path)),
        }
    }
    Ok(applied)
}

/// Finishes an earlier run of the same command that was interrupted while it changed the tree.
fn resume(args: &ApplyArgs, archives: &[(&PathBuf, DiffData)]) -> Result<Vec<Option<Applied>>> {
    let ApplyStatus::Unfinished { base, result } = apply_status(&args.dir)? else {
        return Ok(Vec::new());
    };
    let roots = |data: &DiffData| (data.diff().base(), data.diff().result());
    let Some(number) = archives.iter().position(|(_, data)| roots(data) == (base, result)) else {
        // Some other archive's: applying the first of these finishes that before anything else.
        return Ok(Vec::new());
    };
    let finished = recover(&args.dir)
        .with_context(|| format!("cannot finish the interrupted apply in {}", shown(&args.dir)))?;
    let mut applied = vec![None; number];
    applied.push(finished);
    Ok(applied)
}

fn apply_one(args: &ApplyArgs, data: &DiffData, console: &Console) -> Result<Applied, Error> {
    let ticker = console.ticker("applying", Some(Totals::of(data.diff()).content()));
    let options = ApplyOptions { progress: Some(Arc::clone(ticker.progress())), ..options(args) };
    apply_diff_with(&args.dir, data.diff(), data, &options)
}

fn options(args: &ApplyArgs) -> ApplyOptions {
    ApplyOptions {
        privileged: args.privileged,
        check_space: !args.ignore_space,
        ..ApplyOptions::default()
    }
}

fn is_mismatch(error: &Error) -> bool {
    matches!(error, Error::Unexpected { .. } | Error::Extra { .. })
}

/// Which of several archives the tree is at: an earlier run of the same command was interrupted after
/// it. Never the first, which is what was tried.
fn reached(
    args: &ApplyArgs,
    archives: &[(&PathBuf, DiffData)],
    console: &Console,
) -> Option<usize> {
    if archives.len() < 2 {
        return None;
    }
    let everything = DirOptions::everything();
    let dir = Dir::with_options(&args.dir, &everything).ok()?;
    let found = scan::scan(&dir, None, ScanOptions::default(), console).ok()?;
    // What each path is that any of them lists, after those so far. Owners and the like may not
    // have come back, so it is the contents that are compared.
    let mut state: HashMap<&RelPath, Option<&Node>> = HashMap::new();
    // The first that fits: what later ones may have undone again is then simply done again.
    let number = archives.iter().position(|(_, data)| {
        let changes = data.diff().changes().iter();
        state
            .extend(changes.map(|change| (&change.path, change.new.as_ref().map(|new| &new.node))));
        state.iter().all(|(path, node)| found.get(path).map(|entry| &entry.node) == *node)
    });
    number.filter(|&number| number > 0)
}

fn explained(error: Error, args: &ApplyArgs, archive: &Path) -> anyhow::Error {
    let context = format!("cannot apply {} to {}", shown(archive), shown(&args.dir));
    anyhow::Error::new(error).context(context)
}

fn document((applied, (path, data)): (&Option<Applied>, &(&PathBuf, DiffData))) -> Value {
    let mut document = object([
        ("base", data.diff().base().to_string().into()),
        ("result", data.diff().result().to_string().into()),
        ("skipped", applied.is_none().into()),
    ]);
    put_file(&mut document, "archive", path);
    if let Some(applied) = applied {
        document.extend(numbers(applied));
    }
    document.into()
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
    ])
}

fn sentence(applied: &Option<Applied>) -> String {
    let Some(applied) = applied else { return "was applied already".to_owned() };
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
