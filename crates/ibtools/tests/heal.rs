//! `protect`, `backup --parity` and `verify --heal`, as a user types them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;

use common::Place;

/// Bytes that do not compress.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_n((), len).scan(seed, |state, ()| next(state)).collect()
}

fn damage(path: &Path, from: usize, len: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..from + len].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).unwrap();
}

/// Promise: a damaged store restores with a warning, and `verify --heal` mends it byte for byte.
#[test]
fn a_damaged_store_is_mended() {
    let place = Place::new();
    fs::create_dir(place.path("tree")).unwrap();
    fs::write(place.path("tree/file"), bytes(200_000, 1)).unwrap();
    place.ibtools("backup tree store --init --parity 8%").good();
    let mut names = fs::read_dir(place.path("store")).unwrap().map(|it| it.unwrap().path());
    let archive = names.find(|path| path.to_str().unwrap().ends_with(".tgz")).unwrap();
    let whole = fs::read(&archive).unwrap();
    damage(&archive, 90_000, 9_000);

    let restored = place.ibtools("restore store back");
    assert!(restored.err.contains("mended in memory"), "{}", restored.err);
    assert_eq!(fs::read(place.path("back/file")).unwrap(), bytes(200_000, 1));
    let bare = place.ibtools(&format!("restore {} again", archive.display()));
    assert!(bare.err.contains("mended in memory"));
    assert_ne!(fs::read(&archive).unwrap(), whole);
    let found = place.ibtools("verify store");
    assert!(found.out.contains("parity can mend them"), "{}", found.out);
    assert_eq!(found.code, Some(1));
    let healed = place.ibtools("verify store --heal");
    assert!(healed.out.contains("mended: "), "{}", healed.out);
    assert_eq!(healed.code, Some(0));
    assert_eq!(fs::read(&archive).unwrap(), whole);
}

/// Promise: a snapshot whose parity cannot be made is there; a warning says so, and the exit code is 1.
#[test]
fn a_backup_without_its_parity_says_so() {
    let place = Place::new();
    fs::create_dir(place.path("tree")).unwrap();
    fs::write(place.path("tree/file"), bytes(20_000, 1)).unwrap();
    place.ibtools("backup tree store --init --parity 5").good();
    let mut names = fs::read_dir(place.path("store")).unwrap().map(|it| it.unwrap().path());
    let parity = names.find(|it| it.to_str().unwrap().ends_with(".tgz.parity")).unwrap();
    fs::remove_file(&parity).unwrap();
    fs::create_dir(&parity).unwrap();
    fs::write(place.path("tree/later"), "later").unwrap();
    let done = place.ibtools("backup tree store");
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("the snapshot is there, and not all of its parity"), "{}", done.err);
    place.ibtools("restore store back").good();
    assert!(place.path("back/later").exists());
}

/// Promise: each volume of an archive has a parity of its own, by which it is read and mended; the last one too, which has the
/// table.
#[test]
fn volumes_are_mended() {
    let place = Place::new();
    fs::create_dir(place.path("tree")).unwrap();
    for number in 0..5 {
        fs::write(place.path("tree").join(format!("{number}")), bytes(1_500_000, number)).unwrap();
    }
    place.ibtools("diff tree -o a.tgz --volume-size 2M").good();
    let volumes: Vec<String> = (1..7).map(|number| format!("a.00{number}.tgz")).collect();
    let last = volumes[5].as_str();
    place.ibtools(&format!("protect {}", volumes.join(" "))).good();
    for damaged in [volumes[0].as_str(), volumes[1].as_str(), last] {
        let path = place.path(damaged);
        let whole = fs::read(&path).unwrap();
        damage(&path, whole.len() / 2, 1);
        let restored = place.ibtools(&format!("restore {last} {damaged}.back"));
        assert_eq!(restored.code, Some(0), "{}", restored.err);
        assert_eq!(restored.err.matches("mended in memory").count(), 1, "{}", restored.err);
        let back = fs::read(place.path(&format!("{damaged}.back")).join("4")).unwrap();
        assert!(back == bytes(1_500_000, 4));
        let healed = place.ibtools(&format!("verify --heal {}", volumes.join(" ")));
        assert_eq!(healed.code, Some(0), "{} {}", healed.out, healed.err);
        assert!(fs::read(&path).unwrap() == whole);
    }
}

/// Promise: of two stores of the same size and one parity in a third place any place may be lost: 1.5 times the bytes.
#[test]
fn two_of_three_places_are_enough() {
    let place = Place::new();
    for (name, seed) in [("a", 1), ("b", 2)] {
        fs::create_dir(place.path(name)).unwrap();
        for night in 0..3 {
            fs::write(place.path(name).join(format!("{night}")), bytes(90_000, seed + night))
                .unwrap();
            place.ibtools(&format!("backup {name} {name}.store --init")).good();
        }
    }
    place.ibtools("protect --across a.store b.store -o set.parity").good();
    let archives = |name: &str| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let files = fs::read_dir(place.path(name)).unwrap().map(|it| it.unwrap().path());
        let archives = files.filter(|path| path.to_str().unwrap().ends_with(".tgz"));
        archives.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let all = [archives("a.store"), archives("b.store")];
    let stored: usize = all.iter().flatten().map(|(_, bytes)| bytes.len()).sum();
    let parity = fs::metadata(place.path("set.parity")).unwrap().len() as usize;
    assert!((stored + parity) as f64 <= stored as f64 * 1.55, "{parity} of {stored}");
    place.ibtools("verify --by set.parity a.store b.store").good();
    for (store, lost) in ["a.store", "b.store"].iter().zip(&all) {
        fs::remove_dir_all(place.path(store)).unwrap();
        fs::create_dir(place.path(store)).unwrap();
        let found = place.ibtools("verify --by set.parity a.store b.store");
        assert_eq!(found.code, Some(1));
        assert!(found.out.contains("with --heal"), "{}", found.out);
        place.ibtools("verify --heal --by set.parity a.store b.store").good();
        for (path, bytes) in lost {
            assert!(fs::read(path).unwrap() == *bytes);
        }
        place.ibtools(&format!("restore {store} {store}.back")).good();
    }
    // A place that is gone as a whole comes back too, as the directory that it was.
    for (store, lost) in ["a.store", "b.store"].iter().zip(&all) {
        fs::remove_dir_all(place.path(store)).unwrap();
        let found = place.ibtools("verify --by set.parity a.store b.store");
        assert_eq!(found.code, Some(1));
        assert!(!place.path(store).exists());
        place.ibtools("verify --heal --by set.parity a.store b.store").good();
        for (path, bytes) in lost {
            assert!(fs::read(path).unwrap() == *bytes);
        }
        place.ibtools(&format!("restore {store} {store}.again")).good();
        place.ibtools("verify --by set.parity a.store b.store").good();
    }
    // A file is in the way of a directory, and what it would lie in is not made.
    fs::remove_dir_all(place.path("b.store")).unwrap();
    fs::write(place.path("b.store"), "a file").unwrap();
    let heal = "verify --heal --by set.parity a.store";
    place.ibtools(&format!("{heal} b.store")).bad(&["b.store", "is a file"]);
    assert_eq!(fs::read(place.path("b.store")).unwrap(), b"a file");
    fs::remove_file(place.path("b.store")).unwrap();
    place.ibtools(&format!("{heal} gone/b.store")).bad(&["gone/b.store"]);
    place.ibtools(&format!("{heal} b.store")).good();
    // Both lost is too much, and in another order they are other places.
    for (path, _) in all.iter().flatten() {
        fs::remove_file(path).unwrap();
    }
    place.ibtools("verify --heal --by set.parity a.store b.store").bad(&["shards are damaged"]);
    assert!(archives("a.store").is_empty());
    place.ibtools("verify --heal --by set.parity a.store").bad(&["name all of them"]);
}

/// Promise: a place that is a file comes back as a file, also one that is called as an archive of a store is.
#[test]
fn a_lost_file_among_places_is_made_again() {
    let place = Place::new();
    let names = ["one.img", "20261122T161858Z-full.tgz"];
    for (name, seed) in names.iter().zip([1, 2]) {
        fs::write(place.path(name), bytes(50_000, seed)).unwrap();
    }
    let all = names.join(" ");
    place.ibtools(&format!("protect --across {all} -o set.parity")).good();
    for (name, seed) in names.iter().zip([1, 2]) {
        fs::remove_file(place.path(name)).unwrap();
        place.ibtools(&format!("verify --heal --by set.parity {all}")).good();
        assert!(fs::read(place.path(name)).unwrap() == bytes(50_000, seed));
    }
}

/// Promise: any file can be protected and mended; beyond its share it stays as it is, with exit code 1.
#[test]
fn any_file_is_protected_and_mended() {
    let place = Place::new();
    let file = place.path("file.age");
    fs::write(&file, bytes(100_000, 2)).unwrap();
    place.ibtools("protect file.age --parity 5").good();
    fs::write(&file, &bytes(100_000, 2)[..97_000]).unwrap();
    place.ibtools("verify --heal file.age").good();
    assert_eq!(fs::read(&file).unwrap(), bytes(100_000, 2));
    damage(&file, 20_000, 40_000);
    let damaged = fs::read(&file).unwrap();
    let healed = place.ibtools("verify --heal file.age");
    assert_eq!(healed.code, Some(1));
    assert!(healed.out.contains("the parity mends at most"), "{}", healed.out);
    assert_eq!(fs::read(&file).unwrap(), damaged);
    assert_eq!(place.ibtools("protect file.age --parity 0").code, Some(2));
}
