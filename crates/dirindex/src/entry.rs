//! What an index says of one path: [`Entry`], its [`Node`] (what it is) and [`Meta`] (how it is
//! kept). Knows nothing of how they are read from a disk or written to a file.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsync_core::Digest;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::RelPath;

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

/// A point in time: seconds since 1970 UTC (negative before) and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Every time that Linux has is a [`Time`].
impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time { secs: secs(after), nanos: after.subsec_nanos() },
            Err(error) => {
                // Whole seconds are rounded down.
                let before = error.duration();
                let (rest, secs) = (before.subsec_nanos(), -secs(before));
                match rest {
                    0 => Time { secs, nanos: 0 },
                    rest => Time { secs: secs - 1, nanos: 1_000_000_000 - rest },
                }
            }
        }
    }
}

/// Fails where the system cannot hold the time. Linux holds every time.
impl TryFrom<Time> for SystemTime {
    type Error = TimeOutOfRange;

    fn try_from(time: Time) -> Result<SystemTime, TimeOutOfRange> {
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let seconds = match time.secs {
            0.. => UNIX_EPOCH.checked_add(whole),
            _ => UNIX_EPOCH.checked_sub(whole),
        };
        let time = seconds.and_then(|at| at.checked_add(Duration::from_nanos(time.nanos.into())));
        time.ok_or(TimeOutOfRange)
    }
}

/// The system cannot hold a time that far away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time that this system cannot hold")]
pub struct TimeOutOfRange;

/// Extended attributes, sorted by name, each name once. Few entries have any, and of those that have
/// none there may be millions: it is one word. Those of an entry are kept in one piece, so that many small ones
/// take little more than their bytes; a clone shares them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(clippy::redundant_allocation, reason = "a word less where there are none")]
pub struct Xattrs(Option<Arc<Box<[u8]>>>);

impl Xattrs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The name and the value of each.
    pub fn iter(&self) -> XattrIter<'_> {
        XattrIter(self.0.as_ref().map_or(&[], |packed| packed))
    }

    /// Each by itself.
    pub fn to_vec(&self) -> Vec<Xattr> {
        let own = |(name, value): (&[u8], &[u8])| Xattr { name: name.into(), value: value.into() };
        self.iter().map(own).collect()
    }

    /// Names and values one after the other, each behind its length: in one byte, or in those after a byte 255.
    fn pack(packed: &mut Vec<u8>, part: &[u8]) {
        match u8::try_from(part.len()) {
            Ok(len) if len < u8::MAX => packed.push(len),
            _ => {
                packed.push(u8::MAX);
                packed.extend(part.len().to_le_bytes());
            }
        }
        packed.extend_from_slice(part);
    }

    fn packed(packed: Vec<u8>) -> Xattrs {
        Xattrs((!packed.is_empty()).then(|| Arc::new(packed.into_boxed_slice())))
    }
}

/// The name and the value of each of some [`Xattrs`].
#[derive(Debug, Clone)]
pub struct XattrIter<'a>(&'a [u8]);

impl<'a> XattrIter<'a> {
    /// The next name or value.
    fn part(&mut self) -> Option<&'a [u8]> {
        let (&short, mut after) = self.0.split_first()?;
        let mut len = usize::from(short);
        if short == u8::MAX {
            let (long, parts) = after.split_first_chunk()?;
            (len, after) = (usize::from_le_bytes(*long), parts);
        }
        let (part, after) = after.split_at_checked(len)?;
        self.0 = after;
        Some(part)
    }
}

impl<'a> Iterator for XattrIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.part()?, self.part()?))
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = XattrIter<'a>;

    fn into_iter(self) -> XattrIter<'a> {
        self.iter()
    }
}

impl From<Vec<Xattr>> for Xattrs {
    fn from(xattrs: Vec<Xattr>) -> Xattrs {
        let mut packed = Vec::new();
        let parts = xattrs.iter().flat_map(|xattr| [&xattr.name, &xattr.value]);
        parts.for_each(|part| Xattrs::pack(&mut packed, part));
        Xattrs::packed(packed)
    }
}

impl Serialize for Xattrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// [`Xattr`], borrowed.
        #[derive(Serialize)]
        struct Row<'a>(
            #[serde(with = "crate::bytes")] &'a [u8],
            #[serde(with = "crate::bytes")] &'a [u8],
        );

        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|(name, value)| list.serialize_element(&Row(name, value)))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for Xattrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Xattrs, D::Error> {
        let mut packed = Vec::new();
        deserializer.deserialize_seq(PackList(&mut packed))?;
        Ok(Xattrs::packed(packed))
    }
}

/// Packs attributes as they are read: of small ones there may be millions, and none needs memory of its own meanwhile.
struct PackList<'p>(&'p mut Vec<u8>);
/// One attribute.
struct PackPair<'p>(&'p mut Vec<u8>);
/// A name or a value.
struct PackPart<'p>(&'p mut Vec<u8>);

impl<'de> Visitor<'de> for PackList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of extended attributes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(PackPair(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PackPair<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_tuple(2, self)
    }
}

impl<'de> Visitor<'de> for PackPair<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name and a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        for number in 0..2 {
            let part = pair.next_element_seed(PackPart(self.0))?;
            part.ok_or_else(|| A::Error::invalid_length(number, &"a name and a value"))?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for PackPart<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for PackPart<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<(), E> {
        Xattrs::pack(self.0, bytes);
        Ok(())
    }
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// About how many bytes it is encoded in.
    pub(crate) fn weight(&self) -> usize {
        self.path.as_bytes().len() + self.node.weight() + self.meta.weight()
    }
}

impl Entry {
    /// The same, borrowed.
    pub(crate) fn borrowed(&self) -> EntryRef<'_> {
        EntryRef { path: &self.path, node: &self.node, meta: &self.meta }
    }

    /// About how many bytes it is encoded in.
    pub fn weight(&self) -> usize {
        self.borrowed().weight()
    }
}

impl Node {
    /// About how many bytes it is encoded in.
    pub fn weight(&self) -> usize {
        match self {
            Node::Symlink { target } => target.len(),
            Node::HardLink { to } => to.as_bytes().len(),
            _ => 40,
        }
    }
}

impl Meta {
    /// About how many bytes it is encoded in.
    pub fn weight(&self) -> usize {
        20 + self.xattrs.0.as_ref().map_or(0, |packed| packed.len())
    }

    /// The first rule of this type's documentation that the value breaks, if any.
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

#[cfg(test)]
mod tests {
    use super::*;
    use container::codec;

    fn xattr(name: usize, value: usize) -> Xattr {
        Xattr { name: vec![1; name], value: vec![2; value] }
    }

    #[test]
    fn attributes_of_any_length_come_back() {
        for lens in [&[][..], &[(1, 0)], &[(254, 255), (255, 254), (256, 65536), (0, 0), (3, 70)]] {
            let list: Vec<Xattr> = lens.iter().map(|&(name, value)| xattr(name, value)).collect();
            let xattrs = Xattrs::from(list.clone());
            assert_eq!((xattrs.to_vec(), xattrs.is_empty()), (list.clone(), list.is_empty()));
            let (mut bytes, mut plain) = (Vec::new(), Vec::new());
            codec::encode_into(&xattrs, &mut bytes).unwrap();
            codec::encode_into(&list, &mut plain).unwrap();
            assert!(bytes == plain, "another encoding than that of a list");
            assert_eq!(codec::decode::<Xattrs>(&bytes), Ok(xattrs));
        }
    }
}
