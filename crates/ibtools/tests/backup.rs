//! `ibtools backup` and `show STORE`: snapshots in a store, as a user sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use common::{Place, backed_up, edit, noise, plant, run, unprivileged};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;

/// The archives in the store, in the order of time, as `apply` wants them.
fn archives(place: &Place, store: &str) -> Vec<String> {
    let names = fs::read_dir(place.path(store)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains('-')).collect();
    names.sort();
    names.iter().map(|name| format!("{store}/{name}")).collect()
}

fn indexes(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.path("store")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".index")).collect()
}

#[test]
fn first_all_then_what_has_changed_then_nothing() {
    let place = Place::new();
    plant(&place);
    let out = place.ibtools("backup --init tree store").good();
    assert!(out.contains("-full.tgz (") && out.contains("14 created"), "{out}");
    assert!(out.contains("\nstore: 1 snapshot, "), "{out}");
    let first = place.snapshot("tree");
    let out = place.ibtools("backup --init tree store").good();
    assert!(
        out.starts_with("nothing changed since 2") && out.contains("store: 1 snapshot, "),
        "{out}"
    );
    edit(&place);
    let out = place.ibtools("backup --init tree store").good();
    assert!(out.contains("-since-2") && out.contains(" moved, "), "{out}");
    assert!(out.contains("\nstore: 2 snapshots, "), "{out}");
    // The archives are ordinary ones.
    let archives = archives(&place, "store");
    place.ibtools(&format!("apply copy {}", archives[0])).good();
    assert_eq!(place.snapshot("copy"), first);
    place.ibtools(&format!("apply copy {}", archives.join(" "))).good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
    // And there is one index, of the newest snapshot.
    let [index] = &indexes(&place)[..] else { panic!("not one index") };
    assert_eq!(place.ibtools(&format!("compare tree store/{index}")).good(), "nothing changed\n");
}

#[test]
fn the_documents_say_what_the_text_says() {
    let place = Place::new();
    plant(&place);
    let full = place.ibtools("backup --init tree store --json").json();
    assert_eq!((&full["changed"], &full["full"]), (&true.into(), &true.into()));
    assert_eq!((&full["snapshots"], &full["totals"]["created"]), (&1.into(), &14.into()));
    let bytes = |name: &str| fs::metadata(place.path("store").join(name)).unwrap().len();
    let id = full["snapshot"].as_str().unwrap();
    let (archive, index) = (full["archive"].as_str().unwrap(), format!("{id}.index"));
    assert_eq!(archive, format!("{id}-full.tgz"));
    assert_eq!(full["archive_bytes"], bytes(archive));
    assert_eq!(full["index_bytes"], bytes(&index));
    assert_eq!(full["store_bytes"], bytes(archive) + bytes(&index));
    let same = place.ibtools("backup --init tree store --json").json();
    assert_eq!((&same["changed"], &same["snapshot"]), (&false.into(), &full["snapshot"]));
    assert!(same.get("archive").is_none() && same["result"] == full["result"]);
    place.write("tree/text", "other");
    let inc = place.ibtools("backup --init tree store --json").json();
    assert_eq!((&inc["full"], &inc["base"]), (&false.into(), &full["result"]));

    let shown = place.ibtools("show store --json").json();
    assert_eq!((&shown["kind"], &shown["snapshots"]), (&"store".into(), &2.into()));
    assert_eq!(shown["store_bytes"], inc["store_bytes"]);
    assert_eq!(shown["archives"][0]["archive"], full["archive"]);
    assert_eq!(shown["archives"][1]["since"], full["snapshot"]);
    let out = place.ibtools("show store").good();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with(id) && lines[0].ends_with("  full"), "{out}");
    // Backed up in the same second, it has a later id than time, and says so.
    assert!(lines[1].contains(&format!("  since {id}")), "{out}");
    assert!(lines[2].starts_with("2 snapshots, ") && lines.len() == 3, "{out}");
    fs::remove_file(place.path("store").join(archive)).unwrap();
    assert!(place.ibtools("show store").good().contains("lost: what it starts from is missing"));
    assert_eq!(place.ibtools("show store --json").json()["archives"][0]["restorable"], false);
}

#[test]
fn full_when_asked_or_by_rule_and_zstd() {
    let place = Place::new();
    plant(&place);
    let full = |options: &str| {
        let json = place.ibtools(&format!("backup --init tree store --json {options}")).json();
        json.get("full").and_then(serde_json::Value::as_bool)
    };
    assert_eq!(full(""), Some(true));
    assert_eq!(full("--full --zstd"), Some(true));
    assert!(archives(&place, "store").last().unwrap().ends_with("-full.tar.zst"));
    place.write("tree/new", "1");
    assert_eq!(full("--full-after 1"), Some(false));
    assert_eq!(full("--full-after 1"), None, "nothing changed");
    place.write("tree/new", "2");
    assert_eq!(full("--full-after 1"), Some(true));
    place.write("tree/new", noise(900_000, 3));
    assert_eq!(full("--full-ratio 0.5"), Some(false));
    place.write("tree/new", "4");
    assert_eq!(full("--full-ratio 0.5"), Some(true));
    for bad in ["--full-ratio 0", "--full-ratio nan", "--full-after -1"] {
        let run = place.ibtools(&format!("backup --init tree store {bad}"));
        assert_eq!(run.code, Some(2), "{bad}");
    }
}

#[test]
fn a_lost_or_damaged_index_is_made_again() {
    for damage in [true, false] {
        let place = backed_up();
        let [index] = &indexes(&place)[..] else { panic!("not one index") };
        let path = place.path("store").join(index);
        match damage {
            true => fs::write(&path, "no index").unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        place.write("tree/text", "third state");
        let run = place.ibtools("backup --init tree store");
        assert_eq!(run.code, Some(0), "{}", run.err);
        let why = if damage { "cannot be used" } else { "was not there" };
        assert!(run.err.contains(index) && run.err.contains(why), "{}", run.err);
        assert!(run.out.contains("-since-"), "{}", run.out);
        place.ibtools(&format!("apply copy {}", archives(&place, "store").join(" "))).good();
        assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
        assert!(place.ibtools("backup --init tree store").good().starts_with("nothing changed"));
    }
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_backed_up() {
    let place = Place::new();
    place.write("tree/secret", "secret");
    place.write("tree/open", "open");
    fs::create_dir(place.path("out")).unwrap();
    fs::set_permissions(place.path("out"), Permissions::from_mode(0o777)).unwrap();
    let backup = |options: &str| {
        let mut command = unprivileged(&place)?;
        Some(run(command.args(format!("backup --init tree out/store{options}").split(' '))))
    };
    let Some(first) = backup("") else { return };
    first.good();
    // As an interrupted backup leaves it: a tree was scanned and never stored.
    place.write("tree/new", "never stored");
    place.ibtools("index tree -o out/store/20990101T000000Z.index").good();
    let index = place.path("out/store/20990101T000000Z.index");
    fs::set_permissions(index, Permissions::from_mode(0o644)).unwrap();
    for name in ["secret", "new"] {
        fs::set_permissions(place.path("tree").join(name), Permissions::from_mode(0o000)).unwrap();
    }
    place.write("tree/open", "changed");
    let done = backup("").unwrap();
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("warning: secret cannot be read"), "{}", done.err);
    assert!(done.out.contains("; 2 unreadable"), "{}", done.out);
    let archives = archives(&place, "out/store").join(" ");
    place.ibtools(&format!("apply copy {archives}")).good();
    let copied = |name: &str| fs::read_to_string(place.path("copy").join(name)).ok();
    assert_eq!(copied("open").as_deref(), Some("changed"));
    assert_eq!(copied("secret").as_deref(), Some("secret"), "what was backed up is kept");
    assert_eq!(copied("new"), None);
    let strict = backup(" --strict").unwrap();
    assert_eq!(strict.code, Some(1), "{}", strict.err);
    assert!(strict.out.starts_with("nothing changed since "), "{}", strict.out);
}

#[test]
fn stores_that_would_do_harm_or_are_none_are_refused() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup tree tree/store").bad(&["tree/store lies inside tree", "--exclude"]);
    place.ibtools("backup tree tree").bad(&["tree is what is to be read"]);
    place.ibtools("backup tree tree/text").bad(&["tree/text"]);
    place.ibtools("backup --init tree no/such/store").bad(&["make the store no/such/store"]);
    place.ibtools("backup none store").bad(&["none"]);
    assert!(!place.path("tree/store").exists() && !place.path("store").exists());
    place.write("file", "no directory");
    place.ibtools("backup tree file").bad(&["cannot open file", "Not a directory"]);
    // A rule for directories leaves a store out before it is one.
    for rule in ["store/", "store", "/store/"] {
        place.ibtools(&format!("backup --init tree tree/store --exclude {rule}")).good();
    }
    place.ibtools("index tree -o tree/out --exclude out/").bad(&["tree/out lies inside tree"]);
    let archives = archives(&place, "tree/store");
    place.ibtools(&format!("apply copy {}", archives[0])).good();
    assert!(place.path("copy/text").exists() && !place.path("copy/store").exists());
    place.ibtools("show tree").bad(&["there is no store at tree: it has other files"]);
}

#[test]
fn two_at_once_say_so() {
    let place = backed_up();
    let lock = File::open(place.path("store/lock")).unwrap();
    lock.lock().unwrap();
    let words = ["cannot back up tree to store", "another backup or prune is at work"];
    place.ibtools("backup --init tree store").bad(&words);
    // Not only dropped: a child that another test starts just now has a copy of the descriptor until it is replaced.
    lock.unlock().unwrap();
    place.ibtools("backup --init tree store").good();
}
