//! Backups into a store: whatever happened before, each snapshot is what the tree was then.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Failing, check, restored};
use dirindex::{Dir, DirIndex, ScanOptions};
use proptest::prelude::*;
use repository::store::{IndexName, StoredName};
use repository::{BackupOptions, BackupReport, DirStore, Error, Repository, SnapshotId, Store};
use rsync_core::Progress;
use testing::edits::{Edit, NAMES, edits, perform};
use testing::{fast_tempdir, noise, snapshot, write};

fn run(tree: &Path, store: &dyn Store, options: &BackupOptions) -> BackupReport {
    // Random changes remove whole trees.
    let options = BackupOptions { allow_emptied: true, ..options.clone() };
    Repository::new(store).backup(&Dir::new(tree).unwrap(), &options).unwrap()
}

/// What else happens between two backups.
#[derive(Debug, Clone, Copy)]
enum Accident {
    None,
    IndexLost,
    /// A bit flips, so many thousandths from its start.
    IndexDamaged(usize),
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        3 => Just(Accident::None),
        1 => Just(Accident::IndexLost),
        2 => (0..1000usize).prop_map(Accident::IndexDamaged),
    ]
}

/// What happens to the tree: something, or nothing.
fn changes() -> impl Strategy<Value = Vec<Edit>> {
    prop_oneof![1 => Just(Vec::new()), 5 => edits(NAMES.len())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_point_is_what_the_tree_was(
        history in proptest::collection::vec((changes(), accident(), any::<bool>()), 1..6),
        full_after in proptest::option::of(0..4usize),
    ) {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let mut known = BTreeMap::new();
        for (edits, accident, zstd) in history {
            edits.iter().for_each(|edit| perform(&tree, edit));
            let indexes = Repository::new(&store).snapshots().unwrap().indexes().to_vec();
            prop_assert!(indexes.len() <= 1, "older indexes stay: {:?}", indexes);
            for index in &indexes {
                let path = store.path().join(index.name.to_string());
                match accident {
                    Accident::None => {}
                    Accident::IndexLost => fs::remove_file(path).unwrap(),
                    Accident::IndexDamaged(at) => {
                        let mut bytes = fs::read(&path).unwrap();
                        let at = bytes.len() * at / 1000;
                        bytes[at] ^= 1;
                        fs::write(path, bytes).unwrap();
                    }
                }
            }
            let format = zstd.then_some(archive::Format::Zstd);
            let options = BackupOptions {
                full_after,
                archive: archive::ArchiveOptions { format, ..Default::default() },
                ..BackupOptions::default()
            };
            let report = run(&tree, &store, &options);
            let now = snapshot(&tree);
            let changed = known.last_key_value().is_none_or(|(_, last)| *last != now);
            prop_assert_eq!(report.made.is_some(), changed);
            if let Some(made) = &report.made {
                prop_assert!(made.archive_bytes > 0 && made.index_bytes > 0);
            }
            known.insert(report.snapshot, now);
            prop_assert_eq!(report.snapshots, known.len());
        }
        check(&store, &known);
        if let Some(most) = full_after {
            let snapshots = Repository::new(&store).snapshots().unwrap();
            let longest = snapshots.all().filter_map(|id| snapshots.chain_to(id)).map(|way| way.len()).max();
            prop_assert!(longest <= Some(most + 1));
        }
        // What is in the index rebuilt is what is in the index kept.
        let id = *known.last_key_value().unwrap().0;
        let name = Repository::new(&store).snapshots().unwrap().indexes()[0].name.to_string();
        let kept = DirIndex::from_source(store.open(&name).unwrap()).unwrap();
        store.delete(&name).unwrap();
        prop_assert_eq!(run(&tree, &store, &BackupOptions::default()).snapshot, id);
        let name = Repository::new(&store).snapshots().unwrap().indexes()[0].name.to_string();
        let rebuilt = DirIndex::from_source(store.open(&name).unwrap()).unwrap();
        prop_assert_eq!(kept.tree_id(), rebuilt.tree_id());
        for path in kept.files() {
            // Damage there shows when something needs it, and nothing has.
            let Ok(kept) = kept.signature(path) else { continue };
            let rebuilt = rebuilt.signature(path).unwrap();
            prop_assert!(kept == rebuilt, "{path}");
        }
    }
}

#[test]
fn whatever_call_of_the_store_fails_no_point_is_lost_and_the_next_backup_succeeds() {
    let prepare = |root: &Path| {
        let tree = root.join("tree");
        write(tree.join("a"), noise(1, 3000));
        write(tree.join("dir/b"), noise(2, 3000));
        (tree, DirStore::create(root.join("store")).unwrap())
    };
    for (steps, after) in [(1, false), (1, true), (2, false), (2, true), (3, false), (3, true)] {
        for at in 0.. {
            let temp = fast_tempdir();
            let (tree, store) = prepare(temp.path());
            let mut known = BTreeMap::new();
            for step in 1..steps {
                let report = run(&tree, &store, &BackupOptions::default());
                known.insert(report.snapshot, snapshot(&tree));
                write(tree.join("a"), noise(step, 3000 + step as usize));
            }
            let failing = Failing::new(&store, at, after);
            let dir = Dir::new(&tree).unwrap();
            let options = BackupOptions { full: steps == 3, ..BackupOptions::default() };
            let failed = Repository::new(&failing).backup(&dir, &options);
            let done = failing.calls() <= at;
            assert_eq!(failed.is_ok(), done);
            // What was complete when the store went is a snapshot.
            let snapshots = Repository::new(&store).snapshots().unwrap();
            let newest = snapshots.restorable().next_back();
            if let Some(newest) = newest.filter(|newest| !known.contains_key(newest)) {
                known.insert(newest, snapshot(&tree));
            }
            check(&store, &known);
            write(tree.join("c"), noise(3, 10));
            let report = run(&tree, &store, &BackupOptions::default());
            assert_eq!(report.unusable.len(), 0, "failed at {at}: {:?}", report.unusable);
            known.insert(report.snapshot, snapshot(&tree));
            check(&store, &known);
            let left = Repository::new(&store).snapshots().unwrap().indexes().to_vec();
            let left: Vec<SnapshotId> = left.iter().map(|index| index.name.of).collect();
            assert_eq!(left, [report.snapshot], "older indexes stay");
            if done {
                assert!(at > 10, "only {at} calls");
                break;
            }
        }
    }
}

/// Makes files that were changed long enough ago to be trusted.
fn settle(tree: &Path) {
    // The window in which a change may not show in the file's times is some milliseconds.
    while {
        let index = DirIndex::scan(&Dir::new(tree).unwrap()).unwrap();
        index
            .records()
            .iter()
            .any(|record| !record.entry.node.is_empty() && record.fingerprint.is_none())
    } {}
}

fn bytes_scanned(tree: &Path, store: &dyn Store) -> (BackupReport, u64) {
    let progress = Arc::new(Progress::default());
    let scan = ScanOptions { progress: Some(Arc::clone(&progress)), ..ScanOptions::default() };
    let report = run(tree, store, &BackupOptions { scan, ..BackupOptions::default() });
    (report, progress.bytes())
}

#[test]
fn what_was_scanned_is_not_read_again() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    write(tree.join("a"), noise(1, 30_000));
    settle(&tree);
    let store = DirStore::create(temp.path().join("store")).unwrap();
    // The first backup is cut off when the index is there and the archive is not.
    for at in 0.. {
        let failing = Failing::new(&store, at, false);
        assert!(
            Repository::new(&failing)
                .backup(&Dir::new(&tree).unwrap(), &BackupOptions::default())
                .is_err()
        );
        if !Repository::new(&store).snapshots().unwrap().indexes().is_empty() {
            break;
        }
    }
    let (report, scanned) = bytes_scanned(&tree, &store);
    assert_eq!((report.made.is_some(), scanned), (true, 0));
    let (report, scanned) = bytes_scanned(&tree, &store);
    assert_eq!((report.made.is_some(), scanned), (false, 0));
    // A file that looks changed and is not is read once, not each time.
    let bytes = fs::read(tree.join("a")).unwrap();
    let modified = fs::metadata(tree.join("a")).unwrap().modified().unwrap();
    fs::write(tree.join("a"), &bytes).unwrap();
    fs::File::options().write(true).open(tree.join("a")).unwrap().set_modified(modified).unwrap();
    settle(&tree);
    let (report, scanned) = bytes_scanned(&tree, &store);
    assert_eq!((report.made.is_some(), scanned), (false, 30_000));
    let (report, scanned) = bytes_scanned(&tree, &store);
    assert_eq!((report.made.is_some(), scanned), (false, 0));
    // And the index still serves as a base.
    write(tree.join("b"), "new");
    let (report, _) = bytes_scanned(&tree, &store);
    assert!(report.unusable.is_empty() && report.made.unwrap().archive.since.is_some());
}

/// Damage among the signatures shows late: when a new index is to have them, or a delta be made.
#[test]
fn a_flipped_bit_anywhere_in_the_index_stops_no_backup() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    write(tree.join("a"), noise(1, 100_000));
    write(tree.join("b"), noise(2, 100_000));
    settle(&tree);
    let store = DirStore::create(temp.path().join("store")).unwrap();
    run(&tree, &store, &BackupOptions::default());
    let mut damaged = 0;
    for number in 0..60 {
        let [index] = Repository::new(&store).snapshots().unwrap().indexes()[..] else {
            panic!("not one index")
        };
        let path = store.path().join(index.name.to_string());
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() * number / 60;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
        let mut content = fs::read(tree.join("b")).unwrap();
        content[number] ^= 1;
        write(tree.join("b"), content);
        let report = run(&tree, &store, &BackupOptions::default());
        assert!(report.made.is_some_and(|made| made.archive.since.is_some()));
        damaged += report.unusable.len();
    }
    assert!(damaged > 50, "only {damaged} were noticed");
    let last = Repository::new(&store).snapshots().unwrap().restorable().next_back().unwrap();
    assert!(restored(&store, last) == snapshot(&tree));
}

#[test]
fn a_damaged_archive_is_not_built_upon() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    let store = DirStore::create(temp.path().join("store")).unwrap();
    write(tree.join("stays"), noise(9, 50_000));
    let mut known = BTreeMap::new();
    let mut names = Vec::new();
    for step in 0..3 {
        write(tree.join("a"), noise(step, 3000));
        let report = run(&tree, &store, &BackupOptions::default());
        known.insert(report.snapshot, snapshot(&tree));
        names.push(store.path().join(report.made.unwrap().archive.to_string()));
    }
    // The newest one's end is cut off: the next starts from the one before, by its archives.
    let bytes = fs::read(&names[2]).unwrap();
    fs::write(&names[2], &bytes[..bytes.len() - 1]).unwrap();
    let report = run(&tree, &store, &BackupOptions::default());
    let since = report.made.unwrap().archive.since;
    assert_eq!(since, known.keys().nth(1).copied());
    assert_eq!(
        report.unusable[0].name.to_string(),
        names[2].file_name().unwrap().to_str().unwrap()
    );
    assert!(restored(&store, report.snapshot) == snapshot(&tree));
    // Damage in the middle of a full one does not show at its end, but when the index is rebuilt:
    // then everything is backed up anew.
    let mut bytes = fs::read(&names[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&names[0], bytes).unwrap();
    store.delete(&StoredName::Index(IndexName::whole(report.snapshot)).to_string()).unwrap();
    write(tree.join("b"), "b");
    let report = run(&tree, &store, &BackupOptions::default());
    let [index] = &report.unusable[..] else { panic!("{:?}", report.unusable) };
    assert!(index.error.as_ref().unwrap().to_string().contains("-full.tgz"), "{index:?}");
    assert_eq!(report.made.unwrap().archive.since, None);
    assert!(restored(&store, report.snapshot) == snapshot(&tree));
}

#[test]
fn one_backup_at_a_time() {
    let temp = fast_tempdir();
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let lock = store.lock().unwrap();
    let dir = Dir::new(temp.path().join("store")).unwrap();
    let busy = Repository::new(&store).backup(&dir, &BackupOptions::default());
    assert!(matches!(busy, Err(Error::Busy)));
    drop(lock);
}

#[test]
fn a_full_backup_is_made_by_rule() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let options = BackupOptions { full_ratio: Some(1.5), ..BackupOptions::default() };
    let kinds: Vec<bool> = (0..7)
        .map(|step| {
            write(tree.join("a"), noise(step, 5000));
            run(&tree, &store, &options).made.unwrap().archive.since.is_none()
        })
        .collect();
    assert_eq!(kinds, [true, false, false, true, false, false, true]);
    // By rule alone nothing is backed up again that has not changed.
    write(tree.join("a"), noise(8, 5000));
    let always = BackupOptions { full_after: Some(0), ..BackupOptions::default() };
    assert!(run(&tree, &store, &always).made.is_some());
    assert!(run(&tree, &store, &always).made.is_none());
    let asked = BackupOptions { full: true, ..BackupOptions::default() };
    assert_eq!(run(&tree, &store, &asked).made.unwrap().archive.since, None);
}
