//! A store with parity mends itself: in memory while it is read, and for good by `heal`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::Failing;
use dirindex::Dir;
use repository::store::Keep;
use repository::{
    BackupOptions, DirStore, ParityFound, PruneOptions, Repository, RestoreOptions, SnapshotId,
};
use rsync_core::Progress;
use testing::{Snapshot, fast_tempdir, snapshot};

/// A tree of several snapshots in a store, and what it was at each.
struct World {
    temp: tempfile::TempDir,
    repository: Repository<DirStore>,
    history: Vec<(SnapshotId, Snapshot)>,
}

impl World {
    fn new(parity: Option<u32>) -> World {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let repository = Repository::create(temp.path().join("store")).unwrap();
        let mut world = World { temp, repository, history: Vec::new() };
        for night in 0..3_u8 {
            let mut bytes = vec![0; 90_000];
            fastrand::Rng::with_seed(night.into()).fill(&mut bytes);
            fs::write(tree.join(format!("file {night}")), bytes).unwrap();
            world.back_up(parity.filter(|_| night == 0));
        }
        world
    }

    fn back_up(&mut self, parity: Option<u32>) {
        let tree = self.temp.path().join("tree");
        let options = BackupOptions { parity, ..BackupOptions::default() };
        let done = self.repository.backup(&Dir::new(&tree).unwrap(), &options).unwrap();
        self.history.push((done.snapshot, snapshot(&tree)));
    }

    fn store(&self) -> PathBuf {
        self.temp.path().join("store")
    }

    /// The names in the store that end so.
    fn names(&self, end: &str) -> Vec<String> {
        let names = fs::read_dir(self.store()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
        names.sort();
        names
    }

    /// That every snapshot comes back.
    fn check(&self) {
        for (id, tree) in &self.history {
            let dest = fast_tempdir();
            let report =
                self.repository.restore(*id, dest.path(), &RestoreOptions::default()).unwrap();
            assert!(report.skipped.is_empty());
            assert!(snapshot(dest.path()) == *tree, "{id}");
        }
    }
}

fn damage(path: &Path, from: usize, len: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..from + len].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(path, bytes).unwrap();
}

/// Promise: each archive and the index of a store with parity has one; the store remembers; a backup keeps it so.
#[test]
fn a_store_remembers_its_parity() {
    let world = World::new(Some(7));
    assert_eq!(world.names(".tgz.parity").len(), 3);
    assert_eq!(world.names(".index.parity").len(), 1);
    let marker = fs::read_to_string(world.store().join("store.toml")).unwrap();
    assert!(marker.contains("format = 1\n") && marker.ends_with("parity = 7\n"), "{marker}");
    let found = world.repository.verify(None).unwrap();
    assert!(found.is_sound() && found.parity.parities == 4 && found.parity.found.is_empty());
    assert!(World::new(None).names(".parity").is_empty());
}

/// Promise: what is damaged within the share is restored, with a word; nothing is written. `heal` mends it byte for byte.
#[test]
fn damage_is_healed_in_memory_and_for_good() {
    let mut world = World::new(Some(10));
    let told = Arc::new(Mutex::new(Vec::new()));
    let witness = Arc::clone(&told);
    world.repository =
        world.repository.witnessed_by(move |name, _| witness.lock().unwrap().push(name.to_owned()));
    let archives = world.names(".tgz");
    let whole: Vec<Vec<u8>> =
        archives.iter().map(|name| fs::read(world.store().join(name)).unwrap()).collect();
    // A content, the table at the end, and a lost end.
    damage(&world.store().join(&archives[0]), 40_000, 4_000);
    let last = whole[1].len() - 20;
    damage(&world.store().join(&archives[1]), last, 10);
    fs::write(world.store().join(&archives[2]), &whole[2][..whole[2].len() - 3_000]).unwrap();
    let index = world.store().join(&world.names(".index")[0]);
    let indexed = fs::read(&index).unwrap();
    damage(&index, 100, 50);

    world.check();
    world.back_up(None);
    let mut named = std::mem::take(&mut *told.lock().unwrap());
    named.sort();
    named.dedup();
    assert_eq!(named[..3], archives[..], "each is said");
    assert_eq!(named.len(), 4, "and the index");
    assert_ne!(fs::read(world.store().join(&archives[0])).unwrap(), whole[0], "nothing is written");

    let found = world.repository.verify(None).unwrap();
    assert!(!found.is_sound() && found.archives.iter().any(|(_, it)| !it.problems.is_empty()));
    assert!(
        found
            .parity
            .found
            .iter()
            .any(|(_, found)| matches!(found, ParityFound::Damaged { mended: false, .. }))
    );
    let healed = world.repository.heal(None).unwrap();
    assert!(healed.is_sound() && healed.found.len() >= 3, "{healed:?}");
    for (name, whole) in archives.iter().zip(&whole) {
        assert!(fs::read(world.store().join(name)).unwrap() == *whole, "{name}");
    }
    if index.exists() {
        assert!(fs::read(&index).unwrap() == indexed);
    }
    assert!(world.repository.verify(None).unwrap().is_sound());
    world.check();
}

/// Promise: beyond the share there is an error, and nothing is written. A damaged parity is made anew, one without its file is
/// said and does no harm.
#[test]
fn what_cannot_be_mended_stays_as_it_is() {
    let world = World::new(Some(5));
    let archives = world.names(".tgz");
    let first = world.store().join(&archives[0]);
    damage(&first, 10_000, 30_000);
    let damaged = fs::read(&first).unwrap();
    let parity = world.store().join(format!("{}.parity", archives[1]));
    let whole = fs::read(&parity).unwrap();
    damage(&parity, 0, 3_000);
    let stray = world.store().join("20200101T000000Z-full.tgz.parity");
    fs::copy(world.store().join(format!("{}.parity", archives[2])), &stray).unwrap();
    let healed = world.repository.heal(None).unwrap();
    assert!(!healed.is_sound());
    let kinds: Vec<&ParityFound> = healed.found.iter().map(|(_, found)| found).collect();
    assert!(
        matches!(
            kinds[..],
            [
                ParityFound::Alone,
                ParityFound::Beyond(_),
                ParityFound::ParityDamaged { mended: true }
            ]
        ),
        "{kinds:?}"
    );
    assert!(fs::read(&first).unwrap() == damaged && fs::read(&parity).unwrap() == whole);
    assert!(stray.exists());
    let names = fs::read_dir(world.store()).unwrap().count();
    assert!(
        world
            .repository
            .restore(world.history[0].0, fast_tempdir().path(), &RestoreOptions::default())
            .is_err()
    );
    assert_eq!(fs::read_dir(world.store()).unwrap().count(), names);
}

/// Promise: pruning takes the parity of an archive with it, and gives the new archive one.
#[test]
fn prune_keeps_parity_true() {
    let mut world = World::new(Some(5));
    world.repository.protect_across(None).unwrap();
    let keep = Keep { last: 1, ..Keep::default() };
    world.repository.prune(&PruneOptions { keep, ..PruneOptions::default() }).unwrap();
    world.history.drain(..2);
    let archives = world.names(".tgz");
    assert_eq!(archives.len(), 1);
    assert_eq!(world.names(".tgz.parity"), [format!("{}.parity", archives[0])]);
    assert_eq!(world.names("-across.parity").len(), 1);
    assert!(world.repository.verify(None).unwrap().is_sound());
    world.check();
}

/// Promise: while a store with a parity over its chain is pruned, there is one at each moment, over what is there then.
#[test]
fn a_prune_that_dies_leaves_a_parity_over_the_chain() {
    let keep = Keep { last: 1, ..Keep::default() };
    let options = PruneOptions { keep, ..PruneOptions::default() };
    for after in [false, true] {
        for at in 0.. {
            let world = World::new(None);
            world.repository.protect_across(None).unwrap();
            let store = DirStore::open(world.store()).unwrap();
            let failing = Failing::new(&store, at, after);
            let done = Repository::new(&failing).prune(&options).is_ok();
            assert_eq!(world.names("-across.parity").len(), 1, "failed at {at}");
            let found = world.repository.verify(None).unwrap();
            assert!(found.parity.is_sound(), "failed at {at}: {:?}", found.parity);
            if done {
                assert!(at > 10, "only {at} calls");
                break;
            }
        }
    }
}

/// Promise: a snapshot is there, and reported, though its parity could not be made; the next backup makes it.
#[test]
fn a_backup_is_there_though_its_parity_is_not() {
    let mut world = World::new(Some(5));
    let parity = world.store().join(world.names(".tgz.parity").remove(0));
    fs::remove_file(&parity).unwrap();
    fs::create_dir(&parity).unwrap();
    let tree = world.temp.path().join("tree");
    fs::write(tree.join("later"), "later").unwrap();
    let options = BackupOptions::default();
    let done = world.repository.backup(&Dir::new(&tree).unwrap(), &options).unwrap();
    assert!(done.made.is_some());
    let error = done.unprotected.unwrap().to_string();
    assert!(error.contains(".tgz.parity"), "{error}");
    world.history.push((done.snapshot, snapshot(&tree)));
    world.check();
    fs::remove_dir(&parity).unwrap();
    let done = world.repository.backup(&Dir::new(&tree).unwrap(), &options).unwrap();
    assert!(done.unprotected.is_none() && done.made.is_none());
    assert_eq!(world.names(".tgz.parity").len(), 4);
    assert!(world.repository.verify(None).unwrap().is_sound());
}

/// Promise: a share that there is not is refused before anything is put.
#[test]
fn a_wrong_share_makes_no_snapshot() {
    let world = World::new(None);
    let tree = world.temp.path().join("tree");
    fs::write(tree.join("later"), "later").unwrap();
    let options = BackupOptions { parity: Some(101), ..BackupOptions::default() };
    assert!(world.repository.backup(&Dir::new(&tree).unwrap(), &options).is_err());
    assert_eq!(world.names(".tgz").len(), 3);
}

/// Promise: by one parity over the archives of a chain, any one of them that is lost comes back byte for byte.
#[test]
fn a_lost_archive_is_made_again() {
    let world = World::new(None);
    let report = world.repository.protect_across(None).unwrap();
    assert_eq!(report.made.len(), 1);
    for name in world.names(".tgz") {
        let path = world.store().join(name);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!world.repository.verify(None).unwrap().is_sound());
        let healed = world.repository.heal(None).unwrap();
        assert!(
            matches!(healed.found[..], [(_, ParityFound::Lost { mended: true })]),
            "{healed:?}"
        );
        assert!(fs::read(&path).unwrap() == whole);
    }
    world.check();
}

/// Promise: protecting and healing count the bytes of the files, and stop when they are asked to, with nothing half done.
#[test]
fn protecting_and_healing_count_and_are_cancelled() {
    let world = World::new(None);
    let (first, progress) = (world.store().join(&world.names(".tgz")[0]), Progress::new());
    let files = [world.names(".tgz"), world.names(".index")].concat();
    let len = |name: &String| fs::metadata(world.store().join(name)).unwrap().len();
    let all: u64 = files.iter().map(len).sum();
    let stopped = Progress::new();
    stopped.cancel();
    assert!(world.repository.protect(None, Some(&stopped)).unwrap_err().is_cancelled());
    assert!(world.names(".parity").is_empty());
    world.repository.protect(None, Some(&progress)).unwrap();
    assert_eq!((progress.bytes(), progress.stage().fraction()), (all, Some(1.0)));

    let whole = fs::read(&first).unwrap();
    damage(&first, 40_000, 10);
    let damaged = fs::read(&first).unwrap();
    assert!(world.repository.heal(Some(&stopped)).unwrap_err().is_cancelled());
    assert!(world.repository.verify(Some(&stopped)).unwrap_err().is_cancelled());
    assert!(fs::read(&first).unwrap() == damaged);
    let progress = Progress::new();
    assert!(world.repository.heal(Some(&progress)).unwrap().is_sound());
    // It was written, too.
    assert_eq!(progress.bytes(), all + whole.len() as u64);
    assert!(fs::read(&first).unwrap() == whole);
    for across in [false, true] {
        let made = match across {
            true => world.repository.protect_across(Some(&stopped)),
            false => world.repository.protect(Some(9), Some(&stopped)),
        };
        assert!(made.unwrap_err().is_cancelled());
    }
}

/// Promise: `protect` makes parity of a store that had none, changes the share, and protects no damaged bytes.
#[test]
fn what_is_damaged_is_not_protected() {
    let world = World::new(None);
    let archives = world.names(".tgz");
    damage(&world.store().join(&archives[1]), 30_000, 1);
    let report = world.repository.protect(None, None).unwrap();
    assert_eq!((report.percent, report.made.len(), report.damaged.len()), (Some(5), 3, 1));
    assert!(!world.store().join(format!("{}.parity", archives[1])).exists());
    damage(&world.store().join(&archives[1]), 30_000, 1);
    let report = world.repository.protect(None, None).unwrap();
    assert_eq!((report.made.len(), report.kept), (1, 3));
    let report = world.repository.protect(Some(20), None).unwrap();
    assert_eq!((report.made.len(), report.kept), (4, 0), "each anew, for another share");
    assert!(world.repository.verify(None).unwrap().is_sound());
}
