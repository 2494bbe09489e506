//! Directories that move as a whole: what the collapsed diff says, and that it leads where the expanded one does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::path::Path;

use diffindex::{Change, Content, DiffIndex, Error, Merge};
use dirindex::{Dir, DirIndex, RelPath};

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn scan(root: &Path) -> DirIndex {
    DirIndex::scan(&Dir::new(root).unwrap()).unwrap()
}

/// 20 files, a link to one of them, a directory with two more, and one outside.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("d/sub")).unwrap();
    for number in 0..20 {
        fs::write(root.join(format!("d/{number:02}")), format!("content {number}")).unwrap();
    }
    fs::hard_link(root.join("d/03"), root.join("d/link")).unwrap();
    fs::write(root.join("d/sub/empty"), "").unwrap();
    fs::write(root.join("d/sub/full"), "full").unwrap();
    fs::write(root.join("outside"), "outside").unwrap();
}

fn rename(root: &Path, from: &str, to: &str) {
    fs::rename(root.join(from), root.join(to)).unwrap();
}

/// The indexes of a tree, before each of the `steps` and after the last.
fn states(steps: &[&dyn Fn(&Path)]) -> Vec<DirIndex> {
    let tree = tempfile::tempdir().unwrap();
    fill(tree.path());
    let mut states = vec![scan(tree.path())];
    for step in steps {
        step(tree.path());
        states.push(scan(tree.path()));
    }
    states
}

fn diffs(states: &[DirIndex]) -> Vec<DiffIndex> {
    states.windows(2).map(|pair| DiffIndex::between(&pair[0], &pair[1])).collect()
}

fn listed(diff: &DiffIndex) -> Vec<String> {
    diff.changes().iter().map(|change| change.path.to_string()).collect()
}

#[test]
fn a_directory_that_moves_is_one_change() {
    let states = states(&[&|root| rename(root, "d", "e")]);
    let diff = &diffs(&states)[0];
    assert_eq!(listed(diff), ["d", "e"]);
    let tree = diff.moved_trees().next().unwrap();
    assert_eq!((tree.from, tree.to, tree.entries), (&path("d"), &path("e"), 24));
    assert_eq!(diff.moved().collect::<Vec<_>>(), [(&path("d"), &path("e"))]);
    assert_eq!(diff.apply_to(&states[0]).unwrap(), states[1]);
    let read = DiffIndex::from_bytes(diff.to_bytes().unwrap()).unwrap();
    assert_eq!(read.apply_to(&states[0]).unwrap(), states[1]);
    assert!(diff.to_bytes().unwrap().len() < 600);
}

#[test]
fn what_is_not_quite_the_same_is_told_path_by_path() {
    type Step = fn(&Path);
    let steps: [Step; 5] = [
        |root| fs::write(root.join("e/07"), "other").unwrap(),
        |root| fs::write(root.join("e/new"), "new").unwrap(),
        |root| fs::remove_file(root.join("e/sub/empty")).unwrap(),
        |root| fs::hard_link(root.join("e/05"), root.join("again")).unwrap(),
        // The old directory is still one.
        |root| fs::create_dir(root.join("d")).unwrap(),
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let states = states(&[&|root| {
            rename(root, "d", "e");
            step(root);
        }]);
        let diff = &diffs(&states)[0];
        // `again` sorts before the file's other name, so that one is a link to elsewhere.
        assert_eq!(diff.moved_trees().count(), 0, "step {number}");
        assert_eq!(diff.apply_to(&states[0]).unwrap(), states[1], "step {number}");
    }
}

#[test]
fn a_link_in_its_place_or_from_outside_does_not_matter() {
    let states =
        states(&[&|root| fs::hard_link(root.join("d/05"), root.join("z")).unwrap(), &|root| {
            rename(root, "d", "e");
            std::os::unix::fs::symlink("e", root.join("d")).unwrap();
        }]);
    let diff = &diffs(&states)[1];
    assert_eq!(listed(diff), ["d", "e", "z"]);
    assert_eq!(diff.apply_to(&states[1]).unwrap(), states[2]);
}

#[test]
fn of_one_directory_in_another_only_the_outer_moves() {
    let states = states(&[
        &|root| {
            fs::create_dir_all(root.join("outer/inner")).unwrap();
            for number in 0..30 {
                fs::write(root.join(format!("outer/inner/{number}")), format!("{number}")).unwrap();
            }
        },
        &|root| {
            rename(root, "outer", "another");
            rename(root, "d", "another/d");
        },
        &|root| {
            rename(root, "another/d", "d");
            rename(root, "another", "last");
        },
    ]);
    let diffs = diffs(&states);
    // What holds more than it did is no longer the same; what it held is.
    let ends = |diff: &DiffIndex| -> Vec<String> {
        diff.moved_trees().map(|tree| format!("{} {}", tree.from, tree.to)).collect()
    };
    assert_eq!(ends(&diffs[1]), ["d another/d", "outer/inner another/inner"]);
    assert_eq!(ends(&diffs[2]), ["another/d d", "another/inner last/inner"]);
    for (diff, pair) in diffs.iter().zip(states.windows(2)) {
        assert_eq!(diff.apply_to(&pair[0]).unwrap(), pair[1]);
    }
}

#[test]
fn unfolding_needs_what_was_there() {
    let states = states(&[&|root| rename(root, "d", "e")]);
    let diff = &diffs(&states)[0];
    let mut other = states[0].records().to_vec();
    other.retain(|record| record.entry.path != path("d/07"));
    let other = DirIndex::from_records(other).unwrap();
    let forged =
        DiffIndex::from_changes(other.tree_id(), diff.result(), diff.changes().to_vec()).unwrap();
    let error = forged.apply_to(&other).unwrap_err().to_string();
    assert_eq!(error, "the diff is unusable: the base index says something else at d");
}

#[test]
fn squashing_looks_into_what_moved() {
    let states = states(&[
        &|root| fs::write(root.join("d/07"), "edited before").unwrap(),
        &|root| rename(root, "d", "e"),
        &|root| {
            fs::write(root.join("e/08"), "edited after").unwrap();
            fs::remove_file(root.join("e/09")).unwrap();
        },
        &|root| rename(root, "e/sub", "s"),
        &|root| rename(root, "e", "f"),
    ]);
    let mut parts = diffs(&states);
    assert_eq!(parts.iter().filter(|part| part.moved_trees().next().is_some()).count(), 2);
    for from in 0..parts.len() {
        for to in from + 1..=parts.len() {
            let parts = &parts[from..to];
            let merge = Merge::from_tree(&states[from]);
            let merge = parts.iter().enumerate().try_fold(merge, |merge, (part, diff)| {
                merge.push(diff.clone(), |change| [(part, change)])
            });
            let (whole, contents) = merge.unwrap().into_diff().unwrap();
            assert_eq!(whole.apply_to(&states[from]).unwrap(), states[to]);
            for (number, content) in &contents {
                let path = &whole.changes()[*number].path;
                let stored = content.iter().map(|&(part, change)| &parts[part].changes()[change]);
                let stored: Vec<&Change> = stored.collect();
                assert!(stored.iter().all(|change| change.stored_content().is_some()), "{path}");
                let last = stored.last().unwrap().new.as_ref().unwrap();
                assert_eq!(last.node, whole.changes()[*number].new.as_ref().unwrap().node);
            }
            let alone = DiffIndex::squash(parts);
            match parts.iter().any(|part| part.moved_trees().next().is_some()) {
                true => assert!(matches!(alone, Err(Error::Collapsed { .. })), "{alone:?}"),
                false => {
                    assert_eq!(alone.unwrap().apply_to(&states[from]).unwrap(), states[to])
                }
            }
        }
    }
    let full = DiffIndex::between(&DirIndex::empty(), &states[0]);
    parts.insert(0, full);
    let whole = DiffIndex::squash(&parts).unwrap();
    assert_eq!(whole.apply_to(&DirIndex::empty()).unwrap(), *states.last().unwrap());
    // A move, and a move back: nothing.
    let back = self::states(&[&|root| rename(root, "d", "e"), &|root| rename(root, "e", "d")]);
    let whole = DiffIndex::squash_from(&back[0], &diffs(&back)).unwrap();
    assert_eq!(listed(&whole), ["d/link"]);
    // A move, and another: one.
    let twice = self::states(&[&|root| rename(root, "d", "e"), &|root| rename(root, "e", "f")]);
    let whole = DiffIndex::squash_from(&twice[0], &diffs(&twice)).unwrap();
    assert_eq!(listed(&whole), ["d", "f"]);
}

#[test]
fn what_no_two_trees_differ_by_is_refused() {
    let states = states(&[&|root| {
        rename(root, "d", "e");
        fs::write(root.join("outside"), "other").unwrap();
    }]);
    let diff = &diffs(&states)[0];
    let reject = |edit: &dyn Fn(&mut Vec<Change>)| {
        let mut changes = diff.changes().to_vec();
        edit(&mut changes);
        let made = DiffIndex::from_changes(diff.base(), diff.result(), changes);
        made.unwrap_err().to_string()
    };
    let at = |changes: &[Change], name: &str| {
        changes.iter().position(|change| change.path == path(name)).unwrap()
    };
    let gone = |name: &str, changes: &[Change]| {
        let mut gone = changes[at(changes, "d")].clone();
        gone.path = path(name);
        gone
    };
    let two_ends = "the diff is unusable: a directory that moves as a whole, and does not at d";
    assert_eq!(reject(&|changes| drop(changes.remove(0))), two_ends);
    assert_eq!(reject(&|changes| changes.insert(1, gone("d/00", changes))), two_ends);
    assert_eq!(
        reject(&|changes| {
            let mut again = changes[at(changes, "e")].clone();
            again.path = path("f");
            changes.insert(2, again);
        }),
        two_ends
    );
    assert_eq!(
        reject(&|changes| {
            let mut inside = changes[at(changes, "outside")].clone();
            (inside.path, inside.old) = (path("e/00"), None);
            changes.insert(2, inside);
        }),
        "the diff is unusable: a change inside a directory that moved as a whole at e/00"
    );
    let nowhere = "the diff is unusable: a directory moved where none can come at e";
    assert_eq!(reject(&|changes| changes[1].old = Some(dirindex::Node::Dir)), nowhere);
    assert_eq!(
        reject(&|changes| {
            if let Content::Tree { entries, .. } = &mut changes[1].new.as_mut().unwrap().content {
                *entries = 0;
            }
        }),
        nowhere
    );
    assert_eq!(
        reject(&|changes| changes[1].new.as_mut().unwrap().node = dirindex::Node::Fifo),
        "the diff is unusable: content for what has none at e"
    );
    assert_eq!(
        reject(&|changes| {
            let digest = rsync_core::Digest::of(b"file");
            changes[1].new.as_mut().unwrap().node = dirindex::Node::File { len: 4, digest };
        }),
        "the diff is unusable: a file moved as a directory at e"
    );
}
