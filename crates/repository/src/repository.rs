//! [`Repository`]: a store, and what can be asked of it. Each verb is with what it does.

use std::io;
use std::path::PathBuf;

use archive::Archive;
use dirindex::DirIndex;

use crate::error::{Error, Result, shown};
use crate::store::{self, ArchiveName, DirStore, SnapshotId, Snapshots, Store};

/// The backups of a tree in a [`Store`], such as a directory ([`DirStore`]).
///
/// It holds no more than the store: each operation lists that anew, since other processes may change it.
#[derive(Debug, Clone)]
pub struct Repository<S> {
    store: S,
}

impl Repository<DirStore> {
    /// The repository in the directory at `path`, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be made, or is no directory.
    pub fn create(path: impl Into<PathBuf>) -> Result<Repository<DirStore>> {
        in_dir("create", path.into(), DirStore::create)
    }

    /// The repository in the directory at `path`.
    ///
    /// # Errors
    /// [`Error::Store`] when that is no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Repository<DirStore>> {
        in_dir("open", path.into(), DirStore::open)
    }
}

fn in_dir(
    operation: &'static str,
    path: PathBuf,
    make: impl FnOnce(PathBuf) -> io::Result<DirStore>,
) -> Result<Repository<DirStore>> {
    let name = shown(&path);
    let store = make(path).map_err(|source| Error::Store { operation, name, source })?;
    Ok(Repository::new(store))
}

impl<S: Store> Repository<S> {
    /// The repository in `store`. A store without backups is one.
    pub fn new(store: S) -> Repository<S> {
        Repository { store }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &self.store
    }

    /// The snapshots there, and the chains of archives that lead to them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn snapshots(&self) -> Result<Snapshots> {
        store::snapshots(self.store())
    }

    /// Opens an archive by its table.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Archived`].
    pub fn archive(&self, name: &ArchiveName) -> Result<Archive> {
        store::open_archive(self.store(), name)
    }

    /// Opens the newest index: that of the tree as it was scanned last. `None` where it is lost.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Index`].
    pub fn newest_index(&self) -> Result<Option<DirIndex>> {
        let mut before: Option<SnapshotId> = None;
        loop {
            let snapshots = self.snapshots()?;
            let Some(&newest) = snapshots.indexes().last() else { return Ok(None) };
            match store::open_index(self.store(), newest) {
                // A backup that is at work may have put another in its place: then it is that one.
                Err(_) if before != Some(newest) => before = Some(newest),
                opened => return opened.map(Some),
            }
        }
    }
}
