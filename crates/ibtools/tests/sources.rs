//! What a backup is of: several trees, listed paths, standard input; and what a marked directory leaves out.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Place, plant, run};

fn below(place: &Place, name: &str) -> String {
    place.path(name).canonicalize().unwrap().to_str().unwrap().trim_start_matches('/').to_owned()
}

/// Promise: several sources are in the snapshot by their absolute paths, with the directories that lead there and nothing
/// else; and another source moves nothing.
#[test]
fn several_sources_are_in_one_snapshot() {
    let place = Place::new();
    plant(&place);
    place.write("etc/ssh/config", "ssh");
    place.write("etc/other", "other");
    place.write("beside", "in no snapshot");
    place.write("single", "a file alone");
    place.ibtools("backup --init tree etc store").good();
    let list = place.ibtools("ls store -r").good();
    assert!(list.contains(&format!("{}/ssh/config", below(&place, "etc"))), "{list}");
    assert!(!list.contains("beside") && !list.contains("store"), "{list}");
    place.ibtools(&format!("restore store copy --path {}/ssh", below(&place, "etc"))).good();
    assert_eq!(
        fs::read(place.path(&format!("copy/{}/ssh/config", below(&place, "etc")))).unwrap(),
        b"ssh"
    );
    place.ibtools("restore store all").good();
    assert!(place.snapshot(&format!("all/{}", below(&place, "tree"))) == place.snapshot("tree"));
    let json = place.ibtools("backup tree etc single store --json").json();
    assert_eq!(
        (&json["totals"]["created"], &json["totals"]["moved"]),
        (&1.into(), &0.into()),
        "{json}"
    );
    // A link on the way is followed, and one that is named is kept.
    symlink("etc", place.path("link")).unwrap();
    let json = place.ibtools("backup tree link/ssh etc/other single link store --json").json();
    assert_eq!(json["totals"]["created"], 1, "{json}");
    place.ibtools("backup tree nothing store").bad(&["cannot find nothing"]);
    // Patterns begin at the top, which is /.
    let pattern = format!("/{}/ssh", below(&place, "etc"));
    place.ibtools(&format!("backup tree etc store --exclude {pattern}")).good();
    assert!(!place.ibtools("ls store -r").good().contains("ssh"));
}

/// Promise: a store in one of several sources does not become part of the backup.
#[test]
fn a_store_in_one_of_several_sources_is_refused() {
    let place = Place::new();
    place.write("a/file", "a");
    place.write("b/file", "b");
    place.ibtools("backup --init a b b/store").bad(&["would become part of the backup"]);
}

/// Promise: only listed paths are in the snapshot, with what is below them.
#[test]
fn a_list_says_what_counts() {
    let place = Place::new();
    plant(&place);
    place.write("list", "./dir/inner\ntext\n\nempty/\n");
    place.ibtools("backup --init tree store --files-from list").good();
    let list = place.ibtools("ls store -r").good();
    for name in ["dir/inner/moves", "text", "empty"] {
        assert!(list.contains(name), "{name}: {list}");
    }
    assert!(!list.contains("large") && !list.contains("text-again"), "{list}");
    place.write("list0", b"text\0line\nbreak \x1b[31mred\0".as_slice());
    place.piped("list0", "backup tree store --files-from - --from0", "/tmp").good();
    let list = place.ibtools("ls store -r").good();
    assert!(list.contains("break") && !list.contains("inner"), "{list}");
    place.write("list", "nothing\ntext\nno/more\n");
    let run = place.ibtools("backup tree store --files-from list");
    assert!(run.err.contains("warning: nothing is not in tree, nor are 1 more"), "{}", run.err);
    place.write("list", "../out\n");
    place.ibtools("backup tree store --files-from list").bad(&["list, line 1", "../out"]);
    place.write("list", "\n");
    place.ibtools("backup tree store --files-from list").bad(&["lists no path"]);
}

/// Promise: a marked directory is kept with the mark, and without the rest.
#[test]
fn a_mark_leaves_out_its_directory() {
    let place = Place::new();
    plant(&place);
    place.write("tree/dir/.nobackup", "");
    place.write("tree/sub/.nobackup/large", "a directory of that name marks too");
    place.ibtools("backup --init tree store --exclude-if-present .nobackup").good();
    let list = place.ibtools("ls store -r").good();
    assert!(list.contains(" dir/.nobackup\n") && list.matches("dir/large").count() == 1, "{list}");
    place
        .ibtools("backup tree store --exclude-if-present a/b")
        .bad(&["a/b", "--exclude-if-present"]);
}

/// Promise: standard input is one file of the snapshot; an empty one is refused.
#[test]
fn standard_input_is_backed_up() {
    let place = Place::new();
    place.write("dump", "the database");
    place.ibtools("init store").good();
    place.piped("dump", "backup --stdin-name db/dump.sql store", "/tmp").good();
    assert_eq!(place.ibtools("cat store db/dump.sql").good(), "the database");
    place.write("dump", "the database, later");
    place.piped("dump", "backup --stdin-name db/dump.sql store", "/tmp").good();
    assert!(place.ibtools("snapshots store").good().contains("2 snapshots"));
    place
        .ibtools("backup --stdin-name db/dump.sql store")
        .bad(&["standard input is empty", "--allow-emptied"]);
    place.ibtools("backup --stdin-name ../dump store").bad(&["--stdin-name ../dump"]);
    place.ibtools("backup --stdin-name dump tree store").bad(&["STORE alone"]);
    let listed = run(&mut place.command("snapshots store")).good();
    assert!(listed.contains("stdin:db/dump.sql"), "{listed}");
}
