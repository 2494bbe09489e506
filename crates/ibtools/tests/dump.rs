//! `ibtools dump` and `stats`. GNU tar is the oracle: what it unpacks is what a restore brings back.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use common::{IBTOOLS, Place, backed_up, plant};

/// A tree with everything that old tar formats cannot hold.
fn planted() -> Place {
    let place = Place::new();
    plant(&place);
    let long = "a-name-of-some-length/".repeat(9);
    place.write(&format!("tree/{long}file"), "deep");
    symlink(format!("{long}file"), place.path("tree/long link")).unwrap();
    fs::hard_link(place.path(&format!("tree/{long}file")), place.path("tree/z")).unwrap();
    place.write("tree/locked/in it", common::noise(1025, 4));
    for (file, time) in [
        ("text", UNIX_EPOCH - Duration::from_nanos(1_500_000_001)),
        ("new", UNIX_EPOCH + Duration::new(1 << 34, 7)),
    ] {
        place.write(&format!("tree/times/{file}"), file);
        let opened = File::options().write(true).open(place.path(&format!("tree/times/{file}")));
        opened.unwrap().set_modified(time).unwrap();
    }
    for args in [
        "mkfifo tree/fifo",
        "setfattr -n user.a%=b -v value tree/text",
        "mknod tree/null c 1 3",
        "chown 3000000:4 tree/z",
    ] {
        let (program, args) = args.split_once(' ').unwrap();
        // What is not there, or not allowed, is not tried.
        let _ = Command::new(program)
            .args(args.split(' '))
            .current_dir(place.path(""))
            .stderr(Stdio::null())
            .status();
    }
    fs::set_permissions(place.path("tree/locked"), PermissionsExt::from_mode(0o555)).unwrap();
    place
}

fn dump(place: &Place, args: &str, to: &str) {
    let out = File::create(place.path(to)).unwrap();
    let mut command = Command::new(IBTOOLS);
    command.arg("dump").args(args.split_whitespace()).current_dir(place.path("")).stdout(out);
    assert!(command.status().unwrap().success(), "{args}");
}

fn tree_id(place: &Place, dir: &str) -> String {
    let json = place.ibtools(&format!("index {dir} -o {dir}.index --json")).json();
    json["tree_id"].as_str().unwrap().to_owned()
}

/// Promise: what tar unpacks is what a restore brings back: contents, links, modes, owners, times, attributes, devices.
#[test]
fn gnu_tar_unpacks_what_a_restore_brings_back() {
    let place = planted();
    place.ibtools("backup --init tree store").good();
    place.write("tree/dir/large", common::noise(300_000, 3));
    fs::rename(place.path("tree/z"), place.path("tree/zz")).unwrap();
    place.ibtools("backup tree store").good();
    let first = place.ibtools("snapshots store --json").json()["snapshots"][0]["snapshot"].clone();
    let at = format!("--at {}", first.as_str().unwrap());
    for (number, args) in ["", "dir", "./dir/large", "zz", &at, "locked/"].iter().enumerate() {
        let (tar, unpacked, back) =
            (format!("{number}.tar"), format!("u{number}"), format!("b{number}"));
        dump(&place, &format!("store {args}"), &tar);
        fs::create_dir(place.path(&unpacked)).unwrap();
        let unpack = format!(
            "-x --warning=no-timestamp --xattrs --xattrs-include=* -p --numeric-owner -f {tar} -C {unpacked}"
        );
        place.other("tar", &unpack).unwrap().good();
        let path = match args {
            args if args.is_empty() || args.starts_with("--") => (*args).to_owned(),
            path => format!("--path {path}"),
        };
        place.ibtools(&format!("restore store {back} {path} --privileged")).good();
        assert_eq!(place.snapshot(&unpacked), place.snapshot(&back), "{args}");
        assert_eq!(tree_id(&place, &unpacked), tree_id(&place, &back), "{args}");
    }
}

/// Promise: nothing comes out of a damaged archive, and a terminal or JSON is not mixed with it.
#[test]
fn what_is_damaged_is_not_written() {
    let place = backed_up();
    place.ibtools("dump store nothing").bad(&["there is no nothing"]);
    place.ibtools("dump store --json").bad(&["--json"]);
    let archive = fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap().path());
    let mut archives: Vec<_> =
        archive.filter(|it| it.extension().is_some_and(|it| it == "tgz")).collect();
    archives.sort();
    let mut bytes = fs::read(&archives[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archives[0], bytes).unwrap();
    let run = place.ibtools("dump store");
    assert!(
        run.code == Some(2) && run.out.is_empty() && run.err.contains("do not match"),
        "{}",
        run.err
    );
}

/// Each snapshot with what it has and added, and the sums.
#[test]
fn stats_say_how_a_store_grew() {
    let place = backed_up();
    let (json, list) = (
        place.ibtools("stats store --json").json(),
        place.ibtools("snapshots store --json").json(),
    );
    let (stats, list) =
        (json["snapshots"].as_array().unwrap(), list["snapshots"].as_array().unwrap());
    for (stat, info) in stats.iter().zip(list) {
        for key in ["snapshot", "files", "bytes", "added"] {
            assert_eq!(stat[key], info[key]);
        }
    }
    let number = |key: &str| json[key].as_u64().unwrap();
    assert_eq!((number("full_archives"), number("increments")), (1, 1));
    assert_eq!(
        number("full_bytes") + number("increment_bytes") + number("index_bytes"),
        number("store_bytes")
    );
    assert_eq!(
        number("tree_bytes"),
        stats.iter().map(|it| it["bytes"].as_u64().unwrap()).sum::<u64>()
    );
    let out = place.ibtools("stats store").good();
    assert!(
        out.lines().count() == 7
            && out.contains("2 snapshots of ")
            && out.contains("1 full backup, "),
        "{out}"
    );
}
