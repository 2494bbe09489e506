//! Files that moved, were swapped, copied or edited on the way come back exactly, and cost little.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::path::Path;

use common::{Case, assert_same, noise, write};
use incremental_backups_tools::{Content, apply_diff};

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
    assert_eq!(case.diff.moved().count(), 10_000);
    let stored = check(&case);
    // They do not compress: delete and create would cost what they weigh.
    assert!(stored * 100 < 10_000 * (6 << 10) * 2, "{stored}");
}
