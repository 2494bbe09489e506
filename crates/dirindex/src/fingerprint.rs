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
    /// Below 10⁹, and [`EARLY`] where it is so.
    nanos: u32,
    inode: u64,
}

/// The bit of the nanoseconds that says that the file was read soon after its last change.
const EARLY: u32 = 1 << 31;

/// How long after the last time that shows a program may have stored to a file through a memory map
/// without another time showing: until the kernel has written the pages to the disk, which it does
/// after half a minute; ten minutes where it is set to save power.
const SOON: Time = Time { secs: 600, nanos: 0 };

impl StatFingerprint {
    /// `ctime`: time of last change of content or metadata, which programs cannot set.
    #[must_use]
    pub fn new(ctime: Time, inode: u64) -> StatFingerprint {
        StatFingerprint { secs: ctime.secs, nanos: ctime.nanos & !EARLY, inode }
    }

    /// The same of a file that was read when `now` was, or later.
    #[must_use]
    pub fn read_at(self, now: Time) -> StatFingerprint {
        let due = Time { secs: self.secs.saturating_add(SOON.secs), nanos: self.nanos & !EARLY };
        let early = if due > now { EARLY } else { 0 };
        StatFingerprint { nanos: self.nanos & !EARLY | early, ..self }
    }

    /// Whether the file was read so soon after its last change that what was stored later through a
    /// memory map (as databases do) would not show in its times. What differs in such a file is taken
    /// for a change, not for rot.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.nanos & EARLY != 0
    }

    /// The number of the inode.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether this is of the same file, unchanged, whenever it was read.
    #[must_use]
    pub fn is_of_same(&self, other: &StatFingerprint) -> bool {
        let known = |fingerprint: &StatFingerprint| {
            (fingerprint.secs, fingerprint.nanos & !EARLY, fingerprint.inode)
        };
        known(self) == known(other)
    }
}
