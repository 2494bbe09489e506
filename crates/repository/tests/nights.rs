//! Nights in a store: each writes an index of the size of what changed, and whatever becomes of these files, the next backup is right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Counted, Failing, restored};
use dirindex::Dir;
use repository::store::{IndexName, StoredName};
use repository::{BackupOptions, BackupReport, DirStore, Repository, Store};
use tempfile::TempDir;
use testing::{copy_tree, fast_tempdir, noise, snapshot, write};

/// So many that their index is worth runs.
const FILES: u64 = 160;

/// A tree of files that do not compress.
fn tree(root: &Path) {
    (0..FILES).for_each(|n| write(root.join(format!("dir{}/{n}", n % 7)), noise(n, 30_000)));
}

/// What a night changes: an edit, a new file, a removal, a move.
fn night(root: &Path, number: u64) {
    let path = |n: u64| root.join(format!("dir{}/{n}", n % 7));
    write(path(number % FILES), noise(1000 + number, 30_000));
    write(root.join(format!("new{number}")), noise(2000 + number, 5_000));
    let last = |n: u64| root.join(format!("new{n}"));
    let _ = fs::remove_file(last(number.wrapping_sub(3)));
    let _ =
        fs::rename(last(number.wrapping_sub(2)), root.join(format!("dir0/moved{}", number % 9)));
}

fn backup(root: &Path, store: &dyn Store) -> BackupReport {
    Repository::new(store).backup(&Dir::new(root).unwrap(), &BackupOptions::default()).unwrap()
}

/// A tree, and a store that has it: a place for both, where each is, and the store.
fn backed_up() -> (TempDir, PathBuf, PathBuf, DirStore) {
    let temp = fast_tempdir();
    let root = temp.path().join("tree");
    tree(&root);
    let path = temp.path().join("store");
    let store = DirStore::create(&path).unwrap();
    backup(&root, &store);
    (temp, root, path, store)
}

fn indexes(store: &dyn Store) -> Vec<(IndexName, u64)> {
    let snapshots = Repository::new(store).snapshots().unwrap();
    snapshots.indexes().iter().map(|index| (index.name, index.size)).collect()
}

fn is_sound(store: &dyn Store, latest: &BackupReport) {
    let found = Repository::new(store).verify(None).unwrap();
    assert!(found.is_sound(), "{found:?}");
    let index = Repository::new(store).newest_index().unwrap().unwrap().load().unwrap();
    assert_eq!(index.tree_id(), latest.index.tree_id());
    index.check_signatures().unwrap();
    for path in index.files() {
        assert!(index.signature(path).unwrap() == latest.index.signature(path).unwrap(), "{path}");
    }
}

#[test]
fn a_night_writes_an_index_of_the_size_of_what_changed() {
    let temp = fast_tempdir();
    let root = temp.path().join("tree");
    tree(&root);
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let first = backup(&root, &store);
    let whole = first.made.as_ref().unwrap().index_bytes;
    let mut known = vec![(first.snapshot, snapshot(&root))];
    let mut written = 0;
    for number in 0..20 {
        night(&root, number);
        let report = backup(&root, &store);
        assert_eq!(report.unusable.len(), 0);
        written += report.made.as_ref().unwrap().index_bytes;
        known.push((report.snapshot, snapshot(&root)));
        let files = indexes(&store);
        assert!(files.len() <= 8, "{files:?}");
        is_sound(&store, &report);
    }
    assert!(written < 20 * whole / 5, "{written} of 20 times {whole}");
    for (snapshot, tree) in known.into_iter().step_by(6) {
        assert!(restored(&store, snapshot) == tree);
    }
}

/// The promise: verifying takes a time that grows with the number of archives alone.
#[test]
fn verifying_many_nights_reads_each_frame_a_few_times() {
    let (_temp, root, _, store) = backed_up();
    let edited = root.join("dir0/0");
    for number in 0..16 {
        write(&edited, [noise(3000 + number, 100), noise(0, 30_000)].concat());
        backup(&root, &store);
    }
    let stored: u64 = store.list().unwrap().iter().map(|file| file.size).sum();
    let counted = Counted::new(&store);
    assert!(Repository::new(&counted).verify(None).unwrap().is_sound());
    let read = counted.read();
    assert!((stored..2 * stored).contains(&read), "{read} bytes were read of {stored}");
}

/// Each file of the index in turn is lost, damaged at its head or among its signatures.
#[test]
fn an_index_of_which_a_file_is_lost_or_damaged_is_made_again() {
    for (damage, nth) in [None, Some(0), Some(500), Some(990)]
        .into_iter()
        .flat_map(|damage| (0..3).map(move |nth| (damage, nth)))
    {
        let (_temp, root, path, store) = backed_up();
        // A busy day and a quiet one.
        (0..20).for_each(|number| night(&root, number));
        backup(&root, &store);
        night(&root, 30);
        backup(&root, &store);
        assert_eq!(indexes(&store).len(), 3);
        let (name, size) = indexes(&store)[nth];
        let file = path.join(name.to_string());
        match damage {
            None => fs::remove_file(&file).unwrap(),
            Some(thousandth) => {
                let mut bytes = fs::read(&file).unwrap();
                bytes[(size * thousandth / 1000) as usize] ^= 1;
                fs::write(&file, bytes).unwrap();
            }
        }
        let found = Repository::new(&store).verify(None).unwrap();
        // That it is lost is no damage. That another is upon it is.
        assert_eq!(found.is_sound(), damage.is_none() && nth == 2, "{damage:?} of {name}");
        night(&root, 31);
        let report = backup(&root, &store);
        // Damage among signatures that are not needed stays unseen until somebody verifies.
        let seen = report.unusable.iter().any(|it| matches!(it.name, StoredName::Index(_)));
        assert!(seen || damage.is_some_and(|at| at > 0), "{damage:?} of {name}");
        assert!(restored(&store, report.snapshot) == snapshot(&root));
        if seen {
            is_sound(&store, &report);
        }
    }
}

/// Whichever call of the store fails, the files of the index that are there go together, and the next backup is right.
#[test]
fn an_interrupted_night_leaves_an_index_that_can_be_used() {
    let temp = fast_tempdir();
    let (root, path) = (temp.path().join("tree"), temp.path().join("store"));
    tree(&root);
    backup(&root, &DirStore::create(&path).unwrap());
    (0..20).for_each(|number| night(&root, number));
    backup(&root, &DirStore::open(&path).unwrap());
    night(&root, 30);
    for after in [false, true] {
        // Most calls write a part of a file.
        for at in (0..).step_by(3) {
            let temp = fast_tempdir();
            let copy = temp.path().join("store");
            copy_tree(&path, &copy);
            let store = DirStore::open(&copy).unwrap();
            let failing = Failing::new(&store, at, after);
            let dir = Dir::new(&root).unwrap();
            let failed = Repository::new(&failing).backup(&dir, &BackupOptions::default());
            let done = failing.calls() <= at;
            assert_eq!(failed.is_ok(), done, "{failed:?}");
            let report = backup(&root, &store);
            assert_eq!(report.unusable.len(), 0, "failed at {at}: {:?}", report.unusable);
            is_sound(&store, &report);
            if done {
                assert!(at > 20, "only {at} calls");
                break;
            }
        }
    }
}

/// Every file of a backup that is put before its archive shows that one was lost, or had not come yet.
#[test]
fn a_lost_archive_is_told_from_one_that_had_not_come() {
    let (temp, root, path, store) = backed_up();
    for number in 0..5 {
        night(&root, number);
        let report = backup(&root, &store);
        let archive = path.join(report.made.unwrap().archive.to_string());
        let aside = temp.path().join("aside");
        fs::rename(&archive, &aside).unwrap();
        let missing = |store: &DirStore| Repository::new(store).verify(None).unwrap().missing;
        assert_eq!(missing(&store), [report.snapshot]);
        let begun = path.join(StoredName::Begun(report.snapshot).to_string());
        fs::write(&begun, "").unwrap();
        assert_eq!(missing(&store), []);
        fs::remove_file(begun).unwrap();
        fs::rename(aside, archive).unwrap();
    }
}
