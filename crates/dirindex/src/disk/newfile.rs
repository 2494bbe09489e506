//! [`NewFile`]: a file on its way to its place, where it comes whole or not at all. Knows nothing of what
//! is in it.

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use tempfile::NamedTempFile;

use super::place::{parent, sync_dir};
use crate::{Error, Readers, take_after};

/// A new file, written from front to back beside the place it is for. Dropped, it leaves nothing.
///
/// Until it is in its place only its owner may read it. There it is for those who could read the file that it replaces; where
/// none was, for its owner alone, unless it is [for others too](NewFile::for_others).
#[derive(Debug)]
pub struct NewFile {
    out: Streamed<NamedTempFile>,
    path: PathBuf,
    readers: Readers,
}

impl NewFile {
    /// Begins the file that is to be at `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; also when a directory, a device or a pipe is there, which no file is to replace.
    pub fn beside(path: &Path) -> Result<NewFile, Error> {
        NewFile::check_place(path)?;
        let dir = parent(path);
        let file = tempfile::Builder::new()
            .prefix(".ibtools-")
            .tempfile_in(dir)
            .map_err(|error| Error::io("create a file in", dir, error))?;
        let (out, path) = (Streamed::new(file), path.to_path_buf());
        Ok(NewFile { out, path, readers: Readers::Owner })
    }

    /// Lets those read it, where no file was before, who may read any new file of this process.
    #[must_use]
    pub fn for_others(mut self) -> NewFile {
        self.readers = Readers::Umask;
        self
    }

    /// That a file may be put at `path`: for who wants to know before there is something to put there.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory, a device or a pipe is there.
    pub fn check_place(path: &Path) -> Result<(), Error> {
        match fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            true => Err(Error::io("replace", path, io::Error::other("it is no regular file"))),
            false => Ok(()),
        }
    }

    /// The file, to read what was written.
    #[must_use]
    pub fn as_file(&self) -> &fs::File {
        self.out.as_file().as_file()
    }

    /// Puts the file in its place in one step, synced, instead of what is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(self) -> Result<(), Error> {
        let (file, path) = (self.out.into_inner(), &self.path);
        take_after(file.as_file(), path, self.readers)
            .map_err(|error| Error::io("set the mode of", path, error))?;
        file.as_file().sync_all().map_err(|error| Error::io("sync", path, error))?;
        let put = file.persist(path);
        put.map_err(|error| Error::io("rename a file to", path, error.error))?;
        let dir = parent(path);
        sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// So much is written until the kernel is asked to begin taking it to the disk.
const STRETCH_LEN: u64 = 8 << 20;

/// A file that is written from front to back, whose bytes are on their way to the disk soon after they
/// came: who syncs it in the end waits for little.
#[derive(Debug)]
pub struct Streamed<F> {
    file: F,
    written: u64,
    /// What is before this is on its way.
    begun: u64,
}

impl<F: Write + AsFd> Streamed<F> {
    /// Of a `file` that is empty.
    pub fn new(file: F) -> Streamed<F> {
        Streamed { file, written: 0, begun: 0 }
    }

    /// The file.
    pub fn as_file(&self) -> &F {
        &self.file
    }

    /// The file, to be synced.
    pub fn into_inner(self) -> F {
        self.file
    }
}

impl<F: Write + AsFd> Write for Streamed<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written - self.begun >= STRETCH_LEN {
            // Linux starts to write what is dirty in the range, and waits for nothing. It is advice: a
            // file system that does not take it is asked again by the sync.
            let len = NonZeroU64::new(self.written - self.begun);
            let _ = fadvise(self.file.as_fd(), self.begun, len, Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Puts what `write` writes in the place of the file at `path`, in one step: into a new file beside
/// it, synced, then renamed.
///
/// # Errors
/// What `write` returns, and [`Error::Io`]; the file at `path` is then as it was.
pub fn replace_file<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut NewFile) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = NewFile::beside(path)?;
    write(&mut file)?;
    Ok(file.put()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FileType, Mode, mknodat};

    #[test]
    fn only_files_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [dir.path(), &pipe] {
            let error = NewFile::beside(path).unwrap_err().to_string();
            assert_eq!(error, format!("cannot replace {}", path.display()));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_comes_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut bytes = vec![0; 2 * STRETCH_LEN as usize + 5];
        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at >> 3) as u8);
        let mut file = NewFile::beside(&path).unwrap();
        bytes.chunks(1 << 20).for_each(|piece| file.write_all(piece).unwrap());
        assert!(!path.exists());
        file.put().unwrap();
        assert!(fs::read(&path).unwrap() == bytes);

        NewFile::beside(&path).unwrap().write_all(b"never put").unwrap();
        let failed = replace_file(&path, |file| {
            file.write_all(b"never put").unwrap();
            Err(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64);
    }
}
