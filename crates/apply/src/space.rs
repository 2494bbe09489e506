//! [`Space`]: what staging a plan takes on the disk, and what the disk has. Reads only.

use diffindex::DiffIndex;
use dirindex::Node;

use crate::error::{Error, Result};
use crate::plan::Plan;
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
}

impl Space {
    pub(crate) fn of(target: &Target, diff: &DiffIndex, plan: &Plan) -> Result<Space> {
        let disk = target
            .sys()
            .space(target)
            .map_err(|error| target.error("ask for the free space of", error))?;
        let block = disk.f_frsize.max(1);
        let (mut needed_bytes, mut needed_inodes) = (0u64, 0);
        let staged = plan.tasks(diff).filter(|task| task.is_staged());
        for node in staged.filter_map(|task| task.change.new.as_ref()).map(|new| &new.node) {
            let bytes = node.len().div_ceil(block).saturating_mul(block);
            needed_bytes = needed_bytes.saturating_add(bytes);
            needed_inodes += u64::from(!matches!(node, Node::HardLink { .. }));
        }
        // What is kept back for root is free to root.
        let is_root = rustix::process::geteuid().is_root();
        let blocks = if is_root { disk.f_bfree } else { disk.f_bavail };
        let free_bytes = disk.f_frsize.saturating_mul(blocks);
        let free_inodes = if disk.f_files > 0 { disk.f_ffree } else { u64::MAX };
        Ok(Space { needed_bytes, free_bytes, needed_inodes, free_inodes })
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
