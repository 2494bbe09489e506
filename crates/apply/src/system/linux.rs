//! The calls as Linux has them, and what stands in where a kernel or a file system lacks one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use dirindex::{Beneath, RelPath, Time, Xattr};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RawDir, RenameFlags, SeekFrom, Stat,
    StatVfs, StatxAttributes, StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::{Handle, Place, System};

/// The system this runs on.
#[derive(Debug)]
pub(crate) struct Linux;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

impl System for Linux {
    fn open_root(&self, path: &Path) -> io::Result<Beneath> {
        Beneath::open_root(path)
    }

    fn open_beneath(&self, root: &Beneath, path: &RelPath) -> io::Result<OwnedFd> {
        root.open_dir(Some(path))
    }

    fn open(&self, dir: &dyn AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(dir, name, flags, OWNER_ONLY)?)
    }

    fn stat(&self, fd: &dyn AsFd) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(fd)?)
    }

    fn stat_at(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Stat> {
        Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn place(&self, at: &dyn AsFd, name: Option<&[u8]>) -> io::Result<Place> {
        let flags = match name {
            Some(_) => AtFlags::SYMLINK_NOFOLLOW,
            None => AtFlags::EMPTY_PATH,
        };
        let flags = flags | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(at, name.unwrap_or_default(), flags, StatxFlags::MNT_ID) {
            Ok(found) => {
                let filled = StatxFlags::from_bits_retain(found.stx_mask);
                let mount = filled.contains(StatxFlags::MNT_ID).then_some(found.stx_mnt_id);
                let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
                Ok(Place { mount, fixed: found.stx_attributes.intersects(fixed) })
            }
            // Old kernels, and sandboxes, have no such call.
            Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(Place::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn has_proc(&self) -> bool {
        static HAS: OnceLock<bool> = OnceLock::new();
        *HAS.get_or_init(|| Path::new("/proc/self/fd").exists())
    }

    fn names(&self, dir: &dyn AsFd) -> io::Result<Vec<Vec<u8>>> {
        let (mut names, mut buffer) = (Vec::new(), Vec::with_capacity(8 << 10));
        // From the start, and without a second descriptor.
        rustix::fs::seek(dir, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    fn read_link(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
    }

    fn xattrs(&self, of: Handle<'_>) -> io::Result<Vec<Xattr>> {
        let names = sized(|spare| match of.path_only {
            false => rustix::fs::flistxattr(of.fd, spare),
            true => rustix::fs::listxattr(of.proc_path(), spare),
        });
        let names = match names {
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            // What cannot be opened hardly ever has any.
            Err(Errno::NOENT) if of.path_only && !self.has_proc() => return Ok(Vec::new()),
            other => other?,
        };
        let mut xattrs = Vec::new();
        for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let value = sized(|spare| match of.path_only {
                false => rustix::fs::fgetxattr(of.fd, name, spare),
                true => rustix::fs::getxattr(of.proc_path(), name, spare),
            });
            match value {
                Err(Errno::NODATA) => {}
                value => xattrs.push(Xattr { name: name.to_vec(), value: value? }),
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    fn space(&self, dir: &dyn AsFd) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(dir)?)
    }

    fn has_lasting_inodes(&self, dir: &dyn AsFd) -> io::Result<bool> {
        // FAT, exFAT, what is in user space, and shares of Windows servers: `statfs(2)`.
        const NUMBERED_ANEW: [u32; 6] =
            [0x4d44, 0x2011_bab0, 0x6573_5546, 0x517b, 0xff53_4d42, 0xfe53_4d42];
        Ok(!NUMBERED_ANEW.contains(&(rustix::fs::fstatfs(dir)?.f_type as u32)))
    }

    fn make_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(dir, name, Mode::RWXU)?)
    }

    fn make_symlink(&self, dir: &dyn AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, dir, name)?)
    }

    fn make_node(
        &self,
        dir: &dyn AsFd,
        name: &[u8],
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        let device = rustix::fs::makedev(major, minor);
        Ok(rustix::fs::mknodat(dir, name, kind, OWNER_ONLY, device)?)
    }

    fn make_link(
        &self,
        from: &dyn AsFd,
        existing: &[u8],
        dir: &dyn AsFd,
        name: &[u8],
    ) -> io::Result<()> {
        Ok(rustix::fs::linkat(from, existing, dir, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    fn remove_file(&self, dir: &dyn AsFd, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    fn rename(
        &self,
        from: &dyn AsFd,
        name: &[u8],
        to: &dyn AsFd,
        new_name: &[u8],
        keep: bool,
    ) -> io::Result<()> {
        if keep {
            match rustix::fs::renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE) {
                // Some file systems have no such flag.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                other => return Ok(other?),
            }
        }
        Ok(rustix::fs::renameat(from, name, to, new_name)?)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn copy(&self, from: &File, to: &File, at: u64, len: u64) -> io::Result<u64> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut { at }), to, Some(&mut { at }), len)?;
        Ok(copied as u64)
    }

    fn set_owner(&self, of: Handle<'_>, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(rustix::fs::chownat(of.fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    fn set_mode(&self, of: Handle<'_>, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        Ok(match of.path_only {
            false => rustix::fs::fchmod(of.fd, mode),
            true => without_proc(self, rustix::fs::chmod(of.proc_path(), mode)),
        }?)
    }

    fn set_xattr(&self, of: Handle<'_>, xattr: &Xattr) -> io::Result<()> {
        let (name, value) = (&xattr.name[..], &xattr.value);
        Ok(match of.path_only {
            false => rustix::fs::fsetxattr(of.fd, name, value, XattrFlags::empty()),
            true => {
                let path = of.proc_path();
                without_proc(self, rustix::fs::setxattr(path, name, value, XattrFlags::empty()))
            }
        }?)
    }

    fn remove_xattr(&self, of: Handle<'_>, name: &[u8]) -> io::Result<()> {
        let removed = match of.path_only {
            false => rustix::fs::fremovexattr(of.fd, name),
            true => rustix::fs::removexattr(of.proc_path(), name),
        };
        match removed {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn set_mtime(&self, of: Handle<'_>, time: Time) -> io::Result<()> {
        // Both are set: some file systems in user space ignore a call that leaves one out.
        let stat = rustix::fs::fstat(of.fd)?;
        let atime = Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ };
        let mtime = Timespec { tv_sec: time.secs as _, tv_nsec: time.nanos as _ };
        let times = Timestamps { last_access: atime, last_modification: mtime };
        Ok(match of.path_only {
            false => rustix::fs::futimens(of.fd, &times),
            true => match rustix::fs::utimensat(of.fd, c"", &times, AtFlags::EMPTY_PATH) {
                // Kernels before 5.8.
                Err(Errno::INVAL | Errno::NOENT) => without_proc(
                    self,
                    rustix::fs::utimensat(CWD, of.proc_path(), &times, AtFlags::empty()),
                ),
                set => set,
            },
        }?)
    }

    fn sync(&self, fd: &dyn AsFd) -> io::Result<()> {
        match rustix::fs::fsync(fd) {
            // Some network file systems, and some in user space, have it for files only.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => self.sync_all(fd),
            synced => Ok(synced?),
        }
    }

    fn sync_all(&self, fd: &dyn AsFd) -> io::Result<()> {
        Ok(rustix::fs::syncfs(fd)?)
    }

    fn lock(&self, dir: &dyn AsFd) -> io::Result<bool> {
        match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    fn unlock(&self, dir: &dyn AsFd) {
        _ = rustix::fs::flock(dir, FlockOperation::Unlock);
    }
}

/// Where there is no `/proc`, a call that goes by it is one that the system does not have.
fn without_proc(sys: &dyn System, done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match done {
        Err(Errno::NOENT) if !sys.has_proc() => Err(Errno::NOSYS),
        done => done,
    }
}

/// What a call that fills a buffer of unknown size gives.
fn sized(
    call: impl Fn(rustix::buffer::SpareCapacity<'_, u8>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        bytes.reserve_exact(256.max(bytes.capacity() * 2));
        bytes.clear();
        match call(rustix::buffer::spare_capacity(&mut bytes)) {
            Err(Errno::RANGE) => {}
            other => return other.map(|_| bytes),
        }
    }
}
