//! [`StatFingerprint`]: what makes an unchanged file not be read again. Must not know how files are read.

use serde::{Deserialize, Serialize};

use crate::Time;

/// What a later scan compares to tell, without reading it, that a file is still the one indexed.
/// Times and numbers of one disk, so no part of the tree id.
// A record is the smaller for each of these fields being where four bytes end, not eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(Rust, packed(4))]
pub struct StatFingerprint {
    secs: i64,
    nanos: u32,
    inode: u64,
}

impl StatFingerprint {
    /// `ctime`: time of last change of content or metadata, which programs cannot set.
    #[must_use]
    pub fn new(ctime: Time, inode: u64) -> StatFingerprint {
        StatFingerprint { secs: ctime.secs, nanos: ctime.nanos, inode }
    }

    /// The time of the last change of content or metadata.
    #[must_use]
    pub fn ctime(&self) -> Time {
        Time { secs: self.secs, nanos: self.nanos }
    }

    /// The number of the inode.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }
}
