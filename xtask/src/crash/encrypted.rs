//! The commands that change an encrypted store. Most are run by a machine that cannot read it; what is left is looked at by who can.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::jobs::{Job, Kind};
use super::stores::{self, States};
use super::trace::Run;
use super::tree::{self, Snapshot, snapshot};

/// The jobs, prepared below `home`.
pub(super) fn prepare(program: &Path, home: &Path) -> Result<Vec<Job>> {
    fs::create_dir_all(home)?;
    let at = |name: &str| home.join(name);
    let run = |args: &[&str]| Run {
        program: program.to_path_buf(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    let printed = |dir: &Path, args: &[&str]| {
        let (status, printed, errors) = run(args).printed(dir)?;
        ensure!(status.success(), "{args:?}: {errors}");
        Ok(printed.trim().to_owned())
    };
    let states = stores::states(home)?;
    let recipient = |key: &str| {
        let line = printed(home, &["key", "new", "-o", key, "--json"])?;
        Ok::<_, anyhow::Error>(field(&line, "recipient")?.to_owned())
    };
    let (recipient, rotated) = (recipient("my.key")?, recipient("new.key")?);
    let identities = [at("my.key"), at("new.key")];
    let path = |path: &PathBuf| path.display().to_string();
    let [owner, successor] = identities.each_ref().map(path);

    // The machine is the same in all places: its key is made once.
    let (none, fresh, one, four) = (at("none"), at("fresh"), at("one"), at("four"));
    fs::create_dir_all(&none)?;
    let client = printed(&none, &["key", "show", "--json"])?;
    let client = field(&client, "key")?;
    tree::copy(&none, &four)?;
    printed(&four, &["init", "store", "--recipient", &recipient])?;
    let listed = printed(&four, &["key", "list", "store", "--json"])?;
    let id = field(&listed, "id")?;
    tree::copy(&four, &fresh)?;
    let opening = States {
        program: program.to_path_buf(),
        identities: identities.to_vec(),
        kept: BTreeMap::new(),
        removed: BTreeMap::new(),
        added: None,
    };
    let mut known: Vec<(String, Snapshot)> = Vec::new();
    for (number, state) in states.iter().take(4).enumerate() {
        tree::copy(state, &four.join("tree"))?;
        printed(&four, &["backup", "--as", "tree", "tree", "store"])?;
        let there: BTreeSet<String> = opening.snapshots(&four)?;
        ensure!(there.len() == number + 1, "{there:?} after backup {number}");
        known.push((there.last().cloned().context("no snapshot")?, snapshot(state)?));
        if number == 0 {
            tree::copy(&four, &one)?;
        }
    }
    let (first, second, fifth) = (&states[0], &states[1], &states[4]);
    tree::copy(first, &fresh.join("tree"))?;
    tree::copy(second, &one.join("tree"))?;
    tree::copy(fifth, &four.join("tree"))?;

    // Copied to another place, a store is another one to the machine.
    let trusted = run(&["key", "trust", "store", "--id", id]);
    let job = |name, start: &PathBuf, args: &[&str], there: usize, removed: usize, added| {
        let known = || known.iter().take(there).cloned();
        let states = States {
            kept: known().skip(removed).collect(),
            removed: known().take(removed).collect(),
            added,
            program: opening.program.clone(),
            identities: opening.identities.clone(),
        };
        let first = (start != &none).then(|| trusted.clone());
        Job { name, run: run(args), start: start.clone(), first, kind: Kind::Store(states) }
    };
    let backup = ["backup", "--as", "tree", "tree", "store"];
    let in_pieces = [&backup[..], &["--checkpoint", stores::PIECE]].concat();
    let prune = ["prune", "store", "--keep-last", "2", "--identity", &owner];
    let rotate = ["key", "rotate", "store", "--recipient", &rotated, "--identity", &owner];
    let rotate = [&rotate[..], &["--identity", &successor]].concat();
    Ok(vec![
        job("init", &none, &["init", "store", "--recipient", &recipient], 0, 0, None),
        job("backup first in pieces", &fresh, &in_pieces, 0, 0, Some(snapshot(first)?)),
        job("backup", &one, &backup, 1, 0, Some(snapshot(second)?)),
        job("backup again", &four, &backup, 4, 0, Some(snapshot(fifth)?)),
        job("prune", &four, &prune, 4, 2, None),
        job("allow", &one, &["key", "allow", "store", client, "--identity", &owner], 1, 0, None),
        job("rotate", &one, &rotate, 1, 0, None),
    ])
}

/// What a document of one line has as the text `name`.
fn field<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) =
        line.split_once(&format!("\"{name}\":\"")).context("the document is another")?;
    Ok(rest.split_once('"').context("the document is another")?.0)
}
