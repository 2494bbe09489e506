//! [`Dirs`]: the directories of a tree, opened when needed and held while likely needed again, and
//! what stands in them. Reads only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dirindex::{Beneath, RelPath};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Descriptors one cursor holds. Work in path order needs a directory and those just around it. A
/// thread has at most two cursors at a time, so 8 threads stay under 64 + the files they have open.
const HELD: usize = 4;

/// A cursor over the directories below one root, best moved in path order.
pub(crate) struct Dirs<'a> {
    beneath: &'a Beneath,
    /// The most recently used last.
    held: Vec<Held>,
}

/// An open directory.
pub(crate) struct Held {
    /// Below the root; empty for the root itself.
    path: Vec<u8>,
    fd: OwnedFd,
    /// As it was when opened.
    pub(crate) stat: Stat,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<'a> Dirs<'a> {
    pub(crate) fn new(beneath: &'a Beneath) -> Dirs<'a> {
        Dirs { beneath, held: Vec::new() }
    }

    /// The directory that `path` is in.
    pub(crate) fn parent(&mut self, path: &RelPath) -> io::Result<&Held> {
        self.open(parent_of(path.as_bytes()))
    }

    /// The directory at `path`.
    pub(crate) fn dir(&mut self, path: &RelPath) -> io::Result<&Held> {
        self.open(path.as_bytes())
    }

    fn open(&mut self, path: &[u8]) -> io::Result<&Held> {
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

    fn open_anew(&self, path: &[u8]) -> io::Result<Held> {
        let outer = parent_of(path);
        let fd = match self.held.iter().find(|held| !path.is_empty() && held.path == outer) {
            // One step from what is held, however deep that is.
            Some(held) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(held, name_of(path), flags, Mode::empty())?
            }
            None if path.is_empty() => self.beneath.open_dir(None)?,
            None => {
                let path = RelPath::new(path).map_err(|_| Errno::INVAL)?;
                self.beneath.open_dir(Some(&path))?
            }
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Held { path: path.to_vec(), fd, stat })
    }
}

/// The bytes of the path around the last name; empty at the top level.
pub(crate) fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    path.get(..slash).unwrap_or_default()
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// What stands at `name`, without following a link; `None` when nothing does.
pub(crate) fn look(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file for reading; a fifo that slipped in does not make it wait.
pub(crate) fn open_file(dir: impl AsFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// The names in a directory, in no order.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
