//! `signature`, `delta` and `patch`, alone and together with rdiff.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, noise, skipped};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

fn files() -> Place {
    let place = Place::new();
    let old = noise(200_000, 7);
    let mut new = old.clone();
    new.splice(50_000..50_100, *b"something else");
    new.extend_from_slice(b"and more at the end");
    place.write("old", old);
    place.write("new", new);
    place
}

fn equal(place: &Place, a: &str, b: &str) {
    assert!(fs::read(place.path(a)).unwrap() == fs::read(place.path(b)).unwrap(), "{a} is not {b}");
}

#[test]
fn there_and_back_with_every_hash() {
    let place = files();
    for hash in ["blake3", "sha256", "rdiff-blake2", "rdiff-md4"] {
        place.ibtools(&format!("signature -b 1K --hash {hash} old sig")).good();
        let unchecked = if hash.starts_with("rdiff") { " --unchecked" } else { "" };
        place.ibtools(&format!("delta sig new delta{unchecked}")).good();
        assert!(fs::metadata(place.path("delta")).unwrap().len() < 5000);
        place.ibtools("patch old delta out").good();
        equal(&place, "out", "new");
        fs::remove_file(place.path("out")).unwrap();
    }
    let json = place.ibtools("signature old sig --json").json();
    assert_eq!((&json["size"], &json["hash"]), (&200_000.into(), &"blake3".into()));
    let delta = place.ibtools("delta sig new delta --json").json();
    let patched = place.ibtools("patch old delta out --json").json();
    assert_eq!((&delta["blake3"], &delta["size"]), (&patched["blake3"], &patched["size"]));
}

#[test]
fn rdiff_understands_us_and_we_understand_rdiff() {
    let place = files();
    for (hash, rdiff_hash) in [("rdiff-blake2", "blake2"), ("rdiff-md4", "md4")] {
        let Some(run) =
            place.other("rdiff", &format!("-f -H {rdiff_hash} signature old rdiff.sig"))
        else {
            return;
        };
        run.good();
        place.ibtools(&format!("signature --hash {hash} old our.sig")).good();
        equal(&place, "our.sig", "rdiff.sig");
        place.ibtools("delta rdiff.sig new our.delta --unchecked").good();
        place.other("rdiff", "-f patch old our.delta out").unwrap().good();
        equal(&place, "out", "new");
        place.other("rdiff", "-f delta our.sig new rdiff.delta").unwrap().good();
        place.ibtools("patch old rdiff.delta out2 --unchecked").good();
        equal(&place, "out2", "new");
    }
    // Our own hashes give deltas that rdiff applies as well.
    place.ibtools("signature old our.sig").good();
    place.ibtools("delta our.sig new our.delta").good();
    place.other("rdiff", "-f patch old our.delta out").unwrap().good();
    equal(&place, "out", "new");
}

#[test]
fn digests_are_those_of_b3sum() {
    let place = files();
    let Some(run) = place.other("b3sum", "--no-names old") else { return };
    let ours = place.ibtools("signature old sig --json").json();
    assert_eq!(ours["blake3"].as_str(), Some(run.good().trim()));
}

#[test]
fn pipes() {
    let place = files();
    let pipe = |args: &str, input: &str| {
        let mut child = Command::new(IBTOOLS)
            .args(args.split(' '))
            .current_dir(place.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = fs::read(place.path(input)).unwrap();
        let feed = std::thread::spawn(move || stdin.write_all(&input).unwrap());
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    place.write("sig", pipe("signature - -", "old"));
    place.write("delta", pipe("delta sig - -", "new"));
    place.write("out", pipe("patch old - -", "delta"));
    equal(&place, "out", "new");
    place.write("delta2", pipe("delta - new -", "sig"));
    place.ibtools("patch old delta2 out2").good();
    equal(&place, "out2", "new");
}

#[test]
fn bad_input_leaves_no_output() {
    let place = files();
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig new delta").good();
    let delta = fs::read(place.path("delta")).unwrap();
    place.write("cut.delta", &delta[..delta.len() / 2]);
    place.write("cut.sig", &fs::read(place.path("sig")).unwrap()[..1000]);
    place.write("short", "short");
    place.ibtools("signature missing out").bad(&["missing", "No such file"]);
    place.ibtools("signature . out").bad(&["directory"]);
    place.ibtools("signature -b 0 old out").bad(&["block length"]);
    place.ibtools("signature old none/out").bad(&["none/out", "No such file"]);
    place.ibtools("delta cut.sig new out").bad(&["cut.sig", "at byte"]);
    place.ibtools("delta new new out").bad(&["not a signature"]);
    place.ibtools("patch old cut.delta out").bad(&["cut.delta", "at byte"]);
    place
        .ibtools("patch short delta out")
        .bad(&["short", "not the one that the delta was made for"]);
    place.ibtools("patch old sig out").bad(&["bad delta at byte 0"]);
    place.ibtools("patch - delta out").bad(&["OLD"]);
    place.ibtools("delta - - out").bad(&["standard input"]);
    place.ibtools("signature old - --json").bad(&["--json"]);
    assert!(!place.path("out").exists());
    let names = fs::read_dir(place.path("")).unwrap().count();
    assert_eq!(names, 7, "old new sig delta cut.delta cut.sig short");
}

#[test]
fn no_input_is_written_over() {
    let place = files();
    let (old, new) = (fs::read(place.path("old")).unwrap(), fs::read(place.path("new")).unwrap());
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig new delta").good();
    std::os::unix::fs::symlink("old", place.path("alias")).unwrap();
    for args in [
        "signature old old",
        "signature old ./alias",
        "delta sig new new",
        "delta sig new sig",
        "patch old delta old",
        "patch old delta ../delta",
    ] {
        let name = place.path("").file_name().unwrap().to_str().unwrap().to_owned();
        place.ibtools(&args.replace("../", &format!("../{name}/"))).bad(&["name another output"]);
    }
    assert!(
        fs::read(place.path("old")).unwrap() == old && fs::read(place.path("new")).unwrap() == new
    );
}

#[test]
fn outputs_that_are_no_files_are_written_to() {
    let place = files();
    if !std::path::Path::new("/dev/full").exists() {
        return skipped("/dev/full");
    }
    place.ibtools("signature old /dev/null").good();
    place.ibtools("signature old /dev/full").bad(&["/dev/full", "No space left"]);
}

/// Promise: every file that is written checks itself, and what is not checked is not delivered.
#[test]
fn nothing_is_patched_unchecked_without_a_word() {
    let place = files();
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig new delta").good();
    let delta = fs::read(place.path("delta")).unwrap();
    let at = delta.windows(9).position(|bytes| bytes == b"something").unwrap();
    let mut damaged = delta.clone();
    damaged[at] ^= 1;
    place.write("damaged", &damaged);
    place.ibtools("patch old damaged out").bad(&["damaged", "checksum"]);
    let mut other = fs::read(place.path("old")).unwrap();
    other[190_000] ^= 1;
    place.write("other", other);
    place.ibtools("patch other delta out").bad(&["other", "the old file is not the one"]);
    // What nothing vouches for: rdiff's deltas, and ours with the seal cut off.
    place.write("bare", &delta[..delta.len() - 122]);
    place.ibtools("patch old bare out").bad(&["bare", "no seal", "--unchecked"]);
    assert!(!place.path("out").exists());
    place.ibtools("patch old bare out --unchecked").good();
    equal(&place, "out", "new");
    // Nor is any of it given to a pipe.
    for (args, good) in [
        ("patch old damaged -", false),
        ("patch other delta -", false),
        ("patch old bare -", false),
        ("patch old delta -", true),
    ] {
        let ran = Command::new(IBTOOLS)
            .args(args.split(' '))
            .current_dir(place.path(""))
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(if good { 0 } else { 2 }), "{args}");
        let new = fs::read(place.path("new")).unwrap();
        assert!(if good { ran.stdout == new } else { ran.stdout.is_empty() }, "{args}");
    }
    // A signature that has no check.
    place.ibtools("signature --hash rdiff-blake2 old rdiff.sig").good();
    let mut bytes = fs::read(place.path("rdiff.sig")).unwrap();
    place.ibtools("delta rdiff.sig new out.delta").bad(&["rdiff.sig", "no check", "--unchecked"]);
    bytes[100] ^= 1;
    place.write("rdiff.sig", bytes);
    place.ibtools("delta rdiff.sig new out.delta").bad(&["rdiff.sig"]);
    assert!(!place.path("out.delta").exists());
}

/// Each was opened twice, and who wrote into the pipe lost its reader in between.
#[test]
fn named_pipes_are_read_once() {
    let place = files();
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig new delta").good();
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    for (input, args, wanted) in [
        ("old", "signature pipe out -b 1K", None),
        ("new", "delta sig pipe out", Some("delta")),
        ("sig", "delta pipe new out", Some("delta")),
        ("delta", "patch old pipe out", Some("new")),
        ("old", "patch pipe delta out", Some("new")),
    ] {
        let pipe = fs::File::options();
        let (from, to) = (place.path(input), place.path("pipe"));
        let feed = std::thread::spawn(move || {
            let bytes = fs::read(from).unwrap();
            pipe.clone().write(true).open(to).unwrap().write_all(&bytes)
        });
        place.ibtools(args).good();
        feed.join().unwrap().unwrap();
        if let Some(wanted) = wanted {
            equal(&place, "out", wanted);
        }
    }
}
