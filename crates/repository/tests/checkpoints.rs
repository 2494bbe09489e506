//! First backups that are interrupted: the next one goes on from the last checkpoint, and nothing is taken for a whole tree that
//! is none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::{Failing, Meddling, restored};
use dirindex::Dir;
use repository::store::{AtError, StoredName};
use repository::{
    BackupOptions, BackupReport, DirStore, Error, Keep, PruneOptions, Repository, Result,
    SnapshotId, Snapshots, Store,
};
use tempfile::TempDir;
use testing::{Snapshot, fast_tempdir, noise, snapshot, write};

/// Bytes of contents that a checkpoint has in these tests.
const EVERY: u64 = 50_000;
const FILE_LEN: usize = 9_000;

struct Place {
    temp: TempDir,
    store: DirStore,
}

impl Place {
    /// A tree of 30 files in five directories, with a directory that is empty, links and a content that is there twice.
    fn new() -> Place {
        let temp = fast_tempdir();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let place = Place { temp, store };
        for number in 0..30 {
            write(place.file(number), noise(number, FILE_LEN));
        }
        let tree = place.tree();
        write(tree.join("d4/twice"), noise(1, FILE_LEN));
        fs::create_dir(tree.join("d2/empty")).unwrap();
        fs::hard_link(place.file(0), tree.join("d4/link")).unwrap();
        fs::hard_link(place.file(13), tree.join("d2/zlink")).unwrap();
        std::os::unix::fs::symlink("anywhere", tree.join("d3/symlink")).unwrap();
        place
    }

    fn tree(&self) -> PathBuf {
        self.temp.path().join("tree")
    }

    fn file(&self, number: u64) -> PathBuf {
        self.tree().join(format!("d{}/f{number:02}", number / 6))
    }

    fn snapshots(&self) -> Snapshots {
        Repository::new(&self.store).snapshots().unwrap()
    }

    /// Backs up to a store that is gone after `calls`. How many calls there were, and whether it came to its end.
    fn interrupted(&self, calls: usize, after: bool) -> (usize, bool) {
        let failing = Failing::new(&self.store, calls, after);
        let done = back_up(&self.tree(), &failing);
        (failing.calls(), done.is_ok())
    }

    /// The tree as it is now is backed up, is found sound, and its last snapshot is just what it is.
    fn finish(&self) -> BackupReport {
        let report = back_up(&self.tree(), &self.store).unwrap();
        assert!(report.unusable.is_empty(), "{:?}", report.unusable);
        let snapshots = self.snapshots();
        assert_eq!(snapshots.latest(), Some(report.snapshot));
        assert!(restored(&self.store, report.snapshot) == snapshot(&self.tree()));
        let found = Repository::new(&self.store).verify(None).unwrap();
        assert!(found.is_sound(), "{found:?}");
        report
    }

    /// Every checkpoint is the beginning of `tree`. How many there are.
    fn check(&self, tree: &Snapshot) -> usize {
        let snapshots = self.snapshots();
        let checkpoints = snapshots.all().filter(|id| snapshots.is_checkpoint(*id));
        let checkpoints: Vec<SnapshotId> = checkpoints.collect();
        for &checkpoint in &checkpoints {
            assert!(is_beginning(&restored(&self.store, checkpoint), tree), "{checkpoint}");
        }
        let found = Repository::new(&self.store).verify(None).unwrap();
        assert!(found.is_sound(), "{found:?}");
        checkpoints.len()
    }

    fn archive_bytes(&self) -> u64 {
        self.snapshots().archives().iter().map(|archive| archive.size).sum()
    }
}

fn back_up(tree: &Path, store: &dyn Store) -> Result<BackupReport> {
    let options = BackupOptions { checkpoint: Some(EVERY), ..BackupOptions::default() };
    Repository::new(store).backup(&Dir::new(tree).unwrap(), &options)
}

/// Whether `some` has the first entries of `tree`, in path order, and no others.
fn is_beginning(some: &Snapshot, tree: &Snapshot) -> bool {
    let by_name = |tree: &Snapshot| {
        let mut entries: Vec<_> = tree.clone().into_iter().collect();
        let names = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        entries.sort_by_key(|(path, _)| -> Vec<Vec<u8>> { names(path) });
        entries
    };
    let (some, tree) = (by_name(some), by_name(tree));
    some.len() < tree.len() && some.iter().zip(&tree).all(|(some, tree)| some == tree)
}

/// Promise: whenever a first backup is interrupted, what it has put so far is of use, and never taken for all.
#[test]
fn a_first_backup_goes_on_from_its_last_checkpoint() {
    let calls = Place::new().interrupted(usize::MAX, false).0;
    let (mut resumed, mut most) = (0, 0);
    for at in 0..calls {
        let place = Place::new();
        // Each call fails, every other one after it did what it was asked.
        let after = at % 2 == 1;
        let (_, done) = place.interrupted(at, after);
        let tree = snapshot(&place.tree());
        let checkpoints = if done { 0 } else { place.check(&tree) };
        most = most.max(checkpoints);
        let snapshots = place.snapshots();
        if snapshots.latest().is_none() && checkpoints > 0 {
            let last = snapshots.all().next_back().unwrap();
            assert_eq!(snapshots.resolve("latest"), Err(AtError::Unfinished { last }));
        }
        let is_whole = snapshots.latest().is_some();
        let report = place.finish();
        assert_eq!(report.resumed.is_some(), checkpoints > 0 && !is_whole, "{at}");
        resumed += usize::from(report.resumed.is_some());
        // No content is stored twice.
        let contents = 31 * FILE_LEN as u64;
        assert!(place.archive_bytes() < contents + 40_000, "{at}: {}", place.archive_bytes());
        assert!(back_up(&place.tree(), &place.store).unwrap().made.is_none());
    }
    assert!(resumed > calls / 2 && most >= 3, "{resumed} of {calls} calls, {most} checkpoints");
}

/// The call after which there are `checkpoints`, and not more.
fn interrupt_after(checkpoints: usize) -> Place {
    let count = |place: &Place| place.check(&snapshot(&place.tree()));
    let mut calls = Place::new().interrupted(usize::MAX, false).0;
    loop {
        let place = Place::new();
        place.interrupted(calls, false);
        if place.snapshots().latest().is_none() && count(&place) == checkpoints {
            return place;
        }
        calls -= 1;
    }
}

/// Promise: the tree may change while it waits for the backup to go on.
#[test]
fn a_tree_that_changes_in_between_is_backed_up_as_it_is_then() {
    let place = interrupt_after(2);
    let tree = place.tree();
    // Among what is stored, and among what is not; across both.
    fs::remove_file(place.file(1)).unwrap();
    write(place.file(2), noise(502, FILE_LEN + 7));
    fs::remove_file(place.file(28)).unwrap();
    fs::rename(place.file(3), tree.join("zz-moved")).unwrap();
    fs::rename(place.file(27), tree.join("a-moved")).unwrap();
    fs::rename(tree.join("d0"), tree.join("d9")).unwrap();
    write(tree.join("new"), noise(900, FILE_LEN));
    let report = place.finish();
    assert!(report.resumed.is_some());
    assert!(place.archive_bytes() < 34 * FILE_LEN as u64 + 40_000, "{}", place.archive_bytes());
}

/// All that is left of the tree is what the last checkpoint has: it is a whole one from then on.
#[test]
fn a_tree_that_shrinks_to_its_checkpoint_is_whole() {
    let place = interrupt_after(1);
    let kept = restored(&place.store, place.snapshots().all().next_back().unwrap());
    for (path, _) in snapshot(&place.tree()).iter().rev() {
        if !kept.contains_key(path) {
            testing::remove(&place.tree().join(OsStr::from_bytes(path)));
        }
    }
    let report = place.finish();
    assert!(report.made.is_some() && report.resumed.is_some());
    assert!(back_up(&place.tree(), &place.store).unwrap().made.is_none());
}

/// Promise: an index is a cache. Without it the archives say what a checkpoint has.
#[test]
fn without_its_index_a_backup_goes_on_all_the_same() {
    let place = interrupt_after(2);
    for index in place.snapshots().indexes() {
        place.store.delete(&StoredName::Index(index.name).to_string()).unwrap();
    }
    let report = back_up(&place.tree(), &place.store).unwrap();
    assert!(report.resumed.is_some());
    assert!(restored(&place.store, report.snapshot) == snapshot(&place.tree()));
    assert!(place.archive_bytes() < 31 * FILE_LEN as u64 + 40_000);
}

/// Promise: damage costs what is damaged, and is never built upon.
#[test]
fn a_damaged_checkpoint_is_not_gone_on_from() {
    let place = interrupt_after(3);
    let name = place.snapshots().archives()[1].name;
    let path = place.store.path().join(name.to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();
    let report = back_up(&place.tree(), &place.store).unwrap();
    assert_eq!(report.unusable.len(), 1, "{:?}", report.unusable);
    assert_eq!(report.resumed, Some(place.snapshots().archives()[0].name.to));
    assert!(restored(&place.store, report.snapshot) == snapshot(&place.tree()));
}

/// Promise: each checkpoint is exactly what its archive says, also of a tree that changes while it is packed.
#[test]
fn what_changes_while_a_checkpoint_is_packed_is_stored_as_it_is() {
    for interrupt in [false, true] {
        let place = Place::new();
        let meddle = |turn: usize| {
            // Each turn changes a file that is packed now, one that is packed already, and takes away one.
            let turn = turn as u64 - 1;
            write(place.file(turn * 3), noise(700 + turn, FILE_LEN - 5));
            write(place.file(turn), noise(800 + turn, FILE_LEN));
            drop(fs::remove_file(place.file(turn * 4 + 1)));
            assert!(!(interrupt && turn == 4), "interrupted");
        };
        let store = Meddling::new(&place.store, meddle);
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            back_up(&place.tree(), &store).unwrap()
        }));
        assert_eq!(tried.is_err(), interrupt);
        if let Ok(report) = tried {
            let latest = restored(&place.store, report.snapshot);
            assert_eq!(latest.len(), report.index.len());
            assert_eq!(report.made.unwrap().diff.result(), report.index.tree_id());
        }
        let report = place.finish();
        assert_eq!(report.resumed.is_some(), interrupt);
    }
}

fn last(count: usize) -> PruneOptions {
    PruneOptions { keep: Keep { last: count, ..Keep::default() }, ..PruneOptions::default() }
}

/// Promise: a prune rewrites no first backup in pieces that stays, counts no checkpoint, and takes away none that is gone on from.
#[test]
fn checkpoints_stay_as_long_as_what_was_made_by_way_of_them() {
    let place = interrupt_after(2);
    let repository = Repository::new(&place.store);
    let names = |place: &Place| {
        place.snapshots().archives().iter().map(|it| it.name.to_string()).collect::<Vec<_>>()
    };
    let before = names(&place);
    let pruned = repository.prune(&last(1)).unwrap();
    assert!(pruned.deleted.is_empty() && pruned.squashed.is_empty(), "{pruned:?}");
    let newest = place.snapshots().all().next_back().unwrap();
    let forgotten = repository.forget(&[newest], &PruneOptions::default());
    assert!(matches!(forgotten, Err(Error::NewestStays { .. })));
    assert_eq!(names(&place), before);

    let first = place.finish();
    let before = names(&place);
    assert!(before.len() > 3, "{before:?}");
    write(place.tree().join("more"), "more");
    let second = place.finish();
    let pruned = repository.prune(&last(2)).unwrap();
    assert!(pruned.deleted.is_empty() && pruned.squashed.is_empty(), "{pruned:?}");
    assert_eq!(place.check(&restored(&place.store, first.snapshot)), before.len() - 1);

    // The first snapshot goes, and with it the pieces it was made of.
    let pruned = repository.prune(&last(1)).unwrap();
    assert_eq!(pruned.squashed.len(), 1, "{pruned:?}");
    assert_eq!(place.snapshots().all().collect::<Vec<_>>(), [second.snapshot]);
    assert!(!place.snapshots().is_checkpoint(second.snapshot));
    place.finish();
}

/// One checkpoint can be forgotten by its name.
#[test]
fn a_checkpoint_can_be_forgotten() {
    let place = interrupt_after(2);
    let report = place.finish();
    let snapshots = place.snapshots();
    let checkpoint = snapshots.all().nth(1).unwrap();
    assert!(snapshots.is_checkpoint(checkpoint));
    Repository::new(&place.store).forget(&[checkpoint], &PruneOptions::default()).unwrap();
    let left: Vec<SnapshotId> = place.snapshots().all().collect();
    assert_eq!(left, snapshots.all().filter(|it| *it != checkpoint).collect::<Vec<_>>());
    assert!(restored(&place.store, report.snapshot) == snapshot(&place.tree()));
}

/// The rules for full backups take a first backup in pieces for one.
#[test]
fn checkpoints_are_no_increments() {
    let place = interrupt_after(2);
    place.finish();
    let options = |full_after, full_ratio| BackupOptions {
        full_after,
        full_ratio,
        checkpoint: Some(EVERY),
        ..BackupOptions::default()
    };
    let dir = Dir::new(place.tree()).unwrap();
    for (number, (full_after, full_ratio, is_full)) in
        [(Some(1), None, false), (Some(1), None, true), (None, Some(0.5), false)]
            .into_iter()
            .enumerate()
    {
        write(place.tree().join("new"), noise(number as u64, FILE_LEN));
        let report =
            Repository::new(&place.store).backup(&dir, &options(full_after, full_ratio)).unwrap();
        let archive = report.made.unwrap().archive;
        assert_eq!(archive.since.is_none(), is_full, "{archive}");
        // There is a snapshot to go on from: no checkpoints are put for a later full backup.
        assert!(!archive.checkpoint);
    }
    let snapshots = place.snapshots();
    assert!(snapshots.all().rev().take(3).all(|id| !snapshots.is_checkpoint(id)));
}
