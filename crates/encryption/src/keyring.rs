//! [`Keyring`]: the secrets that a process has of a store, and the files of a store that its own secrets are in. Knows nothing of the
//! log.
//!
//! A store has secrets of its own, the newest first. They are in `key.age`, encrypted for the recipients, and in
//! `key-passphrase.age` where a passphrase opens it. So recipients change without any other file: that is what a rotation is.

use std::io::{self, ErrorKind, Write};

use age::x25519::Identity;
use repository::store::Store;

use crate::given::{Identities, Recipients};
use crate::keys::{Public, Secret};
use crate::log::Recorded;
use crate::object::{decrypt, encrypt};

const KEY: &str = "key.age";
const KEY_PASSPHRASE: &str = "key-passphrase.age";
const HEAD: &str =
    "# The secrets of a store of backups, the newest first. `age -d -i` takes this file.\n";
/// No file of secrets is longer.
const MAX_LEN: u64 = 1 << 20;

/// The secrets that this process has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyring {
    /// Those of the store, the newest first; none where no identity opened them.
    pub(crate) store: Vec<Secret>,
    /// That of this machine, as a client of stores.
    pub(crate) client: Option<Secret>,
}

impl Keyring {
    /// The keys that open files: `None` where there is none for this one.
    pub(crate) fn for_file(&self, file: &Recorded) -> Option<Vec<Identity>> {
        let mut keys: Vec<Identity> =
            self.store.iter().map(|secret| secret.identity().clone()).collect();
        let client = self.client.as_ref().filter(|it| Some(it.public()) == file.opens);
        keys.extend(client.map(|client| client.identity().clone()));
        (!keys.is_empty()).then_some(keys)
    }

    /// The keys that open files of the log.
    pub(crate) fn for_log(&self) -> impl Iterator<Item = &dyn age::Identity> {
        let all = self.store.iter().chain(&self.client);
        all.map(|secret| secret.identity() as &dyn age::Identity)
    }

    /// The secret that signs, of those who may write. `None`: this process may not.
    pub(crate) fn signer(&self, may_write: impl Fn(&Public) -> bool) -> Option<&Secret> {
        let mut all = self.client.iter().chain(&self.store);
        all.find(|secret| may_write(&secret.public()))
    }
}

/// The secrets of `store` that `identities` open. `None`: they open none.
pub(crate) fn open(store: &dyn Store, identities: &Identities) -> io::Result<Option<Vec<Secret>>> {
    let mut found = None;
    if let Some(file) = read(store, KEY)? {
        found = unlock(KEY, &file, identities.keys())?;
    }
    if found.is_none()
        && let Some(file) = read(store, KEY_PASSPHRASE)?
        && let Some(passphrase) = identities.passphrase().map_err(io::Error::other)?
    {
        found = unlock(KEY_PASSPHRASE, &file, std::iter::once(&passphrase as _))?;
    }
    Ok(found)
}

/// The secrets in a file, if one of the identities opens it.
fn unlock<'a>(
    name: &str,
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> io::Result<Option<Vec<Secret>>> {
    use age::DecryptError::{DecryptionFailed, KeyDecryptionFailed, NoMatchingKeys};
    let damaged = |why: &dyn std::fmt::Display| {
        io::Error::new(ErrorKind::InvalidData, format!("{name} is damaged: {why}"))
    };
    let text = match decrypt(file, identities) {
        Err(NoMatchingKeys) => return Ok(None),
        Err(error @ (DecryptionFailed | KeyDecryptionFailed)) => {
            let text = format!("{name} cannot be opened: {error}");
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        decrypted => decrypted.map_err(|error| damaged(&error))?,
    };
    let text = String::from_utf8(text).map_err(|_| damaged(&"it has no text"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let secrets: Vec<Secret> =
        lines.map(str::parse).collect::<Result<_, _>>().map_err(|error| damaged(&error))?;
    match secrets.is_empty() {
        true => Err(damaged(&"it has no secret")),
        false => Ok(Some(secrets)),
    }
}

/// Puts the `secrets` of `store`, the newest first, for `recipients` and nobody else, in the place of what is there.
pub(crate) fn write(
    store: &dyn Store,
    secrets: &[Secret],
    recipients: &Recipients,
) -> io::Result<()> {
    let mut text = HEAD.to_owned();
    for secret in secrets {
        text.push_str(&secret.line());
        text.push('\n');
    }
    let keys = recipients.keys();
    let passphrase = recipients.passphrase();
    let passphrase: Vec<&dyn age::Recipient> =
        passphrase.iter().map(|recipient| recipient as _).collect();
    // First what is there afterwards, then what goes.
    let files = [(KEY, keys), (KEY_PASSPHRASE, passphrase)];
    for (name, recipients) in files.iter().filter(|(_, recipients)| !recipients.is_empty()) {
        let mut out = store.replace(name)?;
        out.write_all(&encrypt(text.as_bytes(), recipients)?)?;
        out.commit()?;
    }
    for (name, _) in files.iter().filter(|(_, recipients)| recipients.is_empty()) {
        store.delete(name)?;
    }
    Ok(())
}

/// Whether a file is one of secrets.
pub(crate) fn is_key(name: &str) -> bool {
    name == KEY || name == KEY_PASSPHRASE
}

/// A small file of `store`, if it is there.
pub(crate) fn read(store: &dyn Store, name: &str) -> io::Result<Option<Vec<u8>>> {
    read_up_to(MAX_LEN, store, name)
}

/// A file of `store` that has no more bytes than `most`, if it is there.
pub(crate) fn read_up_to(most: u64, store: &dyn Store, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match store.open(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let len = usize::try_from(file.size()?).ok().filter(|len| *len as u64 <= most);
    let len = len.ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidData, format!("{name} is too long for what it is"))
    })?;
    let mut bytes = vec![0; len];
    if !bytes.is_empty() {
        file.fill_at(&mut bytes, 0)?;
    }
    Ok(Some(bytes))
}
