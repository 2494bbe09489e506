//! [`Totals`]: what a tree consists of, counted.

use crate::{Entry, Node};

/// What a tree consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files. Several names of one file count once.
    pub files: u64,
    /// Directories below the top.
    pub dirs: u64,
    /// Symbolic links, and the names of files but for the first.
    pub links: u64,
    /// Fifos and devices.
    pub others: u64,
    /// The bytes of all files. Of a tree that says it has more than 2^64, so many less.
    pub bytes: u64,
}

impl Totals {
    fn count(&mut self, node: &Node) -> &mut u64 {
        match node {
            Node::File { .. } => &mut self.files,
            Node::Dir => &mut self.dirs,
            Node::Symlink { .. } | Node::HardLink { .. } => &mut self.links,
            Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => &mut self.others,
        }
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        *self.count(&entry.node) += 1;
        self.bytes = self.bytes.wrapping_add(entry.node.len());
    }

    /// Takes out an entry that was counted in.
    pub(crate) fn remove(&mut self, entry: &Entry) {
        let count = self.count(&entry.node);
        *count = count.saturating_sub(1);
        self.bytes = self.bytes.wrapping_sub(entry.node.len());
    }

    /// All entries together.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.files + self.dirs + self.links + self.others
    }
}

impl<'a> FromIterator<&'a Entry> for Totals {
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Totals {
        let mut totals = Totals::default();
        entries.into_iter().for_each(|entry| totals.add(entry));
        totals
    }
}
