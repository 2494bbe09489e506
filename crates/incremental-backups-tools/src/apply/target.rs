//! [`Target`]: the root of the tree a diff is applied to, held open and locked, and the directory
//! inside it that belongs to the tools.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirindex::{Beneath, Node, PathSlice, RelPath, STAGE_DIR};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dirs::{Anchor, look};
use super::observe::{FileSystem, Found, describe, find};
use super::system::{Handle, System};
use super::tree;
use crate::error::{Error, Result};

/// The file in the stage whose presence says that the tree may be half old, half new.
pub(crate) const JOURNAL: &str = "journal";
/// The file beside it whose presence says that the apply goes forward. It is there before the journal
/// is; to remove it is one step, which needs no room, and turns the apply for good.
pub(crate) const FORWARD: &str = "forward";

/// The root of a tree.
pub(crate) struct Target {
    /// As the caller named it; for messages.
    pub(crate) path: PathBuf,
    pub(crate) anchor: Anchor,
    /// The file system; no other one is touched.
    pub(crate) fs: FileSystem,
}

/// The directory kept for staging, inside the root.
pub(crate) struct Stage {
    pub(crate) anchor: Anchor,
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

impl AsFd for Stage {
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
        Ok(Target { path: path.to_path_buf(), anchor: Anchor::new(sys, root), fs })
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

    /// The stage, if there is one.
    pub(crate) fn stage(&self) -> Result<Option<Stage>> {
        let error = |error: io::Error| self.error("open the stage in", error);
        let Some(there) = look(self.sys(), self, STAGE_DIR.as_bytes()).map_err(error)? else {
            return Ok(None);
        };
        // What somebody else put there must not steer what is done with our rights.
        if there.st_uid != rustix::process::geteuid().as_raw() || there.st_mode & 0o022 != 0 {
            let problem = "it belongs to somebody else";
            return Err(Error::Journal { root: self.path.clone(), problem });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.sys().open(self, STAGE_DIR.as_bytes(), flags).map_err(error)?;
        let anchor = Anchor::new(Arc::clone(&self.anchor.sys), Beneath::from(dir));
        Ok(Some(Stage { anchor }))
    }

    /// Makes a stage of our own; there must be none.
    pub(crate) fn make_stage(&self) -> Result<Stage> {
        let error = |error| self.error("make the stage in", error);
        self.sys().make_dir(self, STAGE_DIR.as_bytes()).map_err(error)?;
        self.new_stage().inspect_err(|_| drop(self.sys().remove_dir(self, STAGE_DIR.as_bytes())))
    }

    fn new_stage(&self) -> Result<Stage> {
        let error = |error| self.error("make the stage in", error);
        let stage = self.stage()?.ok_or_else(|| error(Errno::NOENT.into()))?;
        // A default access control list would be handed to what is made in it.
        let acl = b"system.posix_acl_default";
        self.sys().remove_xattr(Handle::opened(&stage), acl).map_err(error)?;
        Ok(stage)
    }

    /// Removes the stage and all it holds.
    pub(crate) fn remove_stage(&self, stage: &Stage) -> Result<()> {
        let error = |error| self.error("remove the stage in", error);
        stage.clear().map_err(error)?;
        self.sys().remove_dir(self, STAGE_DIR.as_bytes()).map_err(error)
    }
}

impl Stage {
    pub(crate) fn sys(&self) -> &dyn System {
        &*self.anchor.sys
    }

    /// Whether it holds a journal.
    pub(crate) fn has_journal(&self) -> io::Result<bool> {
        Ok(look(self.sys(), self, JOURNAL.as_bytes())?.is_some())
    }

    /// Whether what the journal says is to be done, not undone.
    pub(crate) fn goes_forward(&self) -> io::Result<bool> {
        Ok(look(self.sys(), self, FORWARD.as_bytes())?.is_some())
    }

    /// Removes all it holds, without recursion, and with one more descriptor at a time: it may be for
    /// want of them that the stage goes.
    fn clear(&self) -> io::Result<()> {
        // Directories that hold something, outer ones first.
        let mut full = Vec::new();
        self.empty(self, None, &mut full)?;
        let mut at = 0;
        while let Some(dir) = full.get(at).cloned() {
            at += 1;
            let opened = self.open_to_clear(&dir)?;
            self.empty(&opened, Some(&dir), &mut full)?;
        }
        for dir in full.iter().rev() {
            self.sys().remove_dir(self.anchor.dirs().parent(dir)?, dir.name())?;
        }
        Ok(())
    }

    /// Removes what `dir` holds, but for directories that are not empty, which are added to `full`.
    fn empty(
        &self,
        dir: &dyn AsFd,
        path: Option<&RelPath>,
        full: &mut Vec<RelPath>,
    ) -> io::Result<()> {
        for name in self.sys().names(dir)? {
            let removed = self.sys().remove_file(dir, &name).or_else(|error| {
                match Errno::from_io_error(&error) {
                    // EPERM is POSIX's word for it.
                    Some(Errno::ISDIR | Errno::PERM) => self.sys().remove_dir(dir, &name),
                    _ => Err(error),
                }
            });
            match removed {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    let inner = match path {
                        None => RelPath::new(name),
                        Some(path) => RelPath::join(path, &name),
                    };
                    full.push(inner.map_err(io::Error::other)?);
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Directories are staged with their final mode, which may keep even their owner out.
    fn open_to_clear(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let (sys, flags) = (self.sys(), OFlags::RDONLY | OFlags::DIRECTORY);
        let is_root = rustix::process::geteuid().is_root();
        let opened = sys.open_beneath(&self.anchor.beneath, path, flags);
        if let Ok(dir) = &opened
            && (is_root || sys.stat(dir)?.st_mode & 0o700 == 0o700)
        {
            return opened;
        }
        let mut dirs = self.anchor.dirs();
        let parent = dirs.parent(path)?;
        let held = tree::hold(sys, parent, path.name())?;
        sys.set_mode(held.handle(), 0o700)?;
        sys.open(parent, path.name(), flags)
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
