//! Where archives and indexes are written to: files, links to files, pipes and standard output.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, edit, plant, run};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

/// `tree`, and archives and indexes of two states of it.
fn prepared() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o 0.tgz --index 0.index").good();
    edit(&place);
    place.ibtools("diff tree --base 0.index -o 1.tgz --index 1.index").good();
    place.ibtools("squash 0.tgz 1.tgz -o both.tgz").good();
    place
}

fn pipe(place: &Place, name: &str) {
    assert!(Command::new("mkfifo").arg(place.path(name)).status().unwrap().success());
}

/// Runs ibtools in a shell, here.
fn shell(place: &Place, script: &str) -> common::Run {
    let mut command = Command::new("bash");
    run(command.args(["-c", script]).env("ibtools", IBTOOLS).current_dir(place.path("")))
}

fn mode(place: &Place, name: &str) -> u32 {
    fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o7777
}

/// Runs ibtools with standard output going to the file `to`.
fn redirected(place: &Place, args: &str, to: &str) {
    let out = File::create(place.path(to)).unwrap();
    let mut ibtools = Command::new(IBTOOLS);
    ibtools.args(args.split_whitespace()).current_dir(place.path("")).stdout(out);
    let ran = ibtools.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = ran.wait_with_output().unwrap();
    assert_eq!((ran.status.code(), ran.stderr.as_slice()), (Some(0), &b""[..]));
}

fn same(place: &Place, a: &str, b: &str) {
    assert!(fs::read(place.path(a)).unwrap() == fs::read(place.path(b)).unwrap(), "{a}, {b}");
}

#[test]
fn standard_output_takes_the_bytes_of_the_file() {
    let place = prepared();
    redirected(&place, "diff tree -o - --base 0.index --index again.index", "again.tgz");
    same(&place, "again.tgz", "1.tgz");
    place.ibtools("compare tree again.index").good();
    redirected(&place, "squash 0.tgz 1.tgz -o -", "again.tgz");
    same(&place, "again.tgz", "both.tgz");
    place.ibtools("squash 0.tgz 1.tgz -o both.tzst").good();
    redirected(&place, "squash 0.tgz 1.tgz -o - --zstd", "again.tzst");
    same(&place, "again.tzst", "both.tzst");
    redirected(&place, "diff tree -o - --zstd", "again.tzst");
    place.ibtools("apply another again.tzst").good();
    assert!(!place.path("-").exists());
    place.piped("again.tgz", "apply copy -", "/nowhere").good();
    assert!(place.snapshot("copy") == place.snapshot("tree"));
}

#[test]
fn pipes_are_written_to_as_they_are() {
    let place = prepared();
    pipe(&place, "pipe.tgz");
    for (args, wanted) in [
        ("diff tree -o pipe.tgz --base 0.index", "1.tgz"),
        ("squash 0.tgz 1.tgz -o pipe.tgz", "both.tgz"),
    ] {
        let mut cat = Command::new("cat");
        cat.arg(place.path("pipe.tgz")).stdout(File::create(place.path("out")).unwrap());
        let mut cat = cat.spawn().unwrap();
        assert!(place.ibtools(args).good().starts_with("pipe.tgz ("), "{args}");
        assert!(cat.wait().unwrap().success());
        same(&place, "out", wanted);
    }
    assert!(fs::symlink_metadata(place.path("pipe.tgz")).unwrap().file_type().is_fifo());
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let place = prepared();
    pipe(&place, "pipe");
    fs::create_dir(place.path("dir")).unwrap();
    let before = place.snapshot("");
    for what in ["pipe", "dir"] {
        let words = ["cannot replace", what, "no regular file"];
        place.ibtools(&format!("index tree -o {what}")).bad(&words);
        place.ibtools(&format!("diff tree -o out.tgz --index {what}")).bad(&words);
    }
    place.ibtools("diff tree -o dir").bad(&["cannot replace dir"]);
    place.ibtools("diff tree -o pipe --volume-size 2M").bad(&["volumes are files", "pipe"]);
    place.ibtools("diff tree -o - --volume-size 2M").bad(&["volumes are files"]);
    place.ibtools("diff tree -o - --json").bad(&["--json", "standard output"]);
    place.ibtools("squash 0.tgz 1.tgz -o - --json").bad(&["--json", "standard output"]);
    place.ibtools("diff tree -o x.tgz --index -").bad(&["index", "standard output"]);
    place.ibtools("index tree -o -").bad(&["index", "standard output"]);
    assert!(place.snapshot("") == before);
}

#[test]
fn a_link_stays_one() {
    let place = prepared();
    let links = [("link.tgz", "real.tgz"), ("link.index", "real.index")];
    for (link, to) in links {
        place.write(to, "");
        symlink(to, place.path(link)).unwrap();
    }
    place.ibtools("diff tree --base 0.index -o link.tgz --index link.index").good();
    same(&place, "real.tgz", "1.tgz");
    place.ibtools("compare tree real.index").good();
    place.ibtools("squash 0.tgz 1.tgz -o link.tgz").good();
    same(&place, "real.tgz", "both.tgz");
    place.ibtools("index tree -o link.index").good();
    for (link, to) in links {
        assert_eq!(fs::read_link(place.path(link)).unwrap().to_str(), Some(to));
    }
}

#[test]
fn who_stops_reading_is_not_told() {
    let place = prepared();
    place.write("tree/large", vec![7; 1 << 20]);
    let mut command = Command::new("sh");
    let script = format!("{IBTOOLS} diff tree -o - | head -c 10 > begun");
    let ran = run(command.args(["-c", &script]).current_dir(place.path("")));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

/// `/dev/stdout` and `/dev/fd/N` are open files, not the names that lead there.
#[test]
fn open_files_are_written_to_where_they_are() {
    let place = prepared();
    place.write("old", "one line\n".repeat(500));
    place.write("new", "one line\n".repeat(700));
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig new delta").good();
    for (to, redirected) in [
        ("/dev/stdout", ">>log"),
        ("/proc/self/fd/1", ">>log"),
        ("/dev/fd/3", "3>>log"),
        ("/proc/thread-self/fd/7", "7>>log"),
        ("link", ">>log"),
        ("-", ">>log"),
    ] {
        place.write("log", "precious\n");
        drop(fs::remove_file(place.path("link")));
        symlink("/dev/stdout", place.path("link")).unwrap();
        let script = format!("\"$ibtools\" -q patch old delta {to} {redirected}");
        shell(&place, &script).good();
        let wanted = ["precious\n".as_bytes(), &fs::read(place.path("new")).unwrap()].concat();
        assert!(fs::read(place.path("log")).unwrap() == wanted, "{to}");
        assert!(place.path("link").is_symlink(), "{to}");
    }
    // In the middle of a file: what follows is written after it.
    shell(&place, "(echo before; \"$ibtools\" squash 0.tgz 1.tgz -o /dev/fd/1; echo after) >log")
        .good();
    let both = fs::read(place.path("both.tgz")).unwrap();
    assert!(fs::read(place.path("log")).unwrap() == [b"before\n", &both[..], b"after\n"].concat());
    // A file without a name stays what it is.
    let script = "exec 3<>gone; rm gone; \"$ibtools\" -q diff tree --base 0.index -o /dev/fd/3 && cat /dev/fd/3 >out";
    shell(&place, script).good();
    same(&place, "out", "1.tgz");
    assert!(!place.path("gone").exists());
    // An index is a file.
    shell(&place, "\"$ibtools\" index tree -o /dev/stdout >>log")
        .bad(&["/dev/stdout", "no regular file"]);
    shell(&place, "\"$ibtools\" signature old /dev/fd/99")
        .bad(&["/dev/fd/99", "Bad file descriptor"]);
    shell(&place, "\"$ibtools\" signature old /dev/stdout --json >out").bad(&["--json"]);
}

/// Whatever way leads to it, an input is not written over while it is read.
#[test]
fn an_output_that_is_read_is_found_by_what_is_opened() {
    let place = prepared();
    place.write("old", "one line\n".repeat(500));
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig old delta").good();
    fs::hard_link(place.path("old"), place.path("again")).unwrap();
    symlink("again", place.path("link")).unwrap();
    let before = place.snapshot("");
    let words = ["name another output"];
    for script in [
        "patch old delta again",
        "patch old delta link",
        "patch link delta old",
        "patch old delta /dev/stdout >>old",
        "patch old delta /proc/self/fd/5 5<>again",
        "patch old delta - >>again",
        "patch /dev/fd/4 delta old 4<old",
        "delta - old sig <sig",
        "squash 0.tgz 1.tgz -o - >>1.tgz",
    ] {
        let script = format!("\"$ibtools\" {script}");
        shell(&place, &script).bad(&words);
    }
    shell(&place, "\"$ibtools\" diff tree -o - >>tree/text").bad(&["lies inside tree"]);
    shell(&place, "\"$ibtools\" diff tree -o /dev/fd/3 3>>tree/text").bad(&["lies inside tree"]);
    assert!(place.snapshot("") == before);
}

/// Promise: an output is, through a link, the file that it names.
#[test]
fn a_link_to_what_is_not_there_yet_makes_it() {
    let place = prepared();
    fs::create_dir_all(place.path("disk/deep")).unwrap();
    symlink("disk/second", place.path("latest.tgz")).unwrap();
    symlink("deep/today.tgz", place.path("disk/second")).unwrap();
    symlink("disk/new.index", place.path("latest.index")).unwrap();
    symlink("round", place.path("about")).unwrap();
    symlink("about", place.path("round")).unwrap();
    symlink("nowhere/x", place.path("lost")).unwrap();
    place.ibtools("diff tree --base 0.index -o latest.tgz --index latest.index").good();
    same(&place, "disk/deep/today.tgz", "1.tgz");
    place.ibtools("compare tree disk/new.index").good();
    for link in ["latest.tgz", "disk/second", "latest.index"] {
        assert!(place.path(link).is_symlink(), "{link}");
    }
    fs::remove_file(place.path("disk/new.index")).unwrap();
    place.ibtools("index tree -o latest.index").good();
    assert!(place.path("disk/new.index").is_file());
    for verb in ["diff tree -o", "index tree -o", "squash 0.tgz 1.tgz -o"] {
        place.ibtools(&format!("{verb} round")).bad(&["round", "symbolic links"]);
        place.ibtools(&format!("{verb} lost")).bad(&["lost", "No such file"]);
    }
}

/// Promise: outputs keep the mode of what they replace; what holds contents is its owner's alone.
#[test]
fn who_may_read_an_output() {
    let place = prepared();
    place.write("old", "old");
    let umask =
        |script: &str| shell(&place, &format!("umask 022; \"$ibtools\" -q {script}")).good();
    for (made, wanted) in [
        ("diff tree -o made", 0o600),
        ("index tree -o made", 0o600),
        ("squash 0.tgz 1.tgz -o made", 0o600),
        ("signature old made", 0o644),
    ] {
        drop(fs::remove_file(place.path("made")));
        umask(made);
        assert_eq!(mode(&place, "made"), wanted, "{made}");
        for kept in [0o400, 0o640, 0o666, 0o600] {
            fs::set_permissions(place.path("made"), fs::Permissions::from_mode(kept)).unwrap();
            umask(made);
            assert_eq!(mode(&place, "made"), kept, "{made}");
        }
    }
    drop(fs::remove_file(place.path("made")));
    shell(&place, "umask 077; \"$ibtools\" -q signature old made").good();
    assert_eq!(mode(&place, "made"), 0o600);
    umask("diff tree -o v.tgz --volume-size 2M");
    assert_eq!(mode(&place, "v.001.tgz"), 0o600);
    fs::set_permissions(place.path("v.001.tgz"), fs::Permissions::from_mode(0o644)).unwrap();
    umask("diff tree -o v.tgz --volume-size 2M");
    assert_eq!(mode(&place, "v.001.tgz"), 0o644);
}

#[test]
fn an_output_keeps_owner_and_access_list_of_what_it_replaces() {
    let place = prepared();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return testing::needs::impossible("root");
    }
    place.write("kept.tgz", "");
    std::os::unix::fs::chown(place.path("kept.tgz"), Some(1234), Some(4321)).unwrap();
    let Some(set) = place.other("setfacl", "-m u:65534:r kept.tgz") else { return };
    set.good();
    let before = fs::metadata(place.path("kept.tgz")).unwrap();
    let list = place.other("getfacl", "kept.tgz").unwrap().good();
    place.ibtools("diff tree -o kept.tgz").good();
    let after = fs::metadata(place.path("kept.tgz")).unwrap();
    assert_eq!((after.uid(), after.gid(), after.mode()), (1234, 4321, before.mode()));
    assert_ne!(after.ino(), before.ino());
    assert_eq!(place.other("getfacl", "kept.tgz").unwrap().good(), list);
}
