//! A file whose metadata changes has names that are not the diff's: in a copy whose equal files somebody linked, or in
//! another tree that was made with `cp -al`. They keep what they have.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use apply::{apply_diff, preview_diff};
use testing::{Case, assert_same, snapshot, write};

fn mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes `link` another name of `file`.
fn link(file: &Path, link: &Path) {
    fs::remove_file(link).unwrap();
    fs::hard_link(file, link).unwrap();
}

#[test]
fn equal_files_that_were_linked_get_each_its_own_metadata() {
    let case = Case::new(
        |dir| {
            for name in ["a", "b", "c", "sub/d"] {
                write(dir.join(name), "same");
                fs::File::open(dir.join(name))
                    .unwrap()
                    .set_modified(std::time::UNIX_EPOCH)
                    .unwrap();
            }
        },
        |dir| {
            mode(dir.join("a"), 0o600);
            mode(dir.join("c"), 0o640);
        },
    );
    let tree = case.copy_of_old();
    for name in ["b", "c", "sub/d"] {
        link(&tree.join("a"), &tree.join(name));
    }
    let times = |path: &Path| path.metadata().unwrap().modified().unwrap();
    let sub = times(&case.old.join("sub"));
    fs::File::open(tree.join("sub")).unwrap().set_modified(sub).unwrap();
    let preview = preview_diff(&tree, &case.diff, &Default::default()).unwrap();
    assert!(preview.space.needed_bytes > 0, "copies take space");
    let applied = apply_diff(&tree, &case.diff, &case.data).unwrap();
    assert_eq!((applied.metadata, applied.updated), (2, 0));
    // `b` and `sub/d`, of which the diff says nothing, are one file still.
    link(&case.new.join("b"), &case.new.join("sub/d"));
    fs::File::open(case.new.join("sub")).unwrap().set_modified(sub).unwrap();
    assert_same(&tree, &case.new);
}

#[test]
fn a_tree_that_shares_all_files_with_an_older_one_leaves_that_as_it_is() {
    let case = Case::new(
        |dir| {
            write(dir.join("file"), "content");
            write(dir.join("empty"), "");
            write(dir.join("twin"), "twins");
            fs::hard_link(dir.join("twin"), dir.join("twin 2")).unwrap();
            symlink("file", dir.join("link")).unwrap();
            assert!(Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap().success());
        },
        |dir| {
            for name in ["file", "empty", "twin", "fifo"] {
                mode(dir.join(name), 0o600);
            }
            fs::remove_file(dir.join("link")).unwrap();
            symlink("file", dir.join("link")).unwrap();
        },
    );
    let tree = case.copy_of_old();
    let older = case.temp.path().join("older");
    assert!(Command::new("cp").arg("-al").args([&tree, &older]).status().unwrap().success());
    let before = snapshot(&older);
    apply_diff(&tree, &case.diff, &case.data).unwrap();
    assert_same(&tree, &case.new);
    assert_eq!(snapshot(&older), before);
    // Applied again, there is nothing to do.
    assert_eq!(apply_diff(&tree, &case.diff, &case.data).unwrap().metadata, 0);
}

#[test]
fn a_file_with_no_other_name_keeps_its_inode() {
    let case = Case::new(
        |dir| {
            write(dir.join("file"), "content");
            fs::hard_link(dir.join("file"), dir.join("name 2")).unwrap();
        },
        |dir| mode(dir.join("file"), 0o600),
    );
    let tree = case.copy_of_old();
    let inode = || tree.join("file").metadata().unwrap().ino();
    let before = inode();
    apply_diff(&tree, &case.diff, &case.data).unwrap();
    assert_eq!(inode(), before);
    assert_same(&tree, &case.new);
}
