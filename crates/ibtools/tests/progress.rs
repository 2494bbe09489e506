//! How far the work is, for people and for programs.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Place, plant, run};

/// Promise: `--progress=json` says on standard error, in lines of JSON, what is being done and how far it is; never more than
/// 100 %, and nothing of it is on standard output.
#[test]
fn progress_is_there_for_programs() {
    let place = Place::new();
    plant(&place);
    for verb in [
        "backup --init tree store",
        "backup tree store --full",
        "restore store copy",
        "verify store",
        "prune store --keep-last 1",
    ] {
        let ran = place.ibtools(&format!("{verb} --json --progress=json"));
        ran.json();
        let mut lines = ran.err.lines().peekable();
        assert!(lines.peek().is_some(), "{verb}");
        for line in lines {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["progress"].as_str().is_some_and(|doing| !doing.is_empty()), "{line}");
            assert!(line["percent"].as_u64().is_none_or(|percent| percent < 100), "{line}");
            for field in ["bytes", "entries", "seconds"] {
                assert!(line[field].is_number(), "{field}: {line}");
            }
        }
    }
    let quiet = run(place.command("verify store").env("IBTOOLS_PROGRESS", "none"));
    assert_eq!(quiet.err, "");
    place.ibtools("verify store --progress=loud").bad(&["loud", "auto, text, json, none"]);
}
