//! `ibtools snapshots`, `ls` and `cat`: what is in a store, without restoring it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::process::Command;

use common::{IBTOOLS, Place, backed_up, plant, run};

/// The archives of `store`, the oldest first.
fn archives(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.path("store")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".tgz")).collect();
    names.sort();
    names.iter().map(|name| format!("store/{name}")).collect()
}

/// Each snapshot with its time, whose tree it is of, and how much it has and added.
#[test]
fn a_list_of_snapshots_says_whose_and_how_much() {
    let place = backed_up();
    let json = place.ibtools("snapshots store --json").json();
    let list = json["snapshots"].as_array().unwrap();
    let path = fs::canonicalize(place.path("tree")).unwrap();
    let names = archives(&place);
    for (info, archive) in list.iter().zip(&names) {
        assert_eq!(info["path"], path.to_str().unwrap());
        assert!(!info["host"].as_str().unwrap().is_empty());
        assert_eq!((&info["name"], &info["problem"]), (&().into(), &().into()));
        assert_eq!(info["restorable"], true);
        assert_eq!(info["added"], fs::metadata(place.path(archive)).unwrap().len());
    }
    assert_eq!((&list[0]["full"], &list[1]["full"]), (&true.into(), &false.into()));
    let totals = place.ibtools("index tree -o index --json").json()["totals"].clone();
    assert_eq!((&list[1]["files"], &list[1]["bytes"]), (&totals["files"], &totals["bytes"]));
    let out = place.ibtools("snapshots store").good();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("  full  ") && lines[0].ends_with(path.to_str().unwrap()), "{out}");
    assert!(lines[1].contains(&format!("{} files", totals["files"])), "{out}");
    assert!(lines[2].starts_with("2 snapshots, ") && lines.len() == 3, "{out}");
}

/// Archives that somebody made by `diff` have no labels. They are listed, with what is known.
#[test]
fn archives_without_labels_and_damaged_ones_are_listed() {
    let place = backed_up();
    let names = archives(&place);
    place.ibtools("diff tree -o store/20990101T000000Z-full.tgz").good();
    fs::write(place.path(&names[1]), "no archive").unwrap();
    let run = place.ibtools("snapshots store --json");
    let list = run.json()["snapshots"].clone();
    assert!(list[1]["problem"].is_string() && list[0]["problem"].is_null());
    assert_eq!((&list[2]["files"], &list[2]["host"]), (&().into(), &().into()));
    let run = place.ibtools("snapshots store");
    assert!(run.err.contains("warning: "), "{}", run.err);
}

/// A directory as `ls -ln` has it, of the newest snapshot or an older one.
#[test]
fn a_directory_of_a_snapshot_is_listed() {
    let place = backed_up();
    let listed = |args: &str| -> Vec<String> {
        let out = place.ibtools(&format!("ls {args}")).good();
        let name = |line: &str| line.split_whitespace().nth(6).unwrap().to_owned();
        out.lines().map(name).collect()
    };
    let index = place.ibtools("index tree -o index --json").good();
    assert!(!index.is_empty());
    let all: Vec<String> = place.ibtools("show index --json").json()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap().to_owned())
        .collect();
    let json = |args: &str| place.ibtools(&format!("ls {args} --json")).json()["entries"].clone();
    let paths = |args: &str| -> Vec<String> {
        let entries = json(args);
        let paths = entries.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap());
        paths.map(str::to_owned).collect()
    };
    assert_eq!(paths("store -r"), all);
    let top: Vec<&String> = all.iter().filter(|path| !path.contains('/')).collect();
    assert_eq!(paths("store").iter().collect::<Vec<_>>(), top);
    let dir = |path: &&String| path.strip_prefix("dir/").is_some_and(|rest| !rest.contains('/'));
    assert_eq!(
        paths("store ./dir/").iter().collect::<Vec<_>>(),
        all.iter().filter(dir).collect::<Vec<_>>()
    );
    assert_eq!(listed("store dir/large"), ["dir/large"]);
    let first = place.ibtools("show store --json").json()["archives"][0]["snapshot"].clone();
    let first = first.as_str().unwrap();
    assert!(paths(&format!("store --at {first}")).contains(&"gone".to_owned()));
    let archive = archives(&place)[0].clone();
    assert!(paths(&archive).contains(&"gone".to_owned()));
    place.ibtools("ls store no/such").bad(&["cannot list store", "no/such"]);
    place.ibtools(&format!("ls {}", archives(&place)[1])).bad(&["full backup"]);
}

/// A file comes out as it was, at any snapshot, and nothing comes out of a damaged one.
#[test]
fn a_file_of_a_snapshot_is_printed() {
    let place = backed_up();
    let cat = |args: &str| {
        run(Command::new(IBTOOLS)
            .current_dir(place.path("."))
            .args(["cat", "store"])
            .args(args.split(' ')))
    };
    let first = place.ibtools("show store --json").json()["archives"][0]["snapshot"].clone();
    let first = first.as_str().unwrap();
    place.ibtools(&format!("restore store old --at {first}")).good();
    for path in ["text", "moved", "becomes-dir/file"] {
        let content = fs::read(place.path("tree").join(path)).unwrap();
        assert_eq!(cat(path).good(), String::from_utf8_lossy(&content), "{path}");
    }
    let content = fs::read(place.path("old/becomes-dir")).unwrap();
    let before = cat(&format!("becomes-dir --at {first}"));
    assert_eq!(before.good(), String::from_utf8_lossy(&content));
    // A file that a delta makes, byte for byte.
    let raw = Command::new(IBTOOLS)
        .current_dir(place.path("."))
        .args(["cat", "store", "dir/large"])
        .output();
    assert!(raw.unwrap().stdout == fs::read(place.path("tree/dir/large")).unwrap());
    cat("becomes-dir").bad(&["becomes-dir in store at ", "is no file: it is a directory"]);
    cat(".").bad(&["top directory"]);
    cat("none").bad(&["none"]);
    let full = place.path(&archives(&place)[0]);
    let mut bytes = fs::read(&full).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(full, bytes).unwrap();
    let damaged = cat("dir/large");
    assert_eq!((damaged.code, damaged.out.as_str()), (Some(2), ""));
}

/// What changed between two snapshots is what their archive says, and the other way round.
#[test]
fn changes_between_two_snapshots_are_listed() {
    let place = backed_up();
    let shown = place.ibtools("show store --json").json()["archives"].clone();
    let [first, last] = [0, 1].map(|at| shown[at]["snapshot"].as_str().unwrap().to_owned());
    let forth = place.ibtools(&format!("changes store {first} --json")).json();
    assert_eq!((&forth["from"], &forth["to"]), (&first.clone().into(), &last.clone().into()));
    assert!(forth["totals"]["created"].as_u64().unwrap() > 0 && forth["totals"]["moved"] == 1);
    let back = place.ibtools(&format!("changes store {last} {first} --json")).json();
    assert_eq!((&back["base"], &back["result"]), (&forth["result"], &forth["base"]));
    let out = place.ibtools(&format!("changes store {first}")).good();
    assert!(out.contains("A new\n") && out.contains("D gone/\n"), "{out}");
    let none = place.ibtools(&format!("changes store {last} {last}")).good();
    assert_eq!(none, "nothing changed\n");
}

/// Promise: nights without a change are seen: monitoring can tell "nothing changed" from "did not run". A change ends that.
#[test]
fn an_unchanged_tree_is_seen_again() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store").good();
    let newest = || {
        let list = place.ibtools("snapshots store --json").json();
        list["snapshots"].as_array().unwrap().last().unwrap().clone()
    };
    assert!(newest()["seen_again"].is_null());
    assert!(newest()["seconds"].is_number());
    let said = place.ibtools("backup tree store").good();
    assert!(said.starts_with("nothing changed since "), "{said}");
    let seen = newest()["seen_again"].as_str().unwrap().to_owned();
    assert!(seen.as_str() >= newest()["time"].as_str().unwrap());
    assert!(place.ibtools("snapshots store").good().contains("seen again, unchanged"));
    place.ibtools("backup tree store").good();
    let notes = || {
        let names = std::fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap());
        names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".seen")).count()
    };
    assert_eq!(notes(), 1, "one note, the last");
    place.ibtools("verify store").good();
    place.ibtools("prune store --keep-last 1").good();
    assert!(newest()["seen_again"].is_string());
    place.write("tree/more", "more");
    place.ibtools("backup tree store").good();
    assert!(newest()["seen_again"].is_null());
    assert_eq!(notes(), 0);
}

/// Promise: a tag marks a snapshot for as long as it is there, and keeps it.
#[test]
fn tags_mark_and_keep_snapshots() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store --tag before-update --tag v1").good();
    for number in 0..3 {
        place.write("tree/more", number.to_string());
        place.ibtools("backup tree store").good();
    }
    let ids = |args: &str| {
        let list = place.ibtools(&format!("snapshots store --json {args}")).json();
        let list = list["snapshots"].as_array().unwrap().clone();
        list.iter().map(|info| info["snapshot"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = ids("");
    assert_eq!(ids("--tag v1"), all[..1]);
    assert_eq!(ids("--tag nothing").len(), 0);
    assert!(place.ibtools("snapshots store").good().contains("[before-update, v1]"));
    place.ibtools("prune store --keep-last 1 --keep-tag v1").good();
    assert_eq!(ids(""), [all[0].clone(), all[3].clone()]);
    assert_eq!(ids("--tag before-update"), all[..1]);
    place.ibtools("prune store --keep-tag nothing").good();
    assert_eq!(ids(""), all[3..]);
    let run = place.ibtools("backup tree store --tag v2");
    assert!(run.err.contains("no new snapshot to mark"), "{}", run.err);
    place.ibtools("backup tree store --full --tag v2").good();
    assert_eq!(ids("--tag v2").len(), 1);
    place.ibtools("backup tree store --tag a,b").bad(&["a tag is a word"]);
    place.ibtools("prune store --keep-within 30").bad(&["30", "such as 30d"]);
    place.ibtools("prune store --keep-within 1d --keep-hourly 2").good();
}

/// Promise: how long the work took is said.
#[test]
fn summaries_have_durations() {
    let place = Place::new();
    plant(&place);
    place.ibtools("init store").good();
    for verb in
        ["backup tree store", "restore store copy", "verify store", "prune store --keep-last 1"]
    {
        let said = place.ibtools(verb).good();
        assert!(said.trim_end().ends_with(" s") && said.contains(", in "), "{verb}: {said}");
        let json = place.ibtools(&format!("{verb} --json")).json();
        assert!(json["seconds"].is_number(), "{verb}");
    }
}
