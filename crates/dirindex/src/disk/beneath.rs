//! [`Beneath`]: opening things inside a held root directory without ever leaving it. It reads;
//! nothing here changes a tree.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::read::READ;
use crate::RelPath;

/// A root directory, held open. Every opening resolves below it and follows no symbolic link in
/// any component, however links and directories are swapped meanwhile.
///
/// On Linux the kernel sees to that (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
/// RESOLVE_NO_MAGICLINKS`), a path longer than it takes in one call in a few; where it cannot, the
/// path is walked a component at a time with `O_NOFOLLOW`.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const ALWAYS: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// What the names of a directory are read into: what most directories need, and no `getdents` more.
pub(super) const NAMES_LEN: usize = 32 << 10;

/// Linux's `PATH_MAX` counts the closing NUL.
const LONGEST_IN_ONE_CALL: usize = 4095;

impl Beneath {
    /// Opens `root`, which may itself be named through symbolic links: it is the caller's word.
    ///
    /// # Errors
    /// As `open(2)`; not a directory is an error.
    pub fn open_root(root: &Path) -> io::Result<Beneath> {
        let root = openat(CWD, root, DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Beneath { root })
    }

    /// Opens what stands at `path` for reading. A symbolic link is an error (`ELOOP`). Neither a fifo nor a terminal that slipped
    /// in makes this wait.
    ///
    /// # Errors
    /// As `openat2(2)`.
    pub fn open(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.open_as(path, READ)
    }

    /// Opens what stands at `path`, a symbolic link too, to be looked at and not read (`O_PATH`).
    ///
    /// # Errors
    /// As `openat2(2)`.
    pub fn look(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.open_as(path, OFlags::PATH)
    }

    fn open_as(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | ALWAYS;
        // With O_PATH | O_NOFOLLOW a final symbolic link is opened itself, which
        // NO_SYMLINKS would refuse; only the parent is then resolved under it.
        if !flags.contains(OFlags::PATH) {
            match self.open_resolved(path.as_bytes(), flags) {
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        self.walk(path, flags)
    }

    /// Opens `path` in as few calls as the kernel's limit of a path allows: a tree may be deeper.
    fn open_resolved(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut held: Option<OwnedFd> = None;
        let mut rest = path;
        loop {
            let at = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            if rest.len() <= LONGEST_IN_ONE_CALL {
                return openat2(at, rest, flags, Mode::empty(), RESOLVE);
            }
            // A name has 255 bytes at most, so there is a slash.
            let longest = rest.get(..LONGEST_IN_ONE_CALL).unwrap_or(rest);
            let slash = longest.iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
            let (piece, after) = rest.split_at(slash);
            let dir = OFlags::PATH | OFlags::DIRECTORY | ALWAYS;
            held = Some(openat2(at, piece, dir, Mode::empty(), RESOLVE)?);
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// Opens the directory at `path`, or the root itself for `None`, for reading its names.
    ///
    /// # Errors
    /// As [`open`](Beneath::open); not a directory is an error.
    pub fn open_dir(&self, path: Option<&RelPath>) -> io::Result<OwnedFd> {
        match path {
            Some(path) => self.open_as(path, DIRECTORY),
            // Opened anew, since reading names moves the descriptor's position.
            None => Ok(openat(&self.root, ".", DIRECTORY | OFlags::CLOEXEC, Mode::empty())?),
        }
    }

    /// Opens the directory that `path` is in.
    ///
    /// # Errors
    /// As [`open`](Beneath::open).
    pub fn parent(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.open_dir(path.parent().as_ref())
    }

    /// [`open_as`](Beneath::open_as) one component at a time, holding one descriptor at a time.
    fn walk(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        let mut held: Option<OwnedFd> = None;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let at = held.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            let how = if names.peek().is_some() {
                OFlags::PATH | OFlags::DIRECTORY | ALWAYS
            } else {
                flags
            };
            held = Some(openat(at, name, how, Mode::empty())?);
        }
        held.ok_or_else(|| Errno::NOENT.into())
    }
}

/// Opens files of which most lie in the same directory as the one before: that is held open, so that only
/// its first file costs the way to it.
#[derive(Debug)]
pub struct Neighbours<'a> {
    root: &'a Beneath,
    dir: Option<(RelPath, OwnedFd)>,
}

impl<'a> Neighbours<'a> {
    /// Files below `root`.
    #[must_use]
    pub fn new(root: &'a Beneath) -> Neighbours<'a> {
        Neighbours { root, dir: None }
    }

    /// [`Beneath::open`], from the directory as it was when its first file was opened.
    ///
    /// # Errors
    /// As [`Beneath::open`].
    pub fn open(&mut self, path: &RelPath) -> io::Result<OwnedFd> {
        let Some(parent) = path.parent_bytes() else { return self.root.open(path) };
        let dir = match self.dir.take().filter(|(held, _)| held.as_bytes() == parent) {
            Some(held) => self.dir.insert(held),
            None => {
                let parent = path.parent().ok_or(Errno::NOENT)?;
                let fd = self.root.open_dir(Some(&parent))?;
                self.dir.insert((parent, fd))
            }
        };
        Ok(openat(&dir.1, path.name(), READ, Mode::empty())?)
    }
}

/// A directory that is open already, for reading.
impl From<OwnedFd> for Beneath {
    fn from(root: OwnedFd) -> Beneath {
        Beneath { root }
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Both ways of resolving must agree on what they refuse.
    fn both(root: &Beneath, path: &str) -> [io::Result<OwnedFd>; 2] {
        let path = RelPath::new(path).unwrap();
        [root.open(&path), root.walk(&path, OFlags::RDONLY | ALWAYS)]
    }

    #[test]
    fn links_are_followed_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "inside").unwrap();
        fs::write(dir.path().join("outside"), "outside").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("a", root.join("in")).unwrap();
        symlink("a/b/file", root.join("last")).unwrap();
        symlink(dir.path(), root.join("abs")).unwrap();
        let beneath = Beneath::open_root(&root).unwrap();
        assert!(both(&beneath, "a/b/file").iter().all(Result::is_ok));
        for path in ["up/outside", "in/b/file", "last", "abs/outside", "absent", "a/b/file/x"] {
            assert!(both(&beneath, path).iter().all(Result::is_err), "{path}");
        }
        let link = RelPath::new("last").unwrap();
        assert!(beneath.look(&link).is_ok(), "a link can be looked at");
    }

    #[test]
    fn neighbours_are_opened_where_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(dir.path().join("outside"), "outside").unwrap();
        for path in ["top", "a/x", "a/y", "a/b/x", "a/b/y"] {
            fs::write(root.join(path), path).unwrap();
        }
        symlink("../../outside", root.join("a/link")).unwrap();
        symlink("a", root.join("in")).unwrap();
        symlink("..", root.join("up")).unwrap();
        let beneath = Beneath::open_root(&root).unwrap();
        let mut neighbours = Neighbours::new(&beneath);
        let mut read = |path| {
            let file = neighbours.open(&RelPath::new(path).unwrap())?;
            io::read_to_string(fs::File::from(file))
        };
        for path in ["a/x", "a/y", "top", "a/b/x", "a/x", "a/b/y", "a/b/x"] {
            assert_eq!(read(path).unwrap(), path);
        }
        for path in ["a/link", "in/x", "up/outside", "a/absent", "absent/x"] {
            assert!(read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_at_once_open() {
        let dir = tempfile::tempdir().unwrap();
        let root = Beneath::open_root(dir.path()).unwrap();
        let name = "d".repeat(200);
        let mut at = root.open_dir(None).unwrap();
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, DIRECTORY, Mode::empty()).unwrap();
        }
        let deep = RelPath::new(vec![name; 30].join("/")).unwrap();
        assert!(root.open_dir(Some(&deep)).is_ok());
    }
}
