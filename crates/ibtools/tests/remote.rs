//! Stores in S3: the whole tour against a real server, with a proxy before it that counts.
#![cfg(feature = "clouds")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::process::Command;

use common::{Place, Run, run};
use testing::noise;
use testing::proxy::{Exchange, Proxy};
use testing::servers::{BUCKET, KEY, SECRET, shared_seaweedfs};

/// A server, a proxy before it, and a place to work in.
struct World {
    place: Place,
    proxy: Proxy,
    /// The store, which no other test has.
    store: String,
}

impl World {
    fn new() -> Option<World> {
        let proxy = Proxy::before(shared_seaweedfs()?.address);
        let store = format!("s3://{BUCKET}/{}", std::thread::current().name().unwrap());
        Some(World { place: Place::new(), proxy, store })
    }

    fn command(&self, args: &str) -> Command {
        let mut command = self.place.command(&args.replace("STORE", &self.store));
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_ENDPOINT_URL", self.proxy.url());
        command.env("HOME", self.place.path("")).env("XDG_CACHE_HOME", self.place.path("cache"));
        command
    }

    fn ibtools(&self, args: &str) -> Run {
        run(&mut self.command(args))
    }

    /// What a command that succeeds asks of the server.
    fn asked(&self, args: &str) -> Vec<Exchange> {
        self.proxy.take();
        self.ibtools(args).good();
        self.proxy.take().0
    }

    fn backed_up() -> Option<World> {
        let world = World::new()?;
        let place = &world.place;
        for file in 0..40 {
            place.write(&format!("tree/dir{}/{file}", file % 4), noise(file, 100_000));
        }
        place.write("tree/dir1/ten", noise(99, 10_000));
        place.write("tree/note", "a word");
        world.ibtools("init STORE").good();
        world.ibtools("backup tree STORE").good();
        Some(world)
    }
}

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

/// What each verb asks of the server. A verb that asks more than it did has to say why.
#[test]
fn requests_are_few() {
    let Some(world) = World::backed_up() else { return };
    for night in 0..3 {
        world.place.write("tree/dir1/ten", noise(100 + night, 10_000));
        world.ibtools("backup tree STORE").good();
    }
    world.place.write("tree/dir1/ten", noise(98, 10_000));
    let mut table = Vec::new();
    for verb in ["backup tree STORE", "backup tree STORE", "snapshots STORE", "ls STORE -r", "find STORE ten", "restore STORE part --path dir1/ten", "restore STORE all", "verify STORE", "prune STORE --keep-last 2"] {
        let asked = world.asked(verb);
        let (up, down) = asked.iter().fold((0, 0), |(up, down), it| (up + it.up, down + it.down - if it.is_list() { it.down } else { 0 }));
        eprintln!("{verb}: {} requests, {up} up, {down} down", asked.len());
        for it in &asked { eprintln!("    {} {} {:?} {} {} {}", it.method, it.target, it.range, it.status, it.up, it.down); }
        table.push((verb, asked.len(), up, down));
    }
}
