//! Patterns mean what they mean to git: random exclude files and random trees, and what
//! `git check-ignore` says of every path in them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use dirindex::{Dir, DirOptions, RelPath};
use fastrand::Rng;

/// How many paths each set of patterns is tried on.
const PATHS: usize = 50;

/// What names and patterns are made of: what is common is common, and everything that a pattern can
/// mean something by is there.
const BYTES: &[u8] = b"aaaaaabbbbbccc..--A19 \\*?[]!^#{},~:$\r\t\x0b\x0c\x01\x7f\xe9\xc3";

const PIECES: &[&[u8]] = &[
    b"*",
    b"*",
    b"*",
    b"**",
    b"**/",
    b"/**/",
    b"/**",
    b"***",
    b"?",
    b"?",
    b"/",
    b"/",
    b"//",
    b"a",
    b"b",
    b"c",
    b"ab",
    b".",
    b"..",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-c]",
    b"[c-a]",
    b"[]a]",
    b"[!]a]",
    b"[a-]",
    b"[-a]",
    b"[a-",
    b"[",
    b"]",
    b"[]",
    b"[!]",
    b"[\\]]",
    b"[\\a-\\c]",
    b"[a\\",
    b"[/]",
    b"[!/]",
    b"[a/b]",
    b"[+-0]",
    b"[[:alpha:]]",
    b"[[:alnum:]]",
    b"[[:digit:]]",
    b"[[:upper:]]",
    b"[[:lower:]]",
    b"[[:space:]]",
    b"[[:blank:]]",
    b"[[:punct:]]",
    b"[[:cntrl:]]",
    b"[[:graph:]]",
    b"[[:print:]]",
    b"[[:xdigit:]]",
    b"[![:alpha:]]",
    b"[[:alpha:]-b]",
    b"[[:foo:]]",
    b"[[:]",
    b"[[:]a]",
    b"[[::]]",
    b"[[:alpha]",
    b"[[.a.]]",
    b"[\x80-\xff]",
    b"\\",
    b"\\\\",
    b"\\*",
    b"\\a",
    b"\\/",
    b"\\ ",
    b" ",
    b"!",
    b"#",
    b"{a,b}",
    b"{",
    b"}",
    b"a{}",
    b"\r",
    b"\t",
    b"\xe9",
    b"\0",
];

#[test]
fn patterns_mean_what_they_mean_to_git() {
    differ(20_261_128, 6_000);
}

#[test]
#[ignore = "minutes; cargo xtask ignore"]
fn long_patterns_mean_what_they_mean_to_git() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    differ(number("IGNORE_SEED").unwrap(), number("IGNORE_PAIRS").unwrap_or(100_000) as usize);
}

/// Fails if a random path out of `pairs` is left out here and not by git, or the other way round.
fn differ(seed: u64, pairs: usize) {
    let tree = tempfile::tempdir().unwrap();
    let mut git = Command::new("git");
    let quiet = git.arg("-C").arg(tree.path()).args(["init", "--quiet"]).output();
    if !quiet.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "git must be installed");
        eprintln!("\n*** SKIPPED: git is not installed ***\n");
        return;
    }
    let mut rng = Rng::with_seed(seed);
    let mut paths = Vec::new();
    for number in 0..pairs.div_ceil(PATHS) {
        plant(&mut rng, tree.path(), format!("s{number}").into_bytes(), &mut paths);
    }
    let said = check_ignore(tree.path(), &paths);
    let options = DirOptions {
        exclude_files: vec![".gitignore".into()],
        default_excludes: vec!["/.git".into()],
        ..DirOptions::everything()
    };
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    let walked: HashSet<RelPath> = dir.walk().unwrap().into_iter().map(|(path, _)| path).collect();
    let mut different = Vec::new();
    for (path, (out, by)) in paths.iter().zip(&said) {
        let rel = RelPath::new(path.as_slice()).unwrap();
        let ours = (!walked.contains(&rel), dir.is_excluded(&rel).unwrap());
        if ours != (*out, *out) {
            let by = by.escape_ascii();
            different.push(format!("{rel}: git says {out} by `{by}`; walk, is_excluded: {ours:?}"));
        }
    }
    let out = said.iter().filter(|(out, _)| *out).count();
    let again = said.iter().filter(|(out, by)| !out && !by.is_empty()).count();
    println!(
        "seed {seed}: {} pairs, {out} left out, {again} taken back, {} disagreements",
        paths.len(),
        different.len(),
    );
    assert!(out * 20 > paths.len() && again * 200 > paths.len(), "the patterns hardly match");
    if let Some(first) = different.first() {
        let set = first.split('/').next().unwrap();
        let of_it = |line: &&String| line.starts_with(&format!("{set}/"));
        let lines: Vec<&String> = different.iter().filter(of_it).collect();
        let file = fs::read(tree.path().join(set).join(".gitignore")).unwrap_or_default();
        panic!(
            "seed {seed}: {} disagreements, such as {lines:#?} with\n{}",
            different.len(),
            file.escape_ascii().to_string().replace("\\n", "\n"),
        );
    }
}

/// Makes the directory `base` with random things and exclude files in it.
fn plant(rng: &mut Rng, root: &Path, base: Vec<u8>, paths: &mut Vec<Vec<u8>>) {
    let full = |path: &[u8]| root.join(OsStr::from_bytes(path));
    fs::create_dir(full(&base)).unwrap();
    let (first, base_len) = (paths.len(), base.len());
    let mut dirs = vec![base];
    while paths.len() < first + PATHS {
        let dir = dirs[rng.usize(..dirs.len())].clone();
        let name: Vec<u8> = (0..rng.usize(1..4)).map(|_| BYTES[rng.usize(..BYTES.len())]).collect();
        let path = [&dir, &b"/"[..], &name].concat();
        if RelPath::new(path.as_slice()).is_err() || fs::symlink_metadata(full(&path)).is_ok() {
            continue;
        }
        if rng.u8(..3) == 0 {
            fs::create_dir(full(&path)).unwrap();
            dirs.push(path.clone());
        } else {
            File::create(full(&path)).unwrap();
        }
        paths.push(path);
    }
    for (number, dir) in dirs.iter().enumerate() {
        if number > 0 && rng.u8(..4) > 0 {
            continue;
        }
        let below = paths[first..].iter().filter_map(|path| path.strip_prefix(dir.as_slice()));
        let below = below.filter_map(|rest| rest.strip_prefix(b"/"));
        let mut below: Vec<&[u8]> = below.collect();
        below.push(b"absent");
        let mut file = if rng.u8(..20) == 0 { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        for _ in 0..rng.usize(1..5) {
            file.extend(line(rng, &below));
            file.extend_from_slice(if rng.u8(..20) == 0 { b"\r\n" } else { b"\n" });
        }
        if rng.bool() {
            file.pop();
        }
        fs::write(full(&[dir, &b"/.gitignore"[..]].concat()), file).unwrap();
    }
    debug_assert!(base_len > 0);
}

/// A random line of an exclude file, mostly one that has to do with one of `paths`.
fn line(rng: &mut Rng, paths: &[&[u8]]) -> Vec<u8> {
    let path = paths[rng.usize(..paths.len())];
    let mut line = match rng.u8(..4) {
        0 => (0..rng.usize(1..6)).flat_map(|_| piece(rng)).collect(),
        1 => bent(rng, path),
        _ => bent(rng, path.rsplit(|&byte| byte == b'/').next().unwrap()),
    };
    if rng.u8(..5) == 0 {
        line.insert(0, b'/');
    }
    if rng.u8(..5) == 0 {
        line.insert(0, b'!');
    }
    if rng.u8(..8) == 0 {
        line.splice(0..0, *b"**/");
    }
    if rng.u8(..5) == 0 {
        line.push(b'/');
    }
    if rng.u8(..10) == 0 {
        line.extend(vec![b' '; rng.usize(1..3)]);
    }
    line.retain(|&byte| byte != b'\n');
    line
}

/// `path` with some of it written as a pattern that may match it.
fn bent(rng: &mut Rng, path: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::new();
    for &byte in path {
        match rng.u8(..16) {
            0 => pattern.push(b'?'),
            1 => pattern.push(b'*'),
            2 => pattern.extend([byte, b'*']),
            3 => pattern.extend([b'[', byte, b']']),
            4 => pattern.extend([b'\\', byte]),
            5 => pattern.extend(piece(rng)),
            6 if byte == b'/' => pattern.extend_from_slice(b"/**/"),
            7 => pattern.extend_from_slice(b"**"),
            _ => pattern.push(byte),
        }
    }
    pattern
}

fn piece(rng: &mut Rng) -> Vec<u8> {
    PIECES[rng.usize(..PIECES.len())].to_vec()
}

/// Whether git leaves out each of `paths`, and the pattern that it says so by.
fn check_ignore(root: &Path, paths: &[Vec<u8>]) -> Vec<(bool, Vec<u8>)> {
    let asked = root.join(".git/asked");
    fs::write(
        &asked,
        paths.iter().flat_map(|path| [path, &b"\0"[..]].concat()).collect::<Vec<_>>(),
    )
    .unwrap();
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["-c", "core.excludesFile=", "-c", "core.ignoreCase=false"]);
    git.args(["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"]);
    let output = git.stdin(File::open(asked).unwrap()).output().unwrap();
    let fields: Vec<&[u8]> = output.stdout.split(|&byte| byte == 0).collect();
    let answers: Vec<_> = fields
        .chunks_exact(4)
        .map(|answer| (!answer[2].is_empty() && answer[2][0] != b'!', answer[2].to_vec()))
        .collect();
    assert!(fields.chunks_exact(4).map(|answer| answer[3]).eq(paths.iter().map(Vec::as_slice)));
    answers
}
