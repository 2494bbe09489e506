//! What stands at a path of a tree, and whether it is what an index says. Reads only.

use std::cell::OnceCell;
use std::io;

use dirindex::{Meta, Node, RelPath, Time, Xattr, escape};
use rsync_core::{Digest, FileBytes};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::dirs::{Dirs, Held};
use crate::error::{During, Error, Result};
use crate::tree::{Policy, hold};

/// The digest of something that is no directory and cannot be read, such as a file of somebody else or a socket. No content
/// has it. A change whose old file has it replaces whatever stands there and has that length.
pub const UNREAD: Digest = Digest([0; 32]);

/// What a look at a path finds.
pub(crate) enum Found<'d> {
    /// Nothing, in a directory that is there.
    Nothing,
    /// Not even the directory it would be in: some component around it is absent or no directory.
    NoParent,
    /// Something.
    Something(Seen<'d>),
}

/// The file system of a tree, as it is mounted there: a rename does not reach further.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSystem {
    pub(crate) dev: u64,
    pub(crate) mount: Option<u64>,
}

impl FileSystem {
    /// Whether something lies in it. The mount decides where it is known: the same file system can be mounted
    /// in the tree once more, and an overlay's files can have other devices than its directories.
    pub(crate) fn has(&self, stat: &Stat, mount: Option<u64>) -> bool {
        match (self.mount, mount) {
            (Some(own), Some(mount)) => own == mount,
            _ => self.dev == stat.st_dev,
        }
    }
}

/// What stands at a path.
pub(crate) struct Seen<'d> {
    path: &'d RelPath,
    pub(crate) parent: &'d Held<'d>,
    pub(crate) stat: Stat,
    /// Whether it is immutable or append-only.
    fixed: bool,
    digest: OnceCell<Digest>,
}

/// Looks at `path`.
pub(crate) fn find<'d>(
    dirs: &'d mut Dirs<'_>,
    path: &'d RelPath,
    fs: FileSystem,
) -> Result<Found<'d>> {
    let parent = match dirs.parent(path) {
        Ok(parent) => parent,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Found::NoParent),
                _ => Err(error).during("open the directory of", path),
            };
        }
    };
    if !fs.has(&parent.stat, parent.mount) {
        let path = path.parent().unwrap_or_else(|| path.clone());
        return Err(Error::OtherFilesystem { path });
    }
    let Some(stat) = parent.look(path.name()).during("look at", path)? else {
        return Ok(Found::Nothing);
    };
    let place = match parent.sys.place(parent, Some(path.name())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        place => place.during("look at", path)?,
    };
    if !fs.has(&stat, place.mount) {
        return Err(Error::OtherFilesystem { path: path.clone() });
    }
    let fixed = place.fixed;
    Ok(Found::Something(Seen { path, parent, stat, fixed, digest: OnceCell::new() }))
}

impl Seen<'_> {
    /// The kind.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is `node`: of the same kind, with the same content. A hard link is any file here.
    pub(crate) fn is(&self, node: &Node) -> Result<bool> {
        let device =
            || (rustix::fs::major(self.stat.st_rdev), rustix::fs::minor(self.stat.st_rdev));
        Ok(match (node, self.kind()) {
            (Node::Dir, FileType::Directory) | (Node::Fifo, FileType::Fifo) => true,
            (Node::File { len, digest }, kind) if *digest == UNREAD => {
                kind != FileType::Directory && *len == self.stat.st_size as u64
            }
            (Node::File { len, digest }, FileType::RegularFile) => {
                *len == self.stat.st_size as u64 && *digest == self.digest()?
            }
            (Node::HardLink { .. }, FileType::RegularFile) => true,
            (Node::Symlink { target }, FileType::Symlink) => {
                let found = self.parent.sys.read_link(self.parent, self.path.name());
                found.during("read the link", self.path)? == *target
            }
            (Node::CharDevice { major, minor }, FileType::CharacterDevice)
            | (Node::BlockDevice { major, minor }, FileType::BlockDevice) => {
                (*major, *minor) == device()
            }
            _ => false,
        })
    }

    /// What an index would have for it, every file as one of its own; `None` for what no index has.
    pub(crate) fn node(&self) -> Result<Option<Node>> {
        let (major, minor) =
            (rustix::fs::major(self.stat.st_rdev), rustix::fs::minor(self.stat.st_rdev));
        Ok(Some(match self.kind() {
            FileType::Directory => Node::Dir,
            FileType::Fifo => Node::Fifo,
            FileType::RegularFile => {
                Node::File { len: self.stat.st_size as u64, digest: self.digest()? }
            }
            FileType::Symlink => {
                let target = self.parent.sys.read_link(self.parent, self.path.name());
                Node::Symlink { target: target.during("read the link", self.path)? }
            }
            FileType::CharacterDevice => Node::CharDevice { major, minor },
            FileType::BlockDevice => Node::BlockDevice { major, minor },
            _ => return Ok(None),
        }))
    }

    fn digest(&self) -> Result<Digest> {
        if let Some(digest) = self.digest.get() {
            return Ok(*digest);
        }
        let file = self.parent.open_file(self.path.name()).during("open", self.path)?;
        let bytes = |source| Error::Bytes { operation: "read", path: self.path.clone(), source };
        let content = FileBytes::open(&file).map_err(bytes)?;
        let digest = content.digest(None).map_err(bytes)?;
        content.check().map_err(bytes)?;
        Ok(*self.digest.get_or_init(|| digest))
    }

    /// Whether the metadata is `meta`, as far as `policy` would set it.
    pub(crate) fn has(&self, meta: &Meta, policy: Policy) -> Result<bool> {
        let stat = &self.stat;
        let is_link = self.kind() == FileType::Symlink;
        if mtime(stat) != meta.mtime
            || (!is_link && policy.mode(meta.mode) != mode(stat))
            || (policy.privileged && (meta.uid, meta.gid) != (stat.st_uid, stat.st_gid))
        {
            return Ok(false);
        }
        let have = self.xattrs()?;
        let kept = have.iter().filter(|xattr| policy.keeps(xattr));
        Ok(kept.eq(meta.xattrs.to_vec().iter().filter(|xattr| policy.keeps(xattr))))
    }

    fn xattrs(&self) -> Result<Vec<Xattr>> {
        let xattrs = || -> io::Result<_> {
            let held = hold(self.parent.sys, self.parent, self.path.name())?;
            self.parent.sys.xattrs(held.handle())
        };
        xattrs().during("read the attributes of", self.path)
    }

    /// All of its metadata.
    pub(crate) fn meta(&self) -> Result<Meta> {
        let stat = &self.stat;
        Ok(Meta {
            mode: mode(stat),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: mtime(stat),
            xattrs: self.xattrs()?.into(),
        })
    }

    /// Kind and length are those of `node`, without reading.
    pub(crate) fn looks_like(&self, node: &Node) -> bool {
        match (node, self.kind()) {
            (Node::File { len, digest }, kind) if *digest == UNREAD => {
                kind != FileType::Directory && *len == self.stat.st_size as u64
            }
            (Node::File { len, .. }, FileType::RegularFile) => *len == self.stat.st_size as u64,
            (Node::HardLink { .. }, FileType::RegularFile)
            | (Node::Dir, FileType::Directory)
            | (Node::Symlink { .. }, FileType::Symlink)
            | (Node::Fifo, FileType::Fifo)
            | (Node::CharDevice { .. }, FileType::CharacterDevice)
            | (Node::BlockDevice { .. }, FileType::BlockDevice) => true,
            _ => false,
        }
    }

    /// Refuses what the system lets nobody change.
    pub(crate) fn changeable(&self) -> Result<()> {
        match self.fixed {
            true => Err(Error::Fixed { path: self.path.clone() }),
            false => Ok(()),
        }
    }

    /// Lets names come and go in this directory, which its owner may have closed even to themselves.
    pub(crate) fn open_up(&self) -> io::Result<()> {
        let user = rustix::process::geteuid();
        let ours = self.stat.st_uid == user.as_raw() && !user.is_root();
        if !ours || self.stat.st_mode & 0o700 == 0o700 {
            return Ok(());
        }
        let held = hold(self.parent.sys, self.parent, self.path.name())?;
        self.parent.sys.set_mode(held.handle(), mode(&self.stat) | 0o700)
    }

    /// In words, for a message beside `expected`.
    pub(crate) fn describe(&self, expected: Option<&Node>) -> String {
        match (self.kind(), expected) {
            (FileType::Directory, _) => "a directory".into(),
            (FileType::RegularFile, Some(Node::HardLink { .. })) => "a file of its own".into(),
            (FileType::RegularFile, Some(Node::File { len, .. }))
                if *len == self.stat.st_size as u64 =>
            {
                format!("{len} other bytes")
            }
            (FileType::RegularFile, _) => format!("a file of {} bytes", self.stat.st_size),
            (FileType::Symlink, Some(Node::Symlink { .. })) => "a link to elsewhere".into(),
            (FileType::Symlink, _) => "a symbolic link".into(),
            (FileType::Fifo, _) => "a fifo".into(),
            (FileType::Socket, _) => "a socket".into(),
            (FileType::CharacterDevice | FileType::BlockDevice, _) => "a device".into(),
            _ => "something of an unknown kind".into(),
        }
    }
}

/// In words, for a message.
pub(crate) fn describe(node: Option<&Node>) -> String {
    match node {
        None => "nothing".into(),
        Some(Node::File { len, digest }) => {
            let digest = digest.to_string();
            format!("a file of {len} bytes (BLAKE3 {}…)", digest.get(..16).unwrap_or_default())
        }
        Some(Node::Symlink { target }) => format!("a symbolic link to {}", escape(target)),
        Some(Node::HardLink { to }) => format!("a hard link to {to}"),
        Some(node) => format!("a {}", node.kind()),
    }
}

/// The permission bits.
pub(crate) fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// The time of last modification.
pub(crate) fn mtime(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}
