//! Objects as a store, in memory: what a store promises, and that requests are few.
#![cfg(feature = "clouds")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

use dirindex::Dir;
use object_store::memory::InMemory;
use repository::store::{Stored, StoredName};
use repository::{
    BackupOptions, Keep, PruneOptions, Repository, RestoreOptions, SnapshotId, Store,
};
use stores::{Options, RemoteStore};
use testing::{fast_tempdir, noise, snapshot, write};

fn in_memory(prefix: &str) -> RemoteStore {
    let options = Options { cache: None, ..Options::default() };
    RemoteStore::of_objects(Arc::new(InMemory::new()), prefix, "memory", &options).unwrap()
}

/// One with a prefix, and one without.
fn each(test: impl Fn(&RemoteStore)) {
    for prefix in ["", "backups/photos"] {
        test(&in_memory(prefix));
    }
}

/// Promise: a nightly backup fetches no object. So the index that it starts from is at hand where it was put, encrypted or not.
#[test]
fn an_index_that_was_put_is_not_fetched() {
    let (objects, cache) = (Arc::new(InMemory::new()), fast_tempdir());
    let with = |cache| {
        let options = Options { cache, ..Options::default() };
        RemoteStore::of_objects(objects.clone(), "", "memory", &options).unwrap()
    };
    for name in ["20261130T120000Z.index", "20261130T120000Z.index.age"] {
        // One that goes up at once, and one in parts.
        for len in [3 << 20, (32 << 20) + 5] {
            let bytes = noise(1, len);
            let store = with(Some(cache.path().into()));
            let mut put = store.put(name).unwrap();
            put.write_all(&bytes).unwrap();
            put.commit().unwrap();
            let file = with(Some(cache.path().into())).open(name).unwrap();
            // What is gone cannot be fetched.
            with(None).delete(name).unwrap();
            let mut read = vec![0; len];
            file.fill_at(&mut read, 0).unwrap();
            assert!(read == bytes, "{name}");
        }
    }
}

/// Threads that read one file share what they fetch, and none waits for ever.
#[test]
fn threads_read_one_file() {
    let (store, bytes) = (in_memory(""), noise(2, (20 << 20) + 5));
    let mut put = store.put("20261130T120000Z-full.tgz").unwrap();
    put.write_all(&bytes).unwrap();
    put.commit().unwrap();
    let file = store.open("20261130T120000Z-full.tgz").unwrap();
    file.will_read(5 << 20..9 << 20);
    std::thread::scope(|scope| {
        for thread in 0..6usize {
            let (file, bytes) = (&file, &bytes);
            scope.spawn(move || {
                let from = thread * (4 << 20) % bytes.len();
                for chunk in bytes[from..].chunks(200_000 + thread).zip(0..) {
                    let (expected, number) = chunk;
                    let mut read = vec![0; expected.len()];
                    let at = from + number * (200_000 + thread);
                    file.fill_at(&mut read, at as u64).unwrap();
                    assert!(read == expected, "thread {thread} at {at}");
                }
            });
        }
    });
}

/// What is put is there whole or not at all, in one request or in parts, and never in the place of another.
#[test]
fn files_come_whole_and_go_whole() {
    each(|store| {
        // One that goes up at once, one in parts, one of just a part, and one of nothing.
        for len in [5, (32 << 20) + 5, 32 << 20, 0] {
            let bytes = noise(1, len);
            let mut put = store.put("a").unwrap();
            // Who wants to read again asks before, as a backup does.
            assert!(put.written().unwrap().is_some());
            put.write_all(&bytes).unwrap();
            let written = put.written().unwrap().unwrap();
            assert_eq!(written.size().unwrap(), len as u64, "it can be read again");
            assert_eq!(store.list().unwrap(), [], "not before it is committed");
            put.commit().unwrap();
            assert_eq!(store.list().unwrap(), [Stored { name: "a".into(), size: len as u64 }]);
            assert_eq!(store.put("a").err().unwrap().kind(), ErrorKind::AlreadyExists);
            let file = store.open("a").unwrap();
            assert_eq!(file.size().unwrap(), len as u64);
            let mut end = vec![0; len.min(7)];
            let from = len - end.len();
            file.fill_at(&mut end, from as u64).unwrap();
            assert_eq!(end, bytes[from..]);
            let past = file.fill_at(&mut [0; 8], from as u64);
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

/// Any range of an object reads as what was put, whatever was read before.
#[test]
fn any_range_reads_the_same() {
    let store = in_memory("");
    let bytes = noise(3, 300_001);
    let mut put = store.put("a").unwrap();
    put.write_all(&bytes).unwrap();
    put.commit().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20 {
        let file = store.open("a").unwrap();
        for _ in 0..50 {
            let from = random.usize(..bytes.len());
            let most = 1 << random.usize(1..19);
            let len = random.usize(1..=(bytes.len() - from).min(most));
            let mut read = vec![0; len];
            file.fill_at(&mut read, from as u64).unwrap();
            assert!(read == bytes[from..from + len], "{len} bytes from {from}");
        }
    }
}

/// What is at hand is never taken for what is there: another content under the same name and of the same length is read anew.
#[test]
fn the_cache_is_never_wrong() {
    let (objects, cache) = (Arc::new(InMemory::new()), fast_tempdir());
    let options = Options { cache: Some(cache.path().into()), ..Options::default() };
    let store = || RemoteStore::of_objects(Arc::clone(&objects), "", "memory", &options).unwrap();
    let mut seeds = 0..;
    let mut put = |store: &RemoteStore| {
        let bytes = noise(seeds.next().unwrap(), 50_000);
        let mut put = store.replace("a").unwrap();
        put.write_all(&bytes).unwrap();
        put.commit().unwrap();
        bytes
    };
    let read = |store: &RemoteStore| {
        let mut bytes = vec![0; 50_000];
        store.open("a").unwrap().fill_at(&mut bytes, 0).unwrap();
        bytes
    };
    for _ in 0..5 {
        let put_last = put(&store());
        // From the cache, and with half of its files cut.
        assert!(read(&store()) == put_last);
        for dir in fs::read_dir(cache.path()).unwrap() {
            for file in fs::read_dir(dir.unwrap().path()).into_iter().flatten().step_by(2) {
                fs::write(file.unwrap().path(), b"IBTCACHE").unwrap();
            }
        }
        assert!(read(&store()) == put_last);
    }
    // It is read from the cache indeed: what is listed is not fetched again.
    let store = store();
    let put_last = put(&store);
    let file = store.open("a").unwrap();
    store.list().unwrap();
    let mut bytes = vec![0; 50_000];
    file.fill_at(&mut bytes, 0).unwrap();
    assert!(bytes == put_last);
}

#[test]
fn backups_go_in_and_come_out() {
    each(|store| {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        let repository = Repository::new(store);
        let check = |id: SnapshotId, as_it_was| {
            let back = fast_tempdir();
            repository.restore(id, back.path(), &RestoreOptions::default()).unwrap();
            assert_eq!(snapshot(back.path()), as_it_was);
        };
        let mut known = Vec::new();
        for step in 0..4 {
            let mut content = noise(1, 50_000);
            content.extend(noise(step, 100));
            write(tree.join("a"), content);
            write(tree.join(format!("dir/{step}")), noise(step, 2000));
            let backup = |dir: &Dir| repository.backup(dir, &BackupOptions::default()).unwrap();
            let report = backup(&Dir::new(&tree).unwrap());
            assert_eq!(report.unusable.len(), 0);
            known.push((report.snapshot, snapshot(&tree)));
        }
        known.iter().for_each(|(id, tree)| check(*id, tree.clone()));
        let keep = Keep { last: 2, ..Keep::default() };
        let report = repository.prune(&PruneOptions { keep, ..PruneOptions::default() }).unwrap();
        known.retain(|(id, _)| report.kept.contains(id));
        assert_eq!((known.len(), report.squashed.len()), (2, 1));
        known.iter().for_each(|(id, tree)| check(*id, tree.clone()));
        assert!(repository.verify(None).unwrap().missing.is_empty());
        // The index is lost, and made again.
        for file in store.list().unwrap() {
            if let Some(StoredName::Index(_)) = StoredName::parse(&file.name) {
                store.delete(&file.name).unwrap();
            }
        }
        fs::remove_file(tree.join("a")).unwrap();
        let dir = Dir::new(&tree).unwrap();
        let report = repository.backup(&dir, &BackupOptions::default()).unwrap();
        assert!(report.made.unwrap().archive.since.is_some());
        check(report.snapshot, snapshot(&tree));
    });
}
