//! Obstacles that can be known are found before anything changes: the tree is as it was, without a journal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use apply::{ApplyOptions, ApplyStatus, Error, Obstacle, apply_diff, apply_status, apply_with};
use testing::{Case, is_root, snapshot, write};

fn edits() -> Case {
    Case::new(
        |dir| {
            write(dir.join("a"), "a1");
            write(dir.join("sub/b"), "b1");
        },
        |dir| {
            write(dir.join("a"), "a2, longer");
            write(dir.join("sub/b"), "b2, longer");
        },
    )
}

fn flag(flag: &str, path: &Path) -> bool {
    Command::new("chattr").arg(flag).arg(path).output().is_ok_and(|done| done.status.success())
}

#[test]
fn what_is_immutable_or_append_only_is_found_before_the_first_change() {
    for (set, clear) in [("+i", "-i"), ("+a", "-a")] {
        for name in ["sub/b", "sub"] {
            let case = edits();
            let tree = case.copy_of_old();
            if !flag(set, &tree.join(name)) {
                println!("SKIPPED: no chattr here");
                return;
            }
            let before = snapshot(&tree);
            let error = apply_diff(&tree, &case.diff, &case.data).unwrap_err();
            assert!(flag(clear, &tree.join(name)));
            assert!(matches!(&error, Error::Fixed { .. }), "{set} {name}: {error}");
            assert_eq!(snapshot(&tree), before, "{set} {name}");
            apply_diff(&tree, &case.diff, &case.data).unwrap();
            assert_eq!(snapshot(&tree), snapshot(&case.new));
        }
    }
}

/// In a mount namespace of its own, this test's other half is run.
#[test]
fn a_bind_mount_of_the_same_file_system_is_found_before_the_first_change() {
    let inside = std::env::var_os("IBTOOLS_TEST_MOUNTS").is_some();
    if !inside {
        let run = Command::new("unshare")
            .args(["-m", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("a_bind_mount_of_the_same_file_system_is_found_before_the_first_change")
            .env("IBTOOLS_TEST_MOUNTS", "1")
            .output();
        match run {
            Ok(run) if is_root() => {
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            }
            _ => println!("SKIPPED: no mount namespaces"),
        }
        return;
    }
    for name in ["sub/b", "sub"] {
        let case = edits();
        let tree = case.copy_of_old();
        let other = case.temp.path().join("other");
        testing::copy_tree(&tree.join(name), &other);
        let mounted =
            Command::new("mount").arg("--bind").arg(&other).arg(tree.join(name)).status().unwrap();
        if !mounted.success() {
            println!("SKIPPED: nothing can be mounted");
            return;
        }
        let before = snapshot(&tree);
        let error = apply_diff(&tree, &case.diff, &case.data).unwrap_err();
        assert!(matches!(&error, Error::OtherFilesystem { .. }), "{name}: {error}");
        assert_eq!(snapshot(&tree), before, "{name}");
        assert_eq!(apply_status(&tree).unwrap(), ApplyStatus::Clean);
        assert!(Command::new("umount").arg(tree.join(name)).status().unwrap().success());
        fs::remove_dir_all(&tree).unwrap();
    }
}

/// What is in the way is named and stays; all else is done.
#[test]
fn what_is_immutable_is_skipped_if_asked() {
    for name in ["sub/b", "sub"] {
        let case = edits();
        let tree = case.copy_of_old();
        if !flag("+i", &tree.join(name)) {
            println!("SKIPPED: no chattr here");
            return;
        }
        let options = ApplyOptions { on_obstacle: Obstacle::Skip, ..ApplyOptions::default() };
        let applied = apply_with(&tree, &case.data, &options).unwrap();
        assert!(flag("-i", &tree.join(name)));
        let named: Vec<String> = applied.unapplied.iter().map(|it| it.path.to_string()).collect();
        assert_eq!(named, ["sub/b"], "with {name} immutable");
        let (old, new, found) = (snapshot(&case.old), snapshot(&case.new), snapshot(&tree));
        for (path, seen) in &found {
            let is_named = named.iter().any(|name| name.as_bytes() == path);
            let wanted = if is_named { &old } else { &new };
            assert_eq!(Some(seen), wanted.get(path), "{}", path.escape_ascii());
        }
        apply_diff(&tree, &case.diff, &case.data).unwrap();
        assert_eq!(snapshot(&tree), new);
    }
}
