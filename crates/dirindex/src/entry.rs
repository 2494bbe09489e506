//! What an index says of one path: [`Entry`], its [`Node`] (what it is) and [`Meta`] (how it is
//! kept). Knows nothing of how they are read from a disk or written to a file.

use std::ops::Deref;

use rsync_core::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RelPath;

/// One path of a tree and everything a restore must bring back of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where, below the root.
    pub path: RelPath,
    /// What stands there, and its content.
    pub node: Node,
    /// Mode, owner, time, extended attributes.
    pub meta: Meta,
}

/// What stands at a path. Two equal nodes have the same kind and the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// A point in time: seconds since 1970 UTC (negative before) and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Extended attributes, sorted by name, each name once. Few entries have any, and of those that have
/// none there may be millions: it is one word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::box_collection, reason = "three words less where there are none")]
pub struct Xattrs(Option<Box<Vec<Xattr>>>);

impl From<Vec<Xattr>> for Xattrs {
    fn from(xattrs: Vec<Xattr>) -> Xattrs {
        Xattrs((!xattrs.is_empty()).then(|| Box::new(xattrs)))
    }
}

impl Deref for Xattrs {
    type Target = [Xattr];

    fn deref(&self) -> &[Xattr] {
        self.0.as_ref().map_or(&[], |xattrs| xattrs.as_slice())
    }
}

impl Serialize for Xattrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Xattrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Xattrs, D::Error> {
        Vec::deserialize(deserializer).map(Xattrs::from)
    }
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// With its namespace: `user.comment`.
    #[serde(with = "crate::bytes")]
    pub name: Vec<u8>,
    /// Any bytes.
    #[serde(with = "crate::bytes")]
    pub value: Vec<u8>,
}

impl Node {
    /// The content's length, 0 for all but files.
    pub fn len(&self) -> u64 {
        match self {
            Node::File { len, .. } => *len,
            _ => 0,
        }
    }

    /// Whether there is no content to store: true for all but files of 1 byte or more.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are of one kind (two files, two links, …), whatever their content.
    pub fn same_kind(&self, other: &Node) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// The kind in a word or two, for messages.
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

    /// The first rule of this type's documentation that the value breaks, if any.
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

impl Meta {
    /// The first rule of this type's documentation that the value breaks, if any.
    pub fn broken_rule(&self) -> Option<&'static str> {
        if self.mode > 0o7777 {
            return Some("mode bits over 07777");
        }
        if self.mtime.nanos >= 1_000_000_000 {
            return Some("over 999,999,999 nanoseconds");
        }
        if !self.xattrs.is_sorted_by(|a, b| a.name < b.name) {
            return Some("extended attributes out of order");
        }
        if self.xattrs.iter().any(|xattr| xattr.name.is_empty() || xattr.name.contains(&0)) {
            return Some("an unusable extended attribute name");
        }
        None
    }
}
