//! The front door: each operation lists the store once, and a directory is opened or made by its path.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use archive::ReadAt;
use dirindex::Dir;
use repository::store::{Contents, Opener, StoreWriter, Stored};
use repository::{
    BackupOptions, DirStore, Error, Keep, PruneOptions, Repository, RestoreOptions, Store,
};
use testing::{assert_same, fast_tempdir, noise, write};

/// Counts how often it is listed. Nobody opens a parity: it has none.
struct Counting {
    inner: DirStore,
    listed: AtomicUsize,
}

impl Store for Counting {
    fn list(&self) -> io::Result<Vec<Stored>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        assert!(!name.ends_with(".parity"), "the list has no parity");
        self.inner.open(name)
    }

    fn opener(&self, _name: &str) -> Opener {
        Box::new(|| panic!("a parity is opened, and nothing is damaged"))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.inner.put(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(name)
    }
}

#[test]
fn each_operation_lists_the_store_once() {
    let temp = fast_tempdir();
    let [tree, kept, dest] = ["tree", "kept", "dest"].map(|name| temp.path().join(name));
    fs::create_dir(&dest).unwrap();
    let store = Counting { inner: DirStore::create(kept).unwrap(), listed: AtomicUsize::new(0) };
    let repository = Repository::new(&store);
    let once = |what: &str| assert_eq!(store.listed.swap(0, Ordering::Relaxed), 1, "{what}");
    let mut last = None;
    for step in 0..3 {
        write(tree.join(step.to_string()), noise(step, 3000));
        let report = repository.backup(&Dir::new(&tree).unwrap(), &BackupOptions::default());
        let report = report.unwrap();
        once("backup");
        let files = store.inner.list().unwrap();
        let bytes: u64 =
            files.iter().filter(|file| file.name != "lock").map(|file| file.size).sum();
        assert_eq!((report.snapshots, report.store_bytes), (step as usize + 1, bytes));
        last = Some(report.snapshot);
    }
    repository.restore(last.unwrap(), &dest, &RestoreOptions::default()).unwrap();
    once("restore");
    assert_same(&dest, &tree);
    assert!(repository.verify(None).unwrap().is_sound());
    once("verify");
    let keep = Keep { last: 1, ..Keep::default() };
    let report = repository.prune(&PruneOptions { keep, ..PruneOptions::default() }).unwrap();
    once("prune");
    let bytes: u64 = store.inner.list().unwrap().iter().map(|file| file.size).sum();
    assert_eq!((report.removed.len(), report.store_bytes), (2, bytes));
}

#[test]
fn a_directory_is_opened_or_made() {
    let temp = fast_tempdir();
    let path = temp.path().join("kept");
    let found = |opened: Result<_, Error>| match opened.map(|_: Repository<DirStore>| ()) {
        Err(Error::NoStore { place, found }) if place.as_ref() == Some(&path) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(Repository::open(&path)), Contents::Missing);
    fs::create_dir(&path).unwrap();
    assert_eq!(found(Repository::open_to_read(&path)), Contents::Nothing);
    let made = Repository::create(&path).unwrap();
    assert_eq!(made.snapshots().unwrap().latest(), None);
    assert_eq!(Repository::open(&path).unwrap().snapshots().unwrap().bytes(), 0);
    assert!(matches!(Repository::create(&path), Err(Error::IsStore { .. })));
    fs::remove_file(path.join("store.toml")).unwrap();
    write(path.join("other"), "x");
    for refused in [Repository::open(&path), Repository::create(&path)] {
        assert_eq!(found(refused), Contents::Other("other".into()));
    }
}

/// The marker goes through the trait, so that it is in any store.
#[test]
fn any_store_is_made_on_purpose() {
    let temp = fast_tempdir();
    let store = DirStore::create(temp.path().join("kept")).unwrap();
    let opened = Repository::open_in(&store);
    assert!(matches!(opened, Err(Error::NoStore { place: None, found: Contents::Nothing })));
    Repository::create_in(&store).unwrap();
    Repository::open_in(&store).unwrap();
    assert!(matches!(Repository::create_in(&store), Err(Error::IsStore { place: None })));
}
