//! `ibtools squash`: one archive of several.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, edit, plant};

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
