//! A store of backups that its keeper cannot read, written by clients that cannot read it either. It knows how files are encrypted,
//! who may write, and what is there; it must not know what is in the files.
//!
//! Files are encrypted with [age](https://age-encryption.org/v1), so `age -d` opens them. [`EncryptedStore`] is a
//! [`Store`](repository::Store) around any other one. [`Recipients`] are for whom it is made, [`Identities`] what opens it. A client
//! has a [`Secret`] of its own. What each of them can and cannot do is in `docs/security.md`.
//!
//! ```
//! use encryption::{Access, EncryptedStore, Identities, Recipients, Secret};
//! use repository::{BackupOptions, Repository, RestoreOptions};
//! # use std::fs;
//! # use std::sync::Arc;
//! # let temporary = tempfile::tempdir()?;
//! # let at = |name: &str| temporary.path().join(name);
//! # fs::create_dir(at("mydir"))?;
//! # fs::write(at("mydir/file"), "content")?;
//! # let ask: encryption::Ask = Arc::new(|_| None);
//! // The identity, which stays elsewhere, and its public key.
//! let recipient = encryption::new_identity(&at("my.key"), None)?;
//! let mut recipients = Recipients::default();
//! recipients.add(&recipient, &ask)?;
//!
//! let client = Access {
//!     address: "store".to_owned(),
//!     memory: at("memory"),
//!     client: Some(Secret::generate()),
//!     identities: Identities::default(),
//!     tell: Arc::new(|_| {}),
//! };
//! let place = repository::DirStore::create(at("store"))?;
//! let made = EncryptedStore::fresh(place.clone(), &client, recipients);
//! Repository::create_in(made)?;
//!
//! // The client backs up, and cannot read what it wrote.
//! let repository = Repository::open_in(EncryptedStore::open(place.clone(), &client)?)?;
//! let dir = dirindex::Dir::new(at("mydir"))?;
//! let snapshot = repository.backup(&dir, &BackupOptions::default())?.snapshot;
//! assert!(repository.restore(snapshot, at("back"), &RestoreOptions::default()).is_err());
//!
//! // Who has the identity can.
//! let mut identities = Identities::default();
//! identities.add(&at("my.key"), &ask)?;
//! let owner = Access { identities, ..client };
//! let repository = Repository::open_in(EncryptedStore::open(place, &owner)?)?;
//! fs::create_dir(at("back"))?;
//! repository.restore(snapshot, at("back"), &RestoreOptions::default())?;
//! assert_eq!(fs::read(at("back/file"))?, b"content");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod client;
mod error;
mod given;
mod keyring;
mod keys;
mod log;
mod log_files;
mod log_run;
mod marker;
mod memory;
mod object;
mod store;

pub use access::Access;
pub use client::{client_secret, new_identity};
pub use error::{Error, Result};
pub use given::{Ask, Identities, InvalidGiven, PASSPHRASE, Recipients};
pub use keys::{InvalidKey, Public, Secret};
pub use store::{EncryptedStore, clear_unmade, is_encrypted};

/// For the fuzz target `log`, which would not come past the encryption: how many entries the files of a log have.
#[doc(hidden)]
#[must_use]
pub fn log_entries(files: &[&[u8]]) -> Option<u64> {
    log::entries_of(files)
}
