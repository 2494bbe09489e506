//! [`DirStore`]: a directory as a store. Knows nothing of what the names mean.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use archive::ReadAt;
use dirindex::Streamed;
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::{Put, Store, Stored};

/// What a file is called while it is written, with six letters after it.
const UNFINISHED: &str = ".ibtools-put-";
/// Whoever changes the store holds a lock on this file. It stays: to remove it would let two in.
const LOCK: &str = "lock";
const BUFFER_LEN: usize = 256 << 10;

/// A store in a directory.
///
/// A file is written beside its place, synced, and given its name in one step, never in the place of
/// another; then the directory is synced. The lock is a lock on the file `lock`: it ends with
/// the process, however that ends.
#[derive(Debug, Clone)]
pub struct DirStore {
    path: PathBuf,
}

impl DirStore {
    /// The store in the directory at `path`.
    ///
    /// # Errors
    /// When that is no directory.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<DirStore> {
        let path = path.into();
        match fs::metadata(&path)?.is_dir() {
            true => Ok(DirStore { path }),
            false => Err(Errno::NOTDIR.into()),
        }
    }

    /// The store in the directory at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or is no directory.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<DirStore> {
        let path = path.into();
        match fs::create_dir(&path) {
            Ok(()) => sync(path.parent().filter(|parent| *parent != Path::new("")))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        DirStore::open(path)
    }

    /// The directory.
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

    /// Removes what interrupted puts left. Only under the lock: nobody else is putting.
    fn clear_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
            if ours.is_some_and(|letters| letters.len() == 6) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
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
            // An archive may have been moved to another disk, with a link left in its place.
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => {
                    files.push(Stored { name, size: metadata.len() });
                }
                // Another kind, a link to nowhere, or gone since the directory was read.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(self.place(name)?)?))
    }

    fn put(&self, name: &str) -> io::Result<Box<dyn Put + '_>> {
        let place = self.place(name)?;
        if fs::symlink_metadata(&place).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .rand_bytes(6)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.path)?;
        let out = BufWriter::with_capacity(BUFFER_LEN, Streamed::new(file));
        Ok(Box::new(NewFile { out, place, dir: &self.path }))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.place(name)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => sync(Some(&self.path)),
        }
    }

    fn lock(&self) -> io::Result<Box<dyn Send + '_>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(self.path.join(LOCK))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let lock = Lock(file);
        self.clear_unfinished()?;
        Ok(Box::new(lock))
    }
}

/// A file that has no name yet.
struct NewFile<'a> {
    out: BufWriter<Streamed<NamedTempFile>>,
    place: PathBuf,
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

impl Put for NewFile<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        let NewFile { out, place, dir } = *self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?.into_inner();
        file.as_file().sync_all()?;
        file.persist_noclobber(&place).map_err(|error| error.error)?;
        // A name that is not known to last must not be taken for a file.
        sync(Some(dir)).inspect_err(|_| drop(fs::remove_file(&place)))
    }
}

/// Unlocks by word, not only by closing: a process that this one happens to be starting in another
/// thread has copies of all descriptors for a moment, and would hold the lock as long.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

/// Sees to it that the names in a directory last; `None` is the current one.
fn sync(dir: Option<&Path>) -> io::Result<()> {
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
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

    fn kind<T>(result: io::Result<T>) -> ErrorKind {
        result.err().expect("an error").kind()
    }

    #[test]
    fn what_is_put_is_there_whole_and_stays() {
        let (_tmp, store) = store();
        let bytes = vec![7; 3 * BUFFER_LEN + 1];
        put(&store, "a", &bytes).unwrap();
        assert_eq!(store.list().unwrap(), [Stored { name: "a".into(), size: bytes.len() as u64 }]);
        let file = store.open("a").unwrap();
        let mut part = [0; 5];
        file.read_exact_at(&mut part, bytes.len() as u64 - 5).unwrap();
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
