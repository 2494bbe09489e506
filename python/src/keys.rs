//! What opens encrypted stores, and who may write to them. Knows no verb of backups.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use incremental_backups_tools::stores::encryption::{self, Ask, Identities, Recipients};
use incremental_backups_tools::stores::{self, Address};
use pyo3::prelude::*;

use crate::errors::Failure;
use crate::repository::options;
use crate::work::quick;

/// What a caller gives to open a store: Python's `keys` argument, files of identities and a passphrase.
#[derive(Clone, Default, FromPyObject)]
pub(crate) struct Keys(Vec<String>, Option<String>);

impl Keys {
    fn ask(&self) -> Ask {
        let passphrase = self.1.clone();
        Arc::new(move |_| passphrase.clone().or_else(|| std::env::var("IBTOOLS_PASSPHRASE").ok()))
    }

    /// How stores are reached with these keys.
    pub(crate) fn options(&self) -> Result<stores::Options, Failure> {
        let (mut options, mut identities) = (options(), Identities::default());
        for file in &self.0 {
            identities.add(file.as_ref(), &self.ask())?;
        }
        options.keys.identities = identities;
        Ok(options)
    }

    pub(crate) fn recipients(&self, given: &[String]) -> Result<Recipients, Failure> {
        let mut recipients = Recipients::default();
        for given in given {
            recipients.add(given, &self.ask())?;
        }
        Ok(recipients)
    }
}

/// Writes a new identity into a file; gives its public key.
#[pyfunction]
pub(crate) fn new_identity(
    py: Python<'_>,
    file: PathBuf,
    passphrase: Option<String>,
) -> PyResult<String> {
    quick(py, || Ok::<_, Failure>(encryption::new_identity(&file, passphrase.as_deref())?))
}

/// The public key of this machine as a client of stores. Its secret is made if there is none.
#[pyfunction]
pub(crate) fn machine(py: Python<'_>) -> PyResult<String> {
    quick(py, || {
        let secret = encryption::client_secret(&options().keys.client_file()?)?;
        Ok::<_, Failure>(secret.public().to_string())
    })
}

/// Has this machine take the store at `place` for the one with this id.
#[pyfunction]
pub(crate) fn trust(py: Python<'_>, place: OsString, id: String, keys: Keys) -> PyResult<()> {
    quick(py, || {
        stores::trust(&Address::parse(place)?, &keys.options()?, &id)?;
        Ok::<_, Failure>(())
    })
}

/// Has this machine forget what it remembers of the store at `place`.
#[pyfunction]
pub(crate) fn forget(py: Python<'_>, place: OsString) -> PyResult<()> {
    quick(py, || Ok::<_, Failure>(stores::forget(&Address::parse(place)?, &options())?))
}

/// The id of the store, and the machines that may write to it.
#[pyfunction]
pub(crate) fn known(
    py: Python<'_>,
    place: OsString,
    keys: Keys,
) -> PyResult<(String, Vec<String>)> {
    quick(py, || {
        let store = stores::open_encrypted(&Address::parse(place)?, &keys.options()?)?;
        let clients = store.clients().iter().map(ToString::to_string).collect();
        Ok::<_, Failure>((store.id(), clients))
    })
}

/// Lets a machine write to the store, or no more.
#[pyfunction]
pub(crate) fn grant(
    py: Python<'_>,
    place: OsString,
    machine: String,
    may_write: bool,
    keys: Keys,
) -> PyResult<()> {
    quick(py, || {
        let machine = machine.parse()?;
        let store = stores::open_encrypted(&Address::parse(place)?, &keys.options()?)?;
        match may_write {
            true => store.allow(&machine)?,
            false => store.revoke(&machine)?,
        }
        Ok::<_, Failure>(())
    })
}

/// Gives the store a new secret, for these recipients alone.
#[pyfunction]
pub(crate) fn rotate(
    py: Python<'_>,
    place: OsString,
    recipients: Vec<String>,
    keys: Keys,
) -> PyResult<()> {
    quick(py, || {
        let recipients = keys.recipients(&recipients)?;
        stores::open_encrypted(&Address::parse(place)?, &keys.options()?)?.rotate(&recipients)?;
        Ok::<_, Failure>(())
    })
}
