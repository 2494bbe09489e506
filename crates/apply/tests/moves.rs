//! Files that moved, were swapped, copied or edited on the way come back exactly, and cost little.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use apply::{ApplyOptions, apply_diff, preview_diff};
use diffindex::Content;
use testing::{Case, assert_same, attribute, noise, snapshot, write};

/// The old tree and the archive make the new tree; the archive's length.
fn check(case: &Case) -> u64 {
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    // Once more, on what is the new tree already: nothing to do, and nothing done.
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    fs::metadata(case.archive()).unwrap().len()
}

/// Puts a few bytes into the middle of a file.
fn edit(path: &Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content.splice(middle..middle, *b"put in");
    fs::write(path, content).unwrap();
}

fn exchange(root: &Path, a: &str, b: &str) {
    fs::rename(root.join(a), root.join("between")).unwrap();
    fs::rename(root.join(b), root.join(a)).unwrap();
    fs::rename(root.join("between"), root.join(b)).unwrap();
}

fn files(root: &Path) {
    for (n, name) in ["a", "b", "c", "d/e", "d/f"].into_iter().enumerate() {
        write(root.join(name), noise(n as u64, 30_000 + n));
    }
    fs::hard_link(root.join("c"), root.join("d/hard link of c")).unwrap();
}

fn bases(case: &Case) -> Vec<(String, String)> {
    let base = |content: &Content| match content {
        Content::Delta { base, .. } | Content::Copy { base } => Some(base.to_string()),
        _ => None,
    };
    let changes = case.diff.changes().iter();
    let made = changes.filter_map(|c| Some((c.path.to_string(), base(&c.new.as_ref()?.content)?)));
    made.collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn swaps() {
    let case = Case::new(files, |root| exchange(root, "a", "d/e"));
    assert_eq!(bases(&case), pairs(&[("a", "d/e"), ("d/e", "a")]));
    assert!(check(&case) < 5000);
}

#[test]
fn cycles_of_edited_files() {
    let case = Case::new(files, |root| {
        exchange(root, "a", "b");
        exchange(root, "b", "c");
        ["a", "b", "c"].iter().for_each(|name| edit(&root.join(name)));
    });
    assert_eq!(bases(&case), pairs(&[("a", "b"), ("b", "c"), ("c", "a")]));
    assert!(check(&case) < 9000);
}

#[test]
fn a_row_of_logs_moves_on() {
    let case = Case::new(files, |root| {
        fs::rename(root.join("b"), root.join("c.gz")).unwrap();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        write(root.join("a"), noise(77, 20_000));
    });
    assert_eq!(bases(&case), pairs(&[("a", "a"), ("b", "a"), ("c.gz", "b")]));
    check(&case);
}

#[test]
fn a_moved_and_edited_directory() {
    let case = Case::new(files, |root| {
        fs::rename(root.join("d"), root.join("elsewhere")).unwrap();
        edit(&root.join("elsewhere/e"));
        write(root.join("d"), "a file where the directory was");
    });
    let moved: Vec<_> = case.diff.moved().map(|(_, to)| to.to_string()).collect();
    assert_eq!(moved, ["elsewhere/e", "elsewhere/f"]);
    assert!(check(&case) < 6000);
}

#[test]
fn copies_of_a_file_that_is_itself_updated() {
    let case = Case::new(files, |root| {
        fs::copy(root.join("d/e"), root.join("d/exact")).unwrap();
        fs::copy(root.join("d/e"), root.join("d/edited copy")).unwrap();
        edit(&root.join("d/edited copy"));
        edit(&root.join("d/e"));
        edit(&root.join("d/e"));
    });
    let expected = pairs(&[("d/e", "d/e"), ("d/edited copy", "d/e"), ("d/exact", "d/e")]);
    assert_eq!(bases(&case), expected);
    assert!(check(&case) < 6000);
}

#[test]
fn a_copy_of_a_file_that_is_gone_and_whose_place_is_a_directory_now() {
    let case = Case::new(files, |root| {
        fs::rename(root.join("a"), root.join("moved")).unwrap();
        edit(&root.join("moved"));
        write(root.join("a/b/c"), "inside");
    });
    assert_eq!(bases(&case), pairs(&[("moved", "a")]));
    check(&case);
}

/// Ten thousand files of 6 KiB in one directory that gets another name.
#[test]
fn ten_thousand_renamed_files() {
    let case = Case::new(
        |root| {
            let all = noise(5, 6 << 10);
            for n in 0..10_000u32 {
                let own = noise(u64::from(n) + 1000, 61);
                let content: Vec<u8> =
                    all.iter().zip(own.iter().cycle()).map(|(a, b)| a ^ b).collect();
                write(root.join(format!("dir/{}/{n}", n % 50)), content);
            }
        },
        |root| fs::rename(root.join("dir"), root.join("other name")).unwrap(),
    );
    assert_eq!(case.diff.moved().count(), 1);
    let stored = check(&case);
    assert!(stored < 2000, "{stored}");
}

/// A directory of 20 paths that nothing keeps from moving as a whole.
fn dir_with_everything(root: &Path) {
    for n in 0..12 {
        write(root.join(format!("d/{n:02}")), noise(n, 2000 + n as usize));
    }
    write(root.join("d/sub/empty"), "");
    write(root.join("d/sub/deep/file"), "deep");
    symlink("../03", root.join("d/sub/link")).unwrap();
    fs::hard_link(root.join("d/03"), root.join("d/sub/again")).unwrap();
    attribute(&root.join("d/04"), "name");
    Command::new("mkfifo").arg(root.join("d/fifo")).status().unwrap();
    fs::set_permissions(root.join("d/05"), Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(root.join("d/sub"), Permissions::from_mode(0o711)).unwrap();
    fs::hard_link(root.join("d/06"), root.join("outside")).unwrap();
    write(root.join("other"), noise(50, 9000));
}

fn moved(change: impl FnOnce(&Path)) -> Case {
    let case = Case::new(dir_with_everything, change);
    assert_eq!(case.diff.moved_trees().count(), 1);
    case
}

#[test]
fn a_directory_that_moves_as_a_whole() {
    let case = moved(|root| {
        fs::create_dir(root.join("new")).unwrap();
        fs::rename(root.join("d"), root.join("new/name")).unwrap();
        fs::set_permissions(root.join("new/name"), Permissions::from_mode(0o700)).unwrap();
        symlink("new/name", root.join("d")).unwrap();
        // What is made of a file below it, and what is put where it was.
        write(root.join("copy"), noise(7, 2007));
        write(root.join("edited"), [noise(8, 2008), b"more".to_vec()].concat());
    });
    assert_eq!(case.diff.changes().len(), 6);
    let copy = case.copy_of_old();
    let preview = preview_diff(&copy, &case.diff, &ApplyOptions::default()).unwrap();
    let applied = apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    assert_eq!(preview.applied, applied);
    assert_eq!(preview.pending.len(), case.diff.changes().len());
    assert_eq!(apply_diff(&copy, &case.diff, &case.data).unwrap().unchanged, 44);
    assert_same(&copy, &case.new);
}

#[test]
fn a_directory_that_moves_and_is_not_what_it_was() {
    let case = moved(|root| fs::rename(root.join("d"), root.join("e")).unwrap());
    type Meddle = fn(&Path);
    let cases: [(Meddle, &str); 6] = [
        (|dir| write(dir.join("d/extra"), "extra"), "more than that"),
        (|dir| fs::remove_file(dir.join("d/fifo")).unwrap(), "18 paths below it"),
        (|dir| write(dir.join("d/03"), &noise(3, 2003)[1..]), "other names or contents below it"),
        (
            |dir| fs::rename(dir.join("d/03"), dir.join("d/3")).unwrap(),
            "other names or contents below it",
        ),
        (|dir| fs::rename(dir.join("d"), dir.join("f")).unwrap(), "nothing"),
        (
            |dir| {
                fs::rename(dir.join("d"), dir.join("f")).unwrap();
                symlink("f", dir.join("d")).unwrap();
            },
            "a symbolic link",
        ),
    ];
    for (meddle, found) in cases {
        let copy = case.copy_of_old();
        meddle(&copy);
        let before = snapshot(&copy);
        let error = apply_diff(&copy, &case.diff, &case.data).unwrap_err();
        let expected = format!(
            "d is not as the diff expects: expected a directory with 19 known paths below it, found {found}"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(snapshot(&copy), before);
    }
}

#[test]
fn metadata_below_a_directory_that_moves_stays_as_it_is() {
    let case = moved(|root| fs::rename(root.join("d"), root.join("e")).unwrap());
    let copy = case.copy_of_old();
    let file = fs::File::open(copy.join("d/07")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(fs::metadata(copy.join("e/07")).unwrap().mtime(), 0);
}
