//! Trees, snapshots of them, and a backup in one call.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::DiffData;
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex};
use tempfile::TempDir;

/// A temporary directory in memory where there is one: a sweep syncs hundreds of times.
pub fn fast_tempdir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Everything a test may want to see of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub mtime: (i64, i64),
    pub owner: (u32, u32),
    /// A file's bytes, a link's target.
    pub content: Vec<u8>,
    /// The first path that is the same file.
    pub same_as: Vec<u8>,
}

pub type Snapshot = BTreeMap<Vec<u8>, Seen>;

/// The tree below `root`, but for the root itself.
pub fn snapshot(root: &Path) -> Snapshot {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = meta.file_type();
            let (kind, content) = if kind.is_dir() {
                dirs.push(path.clone());
                ("dir", vec![])
            } else if kind.is_symlink() {
                ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if kind.is_fifo() {
                ("fifo", vec![])
            } else {
                ("file", fs::read(&path).unwrap())
            };
            let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let seen = Seen {
                kind,
                mode: meta.mode() & 0o7777,
                mtime: (meta.mtime(), meta.mtime_nsec()),
                owner: (meta.uid(), meta.gid()),
                content,
                same_as: vec![],
            };
            found.insert(relative, (meta.ino(), seen));
        }
    }
    let mut first: HashMap<u64, Vec<u8>> = HashMap::new();
    found
        .into_iter()
        .map(|(path, (inode, mut seen))| {
            seen.same_as = first.entry(inode).or_insert_with(|| path.clone()).clone();
            (path, seen)
        })
        .collect()
}

/// Compares two trees and says where they differ.
pub fn assert_same(found: &Path, expected: &Path) {
    let (found, expected) = (snapshot(found), snapshot(expected));
    let paths: std::collections::BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    for path in paths {
        let shown = path.escape_ascii();
        assert_eq!(found.get(path), expected.get(path), "at {shown}");
    }
}

/// A copy in every respect.
pub fn copy_tree(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

pub fn index(dir: &Path) -> DirIndex {
    let index = DirIndex::scan(&Dir::new(dir).unwrap()).unwrap();
    assert_eq!(index.problems(), []);
    index
}

/// An old tree, a new one, and the backup that leads from one to the other.
pub struct Case {
    pub temp: TempDir,
    pub old: PathBuf,
    pub new: PathBuf,
    pub old_index: DirIndex,
    pub new_index: DirIndex,
    pub diff: DiffIndex,
    pub data: DiffData,
}

impl Case {
    /// `make_old` fills a directory; `change` turns a copy of it into the new tree.
    pub fn new(make_old: impl FnOnce(&Path), change: impl FnOnce(&Path)) -> Case {
        let temp = fast_tempdir();
        let (old, new) = (temp.path().join("old"), temp.path().join("new"));
        fs::create_dir(&old).unwrap();
        make_old(&old);
        copy_tree(&old, &new);
        change(&new);
        let (old_index, new_index) = (index(&old), index(&new));
        let diff = DiffIndex::between(&old_index, &new_index);
        let dir = Dir::new(&new).unwrap();
        let archive = temp.path().join("diff.tgz");
        let data = DiffData::create(&dir, &old_index, &diff, &archive).unwrap();
        Case { temp, old, new, old_index, new_index, diff, data }
    }

    /// A fresh copy of the old tree.
    pub fn copy_of_old(&self) -> PathBuf {
        static COPIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COPIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let copy = self.temp.path().join(format!("copy-{number}"));
        copy_tree(&self.old, &copy);
        copy
    }

    pub fn archive(&self) -> PathBuf {
        self.temp.path().join("diff.tgz")
    }
}

pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    if let Some(parent) = path.as_ref().parent() {
        fs::create_dir_all(parent).unwrap();
    }
    fs::write(path, content).unwrap();
}

/// Bytes that do not repeat.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// One of every kind of change at once.
pub fn everything() -> Case {
    Case::new(
        |dir| {
            write(dir.join("copied"), noise(1, 3000));
            write(dir.join("edited"), noise(2, 9000));
            write(dir.join("gone/deep/file"), "gone");
            write(dir.join("kept dir/edited"), "old");
            write(dir.join("file to dir"), "file");
            write(dir.join("dir to file/a"), "a");
            write(dir.join("dir to link/a"), "a");
            write(dir.join("mode"), "mode");
            write(dir.join("twin"), "twin");
            fs::hard_link(dir.join("twin"), dir.join("twin 2")).unwrap();
        },
        |dir| {
            fs::rename(dir.join("copied"), dir.join("moved")).unwrap();
            write(dir.join("edited"), [noise(2, 9000), b"more".to_vec()].concat());
            remove(&dir.join("gone"));
            write(dir.join("kept dir/edited"), "new");
            remove(&dir.join("file to dir"));
            write(dir.join("file to dir/new/file"), "file");
            attribute(&dir.join("file to dir/new/file"), "new");
            remove(&dir.join("dir to file"));
            write(dir.join("dir to file"), "file");
            remove(&dir.join("dir to link"));
            symlink("edited", dir.join("dir to link")).unwrap();
            write(dir.join("new/zeros"), vec![0; 200_000]);
            write(dir.join("new/zeros too"), vec![0; 200_000]);
            write(dir.join("twin"), "twins");
            fs::set_permissions(dir.join("mode"), Permissions::from_mode(0o400)).unwrap();
            Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap();
        },
    )
}

/// Removes what is at `path`, whatever it is.
pub fn remove(path: &Path) {
    match path.symlink_metadata().unwrap().is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

/// Sets an extended attribute, where the file system has any.
pub fn attribute(path: &Path, name: &str) {
    let flags = rustix::fs::XattrFlags::empty();
    _ = rustix::fs::setxattr(path, format!("user.{name}"), b"value", flags);
}
