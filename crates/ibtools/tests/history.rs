//! `ibtools log` and `find`, and paths as people type them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::{Place, backed_up, plant_many};

/// A store in which `tree/many` moves as a whole, a file in it changes, moves by itself and goes.
fn moving() -> (Place, Vec<String>) {
    let place = Place::new();
    plant_many(&place);
    place.ibtools("backup --init tree store").good();
    fs::rename(place.path("tree/many"), place.path("tree/more")).unwrap();
    place.ibtools("backup tree store").good();
    let mut large = common::noise(100_000, 5);
    large.extend_from_slice(b"more");
    place.write("tree/more/in/large", large);
    place.ibtools("backup tree store").good();
    fs::rename(place.path("tree/more/in/large"), place.path("tree/large.bin")).unwrap();
    place.ibtools("backup tree store").good();
    fs::remove_file(place.path("tree/large.bin")).unwrap();
    place.ibtools("backup tree store").good();
    let json = place.ibtools("snapshots store --json").json();
    let ids = json["snapshots"].as_array().unwrap().iter();
    let ids = ids.map(|it| it["snapshot"].as_str().unwrap().to_owned()).collect();
    (place, ids)
}

/// Promise: a file is followed back through its moves, and those of the directories around it.
#[test]
fn a_log_tells_what_became_of_a_file() {
    let (place, ids) = moving();
    let out = place.ibtools("log store large.bin").good();
    let lines: Vec<&str> = out.lines().collect();
    for (line, wanted) in lines.iter().zip([
        format!("{}  A many/in/large (97.66 KiB), 20", ids[0]),
        format!("{}  R many/in/large -> more/in/large (97.66 KiB), 20", ids[1]),
        format!("{}  M more/in/large (97.66 KiB, as a delta), 20", ids[2]),
        format!("{}  R more/in/large -> large.bin (97.66 KiB), 20", ids[3]),
        format!("{}  D large.bin", ids[4]),
    ]) {
        assert!(line.starts_with(&wanted), "{line}\n{wanted}");
    }
    assert_eq!(lines.len(), 5, "{out}");
    let json = place.ibtools("log store ./large.bin/ --json").json();
    let events = json["events"].as_array().unwrap();
    let words: Vec<_> = events.iter().map(|event| event["change"].as_str().unwrap()).collect();
    assert_eq!(words, ["created", "moved", "updated", "moved", "deleted"]);
    assert_eq!(
        (&events[1]["from"], &events[2]["size"]),
        (&"many/in/large".into(), &100_004.into())
    );
    let out = place.ibtools("log store many/in/large").good();
    let went = format!("{}  R many/in/large -> more/in/large\n", ids[1]);
    assert!(out.ends_with(&went), "{out}");
}

/// Promise: a search names each path that matches, from which to which snapshot each version was there.
#[test]
fn a_search_says_from_when_to_when() {
    let (place, ids) = moving();
    let out = place.ibtools("find store large*").good();
    let paths: Vec<&str> = out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(paths, ["large.bin", "many/in/large", "more/in/large", "3 paths in 5 snapshots"]);
    let json = place.ibtools("find store more/**/large --json").json();
    let versions = json["matches"][0]["versions"].as_array().unwrap();
    let found: Vec<_> =
        versions.iter().map(|it| (it["first"].clone(), it["last"].clone())).collect();
    let id = |at: usize| serde_json::Value::from(ids[at].clone());
    assert_eq!(found, [(id(1), id(1)), (id(2), id(2))]);
    assert_eq!((&versions[1]["went"], &versions[1]["to"]), (&"moved".into(), &"large.bin".into()));
    let none = place.ibtools("find store nothing");
    assert_eq!((none.code, none.out.as_str()), (Some(1), "0 paths in 5 snapshots\n"));
    place.ibtools("find store [a").bad(&["[a is no pattern"]);
}

/// Promise: snapshots without a chain to them are said.
#[test]
fn what_cannot_be_looked_at_is_said() {
    let (place, ids) = moving();
    let archive = fs::read_dir(place.path("store")).unwrap().map(|entry| entry.unwrap().path());
    let mut archives: Vec<_> =
        archive.filter(|it| it.extension().is_some_and(|it| it == "tgz")).collect();
    archives.sort();
    fs::remove_file(&archives[2]).unwrap();
    for verb in ["find store large", "log store more/in/large"] {
        let run = place.ibtools(verb);
        let said = format!("2 snapshots not looked at, from {} to {}", ids[3], ids[4]);
        assert!(run.code == Some(0) && run.err.contains(&said), "{}", run.err);
    }
}

/// Promise: a path is taken as people type it, and a wrong one is answered with the near one.
#[test]
fn paths_as_people_type_them() {
    let place = backed_up();
    let tree = fs::canonicalize(place.path("tree")).unwrap();
    let tree = tree.to_str().unwrap();
    let wanted = place.ibtools("ls store dir").good();
    for path in ["./dir", "dir/", "dir//.", "/dir", &format!("{tree}/dir"), &format!("{tree}/dir/")]
    {
        assert_eq!(place.ibtools(&format!("ls store {path}")).good(), wanted, "{path}");
        place.ibtools(&format!("restore store back{} --path {path}", path.len())).good();
    }
    assert_eq!(place.ibtools(&format!("cat store {tree}/text")).good(), "contents1");
    place.ibtools(&format!("log store {tree}/dir/large")).good();
    place.ibtools(&format!("find store {tree}/dir/*")).good();
    for verb in ["ls store", "cat store", "log store", "restore store out --path"] {
        place
            .ibtools(&format!("{verb} dir/lagre"))
            .bad(&["there is no dir/lagre; is it dir/large?"]);
        place
            .ibtools(&format!("{verb} Dri/large"))
            .bad(&["there is no Dri/large; is it dir/large?"]);
        place
            .ibtools(&format!("{verb} completely/else"))
            .bad(&["there is no completely/else; `ibtools ls`"]);
    }
}

/// Promise: who looks for `diff` of two snapshots, as other programs have it, learns what it is called here.
#[test]
fn a_diff_of_a_store_is_answered_with_changes() {
    let place = backed_up();
    for args in ["diff store 2026 2027", "diff store"] {
        place.ibtools(args).bad(&["store is a store: `ibtools changes store A B` lists"]);
    }
}

/// Promise: patterns restore all that match, and nothing matched is a failure.
#[test]
fn patterns_restore_what_matches() {
    let place = Place::new();
    for name in ["june/1.jpg", "june/2.jpg", "june/2.txt", "july/1.jpg", "[x].jpg", "x.jpg"] {
        place.write(&format!("tree/{name}"), name);
    }
    place.ibtools("backup --init tree store").good();
    let files = |dest: &str| -> Vec<String> {
        let files = place.snapshot(dest).into_iter().filter(|(_, it)| !it.3.is_empty());
        files.map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
    };
    place.ibtools("restore store a --path j*/1.jpg").good();
    assert_eq!(files("a"), ["july/1.jpg", "june/1.jpg"]);
    place.ibtools("restore store b --path **/2.*").good();
    assert_eq!(files("b"), ["june/2.jpg", "june/2.txt"]);
    // What is called so is meant.
    place.ibtools("restore store c --path [x].jpg").good();
    assert_eq!(files("c"), ["[x].jpg"]);
    place.ibtools("restore store d --path *.png").bad(&["nothing in store", "matches *.png"]);
    assert!(!place.path("d").exists());
}
