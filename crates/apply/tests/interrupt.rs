//! Killing an apply before each system call that changes something, and going on.
//!
//! `strace` kills the process just before the Nth call of a name. The process is this test binary,
//! running [`child`].
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use apply::{ApplyStatus, apply_diff, apply_status, recover};
use archive::DiffData;
use dirindex::{Dir, DirIndex};
use testing::{assert_same, everything, snapshot};

const TREE: &str = "IBTOOLS_TEST_TREE";
const ARCHIVE: &str = "IBTOOLS_TEST_ARCHIVE";

/// Every call that apply changes something with (and `openat`, with which it also reads).
const CALLS: [&str; 17] = [
    "openat",
    "mkdirat",
    "pwrite64",
    "write",
    "ftruncate",
    "copy_file_range",
    "symlinkat",
    "linkat",
    "mknodat",
    "fchmod",
    "chmod",
    "utimensat",
    "fsync",
    "syncfs",
    "renameat2",
    "renameat",
    "unlinkat",
];

#[test]
#[ignore = "the process that the sweep kills"]
fn child() {
    let (Ok(tree), Ok(archive)) = (std::env::var(TREE), std::env::var(ARCHIVE)) else { return };
    let data = DiffData::open(archive).unwrap();
    apply_diff(tree, data.diff(), &data).unwrap();
}

/// Runs the child on `tree` with `fault` instead of (or, a signal, just before) its `nth` `call`;
/// whether it failed.
fn fails(tree: &Path, archive: &Path, call: &str, fault: &str, nth: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={call}"))
        .args(["-e", &format!("inject={call}:{fault}:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--test-threads=1"])
        .env("RAYON_NUM_THREADS", "1")
        .env("RUST_BACKTRACE", "0")
        .env(TREE, tree)
        .env(ARCHIVE, archive)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !status.success()
}

fn strace_is_missing() -> bool {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if strace.is_ok_and(|status| status.success()) {
        return false;
    }
    assert!(std::env::var_os("CI").is_none(), "strace is missing");
    println!("SKIPPED: strace is missing, nothing was interrupted");
    true
}

/// Lets `fault` strike at each of the calls in turn, looks at what is left, and goes on. Gives the
/// number of points, and of those after the commit.
fn sweep(calls: &[&str], fault: &str) -> (usize, usize) {
    let case = everything();
    let (before, after) = (snapshot(&case.old), snapshot(&case.new));
    let (mut points, mut unfinished) = (0, 0);
    for &call in calls {
        let mut nth = 1;
        loop {
            let tree = case.copy_of_old();
            if !fails(&tree, &case.archive(), call, fault, nth) {
                assert_same(&tree, &case.new);
                fs::remove_dir_all(tree).unwrap();
                break;
            }
            points += 1;
            let status = apply_status(&tree).unwrap_or_else(|e| panic!("{call} {nth}: {e}"));
            if let ApplyStatus::Unfinished { .. } = status {
                unfinished += 1;
                let scanned = DirIndex::scan(&Dir::new(&tree).unwrap());
                assert!(scanned.is_err(), "{call} {nth}: half a tree was indexed");
            } else {
                let mut found = snapshot(&tree);
                found.retain(|path, _| !path.starts_with(b".ibtools-apply"));
                assert!(found == before || found == after, "{call} {nth}: touched without journal");
                let dead = fault.starts_with("signal") || found == after;
                assert!(dead || status == ApplyStatus::Clean, "{call} {nth}: litter");
            }
            // Either way on: by the same command, or by the journal alone.
            if nth % 2 == 0 && status != ApplyStatus::Clean {
                recover(&tree).unwrap_or_else(|e| panic!("{call} {nth}: {e}"));
            }
            apply_diff(&tree, &case.diff, &case.data)
                .unwrap_or_else(|e| panic!("{call} {nth}: {e}"));
            assert_same(&tree, &case.new);
            fs::remove_dir_all(tree).unwrap();
            // Most `openat`s read, and the early ones, and `write`s, are the test harness's.
            nth += if matches!(call, "openat" | "write") { 5 } else { 1 };
        }
    }
    println!("{fault}: {points} points, {unfinished} of them after the commit");
    (points, unfinished)
}

#[test]
fn killed_anywhere_a_second_apply_ends_in_the_target() {
    if !strace_is_missing() {
        let (points, unfinished) = sweep(&CALLS, "signal=SIGKILL");
        assert!(points > 80 && unfinished > 20);
    }
}

#[test]
fn an_error_anywhere_leaves_the_old_tree_or_the_new_one() {
    if !strace_is_missing() {
        // Without those that the harness around the child depends on, and a missing flag of which
        // is no error.
        let calls = CALLS.iter().filter(|call| !matches!(**call, "openat" | "write"));
        let calls: Vec<&str> = calls.copied().collect();
        let (points, unfinished) = sweep(&calls, "error=ENOSPC");
        assert!(points > 60);
        assert_eq!(unfinished, 0, "what failed was not undone");
    }
}
