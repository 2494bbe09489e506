//! Exclude files and patterns, also hostile ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use dirindex::{Dir, DirIndex, DirOptions, Patterns, Problem, ProblemKind, RelPath};
use tempfile::TempDir;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// What two users have in one tree.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "alice/file", "precious");
    write(home.path(), "mallory/file", "");
    home
}

/// What is wrong, once all is there that should be.
fn problem(root: &Path) -> Option<Problem> {
    let index = DirIndex::scan(&Dir::new(root).unwrap()).unwrap();
    for there in ["alice/file", "mallory/file"] {
        assert!(index.get(&path(there)).is_some(), "{there} is missing");
    }
    let problems = index.problems();
    assert!(problems.len() <= 1, "{problems:?}");
    problems.first().cloned()
}

fn strict(root: &Path) -> String {
    let options = DirOptions { strict_excludes: true, ..DirOptions::default() };
    let dir = Dir::with_options(root, &options).unwrap();
    DirIndex::scan(&dir).unwrap_err().to_string()
}

fn with_excludes(root: &Path, excludes: &[&str]) -> Result<Dir, String> {
    let excludes = excludes.iter().map(OsString::from).collect();
    let options = DirOptions { excludes, ..DirOptions::default() };
    Dir::with_options(root, &options).map_err(|error| error.to_string())
}

#[test]
fn an_exclude_file_that_is_no_file_stops_nobody_and_is_not_opened() {
    let home = home();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret", "file\npassword[\n");
    let place = home.path().join("mallory/.exclude");
    for kind in ["a symbolic link", "a directory", "a fifo", "a socket", "a device"] {
        let mut listener = None;
        let ran = |program: &str, args: &[&str]| {
            let status = Command::new(program).arg(&place).args(args).output();
            status.is_ok_and(|output| output.status.success())
        };
        let made = match kind {
            "a symbolic link" => symlink(outside.path().join("secret"), &place).is_ok(),
            "a directory" => fs::create_dir(&place).is_ok(),
            "a fifo" => ran("mkfifo", &[]),
            "a socket" => UnixListener::bind(&place).map(|it| listener = Some(it)).is_ok(),
            _ => ran("mknod", &["c", "1", "5"]),
        };
        if !made {
            eprintln!("\n*** SKIPPED: {kind} cannot be made here ***\n");
            continue;
        }
        let index = DirIndex::scan(&Dir::new(home.path()).unwrap()).unwrap();
        let mut problems = index.problems().iter();
        let problem = problems.find(|problem| problem.kind == ProblemKind::Exclude).unwrap();
        assert_eq!(problem.path, path("mallory/.exclude"));
        assert_eq!(problem.detail, format!("not used as an exclude file: it is {kind}"));
        for there in ["alice/file", "mallory/file"] {
            assert!(index.get(&path(there)).is_some(), "{there} is missing");
        }
        let shown = strict(home.path());
        assert!(shown.ends_with(&format!("mallory/.exclude: {}", problem.detail)), "{shown}");
        if fs::symlink_metadata(&place).unwrap().is_dir() {
            fs::remove_dir(&place).unwrap();
        } else {
            assert!(!fs::symlink_metadata(&place).unwrap().file_type().is_block_device());
            fs::remove_file(&place).unwrap();
        }
    }
}

#[test]
fn a_line_that_can_match_nothing_is_named_by_its_number_alone_and_the_others_count() {
    let home = home();
    write(home.path(), "mallory/out", "");
    for (line, why) in [
        ("a[secret", "its `[` is not closed"),
        ("[[:secret:]]", "an unknown class"),
        ("[/]secret", "no character"),
        ("secret\\", "a lone backslash"),
        ("./secret", "`.` or `..`"),
        ("secret/../a", "`.` or `..`"),
        ("a//secret", "an empty name"),
        ("/", "it names nothing"),
        ("!", "it names nothing"),
        (&"secret".repeat(1000), "longer than 4096 bytes"),
    ] {
        write(home.path(), "mallory/.exclude", format!("# x\nout\n{line}\n"));
        let found = problem(home.path()).unwrap_or_else(|| panic!("{line} was taken"));
        assert_eq!((&found.path, found.kind), (&path("mallory/.exclude"), ProblemKind::Exclude));
        assert!(found.detail.starts_with("line 3 leaves nothing out: "), "{}", found.detail);
        assert!(found.detail.contains(why) && !found.detail.contains("secret"), "{}", found.detail);
        let shown = strict(home.path());
        assert!(shown.contains("mallory/.exclude:3: ") && !shown.contains("secret"), "{shown}");
        assert!(Dir::new(home.path()).unwrap().is_excluded(&path("mallory/out")).unwrap());
    }
    write(home.path(), "mallory/.exclude", "a[\n\nb[\n[\n");
    let detail = problem(home.path()).unwrap().detail;
    assert!(
        detail.starts_with("line 1 ") && detail.ends_with(" (nor do 2 other lines)"),
        "{detail}"
    );
}

#[test]
fn lines_that_are_not_utf8_match_bytes() {
    let home = home();
    let caf = OsStr::from_bytes(b"caf\xe9");
    fs::write(home.path().join("mallory").join(caf), "").unwrap();
    write(home.path(), "mallory/caf\u{e9}", "");
    write(home.path(), "mallory/.exclude", b"# \xff\ncaf\xe9\n");
    assert_eq!(problem(home.path()), None);
    let dir = Dir::new(home.path()).unwrap();
    let there = RelPath::new(b"mallory/caf\xe9".as_slice()).unwrap();
    assert!(dir.is_excluded(&there).unwrap());
    assert!(!dir.is_excluded(&path("mallory/caf\u{e9}")).unwrap());
    let excludes = vec![OsString::from(OsStr::from_bytes(b"*\xe9"))];
    let options = DirOptions { excludes, ..DirOptions::everything() };
    assert!(Dir::with_options(home.path(), &options).unwrap().is_excluded(&there).unwrap());
}

#[test]
fn exclude_files_are_bounded_together() {
    let home = home();
    let line = "something that is not there\n";
    write(home.path(), "mallory/.exclude", line.repeat((256 << 10) / line.len()));
    assert_eq!(problem(home.path()), None);
    write(home.path(), "mallory/.exclude", line.repeat((256 << 10) / line.len() + 1));
    let detail = problem(home.path()).unwrap().detail;
    assert!(detail.ends_with("it is larger than 256 KiB"), "{detail}");
    // Those above count too.
    write(home.path(), "mallory/.exclude", line.repeat(5000));
    write(home.path(), "mallory/in/.exclude", line.repeat(5000));
    write(home.path(), "alice/in/.exclude", line.repeat(5000));
    let found = problem(home.path()).unwrap();
    assert_eq!(found.path, path("mallory/in/.exclude"));
    assert!(found.detail.ends_with("with those above it, it is larger than 256 KiB"));
    fs::remove_dir_all(home.path().join("mallory/in")).unwrap();
    // So do a great many small ones.
    let mut deep = "mallory".to_owned();
    for _ in 0..300 {
        write(home.path(), &format!("{deep}/.exclude"), "x\n");
        deep.push_str("/d");
    }
    let index = DirIndex::scan(&Dir::new(home.path()).unwrap()).unwrap();
    assert_eq!(index.problems().len(), 300 - 256);
    assert!(index.problems().iter().all(|problem| problem.detail.contains("over 256")));
}

/// What makes other matchers recurse, or try for ever.
#[test]
fn no_pattern_overflows_or_hangs_the_scan() {
    let deep = vec!["a"; 400].join("/") + "/c";
    let wide = "a".repeat(250);
    let depth = 20_000;
    let patterns = [
        "{".repeat(depth) + "a" + &"}".repeat(depth),
        "{".repeat(2000) + "a" + &"}".repeat(2000),
        "**/a/".repeat(300) + "b",
        "**/".repeat(1000) + "b",
        "**/*a*/".repeat(300) + "b",
        "*a".repeat(300) + "b",
        "*".repeat(4000) + "b",
        "*?".repeat(200) + "[!a]",
        "[".repeat(4000),
        "[[:".repeat(1000),
    ];
    let began = Instant::now();
    for pattern in &patterns {
        let (list, _) = Patterns::parse(pattern.as_bytes());
        for path in [&deep, &wide] {
            assert_ne!(list.verdict(&RelPath::new(path.as_str()).unwrap(), true), Some(true));
        }
    }
    // Many of them are given up, and said so.
    let home = home();
    let heavy = "**/*a*/".repeat(100) + "*\n";
    write(home.path(), "mallory/.exclude", heavy.repeat((256 << 10) / heavy.len()));
    let name = "a".repeat(200);
    write(home.path(), &["mallory/", &[name.as_str(); 15].join("/"), "/b"].concat(), "");
    let index = DirIndex::scan(&Dir::new(home.path()).unwrap()).unwrap();
    let detail = &index.problems().last().unwrap().detail;
    assert!(detail.ends_with("take too long to match"), "{detail}");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn the_roots_exclude_file_has_to_be_one_but_its_lines_need_not_match() {
    let home = home();
    write(home.path(), ".exclude", "a[\n");
    let found = problem(home.path()).unwrap();
    assert_eq!(found.path, path(".exclude"));
    fs::remove_file(home.path().join(".exclude")).unwrap();
    fs::create_dir(home.path().join(".exclude")).unwrap();
    let shown = DirIndex::scan(&Dir::new(home.path()).unwrap()).unwrap_err().to_string();
    let words =
        "/.exclude: not used as an exclude file: it is a directory; a file of your own can be";
    assert!(shown.contains(words), "{shown}");
}

#[test]
fn a_pattern_of_the_callers_that_can_match_nothing_is_refused() {
    let home = home();
    let root = home.path().canonicalize().unwrap();
    let tmp = root.parent().unwrap().join("other/file");
    let inside = root.join("mallory/file");
    for (pattern, why) in [
        ("", "empty"),
        (" ", "empty"),
        ("# x", "a comment"),
        ("../x", "`.` or `..`"),
        ("./x", "`.` or `..`"),
        ("!./x", "`.` or `..`"),
        ("x[a", "not closed"),
        ("x\\", "backslash"),
        ("/", "names nothing"),
        (tmp.to_str().unwrap(), "outside of the tree"),
        ("/proc/self/", "outside of the tree"),
        ("/proc/self/*", "outside of the tree"),
        (inside.to_str().unwrap(), "write /mallory/file"),
        (&format!("{}/", root.display()), "write /*"),
    ] {
        let shown = with_excludes(&root, &[pattern]).unwrap_err();
        assert!(shown.contains(why), "{pattern}: {shown}");
        assert!(shown.starts_with(&format!("the exclude pattern {pattern:?} leaves")), "{shown}");
    }
    for pattern in [
        "/proc",
        "/proc/*",
        "proc/self/",
        "/absent/x",
        "/mallory/file",
        "/*/file",
        "**/x",
        "a/.b",
        "...",
        "\\#",
        "{",
    ] {
        assert!(with_excludes(&root, &[pattern]).is_ok(), "{pattern}");
    }
    write(&root, "proc/x", "");
    assert!(with_excludes(&root, &["/proc/self"]).is_ok());
    for name in ["./x", "/etc/x", "a/b", "", "..", "x/"] {
        let options = DirOptions { exclude_files: vec![name.into()], ..DirOptions::default() };
        let shown = Dir::with_options(&root, &options).unwrap_err().to_string();
        assert!(shown.contains("exclude_from"), "{name}: {shown}");
    }
}

#[test]
fn a_file_of_the_callers_lists_patterns_for_the_root() {
    let home = home();
    let own = tempfile::tempdir().unwrap();
    let list = own.path().join("list");
    let open = |excludes: &[&str]| {
        let options = DirOptions {
            excludes: excludes.iter().map(OsString::from).collect(),
            exclude_from: vec![list.clone()],
            ..DirOptions::default()
        };
        Dir::with_options(home.path(), &options)
    };
    fs::write(&list, "# mine\r\n\r\n/alice/\r\n*.o\r\n").unwrap();
    write(home.path(), "mallory/.exclude", "!*.o\n");
    let dir = open(&[]).unwrap();
    assert!(dir.is_excluded(&path("alice/file")).unwrap());
    assert!(dir.is_excluded(&path("mallory/x.o")).unwrap(), "before what is in the tree");
    assert!(!dir.is_excluded(&path("mallory/alice/file")).unwrap());
    assert!(!open(&["!x.o"]).unwrap().is_excluded(&path("mallory/x.o")).unwrap());
    for line in ["a[", "../a", "/proc/self"] {
        fs::write(&list, format!("x\n{line}\n")).unwrap();
        let shown = open(&[]).unwrap_err().to_string();
        assert!(shown.contains("/list:2: the line leaves nothing out: "), "{shown}");
        assert!(!shown.contains(line), "{shown}");
    }
    fs::remove_file(&list).unwrap();
    let shown = open(&[]).unwrap_err().to_string();
    assert!(shown.starts_with("cannot read the exclude patterns in "), "{shown}");
}

#[test]
fn what_is_not_there_yet_is_asked_for_as_what_it_will_be() {
    let home = home();
    let dir = with_excludes(home.path(), &["store/", "/alice/*.tgz", "out/**"]).unwrap();
    let asked = |name: &str, is_dir| dir.will_exclude(&path(name), is_dir).unwrap();
    assert!(asked("store", true) && asked("alice/store", true) && !asked("store", false));
    assert!(asked("store/sub", true) && asked("store/sub", false));
    assert!(asked("alice/x.tgz", false) && !asked("alice/x/y.tgz", false));
    assert!(asked("out/x", false) && !asked("out", true));
    // Whatever is there now.
    write(home.path(), "store", "");
    assert!(asked("store", true) && !asked("store", false));
}
