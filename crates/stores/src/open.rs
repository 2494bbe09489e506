//! Stores by their address: [`create`], [`open`], [`open_to_read`]. Knows nothing of what a store does.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use repository::{Error, Repository, Result, Store};

use crate::Address;
#[cfg(feature = "encryption")]
use crate::encrypted::{decrypted, decrypted_dir, refuse_plain};
use crate::user;

/// How a store elsewhere is reached. It means nothing to a directory of this machine.
#[derive(Clone)]
pub struct Options {
    /// Where what was read is kept for the next time; `None`: nowhere. By default the user's cache, `$XDG_CACHE_HOME/ibtools`. It
    /// can be deleted at any time.
    pub cache: Option<PathBuf>,
    /// No more bytes a second go there than this, on the average.
    pub limit_upload: Option<u64>,
    /// No more come from there.
    pub limit_download: Option<u64>,
    /// Called with what a user has to know: that a lock was left behind and taken over, or that a server cannot keep two clients apart.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
    /// What opens encrypted stores, here and elsewhere.
    #[cfg(feature = "encryption")]
    pub keys: crate::Keys,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache: user::cache(),
            limit_upload: None,
            limit_download: None,
            tell: Arc::new(|_| {}),
            #[cfg(feature = "encryption")]
            keys: crate::Keys::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { cache, limit_upload, limit_download, .. } = self;
        let limits = (limit_upload, limit_download);
        f.debug_struct("Options").field("cache", cache).field("limits", &limits).finish()
    }
}

/// A store, wherever it is.
pub type AnyStore = Arc<dyn Store>;

/// Makes a store at `address`.
///
/// # Errors
/// As [`Repository::create`], and when it cannot be reached.
pub fn create(address: &Address, options: &Options) -> Result<Repository<AnyStore>> {
    refuse_plain(address, options)?;
    match address {
        Address::Local(path) => Ok(Repository::create(path)?.map_store(any)),
        elsewhere => reach(elsewhere, options, Repository::create_in),
    }
}

/// The store at `address`.
///
/// # Errors
/// As [`Repository::open`], and when it cannot be reached.
pub fn open(address: &Address, options: &Options) -> Result<Repository<AnyStore>> {
    match address {
        Address::Local(path) => match decrypted_dir(path, address, options)? {
            Some(store) => Repository::open_in(store),
            None => Ok(Repository::open(path)?.map_store(any)),
        },
        elsewhere => reach(elsewhere, options, |store| {
            Repository::open_in(decrypted(store, elsewhere, options)?)
        }),
    }
}

/// The store at `address`, or archives of one that somebody copied there: enough to restore, verify and look.
///
/// # Errors
/// As [`open`].
pub fn open_to_read(address: &Address, options: &Options) -> Result<Repository<AnyStore>> {
    match address {
        Address::Local(path) => match decrypted_dir(path, address, options)? {
            Some(store) => Repository::open_in_to_read(store),
            None => Ok(Repository::open_to_read(path)?.map_store(any)),
        },
        elsewhere => reach(elsewhere, options, |store| {
            Repository::open_in_to_read(decrypted(store, elsewhere, options)?)
        }),
    }
}

/// What `open` makes of the store at an address elsewhere. Its errors name the address.
pub(crate) fn reach(
    address: &Address,
    options: &Options,
    open: impl FnOnce(AnyStore) -> Result<Repository<AnyStore>>,
) -> Result<Repository<AnyStore>> {
    open(connect(address, options)?).map_err(|error| at(error, address))
}

pub(crate) fn any(store: impl Store + 'static) -> AnyStore {
    Arc::new(store)
}

/// What is at an address elsewhere, whatever it is. No request is made.
#[cfg_attr(
    not(any(feature = "clouds", feature = "sftp")),
    allow(unused_variables, reason = "there is nothing to reach then")
)]
pub(crate) fn connect(address: &Address, options: &Options) -> Result<AnyStore> {
    let connected: io::Result<AnyStore> = match address {
        #[cfg(feature = "clouds")]
        Address::Cloud { cloud, bucket, prefix } => {
            crate::clouds::connect((*cloud, bucket, prefix), options).map(any)
        }
        #[cfg(feature = "sftp")]
        Address::Sftp { user, host, port, dir } => {
            crate::sftp::connect((user.as_deref(), host, *port, dir), options).map(any)
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
        Error::Store { operation, name, source } if name != address.to_string() => {
            Error::Store { operation, name: format!("{name} in {address}"), source }
        }
        other => other,
    }
}

/// Without encryption, a store is what it is.
#[cfg(not(feature = "encryption"))]
fn decrypted(store: AnyStore, _: &Address, _: &Options) -> Result<AnyStore> {
    Ok(store)
}

#[cfg(not(feature = "encryption"))]
fn decrypted_dir(_: &std::path::Path, _: &Address, _: &Options) -> Result<Option<AnyStore>> {
    Ok(None)
}

#[cfg(not(feature = "encryption"))]
fn refuse_plain(_: &Address, _: &Options) -> Result<()> {
    Ok(())
}
