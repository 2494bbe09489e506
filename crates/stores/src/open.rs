//! Stores by their address: [`create`], [`open`], [`open_to_read`]. Knows nothing of what a store does.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use repository::{Error, Repository, Result, Store};

use crate::Address;

/// A store, wherever it is.
pub type AnyStore = Arc<dyn Store>;

/// Makes a store at `address`.
///
/// # Errors
/// As [`Repository::create`], and when it cannot be reached.
pub fn create(address: &Address) -> Result<Repository<AnyStore>> {
    match address {
        Address::Local(path) => Ok(Repository::create(path)?.map_store(any)),
        elsewhere => {
            Repository::create_in(connect(elsewhere)?).map_err(|error| at(error, elsewhere))
        }
    }
}

/// The store at `address`.
///
/// # Errors
/// As [`Repository::open`], and when it cannot be reached.
pub fn open(address: &Address) -> Result<Repository<AnyStore>> {
    match address {
        Address::Local(path) => Ok(Repository::open(path)?.map_store(any)),
        elsewhere => Repository::open_in(connect(elsewhere)?).map_err(|error| at(error, elsewhere)),
    }
}

/// The store at `address`, or archives of one that somebody copied there: enough to restore, verify and look.
///
/// # Errors
/// As [`open`].
pub fn open_to_read(address: &Address) -> Result<Repository<AnyStore>> {
    match address {
        Address::Local(path) => Ok(Repository::open_to_read(path)?.map_store(any)),
        elsewhere => {
            let opened = Repository::open_in_to_read(connect(elsewhere)?);
            opened.map_err(|error| at(error, elsewhere))
        }
    }
}

fn any(store: impl Store + 'static) -> AnyStore {
    Arc::new(store)
}

/// What is at an address elsewhere, whatever it is. No request is made.
fn connect(address: &Address) -> Result<AnyStore> {
    let connected: io::Result<AnyStore> = match address {
        #[cfg(feature = "clouds")]
        Address::Cloud { cloud, bucket, prefix } => {
            crate::clouds::connect(*cloud, bucket, prefix).map(any)
        }
        _ => Err(io::Error::new(
            ErrorKind::Unsupported,
            "this program was built without such stores",
        )),
    };
    let failed = |source| Error::Store { operation: "open", name: address.to_string(), source };
    connected.map_err(failed)
}

/// The error, with the place.
fn at(error: Error, address: &Address) -> Error {
    let here = || Some(PathBuf::from(address.to_string()));
    match error {
        Error::NoStore { place: None, found } => Error::NoStore { place: here(), found },
        Error::IsStore { place: None } => Error::IsStore { place: here() },
        Error::Store { operation, name, source } => {
            Error::Store { operation, name: format!("{name} in {address}"), source }
        }
        other => other,
    }
}
