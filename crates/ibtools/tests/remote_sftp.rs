//! Stores in directories of another machine: a real sshd on the loopback.
#![cfg(feature = "sftp")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Place, Run, run};
use tempfile::TempDir;
use testing::noise;
use testing::servers::{sshd, sshd_for};

struct World {
    place: Place,
    ssh: String,
    _settings: TempDir,
}

impl World {
    fn new() -> Option<World> {
        World::of(sshd()?, Place::new())
    }

    /// A world in which the other machine runs `ibtools serve` with these options, whatever it is asked for.
    fn served(options: &str) -> Option<World> {
        let place = Place::new();
        fs::create_dir(place.path("store")).unwrap();
        let (program, dir) = (env!("CARGO_BIN_EXE_ibtools"), place.path("store"));
        let command = format!("command=\"{program} serve {options} {}\",restrict", dir.display());
        World::of(sshd_for(&command)?, place)
    }

    fn of((settings, ssh): (TempDir, String), place: Place) -> Option<World> {
        place.write("tree/a", "a");
        place.write("tree/dir/big", noise(1, 9 << 20));
        Some(World { place, ssh, _settings: settings })
    }

    fn command(&self, args: &str) -> Command {
        self.command_to(args, &format!("backups:{}", self.place.path("store").display()))
    }

    fn command_to(&self, args: &str, store: &str) -> Command {
        let mut command = self.place.command(&args.replace("STORE", store));
        command.env("IBTOOLS_SSH_COMMAND", &self.ssh);
        command.env("XDG_CACHE_HOME", self.place.path("cache"));
        command
    }

    fn ibtools(&self, args: &str) -> Run {
        run(&mut self.command(args))
    }
}

fn names(place: &Place, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(dir)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What goes there comes back, in a directory that is a store of this machine's as well, and the owner's alone.
#[test]
fn the_whole_tour_over_ssh() {
    let Some(world) = World::new() else { return };
    let place = &world.place;
    world.ibtools("ls STORE").bad(&["there is no store at backups:", "ibtools init backups:"]);
    world.ibtools("init STORE").good();
    world.ibtools("backup tree STORE").good();
    let first = place.snapshot("tree");
    place.write("tree/a", "b");
    world.ibtools("backup tree STORE").good();
    assert!(world.ibtools("snapshots STORE").good().contains("2 snapshots"));
    assert!(world.ibtools("ls STORE -r").good().contains("dir/big"));
    assert_eq!(world.ibtools("cat STORE a").good(), "b");
    world.ibtools("restore STORE copy").good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    let list = world.ibtools("snapshots STORE --json").json();
    let id = list["snapshots"][0]["snapshot"].as_str().unwrap();
    world.ibtools(&format!("restore STORE old --at {id}")).good();
    assert_eq!(place.snapshot("old"), first);
    world.ibtools("protect STORE").good();
    world.ibtools("verify STORE --heal").good();
    world.ibtools("prune STORE --keep-last 1").good();
    world.ibtools("verify STORE").good();
    // Here the directory is one of this machine.
    place.ibtools("verify store").good();
    place.ibtools("restore store here").good();
    assert_eq!(place.snapshot("here"), place.snapshot("tree"));
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("store"), 0o700);
    for name in names(place, "store") {
        assert_eq!(mode(&format!("store/{name}")), 0o600, "{name}");
        assert!(!name.starts_with(".ibtools-put-") && name != "lock", "{name}");
    }
    world.ibtools("init STORE").bad(&["there is a store at backups:", " already"]);
}

/// What killed ones left is cleared away, and a lock whose process has ended is taken over.
#[test]
fn what_the_killed_left_is_in_nobodys_way() {
    let Some(world) = World::new() else { return };
    let place = &world.place;
    world.ibtools("init STORE").good();
    let system = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap();
    // A number that no process has.
    let (host, boot) = (system("hostname"), system("random/boot_id"));
    let lock = format!(
        "owner = process 4194305 on {}\nboot = {}\nlease = 300\n",
        host.trim(),
        boot.trim()
    );
    place.write("store/lock", lock);
    place.write("store/.ibtools-put-abcdef", "left");
    let again = world.ibtools("backup tree STORE");
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("has ended without saying so"), "{}", again.err);
    assert!(!names(place, "store").iter().any(|name| name.starts_with(".ibtools-put-")));
    world.ibtools("verify STORE").good();
}

/// Another's lock is kept to.
#[test]
fn one_client_at_a_time() {
    let Some(world) = World::new() else { return };
    world.ibtools("init STORE").good();
    world.place.write("store/lock", "owner = process 1 on elsewhere\nboot = x\nlease = 300\n");
    world.ibtools("backup tree STORE").bad(&["process 1 on elsewhere is changing the store"]);
    world.place.write("store/lock", "owner = process 1 on elsewhere\nboot = x\nlease = 0\n");
    let taken = world.ibtools("backup tree STORE");
    assert!(taken.code == Some(0) && taken.err.contains("its lock is void"), "{}", taken.err);
}

/// What `ssh` says is seen, and then what to do.
#[test]
fn a_host_that_is_not_there_is_said() {
    let Some(world) = World::new() else { return };
    let mut command = world.command("ls STORE");
    command.env("IBTOOLS_SSH_COMMAND", "false");
    let done = run(&mut command);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("`ssh` could not reach an SFTP server there"), "{}", done.err);
    command.env("IBTOOLS_SSH_COMMAND", "no-such-program");
    run(&mut command).bad(&["cannot run `no-such-program`"]);
}

/// Promise: `serve` shows one directory, and a store in it does what a store by the system's own server does.
#[test]
fn a_served_directory_is_a_store() {
    let Some(world) = World::served("") else { return };
    let place = &world.place;
    let ibtools = |args: &str| run(&mut world.command_to(args, "backups:/"));
    ibtools("init STORE").good();
    ibtools("backup tree STORE").good();
    place.write("tree/a", "b");
    ibtools("backup tree STORE --parity 5").good();
    ibtools("restore STORE copy").good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    ibtools("prune STORE --keep-last 1").good();
    ibtools("verify STORE --heal").good();
    assert!(ibtools("snapshots STORE").good().contains("1 snapshot"));
    place.write("beside/secret", "not to be served");
    for path in ["backups:/../beside", "backups:/beside", "backups:/sub/dir"] {
        run(&mut world.command_to("snapshots STORE", path)).bad(&[]);
    }
    run(&mut place.command("verify store")).good();
}

/// Promise: who has the key of a machine that backs up, and its server lets only add, changes and deletes nothing that has been put.
#[test]
fn what_is_only_added_to_cannot_be_damaged() {
    let Some(world) = World::served("--append-only") else { return };
    let place = &world.place;
    let ibtools = |args: &str| run(&mut world.command_to(args, "backups:/"));
    ibtools("init STORE").good();
    for night in 0..4 {
        place.write("tree/a", format!("night {night}"));
        let done = ibtools("backup tree STORE");
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "night {night}");
        assert!(ibtools("backup tree STORE").good().contains("nothing changed"));
    }
    ibtools("prune STORE --keep-last 1").bad(&["files are only added here"]);
    let before = place.snapshot("store");
    let archive = names(place, "store").into_iter().find(|it| it.ends_with("-full.tgz")).unwrap();
    place.write("evil", "evil");
    let attacks = [
        format!("rm {archive}"),
        format!("put evil {archive}"),
        format!("rename {archive} gone"),
        format!("ln {archive} other"),
        format!("ln -s {archive} other"),
        format!("chmod 777 {archive}"),
        "put evil store.toml".to_owned(),
        "put evil 20200101T000000Z-full.tgz".to_owned(),
        "mkdir dir".to_owned(),
        format!("put evil .ibtools-put-abcdef\nrename .ibtools-put-abcdef {archive}"),
        format!("put evil .ibtools-put-ghijkl\nln .ibtools-put-ghijkl {archive}"),
        "get ../evil stolen".to_owned(),
        "get /etc/passwd stolen".to_owned(),
    ];
    let ssh: Vec<&str> = world.ssh.split(' ').collect();
    for attack in attacks {
        let script = place.path("script");
        fs::write(&script, format!("{attack}\n")).unwrap();
        let mut sftp = Command::new("sftp");
        sftp.args(&ssh[1..]).arg("-b").arg(&script).arg("backups").current_dir(place.path(""));
        let output = sftp.output().unwrap();
        assert!(!output.status.success(), "{attack}");
        assert!(!place.path("stolen").exists(), "{attack}");
    }
    let after = place.snapshot("store");
    let is_litter = |path: &std::path::Path| path.to_string_lossy().starts_with(".ibtools-put-");
    let kept = after.iter().filter(|(path, _)| !is_litter(path));
    assert!(kept.eq(before.iter()), "{:?}", names(place, "store"));
    assert!(ibtools("verify STORE").good().contains("4 of 4 snapshots whole"));
    // Who keeps the store prunes.
    run(&mut place.command("prune store --keep-last 2")).good();
    // Who works in the directory itself leaves a lock that others take for one until it is five minutes old.
    fs::remove_file(place.path("store/lock")).unwrap();
    place.write("tree/a", "after");
    ibtools("backup tree STORE").good();
    assert!(ibtools("verify STORE").good().contains("3 of 3 snapshots whole"));
}
