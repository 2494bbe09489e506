//! What archives and indexes are read from: files, pipes, devices, and files that are none.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{IBTOOLS, Place, Run, edit, plant, run};
use std::fs;
use std::process::Command;

fn prepared() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o 0.tgz --index 0.index").good();
    edit(&place);
    place.ibtools("diff tree --base 0.index -o 1.tgz --index 1.index").good();
    place.ibtools("squash 0.tgz 1.tgz -o both.tgz").good();
    place
}

fn shell(place: &Place, script: &str) -> Run {
    let mut command = Command::new("bash");
    run(command.args(["-c", script]).env("ibtools", IBTOOLS).current_dir(place.path("")))
}

/// Promise: a sound archive is never called damaged, wherever it is read from.
#[test]
fn archives_and_indexes_come_out_of_pipes() {
    let place = prepared();
    shell(&place, "\"$ibtools\" restore <(cat 0.tgz) <(cat 1.tgz) restored").good();
    assert!(place.snapshot("restored") == place.snapshot("tree"));
    shell(&place, "mkfifo pipe; cat both.tgz >pipe & \"$ibtools\" apply applied pipe && wait $!")
        .good();
    assert!(place.snapshot("applied") == place.snapshot("tree"));
    for (args, input) in [
        ("verify /dev/stdin", "both.tgz"),
        ("verify -", "both.tgz"),
        ("verify /dev/fd/0", "1.index"),
        ("show -", "1.tgz"),
        ("show /dev/stdin", "1.index"),
        ("compare tree /dev/stdin", "1.index"),
        ("diff tree --base /dev/stdin -o nothing.tgz", "1.index"),
        ("squash - 1.tgz -o again.tgz", "0.tgz"),
        ("restore /dev/stdin out", "both.tgz"),
    ] {
        shell(&place, &format!("cat {input} | \"$ibtools\" {args}")).good();
        drop(fs::remove_dir_all(place.path("out")));
        // The same from a file that somebody has open, somewhere in it.
        let script = format!("(head -c 7; \"$ibtools\" -q {args}) <shifted >/dev/null");
        place.write("shifted", [b"shifted", &fs::read(place.path(input)).unwrap()[..]].concat());
        if args.contains('/') {
            shell(&place, &script.replace("head -c 7", "dd bs=7 count=1 status=none")).good();
        }
        drop(fs::remove_dir_all(place.path("out")));
    }
    assert!(
        fs::read(place.path("again.tgz")).unwrap() == fs::read(place.path("both.tgz")).unwrap()
    );
    shell(&place, "head -c 9000 both.tgz | \"$ibtools\" restore /dev/stdin bad")
        .bad(&["/dev/stdin", "cut short"]);
}

/// Promise: what was written to a device can be read from there.
#[test]
fn an_archive_is_found_in_something_longer() {
    let place = prepared();
    for (name, ending) in [("both.tgz", ""), ("both.tar.zst", " --zstd")] {
        place.ibtools(&format!("squash 0.tgz 1.tgz -o {name}{ending}")).good();
        let archive = fs::read(place.path(name)).unwrap();
        place.write("image", [&archive[..], &vec![0; 3 << 20]].concat());
        place.ibtools("restore image from-file").good();
        shell(&place, "\"$ibtools\" apply from-pipe - <image").good();
        shell(&place, "cat image | \"$ibtools\" restore - from-kept").good();
        place.ibtools("verify image").good();
        place.write("image", [&archive[..], b"old bytes", &vec![0; 3 << 20]].concat());
        shell(&place, "\"$ibtools\" apply bad - <image").bad(&["standard input"]);
        for dir in ["from-file", "from-pipe", "from-kept"] {
            assert!(place.snapshot(dir) == place.snapshot("tree"), "{dir}");
            fs::remove_dir_all(place.path(dir)).unwrap();
        }
    }
}

#[test]
fn a_block_device_is_read_as_far_as_the_archive_goes() {
    let place = prepared();
    let old = common::noise(4 << 20, 9);
    place.write("disk", &old);
    let Some(made) = place.other("losetup", "-f --show disk") else { return };
    if made.code != Some(0) {
        return testing::needs::impossible("a loop device");
    }
    let device = made.good().trim().to_owned();
    let reads = [
        format!(
            "\"$ibtools\" squash 0.tgz 1.tgz -o {device} && \"$ibtools\" restore {device} restored"
        ),
        format!("\"$ibtools\" apply applied - <{device}"),
        format!("\"$ibtools\" restore - from-kept <{device}"),
        format!("\"$ibtools\" verify {device} && \"$ibtools\" show {device}"),
        format!("\"$ibtools\" signature {device} sig && \"$ibtools\" delta sig disk delta"),
    ];
    let ran: Vec<Run> = reads.iter().map(|read| shell(&place, read)).collect();
    let taken = shell(&place, &format!("\"$ibtools\" patch {device} delta {device}"));
    drop(place.other("losetup", &format!("-d {device}")));
    ran.into_iter().for_each(|ran| drop(ran.good()));
    taken.bad(&["name another output"]);
    for dir in ["restored", "applied", "from-kept"] {
        assert!(place.snapshot(dir) == place.snapshot("tree"), "{dir}");
    }
}

/// What is given where something else is wanted is called by its name, with the verb that takes it.
#[test]
fn a_file_of_another_kind_is_called_what_it_is() {
    let place = prepared();
    place.write("old", "old");
    place.write("empty", "");
    place.ibtools("signature old sig").good();
    place.ibtools("delta sig old delta").good();
    place.ibtools("signature old rdiff.sig --hash rdiff-blake2").good();
    for (args, words) in [
        ("apply out 0.index", ["0.index is no archive", "it is an index", "`--base`"]),
        ("restore 0.index out", ["0.index is no archive", "it is an index", "`show`"]),
        ("restore sig out", ["sig is no archive", "it is a signature", "`delta`"]),
        ("apply out rdiff.sig", ["rdiff.sig is no archive", "signature of rdiff's", "`delta`"]),
        ("apply out delta", ["delta is no archive", "it is a delta", "`patch`"]),
        ("compare tree 0.tgz", ["0.tgz is no index", "it is an archive", "`restore`"]),
        ("diff tree --base 0.tgz -o out", ["0.tgz is no index", "it is an archive", "`show`"]),
        ("index tree --since 0.tgz -o out", ["0.tgz is no index", "it is an archive", "`apply`"]),
        ("squash 1.tgz --base 0.tgz -o out", ["0.tgz is no index", "it is an archive", "`squash`"]),
        ("show delta", ["delta is no index, no archive and no diff", "it is a delta", "`patch`"]),
        ("show empty", ["empty is no index", "no archive", "it is empty"]),
        ("verify old", ["old is no index", "no archive", "begins as no file"]),
        ("restore 0.tgz tree/dir out", ["tree/dir", "is a directory", "a file is wanted"]),
        ("compare tree tree", ["tree", "is a directory", "a file is wanted"]),
    ] {
        place.ibtools(args).bad(&words);
    }
    assert!(!place.path("out").exists());
}
