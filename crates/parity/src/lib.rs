//! Parity beside a file, or over several files: it finds what is damaged, and makes it again. It knows bytes and names;
//! it must not know what is in the files, nor where they are kept.
//!
//! A file is cut into shards of equal length, and some more shards are computed from all of them (Reed-Solomon, over
//! 2^16 elements). Any shards may be lost, up to the number of those: a burst, a torn page, bad sectors, single bits, the
//! head, the tail. A hash of each shard shows which are lost. `docs/format.md` has the bytes.
//!
//! - [`protect`] writes the parity of a file, or one parity of several.
//! - [`Parity::open`] reads it; [`Parity::check`] finds what is damaged; [`Parity::mend`] gives the right bytes.
//! - [`Healing`] is a file that mends itself, in memory, when a reader says that its bytes are wrong.
//!
//! What reads or writes files takes an `Option<&`[`Progress`]`>` as its last argument. It counts the bytes of the files, once, and
//! stops with [`Error::Cancelled`] soon after [`Progress::cancel`].
//!
//! The hashes have no key: they prove damage, not origin.
//!
//! ```
//! use parity::{File, Parity, Redundancy, protect};
//!
//! let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n ^ n >> 7) as u8).collect();
//! let mut beside = Vec::new();
//! protect(&[File::alone(&bytes)], Redundancy::percent(5)?, &mut beside, None)?;
//!
//! let mut damaged = bytes.clone();
//! damaged[40_000..44_000].fill(0);
//! damaged.truncate(99_999);
//! let parity = Parity::open(beside)?;
//! let check = parity.check(&[Some(&damaged)], None)?;
//! assert!(!check.is_sound() && check.is_mendable());
//! let mended = parity.mend(&[Some(&damaged)], &check, None)?;
//! let mut right = Vec::new();
//! mended.write(0, Some(&damaged), &mut right, None)?;
//! assert_eq!(right, bytes);
//! # Ok::<(), parity::Error>(())
//! ```

mod check;
mod code;
mod error;
mod files;
mod healing;
mod layout;
mod mend;
mod protect;
mod scratch;

pub use check::{Check, Parity};
pub use code::prepare;
pub use error::{Error, Result};
pub use files::File;
pub use healing::{Healed, Healing};
pub use layout::{Member, Redundancy};
pub use mend::{Mended, MendedFile};
pub use protect::{Protected, protect};
pub use rsync_core::Progress;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
