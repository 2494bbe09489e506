//! [`EncryptedStore`]: a store whose files are encrypted where they are kept. A file that is not in the log is not there. Knows how files are sealed and found; who may do what is the log's.

mod at_rest;
mod new_file;
mod rights;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use repository::store::{MARKER, Store, Stored};

use self::at_rest::{AtRest, sealed};
use crate::access::{Access, of_memory};
use crate::error::{Error, Result};
use crate::given::Recipients;
use crate::keyring::{self, Keyring};
use crate::keys::{Public, Secret};
use crate::log::{Entry, Log, Recorded, is_index};
use crate::log_files;
use crate::log_run::At;
use crate::marker::{self, Marked};
use crate::memory::Memory;
use crate::object::locked;

/// Whether a store is encrypted. `None` for what is no store.
///
/// # Errors
/// When its marker cannot be read, or is damaged.
pub fn is_encrypted(store: &dyn Store) -> io::Result<Option<bool>> {
    Ok(match marker::read(store)? {
        Marked::Missing => None,
        Marked::Plain => Some(false),
        Marked::Encrypted(_) => Some(true),
    })
}

/// Deletes what an interrupted making of an encrypted store left in `store`. Where there is a marker, or an archive, it was made, and
/// nothing is deleted.
///
/// # Errors
/// As the store has them.
pub fn clear_unmade(store: &dyn Store) -> io::Result<()> {
    // A place that is no store gets no lock.
    if left_unmade(&store.list()?).is_empty() {
        return Ok(());
    }
    let _lock = store.lock()?;
    left_unmade(&store.list()?).iter().try_for_each(|name| store.delete(name))
}

/// What an interrupted making left, if nothing else is there.
fn left_unmade(files: &[Stored]) -> Vec<String> {
    let names = || files.iter().map(|file| &file.name);
    let is_used = |name: &String| name == MARKER || sealed(name).is_some();
    if names().any(is_used) || log_files::newest(files) > 1 {
        return Vec::new();
    }
    let is_left = |name: &&String| keyring::is_key(name) || log_files::number(name).is_some();
    names().filter(is_left).cloned().collect()
}

/// A store whose archives and indexes are encrypted with age, under their name and `.age`.
///
/// Archives are for the owner of the store alone, whose secret is itself encrypted for the recipients; the index is for the client that
/// made it, too. A client puts what it cannot read. What is put is noted in a log, which clients sign: a file that is not in it, or is
/// another, is not there.
pub struct EncryptedStore {
    kept: AtRest,
    keys: Keyring,
    state: Mutex<State>,
    memory: Memory,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct State {
    log: Log,
    /// Until the store is made: for whom its secret will be encrypted.
    fresh: Option<Recipients>,
    /// What the user was told already.
    told: BTreeSet<String>,
    /// Whether this process keeps others from changing the store.
    is_locked: bool,
}

/// Holds the lock of the store.
struct Locked<'a> {
    state: &'a Mutex<State>,
    _kept: Box<dyn Send + 'a>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        locked(self.state).is_locked = false;
    }
}

impl std::fmt::Debug for EncryptedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncryptedStore").field("keys", &self.keys).finish()
    }
}

impl EncryptedStore {
    /// What becomes an encrypted store by [`Repository::create_in`](repository::Repository::create_in): its secrets for `recipients`,
    /// and `access`'s client may write to it.
    pub fn fresh(
        store: impl Store + 'static,
        access: &Access,
        recipients: Recipients,
    ) -> EncryptedStore {
        let keys = Keyring { store: vec![Secret::generate()], client: access.client.clone() };
        let state = State { fresh: Some(recipients), ..State::default() };
        EncryptedStore {
            kept: AtRest(Arc::new(store)),
            keys,
            state: Mutex::new(state),
            memory: access.memory(),
            tell: Arc::clone(&access.tell),
        }
    }

    /// The encrypted store that `store` is.
    ///
    /// # Errors
    /// All of [`Error`] but [`Downgraded`](Error::Downgraded).
    pub fn open(store: impl Store + 'static, access: &Access) -> Result<EncryptedStore> {
        EncryptedStore::open_as(Arc::new(store), access, None)
    }

    /// [`open`](EncryptedStore::open) of a store of which nothing needs to be remembered, if it is the one that has this `id`. It is
    /// remembered then.
    ///
    /// # Errors
    /// As [`open`](EncryptedStore::open).
    pub fn trust(store: impl Store + 'static, access: &Access, id: &str) -> Result<EncryptedStore> {
        EncryptedStore::open_as(Arc::new(store), access, Some(id))
    }

    fn open_as(
        store: Arc<dyn Store>,
        access: &Access,
        trusted: Option<&str>,
    ) -> Result<EncryptedStore> {
        let kept = AtRest(store);
        let Marked::Encrypted(id) = marker::read(&kept.0)? else {
            let text = "it is no encrypted store";
            return Err(io::Error::new(ErrorKind::InvalidData, text).into());
        };
        let memory = access.memory();
        // Before the store is listed: what another process remembers meanwhile is of a later log.
        let known = memory.load().map_err(|source| of_memory("read", &memory, source))?;
        let expected = known.as_ref().map(|known| known.store.id());
        if let Some(known) =
            expected.or(trusted.map(str::to_owned)).filter(|expected| *expected != id)
        {
            return Err(Error::Exchanged { known, found: id });
        }
        let mut keys = Keyring { store: Vec::new(), client: access.client.clone() };
        if !access.identities.is_empty() {
            let opened = keyring::open(&kept.0, &access.identities)?;
            keys.store = opened.ok_or(Error::WrongIdentity)?;
        }
        // Who has the store's first secret knows by it that the store is what it says.
        let is_owner = keys.store.last().is_some_and(|first| first.public().id() == id);
        if known.is_none() && trusted.is_none() && !is_owner {
            return Err(match keys.client {
                Some(_) => Error::Unknown { id },
                None => Error::NoIdentity,
            });
        }
        if keys.store.is_empty() && keys.client.is_none() {
            return Err(Error::NoIdentity);
        }
        let log = match log_files::newest(&kept.0.list()?) {
            // The log was there before the marker.
            0 => {
                let known = known.map_or(1, |known| known.seen.entries);
                return Err(Error::SetBack { known, found: 0 });
            }
            newest => log_files::read(&kept.0, newest, &keys)?,
        };
        if let Some(first) = log.first().filter(|first| first.id() != id) {
            return Err(Error::Exchanged { known: id, found: first.id() });
        }
        check_seen(&log, known.map(|known| known.seen).unwrap_or_default())?;
        let state = State { log, ..State::default() };
        let (state, tell) = (Mutex::new(state), Arc::clone(&access.tell));
        let opened = EncryptedStore { kept, keys, state, memory, tell };
        opened.remember(&opened.state());
        Ok(opened)
    }

    /// The id of the store: that of the owner that made it.
    pub fn id(&self) -> String {
        self.state().log.first().map(Public::id).unwrap_or_default()
    }

    /// The clients that may write to it.
    pub fn clients(&self) -> Vec<Public> {
        self.state().log.clients().to_vec()
    }

    /// How many entries its log has.
    pub fn log_len(&self) -> u64 {
        self.state().log.at().entries
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Remembers how far the log has come, for the next time.
    fn remember(&self, state: &State) {
        let Some(first) = state.log.first() else { return };
        let at = state.log.at();
        let known = self.memory.load().ok().flatten();
        // Another process may have seen more.
        if known.is_some_and(|known| known.seen.entries >= at.entries) {
            return;
        }
        if let Err(error) = self.memory.save(first, at) {
            let path = self.memory.path().display();
            (self.tell)(&format!(
                "what was seen of the store cannot be remembered in {path}: {error}. An older state would not be noticed"
            ));
        }
    }

    /// The state, with the log as it is now, where these are the files.
    fn refreshed(&self, files: &[Stored]) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let (newest, known) = (log_files::newest(files), state.log.newest());
        if newest > known {
            let log = log_files::read(&self.kept.0, newest, &self.keys)?;
            check_seen(&log, state.log.at())?;
            state.log = log;
            self.remember(&state);
        } else if newest < known {
            let (known, found) = (state.log.at().entries, newest);
            return Err(Error::SetBack { known, found });
        }
        Ok(state)
    }

    /// Adds entries to the log.
    fn record(&self, entries: &[Entry]) -> io::Result<()> {
        let mut state = self.state();
        let signer = self.signer(&state.log)?;
        log_files::append(&self.kept.0, &mut state.log, entries, signer, false)?;
        self.remember(&state);
        Ok(())
    }

    /// The secret of the owner. One that a rotation made, and was interrupted then, is not yet.
    fn owner(&self, log: &Log) -> Result<&Secret> {
        let mut secrets = self.keys.store.iter();
        secrets.find(|it| log.owner() == Some(&it.public())).ok_or(Error::NoIdentity)
    }

    fn signer(&self, log: &Log) -> Result<&Secret> {
        let client = self.keys.client.as_ref();
        let client = client.map_or_else(|| "KEY".to_owned(), |key| key.public().to_string());
        self.keys.signer(|key| log.may_write(key)).ok_or(Error::MayNotWrite { client })
    }

    /// Tells the user something, once.
    fn tell_once(&self, state: &mut State, text: String) {
        if state.told.insert(text.clone()) {
            (self.tell)(&text);
        }
    }

    /// Deletes the archives and indexes that are not in the log: what interrupted backups left. Only under the lock, where nobody is
    /// about to note one.
    fn clear_away(&self, state: &State, files: &[Stored]) -> io::Result<()> {
        let is_left = |name: &&str| !state.log.files().contains_key(*name);
        let names = files.iter().filter_map(|file| sealed(&file.name));
        let left: Vec<&str> = names.filter(is_left).collect();
        // A listing may be older than the store: files of a log that is longer than this one are no litter.
        if left.is_empty() || log_files::has_more(&self.kept.0, &state.log)? {
            return Ok(());
        }
        for name in left {
            match self.kept.delete(name) {
                // A store that only takes keeps them.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                deleted => deleted?,
            }
        }
        Ok(())
    }

    /// What the log has, and is not among `files` as it was put, as far as their sizes show: a sentence each. Indexes come and go
    /// without an entry: one that is missing costs time.
    fn missing(log: &Log, files: &[Stored]) -> Vec<String> {
        let there: BTreeMap<&str, u64> =
            files.iter().filter_map(|file| Some((sealed(&file.name)?, file.size))).collect();
        let wrong = |(name, file): (&String, &Recorded)| match there.get(name.as_str()) {
            Some(size) if *size == file.sealed.size => None,
            Some(size) => {
                let put = file.sealed.size;
                Some(format!("{name} has {size} bytes, and had {put} when it was put"))
            }
            None => Some(format!(
                "{name} is in the log of the store, and not in the store: it was removed, and not by a prune"
            )),
        };
        let archives = log.files().iter().filter(|(name, _)| !is_index(name));
        archives.filter_map(wrong).collect()
    }

    /// Makes the store: the marker, which says so, comes last.
    fn make(&self, marker: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let Some(recipients) = state.fresh.take() else {
            return Err(ErrorKind::AlreadyExists.into());
        };
        let owner = self.keys.store.first().ok_or(Error::NoIdentity)?;
        let first = owner.public();
        keyring::write(&self.kept.0, &self.keys.store, &recipients)?;
        let mut entries = vec![state.log.owner_entry(&first, None)];
        let client = self.keys.client.as_ref().map(Secret::public);
        entries.extend(client.map(|client| Log::client_entry(&first, &client, owner)));
        log_files::append(&self.kept.0, &mut state.log, &entries, owner, false)?;
        // A store of which nothing is remembered could be exchanged before the first backup.
        let saved = self.memory.save(&first, state.log.at());
        saved.map_err(|source| of_memory("write", &self.memory, source))?;
        let mut out = self.kept.0.put(MARKER)?;
        out.write_all(&marker::to_encrypted(marker, &first.id()))?;
        out.commit()
    }
}

/// That the log has been where it was seen.
fn check_seen(log: &Log, seen: At) -> Result<()> {
    let (known, found) = (seen.entries, log.at().entries);
    match log.has_been(seen) {
        true => Ok(()),
        false if found < known => Err(Error::SetBack { known, found }),
        false => Err(Error::Forked { known }),
    }
}
