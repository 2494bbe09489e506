//! Every system call that changes a tree, each through a held directory descriptor and a single
//! name. Knows neither diffs nor what order things are done in; nothing outside this module writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dirindex::{Meta, Time, Xattr};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

/// Which metadata is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Owners, setuid and setgid bits, and the attributes of `security.` and `trusted.` too.
    pub(crate) privileged: bool,
}

impl Policy {
    /// The mode bits to set, of those an index has.
    pub(crate) fn mode(self, mode: u32) -> u32 {
        if self.privileged { mode } else { mode & 0o1777 }
    }

    /// Whether the attribute is one of those that are set and removed.
    pub(crate) fn keeps(self, xattr: &Xattr) -> bool {
        self.privileged
            || !(xattr.name.starts_with(b"security.") || xattr.name.starts_with(b"trusted."))
    }
}

/// Creates an empty file that nobody else can open. Anything that stands there is an error.
pub(crate) fn create_file(dir: impl AsFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Creates a directory for the owner alone.
pub(crate) fn make_dir(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?)
}

/// Removes an empty directory.
pub(crate) fn remove_dir(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Removes anything but a directory.
pub(crate) fn remove_file(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Makes a symbolic link.
pub(crate) fn make_symlink(dir: impl AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Gives a file another name. A symbolic link is linked, not followed.
pub(crate) fn make_link(
    from: impl AsFd,
    existing: &[u8],
    dir: impl AsFd,
    name: &[u8],
) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, existing, dir, name, AtFlags::empty())?)
}

/// Makes a fifo for the owner alone.
pub(crate) fn make_fifo(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// Makes a device for the owner alone.
pub(crate) fn make_device(
    dir: impl AsFd,
    name: &[u8],
    kind: FileType,
    major: u32,
    minor: u32,
) -> io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    Ok(rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Puts what is staged as `slot` in its place. What stands there is replaced in the same step when
/// `replace` says so, and is an error otherwise.
pub(crate) fn place(
    stage: impl AsFd,
    slot: &[u8],
    dir: impl AsFd,
    name: &[u8],
    replace: bool,
) -> io::Result<()> {
    let (stage, dir) = (stage.as_fd(), dir.as_fd());
    if !replace {
        match rustix::fs::renameat_with(stage, slot, dir, name, RenameFlags::NOREPLACE) {
            // Some file systems have no such flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::renameat(stage, slot, dir, name)?)
}

/// Copies all of `from` to the start of the empty file `to`, in the kernel where it can: file
/// systems that share blocks then do.
pub(crate) fn copy(from: &File, to: &File, len: u64) -> io::Result<()> {
    let mut copied = 0;
    while copied < len {
        let rest = usize::try_from(len - copied).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(
            from,
            Some(&mut { copied }),
            to,
            Some(&mut { copied }),
            rest,
        ) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => copied += n as u64,
            Err(Errno::INTR) => {}
            Err(
                Errno::NOSYS
                | Errno::XDEV
                | Errno::INVAL
                | Errno::NOTSUP
                | Errno::PERM
                | Errno::BADF,
            ) => {
                return copy_through_memory(from, to, copied, len);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &File, to: &File, mut at: u64, len: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 256 << 10];
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        from.read_exact_at(part, at)?;
        to.write_all_at(part, at)?;
        at += want as u64;
    }
    Ok(())
}

/// Something whose metadata is to be set: opened, or (what cannot or must not be opened) held with
/// `O_PATH`.
pub(crate) struct Handle<'a> {
    fd: BorrowedFd<'a>,
    path_only: bool,
}

impl<'a> Handle<'a> {
    /// Of an opened file or directory.
    pub(crate) fn opened(fd: BorrowedFd<'a>) -> Handle<'a> {
        Handle { fd, path_only: false }
    }

    /// Of what [`hold`] gave.
    pub(crate) fn held(fd: BorrowedFd<'a>) -> Handle<'a> {
        Handle { fd, path_only: true }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'a> {
        self.fd
    }

    /// The only way to the calls that take no `O_PATH` descriptor. It cannot lead elsewhere: the
    /// kernel resolves it to what the descriptor is, not to a name.
    fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// The extended attributes, sorted by name. A file system without any has none.
    pub(crate) fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        let mut names: Vec<u8> = Vec::new();
        loop {
            names.reserve_exact(256.max(names.capacity() * 2));
            names.clear();
            let spare = rustix::buffer::spare_capacity(&mut names);
            let listed = match self.path_only {
                false => rustix::fs::flistxattr(self.fd, spare),
                true => rustix::fs::listxattr(self.proc_path(), spare),
            };
            match listed {
                Ok(_) => break,
                Err(Errno::NOTSUP) => return Ok(Vec::new()),
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut xattrs = Vec::new();
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            if let Some(value) = self.xattr(name)? {
                xattrs.push(Xattr { name: name.to_vec(), value });
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    fn xattr(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value: Vec<u8> = Vec::new();
        loop {
            value.reserve_exact(256.max(value.capacity() * 2));
            value.clear();
            let spare = rustix::buffer::spare_capacity(&mut value);
            let got = match self.path_only {
                false => rustix::fs::fgetxattr(self.fd, name, spare),
                true => rustix::fs::getxattr(self.proc_path(), name, spare),
            };
            match got {
                Ok(_) => return Ok(Some(value)),
                Err(Errno::NODATA) => return Ok(None),
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn chmod(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        Ok(match self.path_only {
            false => rustix::fs::fchmod(self.fd, mode),
            true => rustix::fs::chmod(self.proc_path(), mode),
        }?)
    }

    fn set_xattr(&self, xattr: &Xattr) -> io::Result<()> {
        let (name, value) = (&xattr.name[..], &xattr.value);
        Ok(match self.path_only {
            false => rustix::fs::fsetxattr(self.fd, name, value, XattrFlags::empty()),
            true => rustix::fs::setxattr(self.proc_path(), name, value, XattrFlags::empty()),
        }?)
    }

    fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        let removed = match self.path_only {
            false => rustix::fs::fremovexattr(self.fd, name),
            true => rustix::fs::removexattr(self.proc_path(), name),
        };
        match removed {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Sets the time of last modification and leaves that of last access.
    pub(crate) fn set_mtime(&self, time: Time) -> io::Result<()> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ };
        let mtime = Timespec { tv_sec: time.secs as _, tv_nsec: time.nanos as _ };
        let times = Timestamps { last_access: omit, last_modification: mtime };
        Ok(match self.path_only {
            false => rustix::fs::futimens(self.fd, &times),
            true => rustix::fs::utimensat(CWD, self.proc_path(), &times, AtFlags::empty()),
        }?)
    }

    /// Sets the permission bits.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.chmod(mode)
    }

    /// Sets what `policy` says of `meta`: owner first (it clears setuid bits and capabilities),
    /// then attributes (a file without write permission takes none), mode, time last.
    pub(crate) fn set(&self, meta: &Meta, is_link: bool, policy: Policy) -> io::Result<()> {
        if policy.privileged {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            rustix::fs::chownat(self.fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        meta.xattrs
            .iter()
            .filter(|xattr| policy.keeps(xattr))
            .try_for_each(|x| self.set_xattr(x))?;
        if !is_link {
            self.chmod(policy.mode(meta.mode))?;
        }
        self.set_mtime(meta.mtime)
    }

    /// [`set`](Handle::set) for what has metadata already: attributes that `meta` lacks go.
    pub(crate) fn replace(&self, meta: &Meta, is_link: bool, policy: Policy) -> io::Result<()> {
        let have = self.xattrs()?;
        if have != meta.xattrs && !is_link {
            // Who lacks permission to write may not set attributes.
            self.chmod(policy.mode(meta.mode) | 0o600)?;
        }
        let wanted = |name: &[u8]| meta.xattrs.iter().any(|xattr| xattr.name == name);
        for xattr in have.iter().filter(|xattr| policy.keeps(xattr) && !wanted(&xattr.name)) {
            self.remove_xattr(&xattr.name)?;
        }
        self.set(meta, is_link, policy)
    }
}

/// Holds what stands at a name without opening it: a symbolic link, a fifo, a device, or what may
/// not be read.
pub(crate) fn hold(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Stops a directory from handing its default access control list to what is made in it.
pub(crate) fn drop_default_acl(dir: BorrowedFd<'_>) -> io::Result<()> {
    Handle::opened(dir).remove_xattr(b"system.posix_acl_default")
}

/// Waits until a file or directory is on the disk.
pub(crate) fn sync(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(fd)?)
}

/// Waits until everything on the file system of `fd` is on the disk, and reports what could not be
/// written since `fd` was opened.
pub(crate) fn sync_filesystem(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}
