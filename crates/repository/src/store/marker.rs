//! The marker: the file that makes a place a store, and what a place is that has none. Knows nothing of snapshots.

use std::io::{ErrorKind, Write};

use archive::ReadAt;

use super::dir::is_unfinished;
use super::{Store, StoredName, failed};
use crate::error::{Error, Result};

/// The file that a store has and nothing else has.
pub const MARKER: &str = "store.toml";
/// What it says. A later program may add settings. One that older programs must know raises the format.
const TEXT: &str = "\
# A store of backups, made by ibtools. It is no store without this file.
format = 1
";
const FORMAT: u64 = 1;
/// More bytes than a marker of any later format has.
const MAX_LEN: u64 = 64 << 10;

/// Files that say nothing of what a place is. The last one is that of a new file system.
const NEUTRAL: [&str; 4] = ["lock", "lock.clock", "lock.owner", "lost+found"];

/// What is in a place where backups are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// A store, made on purpose.
    Store,
    /// Archives or indexes under the names of a store, and no store: somebody copied them there.
    Archives {
        /// A file that is none of these, if there is one.
        other: Option<String>,
    },
    /// Other files, of which this is one.
    Other(String),
    /// Nothing, as where a disk is not mounted.
    Nothing,
    /// There is not even a directory.
    Missing,
}

/// What `store` is.
///
/// # Errors
/// [`Error::Marker`] when the marker is damaged or of a later format, [`Error::Store`].
pub(crate) fn contents(store: &dyn Store) -> Result<Contents> {
    // Who opens a store lists it soon. Here it is listed only when it is none.
    match store.open(MARKER) {
        Ok(file) => check(&*file).map(|()| Contents::Store),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let files = super::list(store)?;
            Ok(unmarked(&files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>()))
        }
        Err(error) => Err(failed("read", MARKER, error)),
    }
}

/// What a place is that has these files and no marker.
pub(crate) fn unmarked(names: &[&str]) -> Contents {
    let names = names.iter().filter(|name| !NEUTRAL.contains(name) && !is_unfinished(name));
    let (ours, others): (Vec<&str>, Vec<&str>) =
        names.partition(|name| StoredName::parse(name).is_some());
    let other = others.into_iter().min().map(str::to_owned);
    match (ours.is_empty(), other) {
        (true, None) => Contents::Nothing,
        (true, Some(other)) => Contents::Other(other),
        (false, other) => Contents::Archives { other },
    }
}

/// Puts the marker into `store`.
pub(crate) fn write(store: &dyn Store) -> Result<()> {
    let failed = |source| failed("put", MARKER, source);
    let mut out = store.put(MARKER).map_err(failed)?;
    out.write_all(TEXT.as_bytes()).map_err(failed)?;
    out.commit().map_err(failed)
}

/// What a setting of `store` says; `None` where it has none, or no marker.
pub(crate) fn setting(store: &dyn Store, key: &str) -> Result<Option<String>> {
    match store.open(MARKER) {
        Ok(file) => Ok(value(&read(&*file)?, key).map(str::to_owned)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", MARKER, error)),
    }
}

/// Has the marker of `store` say `key = value`, and all else that it says. Where there is no marker there is no store, and
/// nothing to remember.
pub(crate) fn set(store: &dyn Store, key: &str, value: &str) -> Result<()> {
    let text = match store.open(MARKER) {
        Ok(file) => String::from_utf8_lossy(&read(&*file)?).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", MARKER, error)),
    };
    let of_key = |line: &&str| line.split_once('=').is_some_and(|(other, _)| other.trim() == key);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !of_key(line)).map(str::to_owned).collect();
    lines.push(format!("{key} = {value}\n"));
    let failed = |source| failed("replace", MARKER, source);
    let mut out = store.replace(MARKER).map_err(failed)?;
    out.write_all(lines.join("\n").as_bytes()).map_err(failed)?;
    out.commit().map_err(failed)
}

/// The bytes of a marker.
fn read(file: &dyn ReadAt) -> Result<Vec<u8>> {
    let failed = |source| failed("read", MARKER, source);
    let len = file.size().map_err(failed)?;
    if len > MAX_LEN {
        return Err(Error::Marker { detail: format!("it has {len} bytes") });
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    match bytes.is_empty() {
        true => Ok(bytes),
        false => file.fill_at(&mut bytes, 0).map_err(failed).map(|()| bytes),
    }
}

/// Checks that a marker is one that this program knows.
fn check(file: &dyn ReadAt) -> Result<()> {
    let bytes = read(file)?;
    match format(&bytes) {
        Some(FORMAT) => Ok(()),
        Some(_) if value(&bytes, "encryption").is_some() => Err(Error::Marker {
            detail: "the store is encrypted, and this program opens none of these".to_owned(),
        }),
        Some(later) if later > FORMAT => Err(Error::Marker {
            detail: format!(
                "its format is {later}, and this program knows {FORMAT}: use a later program"
            ),
        }),
        _ => Err(Error::Marker {
            detail: format!("it does not say `format = {FORMAT}`: write that line into it"),
        }),
    }
}

/// The format that a marker names.
fn format(bytes: &[u8]) -> Option<u64> {
    value(bytes, "format")?.parse().ok()
}

/// The one value that `key` has: a marker is lines of `key = value`, comments, and blanks.
fn value<'a>(bytes: &'a [u8], key: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut values = text.lines().filter_map(|line| {
        let (other, value) = line.split_once('=')?;
        (other.trim() == key).then(|| value.trim())
    });
    let (value, more) = (values.next()?, values.next());
    if more.is_some() { None } else { Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A marker is read as a person may have edited it. What does not name one format is damage.
    #[test]
    fn a_marker_names_one_format() {
        assert_eq!(format(TEXT.as_bytes()), Some(FORMAT));
        for (text, found) in [
            ("format=1", Some(1)),
            ("# x\r\n format = 12 \r\nother = 3\n", Some(12)),
            ("", None),
            ("format = one", None),
            ("format = 1\nformat = 2", None),
            ("# format = 1", None),
            ("format = -1", None),
        ] {
            assert_eq!(format(text.as_bytes()), found, "{text:?}");
        }
        assert_eq!(format(b"format = 1\xff"), None);
    }

    /// A directory of other files is never taken for a place where a store may be.
    #[test]
    fn files_say_what_a_place_is() {
        let archive = "20261122T161858Z-full.tgz";
        for (names, found) in [
            (&[][..], Contents::Nothing),
            (&["lock", "lost+found", ".ibtools-put-abcdef"], Contents::Nothing),
            (&["lock", archive], Contents::Archives { other: None }),
            (&["20261122T161858Z.index"], Contents::Archives { other: None }),
            (&["notes", archive], Contents::Archives { other: Some("notes".into()) }),
            (&["b", "a", "lock"], Contents::Other("a".into())),
        ] {
            assert_eq!(unmarked(names), found, "{names:?}");
        }
    }
}
