//! [`Dirs`]: the directories of a tree, opened when needed and held while likely needed again, and
//! what stands in them. Reads only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use dirindex::{Beneath, RelPath};
use rustix::fs::{OFlags, Stat};
use rustix::io::Errno;

use crate::system::System;

/// Descriptors one cursor holds. Work in path order needs a directory and those just around it. A
/// thread has at most two cursors at a time, so 8 threads stay under 64 + the files they have open.
const HELD: usize = 4;

/// A directory that is the root of what is done below it: of the tree, or of the stage.
#[derive(Clone)]
pub(crate) struct Anchor {
    pub(crate) sys: Arc<dyn System>,
    pub(crate) beneath: Arc<Beneath>,
}

impl Anchor {
    pub(crate) fn new(sys: Arc<dyn System>, beneath: Beneath) -> Anchor {
        Anchor { sys, beneath: Arc::new(beneath) }
    }

    /// A cursor over the directories below.
    pub(crate) fn dirs(&self) -> Dirs<'_> {
        Dirs { anchor: self, held: Vec::new() }
    }
}

impl AsFd for Anchor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.beneath.as_fd()
    }
}

/// A cursor over the directories below one root, best moved in path order.
pub(crate) struct Dirs<'a> {
    anchor: &'a Anchor,
    /// The most recently used last.
    held: Vec<Held<'a>>,
}

/// An open directory.
pub(crate) struct Held<'a> {
    pub(crate) sys: &'a dyn System,
    /// Below the root; empty for the root itself.
    path: Vec<u8>,
    fd: OwnedFd,
    /// As it was when opened.
    pub(crate) stat: Stat,
    /// The mount that it lies in, where the kernel says it.
    pub(crate) mount: Option<u64>,
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<'a> Dirs<'a> {
    /// The directory that `path` is in.
    pub(crate) fn parent(&mut self, path: &RelPath) -> io::Result<&Held<'a>> {
        self.open(parent_of(path.as_bytes()))
    }

    /// The directory at `path`.
    pub(crate) fn dir(&mut self, path: &RelPath) -> io::Result<&Held<'a>> {
        self.open(path.as_bytes())
    }

    fn open(&mut self, path: &[u8]) -> io::Result<&Held<'a>> {
        let held = match self.held.iter().position(|held| held.path == path) {
            Some(at) => self.held.remove(at),
            None => self.open_anew(path)?,
        };
        if self.held.len() >= HELD {
            self.held.remove(0);
        }
        self.held.push(held);
        self.held.last().ok_or_else(|| Errno::BADF.into())
    }

    fn open_anew(&self, path: &[u8]) -> io::Result<Held<'a>> {
        let Anchor { sys, beneath } = self.anchor;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let outer = parent_of(path);
        let fd = match self.held.iter().find(|held| !path.is_empty() && held.path == outer) {
            // One step from what is held, however deep that is.
            Some(held) => sys.open(held, name_of(path), flags)?,
            // Opened anew, since reading names moves the descriptor's position.
            None if path.is_empty() => sys.open(beneath, b".", flags)?,
            None => {
                let path = RelPath::new(path).map_err(|_| Errno::INVAL)?;
                sys.open_beneath(beneath, &path)?
            }
        };
        let stat = sys.stat(&fd)?;
        let mount = sys.place(&fd, None)?.mount;
        Ok(Held { sys: &**sys, path: path.to_vec(), fd, stat, mount })
    }
}

impl Held<'_> {
    /// What stands at `name`, without following a link; `None` when nothing does.
    pub(crate) fn look(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        look(self.sys, self, name)
    }

    /// Opens a file for reading.
    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        open_file(self.sys, self, name)
    }

    /// The names in it, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        self.sys.names(self)
    }
}

/// What stands at `name` in `dir`; `None` when nothing does.
pub(crate) fn look(sys: &dyn System, dir: &dyn AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match sys.stat_at(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Opens a file for reading; a fifo that slipped in does not make it wait.
pub(crate) fn open_file(sys: &dyn System, dir: &dyn AsFd, name: &[u8]) -> io::Result<File> {
    Ok(File::from(sys.open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)?))
}

/// The bytes of the path around the last name; empty at the top level.
pub(crate) fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(..slash).unwrap_or_default()
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
