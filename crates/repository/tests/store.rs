//! What a store's readers and writers believe, and what not: damaged archives, clocks, other processes, little room.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use apply::ApplyOptions;
use archive::ReadAt;
use common::{check, restored};
use dirindex::Dir;
use repository::store::{ArchiveName, IndexName, StoreWriter, Stored, StoredName};
use repository::{
    BackupOptions, BackupReport, DirStore, Error, Keep, PruneOptions, PruneReport, Repository,
    RestoreOptions, SnapshotId, Store,
};
use tempfile::TempDir;
use testing::{Snapshot, fast_tempdir, noise, snapshot, write};

struct Place {
    temp: TempDir,
    store: DirStore,
    known: BTreeMap<SnapshotId, Snapshot>,
    steps: u64,
}

impl Place {
    fn new() -> Place {
        let temp = fast_tempdir();
        fs::create_dir(temp.path().join("tree")).unwrap();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        Place { temp, store, known: BTreeMap::new(), steps: 0 }
    }

    fn tree(&self) -> PathBuf {
        self.temp.path().join("tree")
    }

    fn back_up(&mut self, options: &BackupOptions) -> BackupReport {
        let report =
            Repository::new(&self.store).backup(&Dir::new(self.tree()).unwrap(), options).unwrap();
        self.known.insert(report.snapshot, snapshot(&self.tree()));
        report
    }

    /// Changes the tree and backs it up.
    fn step(&mut self, full: bool) -> ArchiveName {
        self.steps += 1;
        let mut content = noise(1, 30_000);
        content.extend(noise(self.steps, 50));
        write(self.tree().join("a"), content);
        write(self.tree().join(format!("b{}", self.steps)), noise(self.steps, 20_000));
        let options = BackupOptions { full, ..BackupOptions::default() };
        self.back_up(&options).made.unwrap().archive
    }

    fn path(&self, name: ArchiveName) -> PathBuf {
        self.store.path().join(name.to_string())
    }

    fn names(&self) -> Vec<String> {
        let snapshots = Repository::new(&self.store).snapshots().unwrap();
        snapshots.archives().iter().map(|archive| archive.name.to_string()).collect()
    }
}

fn last(count: usize) -> PruneOptions {
    PruneOptions { keep: Keep { last: count, ..Keep::default() }, ..PruneOptions::default() }
}

fn damage(path: &Path, cut: bool) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    if cut {
        bytes.truncate(middle);
    } else {
        bytes[middle] ^= 1;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn nothing_is_deleted_before_what_stays_has_been_read() {
    for cut in [true, false] {
        for count in 1..3 {
            let mut place = Place::new();
            place.step(true);
            place.step(false);
            let full = place.step(true);
            if count == 2 {
                place.step(false);
            }
            damage(&place.path(full), cut);
            let before = place.names();
            match Repository::new(&place.store).prune(&last(count)) {
                Err(Error::Unsound { archive, .. }) => assert_eq!(archive, full.to_string()),
                other => panic!("{other:?}"),
            }
            assert_eq!(place.names(), before);
            // What the message says to do helps.
            place.step(true);
            Repository::new(&place.store).prune(&last(1)).unwrap();
            let newest = *place.known.keys().next_back().unwrap();
            place.known.retain(|id, _| *id == newest);
            check(&place.store, &place.known);
        }
    }
}

/// An archive that no kept snapshot depends on alone is not read, but it is opened, and so are its changes.
#[test]
fn what_stays_is_opened_though_nothing_goes_for_it() {
    let mut place = Place::new();
    let names: Vec<ArchiveName> = (0..4).map(|step| place.step(step == 0)).collect();
    damage(&place.path(names[3]), true);
    let before = place.names();
    assert!(matches!(Repository::new(&place.store).prune(&last(3)), Err(Error::Unsound { .. })));
    assert_eq!(place.names(), before);
}

#[test]
fn a_backup_builds_on_no_chain_that_cannot_be_opened() {
    for damaged in 0..4 {
        let mut place = Place::new();
        let names: Vec<ArchiveName> = (0..4).map(|step| place.step(step == 0)).collect();
        damage(&place.path(names[damaged]), true);
        write(place.tree().join("more"), "more");
        let report = place.back_up(&BackupOptions::default());
        let made = report.made.unwrap().archive;
        let sound = damaged.checked_sub(1).map(|before| names[before].to);
        assert_eq!(made.since, sound, "the last one whose archives all open");
        let unusable: Vec<StoredName> = report.unusable.iter().map(|file| file.name).collect();
        assert!(unusable.contains(&StoredName::Archive(names[damaged])), "{unusable:?}");
        assert!(restored(&place.store, made.to) == snapshot(&place.tree()));
    }
}

/// Names an archive as a clock would that was at `to` then.
fn rename(place: &Place, from: ArchiveName, to: ArchiveName) {
    fs::rename(place.path(from), place.path(to)).unwrap();
    let [from, to] = [from.to, to.to].map(|id| StoredName::Index(IndexName::whole(id)).to_string());
    drop(fs::rename(place.store.path().join(from), place.store.path().join(to)));
}

#[test]
fn a_clock_that_was_ahead_once_costs_no_days() {
    let mut place = Place::new();
    let id = |id: &str| id.parse::<SnapshotId>().unwrap();
    let first = place.step(true);
    rename(&place, first, ArchiveName { to: id("20990101T000000Z"), ..first });
    let mut made = Vec::new();
    for day in 1..5 {
        place.steps += 1;
        write(place.tree().join("a"), noise(place.steps, 100));
        let report = place.back_up(&BackupOptions::default());
        // Only the first is behind the one before it.
        assert_eq!(report.clock_behind.is_some(), day == 1);
        let name = report.made.unwrap().archive;
        assert!(name.to > id("20990101T000000Z"), "the order is kept");
        assert!(
            name.clock.unwrap() < id("20980101T000000Z"),
            "and the time is in the name: {name}"
        );
        let clock = Some(id(&format!("2026010{day}T120000Z")));
        let dated = ArchiveName { clock, ..name };
        rename(&place, name, dated);
        made.push(name.to);
    }
    let daily = Keep { daily: 7, ..Keep::default() };
    let options = PruneOptions { keep: daily, ..PruneOptions::default() };
    let before = place.names();
    match Repository::new(&place.store).prune(&options) {
        Err(Error::Clock { snapshot: first, after: true, .. }) => {
            assert_eq!(first, id("20990101T000000Z"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(place.names(), before);
    // Rules that count no days do not ask.
    Repository::new(&place.store).prune(&PruneOptions { dry_run: true, ..last(2) }).unwrap();
    // With consent, the one of which the time is not known is of the day of those about it.
    let report = Repository::new(&place.store)
        .prune(&PruneOptions { ignore_clock: true, ..options.clone() })
        .unwrap();
    assert_eq!(report.kept, made);
    // What was wrong has gone, so nobody asks any more.
    Repository::new(&place.store).prune(&options).unwrap();
    let snapshots = Repository::new(&place.store).snapshots().unwrap();
    assert_eq!(snapshots.resolve("2026-01-02"), Ok(made[1]));
}

/// A store in which something happens right after it was listed so many times.
struct Changing<'a> {
    inner: &'a DirStore,
    lists: AtomicUsize,
    at: usize,
    then: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl<'a> Changing<'a> {
    fn new(inner: &'a DirStore, at: usize, then: impl FnOnce() + Send + 'a) -> Changing<'a> {
        let then = Mutex::new(Some(Box::new(then) as _));
        Changing { inner, lists: AtomicUsize::new(0), at, then }
    }
}

impl Store for Changing<'_> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let listed = self.inner.list();
        if self.lists.fetch_add(1, Ordering::Relaxed) == self.at {
            (self.then.lock().unwrap().take().unwrap())();
        }
        listed
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.inner.open(name)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.inner.put(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
}

#[test]
fn who_reads_while_a_prune_is_at_work_sees_no_damage() {
    let mut place = Place::new();
    for step in 0..4 {
        place.step(step == 0);
    }
    let newest = *place.known.keys().next_back().unwrap();
    let tree = place.tree();
    let store = &place.store;
    let changing =
        Changing::new(store, 0, || drop(Repository::new(store).prune(&last(1)).unwrap()));
    let found = Repository::new(&changing).verify(None).unwrap();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.archives.len(), 1);
    drop(changing);

    place.step(false);
    place.step(false);
    let store = &place.store;
    let newest = place.known.keys().next_back().copied().filter(|it| *it > newest).unwrap();
    let changing =
        Changing::new(store, 0, || drop(Repository::new(store).prune(&last(1)).unwrap()));
    let dest = place.temp.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let options = RestoreOptions { apply, ..RestoreOptions::default() };
    let report = Repository::new(&changing).restore(newest, &dest, &options).unwrap();
    assert!(report.skipped.is_empty(), "{report:?}");
    assert!(snapshot(&dest) == snapshot(&tree));
}

#[test]
fn who_verifies_while_a_backup_is_at_work_sees_no_damage() {
    let mut place = Place::new();
    place.step(true);
    write(place.tree().join("more"), "more");
    let (store, tree) = (&place.store, place.tree());
    let changing = Changing::new(store, 0, || {
        Repository::new(store)
            .backup(&Dir::new(&tree).unwrap(), &BackupOptions::default())
            .unwrap();
    });
    let found = Repository::new(&changing).verify(None).unwrap();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!(found.archives.len(), 2);
}

#[test]
fn a_tree_that_is_empty_all_at_once_is_not_backed_up_unasked() {
    let mut place = Place::new();
    for number in 0..40 {
        write(place.tree().join(format!("dir/{number}")), format!("{number}"));
    }
    place.back_up(&BackupOptions::default());
    fs::rename(place.tree().join("dir"), place.temp.path().join("away")).unwrap();
    write(place.tree().join("other"), "other");
    let dir = Dir::new(place.tree()).unwrap();
    let full = BackupOptions { full: true, ..BackupOptions::default() };
    let before = fs::read_dir(place.store.path()).unwrap().count();
    for options in [BackupOptions::default(), full] {
        let error = Repository::new(&place.store).backup(&dir, &options).unwrap_err();
        assert!(matches!(error, Error::Emptied { removed: 41, entries: 41 }), "{error}");
        assert_eq!(fs::read_dir(place.store.path()).unwrap().count(), before);
    }
    // What moved is not gone.
    fs::rename(place.temp.path().join("away"), place.tree().join("moved")).unwrap();
    place.back_up(&BackupOptions::default());
    fs::remove_dir_all(place.tree().join("moved")).unwrap();
    place.back_up(&BackupOptions { allow_emptied: true, ..BackupOptions::default() });
}

#[test]
fn a_store_inside_its_tree_is_found_by_whatever_name_it_was_given() {
    let mut place = Place::new();
    let inside = place.tree().join("sub/store");
    fs::create_dir_all(&inside).unwrap();
    let link = place.temp.path().join("link");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let dir = Dir::new(place.tree()).unwrap();
    for name in [link, place.tree().join("sub/../sub/store")] {
        let error =
            Repository::new(&DirStore::open(name).unwrap()).backup(&dir, &BackupOptions::default());
        match error {
            Err(Error::StoreInside { path }) => assert_eq!(path, "sub/store"),
            other => panic!("{other:?}"),
        }
    }
    let itself = Repository::new(&DirStore::open(place.tree()).unwrap())
        .backup(&dir, &BackupOptions::default());
    assert!(matches!(itself, Err(Error::StoreInside { .. })));
    // Left out, it is no harm.
    write(place.tree().join(".exclude"), "store/\n");
    place.store = DirStore::open(inside).unwrap();
    place.back_up(&BackupOptions::default());
    assert!(place.back_up(&BackupOptions::default()).made.is_none());
}

/// A store on a disk of so many bytes.
struct Small<'a> {
    inner: &'a DirStore,
    bytes: u64,
}

impl Small<'_> {
    fn used(&self) -> u64 {
        let files = fs::read_dir(self.inner.path()).unwrap();
        files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

struct SmallPut<'a> {
    store: &'a Small<'a>,
    put: Box<dyn StoreWriter + 'a>,
}

impl Write for SmallPut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put.write_all(bytes)?;
        self.put.flush()?;
        match self.store.used() > self.store.bytes {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put.flush()
    }
}

impl StoreWriter for SmallPut<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        self.put.commit()
    }

    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        self.put.written()
    }
}

impl Store for Small<'_> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.inner.open(name)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        Ok(Box::new(SmallPut { store: self, put: self.inner.put(name)? }))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
}

/// A large file that stays, and one that is another each time.
fn replaced(steps: u64) -> Place {
    let mut place = Place::new();
    for step in 0..steps {
        if step == 0 {
            write(place.tree().join("large"), noise(1, 300_000));
        }
        write(place.tree().join("new"), noise(100 + step, 100_000));
        place.back_up(&BackupOptions::default());
    }
    place
}

fn prune_with_room(place: &Place, room: u64, options: &PruneOptions) -> PruneReport {
    let mut small = Small { inner: &place.store, bytes: 0 };
    small.bytes = small.used() + room;
    Repository::new(&small).prune(options).unwrap()
}

#[test]
fn a_prune_frees_as_it_goes_when_there_is_little_room() {
    let mut place = replaced(6);
    let report = prune_with_room(&place, 150_000, &last(1));
    assert_eq!((report.kept.len(), report.removed.len(), report.waiting.len()), (1, 5, 0));
    let newest = report.kept[0];
    place.known.retain(|id, _| *id == newest);
    check(&place.store, &place.known);
    assert_eq!(place.names().len(), 1);
}

#[test]
fn what_there_is_no_room_for_waits_and_what_can_go_goes() {
    let mut place = replaced(3);
    // An old chain on which nothing depends, then one that cannot be joined.
    write(place.tree().join("new"), noise(50, 100_000));
    place.back_up(&BackupOptions { full: true, ..BackupOptions::default() });
    for step in 0..2 {
        write(place.tree().join(format!("more{step}")), noise(60 + step, 100_000));
        place.back_up(&BackupOptions::default());
    }
    let before = place.names();
    let report = prune_with_room(&place, 10_000, &last(1));
    // The old chain made room for the new one.
    assert_eq!((report.removed.len(), report.waiting.len()), (5, 0), "{before:?} {report:?}");

    let mut place = replaced(1);
    for step in 0..3 {
        write(place.tree().join(format!("more{step}")), noise(60 + step, 100_000));
        place.back_up(&BackupOptions::default());
    }
    let before = place.names();
    let report = prune_with_room(&place, 10_000, &last(1));
    assert_eq!((report.removed.len(), report.waiting.len()), (0, 3));
    assert!(report.room_wanted > 600_000 && report.deleted.is_empty());
    assert_eq!(place.names(), before);
    check(&place.store, &place.known);
}

/// Of thousands of files with archives' names, each is opened once.
#[test]
fn empty_files_by_the_thousand_cost_no_time() {
    let place = Place::new();
    let id = |secs: i64| SnapshotId::from_secs(1_767_225_600 + secs).unwrap();
    let middle = id(5000);
    for at in 0..1500 {
        for name in [
            format!("{}-full.tgz", id(at)),
            format!("{middle}-since-{}.tgz", id(at)),
            format!("{}-since-{middle}.tgz", id(6000 + at)),
        ] {
            fs::write(place.store.path().join(name), "").unwrap();
        }
    }
    let started = std::time::Instant::now();
    let snapshots = Repository::new(&place.store).snapshots().unwrap();
    let failed =
        Repository::new(&place.store).with_archives(snapshots.latest().unwrap(), |_| Ok(()));
    assert!(failed.is_err());
    write(place.tree().join("a"), "a");
    let report = Repository::new(&place.store)
        .backup(&Dir::new(place.tree()).unwrap(), &BackupOptions::default())
        .unwrap();
    assert_eq!(report.made.unwrap().archive.since, None);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
