//! `bench scale`: every verb on trees of more and more small files, for how time and memory grow. Knows nothing of what the verbs do.

use std::path::Path;

use anyhow::{Context, Result};

use super::corpora::{self, Corpus};
use super::{Bench, Common, Step, Stored, edits, history};
use crate::process::output;

/// The peers that are known for large trees.
const PEERS: [&str; 3] = ["bupstash", "restic", "borg zstd"];

/// Verbs on single files, in this order: what it is called, the command, what it writes.
const BLOCKS: &[(&str, &str, &str)] = &[
    ("find -printf", "find source -printf '%p %y %m %U %G %s %T@ %C@ %i\\n'", ""),
    ("index", "ibtools -q index source -o 0.index", "0.index"),
    ("index, nothing changed", "ibtools -q index source --since 0.index -o 1.index", "1.index"),
    ("compare", "ibtools -q compare source 0.index", ""),
    ("open an index", "xtask open 0.index", ""),
    ("diff", "ibtools -q diff source -o full.tar.zst --index f.index", "full.tar.zst"),
    ("show", "ibtools show full.tar.zst", ""),
    ("verify", "ibtools -q verify full.tar.zst", ""),
    ("apply", "ibtools -q apply back full.tar.zst", ""),
];

/// Verbs on a store, with a tree that has changed since the first of them.
const STORES: &[(&str, &str)] = &[
    ("ls -r", "ibtools ls -r store"),
    ("find", "ibtools find store 'file0000007*'"),
    ("verify a store", "ibtools -q verify store"),
    ("restore, a path", "ibtools -q restore store back --path a/b/dir0000"),
    ("restore, all", "ibtools -q restore store back"),
];

/// Runs the benchmark.
pub(crate) fn run(bench: &mut Bench, common: &Common) -> Result<()> {
    let sizes = match &common.size[..] {
        [] => vec![10_000, 100_000, 1_000_000],
        sizes => sizes.to_vec(),
    };
    for &files in &sizes {
        let one = Common { size: vec![files], ..common.clone() };
        for corpus in corpora::named("small", &one)? {
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
    let source = bench.work.join("source");
    std::fs::create_dir(&source)?;
    (corpus.make)(&source)?;
    for (work, command, kept) in BLOCKS {
        measure(bench, corpus, (work, command), Some(*kept).filter(|kept| !kept.is_empty()))?;
    }
    output(&format!("cd '{}' && rm -rf back && ibtools -q init store", bench.work.display()))?;
    let backup = |bench: &mut Bench, work: &str| {
        let store = bench.work.join("store");
        step(
            bench,
            corpus,
            (work, "ibtools -q backup --zstd source store"),
            &Stored::Growth(&store),
        )
    };
    backup(bench, "backup, first")?;
    backup(bench, "backup, nothing changed")?;
    edits::edit(&source)?;
    backup(bench, "backup, increment")?;
    for (work, command) in STORES {
        output(&format!("rm -rf '{}/back'", bench.work.display()))?;
        measure(bench, corpus, (work, command), None)?;
    }
    history::same(&source, &bench.work.join("back"))?;
    measure(bench, corpus, ("prune", "ibtools -q prune store --keep-last 1"), None)
}

fn measure(
    bench: &mut Bench,
    corpus: &Corpus,
    (work, command): (&str, &str),
    kept: Option<&str>,
) -> Result<()> {
    let kept = kept.map(|kept| bench.work.join(kept));
    let stored = kept.as_deref().map_or(Stored::Nothing, |kept: &Path| Stored::All(kept));
    step(bench, corpus, (work, command), &stored)
}

fn step(
    bench: &mut Bench,
    corpus: &Corpus,
    (work, command): (&str, &str),
    stored: &Stored<'_>,
) -> Result<()> {
    eprintln!("{}, {work}", corpus.name);
    let tool = if work.starts_with("find -printf") { "find" } else { "ibtools" };
    let step = Step { corpus: &corpus.name, work, tool, asked: command };
    let xtask = std::env::current_exe()?.display().to_string();
    let command = command.replace("xtask", &format!("'{xtask}' bench"));
    bench.step(&step, &command, &[], stored).map(drop)
}
