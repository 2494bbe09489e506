//! Stores in S3 when the way there fails, clients die, or two come at once: nothing is lost, and a re-run ends right.
#![cfg(feature = "clouds")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;
#[path = "remote/world.rs"]
mod world;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use common::run;
use testing::noise;
use testing::proxy::{Exchange, Fault, Proxy};
use testing::servers::shared_seaweedfs;
use world::World;

const FAULTS: [Fault; 9] = [
    Fault::Slow,
    Fault::Refuse,
    Fault::Answer(503),
    Fault::Mute,
    Fault::Lie,
    Fault::Cut,
    Fault::Twice,
    Fault::Stale,
    Fault::Answer(403),
];

/// Has `fault` come over the request `number`, and over the `more` after it.
fn at(number: usize, more: usize, fault: Fault) -> impl FnMut(&Exchange) -> Fault + Send {
    let mut seen = 0;
    move |_| {
        seen += 1;
        if (number..=number + more).contains(&seen) { fault } else { Fault::None }
    }
}

/// A fifth of the long sweep below: at every fifth request, beginning with another one for each fault.
#[test]
fn faults_of_a_backup_lose_nothing() {
    let faults = faults_at_every(5, "backup tree STORE");
    assert!(faults.is_none_or(|(faults, _)| faults >= 15), "{faults:?}");
}

#[test]
fn faults_of_a_prune_lose_nothing() {
    let faults = faults_at_every(5, "prune STORE --keep-last 3");
    assert!(faults.is_none_or(|(faults, _)| faults >= 24), "{faults:?}");
}

#[test]
#[ignore = "a minute; cargo xtask crash"]
fn long_faults_of_a_backup_lose_nothing() {
    all_faults("backup tree STORE");
}

#[test]
#[ignore = "a minute; cargo xtask crash"]
fn long_faults_of_a_prune_lose_nothing() {
    all_faults("prune STORE --keep-last 3");
}

fn all_faults(verb: &str) {
    let faults = faults_at_every(1, verb);
    assert!(faults.is_some_and(|(faults, failed)| faults > 80 && failed > 0), "{faults:?}");
}

/// Every fault at the requests of `verb`, from the first to the last: whatever the command says, all snapshots that were reported are
/// whole after it, and the same command ends right when it is run again. How many faults there were, if there is a server, and
/// how many commands failed by them.
fn faults_at_every(step: usize, verb: &str) -> Option<(usize, usize)> {
    let world = World::new()?;
    let place = &world.place;
    place.write("tree/big", noise(1, 300_000));
    place.write("tree/changing", "first");
    world.ibtools("init STORE").good();
    world.ibtools("backup tree STORE").good();
    let is_backup = verb.starts_with("backup");
    let (mut faults, mut failed, mut night) = (0, 0, 0);
    for (fault, turn) in FAULTS.into_iter().zip(0..) {
        for number in (1 + turn % step..).step_by(step) {
            night += 1;
            place.write("tree/changing", format!("night {night}"));
            if !is_backup {
                world.ibtools("backup tree STORE").good();
            }
            let known = snapshots(&world);
            world.proxy.take();
            world.proxy.rule(at(number, 0, fault));
            let done = world.ibtools(verb);
            if world.proxy.take().1 == 0 {
                // It made fewer requests.
                done.good();
                break;
            }
            faults += 1;
            failed += usize::from(done.code != Some(0));
            let again = world.ibtools(verb);
            let place_of = format!("{fault:?} at {number} of {verb}");
            assert_eq!(again.code, Some(0), "{place_of}: {} {}", done.err, again.err);
            if is_backup {
                let now = snapshots(&world);
                assert!(known.iter().all(|id| now.contains(id)), "{place_of}: lost");
                assert!(now.len() > known.len(), "{place_of}: nothing new");
            }
            if faults % 4 == 0 {
                let verified = world.ibtools("verify STORE");
                assert_eq!(verified.code, Some(0), "{place_of}: {}", verified.out);
                world.ibtools("restore STORE back --delete").good();
                assert_eq!(place.snapshot("back"), place.snapshot("tree"), "{place_of}");
            }
        }
    }
    #[allow(clippy::print_stdout, reason = "a test")]
    {
        println!("{verb}: {faults} faults, {failed} commands failed, 0 snapshots lost");
    }
    Some((faults, failed))
}

fn snapshots(world: &World) -> Vec<String> {
    let list = world.ibtools("snapshots STORE --json").json();
    let id = |it: &serde_json::Value| it["snapshot"].as_str().unwrap().to_owned();
    list["snapshots"].as_array().unwrap().iter().map(id).collect()
}

/// A server that is busy for a while is asked again, and nobody notices.
#[test]
fn a_storm_passes() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/a", "a");
    world.ibtools("init STORE").good();
    for number in [1, 4, 6] {
        world.place.write("tree/a", format!("{number}"));
        world.proxy.rule(at(number, 3, Fault::Answer(503)));
        world.ibtools("backup tree STORE").good();
        assert_eq!(world.proxy.take().1, 4);
    }
}

/// Killed at any request, a backup leaves every snapshot as it was. The next one sees that its process has ended, says so, and goes on.
#[test]
fn a_killed_client_is_in_nobodys_way() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/a", "a");
    world.ibtools("init STORE").good();
    let mut taken_over = 0;
    for number in 1..=8 {
        world.place.write("tree/a", format!("{number}"));
        let mut seen = 0;
        killed(&world, "backup tree STORE", move |_| {
            seen += 1;
            seen == number
        });
        let again = world.ibtools("backup tree STORE");
        assert_eq!(again.code, Some(0), "{number}: {}", again.err);
        taken_over += usize::from(again.err.contains("has ended without saying so"));
        world.ibtools("verify STORE").good();
    }
    assert!(taken_over >= 4, "the lock was left {taken_over} times");
}

/// Runs a command that is killed at the first request for which `when` is true. How many bytes it sent.
fn killed(
    world: &World,
    command: &str,
    mut when: impl FnMut(&Exchange) -> bool + Send + 'static,
) -> u64 {
    let pid = Arc::new(AtomicU32::new(0));
    let victim = Arc::clone(&pid);
    world.proxy.rule(move |request| {
        if when(request) {
            kill(victim.load(Ordering::Relaxed));
        }
        Fault::None
    });
    let mut child = world.command(command);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The program has to start before it makes a request.
    pid.store(child.id(), Ordering::Relaxed);
    child.wait().unwrap();
    world.proxy.take().0.iter().map(|request| request.up).sum()
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Promise: a first backup that is killed goes on from its last checkpoint, and sends nothing twice but what came after that.
#[test]
fn a_first_backup_goes_on_where_it_was_killed() {
    let Some(world) = World::new() else { return };
    (0..12).for_each(|n| world.place.write(&format!("tree/{n:02}"), noise(n, 1 << 20)));
    world.ibtools("init STORE").good();
    let mut archives = 0;
    let command = "backup tree STORE --checkpoint 2M";
    let sent = killed(&world, command, move |request| {
        archives += usize::from(request.method == "PUT" && request.target.contains("checkpoint"));
        archives == 4
    });
    assert!(sent > 6 << 20, "{sent}");
    let nothing_whole = world.ibtools("restore STORE back");
    assert_eq!(nothing_whole.code, Some(2));
    assert!(nothing_whole.err.contains("no snapshot is whole yet"), "{}", nothing_whole.err);
    // The last request may have come to the server.
    assert!((3..=4).contains(&snapshots(&world).len()));
    world.proxy.take();
    let done = world.ibtools(command);
    let sent: u64 = world.proxy.take().0.iter().map(|request| request.up).sum();
    assert!(
        done.code == Some(0) && done.out.contains("went on from the checkpoint"),
        "{}",
        done.out
    );
    assert!(sent < 13 << 19, "{sent}");
    world.ibtools("verify STORE").good();
    world.ibtools("restore STORE back").good();
    assert_eq!(world.place.snapshot("back"), world.place.snapshot("tree"));
}

/// Of two clients at once, the second gets an error that names the first, and changes nothing. Another store in the bucket does not wait.
#[test]
fn the_second_client_hears_who_is_at_work() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/a", "a");
    world.ibtools("init STORE").good();
    world.ibtools("init STORE-other").good();
    let other_way = Proxy::before(shared_seaweedfs().unwrap().address);
    let second = |args: &str| {
        let mut command = world.command(args);
        command.env("AWS_ENDPOINT_URL", other_way.url());
        command
    };
    let commands = Mutex::new(vec![
        second("backup tree STORE"),
        second("prune STORE --keep-last 1"),
        second("backup tree STORE-other"),
    ]);
    let said = Arc::new(Mutex::new(Vec::new()));
    let says = Arc::clone(&said);
    world.proxy.rule(move |request| {
        if request.method == "PUT" && request.target.ends_with(".index") {
            for command in commands.lock().unwrap().iter_mut() {
                says.lock().unwrap().push(run(command));
            }
        }
        Fault::None
    });
    world.ibtools("backup tree STORE").good();
    world.proxy.take();
    let said = said.lock().unwrap();
    for refused in &said[..2] {
        assert_eq!(refused.code, Some(2));
        for word in ["process ", " is changing the store", "its lock ends in"] {
            assert!(refused.err.contains(word), "{}", refused.err);
        }
    }
    assert_eq!((said.len(), said[2].code), (3, Some(0)));
    world.ibtools("verify STORE").good();
}

/// A server that puts what it was told not to put cannot lock: that is noticed and said.
#[test]
fn a_server_without_conditions_is_noticed() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/a", "a");
    world.ibtools("init STORE").good();
    let mut locks = 0;
    world.proxy.rule(move |request| {
        locks += usize::from(request.method == "PUT" && request.target.ends_with("/lock"));
        let is_probe = locks == 2 && request.method == "PUT";
        if is_probe { Fault::Pretend } else { Fault::None }
    });
    let done = world.ibtools("backup tree STORE");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("does not keep two clients apart"), "{}", done.err);
}

/// An upload in parts whose client is killed is taken back by the next client: its parts would be paid for without end.
#[test]
fn parts_of_the_killed_are_taken_back() {
    let Some(world) = World::new() else { return };
    world.place.write("tree/big", noise(1, 40 << 20));
    world.ibtools("init STORE").good();
    killed(&world, "backup tree STORE", |request| request.target.contains("partNumber=2"));
    let again = world.ibtools("backup tree STORE");
    assert_eq!(again.code, Some(0), "{}", again.err);
    let (asked, _) = world.proxy.take();
    let taken_back = |it: &&Exchange| it.method == "DELETE" && it.target.contains("uploadId=");
    assert_eq!(asked.iter().filter(taken_back).map(|it| it.status).collect::<Vec<_>>(), [204]);
    world.ibtools("restore STORE back").good();
    assert_eq!(world.place.snapshot("back"), world.place.snapshot("tree"));
}
