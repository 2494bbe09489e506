//! [`Access`]: with what a machine uses an encrypted store, and what it remembers of it. Knows nothing of what is in the store.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::given::Identities;
use crate::keys::Secret;
use crate::memory::Memory;

/// With what an encrypted store is used, and from where.
#[derive(Clone)]
pub struct Access {
    /// The store, as it is always called: what is remembered of it is found by this.
    pub address: String,
    /// The directory in which this machine remembers stores.
    pub memory: PathBuf,
    /// The secret of this machine. With it files can be put, and the last index read.
    pub client: Option<Secret>,
    /// What opens archives.
    pub identities: Identities,
    /// Called with what a user has to know: that files are missing which the log has.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Access { address, memory, client, identities, .. } = self;
        let mut debug = f.debug_struct("Access");
        debug.field("address", address).field("memory", memory);
        debug.field("client", client).field("identities", identities).finish()
    }
}

impl Access {
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(&self.memory, &self.address)
    }

    /// That nothing says that the store was encrypted, which is not. Where nothing can be read, nothing was remembered.
    ///
    /// # Errors
    /// [`Error::Downgraded`], [`Error::Memory`] when what is remembered is damaged.
    pub fn check_plain(&self) -> Result<()> {
        let memory = self.memory();
        let known = match memory.load() {
            Err(source) if source.kind() == ErrorKind::InvalidData => {
                return Err(of_memory("read", &memory, source));
            }
            loaded => loaded.ok().flatten(),
        };
        known.map_or(Ok(()), |known| Err(Error::Downgraded { known: known.store.id() }))
    }

    /// Forgets what is remembered of the store.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn forget(&self) -> Result<()> {
        let memory = self.memory();
        memory.forget().map_err(|source| of_memory("delete", &memory, source))
    }
}

pub(crate) fn of_memory(operation: &'static str, memory: &Memory, source: io::Error) -> Error {
    Error::Memory { operation, path: memory.path().to_owned(), source }
}
