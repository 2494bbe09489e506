//! Encrypted stores by their address. Knows where this machine keeps its own secret, and what it remembers of stores.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use encryption::{Access, EncryptedStore, Identities, Recipients, Secret};
use repository::{DirStore, Error, Repository, Result};

use crate::open::{AnyStore, any, connect, reach};
use crate::{Address, Options, user};

/// What opens encrypted stores, and where what belongs to them is kept.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// What opens archives.
    pub identities: Identities,
    /// The file with the secret of this machine. By default `client.key` in the user's configuration, `$XDG_CONFIG_HOME/ibtools`.
    pub client: Option<PathBuf>,
    /// The directory in which this machine remembers stores. By default in the user's state, `$XDG_STATE_HOME/ibtools/stores`.
    pub memory: Option<PathBuf>,
}

impl Keys {
    /// The file with the secret of this machine.
    ///
    /// # Errors
    /// When no directory of the user is known.
    pub fn client_file(&self) -> io::Result<PathBuf> {
        let by_default = || Some(user::config()?.join("client.key"));
        self.client.clone().or_else(by_default).ok_or_else(homeless)
    }

    fn memory(&self) -> io::Result<PathBuf> {
        let by_default = || Some(user::state()?.join("stores"));
        self.memory.clone().or_else(by_default).ok_or_else(homeless)
    }
}

fn homeless() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "it is not known where this machine keeps its keys: HOME is not set",
    )
}

/// Makes an encrypted store at `address`, whose secret is for `recipients`. This machine may write to it.
///
/// # Errors
/// As [`Repository::create`], and when it cannot be reached.
pub fn create_encrypted(
    address: &Address,
    options: &Options,
    recipients: Recipients,
) -> Result<Repository<AnyStore>> {
    let failed = |source| failed(address, source);
    let client = encryption::client_secret(&options.keys.client_file().map_err(failed)?);
    let access = access(address, options, Some(client.map_err(failed)?)).map_err(failed)?;
    // Who makes a store on purpose has its memory be of that one.
    match address {
        Address::Local(path) => {
            if let Ok(there) = DirStore::open(path) {
                encryption::clear_unmade(&there).map_err(failed)?;
            }
            let made = Repository::create_as(path, |store| {
                EncryptedStore::fresh(store, &access, recipients)
            });
            Ok(made?.map_store(any))
        }
        elsewhere => reach(elsewhere, options, |store| {
            encryption::clear_unmade(&store).map_err(failed)?;
            let store = EncryptedStore::fresh(store, &access, recipients);
            Ok(Repository::create_in(store)?.map_store(any))
        }),
    }
}

/// The encrypted store at `address`, to change who may use it.
///
/// # Errors
/// [`Error::Store`], also when it is not encrypted.
pub fn open_encrypted(address: &Address, options: &Options) -> Result<EncryptedStore> {
    by_access(address, options, EncryptedStore::open)
}

/// Has this machine take the encrypted store at `address` for the one with this id, and remember it.
///
/// # Errors
/// As [`open_encrypted`].
pub fn trust(address: &Address, options: &Options, id: &str) -> Result<EncryptedStore> {
    by_access(address, options, |store, access| EncryptedStore::trust(store, access, id))
}

/// Has this machine forget what it remembers of the encrypted store at `address`.
///
/// # Errors
/// [`Error::Store`].
pub fn forget(address: &Address, options: &Options) -> Result<()> {
    let access = access(address, options, None).map_err(|error| failed(address, error))?;
    access.forget().map_err(|error| failed(address, error.into()))
}

fn by_access(
    address: &Address,
    options: &Options,
    open: impl FnOnce(AnyStore, &Access) -> encryption::Result<EncryptedStore>,
) -> Result<EncryptedStore> {
    let store = match address {
        Address::Local(path) => any(DirStore::open(path)?),
        elsewhere => connect(elsewhere, options)?,
    };
    let access = of_machine(address, options).map_err(|error| failed(address, error))?;
    open(store, &access).map_err(|error| failed(address, error.into()))
}

/// What `store` is, decrypted if it is encrypted. One that was encrypted, as this machine remembers, has to be.
pub(crate) fn decrypted(store: AnyStore, address: &Address, options: &Options) -> Result<AnyStore> {
    match encryption::is_encrypted(&store).map_err(|error| failed(address, error))? {
        None => Ok(store),
        Some(false) => refuse_plain(address, options).map(|()| store),
        Some(true) => {
            let access = of_machine(address, options).map_err(|error| failed(address, error))?;
            let opened = EncryptedStore::open(store, &access);
            opened.map(any).map_err(|error| failed(address, error.into()))
        }
    }
}

/// That this machine does not remember the store at `address` as an encrypted one.
pub(crate) fn refuse_plain(address: &Address, options: &Options) -> Result<()> {
    // Where nothing can be remembered, nothing was.
    let Ok(access) = access(address, options, None) else { return Ok(()) };
    access.check_plain().map_err(|error| failed(address, error.into()))
}

/// [`decrypted`], of a directory. `None` where there is none that could be opened, or it is not encrypted.
pub(crate) fn decrypted_dir(
    path: &std::path::Path,
    address: &Address,
    options: &Options,
) -> Result<Option<AnyStore>> {
    let Ok(store) = DirStore::open(path).map(any) else { return Ok(None) };
    match encryption::is_encrypted(&store).map_err(|error| failed(address, error))? {
        Some(true) => decrypted(store, address, options).map(Some),
        Some(false) => refuse_plain(address, options).map(|()| None),
        None => Ok(None),
    }
}

/// With what this machine uses the store, with its secret if it has one.
fn of_machine(address: &Address, options: &Options) -> io::Result<Access> {
    let file = options.keys.client_file()?;
    let client = file.try_exists()?.then(|| {
        let of_file = |error: io::Error| {
            let text = format!("the secret of this machine, {}: {error}", file.display());
            io::Error::new(error.kind(), text)
        };
        encryption::client_secret(&file).map_err(of_file)
    });
    access(address, options, client.transpose()?)
}

fn access(address: &Address, options: &Options, client: Option<Secret>) -> io::Result<Access> {
    let name = match address {
        // The same directory, however it is called.
        Address::Local(path) => std::path::absolute(path)
            .and_then(|path| path.canonicalize().or(Ok(path)))?
            .to_string_lossy()
            .into_owned(),
        elsewhere => elsewhere.to_string(),
    };
    Ok(Access {
        address: name,
        memory: options.keys.memory()?,
        client,
        identities: options.keys.identities.clone(),
        tell: Arc::clone(&options.tell),
    })
}

fn failed(address: &Address, source: io::Error) -> Error {
    Error::Store { operation: "open", name: address.to_string(), source }
}
