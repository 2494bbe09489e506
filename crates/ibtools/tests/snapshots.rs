//! `ibtools snapshots`, `ls` and `cat`: what is in a store, without restoring it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, backed_up};

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
