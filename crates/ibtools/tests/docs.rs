//! The documents: each link leads somewhere, and `docs/cli.md` has the verbs and options that the program has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{IBTOOLS, run};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The documents of the repository. Build directories and hidden ones have none of ours.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(ROOT)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !name.starts_with('.') && name != "target" => {
                    directories.push(path);
                }
                kind if kind.is_file() && name.ends_with(".md") => found.push(path),
                _ => {}
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found.sort();
    found
}

/// The lines of a document that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of the links in `text`.
fn links<'a>(text: &'a str) -> Vec<&'a str> {
    let target = |part: &'a str| part.split(')').next();
    let targets = |line: &'a str| line.split("](").skip(1).filter_map(target);
    prose(text).flat_map(targets).collect()
}

/// The anchors that a code host gives the headings of `text`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    let anchor = |line: &str| -> String {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        heading.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let has_anchor = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !target.exists() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn help(args: &[&str]) -> String {
    run(Command::new(IBTOOLS).args(args).env("COLUMNS", "100")).good()
}

/// The options in `help`: by the long name of each, all its names.
fn options(help: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut options = BTreeMap::new();
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        let names: BTreeSet<_> =
            words.take_while(|word| word.starts_with('-')).map(str::to_owned).collect();
        if let Some(long) = names.iter().find(|name| name.starts_with("--")).cloned() {
            options.insert(long, names);
        }
    }
    options.retain(|long, _| !["--help", "--version"].contains(&long.as_str()));
    options
}

/// What looks like an option in `text`.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let words = text.split(|letter| !is_part(letter));
    words.filter(|word| word.len() > 1 && word.starts_with('-')).collect()
}

/// The verbs, each with its options.
fn verbs() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let all = help(&["--help"]);
    let mut is_list = false;
    let mut names = Vec::new();
    for line in all.lines() {
        // Each list of verbs has a heading. What follows a verb that is too long for its line stands further right.
        is_list =
            if line.starts_with(' ') { is_list } else { line.ends_with(':') && line != "Options:" };
        let verb = line.strip_prefix("  ").filter(|line| is_list && !line.starts_with(' '));
        names.extend(verb.and_then(|line| line.split_whitespace().next()));
    }
    let names = names.into_iter();
    let with_options = |verb: &str| {
        let text = help(&[verb, "--help"]);
        // A verb with verbs of its own has their options.
        let own = text.split_once("Commands:\n").map_or("", |(_, list)| list);
        let own = own.lines().take_while(|line| line.starts_with(' '));
        let own = own.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let own = own.filter(|name| !name.is_empty() && *name != "help");
        let own = own.flat_map(|name| options(&help(&[verb, name, "--help"])));
        (verb.to_owned(), options(&text).into_iter().chain(own).collect())
    };
    names.map(with_options).collect()
}

/// The synopsis of `docs/cli.md`: by its first word (a verb, or a group of options), all lines of each entry.
fn synopsis(text: &str) -> BTreeMap<String, String> {
    let code = text.split("```").nth(1).unwrap();
    let mut entries: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in code.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with(' ') {
            let words = line.trim_start_matches("ibtools ");
            current = words.split([' ', ':']).next().unwrap().to_owned();
        }
        let entry = entries.entry(current.clone()).or_default();
        entry.push_str(line);
        entry.push('\n');
    }
    entries
}

#[test]
fn the_reference_has_just_the_verbs_and_options_that_there_are() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/cli.md")).unwrap();
    let (verbs, mut synopsis) = (verbs(), synopsis(&text));
    let scan = synopsis.remove("SCAN").unwrap();
    let everywhere = synopsis.remove("everywhere").unwrap();
    let names = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<Vec<_>>();
    assert_eq!(names(&mut synopsis.keys()), names(&mut verbs.keys()), "verbs");
    for (verb, options) in &verbs {
        let entry = &synopsis[verb];
        let scan = if entry.contains("[SCAN]") { scan.as_str() } else { "" };
        let documented: BTreeSet<&str> =
            [entry, scan, &everywhere].into_iter().flat_map(|part| named(part)).collect();
        for (long, names) in options {
            let is_there = names.iter().any(|name| documented.contains(name.as_str()));
            assert!(is_there, "docs/cli.md does not have {verb} {long}");
        }
        let known: BTreeSet<&str> = options.values().flatten().map(String::as_str).collect();
        let unknown: Vec<_> = documented.difference(&known).collect();
        assert!(unknown.is_empty(), "{verb} has no {unknown:?}");
    }
}

#[test]
fn what_the_documents_run_can_be_run() {
    let verbs = verbs();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for part in text.split("ibtools ").skip(1) {
            let command = part.split(['\n', '`', '#', '|', ';', '…']).next().unwrap();
            let verb = command.split_whitespace().next().unwrap_or_default();
            let Some(options) = verbs.get(verb) else { continue };
            let known: BTreeSet<&str> = options.values().flatten().map(String::as_str).collect();
            let long = named(command).into_iter().filter(|name| name.starts_with("--"));
            let unknown = long.filter(|name| !known.contains(name));
            wrong.extend(unknown.map(|name| format!("{}: {verb} {name}", document.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
