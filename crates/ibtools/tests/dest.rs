//! `ibtools restore` into a directory that has other things, or an own restore from before.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::process::Command;

use common::{IBTOOLS, Place, run, unprivileged};

fn backed_up() -> Place {
    let place = Place::new();
    place.write("tree/file", "one");
    place.write("tree/dir/file", "two");
    place.ibtools("backup --init tree store").good();
    place
}

/// Whose processes `unprivileged` starts.
fn nobody(place: &Place, names: &[&str]) {
    for name in names {
        // Who is not root starts them as themselves.
        let _ = chown(place.path(name), Some(65534), Some(65534));
    }
}

/// A store is its owner's alone, until somebody opens it.
fn readable(place: &Place, store: &str) {
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(place.path(store)).status();
    assert!(opened.is_ok_and(|status| status.success()));
}

#[test]
fn what_has_nothing_to_do_with_a_restore_does_not_stop_it() {
    let place = backed_up();
    place.write("dest/own", "mine");
    UnixListener::bind(place.path("dest/socket")).unwrap();
    place.ibtools("restore store dest").good();
    place.ibtools("restore store dest").good();
    assert_eq!(fs::read(place.path("dest/dir/file")).unwrap(), b"two");
    place.ibtools("restore store dest --delete").good();
    assert!(!place.path("dest/own").exists() && place.path("dest/socket").exists());

    // Of a directory that the snapshot does not have, only what is spared stays, and the directory around it.
    for number in 0..20 {
        place.write(&format!("dest/extra/deep/{number}"), number.to_string());
    }
    place.write("dest/extra/file", "goes");
    place.write("dest/extra/.exclude", "kept");
    place.write("dest/extra/kept", "by a rule");
    UnixListener::bind(place.path("dest/extra/deep/socket")).unwrap();
    place.ibtools("restore store dest --delete").good();
    let extra = place.snapshot("dest/extra");
    let names: Vec<String> = extra.keys().map(|name| name.display().to_string()).collect();
    assert_eq!(names, ["deep", "deep/socket", "kept"]);
    place.ibtools("restore store dest --delete").good();

    // A directory that somebody else keeps closed.
    fs::create_dir_all(place.path("other/lost+found/in")).unwrap();
    place.write("other/lost+found/file", "not mine");
    nobody(&place, &["other"]);
    fs::set_permissions(place.path("other"), Permissions::from_mode(0o755)).unwrap();
    readable(&place, "store");
    fs::set_permissions(place.path("other/lost+found"), Permissions::from_mode(0o700)).unwrap();
    let Some(mut command) = unprivileged(&place) else { return };
    run(command.args(["restore", "store", "other", "--delete"])).good();
    assert_eq!(fs::read(place.path("other/dir/file")).unwrap(), b"two");
    assert!(place.path("other/lost+found/file").exists());
}

#[test]
fn what_is_in_the_way_is_replaced_when_that_is_allowed() {
    let place = backed_up();
    fs::create_dir(place.path("dest")).unwrap();
    UnixListener::bind(place.path("dest/file")).unwrap();
    UnixListener::bind(place.path("dest/dir")).unwrap();
    place.ibtools("restore store dest").bad(&["dir and 1 other path in dest", "--overwrite"]);
    place.ibtools("restore store dest --overwrite").good();
    assert_eq!(place.snapshot("dest"), place.snapshot("tree"));
}

#[test]
fn an_own_restore_is_recognised_and_another_state_may_be_asked_for() {
    let place = Place::new();
    place.write("tree/file", "one");
    place.write("tree/set", "set");
    fs::set_permissions(place.path("tree/set"), Permissions::from_mode(0o4755)).unwrap();
    if chown(place.path("tree/file"), Some(1000), Some(1000)).is_err() {
        println!("SKIPPED: only root gives files away");
        return;
    }
    place.ibtools("backup --init tree store").good();
    // A warning names what root could have had.
    let restore = || {
        let run = place.ibtools("restore store dest");
        assert!(run.code == Some(0) && run.err.contains("--privileged"), "{}", run.err);
    };
    restore();
    let again = place.ibtools("restore store dest").good();
    assert!(again.contains("nothing to do"), "{again}");
    place.write("tree/file", "another");
    place.ibtools("backup --init tree store").good();
    // It is a copy, as far as owners and setuid bits are not asked for.
    restore();
    assert_eq!(fs::read(place.path("dest/file")).unwrap(), b"another");
    place.ibtools("restore store dest --privileged").bad(&["would be replaced"]);
    // But not with something else in it.
    place.write("dest/own", "mine");
    place.write("tree/file", "a third");
    place.ibtools("backup --init tree store").good();
    place.ibtools("restore store dest").bad(&["would be replaced"]);
}

#[test]
fn a_user_restores_again_what_he_has_closed_to_himself() {
    let place = Place::new();
    place.write("work/tree/file", "closed");
    fs::set_permissions(place.path("work/tree/file"), Permissions::from_mode(0o0)).unwrap();
    nobody(&place, &["work", "work/tree", "work/tree/file"]);
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can back this up");
        return;
    }
    place.ibtools("backup --init work/tree work/store").good();
    readable(&place, "work/store");
    for options in [&[][..], &[], &["--overwrite"], &["--delete"]] {
        let Some(mut command) = unprivileged(&place) else { return };
        run(command.args(["restore", "work/store", "work/dest"]).args(options)).good();
        assert_eq!(fs::read(place.path("work/dest/file")).unwrap(), b"closed");
    }
    place.write("work/dest/file", "another content");
    fs::set_permissions(place.path("work/dest/file"), Permissions::from_mode(0o0)).unwrap();
    let mut command = unprivileged(&place).unwrap();
    run(command.args(["restore", "work/store", "work/dest"])).bad(&["file in work/dest would be"]);
    let mut command = unprivileged(&place).unwrap();
    run(command.args(["restore", "work/store", "work/dest", "--overwrite"])).good();
    assert_eq!(fs::read(place.path("work/dest/file")).unwrap(), b"closed");
}

#[test]
fn what_no_backup_has_is_not_removed() {
    let place = backed_up();
    let write_others = |dir: &str| {
        for path in [".git/HEAD", "cache/x", "dir/a.o", "dir/old/b.o", "marked/blob"] {
            place.write(&format!("{dir}/{path}"), path);
        }
        place.write(
            &format!("{dir}/marked/CACHEDIR.TAG"),
            "Signature: 8a477f597d28d172789f06886806bc55",
        );
    };
    write_others("tree");
    UnixListener::bind(place.path("tree/dir/socket")).unwrap();
    let backup =
        "backup --init tree store --exclude cache/ --exclude *.o --exclude .git/ --exclude-caches";
    assert_eq!(place.ibtools(backup).code, Some(0));
    place.write("tree/file", "another");
    place.write("tree/gone/file", "this one goes");
    let others = [".git/HEAD", "cache/x", "dir/a.o", "dir/old/b.o", "dir/socket", "marked/blob"];
    let all_there = |dir: &str| {
        for path in others {
            assert!(place.path(dir).join(path).exists(), "{path}");
        }
    };
    place.ibtools("restore store tree --delete").good();
    all_there("tree");
    assert_eq!(fs::read(place.path("tree/file")).unwrap(), b"one");
    assert!(!place.path("tree/gone").exists());

    // So it is with a squashed archive, with one path, and from one known snapshot to another.
    place.ibtools("squash store -o full.tgz").good();
    for (options, goes) in [("--delete", true), ("--delete --path dir", false)] {
        place.write("tree/gone/file", "this one goes");
        place.ibtools(&format!("restore full.tgz tree {options}")).good();
        all_there("tree");
        assert_eq!(place.path("tree/gone").exists(), !goes);
    }
    std::fs::remove_dir_all(place.path("tree/gone")).unwrap();
    place.write("tree/later", "later");
    assert_eq!(place.ibtools(backup).code, Some(0));
    let listed = place.ibtools("--json show store").json();
    let first = listed["archives"][1]["snapshot"].as_str().unwrap().to_owned();
    place.ibtools(&format!("restore store tree --at {first}")).good();
    all_there("tree");
    assert!(!place.path("tree/later").exists());

    // What came after the backup, by the rules that would leave it out.
    place.write("tree/dir/.git/config", "new");
    place.ibtools("restore store tree --delete").good();
    assert!(place.path("tree/dir/.git/config").exists());
}

#[test]
fn a_directory_made_for_a_tree_is_no_more_open_than_that_was() {
    let place = backed_up();
    for mode in [0o700, 0o750, 0o755, 0o500] {
        fs::set_permissions(place.path("tree"), Permissions::from_mode(mode)).unwrap();
        place.write("tree/mode", mode.to_string());
        place.ibtools("backup --init tree store").good();
        place.ibtools(&format!("diff tree -o {mode}.tgz")).good();
        let made = |name: &str| {
            let made = fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
            fs::remove_dir_all(place.path(name)).unwrap();
            made
        };
        place.ibtools("restore store made").good();
        assert_eq!(made("made"), mode | 0o700);
        place.ibtools("restore store made --path dir").good();
        assert_eq!(made("made"), mode | 0o700);
        place.ibtools(&format!("apply made {mode}.tgz")).good();
        assert_eq!(made("made"), mode | 0o700);
    }
}

/// Runs a script as root in a mount namespace of its own; `None` where that, or what it mounts, cannot be had.
fn mounted(place: &Place, script: &str) -> Option<common::Run> {
    let mut command = Command::new("unshare");
    let script = format!("set -e; {{ {script}; }} || exit 77");
    command.args(["-m", "sh", "-c", &script]).current_dir(place.path("")).env("B", IBTOOLS);
    let probe = Command::new("unshare").args(["-m", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        testing::needs::impossible("no mount namespaces");
        return None;
    }
    let ran = run(&mut command);
    if ran.code == Some(77) {
        testing::needs::impossible(&ran.err);
        return None;
    }
    Some(ran)
}

#[test]
fn times_that_are_rounded_are_no_difference() {
    let place = backed_up();
    let script = "truncate -s 16M image && mkfs.ext4 -q -I 128 image >/dev/null 2>&1 && mkdir m && mount -o loop image m \
        || exit 77; $B restore -q store m/x; $B restore -q store m/x && $B backup -q --init tree store2 && \
        echo more >>tree/file && $B backup -q tree store && $B restore -q store m/x && cat m/x/file && true";
    let Some(ran) = mounted(&place, script) else { return };
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "onemore\n"), "{}", ran.err);
    assert_eq!(ran.err.matches("cannot hold the time").count(), 2, "{}", ran.err);
}

#[test]
fn attributes_that_a_file_system_does_not_take_are_named() {
    let place = backed_up();
    let file = place.path("tree/file");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&file, "user.a", b"value", flags).is_err() {
        println!("SKIPPED: no attributes here");
        return;
    }
    place.ibtools("backup --init tree store").good();
    let script = "mkdir m && mount -t ramfs none m || exit 77; $B restore store m --ignore-space --strict || true; \
        ls m; $B restore -q --ignore-space store m && $B restore -q --ignore-space store m && cat m/file";
    let Some(ran) = mounted(&place, script) else { return };
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "one"), "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().collect();
    let [strict, warning] = lines[..] else { panic!("{}", ran.err) };
    assert!(strict.contains("cannot hold all metadata: attribute user.a of file: "), "{strict}");
    assert!(warning.contains("warning: attribute user.a of file is not restored: "), "{warning}");
}
