//! Encrypted stores in S3: what comes back, and what they ask of the server.
#![cfg(all(feature = "clouds", feature = "encryption"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "remote/world.rs"]
mod world;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testing::noise;
use testing::proxy::{Exchange, Fault};
use world::World;

/// Promise: where this machine may delete nothing, its backups go on, and nothing that was put is ever in danger. Who may delete prunes.
#[test]
fn a_bucket_that_only_takes() {
    let Some(world) = World::new() else { return };
    let key = world.ibtools("key new -o my.key").good();
    world.ibtools(&format!("init STORE --recipient {}", key.trim())).good();
    let (refused, total) = (Arc::new(AtomicUsize::new(0)), 6);
    for night in 0..total {
        let count = Arc::clone(&refused);
        world.proxy.rule(move |asked| match asked.is_delete() {
            true => {
                count.fetch_add(1, Ordering::Relaxed);
                Fault::Answer(403)
            }
            false => Fault::None,
        });
        world.place.write("tree/changing", format!("night {night}"));
        let done = world.ibtools("backup tree STORE");
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "night {night}");
        assert!(world.ibtools("backup tree STORE").good().contains("nothing changed"));
    }
    assert!(refused.load(Ordering::Relaxed) >= total);
    // A machine that was taken over, and whose server lets nobody delete.
    world.ibtools("prune STORE --keep-last 1").bad(&["--identity FILE"]);
    world.ibtools("verify STORE").good();
    world.proxy.rule(|_| Fault::None);
    world.ibtools("prune STORE --keep-last 2 --identity my.key").good();
    let verified = world.ibtools("verify STORE --identity my.key").good();
    assert!(verified.contains("2 of 2 snapshots whole"), "{verified}");
    world.place.write("tree/changing", "after");
    world.ibtools("backup tree STORE").good();
}

fn down(asked: &[Exchange]) -> u64 {
    asked.iter().filter(|it| it.method == "GET" && !it.is_list()).map(|it| it.down).sum()
}

/// Promise: a night fetches nothing and asks little; one file out of a chain is its frame and what leads there.
#[test]
fn an_encrypted_store_in_a_bucket() {
    let Some(world) = World::new() else { return };
    for file in 0..40 {
        world.place.write(&format!("tree/dir{}/{file}", file % 4), noise(file, 100_000));
    }
    let key = world.ibtools("key new -o my.key").good();
    world.ibtools(&format!("init STORE --recipient {}", key.trim())).good();
    world.ibtools("backup tree STORE").good();
    for night in 0..6 {
        world.place.write("tree/dir1/ten", noise(100 + night, 10_000));
        let asked = world.asked("backup tree STORE");
        println!("backup {night}: {} requests, {} bytes", asked.len(), down(&asked));
        let list: Vec<String> =
            asked.iter().map(|it| format!("{} {}", it.method, it.target)).collect();
        assert!(asked.len() <= 10 && down(&asked) == 0, "{list:#?}");
    }
    world.ibtools("restore STORE back").bad(&["--identity FILE"]);
    world.ibtools("restore STORE back --identity my.key").good();
    assert_eq!(world.place.snapshot("back"), world.place.snapshot("tree"));
    for of in ["cold", "warm"] {
        drop(fs::remove_dir_all(world.place.path("part")));
        if of == "cold" {
            fs::remove_dir_all(world.place.path("cache")).unwrap();
        }
        let asked = world.asked("restore STORE part --path dir1/ten --identity my.key");
        println!("one file ({of}): {} requests, {} bytes", asked.len(), down(&asked));
        assert_eq!(fs::read(world.place.path("part/dir1/ten")).unwrap(), noise(105, 10_000));
    }
    world.ibtools("prune STORE --keep-last 2 --identity my.key").good();
    assert!(
        world.ibtools("verify STORE --identity my.key").good().contains("2 of 2 snapshots whole")
    );
    world.ibtools("verify STORE").good();
}
