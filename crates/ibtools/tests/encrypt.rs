//! Encrypted stores, as a user types them: the guide's tour, by hand with age, and what each refusal says.
#![cfg(feature = "encryption")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Place, Run, run};
use testing::noise;

/// A machine: its home.
struct Machine<'a>(&'a Place, &'a str);

impl Machine<'_> {
    fn command(&self, args: &str) -> Command {
        let Machine(place, home) = self;
        let mut command = place.command(args);
        command.env("HOME", place.path(home)).env_remove("XDG_STATE_HOME");
        command
    }

    fn ibtools(&self, args: &str) -> Run {
        run(&mut self.command(args))
    }
}

/// A tree, and an encrypted store of it with two snapshots.
fn backed_up(place: &Place) -> Machine<'_> {
    let laptop = Machine(place, "laptop");
    place.write("tree/large", noise(1, 300_000));
    place.write("tree/letters/one", "Dear reader");
    let key = laptop.ibtools("key new -o my.key").good();
    laptop.ibtools(&format!("init store --recipient {}", key.trim())).good();
    laptop.ibtools("backup tree store").good();
    place.write("tree/letters/two", "Dear writer");
    laptop.ibtools("backup tree store").good();
    laptop
}

fn id(machine: &Machine<'_>) -> String {
    let list = machine.ibtools("key list store --json").json();
    list["id"].as_str().unwrap().to_owned()
}

/// Promise: the machine that backs up makes increments and cannot read them. The identity opens everything.
#[test]
fn the_tour() {
    let place = Place::new();
    let laptop = backed_up(&place);
    let tree = place.snapshot("tree");
    assert!(laptop.ibtools("backup tree store").good().contains("nothing changed"));
    let list = laptop.ibtools("snapshots store").good();
    assert!(list.contains("2 snapshots") && list.contains("/tree"), "{list}");
    assert!(laptop.ibtools("verify store").good().contains("compared with the hashes in its log"));
    let refused = ["it is encrypted, and this machine cannot read it", "--identity FILE"];
    for verb in ["restore store back", "ls store", "cat store letters/one", "log store large"] {
        laptop.ibtools(verb).bad(&refused);
    }
    for mode in
        ["my.key", "laptop/.config/ibtools/client.key", "laptop/.local/state/ibtools/stores"]
    {
        let mode = fs::metadata(place.path(mode)).unwrap().permissions().mode();
        assert_eq!(mode & 0o77, 0);
    }

    let desk = Machine(&place, "desk");
    let owner = |verb: &str| desk.ibtools(&format!("{verb} --identity my.key"));
    owner("restore store back").good();
    assert_eq!(place.snapshot("back"), tree);
    assert_eq!(owner("cat store letters/two").good(), "Dear writer");
    assert!(owner("ls store -r").good().contains("letters/one"));
    assert!(owner("find store two").good().contains("letters/two"));
    owner("restore store part --path letters").good();
    assert!(owner("verify store --against tree").good().contains("2 of 2 snapshots whole"));
    owner("protect store").good();
    owner("squash store -o full.tgz").good();
    assert_eq!(place.other("tar", "tzf full.tgz").map(|it| it.code), Some(Some(0)));
    owner("prune store --keep-last 1").good();
    place.write("tree/letters/two", "Dear all");
    let increment = laptop.ibtools("backup tree store").good();
    assert!(increment.contains("1 updated") || increment.contains("-since-"), "{increment}");
    assert_eq!(owner("cat store letters/two").good(), "Dear all");
    assert!(owner("verify store").good().contains("2 of 2 snapshots whole"));
}

/// Promise: with age, tar, rdiff and a shell alone, everything comes back, as the guide says.
#[test]
fn age_and_tar_recover_by_hand() {
    let place = Place::new();
    backed_up(&place);
    fs::create_dir(place.path("plain")).unwrap();
    if place.other("age", "--version").is_none() || place.other("rdiff", "--version").is_none() {
        return;
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let guide = fs::read_to_string(docs.join("guide/encrypt.md")).unwrap();
    let script = guide.split("```\n").find(|part| part.starts_with("age -d")).unwrap();
    let script = script.replace("backup.key", "../my.key").replace("plain", "../plain");
    let script = script.replace("back\n", "../back\n");
    let script =
        script.replace("recover-store.sh", docs.join("recover-store.sh").to_str().unwrap());
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", &script]).current_dir(place.path("store"));
    let status = shell.output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    assert_eq!(fs::read(place.path("back/large")).unwrap(), noise(1, 300_000));
    assert_eq!(fs::read_to_string(place.path("back/letters/two")).unwrap(), "Dear writer");
}

/// Promise: another machine writes once it is let, and knows whose store it is; and writes no more once that is taken back.
#[test]
fn another_machine_is_let_and_revoked() {
    let place = Place::new();
    let laptop = backed_up(&place);
    let other = Machine(&place, "other");
    let id = id(&laptop);
    let key = other.ibtools("key show").good();
    assert_eq!(other.ibtools("key show").good(), key);
    other.ibtools("backup tree store").bad(&[&id, "key trust STORE --id"]);
    other.ibtools(&format!("key trust store --id {}", "0".repeat(64))).bad(&["another store"]);
    other.ibtools(&format!("key trust store --id {id}")).bad(&["was not let write"]);
    let allow = format!("key allow store {}", key.trim());
    laptop.ibtools(&allow).bad(&["--identity FILE"]);
    laptop.ibtools(&format!("{allow} --identity my.key")).good();
    other.ibtools(&format!("key trust store --id {id}")).good();
    place.write("tree/letters/three", "Dear both");
    let full = other.ibtools("backup tree store --as tree");
    assert!(full.out.contains("-full.tgz"), "{}", full.out);
    assert!(laptop.ibtools("key list store").good().contains(key.trim()));
    let revoke = format!("key revoke store {} --identity my.key", key.trim());
    laptop.ibtools(&revoke).good();
    laptop.ibtools(&revoke).bad(&["none of the clients"]);
    place.write("tree/letters/three", "Dear all");
    other.ibtools("backup tree store --as tree").bad(&["is not any more"]);
    let full = laptop.ibtools("backup tree store");
    assert!(full.out.contains("-full.tgz"), "{}", full.out);
    assert!(
        full.err.contains("is not there for this machine: the backup is a full one"),
        "{}",
        full.err
    );
}

/// Promise: an older state, another store, and one without encryption are refused, and what to do is said.
#[test]
fn what_a_keeper_does_is_refused() {
    let place = Place::new();
    let laptop = backed_up(&place);
    run(Command::new("cp").args(["-a", "store", "older"]).current_dir(place.path(""))).good();
    place.write("tree/letters/three", "Dear all");
    laptop.ibtools("backup tree store").good();
    fs::rename(place.path("store"), place.path("newer")).unwrap();
    fs::rename(place.path("older"), place.path("store")).unwrap();
    laptop.ibtools("backup tree store").bad(&["was set back", "key forget STORE"]);
    laptop.ibtools("restore store back --identity my.key").bad(&["was set back"]);
    fs::rename(place.path("store"), place.path("older")).unwrap();
    Machine(&place, "thief").ibtools("init store").good();
    laptop.ibtools("backup tree store").bad(&["was encrypted", "this one is not"]);
    fs::remove_dir_all(place.path("store")).unwrap();
    laptop.ibtools("backup tree store --init").bad(&["was encrypted", "this one is not"]);
    fs::remove_dir_all(place.path("store")).unwrap_or_default();
    fs::rename(place.path("newer"), place.path("store")).unwrap();
    laptop.ibtools("backup tree store").good();
}

/// Promise: keys that are given wrongly are named, with what would be right, and nothing is made.
#[test]
fn wrong_keys_are_named() {
    let place = Place::new();
    let laptop = Machine(&place, "laptop");
    let key = laptop.ibtools("key new -o my.key").good();
    laptop.ibtools("key new -o my.key").bad(&["my.key is there already"]);
    laptop.ibtools("init store --recipient age1nonsense").bad(&["age1nonsense", "ssh-ed25519"]);
    laptop.ibtools("init store --recipient my.key").bad(&["secret key", "public key"]);
    laptop.ibtools("init store --recipient passphrase").bad(&["IBTOOLS_PASSPHRASE"]);
    assert!(!place.path("store").exists());
    laptop.ibtools(&format!("init store --recipient {}", key.trim())).good();
    place.write("tree/a", "a");
    laptop.ibtools("backup tree store").good();
    laptop.ibtools("key new -o other.key").good();
    laptop.ibtools("ls store --identity other.key").bad(&["none of the identities"]);
    laptop.ibtools("ls store --identity tree/a").bad(&["tree/a has no identity"]);
    laptop.ibtools("ls store --identity missing").bad(&["missing has no identity", "No such file"]);
    laptop.ibtools("init plain").good();
    laptop.ibtools("key list plain").bad(&["it is no encrypted store"]);
}

/// Promise: a passphrase opens a store; a rotation takes it away again.
#[test]
fn a_passphrase_and_a_rotation() {
    let place = Place::new();
    let laptop = Machine(&place, "laptop");
    place.write("tree/a", "a");
    let with = |args: &str, words: &str| run(laptop.command(args).env("IBTOOLS_PASSPHRASE", words));
    with("init store --recipient passphrase", "four words in a row").good();
    laptop.ibtools("backup tree store").good();
    assert!(with("ls store --identity passphrase", "four words in a row").good().contains(" a\n"));
    with("ls store --identity passphrase", "wrong").bad(&["cannot be opened"]);
    let key = laptop.ibtools("key new -o my.key").good();
    let rotate = format!("key rotate store --recipient {} --identity passphrase", key.trim());
    with(&rotate, "four words in a row").good();
    assert!(!place.path("store/key-passphrase.age").exists());
    place.write("tree/b", "b");
    laptop.ibtools("backup tree store").good();
    laptop.ibtools("restore store back --identity my.key").good();
    assert_eq!(place.snapshot("back"), place.snapshot("tree"));
    with("ls store --identity passphrase", "four words in a row").bad(&["none of the identities"]);
}
