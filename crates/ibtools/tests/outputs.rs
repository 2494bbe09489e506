//! Where archives and indexes are written to: files, links to files, pipes and standard output.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, edit, plant, run};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, symlink};
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
