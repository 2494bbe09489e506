//! [`RemoteStore`]: objects elsewhere as a store. Knows nothing of what carries the requests, nor of what the names mean.

mod blocks;
mod cache;
mod file;
mod lease;
mod pace;
mod upload;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use container::ReadAt;
use repository::store::{Opener, Store, StoreWriter, Stored};

use self::blocks::{Blocks, Key};
use self::cache::Cache;
use self::file::RemoteFile;
use self::pace::Paced;
use self::upload::Upload;
use crate::Options;

/// So much of an object comes with the question whether it is there.
const FIRST_LEN: u64 = 16 << 10;
/// What is fetched at once and is no longer than this is kept on disk: tables and the like, not contents.
const MOST_KEPT: usize = 128 << 10;

/// For so long a listing is as good as a new one: a command asks several times in a row.
const FRESH: Duration = Duration::from_secs(1);

/// An object, as it is now: another content under its name has another tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// What the server has for it: an entity tag, or a time; empty if it has none.
    pub(crate) tag: String,
    /// Which version it is, where the server counts them.
    pub(crate) version: Option<String>,
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
    /// Replaces this, and fails if it is another: [`AlreadyExists`](ErrorKind::AlreadyExists).
    Instead(Box<Object>),
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
    fn upload(&self, name: &str) -> io::Result<Box<dyn Parts + '_>>;

    /// Takes back an object that another process began to put in parts.
    fn abort(&self, name: &str, id: &str) -> io::Result<()>;

    /// Deletes an object. One that is not there is no error.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// How long a part is.
    fn part_len(&self) -> usize;

    /// Clears away what killed ones left, under the lock: nobody else is putting.
    fn tidy(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An object on its way in parts. Dropped, it is taken back.
pub(crate) trait Parts {
    /// What it is called while it is on its way.
    fn id(&self) -> &str;

    /// Sends a part. It may be on its way still when this returns.
    fn send(&mut self, part: Vec<u8>) -> io::Result<()>;

    /// Has all that was sent be the object.
    fn finish(self: Box<Self>) -> io::Result<Object>;
}

/// A store elsewhere: in a cloud, or on another machine.
///
/// Requests are few: a listing is remembered, and believed for a second where another is asked for; what was read is not asked for again. A file that was not
/// there when the store was listed is taken for absent until it is listed again. A file of up to one part, 32 MiB, is put in one
/// request that fails if its name is taken. A larger one is sent in parts, three of which are held in memory.
///
/// The lock is an object that says whose it is and holds for five minutes after it was put last; whoever has it puts it again until he
/// is done. One whose time is over, or whose process has ended on this machine, is void and is taken over.
#[derive(Clone)]
pub struct RemoteStore {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    known: Mutex<Known>,
    blocks: Blocks,
    cache: Option<Cache>,
    /// The lock, while it is held.
    lease: Mutex<Option<Arc<lease::Shared>>>,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What is known of the objects.
#[derive(Default)]
struct Known {
    objects: BTreeMap<String, Object>,
    /// Whether these are all there are.
    is_listed: bool,
    /// When they were listed, if that is to be believed still.
    at: Option<Instant>,
}

impl RemoteStore {
    /// The store that `transport` reaches, which is called `name`.
    pub(crate) fn new(transport: Arc<dyn Transport>, name: &str, options: &Options) -> RemoteStore {
        let Options { cache, limit_upload, limit_download, tell, .. } = options;
        let transport: Arc<dyn Transport> = match limit_upload.or(*limit_download) {
            Some(_) => Arc::new(Paced::new(transport, *limit_upload, *limit_download)),
            None => transport,
        };
        let inner = Inner {
            transport,
            known: Mutex::default(),
            blocks: Blocks::default(),
            // Without a cache all is fetched anew, which is only slow.
            cache: cache.as_ref().and_then(|root| Cache::open(root, name).ok()),
            lease: Mutex::default(),
            tell: Arc::clone(tell),
        };
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
    fn block(&self, object: &Object, key: Key, number: u64) -> Option<Arc<[u8]>> {
        self.blocks.get(key, number).or_else(|| {
            let block = self.cache.as_ref()?.get(key, object.size, number)?;
            self.blocks.keep(object, number, &block);
            Some(block)
        })
    }

    fn has_block(&self, key: Key, number: u64) -> bool {
        let is_cached = || self.cache.as_ref().is_some_and(|cache| cache.has(key, number));
        self.blocks.get(key, number).is_some() || is_cached()
    }

    /// Keeps what was fetched of an object, from block `first` on.
    fn keep(&self, object: &Object, first: u64, bytes: &[u8]) {
        self.blocks.keep(object, first, bytes);
        if let Some(cache) = self.cache.as_ref().filter(|_| bytes.len() <= MOST_KEPT) {
            cache.keep(Key::of(object), first, bytes);
        }
    }

    /// Forgets what was fetched of an object. Whether there was anything.
    fn forget(&self, key: Key) -> bool {
        let had = self.blocks.forget(key);
        self.cache.as_ref().is_some_and(|cache| cache.forget(key)) || had
    }

    /// That nobody else can be changing the store, if this holds its lock.
    fn check_lease(&self) -> io::Result<()> {
        let lease = locked(&self.lease).clone();
        lease.map_or(Ok(()), |lease| lease.check())
    }

    /// Asks what there is.
    fn list(&self) -> io::Result<()> {
        let asked = Instant::now();
        let listed = self.transport.list()?;
        // A listing that comes in pages may name an object twice.
        let objects: BTreeMap<String, Object> =
            listed.into_iter().map(|object| (object.name.clone(), object)).collect();
        *self.known() = Known { objects, is_listed: true, at: Some(asked) };
        Ok(())
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
        let at = self.inner.known().at;
        if at.is_none_or(|at| at.elapsed() > FRESH) {
            self.inner.list()?;
        }
        let stored = |object: &Object| Stored { name: object.name.clone(), size: object.size };
        Ok(self.inner.known().objects.values().map(stored).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let inner = Arc::clone(&self.inner);
        // Who opens a store lists it soon: that is done now, and says whether what is at hand is as it is there.
        if !inner.known().is_listed {
            inner.list()?;
        }
        let object = inner.find(name).map_err(|_| ErrorKind::NotFound)?;
        Ok(Box::new(RemoteFile::new(inner, object)))
    }

    fn opener(&self, name: &str) -> Opener {
        let (store, name) = (self.clone(), name.to_owned());
        Box::new(move || store.open(&name))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        match self.inner.find(name) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(Box::new(Upload::new(&self.inner, name, How::New))),
        }
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        Ok(Box::new(Upload::new(&self.inner, name, How::Replace)))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let found = self.inner.find(name);
        if found != Err(true) {
            self.inner.check_lease()?;
            self.inner.transport.delete(name)?;
            self.inner.known().objects.remove(name);
        }
        found.map(|object| self.inner.forget(Key::of(&object))).ok();
        Ok(())
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        let tell = &*self.inner.tell;
        let lease = lease::take(&self.inner.transport, tell)?;
        *locked(&self.inner.lease) = Some(Arc::clone(lease.shared()));
        self.inner.transport.tidy()?;
        // What was listed before may have changed.
        *self.inner.known() = Known::default();
        Ok(Box::new(Held { inner: &self.inner, _lease: lease }))
    }
}

/// The lock of a store, while it is held.
struct Held<'a> {
    inner: &'a Inner,
    _lease: lease::Lease,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *locked(&self.inner.lease) = None;
    }
}
