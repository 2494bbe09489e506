//! `apply --dry-run`, `--status` and `--abort`, and an apply that is killed and run again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{IBTOOLS, Place, changed_copy, plant_many, run, skipped};

/// The copy has become the tree.
#[track_caller]
fn same(place: &Place) {
    let (found, expected) = (place.snapshot("copy"), place.snapshot("tree"));
    let paths = found.keys().chain(expected.keys());
    let other: Vec<_> = paths.filter(|path| found.get(*path) != expected.get(*path)).collect();
    assert!(other.is_empty(), "not the same: {other:?}");
}

#[test]
fn a_dry_run_says_what_apply_then_does() {
    let place = changed_copy();
    let before = place.snapshot("copy");
    let said = place.ibtools("apply copy 1.tgz --dry-run").good();
    for line in ["M dir/large", "R dir/inner/moves -> moved", "T becomes-dir/", "D gone/deep/file"]
    {
        assert!(said.lines().any(|found| found == line), "{line} is not in {said}");
    }
    assert!(said.contains("beside the tree"), "{said}");
    let json = place.ibtools("apply copy 1.tgz --dry-run --json").json();
    assert!(place.snapshot("copy") == before, "the tree was touched");
    let done = place.ibtools("apply copy 1.tgz --json").json();
    for number in ["created", "updated", "metadata", "deleted", "unchanged", "bytes"] {
        assert_eq!(json[number], done[number], "{number}");
    }
    assert!(json["needed_bytes"].as_u64() >= json["bytes"].as_u64(), "{json}");
    same(&place);
    let again = place.ibtools("apply copy 1.tgz --dry-run --json").json();
    assert_eq!(again["changes"], serde_json::json!([]));
}

#[test]
fn a_dry_run_of_a_full_backup_makes_no_directory() {
    let place = changed_copy();
    let said = place.ibtools("apply new full.tgz 1.tgz --dry-run").good();
    assert!(said.contains("A text\n") && said.contains("new would be made"), "{said}");
    assert!(said.contains("1 more to apply"), "{said}");
    assert!(!place.path("new").exists());
}

#[test]
fn a_dry_run_refuses_what_apply_refuses() {
    let place = changed_copy();
    place.write("copy/dir/large", "somebody else's");
    place.ibtools("apply copy 1.tgz --dry-run").bad(&["dir/large", "expected"]);
}

#[test]
fn a_clean_tree_has_no_status_and_nothing_to_abort() {
    let place = changed_copy();
    assert!(place.ibtools("apply copy --status").good().starts_with("no apply is unfinished"));
    assert_eq!(place.ibtools("apply copy --status --json").json()["status"], "clean");
    assert_eq!(place.ibtools("apply copy --abort --json").json()["aborted"], "nothing");
}

#[test]
fn what_was_only_staged_can_be_aborted() {
    let place = changed_copy();
    place.write("copy/.ibtools-apply/new/0", "half of some");
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(place.path("copy/.ibtools-apply"), mode).unwrap();
    let status = place.ibtools("apply copy --status");
    assert_eq!((status.code, status.err.as_str()), (Some(1), ""));
    assert!(status.out.contains("--abort"), "{}", status.out);
    assert!(place.ibtools("apply copy --abort").good().contains("changed nothing"));
    assert!(!place.path("copy/.ibtools-apply").exists());
}

/// An apply that was killed while it changed the copy; none where there is no strace.
fn killed(place: &Place) -> Option<()> {
    let killed = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null", "-e", "trace=renameat2,renameat"])
        .args(["-e", "inject=renameat2:signal=SIGKILL:when=3"])
        .args([IBTOOLS, "apply", "copy", "1.tgz"])
        .current_dir(place.path(""))
        .status();
    if killed.is_err() {
        skipped("strace");
        return None;
    }
    let status = place.ibtools("apply copy --status --json");
    assert_eq!((status.code, status.json()["status"].as_str()), (Some(1), Some("unfinished")));
    Some(())
}

#[test]
fn what_has_begun_to_change_the_tree_can_be_finished() {
    let place = changed_copy();
    let Some(()) = killed(&place) else { return };
    place.ibtools("apply copy 1.tgz --dry-run").bad(&["has to be finished"]);
    place.ibtools("index copy -o j").bad(&["copy"]);
    assert!(place.ibtools("apply copy 1.tgz").good().contains("was finished"));
    same(&place);
}

#[test]
fn what_has_begun_to_change_the_tree_can_be_undone() {
    let place = changed_copy();
    let before = place.snapshot("copy");
    let Some(()) = killed(&place) else { return };
    assert!(place.ibtools("apply copy --abort").good().contains("is undone"));
    assert!(place.snapshot("copy") == before, "the tree is not as it was");
    place.ibtools("apply copy 1.tgz").good();
    same(&place);
}

/// Killed at its very end, the command has done everything and does not know.
#[test]
fn several_increments_can_be_applied_again() {
    let place = changed_copy();
    place.ibtools("index tree -o j").good();
    place.write("tree/new", "a second time");
    fs::remove_dir_all(place.path("tree/becomes-dir")).unwrap();
    place.ibtools("diff tree --base j -o 2.tgz").good();
    for words in ["3 created", "was applied already"] {
        let said = place.ibtools("apply copy 1.tgz 2.tgz").good();
        assert!(said.contains(words), "{said}");
        same(&place);
    }
    // The second one alone leaves what it lists as it should be; that does not make the tree right.
    place.other("cp", "-aT tree other").unwrap().good();
    place.write("other/dir/large", "somebody else's");
    place.ibtools("apply other 1.tgz 2.tgz").bad(&["other", "1.tgz"]);
}

/// A tree that is past some increments is known by what is below directories that moved as a whole, too.
#[test]
fn several_increments_that_move_a_directory_can_be_applied_again() {
    let place = Place::new();
    plant_many(&place);
    place.ibtools("index tree -o i").good();
    place.other("cp", "-aT tree copy").unwrap().good();
    let rename = |from: &str, to: &str| {
        fs::rename(place.path("tree").join(from), place.path("tree").join(to)).unwrap();
    };
    let states: [&dyn Fn(); 4] = [
        &|| place.write("tree/many/3", "edited before"),
        &|| {
            rename("many", "more");
            place.write("tree/many", "a file where it was");
        },
        &|| place.write("tree/more/4", "edited between"),
        &|| rename("more", "most"),
    ];
    let mut archives = String::new();
    for (number, change) in states.iter().enumerate() {
        change();
        let name = format!("{number}.tgz");
        place.ibtools(&format!("diff tree --base i -o {name} --index i")).good();
        archives = format!("{archives} {name}");
        place.ibtools(&format!("apply copy {name}")).good();
        same(&place);
        if number > 0 {
            let said = place.ibtools(&format!("apply copy{archives}")).good();
            assert!(said.contains("0.tgz: was applied already"), "{said}");
            same(&place);
        }
    }
    // With something else below it, or where it was, it is not that tree.
    for path in ["most/5", "most/new", "more/7"] {
        place.other("cp", "-aT tree other").unwrap().good();
        place.write(&format!("other/{path}"), "somebody else's");
        place.ibtools(&format!("apply other{archives}")).bad(&["other", "0.tgz"]);
        fs::remove_dir_all(place.path("other")).unwrap();
    }
}

#[test]
fn archives_are_needed_where_they_are_of_use() {
    for args in ["apply copy", "apply copy 1.tgz --status", "apply copy --status --abort"] {
        assert_eq!(run(Command::new(IBTOOLS).args(args.split(' '))).code, Some(2), "{args}");
    }
}
