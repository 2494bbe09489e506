//! Stores in S3: the whole tour against a real server, with a proxy before it that counts.
#![cfg(feature = "clouds")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;
#[path = "remote/world.rs"]
mod world;

use std::process::Command;

use common::run;
use testing::noise;
use testing::servers::{KEY, SECRET};
use world::World;

/// Every verb that takes a store does in a bucket what it does in a directory.
#[test]
fn the_whole_tour_in_a_bucket() {
    let Some(world) = World::backed_up() else { return };
    let place = &world.place;
    let first = place.snapshot("tree");
    place.write("tree/dir1/ten", noise(98, 10_000));
    world.ibtools("backup tree STORE --tag second").good();
    let second = place.snapshot("tree");
    assert!(world.ibtools("backup tree STORE").good().contains("nothing changed"));
    let list = world.ibtools("snapshots STORE --json").json();
    let id = |at: usize| list["snapshots"][at]["snapshot"].as_str().unwrap().to_owned();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 2);
    assert!(world.ibtools("ls STORE -r").good().contains("dir1/ten"));
    assert!(world.ibtools("find STORE ten").good().contains("dir1/ten"));
    assert!(world.ibtools("log STORE dir1/ten").good().contains(&id(1)));
    assert!(
        world.ibtools(&format!("changes STORE {} {}", id(0), id(1))).good().contains("dir1/ten")
    );
    assert_eq!(world.ibtools("cat STORE note").good(), "a word");
    assert!(world.ibtools("stats STORE").good().contains("1 increment"));
    assert!(world.ibtools("show STORE").good().contains("2 snapshots"));
    assert!(world.command("dump STORE dir1").output().unwrap().status.success());
    world.ibtools("restore STORE copy").good();
    assert_eq!(place.snapshot("copy"), second);
    world.ibtools(&format!("restore STORE old --at {}", id(0))).good();
    assert_eq!(place.snapshot("old"), first);
    world.ibtools("restore STORE part --path dir1/ten").good();
    assert_eq!(std::fs::read(place.path("part/dir1/ten")).unwrap(), noise(98, 10_000));
    assert!(world.ibtools("verify STORE").good().contains("2 of 2 snapshots whole"));
    world.ibtools("protect STORE").good();
    world.ibtools("verify STORE --heal --against tree").good();
    world.ibtools("squash STORE -o full.tgz").good();
    world.ibtools("restore full.tgz unpacked").good();
    assert_eq!(place.snapshot("unpacked"), second);
    world.ibtools("prune STORE --keep-last 1").good();
    world.ibtools("restore STORE pruned").good();
    assert_eq!(place.snapshot("pruned"), second);
    world.ibtools("init STORE").bad(&["there is a store at s3://backups/", " already"]);
}

/// An answer says which store, which object, why, and what to do.
#[test]
fn what_goes_wrong_is_said_in_one_line() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/a", "a");
    let none = ["there is no store at s3://backups/", "ibtools init s3://backups/"];
    for verb in ["backup tree STORE", "restore STORE copy", "ls STORE", "verify STORE"] {
        world.ibtools(verb).bad(&none);
    }
    let bad = |command: &mut Command, words: &[&str]| run(command).bad(words);
    bad(
        world.command("ls STORE").env("AWS_SECRET_ACCESS_KEY", "wrong"),
        &["s3://backups/", "the keys are wrong"],
    );
    bad(
        world.command("ls STORE").env_remove("AWS_ACCESS_KEY_ID"),
        &["AWS_ACCESS_KEY_ID", "[default]"],
    );
    bad(&mut world.command("ls s3://nowhere/laptop"), &["NoSuchBucket", "make it first"]);
    // A word is understood before any request is made.
    world.proxy.take();
    world.ibtools("ls s3:backups/laptop").bad(&["s3://BUCKET/PREFIX"]);
    world.ibtools("verify http://host/backups/laptop").bad(&["AWS_ENDPOINT_URL=http://host"]);
    assert!(world.proxy.take().0.is_empty());
}

/// Keys may be in the file that AWS's own programs read.
#[test]
fn keys_come_from_a_profile_too() {
    let Some(world) = World::new() else { return };
    let keys = format!("[backups]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    world.place.write(".aws/credentials", keys);
    world
        .place
        .write(".aws/config", format!("[profile backups]\nendpoint_url = {}\n", world.proxy.url()));
    let mut command = world.command("init STORE");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"] {
        command.env_remove(name);
    }
    run(command.env("AWS_PROFILE", "backups")).good();
    assert!(!world.proxy.take().0.is_empty());
}

/// What each verb asks of the server: requests, and bytes of objects that come. The second time, when what was read is at hand, and the
/// first.
/// `docs/guide/remote.md` has this table. A verb that asks for more than it did has to say why.
#[test]
fn requests_are_few() {
    let Some(world) = World::backed_up() else { return };
    let mut night = 0;
    while night < 3 {
        night += 1;
        world.place.write("tree/dir1/ten", noise(100 + night, 10_000));
        world.ibtools("backup tree STORE").good();
    }
    // A verb; the most requests and bytes with what is at hand, and with nothing. With nothing at hand, 128 KiB at an edge of an
    // archive are fetched at once: more bytes for fewer requests.
    let frames = (1 << 20) + (64 << 10);
    let limits = [
        // Two of them say that a backup has begun, and that it has ended; a few read runs of the index.
        ("backup tree STORE", (10, 0), (17, 290_000)),
        ("snapshots STORE", (1, 0), (8, 180_000)),
        ("ls STORE -r", (1, 0), (9, 210_000)),
        ("find STORE ten", (1, 0), (9, 210_000)),
        ("log STORE dir1/ten", (2, 0), (10, 330_000)),
        ("restore STORE part --path dir1/ten", (4, frames), (10, frames + 210_000)),
        ("restore STORE all", (5, 4_200_000), (12, 4_200_000)),
        ("verify STORE", (16, 4_400_000), (16, 4_400_000)),
    ];
    for (verb, warm, cold) in limits {
        std::fs::remove_dir_all(world.place.path("cache")).unwrap();
        for (of, (requests, bytes)) in [("cold", cold), ("warm", warm)] {
            for made in ["part", "all"] {
                drop(std::fs::remove_dir_all(world.place.path(made)));
            }
            night += 1;
            world.place.write("tree/dir1/ten", noise(100 + night, 10_000));
            let asked = world.asked(verb);
            let down: u64 = asked
                .iter()
                .filter(|it| it.method == "GET" && !it.is_list())
                .map(|it| it.down)
                .sum();
            println!("{verb} ({of}): {} requests, {down} bytes", asked.len());
            let list: Vec<String> = asked
                .iter()
                .map(|it| format!("{} {} {:?} {}", it.method, it.target, it.range, it.down))
                .collect();
            assert!(asked.len() <= requests && down <= bytes, "{verb}: {down}: {list:#?}");
        }
    }
}

/// One small file out of a store with many costs a few requests, and its frame and the blocks of the tables that lead to it.
#[test]
fn one_file_out_of_many() {
    let Some(world) = World::new() else { return };
    let content = noise(7, 4_000_000);
    for file in 0..8000usize {
        let from = file * 450;
        world
            .place
            .write(&format!("tree/dir{}/file{file}", file % 90), &content[from..from + 2000]);
    }
    world.place.write("tree/dir7/ten", noise(99, 10_000));
    world.ibtools("init STORE").good();
    world.ibtools("backup tree STORE").good();
    std::fs::remove_dir_all(world.place.path("cache")).unwrap();
    let asked = world.asked("restore STORE part --path dir7/ten");
    let bytes: u64 = asked.iter().map(|it| it.down).sum();
    let list: Vec<String> = asked
        .iter()
        .map(|it| format!("{} {} {:?} {}", it.method, it.target, it.range, it.down))
        .collect();
    println!("one file of 8000: {} requests, {bytes} bytes: {list:#?}", asked.len());
    assert!(asked.len() <= 10, "{list:#?}");
    assert_eq!(std::fs::read(world.place.path("part/dir7/ten")).unwrap(), noise(99, 10_000));
}
