//! The law of backups: whatever happened to a tree, the old one and the diff make the new one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::Path;

use apply::{ApplyOptions, apply_with};
use archive::DiffData;
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex};
use proptest::prelude::*;
use testing::edits::{NAMES, edits, perform};
use testing::{assert_same, copy_tree, fast_tempdir, index, snapshot};

fn step(number: usize, tree: &Path, copy: &Path, old: &DirIndex) -> DirIndex {
    let dir = Dir::new(tree).unwrap();
    let new = DirIndex::scan_since(&dir, old).unwrap();
    let diff = DiffIndex::between(old, &new);
    assert_eq!(diff.apply_to(old).unwrap().tree_id(), new.tree_id());
    let archive = tree.with_extension(format!("{number}.tar.zst"));
    let data = DiffData::create(&dir, old, &diff, archive).unwrap();
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    apply_with(copy, &data, &options).unwrap();
    assert_same(copy, tree);
    assert_eq!(index(copy).tree_id(), new.tree_id());
    // And once more: nothing.
    let again = apply_with(copy, &data, &options).unwrap();
    let below: u64 = diff.moved_trees().map(|tree| 2 * tree.entries).sum();
    assert_eq!(again.unchanged, diff.changes().len() as u64 + below);
    new
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_can_be_restored(history in proptest::collection::vec(edits(NAMES.len()), 1..5)) {
        let temp = fast_tempdir();
        let (tree, copy) = (temp.path().join("tree"), temp.path().join("copy"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&copy).unwrap();
        let mut old = DirIndex::empty();
        for (number, edits) in history.iter().enumerate() {
            edits.iter().for_each(|edit| perform(&tree, edit));
            old = step(number, &tree, &copy, &old);
        }
        // All of it at once, from the first state.
        let whole = temp.path().join("whole");
        copy_tree(&copy, &whole);
        prop_assert_eq!(snapshot(&whole), snapshot(&tree));
    }
}
