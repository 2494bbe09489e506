//! Several ways to a point: one that is damaged is left for another before anything is changed, and it is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use apply::{Applied, ApplyOptions};
use archive::{Archive, ArchiveOptions, DiffData};
use dirindex::Dir;
use repository::store::{self, ArchiveName, Name, PassedOver, Point};
use repository::{
    BackupOptions, DirStore, Error, Restorable, RestoreOptions, Store, backup, restore,
    verify_store,
};
use tempfile::TempDir;
use testing::{Snapshot, fast_tempdir, noise, snapshot, write};

/// A store with a full backup and three increments, and one archive squashed of the last two, which has fewer bytes than
/// these.
struct Ways {
    temp: TempDir,
    store: DirStore,
    tree: Snapshot,
    points: Vec<Point>,
}

impl Ways {
    fn new() -> Ways {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let dir = || Dir::new(&tree).unwrap();
        let mut points = Vec::new();
        for step in 0..4 {
            write(tree.join("dir/edited"), [noise(7, 40_000), noise(step, 200)].concat());
            write(tree.join(format!("new-{step}")), noise(step, 5000));
            // So that the squashed archive has fewer bytes.
            write(tree.join("each time another"), noise(100 + step, 20_000));
            points.push(backup(&dir(), &store, &BackupOptions::default()).unwrap().point);
        }
        let ways = Ways { tree: snapshot(&tree), temp, store, points };
        let [third, fourth] = [ways.name(2, 1), ways.name(3, 2)];
        let load = |name| Archive::open(ways.path(name)).unwrap().load().unwrap();
        let squashed = DiffData::squash(&[load(&third), load(&fourth)]).unwrap();
        let name = ArchiveName { since: third.since, ..fourth };
        squashed.repack(ways.path(&name), &ArchiveOptions::default()).unwrap();
        ways
    }

    fn archives(&self) -> Vec<ArchiveName> {
        let points = store::points(&self.store).unwrap();
        points.archives().iter().map(|archive| archive.name).collect()
    }

    /// The archive from one point to another.
    fn name(&self, to: usize, since: usize) -> ArchiveName {
        let wanted = (self.points[to], Some(self.points[since]));
        let archives = self.archives();
        *archives.iter().find(|name| (name.to, name.since) == wanted).unwrap()
    }

    fn path(&self, name: &ArchiveName) -> PathBuf {
        self.store.path().join(name.to_string())
    }

    fn restore(&self, dest: &Path, passed: &mut Vec<PassedOver>) -> Result<Applied, Error> {
        let points = store::points(&self.store).unwrap();
        let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
        let options = RestoreOptions { apply, ..RestoreOptions::default() };
        store::by_any_way(&self.store, &points, self.points[3], passed, |archives| {
            restore(archives, dest, &options)
        })
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
fn damage_on_the_cheapest_way_costs_nothing_when_there_is_another() {
    let ways = Ways::new();
    let cheapest = store::points(&ways.store).unwrap().way_to(ways.points[3]).unwrap();
    let short = ways.name(3, 1);
    assert!(cheapest.iter().any(|step| step.name == short), "{cheapest:?}");
    let path = ways.path(&short);
    let len = fs::metadata(&path).unwrap().len() as usize;
    let mut passed = 0;
    for at in (0..len).step_by(len / 40) {
        let sound = flip(&path, at);
        let found = verify_store(&ways.store, None).unwrap();
        assert!(!found.is_sound());
        assert!(found.points.iter().all(|(_, it)| *it == Restorable::Whole), "{at}: {found:?}");
        let damaged = found.archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
        assert_eq!(damaged.map(|(stored, _)| stored.name).collect::<Vec<_>>(), [short]);

        let (dest, mut past) = (ways.dest(&at.to_string()), Vec::new());
        ways.restore(&dest, &mut past).unwrap();
        let past: Vec<ArchiveName> = past.iter().map(|it| it.archive).collect();
        // Damage in PATHS, which is for people, is no reason to go another way.
        match past.is_empty() {
            true => assert_eq!(found.passed, [], "{at}"),
            false => assert_eq!(found.passed, [(ways.points[3], past)], "{at}"),
        }
        passed += found.passed.len();
        assert!(snapshot(&dest) == ways.tree, "{at}");
        fs::write(&path, sound).unwrap();
    }
    assert!(passed > 30, "{passed}");
    let found = verify_store(&ways.store, None).unwrap();
    assert!(found.is_sound() && found.passed.is_empty());
}

#[test]
fn when_no_way_is_sound_nothing_is_written_and_all_is_told() {
    let ways = Ways::new();
    let [short, third] = [ways.name(3, 1), ways.name(2, 1)];
    for name in [short, third] {
        let len = fs::metadata(ways.path(&name)).unwrap().len();
        fs::File::options().write(true).open(ways.path(&name)).unwrap().set_len(len - 9).unwrap();
    }
    let (dest, mut passed) = (ways.dest("dest"), Vec::new());
    let error = ways.restore(&dest, &mut passed).unwrap_err();
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 0);
    assert_eq!(passed.iter().map(|it| it.archive).collect::<Vec<_>>(), [short]);
    assert!(error.to_string().contains(&third.to_string()), "{error}");
    let found = verify_store(&ways.store, None).unwrap();
    let verdicts: Vec<bool> =
        found.points.iter().map(|(_, verdict)| *verdict == Restorable::Whole).collect();
    assert_eq!(verdicts, [true, true, false, false]);
    assert!(found.passed.is_empty());
}

/// An archive of another state in the place of one is sound by itself: it is what follows that does not fit. That fits
/// the state as it comes by another way.
#[test]
fn what_does_not_follow_one_archive_may_follow_another() {
    let ways = Ways::new();
    let [first, second] = [ways.archives()[0], ways.name(1, 0)];
    let full = ArchiveName { to: ways.points[1], since: None, ..first };
    fs::copy(ways.path(&first), ways.path(&full)).unwrap();
    let points = store::points(&ways.store).unwrap();
    let cheapest = points.way_to(ways.points[3]).unwrap();
    assert_eq!(cheapest[0].name, full, "the first archive alone is shorter than with the second");

    let (dest, mut passed) = (ways.dest("dest"), Vec::new());
    ways.restore(&dest, &mut passed).unwrap();
    assert!(snapshot(&dest) == ways.tree);
    let passed: Vec<ArchiveName> = passed.iter().map(|it| it.archive).collect();
    assert_eq!(passed, [ways.name(3, 1), ways.name(2, 1)], "which do not follow the exchanged one");
    let found = verify_store(&ways.store, None).unwrap();
    assert!(found.points.iter().all(|(_, it)| *it == Restorable::Whole), "{found:?}");
    let wrong = found.archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
    assert_eq!(wrong.map(|(stored, _)| stored.name).collect::<Vec<_>>(), [second]);
}

/// What is in the way is no archive's fault.
#[test]
fn other_failures_are_not_tried_again() {
    let ways = Ways::new();
    let dest = ways.dest("dest");
    write(dest.join("new-0"), "mine");
    let mut passed = Vec::new();
    let error = ways.restore(&dest, &mut passed).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert!(passed.is_empty());
}

/// A state that cannot be read by one way is read by the other, and what has changed since is backed up.
#[test]
fn a_lost_index_is_made_again_by_another_way() {
    let ways = Ways::new();
    let short = ways.path(&ways.name(3, 1));
    flip(&short, fs::metadata(&short).unwrap().len() as usize / 2);
    ways.store.delete(&Name::Index(ways.points[3]).to_string()).unwrap();
    let tree = ways.temp.path().join("tree");
    write(tree.join("more"), "more");
    let dir = Dir::new(&tree).unwrap();
    let report = backup(&dir, &ways.store, &BackupOptions::default()).unwrap();
    assert_eq!(report.made.unwrap().archive.since, Some(ways.points[3]));
    let unusable: Vec<Name> = report.unusable.iter().map(|file| file.name).collect();
    assert_eq!(unusable, [Name::Archive(ways.name(3, 1)), Name::Index(ways.points[3])]);
}

/// What is damaged may matter only to one of those that go on from there, and that need not be the last one.
#[test]
fn around_one_that_takes_from_what_is_damaged() {
    let temp = fast_tempdir();
    let tree = temp.path().join("tree");
    let store = DirStore::create(temp.path().join("store")).unwrap();
    let (mut points, mut indexes) = (Vec::new(), Vec::new());
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
        points.push(backup(&dir, &store, &BackupOptions::default()).unwrap().point);
        indexes.push(testing::index(&tree));
    }
    let path = |name: &ArchiveName| store.path().join(name.to_string());
    let all = store::points(&store).unwrap();
    let names: Vec<ArchiveName> = all.archives().iter().map(|archive| archive.name).collect();
    let load = |name| Archive::open(path(name)).unwrap().load().unwrap();
    let parts = [load(&names[2]), load(&names[3])];
    let squashed = DiffData::squash_from(&indexes[1], &parts).unwrap();
    let short = ArchiveName { since: Some(points[1]), ..names[3] };
    squashed.repack(path(&short), &ArchiveOptions::default()).unwrap();
    let middle = fs::metadata(path(&names[1])).unwrap().len() / 2;
    flip(&path(&names[1]), middle as usize);

    let all = store::points(&store).unwrap();
    let cheapest = all.way_to(points[4]).unwrap();
    assert!(cheapest.iter().any(|step| step.name == short), "{cheapest:?}");
    let found = verify_store(&store, None).unwrap();
    assert_eq!(found.points[4], (points[4], Restorable::Whole));
    let (dest, mut passed) = (temp.path().join("dest"), Vec::new());
    fs::create_dir(&dest).unwrap();
    let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let options = RestoreOptions { apply, ..RestoreOptions::default() };
    let restored = store::by_any_way(&store, &all, points[4], &mut passed, |archives| {
        restore(archives, &dest, &options)
    });
    restored.unwrap();
    assert!(snapshot(&dest) == snapshot(&tree));
    assert_eq!(passed.iter().map(|it| it.archive).collect::<Vec<_>>(), [names[1]]);
}
