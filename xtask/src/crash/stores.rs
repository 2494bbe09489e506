//! The commands that change a store, and what has to be in it whenever they are interrupted: every
//! snapshot that they are not to remove, as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::jobs::{End, Job, Kind};
use super::trace::Run;
use super::tree::{self, Snapshot, difference, snapshot};

/// What may and must be in a store.
pub(super) struct States {
    pub(super) program: PathBuf,
    /// What opens the store, if it is encrypted.
    pub(super) identities: Vec<PathBuf>,
    /// The snapshots that have to be there, by id.
    pub(super) kept: BTreeMap<String, Snapshot>,
    /// Those that may be there, until the command has done its work.
    pub(super) removed: BTreeMap<String, Snapshot>,
    /// What a new snapshot has to be, if there is to be one.
    pub(super) added: Option<Snapshot>,
}

/// After so many bytes of contents a first backup in pieces puts a checkpoint.
pub(super) const PIECE: &str = "8K";

/// The jobs, prepared below `home`.
pub(super) fn prepare(program: &Path, home: &Path) -> Result<Vec<Job>> {
    fs::create_dir_all(home)?;
    let at = |name: &str| home.join(name);
    let run = |args: &[&str]| Run {
        program: program.to_path_buf(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    // A store of all six states, in which the first five are of three months.
    let states = states(home)?;
    let dates = ["20260131T000000Z", "20260201T000000Z", "20260228T000000Z", "20260301T000000Z"];
    let dates = [dates[0], dates[1], dates[2], dates[3], "20260331T000000Z"];
    let five = at("five");
    fs::create_dir_all(&five)?;
    let mut known = BTreeMap::new();
    for (number, (state, date)) in states.iter().zip(dates).enumerate() {
        tree::copy(state, &five.join("tree"))?;
        let (status, errors) =
            run(&["backup", "--init", "--as", "tree", "tree", "store"]).plain(&five)?;
        ensure!(status.success(), "backup {number}: {errors}");
        let before = number.checked_sub(1).and_then(|before| dates.get(before)).copied();
        rename_newest(&five.join("store"), date, before)?;
        known.insert(date.to_owned(), snapshot(state)?);
        if number == 0 {
            tree::copy(&five, &at("one"))?;
        }
    }
    let [Some(first), Some(second), Some(last)] = [states.first(), states.get(1), states.last()]
    else {
        bail!("no states");
    };
    fs::create_dir_all(at("none"))?;
    tree::copy(first, &at("none").join("tree"))?;
    tree::copy(second, &at("one").join("tree"))?;
    tree::copy(last, &five.join("tree"))?;

    let job = |name, start: &str, args: &[&str], kept: &[&str], added: Option<Snapshot>| {
        let part = |keep: bool| {
            let start = at(start);
            let there = snapshots(&start.join("store")).unwrap_or_default();
            let known = known.iter().filter(|(id, _)| there.contains(*id));
            let known = known.filter(|(id, _)| kept.contains(&id.as_str()) == keep);
            known.map(|(id, state)| (id.clone(), state.clone())).collect()
        };
        let program = program.to_path_buf();
        let (kept, removed, identities) = (part(true), part(false), Vec::new());
        let states = States { program, identities, kept, removed, added };
        Job { name, run: run(args), start: at(start), first: None, kind: Kind::Store(states) }
    };
    let first_backup = ["backup", "--init", "--as", "tree", "tree", "store"];
    let in_pieces = [&first_backup[..], &["--checkpoint", PIECE]].concat();
    let backup = ["backup", "--as", "tree", "tree", "store"];
    let prune = ["prune", "store", "--keep-monthly", "9"];
    let monthly = [dates[0], dates[2], dates[4]];
    Ok(vec![
        job("backup first", "none", &first_backup, &[], Some(snapshot(first)?)),
        job("backup first in pieces", "none", &in_pieces, &[], Some(snapshot(first)?)),
        job("backup", "one", &backup, &dates, Some(snapshot(second)?)),
        job("backup again", "five", &backup, &dates, Some(snapshot(last)?)),
        job("prune", "five", &prune, &monthly, None),
    ])
}

/// Six states of a tree, below `home`.
pub(super) fn states(home: &Path) -> Result<Vec<PathBuf>> {
    let at = |name: &str| home.join(name);
    tree::old(&at("old"))?;
    let states: Vec<PathBuf> = (0..6).map(|number| at(&format!("state-{number}"))).collect();
    let mut before = at("old");
    for (number, state) in states.iter().enumerate() {
        tree::copy(&before, state)?;
        fs::write(state.join("state"), format!("{number}\n").repeat(500 + number))?;
        fs::write(state.join(format!("new-{number}")), "new")?;
        if number == 1 {
            tree::change(state)?;
        }
        before = state.clone();
    }
    Ok(states)
}

/// Gives the newest snapshot another date; the archive before it has been given one already.
fn rename_newest(store: &Path, date: &str, before: Option<&str>) -> Result<()> {
    for name in names(store)? {
        let id = name.get(..16).unwrap_or_default();
        let kind = match (name.split_once('-'), before) {
            (None, _) if name.ends_with(".index") => ".index".to_owned(),
            (Some((_, "full.tgz")), None) => "-full.tgz".to_owned(),
            (Some(_), Some(before)) if id > "20260401" => format!("-since-{before}.tgz"),
            _ => continue,
        };
        fs::rename(store.join(&name), store.join(format!("{date}{kind}")))?;
    }
    Ok(())
}

fn names(store: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(store)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<Result<Vec<_>>>()?.into_iter();
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// The snapshots that archives lead to.
fn snapshots(store: &Path) -> Result<BTreeSet<String>> {
    let names = names(store)?.into_iter().filter(|name| name.contains("Z-"));
    Ok(names.filter_map(|name| name.get(..16).map(str::to_owned)).collect())
}

impl States {
    /// What is wrong with the store in `dir`, if anything is. `end` is how the command ended; `None`
    /// when it has done its work.
    pub(super) fn judge(&self, dir: &Path, end: Option<End>) -> Result<()> {
        let store = dir.join("store");
        let names = if store.exists() { names(&store)? } else { Vec::new() };
        let litter = names.iter().any(|name| name.starts_with(".ibtools"));
        ensure!(!litter || end == Some(End::Killed), "litter: {names:?}");
        let there = self.snapshots(dir)?;
        let lost = self.kept.keys().find(|id| !there.contains(*id));
        ensure!(lost.is_none(), "{lost:?} is lost, there are {there:?}");
        if there.is_empty() {
            ensure!(end.is_some() || self.added.is_none(), "no backup");
            return Ok(());
        }
        self.run(dir, &["verify", "store"])?;
        let checkpoints = self.listed(dir, |row| row["checkpoint"] == true)?;
        let mut added = 0;
        for id in &there {
            let is_checkpoint = checkpoints.contains(id);
            let state = match (self.kept.get(id), self.removed.get(id), &self.added) {
                (Some(state), ..) => state,
                (None, Some(state), _) if end.is_some() => state,
                (None, None, Some(state)) => {
                    added += usize::from(!is_checkpoint);
                    // What could not be read is left out, which was said; the next one has it.
                    if end == Some(End::Warned) || (end.is_none() && Some(id) != there.last()) {
                        continue;
                    }
                    state
                }
                _ => bail!("{id} should not be there"),
            };
            let restored = dir.join("restored");
            if restored.exists() {
                fs::remove_dir_all(&restored)?;
            }
            self.run(dir, &["restore", "store", "restored", "--at", id, "--privileged"])?;
            let mut state = state.clone();
            let found = snapshot(&restored)?;
            if is_checkpoint {
                ensure!(found.len() < state.len(), "the checkpoint {id} has all");
                state.retain(|path, _| found.contains_key(path));
            }
            ensure!(found == state, "{id} is another: {}", difference(&found, &state));
        }
        if end.is_none() {
            ensure!(self.added.is_none() || added > 0, "nothing was added");
            let indexes = names.iter().filter(|name| name.contains(".index")).count();
            ensure!(indexes == 1, "{indexes} indexes");
        }
        Ok(())
    }

    /// The snapshots that are there. Of an encrypted store the names of files do not say it: its log does.
    pub(super) fn snapshots(&self, dir: &Path) -> Result<BTreeSet<String>> {
        let store = dir.join("store");
        if self.identities.is_empty() {
            return if store.exists() { snapshots(&store) } else { Ok(BTreeSet::new()) };
        }
        if !store.join("store.toml").exists() {
            return Ok(BTreeSet::new());
        }
        self.listed(dir, |_| true)
    }

    /// The snapshots that the program lists, those of which `is_wanted` is true.
    fn listed(&self, dir: &Path, is_wanted: fn(&Value) -> bool) -> Result<BTreeSet<String>> {
        let listed: Value =
            serde_json::from_str(&self.run(dir, &["snapshots", "store", "--json"])?)?;
        let rows = listed["snapshots"].as_array().context("the document is another")?;
        let ids =
            rows.iter().filter(|row| is_wanted(row)).filter_map(|row| row["snapshot"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Runs the program, with what opens the store. Gives what it printed.
    fn run(&self, dir: &Path, args: &[&str]) -> Result<String> {
        let mut words: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        for identity in &self.identities {
            words.extend(["--identity".to_owned(), identity.display().to_string()]);
        }
        let (status, printed, errors) =
            Run { program: self.program.clone(), args: words }.printed(dir)?;
        ensure!(status.success(), "{args:?} ends with {status}: {errors}");
        Ok(printed)
    }
}
