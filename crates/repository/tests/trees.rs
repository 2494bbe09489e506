//! The trees of a store that many look into for long: what they give is what was backed up, or an error, whatever happens to
//! the store meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{ArchiveOptions, Format, Snapshot, SnapshotTree};
use dirindex::{Dir, Node, RelPath};
use repository::store::ArchiveName;
use repository::{
    BackupOptions, DirStore, Error, Keep, PruneOptions, Repository, SnapshotId, Trees,
};
use testing::{fast_tempdir, noise, write};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(fast_tempdir());
        fs::create_dir(place.tree()).unwrap();
        Repository::create(place.store()).unwrap();
        place
    }

    fn tree(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn repository(&self) -> Repository<DirStore> {
        Repository::open(self.store()).unwrap()
    }

    fn back_up(&self) -> SnapshotId {
        let options = BackupOptions { full_ratio: None, ..BackupOptions::default() };
        self.repository().backup(&Dir::new(self.tree()).unwrap(), &options).unwrap().snapshot
    }

    fn trees(&self) -> Trees<DirStore> {
        Trees::new(self.repository(), |_, _| ())
    }

    /// The name of an archive that leads to a snapshot: the last one in the order of names.
    fn archive(&self, to: SnapshotId) -> PathBuf {
        let snapshots = self.repository().snapshots().unwrap();
        let mut archives = snapshots.archives().iter().filter(|archive| archive.name.to == to);
        self.store().join(archives.next_back().unwrap().name.to_string())
    }
}

fn damage(archive: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(archive).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn path(path: &str) -> RelPath {
    path.parse().unwrap()
}

/// The whole content of the file at a path.
fn read(trees: &Trees<DirStore>, id: SnapshotId, name: &str) -> Result<Vec<u8>, Error> {
    let number = trees.tree(id)?.number(&path(name)).unwrap();
    trees.read(id, number, 0, usize::MAX)
}

#[test]
fn a_tree_is_walked_by_numbers() {
    let place = Place::new();
    for name in ["a/b/c", "a/b/d", "a/b.c", "a b", "a/x/y/z", "e", "z/last"] {
        write(place.tree().join(name), name);
    }
    fs::hard_link(place.tree().join("a/b/d"), place.tree().join("a/x/again")).unwrap();
    fs::create_dir(place.tree().join("z/empty")).unwrap();
    let trees = place.trees();
    let tree = trees.tree(place.back_up()).unwrap();

    let mut walked = BTreeMap::new();
    let mut dirs = vec![None];
    while let Some(dir) = dirs.pop() {
        let children: Vec<usize> = tree.children(dir, None).collect();
        assert!(children.is_sorted());
        for (at, &child) in children.iter().enumerate() {
            let entry = tree.entry(child).unwrap();
            assert_eq!(tree.child(dir, entry.path.name()), Some(child));
            assert_eq!(tree.number(entry.path), Some(child));
            assert!(tree.children(dir, Some(child)).eq(children[at..].iter().copied()));
            if *entry.node == Node::Dir {
                dirs.push(Some(child));
            } else {
                assert_eq!(tree.children(Some(child), None).next(), None);
            }
            walked.insert(child, entry.to_entry());
        }
        for unknown in [&b"none"[..], b"", b".", b"..", b"a/b", b"b/c", &[b'x'; 300]] {
            assert_eq!(tree.child(dir, unknown), None);
        }
    }
    let all: Vec<_> =
        tree.snapshot().entries().map(|entry| entry.unwrap().entry().to_entry()).collect();
    assert!(walked.into_values().eq(all));

    let number = |name: &str| tree.number(&path(name)).unwrap();
    assert_eq!(tree.file(number("a/x/again")), Some(number("a/b/d")));
    let links = |name: &str| tree.links(Some(number(name)));
    assert_eq!((links("a"), links("a/x"), links("a/x/y"), links("z/empty")), (4, 3, 2, 2));
    assert_eq!((links("a/b/d"), links("a/b/c"), tree.links(None)), (2, 1, 4));

    let empty = SnapshotTree::new(Snapshot::empty()).unwrap();
    assert_eq!((empty.len(), empty.children(None, None).next()), (0, None));
}

/// Contents that are read as one and in parts, stored whole and as deltas.
#[test]
fn any_range_of_any_content_is_what_it_was() {
    let place = Place::new();
    let lens = [0, 1, 4096, 3 << 20, 8 << 20, (8 << 20) + 1, (9 << 20) + 12_345];
    let mut contents: Vec<Vec<u8>> = (1..).zip(lens).map(|(seed, len)| noise(seed, len)).collect();
    let mut known = Vec::new();
    for day in 0..3 {
        for (number, content) in contents.iter_mut().enumerate() {
            if day > 0 && content.len() > 4096 {
                content.splice(1000..1010, *b"this is new");
            }
            write(place.tree().join(number.to_string()), &content);
        }
        known.push((place.back_up(), contents.clone()));
    }
    let trees = place.trees();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (known, trees) = (&known, &trees);
            scope.spawn(move || {
                let mut random = noise(seed, 8 * 600).into_iter();
                let mut next = |below: usize| {
                    let bytes: Vec<u8> = random.by_ref().take(4).collect();
                    u32::from_le_bytes(bytes.try_into().unwrap()) as usize % below.max(1)
                };
                for _ in 0..200 {
                    let (id, contents) = &known[next(known.len())];
                    let number = next(contents.len());
                    let content = &contents[number];
                    let (at, len) = (next(content.len() + 10), next(3 << 20));
                    let tree = trees.tree(*id).unwrap();
                    let file = tree.number(&path(&number.to_string())).unwrap();
                    let expected = content.iter().skip(at).take(len).copied();
                    let found = trees.read(*id, file, at as u64, len).unwrap();
                    assert!(found.into_iter().eq(expected), "{id} {number} {at} {len}");
                }
            });
        }
    });
}

#[test]
fn damage_is_an_error_or_read_from_another_chain() {
    let place = Place::new();
    let names = ["a", "b", "c"];
    for (seed, name) in (1..).zip(names) {
        write(place.tree().join(name), noise(seed, 3 << 20));
    }
    let first = place.back_up();
    write(place.tree().join("d"), "d");
    let second = place.back_up();
    let content = |name: &str| fs::read(place.tree().join(name)).unwrap();

    // A frame has 1 MiB: in some two files meet. Of the one archive that has it, `a` is damaged, and nothing else.
    damage(&place.archive(first), 1 << 20);
    let trees = place.trees();
    let failed = read(&trees, second, "a").unwrap_err();
    assert!(matches!(failed, Error::Archived(archive::Error::Damaged { .. })), "{failed:?}");
    for name in ["b", "c", "d"] {
        assert!(read(&trees, second, name).unwrap() == content(name), "{name}");
    }
    assert!(matches!(read(&trees, second, "a"), Err(Error::FailedBefore { .. })));
    damage(&place.archive(first), 1 << 20);

    // A full archive of the second one, in which `b` is damaged; and in the first one `a` again.
    let trees = place.trees();
    let data = place.repository();
    let (snapshot, _) =
        data.with_archives(second, |archives| Ok(Snapshot::open(archives)?)).unwrap();
    let name = ArchiveName {
        to: second,
        since: None,
        clock: None,
        format: Format::Gzip,
        checkpoint: false,
    };
    let full = place.store().join(name.to_string());
    snapshot.write(&full, &ArchiveOptions::default()).unwrap();
    damage(&place.archive(first), 1 << 20);
    damage(&full, 4_700_000);
    for name in ["a", "b", "c", "a", "d", "b"] {
        assert!(read(&trees, second, name).unwrap() == content(name), "{name}");
    }
    // `c` too, in both: what was read of it before is held, and right.
    damage(&full, 7_900_000);
    damage(&place.archive(first), 7_900_000);
    assert!(read(&trees, second, "c").unwrap() == content("c"));
    let trees = place.trees();
    assert!(read(&trees, second, "c").is_err());
    assert!(read(&trees, second, "a").unwrap() == content("a"));
}

#[test]
fn a_prune_meanwhile_takes_away_no_tree_that_stays() {
    let place = Place::new();
    write(place.tree().join("early"), noise(1, 100_000));
    write(place.tree().join("large"), noise(2, 9 << 20));
    let mut ids = Vec::new();
    for day in 0..5 {
        write(place.tree().join(format!("day {day}")), noise(10 + day, 50_000));
        ids.push(place.back_up());
    }
    let [first, .., last] = ids[..] else { panic!() };
    let trees = place.trees();
    let opened = [first, last].map(|id| trees.tree(id).unwrap());
    assert!(read(&trees, last, "day 4").is_ok());
    let options =
        PruneOptions { keep: Keep { last: 1, ..Keep::default() }, ..PruneOptions::default() };
    assert_eq!(place.repository().prune(&options).unwrap().kept, [last]);

    for name in ["early", "large", "day 0", "day 4"] {
        let content = fs::read(place.tree().join(name)).unwrap();
        assert!(read(&trees, last, name).unwrap() == content, "{name}");
    }
    assert_eq!(trees.tree(last).unwrap().id(), opened[1].id());
    // What is gone is an error, or what it was: a file that is open stays readable.
    match read(&trees, first, "large") {
        Err(error) => assert!(matches!(error, Error::NoChain { .. }), "{error:?}"),
        Ok(content) => assert!(content == fs::read(place.tree().join("large")).unwrap()),
    }
    // Who comes now finds the last one alone.
    let trees = place.trees();
    assert!(trees.snapshots().unwrap().0.all().eq([last]));
    assert!(matches!(trees.tree(first), Err(Error::NoChain { .. })));
}

#[test]
fn few_trees_stay_open() {
    let place = Place::new();
    let ids: Vec<SnapshotId> = (0..10)
        .map(|day| {
            write(place.tree().join("file"), day.to_string());
            place.back_up()
        })
        .collect();
    let trees = place.trees();
    let opened: Vec<_> = ids.iter().map(|&id| Arc::downgrade(&trees.tree(id).unwrap())).collect();
    let held = opened.iter().map(|tree| tree.strong_count() > 0);
    assert!(held.eq((0..10).map(|day| day >= 2)));
    for (day, &id) in ids.iter().enumerate() {
        assert_eq!(read(&trees, id, "file").unwrap(), day.to_string().as_bytes());
    }
}
