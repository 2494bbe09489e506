//! Object stores as stores: in memory, and a directory.
#![cfg(feature = "object_store")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

use common::check;
use dirindex::Dir;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use repository::store::{Name, ObjectStoreAdapter, Stored};
use repository::{BackupOptions, Keep, PruneOptions, Repository, Store};
use testing::{fast_tempdir, noise, snapshot, write};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

/// Each kind of store, once with a prefix and once without.
fn each(test: impl Fn(&ObjectStoreAdapter)) {
    let runtime = runtime();
    for prefix in ["", "backups/photos"] {
        let temp = fast_tempdir();
        let local = LocalFileSystem::new_with_prefix(temp.path()).unwrap().with_fsync(true);
        let stores: [Arc<dyn ObjectStore>; 2] = [Arc::new(InMemory::new()), Arc::new(local)];
        for store in stores {
            test(&ObjectStoreAdapter::new(store, prefix.into(), runtime.handle().clone()));
        }
    }
}

#[test]
fn files_come_whole_and_go_whole() {
    each(|store| {
        // One that goes up at once, one in parts, one of just a part, and one of nothing.
        for len in [5, (32 << 20) + 5, 32 << 20, 0] {
            let bytes = noise(1, len);
            let mut put = store.put("a").unwrap();
            put.write_all(&bytes).unwrap();
            assert_eq!(store.list().unwrap(), [], "not before it is committed");
            put.commit().unwrap();
            assert_eq!(store.list().unwrap(), [Stored { name: "a".into(), size: len as u64 }]);
            assert_eq!(store.put("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
            let file = store.open("a").unwrap();
            assert_eq!(file.size().unwrap(), len as u64);
            let mut end = vec![0; len.min(7)];
            let from = len - end.len();
            file.read_exact_at(&mut end, from as u64).unwrap();
            assert_eq!(end, bytes[from..]);
            let past = file.read_exact_at(&mut [0; 8], from as u64);
            assert_eq!(past.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            store.delete("a").unwrap();
            store.delete("a").unwrap();
            assert_eq!(store.open("a").err().unwrap().kind(), ErrorKind::NotFound);
        }
        for len in [5, (32 << 20) + 5] {
            let mut put = store.put("a").unwrap();
            put.write_all(&noise(2, len)).unwrap();
            drop(put);
            assert_eq!(store.list().unwrap(), [], "what is dropped is not there");
        }
        let (mut one, mut two) = (store.put("a").unwrap(), store.put("a").unwrap());
        one.write_all(b"one").unwrap();
        two.write_all(b"two").unwrap();
        two.commit().unwrap();
        assert_eq!(one.commit().unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn backups_go_in_and_come_out() {
    each(|store| {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        let mut known = BTreeMap::new();
        for step in 0..4 {
            let mut content = noise(1, 50_000);
            content.extend(noise(step, 100));
            write(tree.join("a"), content);
            write(tree.join(format!("dir/{step}")), noise(step, 2000));
            let report = Repository::new(store)
                .backup(&Dir::new(&tree).unwrap(), &BackupOptions::default())
                .unwrap();
            assert_eq!(report.unusable.len(), 0);
            known.insert(report.snapshot, snapshot(&tree));
        }
        check(store, &known);
        let keep = Keep { last: 2, ..Keep::default() };
        let report = Repository::new(store)
            .prune(&PruneOptions { keep, ..PruneOptions::default() })
            .unwrap();
        known.retain(|id, _| report.kept.contains(id));
        assert_eq!((known.len(), report.squashed.len()), (2, 1));
        check(store, &known);
        assert!(Repository::new(store).verify(None).unwrap().missing.is_empty());
        // The index is lost, and made again.
        for file in store.list().unwrap() {
            if let Some(Name::Index(_)) = Name::parse(&file.name) {
                store.delete(&file.name).unwrap();
            }
        }
        fs::remove_file(tree.join("a")).unwrap();
        let report = Repository::new(store)
            .backup(&Dir::new(&tree).unwrap(), &BackupOptions::default())
            .unwrap();
        assert!(report.made.unwrap().archive.since.is_some());
        known.insert(report.snapshot, snapshot(&tree));
        check(store, &known);
    });
}
