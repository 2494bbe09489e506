//! [`Store`]: where archives and an index are kept by name, and [`Snapshots`]: what the names say. Knows
//! nothing of how archives are made or what becomes of them.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use archive::{Archive, Labels, ReadAt};
use dirindex::{FileId, TreeId};
use parity::{Healed, Healing};

use crate::error::{Error, Result};

mod at;
mod dir;
mod graph;
pub(crate) mod indexes;
mod keep;
mod lock;
pub(crate) mod marker;
mod name;
mod new_file;
mod snapshots;
mod times;

pub use dir::DirStore;
pub use keep::{InvalidWithin, Keep, Within};
pub use marker::{Contents, MARKER};
pub use name::{ArchiveName, IndexName, InvalidSnapshotId, SnapshotId, StoredName};
pub(crate) use new_file::{NewFile, put};
pub use snapshots::{AtError, Snapshots, StoredArchive, StoredIndex};

/// A place that keeps files by name: a directory ([`DirStore`]), or anything else that has these five
/// verbs. What is in it never changes: files come whole and go whole.
///
/// Names are what [`StoredName`] writes, of ASCII letters, digits, `-` and `.`. Files with other names may
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

    /// What opens a file later, if it is needed, though the store is not at hand then. By default it is opened now.
    fn opener(&self, name: &str) -> Opener {
        let opened = self.open(name).map(Arc::<dyn ReadAt>::from);
        Box::new(move || match &opened {
            Ok(file) => Ok(Box::new(Arc::clone(file))),
            Err(error) => Err(error.kind().into()),
        })
    }

    /// Begins a new file, which is there only once it is [committed](StoreWriter::commit).
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the name is taken, which may also be found
    /// out by the commit, and whatever else the implementation has.
    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>>;

    /// Begins a file that takes the place of another, or is new, when it is [committed](StoreWriter::commit): until then the other is
    /// there. A store that cannot do that, as by default, keeps its settings, and its damaged files.
    ///
    /// # Errors
    /// As the implementation has them.
    fn replace(&self, _name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Deletes a file for good. One that is not there is no error.
    ///
    /// # Errors
    /// As the implementation has them.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Keeps others from changing the store until what is returned is dropped, and clears away what
    /// killed ones left. It is held while files are put or deleted, not while they are read. A store that cannot keep
    /// others out keeps this default, which does nothing: then the caller must.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when another has it, which may say who.
    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        Ok(Box::new(()))
    }

    /// The bytes as they are kept, under the same names, for a store that gives others: one that encrypts. They are what parity is
    /// of. `None`, as by default: they are what [`open`](Store::open) gives.
    fn at_rest(&self) -> Option<&dyn Store> {
        None
    }

    /// What [`open`](Store::open) gives of a file whose bytes [at rest](Store::at_rest) are `kept`, which may have been mended.
    ///
    /// # Errors
    /// As [`open`](Store::open).
    fn decode(&self, _name: &str, kept: Box<dyn ReadAt>) -> io::Result<Box<dyn ReadAt>> {
        Ok(kept)
    }

    /// What was noted of an archive when it was [put](StoreWriter::note), by a store that keeps such notes. `None`, as by default: the archive
    /// is opened to learn it.
    fn noted(&self, _name: &str) -> Option<Noted> {
        None
    }

    /// Compares the bytes of a file as they are kept with what was noted when it was put. Without such a note, as by default, there is
    /// nothing to compare.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) when they are others, and whatever else the implementation has.
    fn compare(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    /// Whether what is put can be read here. A store that encrypts for others says no: then a backup whose index is lost is a full one.
    fn is_readable(&self) -> bool {
        true
    }

    /// Files are about to be deleted. A store that notes that does it once for all of them.
    ///
    /// # Errors
    /// As the implementation has them.
    fn will_delete(&self, _names: &[&str]) -> io::Result<()> {
        Ok(())
    }

    /// What is wrong with the store as a whole, a sentence each, which no file of it shows: something was taken away, or put there by
    /// others.
    ///
    /// # Errors
    /// As the implementation has them.
    fn audit(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Whether [`audit`](Store::audit) names every archive that was lost. Where it does not, an index without its archive is the only
    /// sign of a loss, so a backup says by a file that its archive is still to come.
    fn tells_losses(&self) -> bool {
        false
    }

    /// What is called when a file is found damaged while it is read.
    fn witness(&self) -> Option<Witness> {
        None
    }

    /// The directory that the files are in, for a store that is one: a tree that has it in it is
    /// not backed up there.
    fn directory(&self) -> Option<FileId> {
        None
    }
}

/// Opens one file of a [`Store`].
pub type Opener = Box<dyn Fn() -> io::Result<Box<dyn ReadAt>> + Send + Sync>;

/// What a store does that leaves it to another: all but [`witness`](Store::witness).
macro_rules! leave_to {
    ($self:ident => $inner:expr) => {
        fn list(&$self) -> io::Result<Vec<Stored>> {
            $inner.list()
        }

        fn open(&$self, name: &str) -> io::Result<Box<dyn ReadAt>> {
            $inner.open(name)
        }

        fn opener(&$self, name: &str) -> Opener {
            $inner.opener(name)
        }

        fn put(&$self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
            $inner.put(name)
        }

        fn replace(&$self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
            $inner.replace(name)
        }

        fn delete(&$self, name: &str) -> io::Result<()> {
            $inner.delete(name)
        }

        fn lock(&$self) -> io::Result<Box<dyn Send + '_>> {
            $inner.lock()
        }

        fn at_rest(&$self) -> Option<&dyn Store> {
            $inner.at_rest()
        }

        fn decode(&$self, name: &str, kept: Box<dyn ReadAt>) -> io::Result<Box<dyn ReadAt>> {
            $inner.decode(name, kept)
        }

        fn noted(&$self, name: &str) -> Option<$crate::store::Noted> {
            $inner.noted(name)
        }

        fn compare(&$self, name: &str) -> io::Result<()> {
            $inner.compare(name)
        }

        fn is_readable(&$self) -> bool {
            $inner.is_readable()
        }

        fn will_delete(&$self, names: &[&str]) -> io::Result<()> {
            $inner.will_delete(names)
        }

        fn audit(&$self) -> io::Result<Vec<String>> {
            $inner.audit()
        }

        fn tells_losses(&$self) -> bool {
            $inner.tells_losses()
        }

        fn directory(&$self) -> Option<FileId> {
            $inner.directory()
        }
    };
}
pub(crate) use leave_to;

/// A store behind a pointer is a store.
macro_rules! behind {
    ($($pointer:ty),*) => {$(
        impl<T: Store + ?Sized> Store for $pointer {
            leave_to!(self => (**self));

            fn witness(&self) -> Option<Witness> {
                (**self).witness()
            }
        }
    )*};
}

behind!(&T, Box<T>, Arc<T>);

/// Called with the name of a file that was found damaged while it was read, and with what its parity did.
pub type Witness = Arc<dyn Fn(&str, &Healed) + Send + Sync>;

/// A file on its way into a [`Store`]. Dropped before it is committed, it leaves nothing.
#[must_use = "a file that is not committed leaves nothing"]
pub trait StoreWriter: Write {
    /// Gives the file its name: when this returns, all that was written is there, durably, and before
    /// that nothing is, whatever happens.
    ///
    /// # Errors
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when the name has been taken, and whatever else
    /// the implementation has.
    fn commit(self: Box<Self>) -> io::Result<()>;

    /// [`commit`](StoreWriter::commit), for what is made again when it is missing: a power cut may take the file's name, as long as it
    /// takes the whole file then. By default nothing takes it.
    ///
    /// # Errors
    /// As [`commit`](StoreWriter::commit).
    fn commit_soon(self: Box<Self>) -> io::Result<()> {
        self.commit()
    }

    /// Notes what the archive leads from and to, before it is committed. A store may keep that, and say it [later](Store::noted).
    fn note(&mut self, _noted: Noted) {}

    /// What was written so far, to be read again; `None` where that cannot be, as by default. A [backup](crate::Repository::backup)
    /// of a tree that changes meanwhile then begins anew.
    ///
    /// # Errors
    /// As the implementation has them.
    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        Ok(None)
    }
}

/// What is known of an archive without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The tree that it starts from.
    pub base: TreeId,
    /// The tree that it leads to.
    pub result: TreeId,
    /// The labels that its maker gave it.
    pub labels: Labels,
}

/// The bytes of `store` as they are kept.
pub(crate) fn at_rest(store: &dyn Store) -> &dyn Store {
    store.at_rest().unwrap_or(store)
}

/// Every file in `store`.
pub(crate) fn list(store: &dyn Store) -> Result<Vec<Stored>> {
    store.list().map_err(|source| failed("list", "the store", source))
}

/// The snapshots in `store`.
pub(crate) fn snapshots(store: &dyn Store) -> Result<Snapshots> {
    Ok(Snapshots::of(&list(store)?))
}

/// Opens an archive of `store` by its table.
pub(crate) fn open_archive(store: &dyn Store, name: &ArchiveName) -> Result<Archive> {
    let source = open_healing(store, StoredName::Archive(*name))?;
    as_noted(store, name, Archive::from_source(source, name.to_string())?)
}

/// Opens an archive of `store` to be looked at as it is: its damage shows, whatever its parity could do.
pub(crate) fn open_archive_as_it_is(store: &dyn Store, name: &ArchiveName) -> Result<Archive> {
    let text = name.to_string();
    let source = store.open(&text).map_err(|source| failed("open", &text, source))?;
    as_noted(store, name, Archive::from_source(source, text)?)
}

/// The archive, if it leads from and to what was noted of it.
fn as_noted(store: &dyn Store, name: &ArchiveName, archive: Archive) -> Result<Archive> {
    let Some(Noted { base, result, .. }) = store.noted(&name.to_string()) else {
        return Ok(archive);
    };
    match (base, result) == (archive.base(), archive.result()) {
        true => Ok(archive),
        false => Err(Error::OtherResult { expected: result, found: archive.result() }),
    }
}

/// Opens a file of `store` that heals in memory if it has a parity.
fn open_healing(store: &dyn Store, name: StoredName) -> Result<Box<dyn ReadAt>> {
    let text = name.to_string();
    let open_failed = |source| failed("open", &text, source);
    let Some(parity) = name.parity() else { return store.open(&text).map_err(open_failed) };
    let kept = at_rest(store);
    let file = kept.open(&text).map_err(open_failed)?;
    let (parity, witness, named) =
        (kept.opener(&parity.to_string()), store.witness(), text.clone());
    let tell = move |healed: &Healed| {
        if let Some(witness) = &witness {
            witness(&named, healed);
        }
    };
    store.decode(&text, Box::new(Healing::new(file, parity, tell))).map_err(open_failed)
}

/// Deletes a file of `store`.
pub(crate) fn delete(store: &dyn Store, name: StoredName) -> Result<()> {
    let name = name.to_string();
    store.delete(&name).map_err(|source| failed("delete", &name, source))
}

/// Deletes a file of `store`, and before it the parity that it has among `files`: an archive without parity is sound, a parity
/// without its archive is of no use.
pub(crate) fn delete_with_parity(
    store: &dyn Store,
    name: StoredName,
    files: &[Stored],
) -> Result<()> {
    let is_there = |parity: &StoredName| files.iter().any(|file| file.name == parity.to_string());
    if let Some(parity) = name.parity().filter(is_there) {
        delete(store, parity)?;
    }
    delete(store, name)
}

/// [`Store::lock`], with a word for a store that is in use.
pub(crate) fn lock(store: &dyn Store) -> Result<Box<dyn Send + '_>> {
    store.lock().map_err(|source| match source.kind() {
        ErrorKind::WouldBlock if source.get_ref().is_some() => Error::Locked { source },
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
