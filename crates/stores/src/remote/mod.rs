//! [`RemoteStore`]: objects elsewhere as a store. Knows nothing of what carries the requests, nor of what the names mean.

mod blocks;
mod file;
mod upload;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container::ReadAt;
use repository::store::{Put, Store, Stored};

use self::blocks::{Blocks, Key};
use self::file::RemoteFile;
use self::upload::Upload;

/// So much of an object comes with the question whether it is there.
const FIRST_LEN: u64 = 16 << 10;

/// An object, as it is now: another content under its name has another tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// What the server has for it: an entity tag, or a time; empty if it has none.
    pub(crate) tag: String,
    /// When it was put, by the server's clock, in milliseconds.
    pub(crate) modified: i64,
}

/// What a put does with what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// It fails: [`AlreadyExists`](ErrorKind::AlreadyExists).
    New,
    /// Replaces it.
    Replace,
}

/// What carries requests to where objects are. Each call is tried again by itself where the way fails, as long as it makes sense.
pub(crate) trait Transport: Send + Sync {
    /// Every object right below the prefix.
    fn list(&self) -> io::Result<Vec<Object>>;

    /// An object, and its first bytes, up to `len`.
    fn look(&self, name: &str, len: u64) -> io::Result<(Object, Vec<u8>)>;

    /// Bytes of an object as it was. [`NotFound`](ErrorKind::NotFound) also when it is another by now.
    fn get(&self, object: &Object, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Puts an object in one request.
    fn put(&self, name: &str, bytes: Vec<u8>, how: How) -> io::Result<Object>;

    /// Begins an object that is put in parts.
    fn upload(&self, name: &str, how: How) -> io::Result<Box<dyn Parts + '_>>;

    /// Deletes an object. One that is not there is no error.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// How long a part is.
    fn part_len(&self) -> usize;
}

/// An object on its way in parts. Dropped, it is taken back.
pub(crate) trait Parts {
    /// Sends a part. It may be on its way still when this returns.
    fn send(&mut self, part: Vec<u8>) -> io::Result<()>;

    /// Has all that was sent be the object.
    fn finish(self: Box<Self>) -> io::Result<Object>;
}

/// A store elsewhere: in a cloud, or on another machine.
///
/// Requests are few: what a listing says is remembered until the next, and what was read is not asked for again. A file that was not
/// there when the store was listed is taken for absent until it is listed again. A file of up to one part, 32 MiB, is put in one
/// request that fails if its name is taken. A larger one is sent in parts, three of which are held in memory.
#[derive(Clone)]
pub struct RemoteStore {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Box<dyn Transport>,
    known: Mutex<Known>,
    blocks: Blocks,
}

/// What is known of the objects.
#[derive(Default)]
struct Known {
    objects: BTreeMap<String, Object>,
    /// Whether these are all there are.
    is_listed: bool,
}

impl RemoteStore {
    pub(crate) fn new(transport: Box<dyn Transport>) -> RemoteStore {
        let inner = Inner { transport, known: Mutex::default(), blocks: Blocks::default() };
        RemoteStore { inner: Arc::new(inner) }
    }
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemoteStore")
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// The object `name`, if it is known; else whether it is known not to be there.
    fn find(&self, name: &str) -> Result<Object, bool> {
        let known = self.known();
        known.objects.get(name).cloned().ok_or(known.is_listed)
    }

    /// A block of an object, if it is at hand.
    fn block(&self, _object: &Object, key: Key, number: u64) -> Option<Arc<[u8]>> {
        self.blocks.get(key, number)
    }

    fn remember(&self, object: Object) {
        self.known().objects.insert(object.name.clone(), object);
    }
}

/// What panicked while it held it has left it as good as it was.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for RemoteStore {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let listed = self.inner.transport.list()?;
        // A listing that comes in pages may name an object twice.
        let objects: BTreeMap<String, Object> =
            listed.into_iter().map(|object| (object.name.clone(), object)).collect();
        let stored = |object: &Object| Stored { name: object.name.clone(), size: object.size };
        let files = objects.values().map(stored).collect();
        *self.inner.known() = Known { objects, is_listed: true };
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let inner = Arc::clone(&self.inner);
        match self.inner.find(name) {
            Ok(object) => Ok(Box::new(RemoteFile::new(inner, object))),
            Err(true) => Err(ErrorKind::NotFound.into()),
            Err(false) => {
                let (object, first) = inner.transport.look(name, FIRST_LEN)?;
                inner.blocks.keep(&object, 0, &first);
                inner.remember(object.clone());
                Ok(Box::new(RemoteFile::new(inner, object)))
            }
        }
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn Put + '_>> {
        match self.inner.find(name) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(Box::new(Upload::new(&self.inner, name, How::New))),
        }
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn Put + '_>> {
        Ok(Box::new(Upload::new(&self.inner, name, How::Replace)))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        if self.inner.find(name) != Err(true) {
            self.inner.transport.delete(name)?;
            self.inner.known().objects.remove(name);
        }
        Ok(())
    }
}
