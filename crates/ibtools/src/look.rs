//! The verbs `ls`, `cat`, `dump` and `changes`: what is in a snapshot, without restoring it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use incremental_backups_tools::{DiffIndex, Node, RelPath, Snapshot, archive};
use serde_json::Value;

use crate::Answer;
use crate::args::{CatArgs, ChangesArgs, DumpArgs, LsArgs};
use crate::changes::{Totals, rows};
use crate::console::{Console, shown};
use crate::json::{self, Object, object, put_file};
use crate::output::Output;
use crate::paths::{explained, inside_of};
use crate::show;
use crate::source::Source;

/// `ibtools ls`
pub(crate) fn ls(args: &LsArgs, console: &mut Console) -> Result<Answer> {
    let source = open(&args.source, args.at.as_deref())?;
    let path = match &args.path {
        Some(path) => inside_of(&source, path)?,
        None => None,
    };
    let snapshot = source.with_archives(console, |archives| {
        let snapshot = match &path {
            Some(path) => Snapshot::find(archives, std::slice::from_ref(path))?,
            None => Snapshot::open(archives)?,
        };
        Ok(snapshot)
    });
    let snapshot = snapshot.map_err(|error| explained(error, &source, console));
    let snapshot = snapshot.with_context(|| format!("cannot list {source}"))?;
    let is_dir = match &path {
        Some(path) => snapshot.get(path)?.is_some_and(|it| matches!(it.entry().node, Node::Dir)),
        None => true,
    };
    let is_listed = |path_of: &RelPath| match &path {
        Some(path) if !is_dir => path_of == path,
        dir => is_listed(path_of, dir.as_ref(), args.recursive),
    };
    let listed = || {
        let entries = snapshot.entries().map(|entry| {
            let entry = entry.with_context(|| format!("cannot list {source}"))?;
            let entry = entry.entry();
            anyhow::Ok(is_listed(entry.path).then(|| entry.to_entry()))
        });
        entries.filter_map(Result::transpose)
    };
    if console.json() {
        let mut document = Object::new();
        source.put_into(&mut document);
        let entries = listed().map(|entry| Ok(json::entry(&entry?)));
        console.document_with_rows(document, "entries", entries)?;
    } else {
        listed().try_for_each(|entry| console.line(show::line(&entry?)))?;
    }
    Ok(Answer::Yes)
}

/// Whether `path` is in the directory `dir`, or below it too.
fn is_listed(path: &RelPath, dir: Option<&RelPath>, is_recursive: bool) -> bool {
    let is_below = dir.is_none_or(|dir| path.is_below(dir));
    let from = dir.map_or(0, |dir| dir.as_bytes().len() + 1);
    let is_child = || path.as_bytes().get(from..).is_some_and(|rest| !rest.contains(&b'/'));
    is_below && (is_recursive || is_child())
}

/// `ibtools cat`
pub(crate) fn cat(args: &CatArgs, console: &mut Console) -> Result<Answer> {
    let source = open(&args.source, args.at.as_deref())?;
    let Some(path) = inside_of(&source, &args.path)? else {
        bail!("{} is the top directory, and a file is wanted", shown(&args.path));
    };
    // What has been printed cannot be taken back, so all of it is compared with its digest before.
    let found = {
        let ticker = console.ticker("reading", None);
        source.with_archives(console, |archives| {
            // The tree id proves the digest, and it is over all paths.
            let snapshot = Snapshot::open(archives)?.select(std::slice::from_ref(&path))?;
            let file = file_at(&snapshot, &path)?;
            if file.is_some() {
                snapshot.verify(Some(ticker.progress()))?;
            }
            Ok((snapshot, file))
        })
    };
    let found = found.map_err(|error| explained(error, &source, console));
    let (snapshot, file) = found.with_context(|| format!("cannot read {source}"))?;
    let Some((file, len)) = file else {
        let found = snapshot.get(&path)?;
        let kind = found.as_ref().map_or("nothing", |entry| entry.entry().node.kind());
        bail!(
            "{path} in {source} is no file: it is a {kind}, which `ls` lists and `restore --path` brings back"
        );
    };
    if len > 0 {
        let mut reader = snapshot.reader();
        let mut content = reader.open(&file).with_context(|| format!("cannot read {source}"))?;
        console.copy(&mut content).with_context(|| format!("cannot print {path}"))?;
    }
    Ok(Answer::Yes)
}

/// `ibtools dump`
pub(crate) fn dump(args: &DumpArgs, console: &mut Console) -> Result<Answer> {
    let source = open(&args.source, args.at.as_deref())?;
    let path = match &args.path {
        Some(path) => inside_of(&source, path)?,
        None => None,
    };
    let output = Output::of(Path::new("-"))?;
    output.check(&[&args.source], console)?;
    let proved = {
        let ticker = console.ticker("reading", None);
        source.with_archives(console, |archives| {
            let snapshot = Snapshot::open(archives)?;
            let snapshot = match &path {
                Some(path) => snapshot.select(std::slice::from_ref(path))?,
                None => snapshot,
            };
            // As with `cat`: nothing is written that is not what was backed up.
            snapshot.verify(Some(ticker.progress()))?;
            Ok(snapshot)
        })
    };
    let proved = proved.map_err(|error| explained(error, &source, console));
    let snapshot = proved.with_context(|| format!("cannot read {source}"))?;
    let ticker = console.ticker("writing", None);
    output.write(|out| {
        let written = snapshot.write_tar(out, Some(ticker.progress()));
        written.with_context(|| format!("cannot write {source} as tar"))
    })?;
    Ok(Answer::Yes)
}

/// The file that `path` is, or is another name of, and its length.
fn file_at(snapshot: &Snapshot, path: &RelPath) -> Result<Option<(RelPath, u64)>, archive::Error> {
    let Some(found) = snapshot.get(path)? else { return Ok(None) };
    match found.entry().node {
        Node::File { len, .. } => Ok(Some((path.clone(), *len))),
        // It names a file that has its content.
        Node::HardLink { to } => file_at(snapshot, to),
        _ => Ok(None),
    }
}

/// `ibtools changes`
pub(crate) fn changes(args: &ChangesArgs, console: &mut Console) -> Result<Answer> {
    let from = open(&args.store, Some(&args.from))?;
    let to = open(&args.store, args.to.as_deref())?;
    let tree = |source: &Source, console: &Console| {
        let tree =
            source.with_archives(console, |archives| Ok(Snapshot::open(archives)?.tree()?.clone()));
        tree.with_context(|| format!("cannot read {source}"))
    };
    let diff = DiffIndex::between_lazy(&tree(&from, console)?, &tree(&to, console)?)
        .with_context(|| format!("cannot compare {from} with {to}"))?;
    let totals = Totals::of(&diff);
    let id = |source: &Source| Value::from(source.snapshot().map(|id| id.to_string()));
    let mut document = object([
        ("from", id(&from)),
        ("to", id(&to)),
        ("base", diff.base().to_string().into()),
        ("result", diff.result().to_string().into()),
        ("totals", totals.json()),
    ]);
    put_file(&mut document, "store", &args.store);
    console.document_with_rows(document, "changes", rows(&diff).map(|row| Ok(row.json())))?;
    rows(&diff).try_for_each(|row| console.line(row))?;
    console.line(totals)?;
    Ok(Answer::Yes)
}

fn open(named: &Path, at: Option<&str>) -> Result<Source> {
    Source::open(&[PathBuf::from(named)], at)
}
