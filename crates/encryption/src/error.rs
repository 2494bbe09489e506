//! [`Error`]: why an encrypted store is not used.

use std::io;
use std::path::PathBuf;

/// Why an encrypted store is not used. Inside a [`Store`](repository::Store) it is the cause of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the verb needs is encrypted for others.
    #[error(
        "it is encrypted, and this machine cannot read it: give the identity with --identity FILE"
    )]
    NoIdentity,
    /// None of the identities is for this store.
    #[error("none of the identities that were given opens this store")]
    WrongIdentity,
    /// This process has no key that may write to the store.
    #[error(
        "this machine may not write to the store: where its identity is, let it with `ibtools key allow STORE {client}`"
    )]
    MayNotWrite {
        /// The public key of this machine, if it has one.
        client: String,
    },
    /// Nothing is remembered of the store here, so whose it is cannot be known.
    #[error(
        "this machine does not know the encrypted store yet, and would encrypt for whoever made it. If its id is {id}, \
         say so with `ibtools key trust STORE --id ID`"
    )]
    Unknown {
        /// The id that the store says that it has.
        id: String,
    },
    /// The store has another id than it is to have.
    #[error(
        "this is another store than the one that was here: its id was {known}, and is {found}. Somebody exchanged it, \
         or made it anew. If that is right, `ibtools key forget STORE` has this machine forget the one before"
    )]
    Exchanged {
        /// The id that is remembered, or was given.
        known: String,
        /// The one that was found.
        found: String,
    },
    /// The store was encrypted, and is not.
    #[error(
        "the store here was encrypted, its id was {known}, and this one is not: nothing is written to it. If that is right, \
         `ibtools key forget STORE` has this machine forget the one before"
    )]
    Downgraded {
        /// The id that is remembered.
        known: String,
    },
    /// The log is older than it was.
    #[error(
        "the store was set back: its log has {found} entries, and had {known}. Somebody brought back an older state, or took \
         away the newest. If that is right, `ibtools key forget STORE` has this machine forget the newer one"
    )]
    SetBack {
        /// How many entries were seen before.
        known: u64,
        /// How many there are.
        found: u64,
    },
    /// The log goes on from an older state than the last that was seen.
    #[error(
        "the log of the store was forked: it does not have the {known} entries that were seen before. Somebody wrote to an \
         older state of it. If that is right, `ibtools key forget STORE` has this machine forget the other"
    )]
    Forked {
        /// How many entries were seen before.
        known: u64,
    },
    /// What is remembered of the store cannot be read or written.
    #[error("cannot {operation} what this machine remembers of the store, {}", path.display())]
    Memory {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store cannot be read or written, or something of it is damaged.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A result with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        use io::ErrorKind::{InvalidData, PermissionDenied};
        match error {
            Error::Io(error) => error,
            error @ (Error::NoIdentity
            | Error::WrongIdentity
            | Error::MayNotWrite { .. }
            | Error::Unknown { .. }) => io::Error::new(PermissionDenied, error),
            error => io::Error::new(InvalidData, error),
        }
    }
}
