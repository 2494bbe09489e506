//! An encrypted store in use: what comes back, who can do what, and what of it heals.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use archive::ArchiveOptions;
use container::ReadAt;
use dirindex::Dir;
use encryption::{Access, Ask, EncryptedStore, Identities, Recipients, Secret};
use proptest::prelude::*;
use repository::store::{DirStore, Keep, Store, StoreWriter, Stored};
use repository::{BackupOptions, PruneOptions, Repository, RestoreOptions};
use rsync_core::Progress;

use crate::common::{Place, access, day_of, nobody};

/// Snapshots come back; increments are built on what the client cannot read; nothing is scanned or packed twice.
#[test]
fn a_client_that_cannot_read_makes_increments() {
    let place = Place::new();
    let large: Vec<u8> =
        (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    place.write("large", &large);
    place.write("old", b"old content");
    let first = place.backup(1).made.unwrap();
    let mut changed = large.clone();
    changed[1_500_000] ^= 1;
    place.write("large", &changed);
    let second = place.backup(2).made.unwrap();
    assert_eq!(second.archive.since, Some(day_of(1)));
    assert!(second.archive_bytes * 20 < first.archive_bytes, "a delta: {}", second.archive_bytes);
    assert!(place.backup(3).made.is_none(), "nothing has changed");
    assert_eq!(place.restored(1, "large").unwrap(), large);
    assert_eq!(place.restored(2, "large").unwrap(), changed);
    let list = place.open(&place.client).unwrap().list().unwrap();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|snapshot| snapshot.is_restorable && snapshot.error.is_none()));
    let found = place.open(&place.owner).unwrap().verify(None).unwrap();
    assert!(found.is_sound() && !found.unread);
    let found = place.open(&place.client).unwrap().verify(None).unwrap();
    assert!(found.is_sound() && found.unread);
    assert_eq!(place.told(), "");
}

/// The index of a night is what changed since the one before, for a client that reads nothing else.
#[test]
fn a_night_writes_an_index_of_the_size_of_what_changed() {
    let place = Place::new();
    let noise = |mut seed: u32, len: usize| -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    (0..160).for_each(|n| place.write(&format!("{n}"), &noise(n, 30_000)));
    let whole = place.backup(1).made.unwrap().index_bytes;
    for day in 2..8 {
        place.write(&format!("{day}"), &noise(1000 + day, 30_000));
        let report = place.backup(day);
        assert!(report.unusable.is_empty(), "{:?}", report.unusable);
        let made = report.made.unwrap();
        assert_eq!(made.archive.since, Some(day_of(day - 1)));
        assert!(made.index_bytes < whole / 3, "{} of {whole}", made.index_bytes);
    }
    assert!(place.files(".index.age").len() > 1);
    assert!(place.backup(8).made.is_none(), "nothing has changed");
    let found = place.open(&place.owner).unwrap().verify(None).unwrap();
    assert!(found.is_sound() && !found.unread, "{found:?}");
    assert!(place.open(&place.client).unwrap().verify(None).unwrap().is_sound());
    assert_eq!(place.restored(7, "7").unwrap(), noise(1007, 30_000));
    assert_eq!(place.told(), "");
}

/// All that is made is for its owner alone.
#[test]
fn files_are_private() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o77;
    for file in place.files("") {
        assert_eq!(mode(&file), 0, "{}", file.display());
    }
    for path in ["my.key", "client/memory", "kept"] {
        assert_eq!(mode(&place.temp.path().join(path)), 0, "{path}");
    }
}

/// A client that lost its index makes a full backup, and says so; so does another client. Each goes on from its own.
#[test]
fn clients_go_on_from_their_own_index() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    fs::remove_file(&place.files(".index.age")[0]).unwrap();
    place.write("old", b"other content");
    let report = place.backup(2);
    assert_eq!(report.unusable.len(), 1);
    assert_eq!(report.made.unwrap().archive.since, None);

    let second = access(&place.temp.path().join("second"), Some(Secret::generate()), &place.told);
    let owner = EncryptedStore::open(place.dir(), &place.owner).unwrap();
    EncryptedStore::trust(place.dir(), &second, &owner.id()).unwrap_err();
    owner.allow(&second.client.as_ref().unwrap().public()).unwrap();
    EncryptedStore::trust(place.dir(), &second, &owner.id()).unwrap();
    place.write("old", b"a third content");
    assert_eq!(place.try_backup(&second, 3).unwrap().made.unwrap().archive.since, None);
    place.write("old", b"a fourth content");
    let increment = place.try_backup(&second, 4).unwrap().made.unwrap();
    assert_eq!(increment.archive.since, Some(day_of(3)));
    place.write("old", b"a fifth content");
    assert_eq!(place.backup(5).made.unwrap().archive.since, None, "the index is the other's");
    for (day, content) in
        [(1, "old"), (2, "other"), (3, "a third"), (4, "a fourth"), (5, "a fifth")]
    {
        assert_eq!(place.restored(day, "old").unwrap(), format!("{content} content").as_bytes());
    }
}

/// Who has the identity prunes, and the client goes on.
#[test]
fn the_owner_prunes_and_the_client_goes_on() {
    let place = Place::new();
    for day in 1..=6 {
        place.write(&format!("{day}"), format!("content of {day}").as_bytes());
        place.backup(day);
    }
    let keep = Keep { last: 2, ..Keep::default() };
    let options = PruneOptions { keep, ..PruneOptions::default() };
    assert!(place.open(&place.client).unwrap().prune(&options).is_err());
    let report = place.open(&place.owner).unwrap().prune(&options).unwrap();
    assert_eq!(report.kept, [day_of(5), day_of(6)]);
    place.write("7", b"content of 7");
    let increment = place.backup(7).made.unwrap();
    assert_eq!(increment.archive.since, Some(day_of(6)));
    for day in [5, 6, 7] {
        assert_eq!(place.restored(day, "5").unwrap(), b"content of 5");
    }
    for access in [&place.owner, &place.client] {
        assert!(place.open(access).unwrap().verify(None).unwrap().is_sound());
    }
    assert_eq!(place.told(), "");
}

/// After a rotation the new identity opens all, the old one nothing that is new, and no archive was written anew.
#[test]
fn a_rotation_changes_who_can_read() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let before = fs::read(&place.files(".tgz.age")[0]).unwrap();
    let new = encryption::new_identity(&place.temp.path().join("new.key"), None).unwrap();
    let mut recipients = Recipients::default();
    recipients.add(&new, &nobody()).unwrap();
    let old_secret = fs::read(place.kept().join("key.age")).unwrap();
    let mut owner = EncryptedStore::open(place.dir(), &place.owner).unwrap();
    owner.rotate(&recipients).unwrap();
    assert!(fs::read(&place.files(".tgz.age")[0]).unwrap() == before);
    assert!(matches!(place.open(&place.owner), Err(encryption::Error::WrongIdentity)));
    place.write("old", b"other content");
    place.backup(2);
    let mut identities = Identities::default();
    identities.add(&place.temp.path().join("new.key"), &nobody()).unwrap();
    let new = Access { identities, memory: place.temp.path().join("new"), ..place.owner.clone() };
    let opened = place.open(&new).unwrap();
    assert!(opened.verify(None).unwrap().is_sound());
    assert_eq!(opened.snapshots().unwrap().all().count(), 2);
    // Who kept the old file of secrets reads what he could read before, and the log and archives of today stay closed.
    fs::write(place.kept().join("key.age"), old_secret).unwrap();
    let kept = Access { memory: place.temp.path().join("kept-old"), ..place.owner.clone() };
    assert!(place.open(&kept).is_err());
}

/// A passphrase, a key of SSH, and a file of keys: each of them opens the same store.
#[test]
fn each_recipient_opens_the_store() {
    if !testing::needs::program("ssh-keygen") {
        return;
    }
    let place = Place::new();
    let words: Ask = Arc::new(|_| Some("four words in a row".to_owned()));
    let mut recipients = Recipients::default();
    recipients.add("passphrase", &words).unwrap();
    let keys = place.temp.path().join("recipients");
    let second =
        encryption::new_identity(&place.temp.path().join("second.key"), Some("pass")).unwrap();
    let ssh = place.temp.path().join("ssh");
    let options = ["-q", "-t", "ed25519", "-N", "", "-f"];
    let made = Command::new("ssh-keygen").args(options).arg(&ssh).status().unwrap();
    assert!(made.success());
    let public = fs::read_to_string(ssh.with_extension("pub")).unwrap();
    fs::write(&keys, format!("# two\n{second}\n{public}")).unwrap();
    recipients.add(keys.to_str().unwrap(), &nobody()).unwrap();
    fs::remove_dir_all(place.kept()).unwrap();
    place.client.forget().unwrap();
    Repository::create_as(place.kept(), |store| {
        EncryptedStore::fresh(store, &place.client, recipients)
    })
    .unwrap();
    place.write("old", b"old content");
    place.backup(1);
    let pass: Ask = Arc::new(|_| Some("pass".to_owned()));
    for (file, ask) in [("passphrase", &words), ("second.key", &pass), ("ssh", &nobody())] {
        let path = if file == "passphrase" { file.into() } else { place.temp.path().join(file) };
        let mut identities = Identities::default();
        identities.add(&path, ask).unwrap();
        let memory = place.temp.path().join(format!("memory of {file}"));
        let opened = place.open(&Access { identities, memory, ..place.owner.clone() }).unwrap();
        assert!(opened.verify(None).unwrap().is_sound(), "{file}");
    }
    // A wrong passphrase is that, and no damage.
    let mut identities = Identities::default();
    identities.add("passphrase".as_ref(), &pass).unwrap();
    let wrong = place.open(&Access { identities, ..place.owner.clone() }).unwrap_err();
    assert!(wrong.to_string().contains("cannot be opened"), "{wrong}");
}

/// Parity is of the encrypted bytes: who cannot read them makes it, and it mends them.
#[test]
fn parity_is_of_encrypted_bytes() {
    let place = Place::new();
    place.write("old", &vec![7; 100_000]);
    let mut noise = vec![0; 400_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    place.write("noise", &noise);
    place.backup(1);
    place.open(&place.client).unwrap().protect(Some(20), None).unwrap();
    place.write("old", b"other");
    let report = place.backup(2);
    assert!(report.unprotected.is_none() && report.made.unwrap().parity_bytes > 0);
    let archive = &place.files("full.tgz.age")[0];
    let whole = fs::read(archive).unwrap();
    for at in [0, 100, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        fs::write(archive, &damaged).unwrap();
        assert_eq!(place.restored(1, "noise").unwrap(), noise, "mended in memory, at {at}");
        assert!(!place.open(&place.client).unwrap().verify(None).unwrap().is_sound());
        place.open(&place.client).unwrap().heal(None).unwrap();
        assert!(fs::read(archive).unwrap() == whole);
    }
    fs::write(archive, &whole[..whole.len() - 30_000]).unwrap();
    place.open(&place.client).unwrap().heal(None).unwrap();
    assert!(fs::read(archive).unwrap() == whole, "a cut end too");
}

/// A file that changes while it is stored is stored as it is then, though the client cannot read what it wrote.
#[test]
fn what_is_written_can_be_read_again_until_it_is_committed() {
    let place = Place::new();
    let store = EncryptedStore::open(place.dir(), &place.client).unwrap();
    let mut out = store.put("20261101T120000Z-full.tgz").unwrap();
    assert_eq!(out.written().unwrap().unwrap().size().unwrap(), 0);
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i >> 3) as u8).collect();
    out.write_all(&bytes).unwrap();
    let written = out.written().unwrap().unwrap();
    let mut found = vec![0; 70_000];
    written.fill_at(&mut found, 100_000).unwrap();
    assert!(found == bytes[100_000..170_000]);
    assert!(out.write_all(b"more").is_err(), "it has its end");
}

/// Promise: a client that cannot read goes on where its first backup was interrupted, and stores nothing twice.
#[test]
fn an_interrupted_first_backup_goes_on_from_its_checkpoint() {
    let place = Place::new();
    let noise = |seed: u64| testing::noise(seed, 1 << 20);
    (0..24).for_each(|n| place.write(&format!("{n:02}"), &noise(n)));
    let dir = Dir::new(place.temp.path().join("tree")).unwrap();
    let progress = Arc::new(Progress::new());
    let options = |day, progress: Option<&Arc<Progress>>| BackupOptions {
        time: Some(day_of(day)),
        checkpoint: Some(3 << 20),
        archive: ArchiveOptions { progress: progress.cloned(), ..ArchiveOptions::default() },
        ..BackupOptions::default()
    };
    let checkpoints = || place.files("-checkpoint.tgz.age").len();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while checkpoints() < 2 {
                std::thread::yield_now();
            }
            progress.cancel();
        });
        let done = place.open(&place.client).unwrap().backup(&dir, &options(1, Some(&progress)));
        assert!(done.is_err(), "24 MiB were packed before it was cancelled");
    });
    let put = checkpoints();
    assert!(put < 6, "{put}");
    assert!(place.open(&place.client).unwrap().verify(None).unwrap().is_sound());
    let report = place.open(&place.client).unwrap().backup(&dir, &options(2, None)).unwrap();
    assert!(report.resumed.is_some() && report.unusable.is_empty(), "{:?}", report.unusable);
    let stored: u64 =
        place.files(".tgz.age").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(stored < 25 << 20, "{stored}");
    assert!(place.backup(3).made.is_none(), "nothing has changed");
    let owner = place.open(&place.owner).unwrap();
    assert!(owner.verify(None).unwrap().is_sound());
    let back = place.temp.path().join("all");
    fs::create_dir(&back).unwrap();
    owner.restore(report.snapshot, &back, &RestoreOptions::default()).unwrap();
    (0..24).for_each(|n| assert!(fs::read(back.join(format!("{n:02}"))).unwrap() == noise(n)));
    assert_eq!(place.told(), "");
}

/// An interrupted backup leaves files that no log has. They are no harm, the next backup may have their names, and it clears them
/// away.
#[test]
fn an_interrupted_backup_is_begun_again() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let before = place.copy("before");
    place.write("old", b"other content");
    place.backup(2);
    // All was put, and the last file of the log was not; so the index before was not deleted.
    let kept: Vec<_> = place.files(".log.age");
    fs::remove_file(kept.last().unwrap()).unwrap();
    let index = "20261101T120000Z.index.age";
    fs::copy(before.join(index), place.kept().join(index)).unwrap();
    for access in [&place.client, &place.owner] {
        access.forget().unwrap();
    }
    EncryptedStore::trust(place.dir(), &place.client, &place.id()).unwrap();
    let of_day_2 = || place.files(".tgz.age").iter().filter(|path| is_of(path, 2)).count();
    let interrupted = place.copy("interrupted");
    assert_eq!(of_day_2(), 1);
    let report = place.backup(3);
    assert_eq!(report.made.unwrap().archive.since, Some(day_of(1)));
    assert_eq!(place.restored(3, "old").unwrap(), b"other content");
    assert!(place.restored(2, "old").is_err());
    assert!(place.open(&place.owner).unwrap().verify(None).unwrap().is_sound());
    assert_eq!(of_day_2(), 0);

    // The same without the entry of the index, which is the one before.
    place.bring_back(&interrupted);
    fs::remove_file(place.files(".log.age").last().unwrap()).unwrap();
    place.client.forget().unwrap();
    place.owner.forget().unwrap();
    EncryptedStore::trust(place.dir(), &place.client, &place.id()).unwrap();
    let again = place.backup(2).made.unwrap().archive;
    assert_eq!(again.to, day_of(2), "in the same second as the one before");
    assert_eq!(place.restored(2, "old").unwrap(), b"other content");
}

fn is_of(path: &std::path::Path, day: u32) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with(&day_of(day).to_string())
}

/// A listing that is older than the store has files in it that only the log of today knows. They are not cleared away.
#[test]
fn an_old_listing_clears_nothing_away() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let other = access(&place.temp.path().join("other"), Some(Secret::generate()), &place.told);
    let owner = EncryptedStore::open(place.dir(), &place.owner).unwrap();
    owner.allow(&other.client.as_ref().unwrap().public()).unwrap();
    EncryptedStore::trust(place.dir(), &other, &owner.id()).unwrap();
    place.write("old", b"other content");
    place.backup(2);
    let newest = place.files(".log.age").pop().unwrap();
    let hidden = newest.file_name().unwrap().to_string_lossy().into_owned();
    let put = place.files(".age");
    let (entries, bytes) = (put.len(), place.restored(2, "old").unwrap());
    let store = EncryptedStore::open(Hiding(place.dir(), hidden), &other).unwrap();
    let dir = dirindex::Dir::new(place.temp.path().join("tree")).unwrap();
    let options = BackupOptions { time: Some(day_of(3)), ..BackupOptions::default() };
    place.write("old", b"a third content");
    let refused = Repository::open_in(store).unwrap().backup(&dir, &options).unwrap_err();
    let refused = format!("{refused:?}");
    assert!(refused.contains("another client wrote"), "{refused}");
    assert!(place.files(".age").len() >= entries && put.iter().all(|path| path.exists()));
    assert_eq!(place.restored(2, "old").unwrap(), bytes);
}

/// A store whose listing leaves out one file.
struct Hiding(DirStore, String);

impl Store for Hiding {
    fn list(&self) -> io::Result<Vec<Stored>> {
        Ok(self.0.list()?.into_iter().filter(|file| file.name != self.1).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        self.0.open(name)
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.0.put(name)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.0.delete(name)
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        self.0.lock()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any part of any file is read as it was written, whatever its length.
    #[test]
    fn any_part_is_read_as_it_was_written(
        len in prop::sample::select(vec![0usize, 1, 65_535, 65_536, 65_537, 131_072, 200_000]),
        parts in prop::collection::vec((0usize..200_001, 0usize..150_000), 8),
    ) {
        let place = Place::new();
        let store = EncryptedStore::open(place.dir(), &place.owner).unwrap();
        let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        let name = "20261101T120000Z-full.tgz";
        let mut out = store.put(name).unwrap();
        out.write_all(&bytes).unwrap();
        out.commit().unwrap();
        let source = store.open(name).unwrap();
        prop_assert_eq!(source.size().unwrap(), len as u64);
        for (offset, count) in parts {
            let mut found = vec![0; count];
            let read = source.fill_at(&mut found, offset as u64);
            match bytes.get(offset..offset + count) {
                Some(expected) => prop_assert!(read.is_ok() && found == expected),
                None => prop_assert!(read.is_err()),
            }
        }
    }
}
