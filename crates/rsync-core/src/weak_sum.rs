//! Weak sums: the cheap sums that say where in new data a block may lie. Must not know files, signatures or
//! strong hashes.
//!
//! [`rolling`] has the sums that move over data byte by byte. [`anchor`] has this crate's own weak sum, which
//! [`sample`]s the data by content. [`filter`] says fast which sums are certainly not wanted. [`vector`] has
//! the loops of all of them that run on wide vectors.

pub(crate) mod anchor;
pub(crate) mod filter;
pub(crate) mod rolling;
pub(crate) mod sample;
pub(crate) mod vector;

/// Which of them a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sha2", feature = "librsync")),
    allow(dead_code, reason = "without a feature no shape has its sums")
)]
pub(crate) enum WeakSum {
    Anchor,
    Rsync,
    Rollsum,
    RabinKarp,
}
