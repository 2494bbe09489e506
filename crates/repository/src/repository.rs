//! [`Repository`]: a store, and what can be asked of it. Each verb is with what it does.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Archive, ReadAt};
use dirindex::{DirIndex, FileId, LazyIndex};
use parity::Healed;

use crate::error::{Error, Result, shown};
use crate::store::indexes::IndexChain;
use crate::store::{
    self, ArchiveName, Contents, DirStore, IndexName, Opener, Snapshots, Store, StoreWriter,
    Stored, Witness, failed, marker,
};

/// The backups of a tree in a [`Store`], such as a directory ([`DirStore`]).
///
/// It holds no more than the store: each operation lists that anew, since other processes may change it.
#[derive(Debug, Clone)]
pub struct Repository<S> {
    store: Witnessed<S>,
}

impl Repository<DirStore> {
    /// Makes a store of the directory at `path`. It is made if it is not there, for its owner alone. One that holds nothing
    /// but archives of a store becomes a store of them.
    ///
    /// # Errors
    /// [`Error::IsStore`] when there is one already, [`Error::NoStore`] when the directory has other files,
    /// [`Error::Store`] when it cannot be made, or is no directory.
    pub fn create(path: impl Into<PathBuf>) -> Result<Repository<DirStore>> {
        Repository::create_as(path, |store| store)
    }

    /// [`create`](Repository::create), of what `wrap` makes of the directory.
    ///
    /// # Errors
    /// As [`create`](Repository::create).
    pub fn create_as<T: Store>(
        path: impl Into<PathBuf>,
        wrap: impl FnOnce(DirStore) -> T,
    ) -> Result<Repository<T>> {
        let path = path.into();
        let store = DirStore::create(&path)?;
        match contents(&store) {
            Ok(Contents::Nothing | Contents::Archives { other: None }) => {
                Repository::create_in(wrap(store))
            }
            // A marker that this program cannot read is one.
            Ok(Contents::Store) | Err(Error::Marker { .. }) => {
                Err(Error::IsStore { place: Some(path) })
            }
            Ok(found) => Err(Error::NoStore { place: Some(path), found }),
            Err(error) => Err(error),
        }
    }

    /// The store in the directory at `path`.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::Marker`], [`Error::Store`] when that is no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Repository<DirStore>> {
        let path = path.into();
        match opened(&path)? {
            (repository, Contents::Store) => Ok(repository),
            (_, found) => Err(Error::NoStore { place: Some(path), found }),
        }
    }

    /// The store in the directory at `path`, or archives of one that somebody copied there: enough to
    /// [restore](Repository::restore), [verify](Repository::verify) and look.
    ///
    /// # Errors
    /// As [`open`](Repository::open).
    pub fn open_to_read(path: impl Into<PathBuf>) -> Result<Repository<DirStore>> {
        let path = path.into();
        match opened(&path)? {
            (repository, Contents::Store | Contents::Archives { .. }) => Ok(repository),
            (_, found) => Err(Error::NoStore { place: Some(path), found }),
        }
    }
}

/// What is in the directory at `path`.
fn opened(path: &Path) -> Result<(Repository<DirStore>, Contents)> {
    let store = match DirStore::open(path) {
        Err(Error::Store { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Err(Error::NoStore { place: Some(path.into()), found: Contents::Missing });
        }
        other => other?,
    };
    let found = contents(&store)?;
    Ok((Repository::new(store), found))
}

/// What is in a directory. What makes it no store may be a directory itself, which no store lists.
fn contents(store: &DirStore) -> Result<Contents> {
    match marker::contents(store)? {
        Contents::Store => Ok(Contents::Store),
        _ => {
            let names =
                store.names().map_err(|source| failed("list", &shown(store.path()), source))?;
            Ok(marker::unmarked(&names.iter().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

impl<S: Store> Repository<S> {
    /// The repository in `store`, whatever is in it: whether it was [made](Repository::create_in) on purpose is not asked.
    pub fn new(store: S) -> Repository<S> {
        Repository { store: Witnessed { store, witness: None } }
    }

    /// Calls `witness` for each file that is found damaged while it is read, with what its parity did. A
    /// mended one is read as if it were sound: nothing else says so.
    pub fn witnessed_by(
        mut self,
        witness: impl Fn(&str, &Healed) + Send + Sync + 'static,
    ) -> Repository<S> {
        self.store.witness = Some(Witnesses(Arc::new(witness)));
        self
    }

    /// Makes `store` one: puts the marker into it, the file that says so.
    ///
    /// # Errors
    /// [`Error::IsStore`] when there is one already, [`Error::NoStore`] when there are other files, [`Error::Store`].
    pub fn create_in(store: S) -> Result<Repository<S>> {
        let lock = store::lock(&store)?;
        match marker::contents(&store) {
            Ok(Contents::Nothing | Contents::Archives { other: None }) => marker::write(&store)?,
            Ok(Contents::Store) | Err(Error::Marker { .. }) => {
                return Err(Error::IsStore { place: None });
            }
            Ok(found) => return Err(Error::NoStore { place: None, found }),
            Err(error) => return Err(error),
        }
        drop(lock);
        Ok(Repository::new(store))
    }

    /// The repository in `store`, which was [made](Repository::create_in) one.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::Marker`], [`Error::Store`].
    pub fn open_in(store: S) -> Result<Repository<S>> {
        match marker::contents(&store)? {
            Contents::Store => Ok(Repository::new(store)),
            found => Err(Error::NoStore { place: None, found }),
        }
    }

    /// [`open_in`](Repository::open_in), or archives of a store that somebody copied there: enough to
    /// [restore](Repository::restore), [verify](Repository::verify) and look.
    ///
    /// # Errors
    /// As [`open_in`](Repository::open_in).
    pub fn open_in_to_read(store: S) -> Result<Repository<S>> {
        match marker::contents(&store)? {
            Contents::Store | Contents::Archives { .. } => Ok(Repository::new(store)),
            found => Err(Error::NoStore { place: None, found }),
        }
    }

    /// The same repository, in what `wrap` makes of its store.
    pub fn map_store<T: Store>(self, wrap: impl FnOnce(S) -> T) -> Repository<T> {
        let Witnessed { store, witness } = self.store;
        Repository { store: Witnessed { store: wrap(store), witness } }
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

    /// Opens an index, a whole one or one that is upon others.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Index`], [`Error::IndexMissing`] when one that it is upon is not there.
    pub fn index(&self, name: IndexName) -> Result<DirIndex> {
        let chain = IndexChain::open(self.store(), &self.snapshots()?, name)?;
        Ok(chain.index().load()?)
    }

    /// Opens the newest index: that of the tree as it was scanned last. `None` where it is lost. Little of it is in memory, where the store is
    /// a directory.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Index`], [`Error::IndexMissing`].
    pub fn newest_index(&self) -> Result<Option<LazyIndex>> {
        let mut before: Option<IndexName> = None;
        loop {
            let snapshots = self.snapshots()?;
            let Some(&newest) = snapshots.indexes().last() else { return Ok(None) };
            match IndexChain::open(self.store(), &snapshots, newest.name) {
                // A backup that is at work may have put another in its place: then it is that one.
                Err(_) if before != Some(newest.name) => before = Some(newest.name),
                opened => return Ok(Some(opened?.index().clone())),
            }
        }
    }
}

/// A store, and what is called when a file in it is found damaged.
#[derive(Debug, Clone)]
struct Witnessed<S> {
    store: S,
    witness: Option<Witnesses>,
}

#[derive(Clone)]
struct Witnesses(Witness);

impl std::fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Witness")
    }
}

impl<S: Store> Store for Witnessed<S> {
    store::leave_to!(self => self.store);

    fn witness(&self) -> Option<Witness> {
        let own = self.witness.as_ref().map(|witness| Arc::clone(&witness.0));
        own.or_else(|| self.store.witness())
    }
}
