//! Takes in what is no file: directories, symbolic links, fifos and devices; and the attributes of anything.

use std::mem;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, major, minor, statat};

use super::{Before, Scan, Taken, meta};
use crate::disk::read;
use crate::disk::walk::Found;
use crate::disk::xattr::{self, Attributes};
use crate::{Entry, Error, Node, Problem, ProblemKind, Record, RelPath, Xattrs};

impl Scan<'_> {
    /// Takes in what is no file, found in the directory open as `fd`. `before` is what the previous index has at its path.
    pub(super) fn special(
        &self,
        fd: BorrowedFd<'_>,
        found: Found,
        before: Option<Before>,
        taken: &mut Taken,
    ) -> Result<(), Error> {
        let (kind, mut meta) = (found.kind(), meta(&found.stat));
        let Found { path, stat, target } = found;
        let mut left_out = |path, why: &str| {
            taken.problems.push(Problem::new(path, ProblemKind::Unsupported, why.into()));
            Ok(())
        };
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        let node = match kind {
            FileType::Directory => Node::Dir,
            FileType::Symlink if target.is_empty() => {
                return left_out(path, "a symbolic link without a target");
            }
            FileType::Symlink => Node::Symlink { target },
            FileType::Fifo => Node::Fifo,
            FileType::CharacterDevice => Node::CharDevice { major, minor },
            FileType::BlockDevice => Node::BlockDevice { major, minor },
            FileType::Socket => return left_out(path, "a socket"),
            _ => return left_out(path, "of an unknown kind"),
        };
        // Those of a directory are read where it is opened.
        if node != Node::Dir {
            let xattrs = xattr::read(xattr::Of::Named(fd, path.name()));
            let now = || statat(fd, path.name(), AtFlags::SYMLINK_NOFOLLOW);
            if !xattrs.are_empty() && !now().is_ok_and(|now| read::same_state(&now, &stat)) {
                let detail = "changed while its attributes were read".into();
                taken.problems.push(Problem::new(path.clone(), ProblemKind::Unstable, detail));
            }
            let same_kind = |old: &Node| mem::discriminant(old) == mem::discriminant(&node);
            meta.xattrs = self.attributes(&path, xattrs, same_kind, taken)?;
        }
        let entry = Entry { path, node, meta };
        self.push(Record { entry, signature: None, fingerprint: None }, before, taken);
        Ok(())
    }

    /// The attributes of what stands at `path`. What could not be read of them is as it was, if what
    /// stood there is of the same kind.
    pub(super) fn attributes(
        &self,
        path: &RelPath,
        xattrs: Attributes,
        same_kind: impl Fn(&Node) -> bool,
        taken: &mut Taken,
    ) -> Result<Xattrs, Error> {
        if xattrs.are_complete() {
            return Ok(xattrs.or_old(None).into());
        }
        if xattrs.lack_proc() {
            taken.no_proc.get_or_insert_with(|| path.clone());
        } else {
            taken.problems.extend(xattr::problem(path, &xattrs));
        }
        let old = self.known().map_or(Ok(None), |known| known.record(path))?;
        let old = old.as_deref().map(|old| &old.entry).filter(|old| same_kind(&old.node));
        Ok(xattrs.or_old(old.map(|old| &old.meta.xattrs)).into())
    }
}
