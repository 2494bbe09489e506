//! [`Space`]: what staging a plan takes on the disk, and what the disk has. Reads only.

use dirindex::Node;

use crate::error::{Error, Result};
use crate::plan::Task;
use crate::target::Target;

/// Room on the file system of a tree: what new contents take beside the old ones, and what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Space {
    /// Bytes of all new files, each rounded up to whole blocks. Holes count, and what the file
    /// system takes for itself does not.
    pub needed_bytes: u64,
    /// Bytes that this process may fill.
    pub free_bytes: u64,
    /// New files, directories and links.
    pub needed_inodes: u64,
    /// Inodes left; the greatest number where the file system makes them as it needs them.
    pub free_inodes: u64,
    #[cfg_attr(feature = "serde", serde(skip))]
    block: u64,
}

impl Space {
    /// What `target` has. Nothing is needed yet.
    pub(crate) fn of(target: &Target) -> Result<Space> {
        let disk = target
            .sys()
            .space(target)
            .map_err(|error| target.error("ask for the free space of", error))?;
        // What is kept back for root is free to root.
        let is_root = rustix::process::geteuid().is_root();
        let blocks = if is_root { disk.f_bfree } else { disk.f_bavail };
        let free_bytes = disk.f_frsize.saturating_mul(blocks);
        let free_inodes = if disk.f_files > 0 { disk.f_ffree } else { u64::MAX };
        let block = disk.f_frsize.max(1);
        Ok(Space { needed_bytes: 0, free_bytes, needed_inodes: 0, free_inodes, block })
    }

    /// A task more is to be staged.
    pub(crate) fn add(&mut self, task: &Task<'_>) {
        let Some(new) = task.change.new.as_ref().filter(|_| task.is_staged()) else { return };
        let bytes = new.node.len().div_ceil(self.block).saturating_mul(self.block);
        self.needed_bytes = self.needed_bytes.saturating_add(bytes);
        self.needed_inodes += u64::from(!matches!(new.node, Node::HardLink { .. }));
    }

    /// Refuses what does not fit.
    pub(crate) fn check(&self, target: &Target) -> Result<()> {
        let short = |needed, available, unit| {
            Err(Error::NoSpace { root: target.path.clone(), needed, available, unit })
        };
        if self.needed_bytes > self.free_bytes {
            return short(self.needed_bytes, self.free_bytes, "bytes");
        }
        if self.needed_inodes > self.free_inodes {
            return short(self.needed_inodes, self.free_inodes, "inodes");
        }
        Ok(())
    }
}
