//! Backups of a tree that changes meanwhile: each snapshot is exactly what its archive says, and no file that holds still
//! waits for one that does not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;

use common::{Failing, Meddling, restored};
use dirindex::{Dir, ProblemKind};
use repository::{BackupOptions, BackupReport, DirStore, Repository, Result, Store};
use testing::{fast_tempdir, noise, snapshot, write};

fn back_up(tree: &Path, store: &dyn Store) -> Result<BackupReport> {
    let options = BackupOptions { allow_emptied: true, ..Default::default() };
    Repository::new(store).backup(&Dir::new(tree).unwrap(), &options)
}

/// Every file of the tree becomes another one while it is backed up: that is one attempt, not one for each.
#[test]
fn files_that_change_after_the_scan_are_stored_as_they_are() {
    let temp = fast_tempdir();
    let (tree, at) = (temp.path().join("tree"), temp.path().join("store"));
    fs::create_dir(&tree).unwrap();
    let store = DirStore::create(at).unwrap();
    for night in 0..3u64 {
        (0..40).for_each(|n| write(tree.join(n.to_string()), noise(100 * night + n, 3000)));
        write(tree.join("large"), noise(night, 3 << 20));
        let meddle = |turn| {
            assert!(turn < 3, "the tree is read again and again");
            if turn == 1 {
                (0..40).for_each(|n| {
                    write(tree.join(n.to_string()), noise(7000 + 100 * night + n, 2000))
                });
                write(tree.join("large"), noise(700 + night, 2 << 20));
                fs::remove_file(tree.join("5")).unwrap();
            }
        };
        let report = back_up(&tree, &Meddling::new(&store, meddle)).unwrap();
        assert!(report.index.problems().is_empty());
        assert_eq!(report.made.unwrap().diff.result(), report.index.tree_id());
        assert!(restored(&store, report.snapshot) == snapshot(&tree), "night {night}");
        assert!(Repository::new(&store).verify(None).unwrap().is_sound());
        // The next scan goes on from what was stored: nothing differs.
        let again = back_up(&tree, &store).unwrap();
        assert!(again.made.is_none() && again.unusable.is_empty(), "{:?}", again.unusable);
    }
}

/// Promise: `verify` finds fault with nothing in a store that is whole, also where the index of what was stored is a run upon that of what
/// was scanned.
#[test]
fn one_file_of_many_that_changes_after_the_scan_is_no_fault() {
    let temp = fast_tempdir();
    let (tree, at) = (temp.path().join("tree"), temp.path().join("store"));
    fs::create_dir(&tree).unwrap();
    (0..400).for_each(|n| write(tree.join(n.to_string()), noise(n, 30_000)));
    let store = DirStore::create(at).unwrap();
    for night in 0..3u64 {
        write(tree.join("first"), noise(500 + night, 3000));
        let meddle = |turn| {
            if turn == 1 {
                write(tree.join("first"), noise(600 + night, 2000));
            }
        };
        back_up(&tree, &Meddling::new(&store, meddle)).unwrap();
        let names = Repository::new(&store).snapshots().unwrap();
        assert!(names.indexes().iter().any(|index| index.name.since.is_some()), "{names:?}");
        let found = Repository::new(&store).verify(None).unwrap();
        assert!(found.is_sound(), "night {night}: {found:?}");
        let again = back_up(&tree, &store).unwrap();
        assert!(again.made.is_none() && again.unusable.is_empty(), "{:?}", again.unusable);
        assert!(Repository::new(&store).verify(None).unwrap().is_sound());
    }
}

/// The archive is read back and written again. Wherever that stops, each snapshot is there or not, and the next backup is
/// as any other.
#[test]
fn a_store_that_fails_meanwhile_loses_nothing() {
    for after in [false, true] {
        for at in 0.. {
            let temp = fast_tempdir();
            let tree = temp.path().join("tree");
            fs::create_dir(&tree).unwrap();
            let store = DirStore::create(temp.path().join("store")).unwrap();
            write(tree.join("a"), b"1");
            let first = back_up(&tree, &store).unwrap().snapshot;
            let before = snapshot(&tree);
            write(tree.join("a"), b"22");
            let meddle = |turn| {
                if turn == 1 {
                    write(tree.join("a"), b"333");
                }
            };
            let failing = Failing::new(&store, at, after);
            let done = back_up(&tree, &Meddling::new(&failing, meddle));
            assert!(restored(&store, first) == before);
            let last = back_up(&tree, &store).unwrap().snapshot;
            assert!(restored(&store, last) == snapshot(&tree));
            assert!(Repository::new(&store).verify(None).unwrap().is_sound());
            if done.is_ok() {
                break;
            }
        }
    }
}

/// By choice, a file that changes is left as the last backup has it, and named.
#[test]
fn a_file_that_changes_is_left_where_that_is_wanted() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let store = DirStore::create(temp.path().join("store")).unwrap();
    write(tree.join("hot"), b"0");
    back_up(&tree, &store).unwrap();
    let before = snapshot(&tree);
    write(tree.join("hot"), b"scanned");
    let meddle = |turn: usize| write(tree.join("hot"), noise(turn as u64, 100 + turn));
    let options = BackupOptions { refuse_changing: true, ..Default::default() };
    let meddling = Meddling::new(&store, meddle);
    write(tree.join("other"), b"1");
    let report = Repository::new(&meddling).backup(&Dir::new(&tree).unwrap(), &options).unwrap();
    let problems = report.index.problems();
    assert_eq!(problems.iter().map(|p| p.kind).collect::<Vec<_>>(), [ProblemKind::Unstable]);
    let back = restored(&store, report.snapshot);
    assert!(back != before && back != snapshot(&tree));
}
