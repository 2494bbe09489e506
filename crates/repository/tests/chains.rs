//! Several chains to a snapshot: one that is damaged is left for another before anything is changed, and the report says so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use apply::{Applied, ApplyOptions};
use archive::{Archive, ArchiveOptions, DiffData};
use dirindex::Dir;
use repository::store::{ArchiveName, IndexName, SnapshotId, StoredName};
use repository::{
    BackupOptions, DirStore, Error, Repository, Restorable, RestoreOptions, Skipped, Store,
};
use tempfile::TempDir;
use testing::{Snapshot, fast_tempdir, noise, snapshot, write};

/// A store with a full backup and three increments, and one archive squashed of the last two, which has fewer bytes than
/// these.
struct Chains {
    temp: TempDir,
    store: DirStore,
    tree: Snapshot,
    snapshots: Vec<SnapshotId>,
}

impl Chains {
    fn new() -> Chains {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let dir = || Dir::new(&tree).unwrap();
        let mut snapshots = Vec::new();
        for step in 0..4 {
            write(tree.join("dir/edited"), [noise(7, 40_000), noise(step, 200)].concat());
            write(tree.join(format!("new-{step}")), noise(step, 5000));
            // So that the squashed archive has fewer bytes.
            write(tree.join("each time another"), noise(100 + step, 20_000));
            snapshots.push(
                Repository::new(&store).backup(&dir(), &BackupOptions::default()).unwrap().snapshot,
            );
        }
        let chains = Chains { tree: snapshot(&tree), temp, store, snapshots };
        let [third, fourth] = [chains.name(2, 1), chains.name(3, 2)];
        let load = |name| Archive::open(chains.path(name)).unwrap().load().unwrap();
        let squashed = DiffData::squash(&[load(&third), load(&fourth)]).unwrap();
        let name = ArchiveName { since: third.since, ..fourth };
        squashed.compact(chains.path(&name), &ArchiveOptions::default()).unwrap();
        chains
    }

    fn archives(&self) -> Vec<ArchiveName> {
        let snapshots = Repository::new(&self.store).snapshots().unwrap();
        snapshots.archives().iter().map(|archive| archive.name).collect()
    }

    /// The archive from one snapshot to another.
    fn name(&self, to: usize, since: usize) -> ArchiveName {
        let wanted = (self.snapshots[to], Some(self.snapshots[since]));
        let archives = self.archives();
        *archives.iter().find(|name| (name.to, name.since) == wanted).unwrap()
    }

    fn path(&self, name: &ArchiveName) -> PathBuf {
        self.store.path().join(name.to_string())
    }

    fn restore(&self, dest: &Path, passed: &mut Vec<Skipped>) -> Result<Applied, Error> {
        let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
        let options = RestoreOptions { apply, ..RestoreOptions::default() };
        match Repository::new(&self.store).restore(self.snapshots[3], dest, &options) {
            Ok(report) => {
                passed.extend(report.skipped);
                Ok(report.applied)
            }
            Err(Error::EveryChain { skipped, source }) => {
                passed.extend(skipped);
                Err(*source)
            }
            Err(error) => Err(error),
        }
    }

    fn dest(&self, name: &str) -> PathBuf {
        let dest = self.temp.path().join(name);
        fs::create_dir(&dest).unwrap();
        dest
    }
}

fn flip(path: &Path, at: usize) -> Vec<u8> {
    let sound = fs::read(path).unwrap();
    let mut bytes = sound.clone();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    sound
}

#[test]
fn damage_on_the_cheapest_chain_costs_nothing_when_there_is_another() {
    let chains = Chains::new();
    let cheapest =
        Repository::new(&chains.store).snapshots().unwrap().chain_to(chains.snapshots[3]).unwrap();
    let short = chains.name(3, 1);
    assert!(cheapest.iter().any(|step| step.name == short), "{cheapest:?}");
    let path = chains.path(&short);
    let len = fs::metadata(&path).unwrap().len() as usize;
    let mut passed = 0;
    for at in (0..len).step_by(len / 40) {
        let sound = flip(&path, at);
        let found = Repository::new(&chains.store).verify(None).unwrap();
        assert!(!found.is_sound());
        assert!(found.snapshots.iter().all(|(_, it)| *it == Restorable::Whole), "{at}: {found:?}");
        let damaged = found.archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
        assert_eq!(damaged.map(|(stored, _)| stored.name).collect::<Vec<_>>(), [short]);

        let (dest, mut past) = (chains.dest(&at.to_string()), Vec::new());
        chains.restore(&dest, &mut past).unwrap();
        let past: Vec<ArchiveName> = past.iter().map(|it| it.archive).collect();
        // Damage in PATHS, which is for people, is no reason to go another chain.
        match past.is_empty() {
            true => assert_eq!(found.skipped, [], "{at}"),
            false => assert_eq!(found.skipped, [(chains.snapshots[3], past)], "{at}"),
        }
        passed += found.skipped.len();
        assert!(snapshot(&dest) == chains.tree, "{at}");
        fs::write(&path, sound).unwrap();
    }
    assert!(passed > 30, "{passed}");
    let found = Repository::new(&chains.store).verify(None).unwrap();
    assert!(found.is_sound() && found.skipped.is_empty());
}

#[test]
fn when_no_chain_is_sound_nothing_is_written_and_all_is_told() {
    let chains = Chains::new();
    let [short, third] = [chains.name(3, 1), chains.name(2, 1)];
    for name in [short, third] {
        let len = fs::metadata(chains.path(&name)).unwrap().len();
        fs::File::options().write(true).open(chains.path(&name)).unwrap().set_len(len - 9).unwrap();
    }
    let (dest, mut passed) = (chains.dest("dest"), Vec::new());
    let error = chains.restore(&dest, &mut passed).unwrap_err();
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 0);
    assert_eq!(passed.iter().map(|it| it.archive).collect::<Vec<_>>(), [short]);
    assert!(error.to_string().contains(&third.to_string()), "{error}");
    let found = Repository::new(&chains.store).verify(None).unwrap();
    let verdicts: Vec<bool> =
        found.snapshots.iter().map(|(_, verdict)| *verdict == Restorable::Whole).collect();
    assert_eq!(verdicts, [true, true, false, false]);
    assert!(found.skipped.is_empty());
}

/// An archive of another state in the place of one is sound by itself: it is what follows that does not fit. That fits
/// the state as it comes by another chain.
#[test]
fn what_does_not_follow_one_archive_may_follow_another() {
    let chains = Chains::new();
    let [first, second] = [chains.archives()[0], chains.name(1, 0)];
    let full = ArchiveName { to: chains.snapshots[1], since: None, ..first };
    fs::copy(chains.path(&first), chains.path(&full)).unwrap();
    let snapshots = Repository::new(&chains.store).snapshots().unwrap();
    let cheapest = snapshots.chain_to(chains.snapshots[3]).unwrap();
    assert_eq!(cheapest[0].name, full, "the first archive alone is shorter than with the second");

    let (dest, mut passed) = (chains.dest("dest"), Vec::new());
    chains.restore(&dest, &mut passed).unwrap();
    assert!(snapshot(&dest) == chains.tree);
    let passed: Vec<ArchiveName> = passed.iter().map(|it| it.archive).collect();
    assert_eq!(
        passed,
        [chains.name(3, 1), chains.name(2, 1)],
        "which do not follow the exchanged one"
    );
    let found = Repository::new(&chains.store).verify(None).unwrap();
    assert!(found.snapshots.iter().all(|(_, it)| *it == Restorable::Whole), "{found:?}");
    let wrong = found.archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
    assert_eq!(wrong.map(|(stored, _)| stored.name).collect::<Vec<_>>(), [second]);
}

/// What is in the way is no archive's fault.
#[test]
fn other_failures_are_not_tried_again() {
    let chains = Chains::new();
    let dest = chains.dest("dest");
    write(dest.join("new-0"), "mine");
    let mut passed = Vec::new();
    let error = chains.restore(&dest, &mut passed).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert!(passed.is_empty());
}

/// A state that cannot be read by one chain is read by the other, and what has changed since is backed up.
#[test]
fn a_lost_index_is_made_again_by_another_chain() {
    let chains = Chains::new();
    let short = chains.path(&chains.name(3, 1));
    flip(&short, fs::metadata(&short).unwrap().len() as usize / 2);
    chains
        .store
        .delete(&StoredName::Index(IndexName::whole(chains.snapshots[3])).to_string())
        .unwrap();
    let tree = chains.temp.path().join("tree");
    write(tree.join("more"), "more");
    let dir = Dir::new(&tree).unwrap();
    let report = Repository::new(&chains.store).backup(&dir, &BackupOptions::default()).unwrap();
    assert_eq!(report.made.unwrap().archive.since, Some(chains.snapshots[3]));
    let unusable: Vec<StoredName> = report.unusable.iter().map(|file| file.name).collect();
    assert_eq!(
        unusable,
        [
            StoredName::Archive(chains.name(3, 1)),
            StoredName::Index(IndexName::whole(chains.snapshots[3]))
        ]
    );
}

/// What is damaged may matter only to one of those that go on from there, and that need not be the last one.
#[test]
fn around_one_that_takes_from_what_is_damaged() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let (mut snapshots, mut indexes) = (Vec::new(), Vec::new());
    // The same content comes, goes, and comes again elsewhere.
    let steps: [fn(&Path); 5] = [
        |tree| write(tree.join("kept"), "kept"),
        |tree| write(tree.join("first"), noise(1, 5000)),
        |tree| fs::remove_file(tree.join("first")).unwrap(),
        |tree| write(tree.join("again"), noise(1, 5000)),
        |tree| write(tree.join("last"), "last"),
    ];
    for step in steps {
        step(&tree);
        let dir = Dir::new(&tree).unwrap();
        snapshots.push(
            Repository::new(&store).backup(&dir, &BackupOptions::default()).unwrap().snapshot,
        );
        indexes.push(testing::index(&tree));
    }
    let path = |name: &ArchiveName| store.path().join(name.to_string());
    let all = Repository::new(&store).snapshots().unwrap();
    let names: Vec<ArchiveName> = all.archives().iter().map(|archive| archive.name).collect();
    let load = |name| Archive::open(path(name)).unwrap().load().unwrap();
    let parts = [load(&names[2]), load(&names[3])];
    let squashed = DiffData::squash_from(&indexes[1], &parts).unwrap();
    let short = ArchiveName { since: Some(snapshots[1]), ..names[3] };
    squashed.compact(path(&short), &ArchiveOptions::default()).unwrap();
    let middle = fs::metadata(path(&names[1])).unwrap().len() / 2;
    flip(&path(&names[1]), middle as usize);

    let all = Repository::new(&store).snapshots().unwrap();
    let cheapest = all.chain_to(snapshots[4]).unwrap();
    assert!(cheapest.iter().any(|step| step.name == short), "{cheapest:?}");
    let found = Repository::new(&store).verify(None).unwrap();
    assert_eq!(found.snapshots[4], (snapshots[4], Restorable::Whole));
    let dest = temp.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let options = RestoreOptions { apply, ..RestoreOptions::default() };
    let report = Repository::new(&store).restore(snapshots[4], &dest, &options).unwrap();
    assert!(snapshot(&dest) == snapshot(&tree));
    assert_eq!(report.skipped.iter().map(|it| it.archive).collect::<Vec<_>>(), [names[1]]);
}
