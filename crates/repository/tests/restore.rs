//! The laws of restoring over what is there: with deleting, whatever it was becomes what was backed up;
//! without, nothing else is touched.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use apply::ApplyOptions;
use archive::{Archive, DiffData};
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex};
use proptest::prelude::*;
use repository::{
    BackupOptions, Error, Known, Repository, RestoreOptions, restore, verify_archives,
};
use testing::edits::{Edit, NAMES, edits, perform};
use testing::{Seen, Snapshot, copy_tree, fast_tempdir, index, snapshot};

/// Backs up what the edits make of an empty tree, in two archives.
fn backed_up(tree: &Path, before: &[Edit], after: &[Edit]) -> Vec<Archive> {
    let mut old = DirIndex::empty();
    let mut archives = Vec::new();
    for (number, edits) in [before, after].into_iter().enumerate() {
        edits.iter().for_each(|edit| perform(tree, edit));
        let dir = Dir::new(tree).unwrap();
        let new = DirIndex::scan(&dir).unwrap();
        let path = tree.with_extension(format!("{number}.tgz"));
        let data = DiffData::create(&dir, &old, &DiffIndex::between(&old, &new), path).unwrap();
        archives.extend(data.archives().iter().cloned());
        old = new;
    }
    archives
}

/// Of `snapshot` what is in `wanted` too, as if nothing else were there.
fn among(snapshot: &Snapshot, wanted: &Snapshot) -> Snapshot {
    let mut firsts = BTreeMap::new();
    let both = snapshot.iter().filter(|(path, _)| wanted.contains_key(*path));
    let seen = both.map(|(path, seen)| {
        let first = firsts.entry(seen.same_as.clone()).or_insert_with(|| path.clone());
        (path.clone(), Seen { same_as: first.clone(), ..seen.clone() })
    });
    seen.collect()
}

fn quick() -> RestoreOptions {
    let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
    RestoreOptions { apply, ..RestoreOptions::default() }
}

/// Nothing that is backed up is lost by a restore: what is not in the snapshot goes, but never the store itself.
#[test]
fn a_store_is_not_removed_by_a_restore_around_it() {
    let temp = fast_tempdir();
    let [tree, dest] = ["tree", "dest"].map(|name| temp.path().join(name));
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    fs::create_dir(&dest).unwrap();
    let store = dest.join("store");
    let repository = Repository::create(&store).unwrap();
    let snapshot =
        repository.backup(&Dir::new(&tree).unwrap(), &BackupOptions::default()).unwrap().snapshot;
    let delete = RestoreOptions { delete: true, overwrite: true, ..quick() };
    for (dest, at) in [(&dest, "store"), (&store, ".")] {
        match repository.restore(snapshot, dest, &delete) {
            Err(Error::StoreInside { path }) => assert_eq!(path, at),
            other => panic!("{other:?}"),
        }
    }
    assert!(repository.verify(None).unwrap().is_sound());
    // Beside it, it may be restored.
    repository.restore(snapshot, &dest, &quick()).unwrap();
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"content");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_anything(before in edits(NAMES.len()), after in edits(NAMES.len()), there in edits(NAMES.len())) {
        let temp = fast_tempdir();
        let [tree, dest, kept] = ["tree", "dest", "kept"].map(|name| temp.path().join(name));
        fs::create_dir(&tree).unwrap();
        let archives = backed_up(&tree, &before, &after);
        prop_assert!(verify_archives(&archives, None).unwrap().iter().all(|it| it.problems.is_empty()));
        // From what is much like it, so that there is something to keep.
        copy_tree(&tree, &dest);
        there.iter().for_each(|edit| perform(&dest, edit));
        copy_tree(&dest, &kept);
        let (was, wanted) = (snapshot(&dest), snapshot(&tree));

        // Which of the wanted paths are one file counts, not what else is the same file.
        let (there, names) = (among(&was, &wanted), among(&wanted, &wanted));
        let lost = there.iter().any(|(path, seen)| names.get(path) != Some(seen));
        let refused = restore(&archives, &dest, &quick());
        prop_assert_eq!(lost, matches!(refused, Err(Error::Occupied { .. })), "{:?}", refused);
        if refused.is_err() {
            prop_assert_eq!(snapshot(&dest), was.clone());
        }
        restore(&archives, &dest, &RestoreOptions { overwrite: true, ..quick() }).unwrap();
        let found = snapshot(&dest);
        for (path, seen) in &wanted {
            let found = found.get(path).map(|found| (found.kind, &found.content));
            prop_assert_eq!(found, Some((seen.kind, &seen.content)), "{:?}", path);
        }
        for path in was.keys().filter(|path| !wanted.contains_key(*path)) {
            let above = (1..path.len()).filter(|&at| path[at] == b'/');
            let replaced = above.map(|at| &path[..at]).any(|dir| wanted.get(dir).is_some_and(|it| it.kind != "dir"));
            prop_assert_eq!(found.contains_key(path), !replaced, "{:?}", path);
        }

        restore(&archives, &kept, &RestoreOptions { overwrite: true, delete: true, ..quick() }).unwrap();
        prop_assert_eq!(index(&kept).tree_id(), index(&tree).tree_id());
        let first = archives.get(..1).unwrap();
        restore(first, &kept, &RestoreOptions { known: Known::of(&archives), ..quick() }).unwrap();
        prop_assert_eq!(index(&kept).tree_id(), first[0].result());
    }
}

/// Who keeps the archive put another file into it, with its right digest, and left the tree id.
#[test]
fn a_single_path_is_proved_by_the_tree_id() {
    let temp = fast_tempdir();
    let [tree, dest] = ["tree", "dest"].map(|name| temp.path().join(name));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir(&dest).unwrap();
    fs::write(tree.join("etc/sudoers"), "root").unwrap();
    fs::write(tree.join("etc/hosts"), "x").unwrap();
    let (dir, old) = (Dir::new(&tree).unwrap(), DirIndex::empty());
    let honest = DirIndex::scan(&dir).unwrap().tree_id();
    fs::write(tree.join("etc/sudoers"), "mallory").unwrap();
    let forged = DiffIndex::between(&old, &DirIndex::scan(&dir).unwrap());
    let options =
        RestoreOptions { paths: vec![dirindex::RelPath::new("etc/sudoers").unwrap()], ..quick() };
    for (name, root) in [("honest.tgz", forged.result()), ("forged.tgz", honest)] {
        let diff = DiffIndex::from_changes(old.tree_id(), root, forged.changes().to_vec()).unwrap();
        let data = DiffData::create(&dir, &old, &diff, temp.path().join(name)).unwrap();
        let restored = restore(data.archives(), &dest, &options);
        assert_eq!(restored.is_ok(), name == "honest.tgz", "{restored:?}");
        assert_eq!(dest.join("etc/sudoers").exists(), name == "honest.tgz");
        fs::remove_dir_all(&dest).unwrap();
        fs::create_dir(&dest).unwrap();
    }
}
