//! A small tree in a temporary directory, with something outside that nothing may change. Knows no target.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use apply::{ApplyStatus, abort, apply_status, recover};
use dirindex::{Dir, DirIndex, DirOptions};

/// The tree lies in `root`; links in it lead to `out`.
pub(crate) struct Tree(tempfile::TempDir);

/// What stands at each path: its kind and content, its mode.
pub(crate) type Seen = BTreeMap<PathBuf, (String, Vec<u8>, u32)>;

impl Tree {
    pub(crate) fn new() -> Tree {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let make = |path: &str| fs::create_dir(tmp.path().join(path)).expect("a new directory");
        let write = |path: &str, content: &str| {
            fs::write(tmp.path().join(path), content).expect("a new file");
        };
        ["out", "root", "root/d", "root/d/e"].iter().for_each(|path| make(path));
        write("out/f", "outside");
        write("root/a", "one");
        write("root/d/b", "two");
        write("root/d/e/c", "three");
        std::os::unix::fs::symlink("../out", tmp.path().join("root/l")).expect("a new link");
        Tree(tmp)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    pub(crate) fn index(&self) -> DirIndex {
        let dir = Dir::with_options(self.root(), &DirOptions::everything()).expect("a directory");
        DirIndex::scan(&dir).expect("a tree that can be read")
    }

    /// That nothing outside changed.
    pub(crate) fn check_outside(&self) {
        let outside = seen(&self.0.path().join("out"));
        assert!(outside.values().map(|(_, content, _)| content.as_slice()).eq([b"outside"]));
    }

    /// Finishes or undoes what was interrupted. When that is done, nothing of it is left.
    pub(crate) fn end(&self, aborts: bool) {
        let ended = match aborts {
            true => abort(self.root()).is_ok(),
            false => recover(self.root()).is_ok(),
        };
        self.check_outside();
        if ended {
            let status = apply_status(self.root()).expect("what has ended leaves a tree");
            assert_eq!(status, ApplyStatus::Clean);
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        seen(&self.root())
    }
}

impl Drop for Tree {
    /// So that what a mode closes can be removed.
    fn drop(&mut self) {
        open(&self.root());
    }
}

fn open(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}

fn seen(dir: &Path) -> Seen {
    let mut all = Seen::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        let content = match kind.is_symlink() {
            true => fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes()),
            false if kind.is_file() => fs::read(&path),
            false => Ok(Vec::new()),
        };
        let mode = entry.metadata().map_or(0, |metadata| metadata.mode());
        if kind.is_dir() {
            all.extend(seen(&path));
        }
        all.insert(path, (format!("{kind:?}"), content.unwrap_or_default(), mode));
    }
    all
}
