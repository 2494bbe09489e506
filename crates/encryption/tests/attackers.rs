//! What who keeps a store, or steals a client, does to it: each is noticed, or shown to do no harm. `docs/security.md` has them all.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use encryption::{Access, EncryptedStore, Error, Secret};
use repository::{Repository, Store};

use crate::common::{Place, access, day_of};

/// Three days, in the last of which nothing but `new` came.
fn three_days() -> Place {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    place.write("old", b"other content");
    place.backup(2);
    place.write("new", b"new content");
    place.backup(3);
    place
}

/// The keeper reads: he finds neither names nor contents, nor which tree it is.
#[test]
fn who_reads_the_store_reads_nothing() {
    let place = three_days();
    let report = place.backup(4);
    let tree = report.index.tree_id().to_string();
    for file in place.files("") {
        let bytes = fs::read(&file).unwrap();
        for word in [&b"content"[..], b"old", b"tree", tree.as_bytes()] {
            // What a marker and a head say is known to everybody.
            let found = bytes.windows(word.len()).any(|part| part == word);
            assert!(!found, "{} has {:?}", file.display(), String::from_utf8_lossy(word));
        }
    }
}

/// The client reads: not even it can, what it wrote itself.
#[test]
fn a_stolen_client_reads_no_archive() {
    let place = three_days();
    let opened = place.open(&place.client).unwrap();
    for archive in opened.snapshots().unwrap().archives() {
        let refused = opened.archive(&archive.name).unwrap_err();
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains("this machine cannot read it"), "{source}");
    }
    let to = place.temp.path().join("stolen");
    fs::create_dir(&to).unwrap();
    assert!(opened.restore(day_of(2), &to, &Default::default()).is_err());
    assert!(fs::read_dir(&to).unwrap().next().is_none());
}

/// The keeper changes bytes, or cuts a file. Within an archive that is an error where it is read; nothing wrong comes back.
#[test]
fn changed_bytes_are_noticed() {
    let place = three_days();
    for file in place.files(".tgz.age") {
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 12) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            for bytes in [&damaged[..], &whole[..at]] {
                fs::write(&file, bytes).unwrap();
                assert!(place.restored(3, "old").is_err(), "{} at {at}", file.display());
                assert!(!place.open(&place.owner).unwrap().verify(None).unwrap().is_sound());
                // Who cannot read it sees it too.
                assert!(!place.open(&place.client).unwrap().verify(None).unwrap().is_sound());
            }
        }
        fs::write(&file, whole).unwrap();
    }
    assert_eq!(place.restored(3, "new").unwrap(), b"new content");
    assert!(place.open(&place.owner).unwrap().verify(None).unwrap().is_sound());
    assert!(place.open(&place.client).unwrap().verify(None).unwrap().is_sound());
}

/// The keeper exchanges two archives, or puts one in another's place.
#[test]
fn exchanged_archives_are_noticed() {
    let place = three_days();
    let archives = place.files(".tgz.age");
    let contents: Vec<Vec<u8>> = archives.iter().map(|path| fs::read(path).unwrap()).collect();
    for (one, other) in [(0, 1), (1, 2), (0, 2)] {
        fs::write(&archives[one], &contents[other]).unwrap();
        assert!(place.restored(3, "old").is_err(), "a copy");
        fs::write(&archives[other], &contents[one]).unwrap();
        assert!(place.restored(3, "old").is_err(), "an exchange");
        for number in [one, other] {
            fs::write(&archives[number], &contents[number]).unwrap();
        }
    }
    place.restored(3, "old").unwrap();
}

/// The keeper takes an archive away: it is said at each use, and verify answers no, for the newest as well.
#[test]
fn a_dropped_archive_is_said() {
    for number in 0..3 {
        let place = three_days();
        fs::remove_file(&place.files(".tgz.age")[number]).unwrap();
        for access in [&place.owner, &place.client] {
            let found = place.open(access).unwrap().verify(None).unwrap();
            assert!(!found.is_sound());
            assert!(found.faults.iter().any(|fault| fault.contains("it was removed")));
        }
        assert!(place.told().contains("is in the log of the store, and not in the store"));
    }
}

/// The keeper makes an archive of his own, for the public key that everybody may know, under a new name or in another's place.
#[test]
fn a_forged_archive_is_not_there() {
    let place = three_days();
    // A thief of the recipient's key makes a whole store of his own for it, and takes an archive out of that.
    let thief = Place::new();
    thief.write("old", b"forged content");
    thief.backup(1);
    let forged = fs::read(&thief.files(".tgz.age")[0]).unwrap();
    fs::write(place.kept().join("20261105T120000Z-full.tgz.age"), &forged).unwrap();
    let opened = place.open(&place.owner).unwrap();
    assert_eq!(opened.snapshots().unwrap().latest(), Some(day_of(3)), "it is in no log");
    fs::write(&place.files("01T120000Z-full.tgz.age")[0], &forged).unwrap();
    assert!(place.restored(1, "old").is_err());
}

/// The keeper sets the store back: removes the newest files, all of them, or brings back an older copy.
#[test]
fn a_store_set_back_is_refused() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let older = place.copy("older");
    place.write("old", b"other content");
    place.backup(2);
    place.restored(2, "old").unwrap();
    place.bring_back(&older);
    for access in [&place.client, &place.owner] {
        let refused = place.open(access).unwrap_err();
        assert!(matches!(refused, Error::SetBack { .. }), "{refused}");
    }
    // Who never saw it cannot know: he is shown an older store, whole in itself.
    let other = Access { memory: place.temp.path().join("other"), ..place.owner.clone() };
    assert!(place.open(&other).is_ok());
    // On purpose, it is taken.
    place.owner.forget().unwrap();
    assert_eq!(place.restored(1, "old").unwrap(), b"old content");
}

/// The keeper sets the store back and lets a client that did not see the newer state write to it: two histories.
#[test]
fn a_forked_store_is_refused() {
    let place = Place::new();
    place.write("old", b"old content");
    place.backup(1);
    let older = place.copy("older");
    let blind = place.temp.path().join("blind");
    let other = Access { memory: blind, ..place.client.clone() };
    let id = place.id();
    EncryptedStore::trust(place.dir(), &other, &id).unwrap();
    place.write("old", b"other content");
    place.backup(2);
    place.restored(2, "old").unwrap();
    place.bring_back(&older);
    place.write("old", b"a third content");
    place.try_backup(&other, 3).unwrap();
    place.try_backup(&other, 4).unwrap();
    for access in [&place.client, &place.owner] {
        let refused = place.open(access).unwrap_err();
        assert!(matches!(refused, Error::Forked { .. }), "{refused}");
    }
}

/// The keeper takes files of the log away, damages one, or puts one back under another number.
#[test]
fn the_log_cannot_be_patched() {
    let place = three_days();
    let log = place.files(".log.age");
    let contents: Vec<Vec<u8>> = log.iter().map(|path| fs::read(path).unwrap()).collect();
    let (last, number) = (log.last().unwrap(), log.len() - 1);
    let mut damaged = contents[number].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for bytes in [&damaged, &contents[number - 1], &contents[0]] {
        fs::write(last, bytes).unwrap();
        assert!(place.open(&place.owner).is_err() && place.open(&place.client).is_err());
    }
    fs::write(last, &contents[number]).unwrap();
    place.open(&place.owner).unwrap();
    // A higher number for an old file.
    let more = place.kept().join(format!("{:08}.log.age", log.len() + 1));
    fs::write(&more, &contents[number]).unwrap();
    assert!(place.open(&place.owner).is_err());
    fs::remove_file(more).unwrap();
    for path in &log {
        fs::remove_file(path).unwrap();
    }
    assert!(matches!(place.open(&place.client), Err(Error::SetBack { .. })));
    let fresh = Access { memory: place.temp.path().join("fresh"), ..place.owner.clone() };
    assert!(matches!(place.open(&fresh), Err(Error::SetBack { found: 0, .. })));
}

/// The keeper puts a store of his own in the place of this one, encrypted for himself, or not at all: a client writes nothing to it.
#[test]
fn another_store_in_its_place_is_refused() {
    let place = three_days();
    let thief = Place::new();
    place.bring_back(&thief.kept());
    assert!(matches!(place.open(&place.client), Err(Error::Exchanged { .. })));
    assert!(matches!(
        place.open(&place.owner),
        Err(Error::WrongIdentity | Error::Exchanged { .. })
    ));
    // A machine that never saw it does not write to it either, until its user gives the id.
    let stranger =
        access(&place.temp.path().join("stranger"), Some(Secret::generate()), &place.told);
    assert!(matches!(place.open(&stranger), Err(Error::Unknown { .. })));
    // One that is not encrypted.
    fs::remove_dir_all(place.kept()).unwrap();
    Repository::create(place.kept()).unwrap();
    assert!(matches!(place.client.check_plain(), Err(Error::Downgraded { .. })));
    assert!(stranger.check_plain().is_ok());
}

/// The keeper changes what the marker says: its id, or that the store is encrypted.
#[test]
fn the_marker_cannot_lie() {
    let place = three_days();
    let path = place.kept().join("store.toml");
    let text = fs::read_to_string(&path).unwrap();
    let id = place.id();
    fs::write(&path, text.replace(&id, &"0".repeat(64))).unwrap();
    for access in [&place.client, &place.owner] {
        assert!(matches!(place.open(access), Err(Error::Exchanged { .. })));
    }
    // To a program that knows of no encryption it is no store that it could write to.
    fs::write(&path, &text).unwrap();
    assert!(Repository::open(place.kept()).is_err());
}

/// A stolen client adds, and signs that. It takes nothing away unnoticed, and once it is revoked, its word is worth nothing.
#[test]
fn a_stolen_client_can_add_and_no_more() {
    let place = three_days();
    let thief = Access { memory: place.temp.path().join("thief"), ..place.client.clone() };
    let owner = EncryptedStore::open(place.dir(), &place.owner).unwrap();
    EncryptedStore::trust(place.dir(), &thief, &owner.id()).unwrap();
    let other = Secret::generate();
    assert!(EncryptedStore::open(place.dir(), &thief).unwrap().allow(&other.public()).is_err());
    place.write("old", b"from the thief");
    place.try_backup(&thief, 5).unwrap();
    // It has no archive deleted, and puts none in the place of one.
    let stolen = EncryptedStore::open(place.dir(), &thief).unwrap();
    let archive = "20261101T120000Z-full.tgz";
    let refused = stolen.delete(archive).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    fs::rename(place.kept().join(format!("{archive}.age")), place.kept().join("aside")).unwrap();
    let mut out = stolen.put(archive).unwrap();
    out.write_all(b"forged").unwrap();
    assert!(out.commit().is_err());
    fs::rename(place.kept().join("aside"), place.kept().join(format!("{archive}.age"))).unwrap();
    for day in 1..=3 {
        place.restored(day, "old").unwrap();
    }
    owner.revoke(&place.client.client.as_ref().unwrap().public()).unwrap();
    let refused = place.open(&thief).unwrap_err();
    assert!(refused.to_string().contains("is not any more"), "{refused}");
    assert_eq!(place.restored(3, "new").unwrap(), b"new content");
}
