//! Whether a directory has the mark of an unfinished change. Must not know who makes changes, or how.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, openat, statat};
use rustix::process::geteuid;

use crate::{STAGE_DIR, UNFINISHED_MARK, is_stage_name};

/// Whether a mark in the directory `stage` counts, which lies in a directory of the user `owner`: only that of the owner, of
/// root or of this process. What somebody else put there, where many may write, says nothing of the tree.
#[must_use]
pub fn marks_by(stage: &Stat, owner: u32) -> bool {
    FileType::from_raw_mode(stage.st_mode) == FileType::Directory
        && [0, owner, geteuid().as_raw()].contains(&stage.st_uid)
}

/// Whether there is a mark that counts in the directory `fd`.
pub(crate) fn holds_unfinished(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let look = |name: &[u8]| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
    let (dir, user) = (fstat(fd)?, geteuid().as_raw());
    let is_unfinished = |name: &[u8]| {
        look(name).is_ok_and(|stage| marks_by(&stage, dir.st_uid))
            && look(&[name, b"/", UNFINISHED_MARK.as_bytes()].concat()).is_ok()
    };
    let (shared, first) =
        (dir.st_uid != user || dir.st_mode & 0o022 != 0, is_unfinished(STAGE_DIR.as_bytes()));
    if first || !shared {
        return Ok(first);
    }
    // Somebody else may have taken that name. The directory is opened anew, since reading names moves the position.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(fd, c".", flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(super::beneath::NAMES_LEN);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if is_stage_name(&name) && is_unfinished(&name) {
            return Ok(true);
        }
    }
    Ok(false)
}
