//! [`Store`]: where archives and an index are kept by name, and [`Points`]: what the names say. Knows
//! nothing of how archives are made or what becomes of them.

use std::io::{self, ErrorKind, Write};

use archive::{Archive, ReadAt};
use dirindex::DirIndex;

use crate::error::{Error, Result};

mod at;
mod dir;
mod keep;
mod lock;
mod name;
#[cfg(feature = "object_store")]
mod object;
mod points;
mod times;
mod ways;

pub use dir::DirStore;
pub use keep::Keep;
pub use name::{ArchiveName, Name, NoPoint, Point};
#[cfg(feature = "object_store")]
pub use object::ObjectStoreAdapter;
pub use points::{AtError, Points, StoredArchive};
pub use ways::{PassedOver, by_any_way};
pub(crate) use ways::{is_damage, is_exhaustion, is_full, open, told};

/// A place that keeps files by name: a directory ([`DirStore`]), or anything else that has these five
/// verbs. What is in it never changes: files come whole and go whole.
///
/// Names are what [`Name`] writes, of ASCII letters, digits, `-` and `.`. Files with other names may
/// be there, and are left alone.
pub trait Store: Send + Sync {
    /// Every file that is there, in any order.
    ///
    /// # Errors
    /// As the implementation has them.
    fn list(&self) -> io::Result<Vec<Stored>>;

    /// Opens a file to read any part of it.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) when there is no such file, and whatever else the
    /// implementation has.
    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;

    /// Begins a new file, which is there only once it is [committed](Put::commit).
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the name is taken, which may also be found
    /// out by the commit, and whatever else the implementation has.
    fn put(&self, name: &str) -> io::Result<Box<dyn Put + '_>>;

    /// Deletes a file for good. One that is not there is no error.
    ///
    /// # Errors
    /// As the implementation has them.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Keeps others from changing the store until what is returned is dropped, and clears away what
    /// those left who were killed. Whoever puts or deletes holds it; whoever reads need not. A store
    /// that cannot keep others out has the caller see to it: it keeps this default, which does nothing.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when another has it.
    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        Ok(Box::new(()))
    }

    /// The device and inode of the directory that the files are in, for a store that is one: a tree that has it in it is
    /// not backed up there.
    fn directory(&self) -> Option<(u64, u64)> {
        None
    }
}

/// A file on its way into a [`Store`]. Dropped before it is committed, it leaves nothing.
pub trait Put: Write {
    /// Gives the file its name: when this returns, all that was written is there, durably, and before
    /// that nothing is, whatever happens.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the name has been taken, and whatever else
    /// the implementation has.
    fn commit(self: Box<Self>) -> io::Result<()>;
}

/// What can be restored from `store`.
///
/// # Errors
/// [`Error::Store`].
pub fn points(store: &dyn Store) -> Result<Points> {
    let files = store.list().map_err(|source| failed("list", "the store", source))?;
    Ok(Points::of(&files))
}

/// How many bytes the archives and indexes among `files` have together.
pub fn bytes_of(files: &[Stored]) -> u64 {
    let ours = files.iter().filter(|file| Name::parse(&file.name).is_some());
    ours.map(|file| file.size).sum()
}

/// Opens an archive of `store` by its table.
///
/// # Errors
/// [`Error::Store`], [`Error::Archived`].
pub fn open_archive(store: &dyn Store, name: &ArchiveName) -> Result<Archive> {
    let name = name.to_string();
    let source = store.open(&name).map_err(|source| failed("open", &name, source))?;
    Ok(Archive::from_source(source, name)?)
}

/// Opens the index of a point in `store`.
///
/// # Errors
/// [`Error::Store`], [`Error::Index`].
pub fn open_index(store: &dyn Store, point: Point) -> Result<DirIndex> {
    let name = Name::Index(point).to_string();
    let source = store.open(&name).map_err(|source| failed("open", &name, source))?;
    Ok(DirIndex::from_source(source)?)
}

/// [`Store::lock`], with a word for a store that is in use.
///
/// # Errors
/// [`Error::Busy`], [`Error::Store`].
pub fn lock(store: &dyn Store) -> Result<Box<dyn Send + '_>> {
    store.lock().map_err(|source| match source.kind() {
        ErrorKind::WouldBlock => Error::Busy,
        _ => failed("lock", "the store", source),
    })
}

pub(crate) fn failed(operation: &'static str, name: &str, source: io::Error) -> Error {
    Error::Store { operation, name: name.to_owned(), source }
}

/// A file in a [`Store`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
}
