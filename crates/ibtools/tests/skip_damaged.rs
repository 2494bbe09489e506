//! `--skip-damaged`: a damaged archive costs what is damaged, and that is named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::Place;
use testing::noise;

/// A store of two snapshots: files of a frame and more, a hard link to one, a small one; then some have changed.
fn place() -> Place {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(&format!("tree/{name}"), noise(u64::from(name.as_bytes()[0]), 1_500_000));
    }
    place.write("tree/small", b"small");
    fs::hard_link(place.path("tree/b"), place.path("tree/link")).unwrap();
    place.ibtools("backup --init tree store").good();
    let mut bytes = fs::read(place.path("tree/b")).unwrap();
    bytes.extend(b"more");
    fs::write(place.path("tree/b"), bytes).unwrap();
    place.write("tree/small", b"other");
    place.ibtools("backup tree store").good();
    place
}

/// The full archive of the store.
fn full(place: &Place) -> PathBuf {
    let names = fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap().path());
    let mut full = names.filter(|path| path.to_str().unwrap().ends_with("-full.tgz"));
    full.next().unwrap()
}

/// Wherever a byte of a content flips: what needs it is named, and all else comes back, exactly.
#[test]
fn all_else_is_restored_and_what_is_damaged_is_named() {
    let place = place();
    let (archive, tree) = (full(&place), place.snapshot("tree"));
    let sound = fs::read(&archive).unwrap();
    let mut seen = Vec::new();
    for at in [sound.len() / 6, sound.len() / 2, sound.len() * 5 / 6] {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&archive, bytes).unwrap();
        place.ibtools("restore store back").bad(&["its bytes do not match", "--skip-damaged"]);
        let run = place.ibtools("restore store back --skip-damaged --json");
        assert_eq!(run.code, Some(1), "{}", run.err);
        let rows = run.json()["unapplied"].as_array().unwrap().clone();
        let named: Vec<String> =
            rows.iter().map(|row| row["path"].as_str().unwrap().to_owned()).collect();
        assert!(!named.is_empty() && named.len() < 4, "{named:?}");
        assert!(rows.iter().any(|row| row["why"].as_str().unwrap().contains("do not match")));
        let back = place.snapshot("back");
        for (path, entry) in &tree {
            match named.iter().any(|named| path.to_str() == Some(named)) {
                true => assert!(!back.contains_key(path), "{path:?}"),
                false => assert_eq!(back.get(path), Some(entry), "{path:?}"),
            }
        }
        assert!(run.err.contains("is skipped"), "{}", run.err);
        seen.extend(named);
        fs::remove_dir_all(place.path("back")).unwrap();
    }
    assert!(["b", "link"].iter().all(|name| seen.iter().any(|seen| seen == name)), "{seen:?}");
    // Archives without a store, and a sound store.
    let mut bytes = sound.clone();
    bytes[sound.len() / 6] ^= 1;
    fs::write(place.path("full.tgz"), bytes).unwrap();
    let run = place.ibtools("apply back full.tgz --skip-damaged");
    assert_eq!(run.code, Some(1), "{}", run.err);
    fs::write(&archive, sound).unwrap();
    place.ibtools("restore store whole --skip-damaged").good();
    assert!(place.snapshot("whole") == tree);
}

/// Where another chain has what is damaged in one, nothing is skipped.
#[test]
fn another_chain_is_used_before_anything_is_skipped() {
    let place = place();
    let archive = full(&place);
    place.ibtools("backup tree store --full").good();
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let run = place.ibtools("restore store back --skip-damaged");
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(place.snapshot("back") == place.snapshot("tree"));
}
