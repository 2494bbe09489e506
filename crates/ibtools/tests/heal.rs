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
