//! [`Filesystem`]: the kernel's requests, each answered from the [`View`]. Knows nothing of snapshots.
//!
//! Nothing is open here: a file is read by its inode number. So the kernel need not ask before it opens one, and what it
//! has read of a file once it keeps.

use std::ffi::OsStr;
use std::io;

use fuser::{
    AccessFlags, Errno, FileHandle, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::view::{Row, Seen, View};

/// The unit that `df` counts in.
const BLOCK_LEN: u32 = 4096;
const MAX_NAME_LEN: u32 = 255;
/// Numbers are never given to something else.
const GENERATION: Generation = Generation(0);

/// Answers the kernel.
pub(super) struct Filesystem {
    view: View,
    /// Whether the kernel can do without asking before it opens a file.
    opens_alone: bool,
}

impl Filesystem {
    pub(super) fn new(view: View) -> Filesystem {
        Filesystem { view, opens_alone: false }
    }
}

impl fuser::Filesystem for Filesystem {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS;
        // What an old kernel has not got makes it slower.
        _ = config.add_capabilities(wanted & config.capabilities());
        self.opens_alone = config.capabilities().contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        Ok(())
    }

    fn destroy(&mut self) {
        self.view.ended();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.view.lookup(parent, name) {
            Ok(Seen { attr, ttl }) => reply.entry(&ttl, &attr, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.view.attributes(ino) {
            Ok(Seen { attr, ttl }) => reply.attr(&ttl, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer(reply, self.view.target(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.opens_alone {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer(reply, self.view.read(ino, offset, size as usize));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Snapshots come and go in the top directory alone.
        let flags = match ino {
            INodeNo::ROOT => FopenFlags::empty(),
            _ => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
        };
        reply.opened(FileHandle(0), flags);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let add = |row: Row| reply.add(row.inode, row.offset, row.kind, row.name);
        match self.view.list(ino, offset, add) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut failed = None;
        let add = |row: Row| match self.view.attributes(row.inode) {
            Ok(Seen { attr, ttl }) => {
                reply.add(row.inode, row.offset, row.name, &ttl, &attr, GENERATION)
            }
            // It was pruned since it was listed.
            Err(Errno::ENOENT) => false,
            Err(error) => {
                failed = Some(error);
                true
            }
        };
        let listed = self.view.list(ino, offset, add);
        match listed.and(failed.map_or(Ok(()), Err)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.view.stored() {
            Ok(bytes) => {
                let blocks = bytes.div_ceil(BLOCK_LEN.into());
                reply.statfs(blocks, 0, 0, 0, 0, BLOCK_LEN, MAX_NAME_LEN, BLOCK_LEN);
            }
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer_sized(reply, self.view.xattr(ino, name), size);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer_sized(reply, self.view.xattr_names(ino), size);
    }

    /// Whoever mounted it may read it all, as he may read the store. Nobody else gets here.
    fn access(&self, _: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let is_file = |seen: &Seen| seen.attr.kind == fuser::FileType::RegularFile;
        match self.view.attributes(ino) {
            Err(error) => reply.error(error),
            Ok(_) if mask.contains(AccessFlags::W_OK) => reply.error(Errno::EROFS),
            Ok(seen)
                if mask.contains(AccessFlags::X_OK)
                    && is_file(&seen)
                    && seen.attr.perm & 0o111 == 0 =>
            {
                reply.error(Errno::EACCES);
            }
            Ok(_) => reply.ok(),
        }
    }
}

fn answer(reply: ReplyData, bytes: Result<Vec<u8>, Errno>) {
    match bytes {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(error),
    }
}

/// Answers a caller that has room for so many bytes. One that has none is given the length alone.
fn answer_sized(reply: ReplyXattr, bytes: Result<Vec<u8>, Errno>, size: u32) {
    match bytes {
        Err(error) => reply.error(error),
        Ok(bytes) if size == 0 => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
    }
}
