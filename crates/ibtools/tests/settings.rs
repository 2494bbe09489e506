//! What is left out on the command line comes from `--store`, a profile or the environment.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, Run, backed_up, plant, run};

fn with_env(place: &Place, args: &str, env: &[(&str, &str)]) -> Run {
    run(place.command(args).envs(env.iter().copied()))
}

/// Promise: STORE may be left out of every verb where `--store` or `IBTOOLS_STORE` says it.
#[test]
fn a_store_that_is_left_out_is_found() {
    let place = backed_up();
    let env = [("IBTOOLS_STORE", "store")];
    for (whole, left_out) in [
        ("snapshots store", "snapshots"),
        ("ls store dir", "ls dir"),
        ("ls store", "ls"),
        ("cat store text", "cat text"),
        ("verify store", "verify"),
        ("backup tree store", "backup tree"),
        ("restore store copy --dry-run", "restore copy --dry-run"),
        ("prune store --keep-last 9", "prune --keep-last 9"),
    ] {
        // The numbers of seconds differ.
        let said = |run: Run| {
            run.good().lines().filter(|line| !line.contains(" in ")).collect::<Vec<_>>().join("\n")
        };
        let whole = said(place.ibtools(whole));
        assert_eq!(said(with_env(&place, left_out, &env)), whole, "{left_out}");
        assert_eq!(said(place.ibtools(&format!("{left_out} --store store"))), whole, "{left_out}");
    }
    place.ibtools("snapshots").bad(&["STORE", "Usage"]);
    place.ibtools("backup tree").bad(&["STORE is missing", "Usage: "]);
    place.ibtools("restore copy").bad(&["STORE or DEST is missing"]);
    place.ibtools("restore store copy --store store").bad(&["given twice"]);
}

/// Promise: a STORE that is typed is the one that is used, whatever the environment says.
#[test]
fn a_store_that_is_typed_is_the_one() {
    let place = backed_up();
    place.ibtools("init other").good();
    let env = [("IBTOOLS_STORE", "other")];
    assert!(with_env(&place, "snapshots store", &env).good().contains("2 snapshots"));
    assert!(with_env(&place, "ls store", &env).good().contains("dir/"));
    with_env(&place, "restore store copy", &env).good();
    assert!(place.snapshot("copy") == place.snapshot("tree"));
    // A mistyped store is no directory to be backed up, nor a path to be looked for.
    with_env(&place, "backup tree stor", &env).bad(&["there is no store at stor"]);
    with_env(&place, "snapshots stor", &env).bad(&["there is no store at stor"]);
    assert!(with_env(&place, "snapshots", &env).good().contains("0 snapshots"));
}

/// Promise: options may stand between the words.
#[test]
fn options_stand_anywhere() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree --zstd store").good();
    place.ibtools("restore store --overwrite copy").good();
    assert!(place.snapshot("copy") == place.snapshot("tree"));
}

const PROFILE: &str = r#"
store = "ROOT/store"
sources = ["ROOT/tree"]

[hooks]
before = "echo before >> ROOT/log"
after = "echo after $IBTOOLS_EXIT >> ROOT/log"
failed = "echo failed >> ROOT/log"

[backup]
exclude = ["large", "*.o"]
init = true
zstd = true

[prune]
keep-last = 1
"#;

fn profile(place: &Place, text: &str) {
    let root = place.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    place.write("config/ibtools/home.toml", text.replace("ROOT", root));
}

fn with_profile(place: &Place, args: &str) -> Run {
    let config = place.path("config");
    with_env(place, args, &[("XDG_CONFIG_HOME", config.to_str().unwrap())])
}

/// Promise: one line does what the profile says, and what is typed goes before it.
#[test]
fn a_profile_is_the_default_of_what_is_typed() {
    let place = Place::new();
    plant(&place);
    profile(&place, PROFILE);
    with_profile(&place, "--profile home backup").good();
    assert_eq!(fs::read_to_string(place.path("log")).unwrap(), "before\nafter 0\n");
    let list = with_profile(&place, "--profile home ls -r").good();
    // The link names it.
    assert!(list.contains("text-again") && list.matches("dir/large").count() == 1, "{list}");
    let names = fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().any(|name| name.to_string_lossy().ends_with(".tar.zst")));
    place.write("tree/more", "more");
    with_profile(&place, "backup --profile home --exclude text").good();
    let list = with_profile(&place, "--profile home ls -r").good();
    assert!(list.matches("dir/large").count() == 2 && !list.contains(" text\n"), "{list}");
    assert!(with_profile(&place, "--profile home prune").good().contains("1 snapshot kept"));
    // The path of a file, and the environment, name one too.
    let file = place.path("config/ibtools/home.toml");
    place.ibtools(&format!("--profile {} snapshots", file.display())).good();
    let env = [("IBTOOLS_PROFILE", file.to_str().unwrap()), ("IBTOOLS_STORE", "/nowhere")];
    assert!(with_env(&place, "snapshots", &env).good().contains("1 snapshot"));
    with_profile(&place, "--profile work backup").bad(&[
        "cannot read the profile",
        "work.toml",
        "No such file",
    ]);
}

/// Promise: a failing `before` stops the backup, what failed is known by the exit code, and `failed` is run.
#[test]
fn hooks_are_run_around_a_backup() {
    let place = Place::new();
    plant(&place);
    let log = || {
        let log = fs::read_to_string(place.path("log")).unwrap_or_default();
        drop(fs::remove_file(place.path("log")));
        log
    };
    profile(&place, &PROFILE.replace("echo before >> ROOT/log", "exit 3"));
    with_profile(&place, "--profile home backup")
        .bad(&["the hook `before` failed: exit status: 3"]);
    assert!(!place.path("store").exists());
    assert_eq!(log(), "failed\n");
    profile(&place, &PROFILE.replace("ROOT/tree", "ROOT/nothing"));
    with_profile(&place, "--profile home backup").bad(&["nothing"]);
    assert_eq!(log(), "before\nfailed\n");
    profile(&place, &PROFILE.replace("echo after", "false; exit 1; echo"));
    let run = with_profile(&place, "--profile home backup --json");
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("the hook `after` failed"), "{}", run.err);
    assert_eq!(log(), "before\nfailed\n");
    // What a hook prints is in nobody's document.
    profile(&place, &PROFILE.replace("echo after", "echo hello; echo after"));
    let run = with_profile(&place, "--profile home backup --json");
    run.json();
    assert!(run.err.contains("hello"));
}

/// Promise: what is wrong with a profile is said with its file, the line, and what is allowed there.
#[test]
fn mistakes_in_a_profile_are_named() {
    let place = Place::new();
    for (text, said) in [
        (
            "store = \"/a\"\nstor = \"/b\"",
            &["line 2", "`stor`", "`store`", "`sources`", "`backup`"][..],
        ),
        ("store = ", &["line 1"]),
        ("store = \"backups\"", &["line 1", "backups is no absolute path"]),
        (
            "[backup]\nexclud = [\"x\"]",
            &["line 2", "no option `exclud`", "`exclude`", "`exclude-caches`"],
        ),
        ("[backup]\n\nzstd = 1", &["line 3", "`zstd` is true or false"]),
        ("[backup]\nas = [\"x\"]", &["line 2", "one value"]),
        ("[prune]\nkeep-daily = \"x\"", &["line 2", "keep-daily", "a whole number"]),
        ("[prune]\nkeep-daily = -1", &["line 2", "keep-daily", "a whole number"]),
        ("[hooks]\nbefor = \"x\"", &["line 2", "`befor`", "`before`", "`failed`"]),
        ("[restor]", &["line 1", "`restor`", "`restore`"]),
    ] {
        profile(&place, text);
        let mut words = vec!["home.toml"];
        words.extend(said);
        with_profile(&place, "--profile home backup").bad(&words);
    }
}
