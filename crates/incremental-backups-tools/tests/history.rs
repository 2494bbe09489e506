//! The law of backups: whatever happened to a tree, the old one and the diff make the new one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use common::{assert_same, copy_tree, fast_tempdir, index, noise, snapshot};
use incremental_backups_tools::{
    ApplyOptions, DiffData, DiffIndex, Dir, DirIndex, apply_diff_with,
};
use proptest::prelude::*;

/// Few, so that edits meet; odd, since users' names are.
const NAMES: [&[u8]; 7] =
    [b"a", b"b", b"a-b", b"with \n newline", b"\xff\xfe not text", b"\xc3\xa9", b"-rf"];

#[derive(Debug, Clone)]
enum Edit {
    Write(Vec<usize>, u64, usize),
    /// Changes a few bytes inside.
    Patch(Vec<usize>, usize),
    MakeDir(Vec<usize>),
    Symlink(Vec<usize>, usize),
    HardLink(Vec<usize>, Vec<usize>),
    Remove(Vec<usize>),
    Rename(Vec<usize>, Vec<usize>),
    Swap(Vec<usize>, Vec<usize>),
    Mode(Vec<usize>, u32),
    Time(Vec<usize>, u64),
}

fn path() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..NAMES.len(), 1..4)
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (path(), 0..9u64, prop_oneof![Just(0), 1..50usize, 3000..9000usize])
            .prop_map(|(path, seed, len)| Edit::Write(path, seed, len)),
        2 => (path(), 0..9000usize).prop_map(|(path, at)| Edit::Patch(path, at)),
        2 => path().prop_map(Edit::MakeDir),
        2 => (path(), 0..NAMES.len()).prop_map(|(path, to)| Edit::Symlink(path, to)),
        2 => (path(), path()).prop_map(|(a, b)| Edit::HardLink(a, b)),
        3 => path().prop_map(Edit::Remove),
        2 => (path(), path()).prop_map(|(a, b)| Edit::Rename(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => (path(), prop_oneof![Just(0o600), Just(0o755), Just(0o1777), Just(0o444), Just(0o555)])
            .prop_map(|(path, mode)| Edit::Mode(path, mode)),
        1 => (path(), 0..4_000_000_000u64).prop_map(|(path, time)| Edit::Time(path, time)),
    ]
}

/// Does what can be done; an edit that makes no sense here is none.
fn perform(root: &Path, edit: &Edit) {
    let at = |path: &[usize]| {
        path.iter().fold(PathBuf::from(root), |dir, &name| dir.join(OsStr::from_bytes(NAMES[name])))
    };
    let remove = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    // What is in the way of a new path goes, so that files turn into directories and back.
    let clear = |path: &Path| {
        for outer in path.ancestors().skip(1).take_while(|outer| *outer != root) {
            if outer.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
                drop(fs::remove_file(outer));
            }
        }
        drop(remove(path));
        path.parent().map(fs::create_dir_all)
    };
    let inside = |from: &Path, to: &Path| to.starts_with(from) || from.starts_with(to);
    match edit {
        Edit::Write(path, seed, len) => {
            clear(&at(path));
            drop(fs::write(at(path), noise(*seed, *len)));
        }
        Edit::Patch(path, offset) => {
            let path = at(path);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                let mut bytes = fs::read(&path).unwrap_or_default();
                let offset = (*offset).min(bytes.len());
                bytes.splice(offset..offset, *b"patch");
                // In place: all names of the file see it.
                drop(fs::write(&path, bytes));
            }
        }
        Edit::MakeDir(path) => {
            clear(&at(path));
            drop(fs::create_dir(at(path)));
        }
        Edit::Symlink(path, to) => {
            clear(&at(path));
            drop(symlink(OsStr::from_bytes(NAMES[*to]), at(path)));
        }
        Edit::HardLink(from, to) => {
            let (from, to) = (at(from), at(to));
            let is_file = fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file());
            if is_file && !inside(&from, &to) {
                clear(&to);
                drop(fs::hard_link(from, to));
            }
        }
        Edit::Remove(path) => drop(remove(&at(path))),
        Edit::Rename(from, to) => {
            let (from, to) = (at(from), at(to));
            if from.symlink_metadata().is_ok() && !inside(&from, &to) {
                clear(&to);
                drop(fs::rename(from, to));
            }
        }
        Edit::Swap(a, b) => {
            let (a, b, aside) = (at(a), at(b), root.join("aside"));
            let there = a.symlink_metadata().is_ok() && b.symlink_metadata().is_ok();
            if there && !inside(&a, &b) && fs::rename(&a, &aside).is_ok() {
                // Seen through a symbolic link, one may be inside the other after all.
                let back = if fs::rename(&b, &a).is_ok() { &b } else { &a };
                fs::rename(&aside, back).unwrap();
            }
        }
        Edit::Mode(path, mode) => {
            if let Ok(meta) = at(path).symlink_metadata()
                && !meta.is_symlink()
            {
                // A directory that its owner may not write would stop later edits.
                let mode = if meta.is_dir() { mode | 0o700 } else { *mode };
                fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        Edit::Time(path, time) => {
            if at(path).symlink_metadata().is_ok_and(|meta| !meta.is_symlink())
                && let Ok(file) = fs::File::open(at(path))
            {
                file.set_modified(UNIX_EPOCH + Duration::new(*time, 123_456_789)).unwrap();
            }
        }
    }
}

fn step(number: usize, tree: &Path, copy: &Path, old: &DirIndex) -> DirIndex {
    let dir = Dir::new(tree).unwrap();
    let new = DirIndex::scan_since(&dir, old).unwrap();
    let diff = DiffIndex::between(old, &new);
    assert_eq!(diff.apply_to(old).unwrap().root(), new.root());
    let archive = tree.with_extension(format!("{number}.tar.zst"));
    let data = DiffData::create(&dir, old, &diff, archive).unwrap();
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    apply_diff_with(copy, &diff, &data, &options).unwrap();
    assert_same(copy, tree);
    assert_eq!(index(copy).root(), new.root());
    // And once more: nothing.
    let again = apply_diff_with(copy, &diff, &data, &options).unwrap();
    assert_eq!(again.unchanged, diff.changes().len() as u64);
    new
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_can_be_restored(history in proptest::collection::vec(proptest::collection::vec(edit(), 1..14), 1..5)) {
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
