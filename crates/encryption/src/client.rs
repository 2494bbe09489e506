//! Files of secrets that are made here: an identity for the user to keep, and the secret of this machine.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::{fs, str};

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;

use crate::keys::Secret;
use crate::memory::private_dir;
use crate::object::encrypt;

/// Writes a new identity to the file `path`, which must not be there, for its owner alone; encrypted if there is a passphrase. Gives
/// its public key.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn new_identity(path: &Path, passphrase: Option<&str>) -> io::Result<String> {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = format!(
        "# An identity that opens backups. Keep it where the machine that backs up cannot read it.\n\
         # public key: {recipient}\n{}\n",
        secret.expose_secret()
    );
    let bytes = match passphrase {
        None => text.into_bytes(),
        Some(passphrase) => {
            let passphrase = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
            encrypt(text.as_bytes(), &[&passphrase])?
        }
    };
    write_new(path, &bytes)?;
    Ok(recipient)
}

/// The secret of this machine as a client of stores, in the file `path`; it is made if it is not there.
///
/// # Errors
/// When the file cannot be read or written, or has no secret.
pub fn client_secret(path: &Path) -> io::Result<Secret> {
    match fs::read(path) {
        Ok(bytes) => {
            let text = str::from_utf8(&bytes).unwrap_or_default();
            let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let secret = lines.next().and_then(|line| line.parse().ok());
            secret.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it has no secret"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            private_dir(path.parent().unwrap_or(Path::new(".")))?;
            let secret = Secret::generate();
            let text = format!(
                "# The secret of this machine as a client of encrypted stores of backups: it signs what it puts there.\n{}\n",
                secret.line()
            );
            match write_new(path, text.as_bytes()) {
                // Another process made it meanwhile.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => client_secret(path),
                written => written.map(|()| secret),
            }
        }
        Err(error) => Err(error),
    }
}

/// Writes a file that is not there yet, whole or not at all.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Files of `tempfile` are for their owner alone.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}
