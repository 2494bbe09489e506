//! `ibtools prune`, as a user sees it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Place, backed_up};
use std::fs;

/// Three snapshots.
fn three_points() -> Place {
    let place = backed_up();
    place.write("tree/new", "third");
    place.ibtools("backup --init tree store").good();
    place
}

fn archives(place: &Place) -> Vec<String> {
    let document = place.ibtools("show store --json").json();
    let archives = document["archives"].as_array().unwrap().iter();
    archives.map(|archive| archive["archive"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_others_depend_on_is_squashed() {
    let place = three_points();
    let before = archives(&place);
    let out = place.ibtools("prune store --keep-last 2 --dry-run").good();
    assert_eq!(archives(&place), before);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("+ 2") && lines[0].contains("-full.tgz, from 2 archives"),
        "{out}"
    );
    assert!(lines[1].starts_with(&format!("- {} (", before[1])), "{out}");
    assert!(lines[2].starts_with(&format!("- {} (", before[0])), "{out}");
    assert_eq!(lines[3], "2 snapshots kept, 1 snapshot removed, if it were done");
    assert!(lines[4].contains("of which about ") && lines[4].ends_with(" would be freed"), "{out}");

    let document = place.ibtools("prune store --keep-last 2 --json").json();
    assert_eq!(document["kept"].as_array().unwrap().len(), 2);
    assert_eq!(document["removed"].as_array().unwrap().len(), 1);
    assert_eq!(document["deleted"], serde_json::json!([before[1], before[0]]));
    let made = document["squashed"][0]["archive"].as_str().unwrap();
    assert_eq!(document["squashed"][0]["parts"], serde_json::json!([before[0], before[1]]));
    assert_eq!(archives(&place), [made, &before[2]]);
    let bytes: u64 = fs::read_dir(place.path("store"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name() != "store.toml")
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(document["store_bytes"], bytes);
    place.ibtools(&format!("apply copy store/{made} store/{}", before[2])).good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));

    let out = place.ibtools("prune store --keep-daily 5").good();
    assert!(
        out.contains("B freed, in ") && out.contains("1 snapshot kept, 1 snapshot removed\n"),
        "{out}"
    );
    let out = place.ibtools("prune store --keep-yearly 1").good();
    assert!(out.starts_with("1 snapshot kept, 0 snapshots removed\n"), "{out}");
    assert!(place.ibtools("backup --init tree store").good().starts_with("nothing changed"));
}

#[test]
fn a_rule_is_needed_and_a_store() {
    let place = three_points();
    let run = place.ibtools("prune store");
    assert!(run.code == Some(2) && run.err.contains("--keep-last"), "{}", run.err);
    place.ibtools("prune store --keep-last 0").bad(&["no rule says what to keep", "no rule"]);
    place.ibtools("prune none --keep-last 1").bad(&["there is no store at none"]);
    let before = archives(&place);
    let path = place.path("store").join(&before[0]);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    place.ibtools("prune store --keep-last 1").bad(&["cannot prune store", &before[0]]);
    assert_eq!(archives(&place), before);
}

/// No harm by mistake: what is forgotten is named by its id, and nothing else is taken for one.
#[test]
fn snapshots_are_forgotten_by_their_ids() {
    let place = three_points();
    let document = place.ibtools("snapshots store --json").json();
    let id = |number: usize| document["snapshots"][number]["snapshot"].as_str().unwrap();
    let before = archives(&place);
    for (args, said) in [
        ("2026-11-22", "there is no snapshot whose id is or begins with `2026-11-22`"),
        ("2", "`2` begins 3 ids"),
        (id(2), "is the newest snapshot"),
        ("19990101T000000Z", "there is no snapshot"),
    ] {
        place.ibtools(&format!("forget store {args}")).bad(&[said]);
    }
    let dry = place.ibtools(&format!("forget store {} --dry-run", id(1))).good();
    assert!(dry.contains("2 snapshots kept, 1 snapshot removed, if it were done"), "{dry}");
    assert_eq!(archives(&place), before);
    let forgotten = place.ibtools(&format!("forget store {} --json", id(1))).json();
    assert_eq!(forgotten["removed"], serde_json::json!([id(1)]));
    assert!(forgotten["freed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(place.ibtools("snapshots store").good().lines().count(), 3);
    place.ibtools("restore store back").good();
    assert_eq!(place.snapshot("back"), place.snapshot("tree"));
    assert!(place.ibtools("verify store").good().contains("2 of 2"));
}
