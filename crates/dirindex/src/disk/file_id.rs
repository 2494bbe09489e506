//! [`FileId`]: which file something is, by whatever name. Must not know what files are for.

use std::fs::{self, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Stat, fstat};

/// Which file or directory it is, by whatever name, link or mount: its device and the number of its inode. It holds as long
/// as the file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    dev: u64,
    inode: u64,
}

impl FileId {
    /// What `path` leads to, links followed. `None` where nothing is, or it cannot be looked at.
    pub fn at(path: impl AsRef<Path>) -> Option<FileId> {
        fs::metadata(path).ok().as_ref().map(FileId::from)
    }

    /// [`at`](FileId::at), without following a link at the end.
    pub fn of_name(path: impl AsRef<Path>) -> Option<FileId> {
        fs::symlink_metadata(path).ok().as_ref().map(FileId::from)
    }

    /// What is open. `None` where it cannot be looked at.
    pub fn of_open(file: impl AsFd) -> Option<FileId> {
        fstat(file).ok().as_ref().map(FileId::of_stat)
    }

    pub(crate) fn of_stat(stat: &Stat) -> FileId {
        FileId { dev: stat.st_dev, inode: stat.st_ino }
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> FileId {
        FileId { dev: metadata.dev(), inode: metadata.ino() }
    }
}
