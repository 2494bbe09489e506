//! [`Target`]: the root of the tree that a diff is applied to, held open and locked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dirindex::{Node, PathSlice, RelPath};

use crate::dirs::Anchor;
use crate::error::{Error, Result};
use crate::observe::{FileSystem, Found, describe, find};
use crate::stage_dir::Own;
use crate::system::System;

/// The root of a tree.
pub(crate) struct Target {
    /// As the caller named it; for messages.
    pub(crate) path: PathBuf,
    pub(crate) anchor: Anchor,
    /// The file system; no other one is touched.
    pub(crate) fs: FileSystem,
    /// How the file system shows what is ours, once that was tried.
    pub(crate) own: OnceLock<Own>,
}

/// Unlocks by word, not only by closing: a process that this one happens to be starting in another
/// thread has copies of all descriptors for a moment, and would hold the lock as long.
impl Drop for Target {
    fn drop(&mut self) {
        self.sys().unlock(self);
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}

impl Target {
    pub(crate) fn sys(&self) -> &dyn System {
        &*self.anchor.sys
    }

    /// Opens the directory at `path`.
    pub(crate) fn open(sys: Arc<dyn System>, path: &Path) -> Result<Target> {
        let error =
            |operation| move |source| Error::Root { operation, path: path.to_path_buf(), source };
        let root = sys.open_root(path).map_err(error("open the directory"))?;
        let stat = sys.stat(&root).map_err(error("look at"))?;
        let mount = sys.place(&root, None).map_err(error("look at"))?.mount;
        let fs = FileSystem { dev: stat.st_dev, mount };
        let (path, own) = (path.to_path_buf(), OnceLock::new());
        Ok(Target { path, anchor: Anchor::new(sys, root), fs, own })
    }

    /// Keeps other processes from applying here until this is dropped.
    pub(crate) fn lock(self) -> Result<Target> {
        match self.sys().lock(&self) {
            Ok(true) => Ok(self),
            Ok(false) => Err(Error::Locked { root: self.path.clone() }),
            Err(error) => Err(self.error("lock", error)),
        }
    }

    /// An error with the root itself, or with the stage.
    pub(crate) fn error(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Root { operation, path: self.path.clone(), source }
    }
}

/// The error for a path whose directory is not there: names the outermost component at fault.
pub(crate) fn found_at(target: &Target, path: &RelPath, expected: Option<&Node>) -> Error {
    let mut dirs = target.anchor.dirs();
    for dir in path.ancestors().rev().map(PathSlice::to_path) {
        let found = match find(&mut dirs, &dir, target.fs) {
            Ok(Found::Something(seen)) if seen.is(&Node::Dir).unwrap_or(false) => continue,
            Ok(Found::Something(seen)) => seen.describe(Some(&Node::Dir)),
            Ok(_) => "nothing".into(),
            Err(error) => return error,
        };
        return Error::Unexpected { path: dir, expected: "a directory".into(), found };
    }
    let expected = describe(expected);
    Error::Unexpected { path: path.clone(), expected, found: "nothing".into() }
}
