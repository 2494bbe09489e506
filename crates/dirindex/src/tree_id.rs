//! [`TreeId`]: the identity of a tree, and its text form. Must not know how it is made.

use std::fmt;
use std::str::FromStr;

use rsync_core::{Digest, ParseDigestError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identity of a whole tree: BLAKE3 over the encodings of its entries in path order.
///
/// Two trees have the same id when, and only when, a restore brings back the same from both:
/// paths, kinds, contents, modes, owners, times, extended attributes. The root directory's own
/// metadata is the caller's and has no part in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub [u8; 32]);

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TreeId {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<TreeId, ParseDigestError> {
        text.parse().map(|digest: Digest| TreeId(digest.0))
    }
}

/// As of a [`Digest`]: its text in formats for people.
impl Serialize for TreeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Digest(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TreeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TreeId, D::Error> {
        Digest::deserialize(deserializer).map(|digest| TreeId(digest.0))
    }
}

impl fmt::Debug for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeId({self})")
    }
}
