//! `bench scale`: every verb on trees of more and more small files, for how time and memory grow. Knows nothing of what the verbs do.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::corpora::{self, Corpus};
use super::scan::{Row, steps};
use super::{Bench, Common, Step, Stored, edits, history};
use crate::process::output;

/// The peers that are known for large trees.
const PEERS: [&str; 3] = ["bupstash", "restic", "borg zstd"];
const OURS: &str = "ibtools";

/// Verbs on single files, in this order.
const BLOCKS: &[Row<'_>] = &[
    ("find -printf", "find", "find source -printf '%p %y %m %U %G %s %T@ %C@ %i\\n'", ""),
    ("index", OURS, "ibtools -q index source -o 0.index", "0.index"),
    (
        "index, nothing changed",
        OURS,
        "ibtools -q index source --since 0.index -o 1.index",
        "1.index",
    ),
    ("compare", OURS, "ibtools -q compare source 0.index", ""),
    ("open an index", OURS, "xtask open 0.index", ""),
    ("diff", OURS, "ibtools -q diff source -o full.tar.zst --index f.index", "full.tar.zst"),
    ("show", OURS, "ibtools show full.tar.zst", ""),
    ("verify", OURS, "ibtools -q verify full.tar.zst", ""),
];

/// With so many files, peers take too long.
const LARGE: usize = 10_000_000;
const APPLY: Row<'_> = ("apply", OURS, "ibtools -q apply back full.tar.zst", "");

/// Verbs on a store, by the names that the works of the peers have, with a tree that has changed since the first of them.
const STORES: &[Row<'_>] = &[
    ("ls -r", OURS, "ibtools ls -r store", ""),
    ("find", OURS, "ibtools find store 'file0000007*'", ""),
    ("verify a store", OURS, "ibtools -q verify store", ""),
];
const RESTORE: Row<'_> = ("restore", OURS, "ibtools -q restore store back", "");
const PRUNE: Row<'_> = ("prune", OURS, "ibtools -q prune store --keep-last 1", "");

/// Runs the benchmark.
pub(crate) fn run(bench: &mut Bench, common: &Common) -> Result<()> {
    for files in common.sizes(&[10_000, 100_000, 1_000_000]) {
        if files >= LARGE {
            large(bench, files)?;
            continue;
        }
        let one = Common { size: vec![files], ..common.clone() };
        for corpus in corpora::named("small", &one)? {
            eprintln!("{}: every verb", corpus.name);
            verbs(bench, &corpus).with_context(|| corpus.name.clone())?;
        }
        let tools = match &common.tools[..] {
            [] => PEERS.map(String::from).into(),
            tools => tools.to_vec(),
        };
        history::run(bench, &Common { tools, runs: 1, ..one }, &["small".into()])?;
    }
    Ok(())
}

fn verbs(bench: &mut Bench, corpus: &Corpus) -> Result<()> {
    bench.fresh()?;
    let work = bench.work.clone();
    let (source, back) = (work.join("source"), work.join("back"));
    fs::create_dir(&source)?;
    (corpus.make)(&source)?;
    steps(bench, &corpus.name, BLOCKS)?;
    steps(bench, &corpus.name, &[APPLY])?;
    backups(bench, &corpus.name, || edits::edit(&source).map(drop))?;
    restore_path(bench, &corpus.name, "a/b/dir0000")?;
    steps(bench, &corpus.name, STORES)?;
    output(&format!("rm -rf '{}'", back.display()))?;
    steps(bench, &corpus.name, &[RESTORE])?;
    history::same(&source, &back)?;
    steps(bench, &corpus.name, &[PRUNE])
}

fn restore_path(bench: &mut Bench, corpus: &str, path: &str) -> Result<()> {
    output(&format!("rm -rf '{}'", bench.work.join("back").display()))?;
    let command = format!("ibtools -q restore store back --path {path}");
    steps(bench, corpus, &[("restore, a path", OURS, &command, "")])
}

/// A first backup, one of nothing, and one of what `edit` changes.
fn backups(bench: &mut Bench, corpus: &str, edit: impl FnOnce() -> Result<()>) -> Result<()> {
    let store = bench.work.join("store");
    output(&format!("cd '{}' && ibtools -q init store", bench.work.display()))?;
    let backup = |bench: &mut Bench, work: &str| {
        let command = "ibtools -q backup --zstd source store";
        let step = Step { corpus, work, tool: OURS, asked: command };
        bench.step(&step, command, &[], &Stored::Growth(&store)).map(drop)
    };
    backup(bench, "full")?;
    backup(bench, "nothing changed")?;
    edit()?;
    backup(bench, "increment")
}

/// Verbs on a tree of sparse files, which take no room for their contents. Restored, each takes a block, 40 GB together: so that is
/// not done.
fn large(bench: &mut Bench, files: usize) -> Result<()> {
    let name = format!("small {files}");
    eprintln!("{name}: sparse files");
    bench.fresh()?;
    let source = bench.work.join("source");
    sparse(&source, 0..files)?;
    steps(bench, &name, BLOCKS)?;
    // A directory more, with as many files as the others have.
    backups(bench, &name, || sparse(&source, files..files + FILES_IN_DIR))?;
    fs::remove_dir_all(&source)?;
    restore_path(bench, &name, "a/b000/dir000000")?;
    steps(bench, &name, STORES)?;
    steps(bench, &name, &[PRUNE])
}

const FILES_IN_DIR: usize = 100;

/// Files of these numbers, of 1 to 3,000 zeros.
fn sparse(source: &Path, numbers: Range<usize>) -> Result<()> {
    for number in numbers {
        let dir = number / FILES_IN_DIR;
        let dir = source.join(format!("a/b{:03}/dir{dir:06}", dir / 1000));
        if number % FILES_IN_DIR == 0 {
            fs::create_dir_all(&dir)?;
        }
        File::create(dir.join(format!("file{number:08}")))?
            .set_len(number as u64 * 7 % 3000 + 1)?;
    }
    Ok(())
}
