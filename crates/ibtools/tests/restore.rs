//! `ibtools restore`: a full backup, or single paths of it.

mod common;

use common::{Place, edit, plant};
use std::path::PathBuf;

fn backed_up() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o full.tgz --index old.index").good();
    place
}

#[test]
fn everything_comes_back() {
    let place = backed_up();
    place.ibtools("restore full.tgz copy").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
}

#[test]
fn one_path_comes_back_with_what_is_below_and_above_it() {
    let place = backed_up();
    for (paths, wanted) in [
        ("--path dir/inner", &["dir", "dir/inner", "dir/inner/moves"][..]),
        ("--path dir/inner/moves --path link", &["dir", "dir/inner", "dir/inner/moves", "link"]),
        ("--path empty/", &["empty"]),
        ("--path text-again", &["text", "text-again"]),
    ] {
        let copy = format!("copy {paths}").replace([' ', '/'], "_");
        place.ibtools(&format!("restore full.tgz {copy} {paths}")).good();
        let (tree, copy) = (place.snapshot("tree"), place.snapshot(&copy));
        assert_eq!(
            copy.keys().cloned().collect::<Vec<_>>(),
            wanted.iter().map(PathBuf::from).collect::<Vec<_>>()
        );
        for (path, found) in copy {
            assert_eq!(tree.get(&path), Some(&found), "{path:?}");
        }
    }
}

#[test]
fn the_document_says_what_came_back() {
    let place = backed_up();
    let document = place.ibtools("--json restore full.tgz copy --path dir/inner").json();
    assert_eq!(document["created"], 3);
    assert_eq!(document["bytes"], 19);
    assert_eq!(document["paths"][0], "dir/inner");
    assert_eq!(document["directory"], "copy");
}

#[test]
fn what_cannot_come_back_is_said_and_nothing_is_written() {
    let place = backed_up();
    edit(&place);
    place.ibtools("diff tree --base old.index -o inc.tgz").good();
    place.ibtools("restore inc.tgz copy").bad(&["inc.tgz is no full backup"]);
    place.ibtools("restore full.tgz copy --path no/such").bad(&["there is no no/such"]);
    place.ibtools("restore full.tgz copy --path ../up").bad(&["../up is no path in a backup"]);
    place.ibtools("restore full.tgz no/copy").bad(&["cannot create the directory no/copy"]);
    assert!(!place.path("copy").exists());
    place.write("full/text", "stands here");
    place.ibtools("restore full.tgz full").bad(&["cannot restore full.tgz into full", "text"]);
    assert_eq!(place.snapshot("full").len(), 1);
}

#[test]
fn an_archive_comes_out_of_a_pipe() {
    let place = backed_up();
    let old = place.snapshot("tree");
    place.piped("full.tgz", "restore - copy --path dir", "/tmp").good();
    assert!(place.path("copy/dir/large").exists() && !place.path("copy/text").exists());

    // Applied as it comes: nothing is kept.
    let out = place.piped("full.tgz", "apply all -", "/nowhere").good();
    assert!(out.starts_with("-: "), "{out}");
    assert_eq!(place.snapshot("all"), old);
    edit(&place);
    place.ibtools("diff tree --base old.index -o inc.tar.zst").good();
    let archive = std::fs::read(place.path("inc.tar.zst")).unwrap();
    place.write("cut.tar.zst", &archive[..archive.len() - 100]);
    place
        .piped("cut.tar.zst", "apply all -", "/nowhere")
        .bad(&["cannot apply - to all", "cut short"]);
    assert_eq!(place.snapshot("all"), old);
    let document = place.piped("inc.tar.zst", "--json apply all -", "/nowhere").json();
    assert_eq!(document["archives"][0]["result"], document["result"]);
    assert_eq!(place.snapshot("all"), place.snapshot("tree"));

    // A directory that was made for nothing goes.
    let full = std::fs::read(place.path("full.tgz")).unwrap();
    place.write("cut.tgz", &full[..full.len() - 100]);
    place.piped("cut.tgz", "apply none -", "/nowhere").bad(&["cannot apply - to none"]);
    assert!(!place.path("none").exists());

    // Of several, or before anything is to be done, any place is read.
    place.piped("full.tgz", "apply both - inc.tar.zst", "/tmp").good();
    assert_eq!(place.snapshot("both"), place.snapshot("tree"));
    place.piped("full.tgz", "apply dry - --dry-run", "/tmp").good();
    assert!(!place.path("dry").exists());
}

#[test]
fn volumes_are_given_by_their_last_one() {
    let place = Place::new();
    plant(&place);
    place.write("tree/zz", common::noise(5_000_000, 7));
    let document = place.ibtools("--json diff tree -o full.tgz --volume-size 3M").json();
    assert_eq!(document["archive"], "full.003.tgz");
    assert!(document["archive_bytes"].as_u64().unwrap() > 5_000_000);
    place.ibtools("apply copy full.003.tgz").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
    place.piped("full.001.tgz full.002.tgz full.003.tgz", "apply piped -", "/nowhere").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("piped"));
    std::fs::remove_file(place.path("full.002.tgz")).unwrap();
    place.ibtools("restore full.003.tgz one --path text").good();
    let words = ["cannot restore", "volume full.002.tgz"];
    place.ibtools("restore full.003.tgz two --path zz").bad(&words);
}

/// A path in a backup has no other meaning, however a shell writes it.
#[test]
fn paths_are_taken_as_they_are_meant() {
    let place = common::backed_up();
    let wanted = {
        place.ibtools("restore store wanted --path dir/large").good();
        place.snapshot("wanted")
    };
    for path in
        ["./dir/large", "/dir/large", "dir//large", "dir/./large", "dir/large/", ".//dir/large/."]
    {
        place.ibtools(&format!("restore store out --path {path}")).good();
        assert!(place.snapshot("out") == wanted, "{path}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
    for path in ["/", ".", "./"] {
        place.ibtools(&format!("restore store out --path {path} --path dir")).good();
        assert!(place.snapshot("out") == place.snapshot("tree"), "{path}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
    for path in ["..", "dir/../text", "/../text"] {
        place
            .ibtools(&format!("restore store out --path {path}"))
            .bad(&["no path in a backup", ".."]);
    }
}

/// Promise: a time is what it says. Before the first snapshot there is none, and the answer says which there are.
#[test]
fn times_are_in_the_zone_that_they_name() {
    let place = Place::new();
    std::fs::create_dir(place.path("store")).unwrap();
    for hour in ["00", "01", "02", "03"] {
        place.write("tree/hour", hour);
        place.ibtools(&format!("diff tree -o store/20260701T{hour}3000Z-full.tgz")).good();
    }
    for (at, hour) in [
        ("2026-07-01T03:30", "03"),
        ("2026-07-01T03:30Z", "03"),
        ("2026-07-01T03:30+02:00", "01"),
        ("2026-07-01T03:30[Europe/Berlin]", "01"),
        ("2026-07-01T03:29:59[Europe/Berlin]", "00"),
    ] {
        place.ibtools(&format!("restore store out --at {at}")).good();
        assert_eq!(std::fs::read_to_string(place.path("out/hour")).unwrap(), hour, "{at}");
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
    for at in ["2026-07-01T03:30[Europe/Atlantis]", "2026-07-01T03:30CEST", "2026-07-01+02:00"] {
        place.ibtools(&format!("restore store out --at {at}")).bad(&["store", at]);
    }
    let words = ["2026-06-30", "20260701T003000Z", "20260701T033000Z"];
    place.ibtools("restore store out --at 2026-06-30").bad(&words);
    place.ibtools("squash store -o out.tgz --at 2026-06-30").bad(&words);
}
