//! The help, and what is said of a command line that cannot be understood.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, run};
use std::process::Command;

fn help(args: &[&str]) -> String {
    run(Command::new(IBTOOLS).args(args).env("COLUMNS", "80")).good()
}

/// Promise: what one needs each day comes first, and no line is too wide for the terminal.
#[test]
fn everyday_verbs_come_first() {
    let all = help(&["--help"]);
    let at =
        |verb: &str| all.find(&format!("\n  {verb} ")).unwrap_or_else(|| panic!("{verb}: {all}"));
    let order = [
        "init",
        "backup",
        "restore",
        "snapshots",
        "ls",
        "verify",
        "prune",
        "index",
        "signature",
        "man",
    ];
    for pair in order.windows(2) {
        assert!(at(pair[0]) < at(pair[1]), "{pair:?}: {all}");
    }
    assert!(all.contains("\nCommands:\n") && all.contains("\nBuilding blocks"), "{all}");
    assert!(help(&["backup", "--help"]).contains("\nExamples:\n"));
}

/// Promise: a verb of another program leads to ours.
#[test]
fn other_names_of_verbs_are_answered_with_ours() {
    let place = Place::new();
    for (typed, said) in [
        ("list", "there is no verb `list`; `snapshots` lists the snapshots of a store"),
        ("check", "`verify` "),
        ("create", "`backup` "),
        ("init-repo", "`init` "),
        ("extract", "`restore` "),
        ("unlock", "needs no unlocking"),
        ("bakup", "did you mean `backup`?"),
        ("xyzzy", "`ibtools --help` lists the verbs"),
    ] {
        place.ibtools(&format!("{typed} store")).bad(&[said]);
    }
}

/// Promise: a command line that cannot be understood gets one line, which says what is wrong with it.
#[test]
fn wrong_usage_is_one_line() {
    let place = Place::new();
    for (typed, said) in [
        ("prune store --keep-last -1", &["-1", "--keep-last", "a whole number is wanted"][..]),
        ("prune store --keep-daily x", &["x", "--keep-daily", "a whole number is wanted"]),
        ("backup tree store --full-ratio -2", &["-2", "not a number over 0"]),
        ("backup tree store --exclude-larger-than -5", &["-5", "not a number of bytes"]),
        ("--threads -1 verify store", &["-1", "--threads", "1..=1024"]),
        ("prune store", &["no rule says what to keep", "--keep-last"]),
        ("snapshots", &["STORE", "Usage: ibtools snapshots"]),
        ("snapshots store --nonsense", &["--nonsense"]),
        ("backup tree store --exclud x", &["--exclude"]),
    ] {
        place.ibtools(typed).bad(said);
    }
}
