//! [`System`]: every system call that applying makes, to look at a tree or to change it, each on a
//! held descriptor and at most one name. Knows neither diffs nor what order things are done in; no
//! other module makes such calls.
//!
//! There are two implementations. [`Linux`] is the real one. The tests have a simulated file system,
//! which can lose what was not synced, and variants of both that do something wrong on purpose.

mod linux;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dirindex::{Beneath, RelPath, Time, Xattr};
use rustix::fs::{FileType, OFlags, Stat, StatVfs};

pub(crate) use linux::Linux;

/// Something to look at or to change the metadata of: opened, or (what cannot or must not be
/// opened) held with `O_PATH`.
#[derive(Clone, Copy)]
pub(crate) struct Handle<'a> {
    fd: BorrowedFd<'a>,
    path_only: bool,
}

impl<'a> Handle<'a> {
    /// Of an opened file or directory.
    pub(crate) fn opened(fd: &'a impl AsFd) -> Handle<'a> {
        Handle { fd: fd.as_fd(), path_only: false }
    }

    /// Of what was opened with `O_PATH`.
    pub(crate) fn held(fd: &'a impl AsFd) -> Handle<'a> {
        Handle { fd: fd.as_fd(), path_only: true }
    }

    /// The only way to the calls that take no `O_PATH` descriptor. It cannot lead elsewhere: the
    /// kernel resolves it to what the descriptor is, not to a name.
    fn proc_path(self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// Where something lies and whether it is protected.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// The mount, where the kernel says it.
    pub(crate) mount: Option<u64>,
    /// Whether it is immutable or append-only.
    pub(crate) fixed: bool,
}

/// The calls. Names are single components and no symbolic link is followed; errors are the
/// system's.
pub(crate) trait System: Send + Sync {
    /// Opens the directory at `path`, in which symbolic links count: it is the caller's word.
    fn open_root(&self, path: &Path) -> io::Result<Beneath>;
    /// Opens a directory below `root`, without leaving it or following a link on the way.
    fn open_beneath(&self, root: &Beneath, path: &RelPath) -> io::Result<OwnedFd>;
    /// Opens what stands at a name (`.` is the directory itself). What is created, is for the owner
    /// alone.
    fn open(&self, dir: &dyn AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd>;

    /// Looks at what is open.
    fn stat(&self, fd: &dyn AsFd) -> io::Result<Stat>;
    /// Looks at what stands at a name.
    fn stat_at(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Stat>;
    /// Where what stands at a name lies, or what is open.
    fn place(&self, at: &dyn AsFd, name: Option<&[u8]>) -> io::Result<Place>;
    /// Whether what is held with `O_PATH` can be reached by more than a few calls: by way of `/proc`.
    fn has_proc(&self) -> bool;
    /// The names in a directory, in no order.
    fn names(&self, dir: &dyn AsFd) -> io::Result<Vec<Vec<u8>>>;
    /// Where a symbolic link leads.
    fn read_link(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Vec<u8>>;
    /// The extended attributes, sorted by name. A file system without any has none.
    fn xattrs(&self, of: Handle<'_>) -> io::Result<Vec<Xattr>>;
    /// What the file system has left.
    fn space(&self, dir: &dyn AsFd) -> io::Result<StatVfs>;
    /// Whether a file there has the same inode number when the file system is mounted again.
    fn has_lasting_inodes(&self, dir: &dyn AsFd) -> io::Result<bool>;

    /// Makes a directory for the owner alone.
    fn make_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()>;
    /// Makes a symbolic link.
    fn make_symlink(&self, dir: &dyn AsFd, name: &[u8], target: &[u8]) -> io::Result<()>;
    /// Makes a fifo or a device for the owner alone.
    fn make_node(
        &self,
        dir: &dyn AsFd,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
    ) -> io::Result<()>;
    /// Gives a file another name.
    fn make_link(
        &self,
        from: &dyn AsFd,
        existing: &[u8],
        dir: &dyn AsFd,
        name: &[u8],
    ) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()>;
    /// Removes anything but a directory.
    fn remove_file(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()>;
    /// Renames; what stands at the new name is replaced, or with `keep` is an error.
    fn rename(
        &self,
        from: &dyn AsFd,
        name: &[u8],
        to: &dyn AsFd,
        new_name: &[u8],
        keep: bool,
    ) -> io::Result<()>;

    /// Writes all of `bytes` at an offset.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Gives a file a length.
    fn set_len(&self, file: &File, len: u64) -> io::Result<()>;
    /// Copies up to `len` bytes from one file to the same place in another, inside the kernel; how
    /// many.
    fn copy(&self, from: &File, to: &File, at: u64, len: u64) -> io::Result<u64>;

    /// Sets the owner and the group.
    fn set_owner(&self, of: Handle<'_>, uid: u32, gid: u32) -> io::Result<()>;
    /// Sets the permission bits.
    fn set_mode(&self, of: Handle<'_>, mode: u32) -> io::Result<()>;
    /// Sets an extended attribute.
    fn set_xattr(&self, of: Handle<'_>, xattr: &Xattr) -> io::Result<()>;
    /// Removes an extended attribute; none is no error.
    fn remove_xattr(&self, of: Handle<'_>, name: &[u8]) -> io::Result<()>;
    /// Sets the time of last modification and leaves that of last access as it is.
    fn set_mtime(&self, of: Handle<'_>, time: Time) -> io::Result<()>;

    /// Waits until a file, or the names in a directory, are on the disk.
    fn sync(&self, fd: &dyn AsFd) -> io::Result<()>;
    /// Waits until everything on the file system is on the disk, and reports what could not be
    /// written since `fd` was opened.
    fn sync_all(&self, fd: &dyn AsFd) -> io::Result<()>;

    /// Takes the lock of a directory; whether it was free.
    fn lock(&self, dir: &dyn AsFd) -> io::Result<bool>;
    /// Gives it back.
    fn unlock(&self, dir: &dyn AsFd);
}
