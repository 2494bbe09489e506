//! Stores that fail or change the tree, and what is in a store.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use apply::{ApplyOptions, apply_with};
use archive::ReadAt;
use repository::store::{Opener, StoreWriter, Stored, StoredName};
use repository::{DirStore, Repository, SnapshotId, Store};

use testing::{Snapshot, fast_tempdir, snapshot};

/// The tree that the archives of `store` lead to at `snapshot`, made by applying them one by one.
pub fn restored(store: &dyn Store, id: SnapshotId) -> Snapshot {
    let temp = fast_tempdir();
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    for archive in Repository::new(store).snapshots().unwrap().chain_to(id).unwrap() {
        let data = Repository::new(store).archive(&archive.name).unwrap().load().unwrap();
        apply_with(temp.path(), &data, &options).unwrap();
    }
    snapshot(temp.path())
}

/// That every snapshot in `history` is there and is what the tree was then, and that there are no others.
pub fn check(store: &dyn Store, history: &BTreeMap<SnapshotId, Snapshot>) {
    let snapshots = Repository::new(store).snapshots().unwrap();
    assert_eq!(
        snapshots.restorable().collect::<Vec<_>>(),
        history.keys().copied().collect::<Vec<_>>()
    );
    for (id, tree) in history {
        assert!(restored(store, *id) == *tree, "{id} is not what the tree was");
    }
}

/// A store that fails from some call on, before or after it did what it was asked.
pub struct Failing<'a> {
    inner: &'a DirStore,
    calls: AtomicUsize,
    at: usize,
    after: bool,
}

impl<'a> Failing<'a> {
    pub fn new(inner: &'a DirStore, at: usize, after: bool) -> Failing<'a> {
        Failing { inner, calls: AtomicUsize::new(0), at, after }
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn call<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        if number > self.at || (number == self.at && !self.after) {
            return Err(io::Error::other("the store is gone"));
        }
        let done = act();
        if number == self.at { Err(io::Error::other("the store is gone")) } else { done }
    }
}

impl Store for Failing<'_> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        self.call(|| self.inner.list())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.call(|| self.inner.open(name))
    }

    fn opener(&self, name: &str) -> Opener {
        self.inner.opener(name)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        let put = self.call(|| self.inner.put(name))?;
        Ok(Box::new(FailingPut { store: self, put }))
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        let put = self.call(|| self.inner.replace(name))?;
        Ok(Box::new(FailingPut { store: self, put }))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.call(|| self.inner.delete(name))
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        self.call(|| self.inner.lock())
    }
}

struct FailingPut<'a> {
    store: &'a Failing<'a>,
    put: Box<dyn StoreWriter + 'a>,
}

impl Write for FailingPut<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.call(|| self.put.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put.flush()
    }
}

impl StoreWriter for FailingPut<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        let FailingPut { store, put } = *self;
        store.call(|| put.commit())
    }

    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        self.store.call(|| self.put.written())
    }
}

/// A store that changes the tree whenever an archive is put: between the scan and the packing.
pub struct Meddling<'a, F> {
    inner: &'a dyn Store,
    meddle: F,
    puts: AtomicUsize,
}

impl<'a, F: Fn(usize)> Meddling<'a, F> {
    /// `meddle` gets the number of the archive, from 1 on.
    pub fn new(inner: &'a dyn Store, meddle: F) -> Meddling<'a, F> {
        Meddling { inner, meddle, puts: AtomicUsize::new(0) }
    }
}

impl<F: Fn(usize) + Send + Sync> Store for Meddling<'_, F> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.inner.open(name)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        if matches!(StoredName::parse(name), Some(StoredName::Archive(_))) {
            (self.meddle)(self.puts.fetch_add(1, Ordering::Relaxed) + 1);
        }
        self.inner.put(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
}

/// A store that counts the bytes that are read from it.
pub struct Counted<'a> {
    inner: &'a DirStore,
    read: Arc<AtomicU64>,
}

impl<'a> Counted<'a> {
    pub fn new(inner: &'a DirStore) -> Counted<'a> {
        Counted { inner, read: Arc::default() }
    }

    /// How many bytes were read.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Store for Counted<'_> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let (file, read) = (self.inner.open(name)?, Arc::clone(&self.read));
        Ok(Box::new(CountedFile { file, read }))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.inner.put(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
}

struct CountedFile {
    file: Box<dyn ReadAt>,
    read: Arc<AtomicU64>,
}

impl ReadAt for CountedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.fill_at(buffer, offset)
    }
}
