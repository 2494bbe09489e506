//! The laws of a merge: run by run it is the tree that each run leads to, and a part of it is the tree of that part.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use diffindex::{Change, DiffIndex, Error, Merge, NewEntry};
use dirindex::{DirIndex, Entry, LazyIndex, Meta, Node, Record, RelPath, Time};
use proptest::prelude::*;
use rsync_core::Digest;

const DIRS: [&str; 5] = ["a", "a/b", "a/b/c", "d", "d/e"];

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// What is done to a tree. Names and contents are numbers.
#[derive(Debug, Clone)]
enum Step {
    Write {
        dir: usize,
        name: u8,
        content: u8,
    },
    Link {
        dir: usize,
        name: u8,
    },
    Remove {
        dir: usize,
        name: u8,
    },
    /// A directory with enough in it moves as a whole.
    Move {
        from: usize,
        to: u8,
    },
    Fill {
        dir: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let dir = || 0..DIRS.len();
    prop_oneof![
        (dir(), 0..4u8, 0..6u8).prop_map(|(dir, name, content)| Step::Write { dir, name, content }),
        (dir(), 0..4u8).prop_map(|(dir, name)| Step::Link { dir, name }),
        (dir(), 0..4u8).prop_map(|(dir, name)| Step::Remove { dir, name }),
        (dir(), 0..3u8).prop_map(|(from, to)| Step::Move { from, to }),
        dir().prop_map(|dir| Step::Fill { dir }),
    ]
}

/// A tree as its files: the content of each.
type Tree = BTreeMap<String, u8>;

fn take(tree: &mut Tree, step: &Step) {
    let at = |dir: usize, name: u8| format!("{}/{name}", DIRS[dir]);
    match *step {
        Step::Write { dir, name, content } => drop(tree.insert(at(dir, name), content)),
        Step::Link { dir, name } => {
            if let Some(content) = tree.values().next().copied() {
                tree.insert(at(dir, name), content);
            }
        }
        Step::Remove { dir, name } => drop(tree.remove(&at(dir, name))),
        Step::Fill { dir } => {
            tree.extend((10..30).map(|name| (at(dir, name), name)));
        }
        Step::Move { from, to } => {
            let (from, to) = (format!("{}/", DIRS[from]), format!("moved{to}/"));
            let moved: Vec<String> =
                tree.keys().filter(|at| at.starts_with(&from)).cloned().collect();
            for at in moved {
                let content = tree.remove(&at).unwrap();
                tree.insert(at.replacen(&from, &to, 1), content);
            }
        }
    }
}

/// The index of `tree`. A file whose content is 5 is a hard link to the first that has it.
fn index(tree: &Tree) -> DirIndex {
    let mtime = Time { secs: 1, nanos: 2 };
    let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    let entry = |at: RelPath, node| Entry { path: at, node, meta: meta.clone() };
    let mut entries: BTreeMap<RelPath, Entry> = BTreeMap::new();
    let mut paths: Vec<RelPath> = tree.keys().map(|at| path(at)).collect();
    paths.sort();
    let mut first: Option<RelPath> = None;
    for at in paths {
        for dir in at.ancestors() {
            let dir = RelPath::new(dir.as_bytes()).unwrap();
            entries.entry(dir.clone()).or_insert_with(|| entry(dir, Node::Dir));
        }
        let content = tree[&at.to_string()];
        let node = match (&first, content) {
            (Some(to), 5) => Node::HardLink { to: to.clone() },
            _ => {
                let digest = Digest::of(&[content]);
                if content == 5 {
                    first = Some(at.clone());
                }
                Node::File { len: 1, digest }
            }
        };
        entries.insert(at.clone(), entry(at, node));
    }
    let record = |entry| Record { entry, signature: None, fingerprint: None };
    DirIndex::from_records(entries.into_values().map(record)).unwrap()
}

fn entries<C: Clone>(merge: &Merge<C>) -> Vec<Entry> {
    merge.entries().map(|entry| entry.unwrap().entry().to_entry()).collect()
}

/// The index in a file, of which what is asked for is read.
fn in_file(index: &DirIndex) -> LazyIndex {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).unwrap();
    LazyIndex::from_source(bytes).unwrap()
}

/// Where a content lies: in which run, for which change.
type Place = (usize, usize);

/// Where the content is stored that `full` has for a path.
fn stored(full: &DiffIndex, path: &RelPath) -> (RelPath, Place) {
    let holder = full.holder(full.get(path).unwrap()).unwrap();
    (holder.path.clone(), (0, full.position(&holder.path).unwrap()))
}

proptest! {
    #[test]
    fn run_by_run_it_is_the_tree(steps in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..8)) {
        let (mut tree, mut old, mut full) = (Tree::new(), DirIndex::empty(), None);
        let mut merge: Merge<Place> = Merge::from_nothing();
        // The same upon the first tree, which stays in its file.
        let mut upon: Option<Merge<Place>> = None;
        for (number, steps) in steps.iter().enumerate() {
            steps.iter().for_each(|step| take(&mut tree, step));
            let new = index(&tree);
            let diff = DiffIndex::between(&old, &new);
            merge = merge.push(diff.clone(), |change| [(number, change)]).unwrap();
            let pushed = upon.map(|upon| upon.push(diff.clone(), |change| [(number, change)]).unwrap());
            let mut upon_first = pushed.unwrap_or_else(|| Merge::from_tree(in_file(&new)));
            let full = full.get_or_insert(diff);
            // Proved by what changed, every second time by that of two runs.
            if number % 2 == 0 {
                merge.prove().unwrap();
                upon_first.prove().unwrap();
            }
            let expected: Vec<Entry> = new.entries().cloned().collect();
            prop_assert!(entries(&merge) == expected, "after run {}", number);
            prop_assert!(entries(&upon_first) == expected, "after run {}", number);
            for entry in expected.iter().filter(|entry| !entry.node.is_empty()) {
                let (one, other) = (merge.contents(&entry.path), upon_first.contents(&entry.path));
                let from = other.as_ref().and_then(|it| it.from.as_ref()).map(|from| stored(full, from).1);
                let other = other.map(|other| from.into_iter().chain(other.then.iter().copied()).collect::<Vec<_>>());
                prop_assert_eq!(one.map(|one| one.then.to_vec()), other);
            }
            upon = Some(upon_first);
            old = new;
        }
        merge.prove().unwrap();
        let (mut upon, full) = (upon.unwrap(), full.unwrap());
        upon.prove().unwrap();
        let resolve = |path: &RelPath| Ok::<_, Error>(stored(&full, path));
        let (diff, contents) = merge.clone().into_diff().unwrap();
        prop_assert_eq!(diff.apply_to(&DirIndex::empty()).unwrap(), old.clone());
        let all: Vec<RelPath> = old.entries().map(|entry| entry.path.clone()).collect();
        let in_memory = upon.select(&all, resolve).unwrap();
        prop_assert_eq!(in_memory.into_diff().unwrap(), (diff, contents));
        prop_assert_eq!(upon.tree().unwrap().load().unwrap(), merge.tree().unwrap().load().unwrap());
        prop_assert_eq!(upon.tree().unwrap().tree_id(), old.tree_id());

        for entry in old.entries() {
            let selected = |merge: &Merge<Place>| merge.select(std::slice::from_ref(&entry.path), resolve);
            let mut part = selected(&merge).unwrap();
            part.prove().unwrap();
            let records = entries(&part).into_iter().map(|entry| Record { entry, signature: None, fingerprint: None });
            prop_assert_eq!(DirIndex::from_records(records).unwrap().tree_id(), part.result());
            prop_assert_eq!(part.get(&entry.path).unwrap().map(|it| it.entry().node.clone()), Some(entry.node.clone()));
            let below = merge.below(&entry.path).count();
            prop_assert!(below == old.entries().filter(|it| it.path.is_below(&entry.path)).count());
            prop_assert_eq!(upon.below(&entry.path).count(), below);
            prop_assert_eq!(selected(&upon).unwrap().into_diff().unwrap(), part.into_diff().unwrap());
        }
    }
}

/// The promise: what a chain leads to is what its last archive names, or it is refused.
#[test]
fn another_tree_than_the_run_names_is_refused() {
    let tree = |files: &[(&str, u8)]| -> Tree {
        files.iter().map(|(at, content)| ((*at).to_owned(), *content)).collect()
    };
    let first = index(&tree(&[("a/1", 5), ("a/b/2", 5), ("d/3", 1)]));
    let full = DiffIndex::between(&DirIndex::empty(), &first);
    let mut in_memory = Merge::<()>::from_nothing().push(full, |_| [()]).unwrap();
    in_memory.prove().unwrap();
    let merges = [in_memory, Merge::from_tree(in_file(&first))];

    // One entry differs from what the id is over.
    let second = index(&tree(&[("a/1", 5), ("a/b/2", 5), ("d/3", 2)]));
    let honest = DiffIndex::between(&first, &second);
    let bent = |change: &Change| {
        let mut change = change.clone();
        if let Some(NewEntry { meta, .. }) = &mut change.new {
            meta.uid += 1;
        }
        change
    };
    let changes = honest.changes().iter().map(bent).collect();
    let lie = DiffIndex::from_changes(first.tree_id(), second.tree_id(), changes).unwrap();
    for merge in merges.clone() {
        let error = merge.push(lie.clone(), |_| [()]).unwrap().prove().unwrap_err();
        assert!(matches!(error, Error::WrongResult { .. }), "{error}");
    }

    // The file that a link names goes.
    let gone: Vec<Change> = {
        let without = index(&tree(&[("a/b/2", 5), ("d/3", 1)]));
        let diff = DiffIndex::between(&first, &without);
        diff.changes().iter().filter(|change| change.path == path("a/1")).cloned().collect()
    };
    assert_eq!(gone.len(), 1);
    let lie = DiffIndex::from_changes(first.tree_id(), second.tree_id(), gone).unwrap();
    for merge in merges {
        let error = merge.push(lie.clone(), |_| [()]).unwrap().prove().unwrap_err();
        assert!(error.to_string().contains("a hard link to no file before it"), "{error}");
    }
}
