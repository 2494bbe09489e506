//! What an [`EncryptedStore`] does as a [`Store`]. Must not know keys better than to ask for them.

use std::io::{self, ErrorKind};

use container::ReadAt;
use dirindex::FileId;
use repository::store::{MARKER, Noted, Store, StoreWriter, Stored, Witness};

use super::at_rest::{is_sealed, sealed};
use super::new_file::{NewFile, NewMarker};
use super::{EncryptedStore, Locked};
use crate::error::Error;
use crate::log::{Log, Recorded, is_index};
use crate::object::{self, Decrypted, Encrypting};
use crate::{keyring, log_files, marker};

impl Store for EncryptedStore {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let files = self.kept.0.list()?;
        if self.state().fresh.is_some() {
            return Ok(files);
        }
        let mut state = self.refreshed(&files)?;
        for text in Self::missing(&state.log, &files) {
            self.tell_once(&mut state, text);
        }
        if state.is_locked {
            self.clear_away(&state, &files)?;
        }
        let log = &state.log;
        let visible = |file: Stored| match sealed(&file.name) {
            None if keyring::is_key(&file.name) || log_files::number(&file.name).is_some() => None,
            None => Some(file),
            Some(name) => {
                let recorded = log.files().get(name)?;
                // An index that is another client's is none here.
                let is_of_use = !is_index(name) || self.keys.for_file(recorded).is_some();
                is_of_use.then(|| Stored { name: name.to_owned(), size: file.size })
            }
        };
        Ok(files.into_iter().filter_map(visible).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        if name == MARKER {
            let text = keyring::read(&self.kept.0, MARKER)?.ok_or(ErrorKind::NotFound)?;
            return Ok(Box::new(marker::to_plain(&text)));
        }
        self.decode(name, self.kept.open(name)?)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        if name == MARKER {
            return Ok(Box::new(NewMarker { store: self, text: Vec::new(), is_new: true }));
        }
        if !is_sealed(name) {
            return self.kept.put(name);
        }
        let (recipients, opens) = {
            let state = self.state();
            let signer = self.signer(&state.log)?.public();
            let owner = state.log.owner().ok_or(Error::NoIdentity)?;
            let is_client = state.log.owner() != Some(&signer);
            let opens = Some(signer).filter(|_| is_client && is_index(name));
            let all = std::iter::once(owner).chain(&opens).map(|key| key.recipient().clone());
            (all.collect::<Vec<_>>(), opens)
        };
        let out = Encrypting::new(self.kept.put(name)?, &recipients)?;
        Ok(Box::new(NewFile { store: self, name: name.to_owned(), opens, noted: None, out }))
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        match name {
            MARKER => Ok(Box::new(NewMarker { store: self, text: Vec::new(), is_new: false })),
            name if is_sealed(name) => Err(ErrorKind::Unsupported.into()),
            name => self.kept.replace(name),
        }
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.will_delete(&[name])?;
        self.kept.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        let kept = self.kept.0.lock()?;
        self.state().is_locked = true;
        Ok(Box::new(Locked { state: &self.state, _kept: kept }))
    }

    fn at_rest(&self) -> Option<&dyn Store> {
        Some(&self.kept)
    }

    fn decode(&self, name: &str, kept: Box<dyn ReadAt>) -> io::Result<Box<dyn ReadAt>> {
        if !is_sealed(name) {
            return Ok(kept);
        }
        let recorded = self.state().log.files().get(name).cloned();
        let recorded = recorded.ok_or_else(|| {
            io::Error::new(ErrorKind::NotFound, format!("{name} is not in the log of the store"))
        })?;
        let keys = self.keys.for_file(&recorded).ok_or(Error::NoIdentity)?;
        Ok(Box::new(Decrypted::open(kept, &recorded.sealed, keys)?))
    }

    fn noted(&self, name: &str) -> Option<Noted> {
        self.state().log.files().get(name)?.noted.clone()
    }

    fn compare(&self, name: &str) -> io::Result<()> {
        let recorded = self.state().log.files().get(name).cloned();
        let Some(Recorded { sealed, .. }) = recorded else { return Ok(()) };
        let kept = self.kept.open(name)?;
        match kept.size()? == sealed.size && object::hash(&*kept)? == sealed.hash {
            true => Ok(()),
            false => Err(io::Error::new(
                ErrorKind::InvalidData,
                "it is not as it was put: the log has another hash",
            )),
        }
    }

    fn is_readable(&self) -> bool {
        !self.keys.store.is_empty()
    }

    fn will_delete(&self, names: &[&str]) -> io::Result<()> {
        let recorded = {
            let state = self.state();
            let is_recorded =
                |name: &&&str| !is_index(name) && state.log.files().contains_key(**name);
            let names = names.iter().filter(is_recorded);
            names.map(|&name| name.to_owned()).collect::<Vec<String>>()
        };
        if recorded.is_empty() {
            return Ok(());
        }
        let entry = {
            let state = self.state();
            let first = state.log.first().ok_or(Error::NoIdentity)?;
            Log::deleted_entry(first, recorded, self.owner(&state.log)?)
        };
        self.record(&[entry])
    }

    fn audit(&self) -> io::Result<Vec<String>> {
        let files = self.kept.0.list()?;
        let state = self.refreshed(&files)?;
        Ok(Self::missing(&state.log, &files))
    }

    fn tells_losses(&self) -> bool {
        true
    }

    fn witness(&self) -> Option<Witness> {
        self.kept.0.witness()
    }

    fn directory(&self) -> Option<FileId> {
        self.kept.0.directory()
    }
}
