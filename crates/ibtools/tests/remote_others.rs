//! Stores behind rclone: a server that does not keep to conditions, and a mount that lacks most of what a file system has.
#![cfg(feature = "clouds")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::process::Stdio;

use common::{Place, Run, run};
use testing::noise;
use testing::servers::{BUCKET, KEY, SECRET, rclone_mount, rclone_s3};

fn planted() -> Place {
    let place = Place::new();
    for file in 0..20u64 {
        place.write(&format!("tree/dir{}/{file}", file % 4), noise(file, 100_000));
    }
    place
}

/// Promise: a server that replaces an object though it was told not to is named each time a store is changed.
#[test]
fn a_server_that_does_not_keep_to_conditions() {
    let Some(server) = rclone_s3() else { return };
    let place = planted();
    for verb in ["init", "backup tree", "backup tree"] {
        let mut command = place.command(&format!("{verb} s3://{BUCKET}/here"));
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_ENDPOINT_URL", format!("http://{}", server.address));
        command.env("HOME", place.path("")).env("XDG_CACHE_HOME", place.path("cache"));
        let Run { code, out, err } = run(&mut command);
        assert!(code == Some(0) && err.lines().count() == 1, "{out}{err}");
        assert!(err.contains("it does not keep two clients apart"), "{err}");
    }
}

/// Promise: a store in a mount of rclone works as in any directory. Of two commands that change it at once, one may be refused.
#[test]
fn a_store_in_a_mount_of_rclone() {
    let Some(mounted) = rclone_mount() else { return };
    let place = planted();
    let store = mounted.path().join("store").display().to_string();
    let ibtools = |args: &str| place.ibtools(&args.replace("STORE", &store));
    ibtools("init STORE").good();
    ibtools("backup tree STORE").good();
    place.write("tree/dir1/new", "new");
    ibtools("backup tree STORE").good();
    assert!(ibtools("backup tree STORE").good().contains("nothing changed"));
    place.write("tree/dir1/new", "newer");
    ibtools("backup tree STORE --parity 5").good();
    assert!(ibtools("verify STORE").good().contains("3 of 3 snapshots whole"));
    ibtools("prune STORE --keep-last 2").good();
    assert!(ibtools("verify STORE").good().contains("2 of 2 snapshots whole"));
    ibtools("restore STORE back").good();
    assert_eq!(place.snapshot("back"), place.snapshot("tree"));
    let full = format!("backup --full tree {store}");
    let other = place.command(&full).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = [place.ibtools(&full), Run::of(other.wait_with_output().unwrap())];
    let mut good = 0;
    for ran in ran {
        match ran.code {
            Some(0) => good += 1,
            _ => ran.bad(&["another backup or prune is at work"]),
        }
    }
    assert!(good > 0);
    let whole = format!("{0} of {0} snapshots whole", 2 + good);
    assert!(place.ibtools(&format!("verify {store}")).good().contains(&whole));
}
