//! What counts of a directory, and how it is read: the options of `index`, `diff` and `compare`.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fs;

use common::Place;
use incremental_backups_tools::dirindex::{Record, Time};
use incremental_backups_tools::{Digest, DirIndex, Node, RelPath};

#[test]
fn what_is_newly_left_out_is_not_said_to_be_deleted() {
    let place = Place::new();
    place.write("tree/build/object", "an object");
    place.write("tree/large", "x".repeat(3000));
    place.write("tree/gone", "");
    place.write("tree/kept", "");
    place.ibtools("diff tree -o full.tgz --index i").good();
    fs::remove_file(place.path("tree/gone")).unwrap();
    let rules = "--exclude build/ --exclude-larger-than 2K";
    let run = place.ibtools(&format!("compare tree i {rules}"));
    assert_eq!(run.code, Some(1));
    for line in ["X build/", "X build/object", "D gone", "X large"] {
        assert!(run.out.lines().any(|found| found == line), "`{line}` is not in:\n{}", run.out);
    }
    assert!(run.out.ends_with("1 deleted, 3 newly excluded\n"), "{}", run.out);
    place.ibtools(&format!("diff tree --base i -o inc.tgz --index i {rules}")).good();
    let shown = place.ibtools("show inc.tgz").good();
    assert!(shown.contains("X build/object\n") && shown.contains("D gone\n"), "{shown}");
    let json = place.ibtools("show inc.tgz --json").json();
    assert_eq!((&json["totals"]["deleted"], &json["totals"]["excluded"]), (&1.into(), &3.into()));
    let changes = json["changes"].as_array().unwrap();
    assert!(changes.iter().any(|c| c["path"] == "large" && c["change"] == "excluded"));
    // The copy becomes what the new index says, and the index knows no more of what was left out.
    place.ibtools("apply copy full.tgz inc.tgz").good();
    assert_eq!(place.snapshot("copy").len(), 1);
    assert_eq!(place.ibtools(&format!("compare tree i {rules}")).good(), "nothing changed\n");
}

#[test]
fn an_index_without_signatures_is_small_and_stores_changes_whole() {
    let place = Place::new();
    let content = |last: u8| {
        (0..100_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8 ^ last).collect::<Vec<_>>()
    };
    place.write("tree/large", content(0));
    place.ibtools("index tree -o with").good();
    place.ibtools("index tree -o without --no-signatures").good();
    let len = |name| fs::metadata(place.path(name)).unwrap().len();
    assert!(len("without") + 1500 < len("with"));
    assert_eq!(place.ibtools("compare tree without").good(), "nothing changed\n");
    place.ibtools("diff tree -o full.tgz").good();
    let mut changed = content(0);
    changed[50_000] ^= 1;
    place.write("tree/large", changed);
    assert_eq!(place.ibtools("compare tree without").code, Some(1));
    let stored = |base| {
        place.ibtools(&format!("diff tree --base {base} -o inc.tgz --index next")).good();
        place.ibtools("show inc.tgz").good()
    };
    assert!(stored("with").contains("as a delta"));
    assert!(!stored("without").contains("as a delta"));
    assert!(len("without") + 1500 < len("next"), "the next one has signatures");
    place.ibtools("apply copy full.tgz inc.tgz").good();
    assert_eq!(place.snapshot("copy"), place.snapshot("tree"));
}

#[test]
fn caches_and_other_exclude_files() {
    let place = Place::new();
    place.write("tree/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55");
    place.write("tree/cache/file", "");
    place.write("tree/.gitignore", "ignored\n");
    place.write("tree/.exclude", "excluded\n");
    place.write("tree/ignored", "");
    place.write("tree/excluded", "");
    place.write("tree/.hidden", "");
    let listed = |options: &str| {
        place.ibtools(&format!("index tree -o i --no-map -x --threads 1 {options}")).good();
        let json = place.ibtools("show i --json").json();
        let entries = json["entries"].as_array().unwrap().clone();
        let paths = entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned());
        paths.collect::<Vec<_>>()
    };
    let all = [".exclude", ".gitignore", ".hidden", "cache", "cache/CACHEDIR.TAG"];
    assert_eq!(listed(""), [&all[..], &["cache/file", "ignored"]].concat());
    let options = "--exclude-caches --exclude-file .gitignore --exclude-file .exclude";
    assert_eq!(listed(options), all);
}

#[test]
fn an_exclude_file_that_cannot_be_used_is_a_warning_or_with_strict_an_error() {
    let place = Place::new();
    place.write("tree/mallory/.exclude", "file\na[secret\n");
    place.write("tree/mallory/file", "");
    place.write("tree/alice/.exclude/in", "");
    place.write("tree/alice/file", "");
    let run = place.ibtools("backup --init tree store --strict");
    assert_eq!(run.code, Some(0), "{}", run.err);
    let warned: Vec<&str> = run.err.lines().collect();
    let of_alice =
        "ibtools: warning: alice/.exclude: not used as an exclude file: it is a directory";
    let of_mallory =
        "ibtools: warning: mallory/.exclude: line 2 leaves nothing out: its `[` is not";
    assert!(warned.len() == 2 && warned[0] == of_alice, "{}", run.err);
    assert!(warned[1].starts_with(of_mallory) && !run.err.contains("secret"), "{}", run.err);
    place.ibtools("restore store back").good();
    assert!(place.path("back/alice/file").exists() && !place.path("back/mallory/file").exists());
    let json = place.ibtools("index tree -o i --json").json();
    let kinds = json["problems"].as_array().unwrap().iter().map(|problem| &problem["kind"]);
    assert!(kinds.eq([&serde_json::json!("exclude"); 2]), "{json}");
    for (tree, words) in
        [("alice", ["/.exclude", "exclude file"]), ("mallory", [".exclude:2", "`[`"])]
    {
        place.ibtools(&format!("index tree/{tree} -o i --strict-excludes")).bad(&words);
    }
    place.ibtools("index tree -o i --strict-excludes").bad(&["/.exclude"]);
}

#[test]
fn patterns_come_from_files_of_the_callers_and_mistaken_ones_are_refused() {
    let place = Place::new();
    for file in ["a.o", "sub/a.o", "top", "sub/top"] {
        place.write(&format!("tree/{file}"), "");
    }
    place.write("list", "# of mine\n/top\n*.o\n");
    place.write("tree/sub/.exclude", "!*.o\n");
    place.ibtools("index tree -o i --exclude-from list --exclude !/sub/a.o").good();
    let json = place.ibtools("show i --json").json();
    let paths = json["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str());
    assert!(paths.eq(["sub", "sub/.exclude", "sub/a.o", "sub/top"].map(Some)), "{json}");
    let inside = place.path("tree/top");
    for (rule, words) in [
        ("--exclude ./top", &["./top", "leaves nothing out"][..]),
        ("--exclude ../list", &["../list", "leaves nothing out"]),
        ("--exclude a[", &["a[", "not closed"]),
        (&format!("--exclude {}", inside.display()), &["write /top"]),
        ("--exclude-file ./list", &["./list", "--exclude-from"]),
        ("--exclude-file ../list", &["../list", "--exclude-from"]),
        ("--exclude-from none", &["none", "No such file"]),
        ("--exclude-from tree", &["tree", "directory"]),
    ] {
        place.ibtools(&format!("index tree -o out {rule}")).bad(words);
    }
}

#[test]
fn rot_is_told_and_is_the_answer_no() {
    let place = Place::new();
    place.write("tree/corrupt", "x".repeat(5000));
    let began = std::time::Instant::now();
    while began.elapsed().as_millis() < 80 {
        std::thread::yield_now();
    }
    place.ibtools("index tree -o now").good();
    assert_eq!(place.ibtools("compare tree now --verify").good(), "nothing changed\n");
    // An index of the tree as it was before bits of it turned.
    let now = DirIndex::from_file(place.path("now")).unwrap();
    let mut record: Record = now.record(&RelPath::new("corrupt").unwrap()).unwrap().clone();
    record.entry.node = Node::File { len: 5000, digest: Digest::of(b"what it was") };
    record.signature = None;
    // Read long after it was written: sooner than that, a difference is a change.
    let before = DirIndex::from_records([record]).unwrap().with_early_from(Time::MAX);
    before.to_file(place.path("before")).unwrap();

    assert_eq!(place.ibtools("compare tree before").good(), "nothing changed\n");
    let run = place.ibtools("compare tree before --verify");
    assert_eq!((run.code, run.out.as_str()), (Some(1), "nothing changed; 1 corrupt\n"));
    assert!(run.err.contains("warning: corrupt is corrupt: "), "{}", run.err);
    assert!(run.err.ends_with(": bytes 0 to 4999\n"), "{}", run.err);
    let json = place.ibtools("compare tree before --verify --json").json();
    let problem = &json["problems"][0];
    assert_eq!((&json["same"], &problem["kind"]), (&false.into(), &"corrupt".into()));
    assert_eq!(problem["ranges"], serde_json::json!([[0, 5000]]));
    let run = place.ibtools("index tree --since before --verify -o after");
    assert_eq!(run.code, Some(1));
    // What is corrupt does not get into backups.
    let after = DirIndex::from_file(place.path("after")).unwrap();
    assert_eq!(after, DirIndex::from_file(place.path("before")).unwrap());
    let run = place.ibtools("index tree --verify -o x");
    assert_eq!(run.code, Some(2));
}
