//! Who may use an encrypted store: [`allow`](EncryptedStore::allow), [`revoke`](EncryptedStore::revoke),
//! [`rotate`](EncryptedStore::rotate). Knows nothing of archives.

use repository::store::Store;

use super::EncryptedStore;
use crate::error::{Error, Result};
use crate::given::Recipients;
use crate::keyring;
use crate::keys::{Public, Secret};
use crate::log::Log;
use crate::log_files;

impl EncryptedStore {
    /// Lets a client write to the store. Needs the identity. Takes the lock of the store.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::Io`].
    pub fn allow(&self, client: &Public) -> Result<()> {
        self.grant(client, true)
    }

    /// Lets a client write no more. What it put stays.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::Io`].
    pub fn revoke(&self, client: &Public) -> Result<()> {
        self.grant(client, false)
    }

    fn grant(&self, client: &Public, allows: bool) -> Result<()> {
        let _lock = self.lock()?;
        let files = self.kept.0.list()?;
        let mut state = self.refreshed(&files)?;
        let owner = self.owner(&state.log)?;
        let first = state.log.first().cloned().ok_or(Error::NoIdentity)?;
        let entry = match allows {
            true => Log::client_entry(&first, client, owner),
            false => Log::revoked_entry(&first, client, owner),
        };
        // A new client can read no file of the log that was written before.
        log_files::append(&self.kept.0, &mut state.log, &[entry], owner, true)?;
        self.remember(&state);
        Ok(())
    }

    /// Gives the store a new secret, for these recipients alone. They can read all that is there; others than they can read nothing
    /// that is put from now on. Nothing but the secrets is written anew.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], [`Error::Io`].
    pub fn rotate(&mut self, recipients: &Recipients) -> Result<()> {
        let secret = Secret::generate();
        let mut secrets = vec![secret.clone()];
        secrets.extend(self.keys.store.iter().cloned());
        {
            let _lock = self.lock()?;
            let files = self.kept.0.list()?;
            let mut state = self.refreshed(&files)?;
            let old = self.owner(&state.log)?;
            // First the secret can be read, then it is used.
            keyring::write(&self.kept.0, &secrets, recipients)?;
            let entry = state.log.owner_entry(&secret.public(), Some(old));
            log_files::append(&self.kept.0, &mut state.log, &[entry], &secret, false)?;
            self.remember(&state);
        }
        self.keys.store = secrets;
        Ok(())
    }
}
