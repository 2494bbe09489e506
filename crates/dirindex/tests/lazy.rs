//! An index of which little is in memory says what the same index says that is in memory as a whole.
#![allow(clippy::unwrap_used, reason = "a test")]
#![cfg(feature = "scan")]

use std::fs;
use std::path::Path;

use dirindex::{Dir, DirIndex, IndexRun, LazyIndex, Pair, RelPath, ScanOptions};
use proptest::prelude::*;

/// So many files that they are in several blocks of an index file, which are read some at a time.
const FILES: usize = 4_500;

fn path(number: usize) -> String {
    format!("{}/{}/{number}", number % 7, number % 90)
}

fn write(root: &Path, number: usize, content: &str) {
    let path = root.join(path(number));
    if fs::create_dir_all(path.parent().unwrap()).is_ok() {
        fs::write(path, content).unwrap();
    }
}

fn large_tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    (0..FILES).for_each(|number| write(tree.path(), number, &number.to_string()));
    fs::hard_link(tree.path().join(path(5)), tree.path().join("z")).unwrap();
    tree
}

/// The file of an index, wherever that is.
fn bytes(index: impl Into<LazyIndex>) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.into().write_to(&mut bytes).unwrap();
    bytes
}

/// What becomes of a file.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Remove(usize),
    Link(usize),
    RemoveDir(usize),
    /// With all that is in it, to the top.
    MoveDir(usize),
    /// By a file.
    ReplaceDir(usize),
    Chmod(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..7u8, 0..FILES + 100).prop_map(|(kind, number)| match kind {
        0 => Step::Write(number),
        1 => Step::Remove(number),
        2 => Step::Link(number),
        3 => Step::RemoveDir(number),
        4 => Step::MoveDir(number),
        5 => Step::ReplaceDir(number),
        _ => Step::Chmod(number),
    });
    proptest::collection::vec(step, 0..12)
}

fn take(root: &Path, step: &Step) {
    use std::os::unix::fs::PermissionsExt;
    let at = |number: usize| root.join(path(number));
    // What is not there any more is left alone.
    match *step {
        Step::Write(number) => write(root, number, "another content"),
        Step::Remove(number) => drop(fs::remove_file(at(number))),
        Step::Link(number) => drop(fs::hard_link(at(number), root.join(format!("l{number}")))),
        Step::RemoveDir(number) => drop(fs::remove_dir_all(at(number).parent().unwrap())),
        Step::MoveDir(number) => {
            drop(fs::rename(at(number).parent().unwrap(), root.join(format!("m{number}"))));
        }
        Step::ReplaceDir(number) => {
            let path = at(number);
            let dir = path.parent().unwrap();
            if fs::remove_dir_all(dir).is_ok() {
                fs::write(dir, "no directory").unwrap();
            }
        }
        Step::Chmod(number) => {
            drop(fs::set_permissions(at(number), PermissionsExt::from_mode(0o600)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    /// Promise: the same tree has the same index, however it was made, and that has the same bytes wherever it is.
    #[test]
    fn a_scan_against_a_file_is_a_scan(nights in proptest::collection::vec(steps(), 1..4)) {
        let tree = large_tree();
        let dir = Dir::new(tree.path()).unwrap();
        let options = ScanOptions::default();
        let mut whole = DirIndex::scan(&dir).unwrap();
        let mut lazy = LazyIndex::from_source(bytes(&whole)).unwrap();
        prop_assert_eq!(lazy.tree_id(), whole.tree_id());
        prop_assert_eq!(lazy.totals(), whole.totals());
        for night in nights {
            night.iter().for_each(|step| take(tree.path(), step));
            let new = LazyIndex::scan(&dir, Some(&lazy), &options).unwrap();
            let scanned = DirIndex::scan_since(&dir, &whole).unwrap();
            prop_assert_eq!(new.tree_id(), scanned.tree_id());
            prop_assert_eq!(new.totals(), scanned.totals());
            // When a file may be trusted depends on the time of the scan.
            let expected = new.load().unwrap();
            prop_assert!(expected.entries().eq(scanned.entries()));
            let expected_bytes = bytes(&expected);
            prop_assert!(bytes(&new) == expected_bytes);
            // What differs is the same, whether both are upon one file or not.
            let apart = LazyIndex::from_source(expected_bytes.clone()).unwrap();
            let in_memory = IndexRun::between(&whole, &expected).unwrap();
            for new in [&new, &apart] {
                let mut runs = [Vec::new(), Vec::new()];
                in_memory.write_to(&mut runs[0]).unwrap();
                IndexRun::between(&lazy, new).unwrap().write_to(&mut runs[1]).unwrap();
                prop_assert!(runs[0] == runs[1]);
                let run = IndexRun::from_bytes(runs[1].clone()).unwrap();
                prop_assert!(bytes(lazy.with_runs(&[run]).unwrap()) == expected_bytes);
            }
            for entry in expected.entries().step_by(97) {
                let found = new.record(&entry.path).unwrap().unwrap();
                prop_assert_eq!(&found.entry, entry);
            }
            (whole, lazy) = (expected, new);
        }
    }
}

#[test]
fn a_beginning_is_that_of_the_whole() {
    let tree = large_tree();
    let whole = DirIndex::scan(&Dir::new(tree.path()).unwrap()).unwrap();
    let lazy = LazyIndex::from_source(bytes(&whole)).unwrap();
    for entries in [0, 1, 4096, 4200, whole.len() - 1, whole.len(), whole.len() + 1] {
        let beginning = lazy.beginning(entries).unwrap();
        let first = whole.records().iter().take(entries).cloned();
        assert_eq!(beginning.tree_id(), DirIndex::from_records(first).unwrap().tree_id());
        assert_eq!(beginning.len(), entries.min(whole.len()));
        let last = entries.min(whole.len()).checked_sub(1).map(|last| &whole.records()[last]);
        let last = last.map(|last| &last.entry.path);
        assert_eq!(beginning.last_path().unwrap().as_ref(), last);
        if let Some(last) = last {
            assert_eq!(lazy.entries_up_to(last).unwrap(), entries.min(whole.len()));
            assert!(beginning.record(last).unwrap().is_some());
        }
        let z = RelPath::new("z").unwrap();
        assert_eq!(beginning.record(&z).unwrap().is_some(), entries >= whole.len());
        if entries > 0 {
            assert_eq!(beginning.whole().unwrap().tree_id(), whole.tree_id());
        }
    }
}

/// Promise: however two indexes are kept, what they differ by is the same.
#[test]
fn beginnings_differ_by_what_is_behind_the_end() {
    let tree = large_tree();
    let whole = DirIndex::scan(&Dir::new(tree.path()).unwrap()).unwrap();
    let base = LazyIndex::from_source(bytes(&whole)).unwrap();
    write(tree.path(), 3, "edited");
    fs::remove_file(tree.path().join(path(4000))).unwrap();
    write(tree.path(), 1_000_000, "new");
    let edited = LazyIndex::scan(&Dir::new(tree.path()).unwrap(), Some(&base), &Default::default());
    let edited = edited.unwrap();
    let ends = [0, 2, 4000, base.len() - 1, base.len() + 1];
    let beginnings = |index: &LazyIndex| ends.map(|entries| index.beginning(entries).unwrap());
    let all = [beginnings(&base), beginnings(&edited)].concat();
    for (old, new) in all.iter().flat_map(|old| all.iter().map(move |new| (old, new))) {
        let apart = |index: &LazyIndex| LazyIndex::from_source(bytes(index)).unwrap();
        let pairs = |old: &LazyIndex, new: &LazyIndex| {
            let pairs = old.differing(new).unwrap().into_iter();
            pairs.map(|Pair { old, new }| [old, new].map(|it| it.map(|it| it.entry.clone())))
        };
        assert!(pairs(old, new).eq(pairs(&apart(old), &apart(new))), "{} {}", old.len(), new.len());
    }
}
