//! The history of paths, beside the trees of all snapshots one by one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use archive::{Archive, Snapshot};
use dirindex::{Dir, EntryRef, Meta, Node, RelPath, Time};
use proptest::prelude::*;
use repository::{
    BackupOptions, Came, DirStore, History, Repository, SnapshotId, Store, Version, Went,
};
use testing::edits::{Edit, edits, perform};
use testing::{fast_tempdir, noise, write};

/// What stands at a path: of a directory without the time.
type Standing = (Node, Meta, Option<u64>);

fn standings(archives: &[Archive]) -> BTreeMap<RelPath, Standing> {
    let snapshot = Snapshot::open(archives).unwrap();
    let len = |node: &Node| match node {
        Node::File { len, .. } => Some(*len),
        Node::HardLink { to } => Some(snapshot.get(to).unwrap().unwrap().entry().node.len()),
        _ => None,
    };
    let standing = |node: &Node, meta: &Meta| {
        let mut meta = meta.clone();
        if *node == Node::Dir {
            meta.mtime = Time { secs: 0, nanos: 0 };
        }
        (node.clone(), meta, len(node))
    };
    let entries = snapshot.entries().map(|entry| {
        let entry = entry.unwrap();
        let EntryRef { path, node, meta } = entry.entry();
        (path.clone(), standing(node, meta))
    });
    entries.collect()
}

/// From which to which snapshot each path was what it was.
fn expected(store: &dyn Store) -> Vec<(RelPath, SnapshotId, SnapshotId, Standing)> {
    let repository = Repository::new(store);
    let mut versions: Vec<(RelPath, SnapshotId, SnapshotId, Standing)> = Vec::new();
    let mut before = None;
    for id in repository.snapshots().unwrap().restorable() {
        let there = repository.with_archives(id, |archives| Ok(standings(archives))).unwrap().0;
        for (path, standing) in there {
            let same = versions
                .iter_mut()
                .rev()
                .find(|(at, ..)| *at == path)
                .filter(|(_, _, last, was)| Some(*last) == before && *was == standing);
            match same {
                Some(version) => version.2 = id,
                None => versions.push((path, id, id, standing)),
            }
        }
        before = Some(id);
    }
    versions.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    versions
}

fn known(version: &Version) -> (RelPath, SnapshotId, SnapshotId, Standing) {
    let Version { path, node, meta, len, first, last, .. } = version.clone();
    let mut meta = meta;
    if node == Node::Dir {
        meta.mtime = Time { secs: 0, nanos: 0 };
    }
    (path, first, last, (node, meta, len))
}

/// That the line of a path is made of versions that there are, and that each leads to the next.
fn check_line(line: &[Version], all: &[Version], path: &RelPath) {
    let last = all.iter().rfind(|version| version.path == *path);
    assert_eq!(line.last().map(known), last.map(known), "{path}");
    for version in line {
        assert!(all.iter().any(|it| known(it) == known(version)), "{path}: {version:?}");
    }
    for pair in line.windows(2) {
        assert!(pair[0].last < pair[1].first, "{path}");
        match &pair[1].came {
            Came::Moved { from } => {
                assert_eq!(
                    (from, pair[0].went.as_ref().unwrap().0),
                    (&pair[0].path, pair[1].first)
                );
            }
            _ => assert_eq!(pair[0].path, pair[1].path),
        }
    }
}

/// That the history of all paths, and of each by itself, is what the snapshots are.
fn check_all(store: &DirStore) {
    let repository = Repository::new(store);
    let history = repository.history(|_| true).unwrap();
    assert!(history.unreachable.is_empty() && history.skipped.is_empty());
    let found: Vec<_> = history.versions.iter().map(known).collect();
    assert_eq!(found, expected(store));
    let mut paths: Vec<&RelPath> = history.versions.iter().map(|version| &version.path).collect();
    paths.dedup();
    for path in paths {
        let line = repository.history_of(path).unwrap();
        assert_eq!(line.snapshots, history.snapshots);
        check_line(&line.versions, &history.versions, path);
        let own = repository.history(|it| it == path).unwrap();
        let of_path = history.versions.iter().filter(|version| version.path == *path);
        assert!(own.versions.iter().eq(of_path), "{path}");
    }
}

fn step() -> impl Strategy<Value = (bool, Vec<Edit>)> {
    (proptest::bool::weighted(0.15), edits(4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise: a history says of each path what the trees of all snapshots say, whatever happened, and over several chains.
    #[test]
    fn a_history_is_what_the_snapshots_are(steps in proptest::collection::vec(step(), 1..8)) {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let repository = Repository::new(&store);
        for (full, edits) in steps {
            edits.iter().for_each(|edit| perform(&tree, edit));
            let options = BackupOptions { full, allow_emptied: true, ..BackupOptions::default() };
            repository.backup(&Dir::new(&tree).unwrap(), &options).unwrap();
        }
        check_all(&store);
    }
}

/// A store, and a tree to back up into it.
struct Kept {
    temp: tempfile::TempDir,
    store: DirStore,
    ids: Vec<SnapshotId>,
}

impl Kept {
    fn new() -> Kept {
        let temp = fast_tempdir();
        fs::create_dir(temp.path().join("tree")).unwrap();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        Kept { temp, store, ids: Vec::new() }
    }

    fn backup(&mut self, full: bool, change: impl FnOnce(&Path)) {
        let tree = self.temp.path().join("tree");
        change(&tree);
        let options = BackupOptions { full, allow_emptied: true, ..BackupOptions::default() };
        let report =
            Repository::new(&self.store).backup(&Dir::new(&tree).unwrap(), &options).unwrap();
        self.ids.push(report.snapshot);
    }

    fn line(&self, path: &str) -> History {
        Repository::new(&self.store).history_of(&RelPath::new(path).unwrap()).unwrap()
    }

    /// Damages the archive that leads to a snapshot.
    fn damage(&self, number: usize) {
        let snapshots = Repository::new(&self.store).snapshots().unwrap();
        let archive = snapshots.archives().iter().find(|it| it.name.to == self.ids[number]);
        let path = self.store.path().join(archive.unwrap().name.to_string());
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 30]).unwrap();
    }
}

/// A file in a directory that has enough in it to move as a whole, is changed, and goes.
fn moving() -> Kept {
    let mut kept = Kept::new();
    kept.backup(false, |tree| {
        (0..20).for_each(|n| write(tree.join(format!("old/{n}")), noise(n, 100)));
        write(tree.join("old/in/letter"), noise(50, 20_000));
    });
    kept.backup(false, |tree| fs::rename(tree.join("old"), tree.join("new")).unwrap());
    kept.backup(false, |tree| {
        write(tree.join("new/in/letter"), [noise(50, 20_000), noise(51, 10)].concat());
    });
    kept.backup(false, |tree| write(tree.join("beside"), "nothing to do with it"));
    kept.backup(false, |tree| {
        fs::rename(tree.join("new/in/letter"), tree.join("letter")).unwrap();
    });
    kept.backup(false, |tree| fs::remove_file(tree.join("letter")).unwrap());
    kept
}

/// Promise: a path is followed through the moves of the directories above it, and its own.
#[test]
fn a_path_is_followed_where_it_stood() {
    let kept = moving();
    let path = |path: &str| RelPath::new(path).unwrap();
    let ids = &kept.ids;
    let line = kept.line("letter").versions;
    let lines: Vec<_> =
        line.iter().map(|it| (it.path.clone(), it.first, it.last, it.came.clone())).collect();
    let moved = |from: &str| Came::Moved { from: path(from) };
    assert_eq!(
        lines,
        [
            (path("old/in/letter"), ids[0], ids[0], Came::Created),
            (path("new/in/letter"), ids[1], ids[1], moved("old/in/letter")),
            (path("new/in/letter"), ids[2], ids[3], Came::Changed),
            (path("letter"), ids[4], ids[4], moved("new/in/letter")),
        ]
    );
    assert_eq!(line[3].went, Some((ids[5], Went::Deleted)));
    // Who asks for an old place learns where it went.
    let line = kept.line("old/in/letter").versions;
    assert_eq!(
        (line.len(), line[0].went.clone()),
        (1, Some((ids[1], Went::Moved { to: path("new/in/letter") })))
    );
    let line = kept.line("new/in/letter").versions;
    assert_eq!(line.last().unwrap().went, Some((ids[4], Went::Moved { to: path("letter") })));
    assert!(kept.line("none").versions.is_empty());
    let all = Repository::new(&kept.store).history(|path| path.name() == b"letter").unwrap();
    assert_eq!(all.versions.len(), 4);
}

/// Promise: what lies behind all that was there before, and stays in its archive, has a history as all has.
#[test]
fn what_is_added_behind_has_a_history() {
    let mut kept = Kept::new();
    let files = |dir: &Path| {
        (0..20).for_each(|n| write(dir.join(n.to_string()), noise(n, 50 + n as usize)))
    };
    kept.backup(false, |tree| files(&tree.join("b/in")));
    kept.backup(false, |tree| {
        files(&tree.join("c/in"));
        fs::hard_link(tree.join("c/in/3"), tree.join("c/link")).unwrap();
    });
    kept.backup(false, |tree| write(tree.join("d"), "little"));
    kept.backup(false, |tree| {
        fs::rename(tree.join("b"), tree.join("a")).unwrap();
        fs::remove_file(tree.join("c/in/7")).unwrap();
        write(tree.join("c/in/8"), "another");
    });
    // Behind all again, where something is gone.
    kept.backup(false, |tree| {
        fs::remove_file(tree.join("d")).unwrap();
        fs::rename(tree.join("c"), tree.join("e")).unwrap();
    });
    kept.backup(false, |tree| files(&tree.join("f/in")));
    kept.backup(true, |tree| fs::remove_dir_all(tree.join("a/in")).unwrap());
    kept.backup(false, |tree| files(&tree.join("g/in")));
    check_all(&kept.store);
}

/// Promise: a snapshot of which nothing can be said is named, and those that another chain leads to are not lost with it.
#[test]
fn snapshots_without_a_way_to_them_are_said() {
    let mut kept = moving();
    kept.backup(true, |tree| write(tree.join("letter"), "again"));
    kept.damage(2);
    let ids = &kept.ids;
    for history in [
        kept.line("letter"),
        Repository::new(&kept.store).history(|path| path.name() == b"letter").unwrap(),
    ] {
        assert_eq!(history.unreachable, ids[2..6]);
        assert_eq!((history.skipped.len(), history.skipped[0].archive.to), (1, ids[2]));
        assert_eq!(history.snapshots, [ids[0], ids[1], ids[6]]);
        let last = history.versions.iter().find(|version| version.last == ids[6]).unwrap();
        assert_eq!((last.path.as_bytes(), last.first, last.len), (&b"letter"[..], ids[6], Some(5)));
    }
}
