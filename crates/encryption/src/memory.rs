//! [`Memory`]: what this machine remembers of an encrypted store, where the store's keeper cannot write. Knows nothing of what is in
//! a store.
//!
//! It is a small file for each address. With it a store that was set back, forked, exchanged, or has become one without
//! encryption, is refused.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::keys::{Hash, Public, hex};
use crate::log_run::At;

/// Where what is remembered of one store is kept.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    path: PathBuf,
    address: String,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The store, as its user wrote it.
    pub(crate) address: String,
    /// The owner that made it.
    pub(crate) store: Public,
    /// The last that was seen of its log.
    pub(crate) seen: At,
}

impl Memory {
    /// What is remembered in the directory `root` of the store at `address`.
    pub(crate) fn of(root: &Path, address: &str) -> Memory {
        let Hash(name) = Hash::of(address.as_bytes());
        let name = hex(name.get(..16).unwrap_or_default());
        Memory { path: root.join(name).with_extension("json"), address: address.to_owned() }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `None`: nothing is remembered.
    pub(crate) fn load(&self) -> io::Result<Option<Known>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let known: Known = serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        match known.address == self.address {
            true => Ok(Some(known)),
            false => Err(io::Error::new(ErrorKind::InvalidData, "it is of another store")),
        }
    }

    /// Remembers that the log of `store` was at `seen`: durably, when this returns.
    pub(crate) fn save(&self, store: &Public, seen: At) -> io::Result<()> {
        let known = Known { address: self.address.clone(), store: store.clone(), seen };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        private_dir(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&mut file, &known)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        fs::File::open(dir)?.sync_all()
    }

    /// Forgets it.
    pub(crate) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Makes a directory, and those above it, for its owner alone.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::keys::Secret;

    #[test]
    fn what_is_remembered_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("a/b");
        let memory = Memory::of(&root, "s3://bucket/prefix");
        assert_eq!(memory.load().unwrap(), None);
        let (store, seen) = (Secret::generate().public(), At { entries: 3, hash: Hash([7; 32]) });
        memory.save(&store, At::default()).unwrap();
        memory.save(&store, seen).unwrap();
        let known = memory.load().unwrap().unwrap();
        assert_eq!((known.store, known.seen), (store, seen));
        assert_eq!(Memory::of(&root, "s3://bucket/other").load().unwrap(), None);
        fs::write(memory.path(), "{}").unwrap();
        assert!(memory.load().is_err(), "damage is not taken for nothing");
        memory.forget().unwrap();
        assert_eq!(memory.load().unwrap(), None);
    }
}
