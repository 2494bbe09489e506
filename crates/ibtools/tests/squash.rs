//! `ibtools squash`: one archive of several.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, edit, plant, plant_many};

/// A full backup and two increments, and the state of the tree at each.
fn backed_up() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o 0.tgz --index index").good();
    edit(&place);
    place.ibtools("diff tree --base index -o 1.tgz --index index").good();
    fs::rename(place.path("tree/new"), place.path("tree/dir/newer")).unwrap();
    place.write("tree/text", "contents3");
    place.ibtools("diff tree --base index -o 2.tar.zst --index index").good();
    place
}

#[test]
fn one_archive_does_what_all_of_them_do() {
    let place = backed_up();
    place.ibtools("squash 0.tgz 1.tgz 2.tar.zst -o all.tgz").good();
    place.ibtools("restore all.tgz copy").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));

    place.ibtools("squash 1.tgz 2.tar.zst -o both.tar.zst").good();
    place.ibtools("apply later 0.tgz both.tar.zst").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("later"));
    let len = |name: &str| fs::metadata(place.path(name)).unwrap().len();
    assert!(len("both.tar.zst") < len("1.tgz") + len("2.tar.zst"));
}

#[test]
fn the_document_says_what_was_made_of_what() {
    let place = backed_up();
    let document = place.ibtools("--json squash 1.tgz 2.tar.zst -o both.tgz").json();
    let len = |name: &str| fs::metadata(place.path(name)).unwrap().len();
    assert_eq!(document["archive"], "both.tgz");
    assert_eq!(document["archive_bytes"], len("both.tgz"));
    assert_eq!(document["full"], false);
    assert_eq!(document["parts"][1]["archive"], "2.tar.zst");
    assert_eq!(document["parts"][1]["archive_bytes"], len("2.tar.zst"));
    let show = |file: &str| place.ibtools(&format!("--json show --summary {file}")).json();
    assert_eq!(document["base"], show("1.tgz")["base"]);
    assert_eq!(document["result"], show("2.tar.zst")["result"]);
    assert_eq!(document["totals"], show("both.tgz")["totals"]);
    let text = place.ibtools("squash 1.tgz 2.tar.zst -o both.tgz").good();
    assert!(text.starts_with("both.tgz (") && text.contains("from 2 archives ("), "{text}");
}

#[test]
fn what_cannot_be_squashed_is_said_and_nothing_is_written() {
    let place = backed_up();
    place.write("there.tgz", "as it was");
    place.ibtools("squash 0.tgz 2.tar.zst -o there.tgz").bad(&["0.tgz", "2.tar.zst", "leads to"]);
    place.ibtools("squash 0.tgz 1.tgz -o 1.tgz").bad(&["1.tgz is needed"]);
    let mut bent = fs::read(place.path("0.tgz")).unwrap();
    let at = bent.len() / 2;
    bent[at] ^= 1;
    place.write("bent.tgz", bent);
    place
        .ibtools("squash bent.tgz 1.tgz -o there.tgz")
        .bad(&["cannot squash into there.tgz", "bent.tgz"]);
    assert_eq!(fs::read(place.path("there.tgz")).unwrap(), b"as it was");
}

/// A full backup, and increments in which a directory is moved, then edited in, then moved again.
fn moved() -> Place {
    let place = Place::new();
    plant_many(&place);
    place.ibtools("diff tree -o 0.tgz --index 0.index").good();
    let rename = |from: &str, to: &str| {
        fs::rename(place.path("tree").join(from), place.path("tree").join(to)).unwrap();
    };
    let backup = |number: usize| {
        let base = number - 1;
        let args = format!("diff tree --base {base}.index -o {number}.tgz --index {number}.index");
        place.ibtools(&args).good();
    };
    place.write("tree/many/3", "edited before");
    backup(1);
    rename("many", "more");
    backup(2);
    rename("more", "most");
    backup(3);
    place.write("tree/most/4", "edited after");
    backup(4);
    place
}

#[test]
fn increments_that_move_a_directory_want_the_index_before_them() {
    let place = moved();
    place.ibtools("squash 1.tgz 2.tgz 3.tgz -o no.tgz").bad(&[
        "cannot squash into no.tgz",
        ": 2.tgz moves the directory many ",
        "those before them",
        "--base INDEX",
    ]);
    assert!(!place.path("no.tgz").exists());
    place.ibtools("squash 1.tgz 2.tgz 3.tgz -o 13.tgz --base 0.index").good();
    let once = place.ibtools("squash 2.tgz 3.tgz -o 23.tgz --base 1.index").good();
    assert!(once.contains(": 1 moved (with 24 below); from 2 archives"), "{once}");
    place.ibtools("squash 2.tgz 3.tgz 4.tgz -o 24.tgz --base 1.index").good();
    place.ibtools("squash 0.tgz 1.tgz 2.tgz 3.tgz 4.tgz -o all.tgz").good();
    for chain in ["0.tgz 13.tgz 4.tgz", "0.tgz 1.tgz 23.tgz 4.tgz", "0.tgz 1.tgz 24.tgz", "all.tgz"]
    {
        place.ibtools(&format!("apply copy {chain}")).good();
        assert_eq!(place.snapshot("tree"), place.snapshot("copy"), "{chain}");
        fs::remove_dir_all(place.path("copy")).unwrap();
    }
}

#[test]
fn a_base_is_that_of_the_first_increment() {
    let place = moved();
    place
        .ibtools("squash 2.tgz 3.tgz -o no.tgz --base 0.index")
        .bad(&["0.index is the index of the tree ", "2.tgz to 3.tgz starts from "]);
    place
        .ibtools("squash 0.tgz 1.tgz -o no.tgz --base 0.index")
        .bad(&["0.tgz to 1.tgz starts from nothing", "--base"]);
    place.ibtools("squash 2.tgz 3.tgz -o 1.index --base 1.index").bad(&["1.index is needed"]);
    assert!(!place.path("no.tgz").exists());
}
