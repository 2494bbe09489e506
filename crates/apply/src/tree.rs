//! What the system's calls add up to in a tree: taking a name, copying a content. And which metadata is set.
//! Knows neither diffs nor what order things are done in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use dirindex::{Meta, Node, Xattr};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::system::{Handle, System};

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

    /// Whether something of the kind of `node` that has `found` has what setting `wanted` gives, where a file
    /// system holds all of it.
    pub(crate) fn gives(self, node: &Node, found: &Meta, wanted: &Meta) -> bool {
        let kept = |meta: &Meta| {
            let mut xattrs = meta.xattrs.to_vec();
            xattrs.retain(|xattr| self.keeps(xattr));
            xattrs
        };
        // What is not set is not asked for.
        let same_mode = found.mode == wanted.mode || found.mode == self.mode(wanted.mode);
        found.mtime == wanted.mtime
            && (same_mode || matches!(node, Node::Symlink { .. }))
            && (!self.privileged || (found.uid, found.gid) == (wanted.uid, wanted.gid))
            && (found.xattrs == wanted.xattrs || kept(found) == kept(wanted))
    }

    /// Whether the attribute is one of those that are set and removed.
    pub(crate) fn keeps(self, xattr: &Xattr) -> bool {
        self.privileged
            || !(xattr.name.starts_with(b"security.") || xattr.name.starts_with(b"trusted."))
    }
}

/// Creates an empty file that nobody else can open. Anything that stands there is an error.
pub(crate) fn create_file(sys: &dyn System, dir: &dyn AsFd, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    Ok(File::from(sys.open(dir, name, flags)?))
}

/// Holds what stands at a name without opening it: a symbolic link, a fifo, a device, or what may
/// not be read.
pub(crate) fn hold(sys: &dyn System, dir: &dyn AsFd, name: &[u8]) -> io::Result<Grip> {
    if !sys.has_proc() {
        // Then only what is opened can be changed in every way.
        let kind = FileType::from_raw_mode(sys.stat_at(dir, name)?.st_mode);
        let opens = matches!(kind, FileType::RegularFile | FileType::Directory);
        if opens && let Ok(fd) = sys.open(dir, name, OFlags::RDONLY | OFlags::NONBLOCK) {
            return Ok(Grip { fd, path_only: false });
        }
    }
    Ok(Grip { fd: sys.open(dir, name, OFlags::PATH)?, path_only: true })
}

/// What [`hold`] gives.
pub(crate) struct Grip {
    fd: OwnedFd,
    path_only: bool,
}

impl Grip {
    /// Of what is open.
    pub(crate) fn opened(fd: OwnedFd) -> Grip {
        Grip { fd, path_only: false }
    }

    pub(crate) fn handle(&self) -> Handle<'_> {
        match self.path_only {
            true => Handle::held(&self.fd),
            false => Handle::opened(&self.fd),
        }
    }
}

impl AsFd for Grip {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Copies all of `from` to the start of the empty file `to`, in the kernel where it can: file
/// systems that share blocks then do.
pub(crate) fn copy(sys: &dyn System, from: &File, to: &File, len: u64) -> io::Result<()> {
    let mut copied = 0;
    while copied < len {
        match sys.copy(from, to, copied, len - copied) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => copied += n,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                Some(
                    Errno::NOSYS
                    | Errno::XDEV
                    | Errno::INVAL
                    | Errno::NOTSUP
                    | Errno::PERM
                    | Errno::BADF,
                ) => return copy_through_memory(sys, from, to, copied, len),
                _ => return Err(error),
            },
        }
    }
    Ok(())
}

fn copy_through_memory(
    sys: &dyn System,
    from: &File,
    to: &File,
    mut at: u64,
    len: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        from.read_exact_at(part, at)?;
        sys.write(to, part, at)?;
        at += want as u64;
    }
    Ok(())
}

/// Sets metadata that is `now` back to what it was, as far as it differs: nothing else is ours to set. The time of
/// what belongs to somebody else cannot be set back.
pub(crate) fn turn_back(
    sys: &dyn System,
    of: Handle<'_>,
    now: &Meta,
    before: &Meta,
    is_link: bool,
) -> io::Result<()> {
    if (now.uid, now.gid) != (before.uid, before.gid) {
        sys.set_owner(of, before.uid, before.gid)?;
    }
    if now.xattrs != before.xattrs {
        if !is_link {
            sys.set_mode(of, before.mode | 0o600)?;
        }
        let (have, wanted) = (now.xattrs.to_vec(), before.xattrs.to_vec());
        let named = |list: &[Xattr], name: &[u8]| list.iter().any(|xattr| xattr.name == name);
        for xattr in have.iter().filter(|xattr| !named(&wanted, &xattr.name)) {
            sys.remove_xattr(of, &xattr.name)?;
        }
        wanted
            .iter()
            .filter(|xattr| !have.contains(xattr))
            .try_for_each(|xattr| sys.set_xattr(of, xattr))?;
    }
    let same = (now.mode, now.uid, now.gid, &now.xattrs)
        == (before.mode, before.uid, before.gid, &before.xattrs);
    if !same && !is_link {
        sys.set_mode(of, before.mode)?;
    }
    match sys.set_mtime(of, before.mtime) {
        Err(error) if is_others(&sys.stat(&of)?, &error) => Ok(()),
        set => set,
    }
}

/// Whether an error is the system's word that something belongs to somebody else.
pub(crate) fn is_others(stat: &Stat, error: &io::Error) -> bool {
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    !ours && Errno::from_io_error(error) == Some(Errno::PERM)
}
