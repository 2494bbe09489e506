//! The verbs that only look: `show` and `compare`; what they print, and their exit codes.

mod common;

use common::{IBTOOLS, Place, edit, plant, plant_many};
use std::process::{Command, Stdio};

#[test]
fn compare_answers_with_its_exit_code() {
    let place = Place::new();
    plant(&place);
    place.ibtools("index tree -o i").good();
    let before = place.snapshot("tree");
    assert_eq!(place.ibtools("compare tree i").good(), "nothing changed\n");
    edit(&place);
    let (edited, index) = (place.snapshot("tree"), std::fs::read(place.path("i")).unwrap());
    assert_ne!(before, edited);
    let run = place.ibtools("compare tree i");
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    for line in [
        "M dir/large",
        "R dir/inner/moves -> moved",
        "D gone/",
        "D gone/deep/file",
        "T becomes-dir/",
        "A becomes-dir/file",
        "A new",
        "m empty/",
        "M link",
    ] {
        assert!(run.out.lines().any(|found| found == line), "`{line}` is not in:\n{}", run.out);
    }
    let quiet = place.ibtools("compare -q tree i");
    assert_eq!((quiet.code, quiet.out.as_str()), (Some(1), ""));
    let json = place.ibtools("compare tree i --json");
    assert_eq!((json.code, &json.json()["same"]), (Some(1), &false.into()));
    assert_eq!(place.snapshot("tree"), edited);
    assert_eq!(std::fs::read(place.path("i")).unwrap(), index);
}

#[test]
fn show_tells_files_by_their_content() {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o a-name --index another-name").good();
    let index = place.ibtools("show another-name").good();
    assert!(index.lines().any(|line| line.starts_with("-rw-------") && line.ends_with(" text")));
    assert!(index.lines().any(|line| line.starts_with('l') && line.ends_with("link -> dir/large")));
    assert!(index.lines().any(|line| line.starts_with('h') && line.ends_with("text-again = text")));
    assert!(index.contains("7 files (") && index.contains("tree id "));
    let archive = place.ibtools("show a-name").good();
    assert!(archive.contains("A dir/large (292.97 KiB)") && archive.contains("full archive, "));
    let summary = place.ibtools("show --summary a-name").good();
    assert_eq!(summary.lines().count(), 3);
    assert!(place.ibtools("show --summary a-name --json").json().get("changes").is_none());
    edit(&place);
    place.write("tree/twin", "twins");
    place.write("tree/twin 2", "twins");
    place.ibtools("diff tree --base another-name -o inc").good();
    let archive = place.ibtools("show inc").good();
    assert!(archive.contains("A twin 2 (5 B, the same as twin)"), "{archive}");
    assert!(archive.contains("5 B in files the same as one of these"), "{archive}");
    assert!(archive.contains("M dir/large (292.98 KiB, as a delta)"), "{archive}");
    let json = place.ibtools("show inc --json").json();
    let changes = json["changes"].as_array().unwrap();
    let change = |path: &str| changes.iter().find(|change| change["path"] == path).unwrap();
    assert_eq!(change("moved")["from"], "dir/inner/moves");
    assert_eq!(
        (&change("moved")["change"], &change("moved")["content"]),
        (&"moved".into(), &"copy".into())
    );
    assert_eq!(change("becomes-dir")["old_kind"], "file");
    assert_eq!(change("dir/large")["base"], "dir/large");
    assert_eq!(change("twin 2")["content"], "same");
    assert_eq!(change("twin 2")["same_as"], "twin");
    assert_eq!(json["totals"]["same_bytes"], 5);
    assert_eq!(change("link")["target"], "new");
    assert_eq!(change("gone")["change"], "deleted");
}

#[test]
fn a_directory_that_moved_is_one_line() {
    let place = Place::new();
    plant_many(&place);
    place.ibtools("diff tree -o full.tgz --index i").good();
    place.other("cp", "-aT tree copy").unwrap().good();
    std::fs::rename(place.path("tree/many"), place.path("tree/more")).unwrap();
    place.write("tree/new", "new");
    let line = "R many/ -> more/ (with 24 below)\n";
    let compared = place.ibtools("compare tree i");
    let totals = "1 created, 1 moved (with 24 below); 3 B in whole files";
    assert_eq!(compared.out, format!("{line}A new\n{totals}\n"));
    let said = place.ibtools("diff tree --base i -o 1.tgz").good();
    assert!(said.contains(totals), "{said}");
    let shown = place.ibtools("show 1.tgz").good();
    assert!(shown.starts_with(&format!("{line}A new (3 B)\n")), "{shown}");
    let preview = place.ibtools("apply copy 1.tgz --dry-run").good();
    assert!(preview.starts_with(&format!("{line}A new\n")), "{preview}");
    place.ibtools("apply copy 1.tgz").good();
    assert_eq!(place.snapshot("tree"), place.snapshot("copy"));
    let preview = place.ibtools("apply copy 1.tgz --dry-run").good();
    assert!(!preview.contains("many") && !preview.contains("new"), "{preview}");

    let json = place.ibtools("show 1.tgz --json").json();
    let change = &json["changes"][0];
    for (key, value) in [
        ("path", "more"),
        ("change", "moved"),
        ("from", "many"),
        ("kind", "directory"),
        ("content", "tree"),
        ("base", "many"),
    ] {
        assert_eq!(change[key], value, "{key}");
    }
    assert_eq!(change["entries"], 24);
    assert_eq!(json["changes"].as_array().unwrap().len(), 2);
    assert_eq!((&json["totals"]["moved"], &json["totals"]["moved_below"]), (&1.into(), &24.into()));
    assert_eq!(json["totals"]["deleted"], 0);
    // What took its place is a line of its own.
    place.write("tree/many", "a file");
    let compared = place.ibtools("compare tree i").out;
    assert!(compared.starts_with(&format!("T many\n{line}")), "{compared}");
}

#[test]
fn odd_names_are_escaped_in_text_and_whole_in_json() {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o full.tgz --index i").good();
    for shown in [place.ibtools("show i").good(), place.ibtools("show full.tgz").good()] {
        assert!(shown.contains("line\\0012break \\0033[31mred"), "{shown}");
        assert!(shown.contains("not\\0377utf8"));
        assert!(!shown.contains('\x1b'));
    }
    let json = place.ibtools("show i --json").json();
    let entries = json["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["path"] == "line\nbreak \x1b[31mred"));
    let odd = entries.iter().find(|entry| entry["path_bytes"].is_string()).unwrap();
    assert_eq!(odd["path_bytes"], "6e6f74ff75746638");
    let nowhere = place.path("no\n\x1b[31msuch");
    let run = common::run(Command::new(IBTOOLS).arg("show").arg(&nowhere));
    run.bad(&["no\\0012\\0033[31msuch", "No such file"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    for n in 0..3000 {
        place.write(&format!("tree/a-rather-long-name-to-fill-a-pipe-{n}"), "");
    }
    place.ibtools("index tree -o i").good();
    let mut child = Command::new(IBTOOLS)
        .args(["show", "i"])
        .current_dir(place.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn help_and_usage() {
    let place = Place::new();
    let help = place.ibtools("--help").good();
    for verb in ["signature", "delta", "patch", "index", "diff", "apply", "show", "compare"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}");
        let help = place.ibtools(&format!("{verb} --help")).good();
        assert!(help.contains("Usage: ibtools "), "{help}");
    }
    for args in ["", "frobnicate", "index", "index tree", "show", "apply dir"] {
        let run = place.ibtools(args);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args}");
        assert!(run.err.contains("Usage: ") || run.err.contains("--help"), "{}", run.err);
    }
}

/// A name cannot look like another one, in text, in JSON or in a warning, nor do anything to the terminal.
#[test]
fn names_show_what_they_are() {
    let place = Place::new();
    let names = [
        ("photo\u{202e}gpj.exe", "photo\\0342\\0200\\0256gpj.exe"),
        ("c1\u{9b}31m", "c1\\0302\\023331m"),
        ("l\u{2028}s", "l\\0342\\0200\\0250s"),
        ("no\u{200b}width", "no\\0342\\0200\\0213width"),
        ("del\u{7f}", "del\\0177"),
        ("\u{2066}isolated\u{2069}", "\\0342\\0201\\0246isolated\\0342\\0201\\0251"),
    ];
    let hidden = |c: char| {
        c != '\n' && c.is_control()
            || "\u{200b}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}".contains(c)
    };
    for (name, _) in names {
        place.write(&format!("tree/{name}"), name);
    }
    place.ibtools("index tree -o i").good();
    place.ibtools("diff tree -o a").good();
    for args in ["show i", "show a", "restore a new --dry-run", "diff tree -o a"] {
        let text = place.ibtools(args).good();
        assert!(!text.contains(hidden), "{args}: {text:?}");
        if !args.starts_with("diff") {
            for (_, shown) in names {
                assert!(text.contains(shown), "{args}: {shown}: {text}");
            }
        }
    }
    for args in ["show i", "show a", "restore a new --dry-run"] {
        let ran = place.ibtools(&format!("{args} --json"));
        assert!(!ran.out.contains(hidden), "{args}: {:?}", ran.out);
        let document = ran.json();
        let rows = document["entries"].as_array().or(document["changes"].as_array()).unwrap();
        for (name, _) in names {
            assert!(rows.iter().any(|row| row["path"] == name), "{args}: {name:?}");
        }
    }
    let (name, shown) = names[0];
    for name in [name.to_owned(), format!("{name}/{name}")] {
        place.ibtools(&format!("show {name}")).bad(&[shown]);
        place.ibtools(&format!("restore a out --path x{name}")).bad(&[shown]);
        place.ibtools(&format!("index {name} -o out")).bad(&[shown]);
    }
    for (name, _) in names {
        std::fs::write(place.path("tree").join(name), "other").unwrap();
    }
    let compared = place.ibtools("compare tree i");
    assert!(!compared.out.contains(hidden) && compared.out.contains(shown), "{}", compared.out);
}
