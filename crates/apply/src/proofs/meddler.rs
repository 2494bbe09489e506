//! [`Meddler`]: a [`System`] between applying and another one, that watches, fails or leaves out
//! calls, or makes them in a way that is not safe.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dirindex::{Beneath, RelPath, Time, Xattr};
use rustix::fs::{FileType, Mode, OFlags, Stat, StatVfs};
use rustix::io::Errno;

use crate::system::{Handle, Place, System};

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Made,
    /// It says that all is well and does nothing.
    LeftOut,
    Fails(Errno),
}

/// Whether a call changes something, as far as an error of it could matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Read,
    Change,
    Owner,
    Mode,
    Attribute,
    Time,
    Sync,
    SyncAll,
}

type Hook = Box<dyn Fn(Call) -> Fate + Send + Sync>;
type Refusal = Box<dyn Fn(&Path) -> bool + Send + Sync>;

/// See the module.
pub(super) struct Meddler {
    inner: Arc<dyn System>,
    hook: Hook,
    /// Puts new files in place by writing to the old ones.
    pub(super) in_place: bool,
    /// Opens by path, after a look at where the path leads: what many programs do.
    pub(super) by_prefix: bool,
    /// The owner and the mode that all files have, whatever is set.
    pub(super) shows: Option<(u32, u32)>,
    /// What inode numbers are more than they are: another when it is mounted again.
    pub(super) numbers_from: Option<u64>,
    /// What may not be renamed or removed, nor be taken for a name, as in a directory of somebody else.
    pub(super) refuses: Option<Refusal>,
    root: OnceLock<PathBuf>,
}

impl Meddler {
    pub(super) fn new(
        inner: Arc<dyn System>,
        hook: impl Fn(Call) -> Fate + Send + Sync + 'static,
    ) -> Meddler {
        let root = OnceLock::new();
        let hook = Box::new(hook);
        Meddler {
            inner,
            hook,
            in_place: false,
            by_prefix: false,
            shows: None,
            numbers_from: None,
            refuses: None,
            root,
        }
    }

    fn call<T>(
        &self,
        call: Call,
        make: impl FnOnce(&dyn System) -> io::Result<T>,
    ) -> io::Result<T> {
        match (self.hook)(call) {
            Fate::Fails(errno) => Err(errno.into()),
            _ => make(&*self.inner),
        }
    }

    fn change(
        &self,
        call: Call,
        make: impl FnOnce(&dyn System) -> io::Result<()>,
    ) -> io::Result<()> {
        match (self.hook)(call) {
            Fate::Fails(errno) => Err(errno.into()),
            Fate::LeftOut => Ok(()),
            Fate::Made => make(&*self.inner),
        }
    }

    fn may_change(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        match &self.refuses {
            Some(refuses) if refuses(&join(dir, name)) => Err(Errno::PERM.into()),
            _ => Ok(()),
        }
    }

    fn show(&self, mut stat: Stat) -> Stat {
        if let Some((uid, mode)) = self.shows {
            stat.st_uid = uid;
            stat.st_mode = stat.st_mode & !0o7777 | mode;
        }
        stat.st_ino += self.numbers_from.unwrap_or(0);
        stat
    }

    /// The path is looked at, found to lie inside, and opened.
    fn open_checked(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let inside = path.canonicalize()?.starts_with(self.root.get().unwrap());
        if !inside {
            return Err(Errno::XDEV.into());
        }
        _ = (self.hook)(Call::Open);
        Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// The path that a descriptor was opened by.
fn path_of(dir: &dyn AsFd) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd())).unwrap()
}

fn join(dir: &dyn AsFd, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    path_of(dir).join(std::ffi::OsStr::from_bytes(name))
}

impl System for Meddler {
    fn open_root(&self, path: &Path) -> io::Result<Beneath> {
        drop(self.root.set(path.to_path_buf()));
        self.call(Call::Open, |inner| inner.open_root(path))
    }

    fn open_beneath(&self, root: &Beneath, path: &RelPath) -> io::Result<OwnedFd> {
        if self.by_prefix {
            return self.open_checked(&path_of(root).join(path.as_path()), OFlags::DIRECTORY);
        }
        self.call(Call::Open, |inner| inner.open_beneath(root, path))
    }

    fn open(&self, dir: &dyn AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        if self.by_prefix && flags.contains(OFlags::DIRECTORY) {
            return self.open_checked(&join(dir, name), flags);
        }
        self.call(Call::Open, |inner| inner.open(dir, name, flags))
    }

    fn stat(&self, fd: &dyn AsFd) -> io::Result<Stat> {
        self.call(Call::Read, |inner| inner.stat(fd)).map(|stat| self.show(stat))
    }

    fn stat_at(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Stat> {
        self.call(Call::Read, |inner| inner.stat_at(dir, name)).map(|stat| self.show(stat))
    }

    fn place(&self, at: &dyn AsFd, name: Option<&[u8]>) -> io::Result<Place> {
        self.call(Call::Read, |inner| inner.place(at, name))
    }

    fn has_proc(&self) -> bool {
        self.inner.has_proc()
    }

    fn names(&self, dir: &dyn AsFd) -> io::Result<Vec<Vec<u8>>> {
        self.call(Call::Read, |inner| inner.names(dir))
    }

    fn read_link(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
        self.call(Call::Read, |inner| inner.read_link(dir, name))
    }

    fn xattrs(&self, of: Handle<'_>) -> io::Result<Vec<Xattr>> {
        self.call(Call::Read, |inner| inner.xattrs(of))
    }

    fn space(&self, dir: &dyn AsFd) -> io::Result<StatVfs> {
        self.call(Call::Read, |inner| inner.space(dir))
    }

    fn has_lasting_inodes(&self, dir: &dyn AsFd) -> io::Result<bool> {
        let inner = self.call(Call::Read, |inner| inner.has_lasting_inodes(dir))?;
        Ok(inner && self.numbers_from.is_none())
    }

    fn make_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.make_dir(dir, name))
    }

    fn make_symlink(&self, dir: &dyn AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.make_symlink(dir, name, target))
    }

    fn make_node(
        &self,
        dir: &dyn AsFd,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
    ) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.make_node(dir, name, kind, device))
    }

    fn make_link(
        &self,
        from: &dyn AsFd,
        existing: &[u8],
        dir: &dyn AsFd,
        name: &[u8],
    ) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.make_link(from, existing, dir, name))
    }

    fn remove_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        self.may_change(dir, name)?;
        self.change(Call::Change, |inner| inner.remove_dir(dir, name))
    }

    fn remove_file(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        self.may_change(dir, name)?;
        self.change(Call::Change, |inner| inner.remove_file(dir, name))
    }

    fn rename(
        &self,
        from: &dyn AsFd,
        name: &[u8],
        to: &dyn AsFd,
        new_name: &[u8],
        keep: bool,
    ) -> io::Result<()> {
        self.may_change(from, name)?;
        self.may_change(to, new_name)?;
        self.change(Call::Change, |inner| {
            let file = |dir: &dyn AsFd, name: &[u8]| {
                let stat = inner.stat_at(dir, name).ok()?;
                (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat)
            };
            let (new, old) = (file(from, name), file(to, new_name));
            let (true, Some(new), Some(_)) = (self.in_place, new, old) else {
                return inner.rename(from, name, to, new_name, keep);
            };
            let mut bytes = vec![0; new.st_size as usize];
            File::from(inner.open(from, name, OFlags::RDONLY)?).read_exact_at(&mut bytes, 0)?;
            let file = File::from(inner.open(to, new_name, OFlags::RDWR)?);
            inner.set_len(&file, 0)?;
            inner.write(&file, &bytes, 0)?;
            inner.set_mode(Handle::opened(&file), new.st_mode & 0o7777)?;
            let mtime = Time { secs: new.st_mtime, nanos: new.st_mtime_nsec as u32 };
            inner.set_mtime(Handle::opened(&file), mtime)?;
            inner.remove_file(from, name)
        })
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.write(file, bytes, at))
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.set_len(file, len))
    }

    fn copy(&self, from: &File, to: &File, at: u64, len: u64) -> io::Result<u64> {
        self.call(Call::Change, |inner| inner.copy(from, to, at, len))
    }

    fn set_owner(&self, of: Handle<'_>, uid: u32, gid: u32) -> io::Result<()> {
        self.change(Call::Owner, |inner| inner.set_owner(of, uid, gid))
    }

    fn set_mode(&self, of: Handle<'_>, mode: u32) -> io::Result<()> {
        self.change(Call::Mode, |inner| inner.set_mode(of, mode))
    }

    fn set_xattr(&self, of: Handle<'_>, xattr: &Xattr) -> io::Result<()> {
        self.change(Call::Attribute, |inner| inner.set_xattr(of, xattr))
    }

    fn remove_xattr(&self, of: Handle<'_>, name: &[u8]) -> io::Result<()> {
        self.change(Call::Change, |inner| inner.remove_xattr(of, name))
    }

    fn set_mtime(&self, of: Handle<'_>, time: Time) -> io::Result<()> {
        self.change(Call::Time, |inner| inner.set_mtime(of, time))
    }

    fn sync(&self, fd: &dyn AsFd) -> io::Result<()> {
        self.change(Call::Sync, |inner| inner.sync(fd))
    }

    fn sync_all(&self, fd: &dyn AsFd) -> io::Result<()> {
        self.change(Call::SyncAll, |inner| inner.sync_all(fd))
    }

    fn lock(&self, dir: &dyn AsFd) -> io::Result<bool> {
        self.call(Call::Read, |inner| inner.lock(dir))
    }

    fn unlock(&self, dir: &dyn AsFd) {
        self.inner.unlock(dir);
    }
}
