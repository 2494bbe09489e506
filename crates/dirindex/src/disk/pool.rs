//! [`PooledFile`]: a file that can be read at any place, though few files are open at a time. Knows nothing of what is in it.
//!
//! A chain may have more archives than a process may have files open. So a file is opened when something of it is read, and
//! closed when others are wanted more.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use container::ReadAt;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::FileId;

/// A regular file that is opened by its name when it is read. Nothing may change it meanwhile: another file of the same
/// name is an error.
#[derive(Debug)]
pub struct PooledFile {
    path: PathBuf,
    id: u64,
    state: State,
}

/// What identifies a file's content. Some network file systems number a file anew each time, so its time is as good.
#[derive(Debug, Clone, Copy)]
struct State {
    file: FileId,
    len: u64,
    mtime: (i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> State {
        State {
            file: metadata.into(),
            len: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn is_same(&self, other: &State) -> bool {
        self.len == other.len && (self.file == other.file || self.mtime == other.mtime)
    }
}

impl PooledFile {
    /// The file at `path`; a link is followed. Nothing but a regular file is waited for or read.
    ///
    /// # Errors
    /// When it cannot be opened, or is no regular file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<PooledFile> {
        let path = std::path::absolute(path)?;
        let file = open(&path)?;
        PooledFile::new(file, path)
    }

    /// The regular file at `path`, which is open as `file`.
    ///
    /// # Errors
    /// When it is no regular file.
    pub fn new(file: File, path: impl AsRef<Path>) -> io::Result<PooledFile> {
        let path = std::path::absolute(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        POOL.add(id, Arc::new(file));
        Ok(PooledFile { path, id, state: State::of(&metadata) })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = POOL.get(self.id) {
            return Ok(file);
        }
        let file = open(&self.path)?;
        if !self.state.is_same(&State::of(&file.metadata()?)) {
            return Err(io::Error::other("it was replaced or changed while it was read"));
        }
        let file = Arc::new(file);
        POOL.add(self.id, Arc::clone(&file));
        Ok(file)
    }
}

impl Drop for PooledFile {
    fn drop(&mut self) {
        POOL.remove(self.id);
    }
}

impl ReadAt for PooledFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::fill_at(&*self.file()?, buffer, offset)
    }
}

/// Opens a file to read, and waits for nobody. When too many are open, those of the pool are closed first.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let open = || OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
    open().or_else(|error| match is_exhaustion(&error) {
        true => {
            POOL.files().clear();
            open()
        }
        false => Err(error),
    })
}

/// Whether `error` says that this process, or the system, may have no more files open.
pub fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Descriptors belong to the process, so there is one pool.
static POOL: Pool = Pool(Mutex::new(Vec::new()));

/// The files that are open, the one that was read last at the end.
struct Pool(Mutex<Vec<(u64, Arc<File>)>>);

impl Pool {
    fn files(&self) -> MutexGuard<'_, Vec<(u64, Arc<File>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: u64) -> Option<Arc<File>> {
        let mut files = self.files();
        let at = files.iter().rposition(|(other, _)| *other == id)?;
        let entry = files.remove(at);
        let file = Arc::clone(&entry.1);
        files.push(entry);
        Some(file)
    }

    fn add(&self, id: u64, file: Arc<File>) {
        let mut files = self.files();
        // Another thread may have opened it too.
        files.retain(|(other, _)| *other != id);
        files.push((id, file));
        let over = files.len().saturating_sub(most());
        files.drain(..over);
    }

    fn remove(&self, id: u64) {
        self.files().retain(|(other, _)| *other != id);
    }
}

/// How many files are kept open: a part of what the process may have, for others are needed too.
fn most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 5;
        usize::try_from(limit).unwrap_or(usize::MAX).clamp(4, 128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn more_files_than_are_kept_open_are_read_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let count = most() + 40;
        let path = |number: usize| dir.path().join(number.to_string());
        let files: Vec<PooledFile> = (0..count)
            .map(|number| {
                fs::write(path(number), format!("{number:08}")).unwrap();
                PooledFile::open(path(number)).unwrap()
            })
            .collect();
        for round in 0..2 {
            for (number, file) in files.iter().enumerate() {
                let mut bytes = [0; 8];
                file.fill_at(&mut bytes, 0).unwrap();
                assert_eq!(bytes, format!("{number:08}").as_bytes(), "{round}");
                assert!(POOL.files().len() <= most());
            }
        }
        // The first was closed. Another of its name, or a longer one, is not it.
        fs::remove_file(path(0)).unwrap();
        let error = files[0].fill_at(&mut [0; 8], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        fs::write(path(1), "a longer one").unwrap();
        let error = files[1].fill_at(&mut [0; 8], 0).unwrap_err();
        assert!(error.to_string().contains("changed"), "{error}");
        drop(files);
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [dir.path(), &pipe] {
            assert_eq!(PooledFile::open(path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
