//! The test suite of the Python package that this one renders, in Rust: the same trees, the same
//! changes, the same expectations.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::Path;

use incremental_backups_tools::{DiffData, DiffIndex, Dir, DirIndex, RelPath, apply_diff};
use testing::{Case, assert_same, copy_tree, snapshot, write};

fn test_dir(dir: &Path) {
    write(dir.join("file1"), "contents1");
    write(dir.join("file2"), "contents2");
    write(dir.join("file3.py"), "print \"ok\"");
    write(dir.join("file3.pyc"), "");
    write(dir.join(".exclude"), "excluded_dir/\n*.pyc");
    write(dir.join("dir1/subdir1/file_subdir1"), "inside subdir1");
    write(dir.join("dir2/file_dir2"), "inside dir2");
    write(dir.join("excluded_dir/excluded_file"), "excluded");
}

fn test_dir_2(dir: &Path) {
    write(dir.join("file4"), "contents4");
    write(dir.join("file1"), "contents1 changed");
    write(dir.join("dir3/file3"), "inside dir3");
    fs::remove_file(dir.join("file2")).unwrap();
    fs::remove_dir_all(dir.join("dir1/subdir1")).unwrap();
    fs::remove_dir_all(dir.join("dir2")).unwrap();
}

fn names<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Vec<String> {
    paths.map(RelPath::to_string).collect()
}

#[test]
fn the_diff_says_what_changed() {
    let case = Case::new(test_dir, test_dir_2);
    let diff = &case.diff;
    assert_eq!(names(diff.created()), ["dir3/file3", "file4"]);
    assert_eq!(names(diff.updated()), ["file1"]);
    assert_eq!(names(diff.deleted()), ["dir1/subdir1/file_subdir1", "dir2/file_dir2", "file2"]);
    assert_eq!(names(diff.created_dirs()), ["dir3"]);
    assert_eq!(names(diff.deleted_dirs()), ["dir1/subdir1", "dir2"]);
    assert_eq!(diff.apply_to(&case.old_index).unwrap().tree_id(), case.new_index.tree_id());
}

#[test]
fn patching_makes_the_hashes_equal() {
    let case = Case::new(test_dir, test_dir_2);
    let hash = |dir: &Path| Dir::new(dir).unwrap().hash().unwrap();
    let copy = case.copy_of_old();
    assert_ne!(hash(&copy), hash(&case.new));
    let applied = apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(hash(&copy), hash(&case.new));
    assert_same(&copy, &case.new);
    assert_eq!((applied.created, applied.updated, applied.deleted), (3, 1, 5));
}

#[test]
fn what_is_excluded_stays() {
    let case = Case::new(test_dir, |dir| {
        test_dir_2(dir);
        write(dir.join("file3.pyc"), "compiled anew");
        write(dir.join("excluded_dir/excluded_file"), "changed");
    });
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(fs::read(copy.join("file3.pyc")).unwrap(), b"");
    assert_eq!(fs::read(copy.join("excluded_dir/excluded_file")).unwrap(), b"excluded");
    assert_eq!(testing::index(&copy).tree_id(), case.new_index.tree_id());
}

#[test]
fn full_and_incremental_into_an_empty_directory() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, restored) = (temp.path().join("tree"), temp.path().join("restored"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&restored).unwrap();
    test_dir(&tree);
    fs::remove_file(tree.join(".exclude")).unwrap();
    let dir = Dir::new(&tree).unwrap();

    let mut old = DirIndex::empty();
    type Edit = fn(&Path);
    let edits: [Edit; 4] = [
        |_| {},
        test_dir_2,
        |tree| fs::rename(tree.join("dir3"), tree.join("dir4")).unwrap(),
        |tree| fs::remove_dir_all(tree.join("dir4")).unwrap(),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        edit(&tree);
        let new = DirIndex::scan_since(&dir, &old).unwrap();
        let diff = DiffIndex::between(&old, &new);
        let archive = temp.path().join(format!("{number}.tar.zst"));
        DiffData::create(&dir, &old, &diff, &archive).unwrap();
        let data = DiffData::open(&archive).unwrap();
        apply_diff(&restored, data.diff(), &data).unwrap();
        assert_same(&restored, &tree);
        old = new;
    }
}

#[test]
fn the_copy_need_not_be_the_original() {
    let case = Case::new(test_dir, test_dir_2);
    let elsewhere = case.temp.path().join("elsewhere");
    copy_tree(&case.old, &elsewhere);
    let before = snapshot(&case.old);
    apply_diff(&elsewhere, &case.diff, &case.data).unwrap();
    assert_eq!(snapshot(&case.old), before);
}
