//! What `stat` says of an entry. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use incremental_backups_tools::{Node, dirindex::EntryRef};

/// What disks are read by.
const BLOCK_LEN: u32 = 4096;
const SECTOR_LEN: u64 = 512;

/// The attributes of an entry to which so many links lead.
pub(super) fn of_entry(entry: &EntryRef<'_>, inode: INodeNo, links: u32) -> FileAttr {
    let EntryRef { node, meta, .. } = entry;
    let size = match node {
        Node::Symlink { target } => target.len() as u64,
        node => node.len(),
    };
    FileAttr {
        perm: (meta.mode & 0o7777) as u16,
        uid: meta.uid,
        gid: meta.gid,
        rdev: match node {
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                device(*major, *minor)
            }
            _ => 0,
        },
        ..plain(
            inode,
            kind(node),
            size,
            links,
            SystemTime::try_from(meta.mtime).unwrap_or(UNIX_EPOCH),
        )
    }
}

/// The attributes of what is in no snapshot: everybody may read it, and it is of the user who mounted it.
pub(super) fn plain(
    ino: INodeNo,
    kind: FileType,
    size: u64,
    nlink: u32,
    time: SystemTime,
) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(SECTOR_LEN),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: if kind == FileType::Symlink { 0o777 } else { 0o555 },
        nlink,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

/// What is in an entry's place; a hard link is a file.
pub(super) fn kind(node: &Node) -> FileType {
    match node {
        Node::Dir => FileType::Directory,
        Node::File { .. } | Node::HardLink { .. } => FileType::RegularFile,
        Node::Symlink { .. } => FileType::Symlink,
        Node::Fifo => FileType::NamedPipe,
        Node::CharDevice { .. } => FileType::CharDevice,
        Node::BlockDevice { .. } => FileType::BlockDevice,
    }
}

/// A device number as the kernel takes it from us: 12 bits of the major number, 20 of the minor.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}
