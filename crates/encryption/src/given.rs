//! What a user gives: [`Recipients`], for whom a store's key is encrypted, and [`Identities`], which open it. Knows the files of age
//! and of SSH; it must not know what is encrypted.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::SecretString;
use age::{NoCallbacks, ssh, x25519};

/// The word for a passphrase, in place of a key.
pub const PASSPHRASE: &str = "passphrase";

/// No file of keys is longer.
const MAX_FILE: u64 = 1 << 20;

/// Asks the user for a passphrase, for what is named. `None`: there is nobody to ask.
pub type Ask = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What is wrong with a key that was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGiven {
    /// It is no recipient, and no file of recipients.
    #[error(
        "{given} is neither a public key (age1… or ssh-ed25519 …), nor a file of such keys, nor the word `passphrase`{why}"
    )]
    Recipient {
        /// What was given.
        given: String,
        /// What is wrong, if more is known.
        why: String,
    },
    /// A secret was given in place of a public key.
    #[error(
        "that is a secret key, which others must not see: give its public key, as `ibtools key show` prints it"
    )]
    Secret,
    /// It is no file of identities.
    #[error("{} has no identity that can be used: {why}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A passphrase is needed, and nobody can be asked.
    #[error(
        "the passphrase {of} is needed, and there is no terminal to ask for it: set IBTOOLS_PASSPHRASE"
    )]
    NoPassphrase {
        /// Of what.
        of: String,
    },
}

/// For whom the key of a store is encrypted: any one of them opens it.
#[derive(Default)]
pub struct Recipients {
    keys: Vec<Box<dyn age::Recipient + Send>>,
    passphrase: Option<SecretString>,
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let passphrase = self.passphrase.is_some();
        f.debug_struct("Recipients")
            .field("keys", &self.keys.len())
            .field("passphrase", &passphrase)
            .finish()
    }
}

impl Recipients {
    /// Adds what `given` says: a public key of age or SSH, a file of such keys, a line each, or the word `passphrase`, which is
    /// asked for.
    ///
    /// # Errors
    /// [`InvalidGiven`].
    pub fn add(&mut self, given: &str, ask: &Ask) -> Result<(), InvalidGiven> {
        let given = given.trim();
        if given == PASSPHRASE {
            let of = "for the new store";
            let text = ask(of).filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| InvalidGiven::NoPassphrase { of: of.to_owned() })?;
            self.passphrase = Some(SecretString::from(text));
            return Ok(());
        }
        if given.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(InvalidGiven::Secret);
        }
        if let Ok(key) = recipient(given) {
            self.keys.push(key);
            return Ok(());
        }
        let refused = |why: String| InvalidGiven::Recipient { given: given.to_owned(), why };
        let text = match read(Path::new(given)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(refused(String::new()));
            }
            Err(error) => return Err(refused(format!(": {}", words(&error)))),
        };
        let before = self.keys.len();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with("AGE-SECRET-KEY-") || line.contains("PRIVATE KEY") {
                return Err(InvalidGiven::Secret);
            }
            let key = recipient(line);
            self.keys.push(key.map_err(|()| refused(format!(": its line {number} is none")))?);
        }
        match self.keys.len() > before {
            true => Ok(()),
            false => Err(refused(": the file has none".to_owned())),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.passphrase.is_none()
    }

    pub(crate) fn keys(&self) -> Vec<&dyn age::Recipient> {
        self.keys.iter().map(|key| &**key as &dyn age::Recipient).collect()
    }

    pub(crate) fn passphrase(&self) -> Option<age::scrypt::Recipient> {
        self.passphrase.clone().map(age::scrypt::Recipient::new)
    }
}

/// The public key that a line has.
fn recipient(line: &str) -> Result<Box<dyn age::Recipient + Send>, ()> {
    if let Ok(key) = line.parse::<x25519::Recipient>() {
        return Ok(Box::new(key));
    }
    match line.parse::<ssh::Recipient>() {
        Ok(key) => Ok(Box::new(key)),
        Err(_) => Err(()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no text"))
}

/// The system's words, without their number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_owned()
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::new(ErrorKind::InvalidData, "it is too long for a file of keys")),
        false => Ok(bytes),
    }
}

/// Identities that open what was encrypted for them.
#[derive(Clone, Default)]
pub struct Identities {
    keys: Vec<Arc<dyn age::Identity + Send + Sync>>,
    /// The store's own passphrase is asked for.
    passphrase: Option<Ask>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identities").field("keys", &self.keys.len()).finish()
    }
}

impl Identities {
    /// Adds those of a file: one of age, as it is or encrypted with a passphrase, or one of SSH. The word `passphrase` is for that of
    /// the store.
    ///
    /// # Errors
    /// [`InvalidGiven`].
    pub fn add(&mut self, path: &Path, ask: &Ask) -> Result<(), InvalidGiven> {
        if path.as_os_str() == PASSPHRASE {
            self.passphrase = Some(Arc::clone(ask));
            return Ok(());
        }
        let refused = |why: String| InvalidGiven::Identity { path: path.to_owned(), why };
        let bytes = read_bytes(path).map_err(|error| refused(words(&error)))?;
        let name = path.display().to_string();
        let callbacks = Callbacks(Arc::clone(ask));
        if bytes.starts_with(b"-----BEGIN") {
            let key = ssh::Identity::from_buffer(&*bytes, Some(name));
            match key.map_err(|error| refused(error.to_string()))? {
                ssh::Identity::Unsupported(_) => {
                    return Err(refused(
                        "keys of SSH can be ssh-ed25519 or ssh-rsa, and no others".into(),
                    ));
                }
                key => self.keys.push(Arc::new(key.with_callbacks(callbacks))),
            }
            return Ok(());
        }
        let text = match bytes.starts_with(b"age-encryption.org/") {
            true => opened(&bytes, &name, ask)?,
            false => bytes,
        };
        let file = age::IdentityFile::<NoCallbacks>::from_buffer(&*text);
        let keys = file.map_err(|error| refused(error.to_string()))?.into_identities();
        let keys = keys.map_err(|error| refused(error.to_string()))?;
        if keys.is_empty() {
            return Err(refused("it has none".to_owned()));
        }
        self.keys.extend(keys.into_iter().map(Arc::from));
        Ok(())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.passphrase.is_none()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.keys.iter().map(|key| &**key as &dyn age::Identity)
    }

    /// The passphrase of the store, if it was said to have one.
    pub(crate) fn passphrase(&self) -> Result<Option<age::scrypt::Identity>, InvalidGiven> {
        let Some(ask) = &self.passphrase else { return Ok(None) };
        let of = "of the store";
        let text = ask(of).ok_or_else(|| InvalidGiven::NoPassphrase { of: of.to_owned() })?;
        Ok(Some(age::scrypt::Identity::new(SecretString::from(text))))
    }
}

/// The identities in a file that is encrypted with a passphrase.
fn opened(bytes: &[u8], name: &str, ask: &Ask) -> Result<Vec<u8>, InvalidGiven> {
    let of = format!("of {name}");
    let text = ask(&of).ok_or(InvalidGiven::NoPassphrase { of })?;
    let identity = age::scrypt::Identity::new(SecretString::from(text));
    let opened = crate::object::decrypt(bytes, std::iter::once(&identity as _));
    opened.map_err(|error| InvalidGiven::Identity { path: name.into(), why: error.to_string() })
}

/// Asks for the passphrase of an encrypted key of SSH.
#[derive(Clone)]
struct Callbacks(Ask);

impl age::Callbacks for Callbacks {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, _: &str) -> Option<SecretString> {
        (self.0)("of the key of SSH").map(SecretString::from)
    }
}
