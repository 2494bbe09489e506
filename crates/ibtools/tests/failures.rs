//! Bad input ends in one clear line and exit 2, with everything on disk as it was.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Place, Snapshot, edit, plant, run, unprivileged};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// `tree`, `copy` (as `tree` was), and archives between them.
fn prepared() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o full.tgz --index old.index").good();
    place.ibtools("apply copy full.tgz").good();
    edit(&place);
    place.ibtools("diff tree --base old.index -o inc.tgz --index new.index").good();
    place
}

/// Runs a command that must fail, and checks that nothing at all has changed.
fn refused(place: &Place, args: &str, words: &[&str]) {
    let before: Snapshot = place.snapshot("");
    place.ibtools(args).bad(words);
    assert!(place.snapshot("") == before, "`{args}` changed something");
}

#[test]
fn damaged_archives() {
    let place = prepared();
    for (archive, dir) in [("full.tgz", "nowhere"), ("inc.tgz", "copy")] {
        let bytes = fs::read(place.path(archive)).unwrap();
        for len in [0, 1, 100, bytes.len() / 2, bytes.len() - 100, bytes.len() - 1] {
            place.write("cut.tgz", &bytes[..len]);
            refused(&place, &format!("apply {dir} cut.tgz"), &["cut.tgz"]);
            refused(&place, "show cut.tgz", &["cut.tgz"]);
        }
        let flip = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            place.write("flipped.tgz", bytes);
            format!("apply {dir} flipped.tgz")
        };
        for at in [bytes.len() / 5, bytes.len() / 3, bytes.len() - 200] {
            refused(&place, &flip(at), &["flipped.tgz"]);
        }
        // A damaged content is found when it is staged. That is taken back, and leaves another time of the directory.
        let apply = flip(bytes.len() / 2);
        let before: Snapshot = place.snapshot("");
        let modified = fs::metadata(place.path(dir)).and_then(|dir| dir.modified()).ok();
        place.ibtools(&apply).bad(&["flipped.tgz"]);
        if let Some(modified) = modified {
            File::open(place.path(dir)).unwrap().set_modified(modified).unwrap();
        }
        assert!(place.snapshot("") == before, "`{apply}` changed something");
    }
}

#[test]
fn damaged_indexes() {
    let place = prepared();
    let bytes = fs::read(place.path("old.index")).unwrap();
    for len in [0, 3, 11, 40, bytes.len() / 2, bytes.len() - 1] {
        place.write("cut", &bytes[..len]);
        refused(&place, "diff tree --base cut -o out.tgz --index out", &["cut"]);
        refused(&place, "compare tree cut", &["cut"]);
    }
    refused(&place, "compare tree inc.tgz", &["inc.tgz"]);
    refused(&place, "diff tree --base full.tgz -o out.tgz", &["full.tgz"]);
    refused(&place, "apply copy old.index", &["old.index"]);
}

#[test]
fn wrong_bases() {
    let place = prepared();
    place.write("copy/dir/large", "not what it was");
    refused(&place, "apply copy inc.tgz", &["inc.tgz", "copy", "dir/large"]);
    refused(&place, "apply copy full.tgz", &["dir/large"]);
    refused(&place, "apply copy full.tgz inc.tgz", &["full.tgz", "dir/large"]);
    place.write("other/mine", "here was I first");
    refused(&place, "apply other full.tgz", &["mine"]);
    refused(&place, "apply nowhere inc.tgz full.tgz", &["full.tgz does not continue inc.tgz"]);
    refused(&place, "apply nowhere full.tgz full.tgz", &["does not continue"]);
    refused(&place, "apply nowhere inc.tgz", &["nowhere", "No such file"]);
}

#[test]
fn things_that_are_not_there_or_not_what_they_should_be() {
    let place = prepared();
    refused(&place, "index missing -o out", &["missing", "No such file"]);
    refused(&place, "index tree/text -o out", &["tree/text", "Not a directory"]);
    refused(&place, "index tree -o missing/out", &["missing", "No such file"]);
    refused(&place, "index tree -o out --since missing", &["missing", "No such file"]);
    refused(&place, "diff tree --base missing -o out.tgz", &["missing", "No such file"]);
    refused(&place, "diff tree -o missing/out.tgz", &["missing", "No such file"]);
    refused(&place, "diff missing -o out.tgz", &["missing", "No such file"]);
    refused(&place, "compare missing old.index", &["missing", "No such file"]);
    refused(&place, "compare tree missing", &["missing", "No such file"]);
    refused(&place, "apply copy missing.tgz", &["missing.tgz", "No such file"]);
    refused(&place, "apply tree/text full.tgz", &["tree/text", "Not a directory"]);
    refused(&place, "apply missing/dir full.tgz", &["missing/dir", "No such file"]);
    refused(&place, "apply copy tree", &["tree", "directory"]);
    refused(&place, "show missing", &["missing", "No such file"]);
    refused(&place, "show tree", &["tree", "directory"]);
    refused(&place, "show tree/text", &["tree/text is no index, no archive and no diff"]);
}

#[test]
fn outputs_are_not_written_where_they_would_do_harm() {
    let place = prepared();
    refused(&place, "index tree -o tree/out", &["tree/out", "--exclude"]);
    refused(&place, "diff tree -o tree/dir/out.tgz", &["tree/dir/out.tgz", "--exclude"]);
    refused(&place, "diff tree -o out.tgz --index tree/out", &["tree/out", "--exclude"]);
    refused(&place, "diff tree --base old.index -o old.index", &["old.index"]);
    refused(&place, "diff tree -o out --index ./out", &["out"]);
    place.ibtools("diff tree -o tree/out.tgz --exclude out.tgz").good();
    place.ibtools("apply fresh tree/out.tgz").good();
    assert!(!place.path("fresh/out.tgz").exists());
}

#[test]
fn no_permission() {
    let place = prepared();
    fs::create_dir(place.path("locked")).unwrap();
    fs::set_permissions(place.path("locked"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(place.path("copy"), Permissions::from_mode(0o555)).unwrap();
    let as_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    for (args, word) in [
        ("index locked -o out", "locked"),
        ("index tree -o locked/out", "locked"),
        ("apply locked full.tgz", "locked"),
        ("apply locked/new full.tgz", "locked"),
        ("apply copy inc.tgz", "copy"),
        ("diff tree -o locked/out.tgz", "locked"),
        ("show locked/x", "locked"),
    ] {
        for archive in ["full.tgz", "inc.tgz"] {
            fs::set_permissions(place.path(archive), Permissions::from_mode(0o644)).unwrap();
        }
        let before = as_root.then(|| place.snapshot(""));
        let Some(mut command) = unprivileged(&place) else { return };
        run(command.args(args.split(' '))).bad(&[word, "Permission denied"]);
        assert_eq!(before, as_root.then(|| place.snapshot("")), "`{args}` changed something");
    }
    fs::set_permissions(place.path("locked"), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("copy"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn unreadable_files_are_warned_of_and_the_rest_goes_on() {
    let place = Place::new();
    place.write("tree/secret", "secret");
    place.write("tree/open", "open");
    fs::create_dir(place.path("out")).unwrap();
    fs::set_permissions(place.path("out"), Permissions::from_mode(0o777)).unwrap();
    place.ibtools("index tree -o whole.index").good();
    fs::set_permissions(place.path("whole.index"), Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path("tree/secret"), Permissions::from_mode(0o000)).unwrap();
    let Some(mut command) = unprivileged(&place) else { return };
    let diff = run(command.args("diff tree -o out/full.tgz --index out/i --json".split(' ')));
    assert_eq!(diff.code, Some(0), "{}", diff.err);
    assert_eq!(diff.err, "ibtools: warning: secret cannot be read: Permission denied\n");
    assert_eq!(diff.json()["problems"][0]["kind"], "unreadable");
    place.ibtools("apply copy out/full.tgz").good();
    assert!(place.path("copy/open").exists() && !place.path("copy/secret").exists());
    // What could be read once and cannot now may differ or not.
    let mut command = unprivileged(&place).unwrap();
    let same = run(command.args("compare tree whole.index".split(' ')));
    let said = same.err.contains("cannot tell") || same.out.contains("m secret");
    assert!(said && same.code != Some(0), "{} {}", same.out, same.err);
    let mut command = unprivileged(&place).unwrap();
    assert_eq!(run(command.args("compare tree out/i".split(' '))).code, Some(0));
}

#[test]
fn without_more_threads_the_work_is_done_with_the_one_there_is() {
    let place = prepared();
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("out")).unwrap();
    fs::set_permissions(place.path("out"), Permissions::from_mode(0o777)).unwrap();
    // After the user is changed, or the limit would be on what changes it.
    let limited = |args: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args("--reuid 65533 --regid 65533 --clear-groups prlimit --nproc=1".split(' '));
        command.arg(common::IBTOOLS).args(args.split(' ')).current_dir(place.path(""));
        command
    };
    let as_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !as_root || !limited("--version").output().is_ok_and(|output| output.status.success()) {
        return common::skipped("root, setpriv or prlimit");
    }
    for args in ["backup --init tree out/store", "verify out/store", "restore out/store out/copy"] {
        let done = run(&mut limited(args));
        assert_eq!(done.code, Some(0), "{args}: {}", done.err);
    }
    assert!(place.path("out/copy").exists());
}
