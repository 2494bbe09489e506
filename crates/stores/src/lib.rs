//! Where a store of backups may be: a directory, a cloud, another machine. It knows how objects are reached and kept at hand; it must
//! not know what they have in them.
//!
//! An [`Address`] is what a user writes. [`create`], [`open`] and [`open_to_read`] make a [`Repository`](repository::Repository) of
//! it. What is not on this machine is a [`RemoteStore`].
//!
//! ```
//! # let temporary = tempfile::tempdir()?;
//! # let word = temporary.path().join("store").into_os_string();
//! let address = stores::Address::parse(&word)?;
//! let repository = stores::create(&address, &stores::Options::default())?;
//! assert_eq!(repository.snapshots()?.all().count(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
#[cfg(feature = "clouds")]
mod clouds;
#[cfg(feature = "encryption")]
mod encrypted;
mod open;
#[cfg_attr(
    not(any(feature = "clouds", feature = "sftp")),
    allow(dead_code, reason = "nothing reaches objects then")
)]
mod remote;
#[cfg(any(feature = "clouds", feature = "sftp"))]
mod runtime;
#[cfg(feature = "sftp")]
mod serve;
#[cfg(feature = "sftp")]
mod sftp;
mod user;

pub use address::{Address, Cloud, InvalidAddress};
#[cfg(feature = "encryption")]
pub use encrypted::{Keys, create_encrypted, forget, open_encrypted, trust};
#[cfg(feature = "encryption")]
pub use encryption;
pub use open::{AnyStore, Options, create, open, open_to_read};
pub use remote::RemoteStore;
#[cfg(feature = "sftp")]
pub use serve::serve;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
