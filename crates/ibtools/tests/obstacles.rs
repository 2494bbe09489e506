//! `--skip-obstacles`: all that can be done is done, and what is not is named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs;
use std::process::Command;

use common::changed_copy;

#[test]
fn apply_does_all_else_and_names_what_it_skips() {
    let place = changed_copy();
    fs::write(place.path("copy/dir/large"), "somebody's").unwrap();
    let before = place.snapshot("copy");
    place.ibtools("apply copy 1.tgz").bad(&["dir/large is not as the diff expects"]);
    let dry = place.ibtools("apply copy 1.tgz --skip-obstacles --dry-run");
    assert_eq!(dry.code, Some(1), "{}", dry.err);
    assert!(place.snapshot("copy") == before, "a dry run touched the tree");
    let run = place.ibtools("apply copy 1.tgz --skip-obstacles --json");
    assert_eq!(run.code, Some(1), "{}", run.err);
    let said: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(said["result"], serde_json::Value::Null, "it is not the new tree");
    let named: Vec<&str> = said["unapplied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap())
        .collect();
    assert!(named.contains(&"dir/large"), "{named:?}");
    assert!(
        run.err.contains("dir/large is skipped: dir/large is not as the diff expects"),
        "{}",
        run.err
    );
    let (found, new) = (place.snapshot("copy"), place.snapshot("tree"));
    for path in found.keys().chain(new.keys()) {
        let is_named = path.to_str().is_some_and(|path| named.contains(&path));
        let wanted = if is_named { &before } else { &new };
        assert_eq!(found.get(path), wanted.get(path), "{path:?}");
    }
    let piped = place.piped("1.tgz", "apply copy - --skip-obstacles", "/tmp");
    piped.bad(&["save it in a file first"]);
}

#[test]
fn restore_does_all_else_and_names_what_it_skips() {
    let place = changed_copy();
    let flag = |flag: &str| {
        let done = Command::new("chattr").arg(flag).arg(place.path("copy/dir/large")).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !flag("+i") {
        return testing::needs::impossible("an immutable file");
    }
    place.ibtools("restore full.tgz 1.tgz copy --overwrite").bad(&["dir/large is immutable"]);
    let run = place.ibtools("restore full.tgz 1.tgz copy --overwrite --skip-obstacles");
    assert!(flag("-i"));
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("dir/large is skipped: dir/large is immutable"), "{}", run.err);
    place.ibtools("restore full.tgz 1.tgz copy --overwrite --skip-obstacles").good();
}
