//! An index in its file, put in its place in one step. Must not know the bytes.

use std::io::BufWriter;
use std::path::Path;

use container::SectionError;

use crate::{DirIndex, Error, LazyIndex, NewFile};

impl DirIndex {
    /// Writes the index to `path`: a new file is written beside it, synced, and put in its place,
    /// so that an interruption leaves the old file or the new one.
    ///
    /// # Errors
    /// [`Error::File`], around what went wrong.
    pub fn to_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        LazyIndex::from(self).to_file(path)
    }

    /// Writes the index to a new file beside `path`, which has still to be [put](NewFile::put) there:
    /// for a caller that must finish something else first.
    ///
    /// # Errors
    /// As [`to_file`](DirIndex::to_file).
    pub fn to_new_file(&self, path: impl AsRef<Path>) -> Result<NewFile, Error> {
        LazyIndex::from(self).to_new_file(path)
    }
}

impl LazyIndex {
    /// As [`DirIndex::to_file`].
    ///
    /// # Errors
    /// As [`DirIndex::to_file`].
    pub fn to_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        self.to_new_file(path)?.put().map_err(|error| error.in_file(path))
    }

    /// As [`DirIndex::to_new_file`].
    ///
    /// # Errors
    /// As [`DirIndex::to_file`].
    pub fn to_new_file(&self, path: impl AsRef<Path>) -> Result<NewFile, Error> {
        let path = path.as_ref();
        let write = || {
            let mut out = BufWriter::with_capacity(1 << 20, NewFile::beside(path)?);
            self.write_to(&mut out)?;
            out.into_inner().map_err(|error| SectionError::Write(error.into()).into())
        };
        write().map_err(|error: Error| error.in_file(path))
    }
}
