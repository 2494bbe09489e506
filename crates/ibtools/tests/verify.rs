//! Stores and rows of archives as a user restores from them and verifies them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use common::{Place, edit, plant, run};
use incremental_backups_tools::{DirIndex, Time, dirindex::Record};

const FULL: &str = "store/20260101T000000Z-full.tgz";
const SECOND: &str = "store/20260102T000000Z-since-20260101T000000Z.tgz";
const THIRD: &str = "store/20260103T000000Z-since-20260102T000000Z.tar.zst";
const INDEX: &str = "store/20260103T000000Z.index";

/// A store with three snapshots, and the tree at the first two in `day1` and `day2`.
fn stored() -> Place {
    let place = Place::new();
    plant(&place);
    fs::create_dir(place.path("store")).unwrap();
    place.ibtools(&format!("diff tree -o {FULL} --index index")).good();
    keep(&place, "day1");
    edit(&place);
    place.ibtools(&format!("diff tree --base index -o {SECOND} --index index")).good();
    keep(&place, "day2");
    let mut large = fs::read(place.path("tree/dir/large")).unwrap();
    large.splice(200_000..200_100, *b"again");
    place.write("tree/dir/large", large);
    fs::rename(place.path("tree/new"), place.path("tree/dir/newer")).unwrap();
    place.ibtools(&format!("diff tree --base index -o {THIRD} --index {INDEX}")).good();
    place
}

fn keep(place: &Place, name: &str) {
    let copied = run(Command::new("cp").arg("-a").args([place.path("tree"), place.path(name)]));
    assert_eq!(copied.code, Some(0));
}

fn flip(path: PathBuf, at: usize) {
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn any_point_comes_back_and_a_copy_goes_from_one_to_another() {
    let place = stored();
    place.ibtools("restore store copy").good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    let inode = |name: &str| fs::symlink_metadata(place.path(name)).unwrap().ino();
    let untouched = inode("copy/text");
    for (at, state) in [
        ("2026-01-01", "day1"),
        ("20260103", "tree"),
        ("20260102T000000Z", "day2"),
        ("2026-01-02T12:00", "day2"),
        ("2027-01-01", "tree"),
    ] {
        place.ibtools(&format!("restore store copy --at {at}")).good();
        assert_eq!(place.snapshot("copy"), place.snapshot(state), "{at}");
    }
    assert_eq!(inode("copy/text"), untouched, "what does not differ is not written");
    place
        .ibtools("restore store new --at 2025-12-31")
        .bad(&["nothing was backed up until 2025-12-31", "the first snapshot is 20260101T000000Z"]);
    place.ibtools("restore store new --at today").bad(&["`today`"]);
    place.ibtools(&format!("restore {FULL} new --at 2026-01-01")).bad(&["--at"]);
    assert!(!place.path("new").exists());
    fs::create_dir(place.path("empty")).unwrap();
    place.ibtools("restore empty new").bad(&["there is no store at empty: it is empty"]);
}

#[test]
fn a_row_of_archives_is_restored_as_a_store_is() {
    let place = stored();
    place.ibtools(&format!("restore {FULL} {SECOND} {THIRD} copy")).good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    place.ibtools(&format!("restore {FULL} {SECOND} {THIRD} some --path dir")).good();
    assert_eq!(place.snapshot("some/dir"), place.snapshot("tree/dir"));
    assert_eq!(fs::read_dir(place.path("some")).unwrap().count(), 1);
    place.ibtools(&format!("restore {SECOND} {THIRD} x")).bad(&["is no full backup"]);
    place.ibtools(&format!("restore {FULL} {THIRD} x")).bad(&["20260103T000000Z-since"]);
}

#[test]
fn nothing_is_lost_that_may_not_be() {
    let place = stored();
    place.ibtools("restore store copy").good();
    place.write("copy/mine", "not in any backup");
    place.write("copy/text", "mine too");
    place.write("copy/dir/inner-note", "and this");
    let before = place.snapshot("copy");
    for options in ["", "--path text", "--at 2026-01-01", "--dry-run"] {
        let refused = place.ibtools(&format!("restore store copy {options}"));
        refused.bad(&["would be replaced or removed", "--overwrite"]);
    }
    assert_eq!(place.snapshot("copy"), before);

    // What is not in the way is no reason to refuse, and stays.
    fs::remove_file(place.path("copy/link")).unwrap();
    place.ibtools("restore store copy --path link").good();
    let listed = place.ibtools("restore store copy --overwrite --dry-run").good();
    assert!(listed.contains("M text\n") && !listed.contains("mine"), "{listed}");
    place.ibtools("restore store copy --overwrite --path text").good();
    let read = |name: &str| fs::read(place.path(name)).unwrap();
    assert_eq!(read("copy/text"), b"contents1");
    assert_eq!(read("copy/text-again"), b"mine too", "another name, which was not asked for");
    place.ibtools("restore store copy --overwrite").good();
    let (copy, tree) = (place.snapshot("copy"), place.snapshot("tree"));
    let more: Vec<&PathBuf> = copy.keys().filter(|path| !tree.contains_key(*path)).collect();
    assert_eq!(more, [&PathBuf::from("dir/inner-note"), &PathBuf::from("mine")]);
    assert_eq!(fs::read(place.path("copy/mine")).unwrap(), b"not in any backup");

    place.ibtools("restore store copy --delete --path dir").good();
    assert!(place.path("copy/mine").exists() && !place.path("copy/dir/inner-note").exists());
    place.ibtools("restore store . --delete").bad(&["store at", "--delete would remove it"]);
    place.ibtools("restore store copy --delete").good();
    assert_eq!(place.snapshot("copy"), tree);
}

#[test]
fn a_state_of_a_store_becomes_a_full_backup() {
    let place = stored();
    place.ibtools("squash store --at 2026-01-02 -o day2.tgz").good();
    place.ibtools("restore day2.tgz copy").good();
    assert_eq!(place.snapshot("copy"), place.snapshot("day2"));
    assert_eq!(fs::read_dir(place.path("store")).unwrap().count(), 4);
}

#[test]
fn a_sound_store_is_said_to_be_so() {
    let place = stored();
    let said = place.ibtools("verify store").good();
    let is_whole = said.contains("3 of 3 snapshots whole, in ");
    assert!(is_whole && said.lines().count() == 1, "{said}");
    let document = place.ibtools("--json verify store").json();
    assert_eq!(
        (&document["sound"], &document["snapshots"][1]["restorable"]),
        (&true.into(), &"whole".into())
    );
    place.ibtools(&format!("verify {FULL} {SECOND} {THIRD} {INDEX}")).good();
    place.ibtools(&format!("verify {SECOND}")).good();
    place.ibtools("verify tree/text").bad(&["no index, no archive and no diff"]);
}

#[test]
fn damage_is_told_with_what_it_costs() {
    let place = stored();
    let lens =
        [FULL, SECOND, THIRD, INDEX].map(|name| fs::metadata(place.path(name)).unwrap().len());
    // (what is done, what is said, which of the snapshots restore)
    for (name, at, restorable) in [
        (FULL, 0.9, [false, false, false]),
        (SECOND, 0.5, [true, false, false]),
        (THIRD, 0.0, [true, true, false]),
        (INDEX, 0.5, [true, true, true]),
    ] {
        let sound = fs::read(place.path(name)).unwrap();
        let number = [FULL, SECOND, THIRD, INDEX].iter().position(|it| *it == name).unwrap();
        flip(place.path(name), (lens[number] as f64 * at) as usize);
        let verified = place.ibtools("--json verify store");
        assert_eq!(verified.code, Some(1), "{name}");
        let document = verified.json();
        assert_eq!(document["sound"], false);
        let text = place.ibtools("verify store");
        let named = name.trim_start_matches("store/");
        assert!(text.out.contains(named), "{name}: {}", text.out);
        for (day, whole) in restorable.into_iter().enumerate() {
            let id = &document["snapshots"][day];
            let copy = format!("copy-{number}-{day}");
            let restored = place.ibtools(&format!("restore store {copy} --at 2026010{}", day + 1));
            assert_eq!(restored.code == Some(0), id["restorable"] == "whole", "{name} {day}");
            assert_eq!(restored.code == Some(0), whole, "{name} {day}: {}", restored.err);
            assert_eq!(place.path(&copy).exists(), whole);
        }
        fs::write(place.path(name), sound).unwrap();
    }
    place.ibtools("verify store").good();
}

#[test]
fn what_another_way_leads_to_is_not_lost() {
    let place = stored();
    let short = "store/20260103T000000Z-since-20260101T000000Z.tgz";
    let named = short.trim_start_matches("store/");
    place.ibtools(&format!("squash {SECOND} {THIRD} -o {short}")).good();
    place.ibtools("verify store").good();
    let len = fs::metadata(place.path(short)).unwrap().len() as usize;
    flip(place.path(short), len * 3 / 4);

    let text = place.ibtools("verify store");
    assert_eq!(text.code, Some(1));
    let said = format!("20260103T000000Z does not need {named}: another chain leads there\n");
    assert!(
        text.out.contains(&said) && text.out.contains("3 of 3 snapshots whole"),
        "{}",
        text.out
    );
    let document = place.ibtools("--json verify store").json();
    let id = &document["snapshots"][2];
    assert_eq!((&id["restorable"], &id["skipped"][0]), (&"whole".into(), &named.into()));
    assert_eq!(document["snapshots"][1]["skipped"], serde_json::Value::Null);

    let restored = place.ibtools("restore store copy");
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    let warning = format!("ibtools: warning: {named}: ");
    assert!(restored.err.starts_with(&warning), "{}", restored.err);
    assert!(restored.err.ends_with("another chain to 20260103T000000Z was tried\n"));
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    let squashed = place.ibtools("squash store -o whole.tgz");
    assert!(squashed.code == Some(0) && squashed.err.starts_with(&warning), "{}", squashed.err);
    place.ibtools("restore whole.tgz again").good();
    assert_eq!(place.snapshot("again"), place.snapshot("tree"));

    // What is on no way that is taken is not even looked at.
    let other = place.ibtools("restore store day1-again --at 2026-01-01");
    assert_eq!((other.code, other.err.as_str()), (Some(0), ""));

    flip(place.path(SECOND), 1000);
    let failed = place.ibtools("restore store none");
    assert_eq!(failed.code, Some(2));
    let lines: Vec<&str> = failed.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with(&warning), "{}", failed.err);
    let words = "ibtools: cannot restore store at 20260103T000000Z into none: ";
    assert!(lines[1].starts_with(words) && lines[1].contains(&SECOND[6..]), "{}", failed.err);
    assert!(!place.path("none").exists());
}

#[test]
fn what_is_missing_is_told() {
    let place = stored();
    for (name, word) in [
        (FULL, "20260101T000000Z, to which no archives lead"),
        (SECOND, "20260102T000000Z, to which"),
        (THIRD, "there is an index and no archive"),
    ] {
        fs::rename(place.path(name), place.path("aside")).unwrap();
        let verified = place.ibtools("verify store");
        assert_eq!(verified.code, Some(1), "{name}");
        assert!(verified.out.contains(word), "{name}: {}", verified.out);
        fs::rename(place.path("aside"), place.path(name)).unwrap();
    }
    fs::rename(place.path(SECOND), place.path("aside")).unwrap();
    place.ibtools("restore store copy").bad(&["20260103T000000Z", "archives are missing"]);
    place.ibtools("restore store copy --at 2026-01-01").good();
}

#[test]
fn rot_is_found_and_taken_back() {
    let place = stored();
    place.ibtools("verify store --against tree").good();
    let path = place.path("tree/dir/large");
    let sound = fs::read(&path).unwrap();
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let mut corrupt = sound.clone();
    corrupt[123_456] ^= 4;
    fs::write(&path, corrupt).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let began = std::time::Instant::now();
    while began.elapsed().as_millis() < 80 {
        std::thread::yield_now();
    }
    place.ibtools("index tree -o now").good();
    // Nobody can set the time of change, so it is the index that gets it: as if the file had been
    // written then, and rotted since.
    let [stored, now] = [INDEX, "now"].map(|name| DirIndex::from_file(place.path(name)).unwrap());
    let records = stored.records().iter().map(|record| {
        let fingerprint = now.record(&record.entry.path).unwrap().fingerprint;
        Record { fingerprint, ..Record::clone(record) }
    });
    // And it was read long after it was written.
    let index = DirIndex::from_records(records).unwrap().with_early_from(Time::MAX);
    assert_eq!(index.tree_id(), stored.tree_id());
    index.to_file(place.path(INDEX)).unwrap();

    let compared = place.ibtools("verify store --against tree");
    assert_eq!(compared.code, Some(1));
    assert!(compared.err.contains("warning: dir/large is corrupt"), "{}", compared.err);
    // What a program has open for writing may be new.
    let writer = fs::File::options().write(true).open(&path).unwrap();
    let left = place.ibtools("verify store --against tree --repair");
    assert_eq!(left.code, Some(1), "{}", left.out);
    if left.err.contains("does not note stores") {
        return common::skipped("a file system that notes stores");
    }
    let why = "dir/large is not repaired: it is open for writing, or mapped";
    assert!(left.err.contains(why), "{}", left.err);
    assert_ne!(fs::read(&path).unwrap(), sound);
    drop(writer);
    let repaired = place.ibtools("verify store --against tree --repair");
    assert_eq!(repaired.code, Some(0), "{}", repaired.err);
    assert!(repaired.out.contains("tree: 1 taken back from store"), "{}", repaired.out);
    assert_eq!(fs::read(&path).unwrap(), sound);
    place.ibtools("verify store --against tree").good();

    place.write("tree/text", "changed by its owner");
    let compared = place.ibtools("verify store --against tree --repair");
    assert_eq!(compared.code, Some(1));
    assert!(compared.out.contains("M text\n"), "{}", compared.out);
    assert_eq!(fs::read(place.path("tree/text")).unwrap(), b"changed by its owner");
}
