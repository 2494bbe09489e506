//! What an index says of one path: [`Entry`], its [`Node`] (what it is) and [`Meta`] (how it is
//! kept). Knows nothing of how they are read from a disk or written to a file.

use rsync_core::Digest;
use serde::{Deserialize, Serialize};

use crate::{RelPath, Time, Xattrs};

/// One path of a tree and everything a restore must bring back of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Where, below the root.
    pub path: RelPath,
    /// What stands there, and its content.
    pub node: Node,
    /// Mode, owner, time, extended attributes.
    pub meta: Meta,
}

/// What stands at a path. Two equal nodes have the same kind and the same content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Node {
    /// A directory; what is in it are entries of their own.
    Dir,
    /// A regular file.
    File {
        /// Bytes.
        len: u64,
        /// BLAKE3 of the content, as `b3sum` prints it.
        digest: Digest,
    },
    /// A symbolic link. The target is never followed or interpreted.
    Symlink {
        /// What `readlink` gives: 1 byte or more, no NUL.
        #[serde(with = "crate::bytes")]
        target: Vec<u8>,
    },
    /// Another name of the file at `to`: the first of the file's names in path order, which is the
    /// one that has the content.
    HardLink {
        /// A [`Node::File`] of the same index that sorts before this path.
        to: RelPath,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// How a node is kept. The metadata of a hard link is that of the file it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Meta {
    /// The permission, setuid, setgid and sticky bits (`07777`), without the kind.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Node {
    /// The content's length, 0 for all but files.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Node::File { len, .. } => *len,
            _ => 0,
        }
    }

    /// Whether there is no content to store: true for all but files of 1 byte or more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are of one kind (two files, two links, …), whatever their content.
    #[must_use]
    pub fn same_kind(&self, other: &Node) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The kind in a word or two, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Dir => "directory",
            Node::File { .. } => "file",
            Node::Symlink { .. } => "symbolic link",
            Node::HardLink { .. } => "hard link",
            Node::Fifo => "fifo",
            Node::CharDevice { .. } => "character device",
            Node::BlockDevice { .. } => "block device",
        }
    }

    /// About how many bytes it is encoded in.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Node::Symlink { target } => target.len(),
            Node::HardLink { to } => to.as_bytes().len(),
            _ => 40,
        }
    }

    /// The first rule of this type's documentation that the value breaks, if any.
    #[must_use]
    pub fn broken_rule(&self) -> Option<&'static str> {
        match self {
            Node::Symlink { target } if target.is_empty() => Some("a symbolic link without target"),
            Node::Symlink { target } if target.contains(&0) => {
                Some("a link target with a NUL byte")
            }
            _ => None,
        }
    }
}

/// An [`Entry`] whose parts lie somewhere else.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EntryRef<'a> {
    /// Where, below the root.
    pub path: &'a RelPath,
    /// What stands there, and its content.
    pub node: &'a Node,
    /// Mode, owner, time, extended attributes.
    pub meta: &'a Meta,
}

impl EntryRef<'_> {
    /// The same, by itself.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        let EntryRef { path, node, meta } = *self;
        Entry { path: path.clone(), node: node.clone(), meta: meta.clone() }
    }

    /// About how many bytes it is encoded in.
    pub(crate) fn weight(&self) -> usize {
        self.path.as_bytes().len() + self.node.weight() + self.meta.weight()
    }
}

impl Entry {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> EntryRef<'_> {
        EntryRef { path: &self.path, node: &self.node, meta: &self.meta }
    }

    /// About how many bytes it is encoded in.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.borrowed().weight()
    }
}

impl Meta {
    /// About how many bytes it is encoded in.
    #[must_use]
    pub fn weight(&self) -> usize {
        20 + self.xattrs.packed_len()
    }

    /// The first rule of this type's documentation that the value breaks, if any.
    #[must_use]
    pub fn broken_rule(&self) -> Option<&'static str> {
        if self.mode > 0o7777 {
            return Some("mode bits over 07777");
        }
        if self.mtime.nanos >= 1_000_000_000 {
            return Some("over 999,999,999 nanoseconds");
        }
        if !self.xattrs.iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b) {
            return Some("extended attributes out of order");
        }
        if self.xattrs.iter().any(|(name, _)| name.is_empty() || name.contains(&0)) {
            return Some("an unusable extended attribute name");
        }
        None
    }
}
