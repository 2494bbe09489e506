//! `backup` and `prune`, killed before calls that change the store: nothing is lost, and the same
//! command run again does its work. The long sweep is `cargo xtask crash store`.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, Snapshot, edit, plant, run};
use std::collections::BTreeMap;
use std::process::Command;

const CALLS: [&str; 5] = ["write", "fsync", "renameat2", "unlink", "flock"];

/// Three snapshots, and what the tree was at each; edited once more since.
fn backed_up() -> (Place, BTreeMap<String, Snapshot>) {
    let place = Place::new();
    plant(&place);
    let mut known = BTreeMap::new();
    for step in 0..3 {
        if step == 1 {
            edit(&place);
        }
        place.write("tree/step", step.to_string());
        let made = place.ibtools("backup --init --as tree tree store --json").json();
        known.insert(made["snapshot"].as_str().unwrap().to_owned(), place.snapshot("tree"));
    }
    place.write("tree/step", "last");
    (place, known)
}

fn snapshots(place: &Place) -> Vec<String> {
    let shown = place.ibtools("show store --json").json();
    let archives = shown["archives"].as_array().unwrap().iter();
    let mut snapshots: Vec<String> =
        archives.map(|archive| archive["snapshot"].as_str().unwrap().to_owned()).collect();
    snapshots.dedup();
    snapshots
}

/// That the store verifies, that these snapshots are in it, and that the last `count` of its snapshots are of
/// `known`, as they were, or of what the tree is `now`.
fn check(
    place: &Place,
    wanted: &[&String],
    (known, now): (&BTreeMap<String, Snapshot>, &Snapshot),
    count: usize,
) {
    let verified = place.ibtools("verify store");
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    let there = snapshots(place);
    assert!(wanted.iter().all(|id| there.contains(id)), "{wanted:?} in {there:?}");
    for id in there.into_iter().rev().take(count) {
        drop(std::fs::remove_dir_all(place.path("copy")));
        place.ibtools(&format!("restore store copy --at {id}")).good();
        let known = known.get(&id).unwrap_or(now);
        assert!(place.snapshot("copy") == *known, "{id} is another");
    }
}

/// Kills `command` before each of the calls in turn, looks, and runs it again. `wanted` are the snapshots
/// that have to be there in any case.
fn sweep(command: &str, wanted: impl Fn(&BTreeMap<String, Snapshot>) -> Vec<&String>, least: u32) {
    let (origin, known) = backed_up();
    let (wanted, now) = (wanted(&known), origin.snapshot("tree"));
    let mut kills = 0;
    for call in CALLS {
        for when in 1.. {
            let place = Place::new();
            let copy = Command::new("cp")
                .args(["-a", "tree", "store"])
                .arg(place.path(""))
                .current_dir(origin.path(""))
                .status();
            assert!(copy.unwrap().success());
            let inject = format!("-f -o trace -e inject={call}:signal=SIGKILL:when={when}");
            let killed = format!("{inject} {IBTOOLS} --quiet --threads 1 {command}");
            let Some(killed) = place.other("strace", &killed) else { return };
            check(&place, &wanted, (&known, &now), usize::MAX);
            run(Command::new(IBTOOLS).args(command.split(' ')).current_dir(place.path(""))).good();
            check(&place, &wanted, (&known, &now), 1);
            let names = std::fs::read_dir(place.path("store")).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            assert!(!names.into_iter().any(|name| name.starts_with(".ibtools")), "litter");
            if killed.code == Some(0) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= least, "{command} was killed only {kills} times");
}

#[test]
fn a_killed_backup_loses_nothing_and_is_made_by_the_same_command() {
    sweep("backup --init --as tree tree store", |known| known.keys().collect(), 10);
}

/// Promise: a first backup that is killed goes on from what it has stored, and that is never taken for all.
#[test]
fn a_killed_first_backup_goes_on_from_its_last_checkpoint() {
    let (mut resumed, backup) = (0, "backup --init --as tree --checkpoint 100K tree store");
    for when in 1.. {
        let place = Place::new();
        (0..9).for_each(|n| place.write(&format!("tree/{n}"), testing::noise(n, 60_000)));
        let inject = format!("-f -o trace -e inject=renameat2:signal=SIGKILL:when={when}");
        let killed = format!("{inject} {IBTOOLS} --quiet --threads 1 {backup}");
        let Some(killed) = place.other("strace", &killed) else { return };
        if killed.code == Some(0) {
            break;
        }
        let listed = place.ibtools("snapshots store --json");
        let listed = if listed.code == Some(0) { listed.json() } else { serde_json::json!({}) };
        let listed = listed["snapshots"].as_array().cloned().unwrap_or_default();
        let checkpoints = listed.iter().filter(|it| it["checkpoint"] == true).count();
        if let Some(last) = listed.last().filter(|_| checkpoints == listed.len()) {
            let last = last["snapshot"].as_str().unwrap();
            let words = ["no snapshot is whole yet", "Back up again", last];
            place.ibtools("restore store copy").bad(&words);
            place.ibtools(&format!("restore store part --at {last}")).good();
            let (part, all) = (place.snapshot("part"), place.snapshot("tree"));
            assert!(
                part.len() < all.len() && part.iter().all(|(path, it)| all.get(path) == Some(it))
            );
        }
        let again = place.ibtools(&format!("{backup} --json")).json();
        resumed += usize::from(again["resumed"].is_string());
        assert_eq!(again["resumed"].is_string(), again["changed"] == true && checkpoints > 0);
        place.ibtools("verify store").good();
        place.ibtools("restore store copy").good();
        assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    }
    assert!(resumed >= 4, "it went on {resumed} times");
}

#[test]
fn a_killed_prune_loses_nothing_that_is_kept() {
    sweep("prune store --keep-last 1", |known| known.keys().next_back().into_iter().collect(), 8);
}

/// Promise: exit 0 and no warning mean that all is backed up. A file whose state cannot be asked for while it is stored was
/// taken for one that is gone. And a directory that cannot be looked at was taken for a file: with a name of its own, its backup
/// was one of absolute paths.
#[test]
fn a_call_that_fails_loses_no_file_without_a_word() {
    let place = Place::new();
    let lines = |changed: &str| (0..3000).map(|n| format!("{n}\n")).collect::<String>() + changed;
    place.write("tree/edited", lines("old"));
    place.ibtools("backup --init --as name tree before").good();
    place.write("tree/edited", lines("new"));
    place.write("tree/added", lines("added"));
    let now = place.snapshot("tree");
    for call in ["fstat", "statx", "newfstatat"] {
        for when in 1..60 {
            for name in ["store", "copy"] {
                drop(std::fs::remove_dir_all(place.path(name)));
            }
            place.other("cp", "-a before store").unwrap().good();
            let inject =
                format!("-f -o trace -e trace={call} -e inject={call}:error=EIO:when={when}");
            let backup = format!("{IBTOOLS} --threads 1 backup --as name tree store");
            let Some(ran) = place.other("strace", &format!("{inject} {backup}")) else { return };
            let trace = std::fs::read_to_string(place.path("trace")).unwrap();
            if !trace.contains("INJECTED") {
                break;
            }
            if ran.code == Some(0) && !ran.err.contains("cannot be read") {
                place.ibtools("restore store copy").good();
                assert!(place.snapshot("copy") == now, "{call} {when}: {}{}", ran.out, ran.err);
            }
        }
    }
}
