//! Running the built binary, and looking at trees from outside.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "shared by tests, each of which uses a part"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const IBTOOLS: &str = env!("CARGO_BIN_EXE_ibtools");

/// What a run of a program left.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Exit 0, with nothing on standard error.
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// Exit 2, nothing on standard output, one line on standard error, which has all of `words`.
    pub(crate) fn bad(self, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(2), ""), "{}", self.err);
        assert!(self.err.starts_with("ibtools: "), "{}", self.err);
        assert_eq!(self.err.matches('\n').count(), 1, "not one line: {}", self.err);
        assert!(!self.err.contains("os error") && !self.err.contains('\x1b'), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in: {}", self.err);
        }
    }

    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    run_with(command, Stdio::null())
}

fn run_with(command: &mut Command, stdin: impl Into<Stdio>) -> Run {
    Run::of(command.stdin(stdin).output().unwrap())
}

impl Run {
    pub(crate) fn of(output: Output) -> Run {
        Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A temporary directory in which commands run.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs ibtools here; the arguments are separated by blanks.
    pub(crate) fn ibtools(&self, args: &str) -> Run {
        run(&mut self.command(args))
    }

    /// ibtools, to be run here without any settings of the environment.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(IBTOOLS);
        command.args(args.split_whitespace()).current_dir(self.0.path());
        let mut variables: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
        variables.retain(|name| name.as_bytes().starts_with(b"IBTOOLS_"));
        for variable in variables {
            command.env_remove(variable);
        }
        command.env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs ibtools here with these files, one after the other, coming out of a pipe, and no other place for
    /// temporary files than `temporary`.
    pub(crate) fn piped(&self, files: &str, args: &str, temporary: &str) -> Run {
        let mut cat = Command::new("cat");
        cat.args(files.split_whitespace()).current_dir(self.0.path()).stdout(Stdio::piped());
        let mut cat = cat.spawn().unwrap();
        let mut ibtools = Command::new(IBTOOLS);
        ibtools.args(args.split_whitespace()).current_dir(self.0.path());
        let stdin = cat.stdout.take().unwrap();
        let ran = run_with(ibtools.env("TMPDIR", temporary), stdin);
        cat.wait().unwrap();
        ran
    }

    /// Runs another program here, or says loudly that it is not there (and fails in CI).
    pub(crate) fn other(&self, program: &str, args: &str) -> Option<Run> {
        let mut command = Command::new(program);
        command.args(args.split_whitespace()).current_dir(self.0.path());
        match command.stdin(Stdio::null()).output() {
            Ok(output) => Some(Run::of(output)),
            Err(_) => {
                skipped(program);
                None
            }
        }
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn snapshot(&self, name: &str) -> Snapshot {
        snapshot(&self.path(name))
    }
}

pub(crate) fn skipped(what: &str) {
    testing::needs::missing(what);
}

/// ibtools as a user without rights; `None`, said loudly, where that cannot be had.
pub(crate) fn unprivileged(place: &Place) -> Option<Command> {
    let mut command = Command::new(IBTOOLS);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", IBTOOLS]);
        fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
        let mut probe = Command::new("setpriv");
        probe.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            IBTOOLS,
            "--version",
        ]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            skipped("setpriv, or an ibtools that another user can run,");
            return None;
        }
    }
    command.current_dir(place.path(""));
    Some(command)
}

/// Everything below a directory: path → kind and mode, mtime, content or link target, names.
pub(crate) type Snapshot = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>, u64)>;

pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut all = Snapshot::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let (path, full) = (dir.join(entry.file_name()), entry.path());
            let metadata = entry.metadata().unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_symlink() => {
                    fs::read_link(&full).unwrap().as_os_str().as_bytes().into()
                }
                kind if kind.is_file() => fs::read(&full).unwrap(),
                kind if kind.is_dir() => {
                    dirs.push(path.clone());
                    Vec::new()
                }
                _ => Vec::new(),
            };
            let names = if metadata.is_dir() { 0 } else { metadata.nlink() };
            let row = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), content, names);
            all.insert(path, row);
        }
    }
    all
}

/// Bytes that look random and are the same every time.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The tree `tree` that the tests start from.
pub(crate) fn plant(place: &Place) {
    place.write("tree/text", "contents1");
    place.write("tree/dir/large", noise(300_000, 1));
    place.write("tree/dir/inner/moves", "this file will move");
    place.write("tree/gone/deep/file", "this one goes");
    place.write("tree/becomes-dir", "a file");
    place.write("tree/line\nbreak \x1b[31mred", "odd");
    fs::write(place.path("tree").join(OsStr::from_bytes(b"not\xffutf8")), "odder").unwrap();
    fs::create_dir(place.path("tree/empty")).unwrap();
    symlink("dir/large", place.path("tree/link")).unwrap();
    fs::hard_link(place.path("tree/text"), place.path("tree/text-again")).unwrap();
    fs::set_permissions(place.path("tree/text"), Permissions::from_mode(0o600)).unwrap();
}

/// Every kind of change to it.
pub(crate) fn edit(place: &Place) {
    let mut large = noise(300_000, 1);
    large.splice(1000..1000, *b"inserted");
    place.write("tree/dir/large", large);
    fs::rename(place.path("tree/dir/inner/moves"), place.path("tree/moved")).unwrap();
    fs::remove_dir_all(place.path("tree/gone")).unwrap();
    fs::remove_file(place.path("tree/becomes-dir")).unwrap();
    place.write("tree/becomes-dir/file", "in it");
    place.write("tree/new", noise(5000, 2));
    fs::set_permissions(place.path("tree/empty"), Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(place.path("tree/link")).unwrap();
    symlink("new", place.path("tree/link")).unwrap();
}

/// A tree, backed up into the store `store` twice with edits in between.
pub(crate) fn backed_up() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store").good();
    edit(&place);
    place.ibtools("backup --init tree store").good();
    place
}

/// A directory `tree/many` of 24 paths below it, and one file beside it.
pub(crate) fn plant_many(place: &Place) {
    for number in 0..20 {
        place.write(&format!("tree/many/{number}"), format!("one of many: {number}"));
    }
    place.write("tree/many/in/large", noise(100_000, 5));
    place.write("tree/many/in/it", "in it");
    fs::hard_link(place.path("tree/many/7"), place.path("tree/many/in/seven")).unwrap();
    place.write("tree/one", "one");
}

/// `copy` is the old tree, `tree` the new one, `1.tgz` leads from one to the other.
pub(crate) fn changed_copy() -> Place {
    let place = Place::new();
    plant(&place);
    place.ibtools("diff tree -o full.tgz --index i").good();
    place.other("cp", "-aT tree copy").unwrap().good();
    edit(&place);
    place.ibtools("diff tree --base i -o 1.tgz").good();
    place
}
