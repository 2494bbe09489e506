//! Matching: which parts of new data are blocks of a signature. Must not know how a delta is encoded.
//!
//! [`matcher`] says whether given bytes are a block; it asks [`weak_table`] and [`context_table`], which look
//! up weak sums. [`scan`] chooses the windows of the new data to ask about, and finds matches. [`join`] joins
//! the matches of scans that ran in parallel.

mod context_table;
pub(crate) mod join;
pub(crate) mod matcher;
pub(crate) mod scan;
mod weak_table;

/// A segment of the new data that equals a segment of the base: `len` bytes from `new` in the new data, from
/// `base` in the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) new: u64,
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl Match {
    pub(crate) fn new_end(&self) -> u64 {
        self.new + self.len
    }
    pub(crate) fn base_end(&self) -> u64 {
        self.base + self.len
    }
}

/// The new data, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'d> {
    pub(crate) bytes: &'d [u8],
    /// Where `bytes` begins in the new data.
    pub(crate) offset: u64,
}

impl<'d> Part<'d> {
    /// Bytes `from..to` of the new data; `None` if there are none or this part does not have all of them.
    pub(crate) fn slice(&self, from: u64, to: u64) -> Option<&'d [u8]> {
        let start = usize::try_from(from.checked_sub(self.offset)?).ok()?;
        let end = usize::try_from(to.checked_sub(self.offset)?).ok()?;
        self.bytes.get(start..end).filter(|slice| !slice.is_empty())
    }
}

/// The work that matching took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Strong hashes computed to decide whether a window is a block.
    pub(crate) strong_hashes: u64,
    /// Work that ended in no match, in bytes of strong hashing.
    pub(crate) wasted: u64,
}
