//! [`AtRest`]: the encrypted files of a store under the names that they have for others. Knows nothing of keys.

use std::io;
use std::sync::Arc;

use container::ReadAt;
use repository::store::{Opener, Store, StoreWriter, Stored, StoredName};

/// What an encrypted file is called more than by its name.
const ENDING: &str = ".age";

/// The name of the archive or index that a file has in it; `None` for other files.
pub(super) fn sealed(file: &str) -> Option<&str> {
    file.strip_suffix(ENDING).filter(|name| is_sealed(name))
}

/// Whether a file is encrypted: archives and indexes are. Parity is of encrypted bytes already, and other names say all there is.
pub(super) fn is_sealed(name: &str) -> bool {
    matches!(StoredName::parse(name), Some(StoredName::Archive(_) | StoredName::Index(_)))
}

/// The files as they are kept, encrypted, under the names that they have for others.
pub(super) struct AtRest(pub(super) Arc<dyn Store>);

fn kept_name(name: &str) -> String {
    if is_sealed(name) { format!("{name}{ENDING}") } else { name.to_owned() }
}

impl Store for AtRest {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let named = |file: Stored| match sealed(&file.name) {
            Some(name) => Stored { name: name.to_owned(), ..file },
            None => file,
        };
        Ok(self.0.list()?.into_iter().map(named).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.0.open(&kept_name(name))
    }

    fn opener(&self, name: &str) -> Opener {
        self.0.opener(&kept_name(name))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.0.put(&kept_name(name))
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.0.replace(&kept_name(name))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.delete(&kept_name(name))
    }
}
