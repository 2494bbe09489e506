//! A store that keeps everything encrypted: the crate `age` goes in between, as a `StoreWriter` where something is
//! written and as a `ReadAt` where it is read, at any place. What that does and does not give is in
//! `docs/security.md`, and tested below.
//!
//!     cargo run --bin encrypted

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use age::stream::{StreamReader, StreamWriter};
use age::x25519::Identity;
use anyhow::{Context, Result, ensure};
use incremental_backups_tools::archive::ReadAt;
use incremental_backups_tools::store::{DirStore, Store, StoreWriter, Stored};
use incremental_backups_tools::{BackupOptions, Dir, RelPath, Repository, RestoreOptions};

/// Each file of the store inside, encrypted for `identity`, under its name and `.age`.
struct Encrypted<S> {
    inner: S,
    identity: Identity,
}

const ENDING: &str = ".age";

impl<S: Store> Store for Encrypted<S> {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let ours = |file: Stored| {
            let name = file.name.strip_suffix(ENDING)?.to_owned();
            Some(Stored { name, ..file })
        };
        Ok(self.inner.list()?.into_iter().filter_map(ours).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let source = self.inner.open(&format!("{name}{ENDING}"))?;
        Ok(Box::new(Decrypted::open(source, &self.identity)?))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        let out = self.inner.put(&format!("{name}{ENDING}"))?;
        let recipient = self.identity.to_public();
        let encryptor = age::Encryptor::with_recipients([&recipient as _].into_iter());
        let out = encryptor.map_err(io::Error::other)?.wrap_output(out)?;
        Ok(Box::new(Encrypting(out)))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.inner.delete(&format!("{name}{ENDING}"))
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        self.inner.lock()
    }
}

/// What is encrypted while it is written.
struct Encrypting<'a>(StreamWriter<Box<dyn StoreWriter + 'a>>);

impl Write for Encrypting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl StoreWriter for Encrypting<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        self.0.finish()?.commit()
    }
}

/// What age has encrypted, readable at any place: it does so in pieces of 64 KiB, each of which vouches
/// for itself and its place, and the last one for being the last.
struct Decrypted {
    len: u64,
    stream: Mutex<StreamReader<Cursor>>,
}

impl Decrypted {
    fn open(source: Box<dyn ReadAt>, identity: &Identity) -> io::Result<Decrypted> {
        let decryptor = age::Decryptor::new(Cursor { source, at: 0 }).map_err(refused)?;
        let mut stream = decryptor.decrypt([identity as _].into_iter()).map_err(refused)?;
        let len = stream.seek(SeekFrom::End(0))?;
        Ok(Decrypted { len, stream: Mutex::new(stream) })
    }
}

fn refused(error: age::DecryptError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl ReadAt for Decrypted {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.seek(SeekFrom::Start(offset))?;
        stream.read_exact(buffer)
    }
}

/// A `ReadAt` with a place in it.
struct Cursor {
    source: Box<dyn ReadAt>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.source.size()?.saturating_sub(self.at);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.source.fill_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.source.size()?.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The tree's first state, and the second.
fn tree(at: &Path) -> Result<Dir> {
    fs::create_dir_all(at.join("letters"))?;
    fs::write(at.join("letters/one"), "Dear reader")?;
    fs::write(at.join("large"), vec![7; 3 << 20])?;
    Ok(Dir::new(at)?)
}

fn change(tree: &Path) -> Result<()> {
    fs::write(tree.join("letters/two"), "Dear writer")?;
    Ok(())
}

/// Brings the newest state of `store` into `to`, or of it only `paths`.
fn bring_back(store: &dyn Store, to: &Path, paths: &[RelPath]) -> Result<()> {
    let repository = Repository::new(store);
    let newest = repository.snapshots()?.restorable().next_back().context("an empty store")?;
    fs::create_dir(to)?;
    let options = RestoreOptions { paths: paths.to_vec(), ..RestoreOptions::default() };
    let report = repository.restore(newest, to, &options)?;
    // A store that only grows has one chain to each snapshot.
    ensure!(report.skipped.is_empty(), "there are damaged archives: {:?}", report.skipped);
    Ok(())
}

fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (at, kept) = (place.path().join("tree"), place.path().join("kept"));
    let dir = tree(&at)?;
    let store = Encrypted { inner: DirStore::create(&kept)?, identity: Identity::generate() };
    let repository = Repository::new(&store);
    repository.backup(&dir, &BackupOptions::default())?;
    change(&at)?;
    repository.backup(&dir, &BackupOptions::default())?;

    let back = place.path().join("back");
    bring_back(&store, &back, &[])?;
    assert_eq!(fs::read_to_string(back.join("letters/two"))?, "Dear writer");
    let some = place.path().join("some");
    bring_back(&store, &some, &[RelPath::new("letters")?])?;
    assert!(some.join("letters/one").exists() && !some.join("large").exists());
    assert!(repository.verify(None)?.is_sound());
    for file in store.inner.list()? {
        println!("{:>8} {}", file.size, file.name);
    }
    println!("encrypted, and brought back");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A store with two snapshots, in which nothing else ever happened.
    struct Place {
        temp: tempfile::TempDir,
        store: Encrypted<DirStore>,
    }

    impl Place {
        fn new() -> Place {
            let temp = tempfile::tempdir().unwrap();
            let dir = tree(&temp.path().join("tree")).unwrap();
            let inner = DirStore::create(temp.path().join("kept")).unwrap();
            let store = Encrypted { inner, identity: Identity::generate() };
            Repository::new(&store).backup(&dir, &BackupOptions::default()).unwrap();
            change(&temp.path().join("tree")).unwrap();
            Repository::new(&store).backup(&dir, &BackupOptions::default()).unwrap();
            Place { temp, store }
        }

        fn restore(&self) -> Result<()> {
            let to = self.temp.path().join("back");
            drop(fs::remove_dir_all(&to));
            bring_back(&self.store, &to, &[])
        }

        /// The archives, the full one first.
        fn archives(&self) -> Vec<std::path::PathBuf> {
            let files = fs::read_dir(self.temp.path().join("kept")).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            files.retain(|path| path.to_str().unwrap().ends_with(".tgz.age"));
            files.sort();
            files
        }
    }

    #[test]
    fn what_went_in_comes_back() {
        main().unwrap();
        Place::new().restore().unwrap();
    }

    #[test]
    fn any_part_is_read_as_it_was_written() {
        let place = Place::new();
        let piece: usize = 64 << 10;
        for len in [0, 1, piece - 1, piece, piece + 1, 3 * piece, 200_000] {
            let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
            let name = format!("file of {len}");
            let mut out = place.store.put(&name).unwrap();
            out.write_all(&bytes).unwrap();
            out.commit().unwrap();
            let source = place.store.open(&name).unwrap();
            assert_eq!(source.size().unwrap(), len as u64);
            for offset in [len, len.saturating_sub(1), len / 2, piece.min(len), 0, len / 3] {
                for count in [0, 1, 1000, len - offset] {
                    let count = count.min(len - offset);
                    let mut found = vec![0; count];
                    source.fill_at(&mut found, offset as u64).unwrap();
                    assert!(found == bytes[offset..offset + count], "{len}: {count} at {offset}");
                }
            }
            assert!(source.fill_at(&mut [0], len as u64).is_err());
        }
    }

    #[test]
    fn nobody_else_can_read_it() {
        let kept = fs::read(&Place::new().archives()[0]).unwrap();
        assert!(!kept.windows(8).any(|part| part == b"letters/" || part == b"Dear rea"));
    }

    #[test]
    fn another_identity_opens_nothing() {
        let mut place = Place::new();
        place.store.identity = Identity::generate();
        assert!(place.restore().is_err());
    }

    #[test]
    fn damage_is_noticed() {
        let place = Place::new();
        let path = &place.archives()[1];
        let whole = fs::read(path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 15) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(path, damaged).unwrap();
            assert!(place.restore().is_err(), "byte {at} of {}", whole.len());
            fs::write(path, &whole[..at]).unwrap();
            assert!(place.restore().is_err(), "cut at {at} of {}", whole.len());
        }
        fs::write(path, whole).unwrap();
        place.restore().unwrap();
    }

    /// Age says nothing of names; that archives do not fit together does.
    #[test]
    fn archives_that_change_places_are_noticed() {
        let place = Place::new();
        let archives = place.archives();
        let spare = archives[0].with_extension("spare");
        fs::rename(&archives[0], &spare).unwrap();
        fs::rename(&archives[1], &archives[0]).unwrap();
        fs::rename(&spare, &archives[1]).unwrap();
        assert!(place.restore().is_err());
        assert!(!Repository::new(&place.store).verify(None).unwrap().is_sound());
    }

    /// What is not noticed, unless somebody remembers which snapshot was the newest, and its root.
    #[test]
    fn a_store_set_back_and_a_store_of_another_are_taken() {
        let place = Place::new();
        fs::remove_file(&place.archives()[1]).unwrap();
        place.restore().unwrap();
        assert!(!place.temp.path().join("back/letters/two").exists());

        // Whoever knows the recipient, which is public, can write what its owner takes for theirs.
        let forged = place.temp.path().join("forged");
        fs::create_dir(&forged).unwrap();
        fs::write(forged.join("letters"), "from somebody else").unwrap();
        for archive in place.archives() {
            fs::remove_file(archive).unwrap();
        }
        Repository::new(&place.store)
            .backup(&Dir::new(&forged).unwrap(), &BackupOptions::default())
            .unwrap();
        place.restore().unwrap();
        let back = fs::read_to_string(place.temp.path().join("back/letters")).unwrap();
        assert_eq!(back, "from somebody else");
    }
}
