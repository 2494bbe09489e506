//! The log as files of a store: which there are, which of them have all entries, and how one is added. Knows nothing of what the
//! entries mean.

use std::io::{self, ErrorKind, Write};

use age::x25519::Recipient;
use repository::store::{Store, Stored};

use crate::keyring::{self, Keyring};
use crate::keys::Secret;
use crate::log::{Entry, Log};
use crate::log_run::Run;
use crate::object::{decrypt, encrypt};

/// No file of a log is longer: that is a million entries.
const MAX_LEN: u64 = 256 << 20;

const ENDING: &str = ".log.age";

fn name(number: u64) -> String {
    format!("{number:08}{ENDING}")
}

/// The number of a file of the log; `None` for other files.
pub(crate) fn number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(ENDING)?;
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    (name(number) == file).then_some(number)
}

/// The number of the newest file of the log among `files`; 0 where there is none.
pub(crate) fn newest(files: &[Stored]) -> u64 {
    files.iter().filter_map(|file| number(&file.name)).max().unwrap_or(0)
}

/// Whether `store` has a file of the log after the newest that `log` has. It is asked for by its name, whatever listings say.
pub(crate) fn has_more(store: &dyn Store, log: &Log) -> io::Result<bool> {
    match store.open(&name(log.newest().saturating_add(1))) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The log of `store`, of which the file `newest` is the newest.
pub(crate) fn read(store: &dyn Store, newest: u64, keys: &Keyring) -> io::Result<Log> {
    let mut runs = Vec::new();
    let mut next = newest;
    while next > 0 {
        let name = name(next);
        let run = read_run(store, &name, keys).map_err(|error| of_file(&name, error))?;
        if run.number() != next {
            return Err(of_file(&name, invalid("it is another file of the log")));
        }
        next = run.after();
        runs.push(run);
    }
    runs.reverse();
    Log::of(runs).map_err(|error| of_file(&name(newest), invalid(&error.to_string())))
}

fn read_run(store: &dyn Store, name: &str, keys: &Keyring) -> io::Result<Run> {
    let bytes = keyring::read_up_to(MAX_LEN, store, name)?.ok_or(ErrorKind::NotFound)?;
    let bytes = decrypt(&bytes, keys.for_log()).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => io::Error::new(
            ErrorKind::PermissionDenied,
            "it is encrypted for others. This machine was not let write to the store, or is not any more",
        ),
        error => invalid(&error.to_string()),
    })?;
    Run::parse(&bytes).map_err(|error| invalid(&error.to_string()))
}

/// Adds `entries` to `log`, and to `store` the file that has them: one with all entries where it is to be `whole`.
pub(crate) fn append(
    store: &dyn Store,
    log: &mut Log,
    entries: &[Entry],
    signer: &Secret,
    whole: bool,
) -> io::Result<()> {
    let mut longer = log.clone();
    let added = longer.append(entries, signer, whole);
    let (number, bytes) = added.map_err(|error| invalid(&error.to_string()))?;
    let readers = longer.owner().into_iter().chain(longer.clients());
    let readers: Vec<&Recipient> = readers.map(|key| key.recipient()).collect();
    let readers: Vec<&dyn age::Recipient> = readers.iter().map(|key| *key as _).collect();
    let name = name(number);
    let taken = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => io::Error::new(
            ErrorKind::WouldBlock,
            format!("{name} is there already: another client wrote to the store meanwhile"),
        ),
        _ => error,
    };
    let mut out = store.put(&name).map_err(taken)?;
    out.write_all(&encrypt(&bytes, &readers)?)?;
    out.commit().map_err(taken)?;
    *log = longer;
    Ok(())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

fn of_file(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the log of the store cannot be used: {name}: {error}"))
}
