//! Edits of a tree, at random.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use crate::noise;

/// Few, so that edits meet; odd, since users' names are.
pub const NAMES: [&[u8]; 7] =
    [b"a", b"b", b"a-b", b"with \n newline", b"\xff\xfe not text", b"\xc3\xa9", b"-rf"];

#[derive(Debug, Clone)]
pub enum Edit {
    Write(Vec<usize>, u64, usize),
    /// The same to two paths.
    WriteTwice([Vec<usize>; 2], u64, usize),
    /// Changes a few bytes inside.
    Patch(Vec<usize>, usize),
    Append(Vec<usize>, u64),
    MakeDir(Vec<usize>),
    /// A directory with so much in it that a move of it is one change.
    Fill(Vec<usize>, u64),
    Symlink(Vec<usize>, usize),
    HardLink(Vec<usize>, Vec<usize>),
    Remove(Vec<usize>),
    Rename(Vec<usize>, Vec<usize>),
    Swap(Vec<usize>, Vec<usize>),
    /// A file, or a directory with all in it.
    Copy(Vec<usize>, Vec<usize>),
    Mode(Vec<usize>, u32),
    Time(Vec<usize>, u64),
}

/// What happens to a tree between two backups, below the first `names` of [`NAMES`].
pub fn edits(names: usize) -> impl Strategy<Value = Vec<Edit>> {
    let path = || proptest::collection::vec(0..names, 1..4);
    let len = prop_oneof![Just(0), 1..50usize, 3000..9000usize];
    let mode = prop_oneof![Just(0o600), Just(0o755), Just(0o1777), Just(0o444), Just(0o555)];
    let edit = prop_oneof![
        4 => (path(), 0..9u64, len).prop_map(|(path, seed, len)| Edit::Write(path, seed, len)),
        2 => ([path(), path()], 0..9u64, 0..9000usize)
            .prop_map(|(paths, seed, len)| Edit::WriteTwice(paths, seed, len)),
        2 => (path(), 0..9000usize).prop_map(|(path, at)| Edit::Patch(path, at)),
        1 => (path(), 0..9u64).prop_map(|(path, seed)| Edit::Append(path, seed)),
        2 => path().prop_map(Edit::MakeDir),
        2 => (path(), 0..9u64).prop_map(|(path, seed)| Edit::Fill(path, seed)),
        2 => (path(), 0..names).prop_map(|(path, to)| Edit::Symlink(path, to)),
        2 => (path(), path()).prop_map(|(a, b)| Edit::HardLink(a, b)),
        3 => path().prop_map(Edit::Remove),
        3 => (path(), path()).prop_map(|(a, b)| Edit::Rename(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Edit::Copy(a, b)),
        1 => (path(), mode).prop_map(|(path, mode)| Edit::Mode(path, mode)),
        1 => (path(), 0..4_000_000_000u64).prop_map(|(path, time)| Edit::Time(path, time)),
    ];
    proptest::collection::vec(edit, 1..14)
}

/// Does what can be done; an edit that makes no sense here is none.
pub fn perform(root: &Path, edit: &Edit) {
    let at = |path: &[usize]| {
        path.iter().fold(PathBuf::from(root), |dir, &name| dir.join(OsStr::from_bytes(NAMES[name])))
    };
    let remove = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    // What is in the way of a new path goes, so that files turn into directories and back.
    let clear = |path: &Path| {
        for outer in path.ancestors().skip(1).take_while(|outer| *outer != root) {
            if outer.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
                drop(fs::remove_file(outer));
            }
        }
        drop(remove(path));
        path.parent().map(fs::create_dir_all)
    };
    let inside = |from: &Path, to: &Path| to.starts_with(from) || from.starts_with(to);
    match edit {
        Edit::Write(path, seed, len) => {
            clear(&at(path));
            drop(fs::write(at(path), noise(*seed, *len)));
        }
        Edit::WriteTwice(paths, seed, len) => {
            for path in paths {
                clear(&at(path));
                drop(fs::write(at(path), noise(*seed, *len)));
            }
        }
        Edit::Patch(path, offset) => {
            let path = at(path);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                let mut bytes = fs::read(&path).unwrap_or_default();
                let offset = (*offset).min(bytes.len());
                bytes.splice(offset..offset, *b"patch");
                // In place: all names of the file see it.
                drop(fs::write(&path, bytes));
            }
        }
        Edit::Append(path, seed) => {
            let path = at(path);
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
                let bytes = [fs::read(&path).unwrap_or_default(), noise(*seed, 700)].concat();
                drop(fs::write(&path, bytes));
            }
        }
        Edit::MakeDir(path) => {
            clear(&at(path));
            drop(fs::create_dir(at(path)));
        }
        Edit::Fill(path, seed) => {
            clear(&at(path));
            let inner = at(path).join(OsStr::from_bytes(NAMES[0]));
            drop(fs::create_dir_all(&inner));
            for number in 0..16 {
                let dir = if number % 4 == 0 { &inner } else { &at(path) };
                drop(fs::write(dir.join(number.to_string()), noise(*seed + number, 3)));
            }
        }
        Edit::Symlink(path, to) => {
            clear(&at(path));
            drop(symlink(OsStr::from_bytes(NAMES[*to]), at(path)));
        }
        Edit::HardLink(from, to) => {
            let (from, to) = (at(from), at(to));
            let is_file = fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file());
            if is_file && !inside(&from, &to) {
                clear(&to);
                drop(fs::hard_link(from, to));
            }
        }
        Edit::Remove(path) => drop(remove(&at(path))),
        Edit::Rename(from, to) => {
            let (from, to) = (at(from), at(to));
            if from.symlink_metadata().is_ok() && !inside(&from, &to) {
                clear(&to);
                drop(fs::rename(from, to));
            }
        }
        Edit::Swap(a, b) => {
            let (a, b, aside) = (at(a), at(b), root.join("aside"));
            let there = a.symlink_metadata().is_ok() && b.symlink_metadata().is_ok();
            if there && !inside(&a, &b) && fs::rename(&a, &aside).is_ok() {
                // Seen through a symbolic link, one may be inside the other after all.
                let back = if fs::rename(&b, &a).is_ok() { &b } else { &a };
                fs::rename(&aside, back).unwrap();
            }
        }
        Edit::Copy(from, to) => {
            let (from, to) = (at(from), at(to));
            if from.symlink_metadata().is_ok() && !inside(&from, &to) {
                clear(&to);
                // Seen through a symbolic link, one may be inside the other after all.
                drop(Command::new("cp").arg("-a").arg(from).arg(to).output());
            }
        }
        Edit::Mode(path, mode) => {
            if let Ok(meta) = at(path).symlink_metadata()
                && !meta.is_symlink()
            {
                // A directory that its owner may not write would stop later edits.
                let mode = if meta.is_dir() { mode | 0o700 } else { *mode };
                fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        Edit::Time(path, time) => {
            if at(path).symlink_metadata().is_ok_and(|meta| !meta.is_symlink())
                && let Ok(file) = fs::File::open(at(path))
            {
                file.set_modified(UNIX_EPOCH + Duration::new(*time, 123_456_789)).unwrap();
            }
        }
    }
}
