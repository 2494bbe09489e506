//! What people mistype, forget or mix up does no harm, and is said with what to do instead.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Place, backed_up, plant};

fn names(place: &Place, dir: &str) -> Vec<String> {
    let names = fs::read_dir(place.path(dir)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A store is made once, on purpose, for its owner alone.
#[test]
fn a_store_is_made_by_init() {
    let place = Place::new();
    plant(&place);
    let said = ["there is no store at store: there is no such directory", "ibtools init store"];
    place.ibtools("backup tree store").bad(&said);
    assert!(!place.path("store").exists());
    assert_eq!(place.ibtools("init store").good(), "store is a store now: 0 snapshots\n");
    assert_eq!(names(&place, "store"), ["lock", "store.toml"]);
    let mode = fs::metadata(place.path("store")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    place.ibtools("init store").bad(&["there is a store at store already"]);
    place.ibtools("backup tree store").good();
    place.ibtools("backup --init tree store").good();
    place.ibtools("backup --init tree other").good();
    let json = place.ibtools("init third --json").json();
    assert_eq!((&json["store"], &json["snapshots"]), (&"third".into(), &0.into()));
    place.ibtools("init -").bad(&["standard output"]);
}

/// A new, empty store is one: there is only nothing in it yet.
#[test]
fn a_store_without_snapshots_is_a_store() {
    let place = Place::new();
    place.ibtools("init store").good();
    assert!(place.ibtools("show store").good().starts_with("0 snapshots"));
    assert!(place.ibtools("verify store").good().contains("0 of 0 snapshots whole"));
    place.ibtools("restore store copy").bad(&["there are no backups in store"]);
}

/// Where the disk of a store is not mounted, there is an empty directory. No verb takes it for a store.
#[test]
fn an_empty_directory_is_no_store() {
    let place = Place::new();
    plant(&place);
    fs::create_dir_all(place.path("mnt/lost+found")).unwrap();
    let said = ["there is no store at mnt: it is empty", "Mount its disk", "ibtools init mnt"];
    for verb in ["backup tree", "verify", "show", "prune --keep-last 1", "restore copy"] {
        let command = match verb {
            "restore copy" => "restore mnt copy".to_owned(),
            verb => format!("{verb} mnt"),
        };
        place.ibtools(&command).bad(&said);
    }
    assert_eq!(names(&place, "mnt"), ["lost+found"]);
    assert!(!place.path("copy").exists());
    place.ibtools("init mnt").good();
}

/// The source is never written to, whichever way round the two directories are given.
#[test]
fn a_directory_that_has_files_is_never_made_a_store() {
    let place = backed_up();
    let before = place.snapshot("tree");
    let said = ["there is no store at tree: it has other files, such as becomes-dir", "swapped"];
    place.ibtools("backup store tree").bad(&said);
    place.ibtools("backup --init store tree").bad(&said);
    let said =
        ["there is no store at tree: it has other files", "A store is a directory of its own"];
    place.ibtools("init tree").bad(&said);
    place.ibtools("prune tree --keep-last 1").bad(&said);
    // Directories alone are files of somebody, too.
    fs::create_dir_all(place.path("home/photos")).unwrap();
    place.ibtools("backup --init tree home").bad(&["it has other files, such as photos"]);
    place.ibtools("verify home").bad(&["it has other files, such as photos"]);
    assert!(place.snapshot("tree") == before);
    assert_eq!(names(&place, "home"), ["photos"]);
}

/// Archives are copied around, and can be restored wherever they are. Only what changes them wants a store.
#[test]
fn a_directory_of_archives_is_read_and_can_become_a_store() {
    let place = backed_up();
    fs::remove_file(place.path("store/store.toml")).unwrap();
    fs::remove_file(place.path("store/lock")).unwrap();
    place.ibtools("restore store copy").good();
    assert!(place.snapshot("copy") == place.snapshot("tree"));
    place.ibtools("verify store").good();
    place.ibtools("show store").good();
    let said = ["there is no store at store: it has archives", "ibtools init store"];
    place.ibtools("backup tree store").bad(&said);
    place.ibtools("prune store --keep-last 1").bad(&said);
    place.write("store/notes", "mine");
    place.ibtools("init store").bad(&["it has archives, and other files too, such as notes"]);
    fs::remove_file(place.path("store/notes")).unwrap();
    assert_eq!(place.ibtools("init store").good(), "store is a store now: 2 snapshots\n");
    assert!(place.ibtools("backup tree store").good().starts_with("nothing changed"));
    // What somebody puts beside the archives later is in nobody's way.
    place.write("store/notes", "mine");
    place.ibtools("backup tree store").good();
}

/// A store of a later program, or one whose marker is damaged, is not written to.
#[test]
fn a_marker_that_cannot_be_used_says_why() {
    let place = backed_up();
    for (text, said) in [
        ("format = 2\n", "its format is 2, and this program knows 1"),
        ("nonsense", "it does not say `format = 1`"),
    ] {
        place.write("store/store.toml", text);
        place.ibtools("backup tree store").bad(&["cannot use store.toml", said]);
    }
}

/// What other programs take for a place on another machine is no directory of that name.
#[test]
fn names_of_places_on_other_machines_are_no_directories() {
    let place = Place::new();
    plant(&place);
    for (name, said) in [
        ("s3:bucket", "s3://BUCKET/PREFIX"),
        ("b2:bucket", "s3://BUCKET/PREFIX"),
        ("http://host/bucket", "AWS_ENDPOINT_URL=http://host"),
        ("sftp://host", "names no directory"),
        ("C:/backups", "drive of Windows"),
    ] {
        for command in ["init NAME", "backup --init tree NAME", "restore NAME copy", "verify NAME"]
        {
            let said = ["is no address of a store", said];
            place.ibtools(&command.replace("NAME", name)).bad(&said);
        }
    }
    // An archive is a file of this machine.
    let said = ["looks like a place on another machine", "mount it"];
    place.ibtools("apply tree me@host:archive.tgz").bad(&said);
    assert_eq!(names(&place, "."), ["tree"]);
    place.ibtools("backup --init tree ./me@host:dir").good();
    place.ibtools("backup tree me@host:dir").good();
}

/// A store keeps the snapshots of one tree. Another one is not taken for it: all of the first would count as deleted.
#[test]
fn another_source_is_refused_unless_it_is_said_to_be_the_same() {
    let place = backed_up();
    place.write("music/song", "la");
    let said = ["the store has the snapshots of ", "/tree", "/music is another tree", "--as NAME"];
    place.ibtools("backup music store").bad(&said);
    assert!(place.ibtools("show store").good().contains("2 snapshots"));
    // The tree moves.
    fs::rename(place.path("tree"), place.path("moved")).unwrap();
    place.ibtools("backup moved store").bad(&["/moved is another tree"]);
    place.write("moved/new", "more");
    place.ibtools("backup moved store --as tree").good();
    fs::rename(place.path("moved"), place.path("again")).unwrap();
    place.ibtools("backup again store --as tree").good();
    place
        .ibtools("backup again store --as music")
        .bad(&["(tree), and ", "(music) is another tree"]);
    assert_eq!(place.ibtools("backup again store --as=").code, Some(2), "no name is none");
    // A copy of the archives knows whose they are, and so does a squashed one.
    let before = place.ibtools("snapshots store --json").json();
    place.ibtools("prune store --keep-last 1").good();
    let list = place.ibtools("snapshots store --json").json();
    assert_eq!(list["snapshots"].as_array().unwrap().len(), 1);
    for key in ["host", "path", "name", "files", "bytes", "snapshot"] {
        assert_eq!(list["snapshots"][0][key], before["snapshots"][2][key], "{key}");
    }
    place.ibtools("backup music store").bad(&["(tree)"]);
}

/// The same tree gives the same archive for every user and machine: only a store notes who and where.
#[test]
fn an_archive_outside_a_store_says_nothing_of_its_maker() {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o one.tgz").good();
    fs::rename(place.path("tree"), place.path("other")).unwrap();
    place.ibtools("diff other -o two.tgz").good();
    assert!(fs::read(place.path("one.tgz")).unwrap() == fs::read(place.path("two.tgz")).unwrap());
}

/// Promise: where root restores without owners, a warning says so and names the option.
#[test]
fn a_warning_names_owners_that_root_did_not_bring_back() {
    let place = Place::new();
    place.write("tree/mine", "mine");
    if std::os::unix::fs::chown(place.path("tree/mine"), Some(1234), Some(1234)).is_err() {
        println!("SKIPPED: only root gives files away");
        return;
    }
    place.ibtools("backup --init tree store").good();
    let run = place.ibtools("restore store plain");
    assert_eq!(run.code, Some(0));
    assert_eq!(run.err.matches("--privileged").count(), 1, "{}", run.err);
    place.ibtools("restore store owned --privileged").good();
}
