//! [`DirStore`]: a directory as a store. Knows nothing of what the names mean.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use archive::ReadAt;
use dirindex::place::{parent, rename_new, sync_dir};
use dirindex::{FileId, PooledFile, Streamed};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::lock::Lock;
use super::{Opener, Store, StoreWriter, Stored, StoredName, failed};
use crate::error::{Result, shown};

/// What a file is called while it is written, with six letters after it.
const UNFINISHED: &str = ".ibtools-put-";
/// What others than the owner may do with what is made: nothing. It has contents of private files.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
const BUFFER_LEN: usize = 256 << 10;

/// A store in a directory.
///
/// A file is written beside its place, synced, and given its name in one step, never in the place of
/// another; then the directory is synced. The lock is a lock on the file `lock`: it ends with
/// the process, however that ends. What is made is for its owner alone.
///
/// A file is open while it is read, not longer than others are wanted more ([`PooledFile`]). A link with an archive's name is
/// followed, to a regular file and to nothing else: an archive may have been moved to another disk.
#[derive(Debug, Clone)]
pub struct DirStore {
    path: PathBuf,
}

impl DirStore {
    /// The store in the directory at `path`.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when that is no directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<DirStore> {
        let path = path.into();
        let problem = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Ok(DirStore { path }),
            Ok(_) => Errno::NOTDIR.into(),
            Err(error) => error,
        };
        Err(failed("open", &shown(&path), problem))
    }

    /// The store in the directory at `path`, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be made, or is no directory.
    pub fn create(path: impl Into<PathBuf>) -> Result<DirStore> {
        let path = path.into();
        let made = match DirBuilder::new().mode(DIR_MODE).create(&path) {
            Ok(()) => sync_dir(parent(&path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        made.map_err(|error| failed("make the store", &shown(&path), error))?;
        DirStore::open(path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file `name` is, which has to be a single name.
    fn place(&self, name: &str) -> io::Result<PathBuf> {
        match name.contains('/') || ["", ".", ".."].contains(&name) {
            true => Err(ErrorKind::InvalidInput.into()),
            false => Ok(self.path.join(name)),
        }
    }

    /// The names of all that is in the directory, be it a file or not.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let name =
            |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.path)?.map(name).collect()
    }

    /// Begins a file that gets the name `name`, in the place of another if it `replaces` one.
    fn begin(&self, name: &str, replaces: bool) -> io::Result<Box<dyn StoreWriter + '_>> {
        let place = self.place(name)?;
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .rand_bytes(6)
            .permissions(Permissions::from_mode(FILE_MODE))
            .tempfile_in(&self.path)?;
        let out = BufWriter::with_capacity(BUFFER_LEN, Streamed::new(file));
        Ok(Box::new(NewFile { out, place, replaces, dir: &self.path }))
    }

    /// Removes what interrupted puts left. Only under the lock: nobody else is putting.
    fn clear_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(is_unfinished);
            if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                // What cannot be removed is in nobody's way.
                drop(fs::remove_file(entry.path()));
            }
        }
        Ok(())
    }
}

impl Store for DirStore {
    fn list(&self) -> io::Result<Vec<Stored>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with(UNFINISHED) {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => {
                    files.push(Stored { name, size: metadata.len() });
                }
                Ok(_) => {}
                Err(error) if leads_nowhere(&error) || StoredName::parse(&name).is_none() => {}
                // A file that is ours and cannot be looked at must not be taken for one that is not there.
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(PooledFile::open(self.place(name)?)?))
    }

    fn opener(&self, name: &str) -> Opener {
        let (store, name) = (self.clone(), name.to_owned());
        Box::new(move || store.open(&name))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        if fs::symlink_metadata(self.place(name)?).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.begin(name, false)
    }

    fn replace(&self, name: &str) -> io::Result<Box<dyn StoreWriter + '_>> {
        self.begin(name, true)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.place(name)?) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_dir(&self.path),
        }
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        let lock = Lock::take(&self.path)?;
        self.clear_unfinished()?;
        Ok(Box::new(lock))
    }

    fn directory(&self) -> Option<FileId> {
        FileId::at(&self.path)
    }
}

/// Whether a file is called as one is while it is written.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(UNFINISHED).is_some_and(|letters| letters.len() == 6)
}

/// A file that has no name yet.
struct NewFile<'a> {
    out: BufWriter<Streamed<NamedTempFile>>,
    place: PathBuf,
    replaces: bool,
    dir: &'a Path,
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl StoreWriter for NewFile<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        let (dir, place, replaces) = (self.dir, self.place.clone(), self.replaces);
        self.commit_soon()?;
        sync_dir(dir).inspect_err(|_| {
            // A name that is not known to last must not be taken for a file.
            if !replaces {
                drop(fs::remove_file(&place));
            }
        })
    }

    fn commit_soon(self: Box<Self>) -> io::Result<()> {
        let NewFile { out, place, replaces, .. } = *self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?.into_inner();
        file.as_file().sync_all()?;
        if replaces {
            file.persist(&place).map_err(|error| error.error)?;
            return Ok(());
        }
        // Whoever puts holds the lock, which is what keeps others out where a rename cannot.
        rename_new(file.path(), &place)?;
        // The name that it had is nobody's any more.
        drop(file.into_temp_path().keep());
        Ok(())
    }

    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        self.out.flush()?;
        Ok(Some(Box::new(self.out.get_ref().as_file().as_file().try_clone()?)))
    }
}

/// Whether `error` says of a link that there is nothing at its end that one could read: no file, a circle, a closed
/// directory.
fn leads_nowhere(error: &io::Error) -> bool {
    let codes = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::ACCESS, Errno::NAMETOOLONG];
    error.raw_os_error().is_some_and(|code| codes.map(Errno::raw_os_error).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, DirStore) {
        let tmp = tempfile::tempdir().unwrap();
        let store = DirStore::create(tmp.path().join("store")).unwrap();
        (tmp, store)
    }

    fn names(store: &DirStore) -> Vec<String> {
        let mut names: Vec<String> = store.list().unwrap().into_iter().map(|f| f.name).collect();
        names.sort();
        names
    }

    fn put(store: &DirStore, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = store.put(name)?;
        file.write_all(bytes)?;
        file.commit()
    }

    fn kind<T>(result: std::result::Result<T, impl Into<io::Error>>) -> ErrorKind {
        result.err().expect("an error").into().kind()
    }

    #[test]
    fn what_is_put_is_there_whole_and_stays() {
        let (_tmp, store) = store();
        let bytes = vec![7; 3 * BUFFER_LEN + 1];
        put(&store, "a", &bytes).unwrap();
        assert_eq!(store.list().unwrap(), [Stored { name: "a".into(), size: bytes.len() as u64 }]);
        let file = store.open("a").unwrap();
        let mut part = [0; 5];
        file.fill_at(&mut part, bytes.len() as u64 - 5).unwrap();
        assert_eq!((file.size().unwrap(), part), (bytes.len() as u64, [7; 5]));
        assert_eq!(kind(put(&store, "a", b"other")), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(store.path().join("a")).unwrap(), bytes);
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert_eq!(kind(store.open("a")), ErrorKind::NotFound);
    }

    #[test]
    fn of_two_who_put_the_same_name_one_succeeds() {
        let (_tmp, store) = store();
        let (mut one, mut two) = (store.put("a").unwrap(), store.put("a").unwrap());
        one.write_all(b"one").unwrap();
        two.write_all(b"two").unwrap();
        two.commit().unwrap();
        assert_eq!(kind(one.commit()), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(store.path().join("a")).unwrap(), b"two");
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_committed_leaves_nothing() {
        let (_tmp, store) = store();
        let mut file = store.put("a").unwrap();
        file.write_all(&vec![1; 2 * BUFFER_LEN]).unwrap();
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1, "it is being written");
        assert!(names(&store).is_empty(), "but not there");
        drop(file);
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_changes_it_at_a_time() {
        let (_tmp, store) = store();
        let lock = store.lock().unwrap();
        let other = DirStore::open(store.path()).unwrap();
        assert_eq!(kind(other.lock()), ErrorKind::WouldBlock);
        drop(lock);
        drop(other.lock().unwrap());
    }

    #[test]
    fn the_lock_clears_what_the_killed_left_and_nothing_else() {
        let (_tmp, store) = store();
        for name in [".ibtools-put-abcdef", ".ibtools-put-", ".ibtools-put-notes.txt", "mine", ".x"]
        {
            fs::write(store.path().join(name), "x").unwrap();
        }
        fs::create_dir(store.path().join(".ibtools-put-direct")).unwrap();
        drop(store.lock().unwrap());
        let mut left: Vec<_> =
            fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        let kept = [".ibtools-put-", ".ibtools-put-direct", ".ibtools-put-notes.txt", ".x"];
        assert_eq!(left, [&kept[..], &["lock", "mine"]].concat());
        assert_eq!(names(&store), [".x", "lock", "mine"]);
    }

    #[test]
    fn what_is_made_is_for_the_owner_alone() {
        let (_tmp, store) = store();
        drop(store.lock().unwrap());
        put(&store, "a", b"private").unwrap();
        let unfinished = store.put("b").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(store.path()) & !DIR_MODE, 0);
        let entries = fs::read_dir(store.path()).unwrap().map(|entry| entry.unwrap().path());
        let entries: Vec<PathBuf> = entries.collect();
        assert_eq!(entries.len(), 3, "{entries:?}");
        assert!(entries.iter().all(|path| mode(path) & !FILE_MODE == 0), "{entries:?}");
        drop(unfinished);
    }

    #[test]
    fn odd_entries_are_left_alone() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::os::unix::fs::symlink;
        let (tmp, store) = store();
        let archive = "20261122T161858Z-full.tgz";
        put(&store, archive, b"1234").unwrap();
        let at = |name: &str| store.path().join(name);
        symlink("loop", at("loop")).unwrap();
        symlink("nowhere", at("nowhere")).unwrap();
        symlink("/dev/zero", at("20261123T161858Z-full.tgz")).unwrap();
        symlink("20261124T161858Z-full.tgz", at("20261124T161858Z-full.tgz")).unwrap();
        symlink(format!("{archive}/x"), at("20261125T161858Z-full.tgz")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, at("20261126T161858Z-full.tgz"), FileType::Fifo, mode, 0).unwrap();
        fs::create_dir(at("20261127T161858Z-full.tgz")).unwrap();
        // One that was moved away is followed.
        let moved = tmp.path().join("moved");
        fs::write(&moved, "12345").unwrap();
        symlink(&moved, at("20261128T161858Z-full.tgz")).unwrap();
        assert_eq!(names(&store), [archive, "20261128T161858Z-full.tgz"]);
        for name in ["20261123T161858Z-full.tgz", "20261126T161858Z-full.tgz"] {
            assert_eq!(kind(store.open(name)), ErrorKind::InvalidInput, "{name}");
        }
        drop(store.lock().unwrap());
    }

    #[test]
    fn a_store_is_a_directory_and_a_name_is_no_path() {
        let (tmp, store) = store();
        fs::write(tmp.path().join("file"), "x").unwrap();
        assert_eq!(kind(DirStore::open(tmp.path().join("file"))), ErrorKind::NotADirectory);
        assert_eq!(kind(DirStore::open(tmp.path().join("none"))), ErrorKind::NotFound);
        assert_eq!(kind(DirStore::create(tmp.path().join("no/ne"))), ErrorKind::NotFound);
        for name in ["", ".", "..", "../file", "a/b"] {
            assert_eq!(kind(store.open(name)), ErrorKind::InvalidInput, "{name}");
            assert_eq!(kind(store.put(name)), ErrorKind::InvalidInput, "{name}");
            assert_eq!(kind(store.delete(name)), ErrorKind::InvalidInput, "{name}");
        }
    }
}
