//! [`NewFile`]: a file on its way into a store, whose errors say which one it is. Must not know what is in it.

use std::io::{self, Write};

use archive::ReadAt;

use super::{Noted, Store, StoreWriter, Stored, StoredName, failed};
use crate::error::{Error, Result};

/// Puts what `write` writes under `name`.
pub(crate) fn put(
    store: &dyn Store,
    name: StoredName,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Stored> {
    let mut file = NewFile::begin(store, name)?;
    file.write_by(|out| write(out))?;
    file.commit()
}

/// A file on its way into a store.
pub(crate) struct NewFile<'a> {
    name: String,
    out: Box<dyn StoreWriter + 'a>,
    len: u64,
}

impl<'a> NewFile<'a> {
    pub(crate) fn begin(store: &'a dyn Store, name: StoredName) -> Result<NewFile<'a>> {
        let name = name.to_string();
        let out = store.put(&name).map_err(|source| failed("put", &name, source))?;
        Ok(NewFile { name, out, len: 0 })
    }

    /// One that takes the place of another, if there is one.
    pub(crate) fn replace(store: &'a dyn Store, name: StoredName) -> Result<NewFile<'a>> {
        let name = name.to_string();
        let out = store.replace(&name).map_err(|source| failed("replace", &name, source))?;
        Ok(NewFile { name, out, len: 0 })
    }

    /// Has `write` write to it.
    pub(crate) fn write_by<T>(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<T> {
        write(self).map_err(|error| match error {
            Error::Archived(archive::Error::Write(source)) => failed("put", &self.name, source),
            other => other,
        })
    }

    /// [`StoreWriter::note`].
    pub(crate) fn note(&mut self, noted: Noted) {
        self.out.note(noted);
    }

    /// [`StoreWriter::written`].
    pub(crate) fn written(&mut self) -> Result<Option<Box<dyn ReadAt>>> {
        self.out.written().map_err(|source| failed("read back", &self.name, source))
    }

    pub(crate) fn commit(self) -> Result<Stored> {
        let NewFile { name, out, len: size } = self;
        out.commit().map_err(|source| failed("put", &name, source))?;
        Ok(Stored { name, size })
    }

    /// [`StoreWriter::commit_soon`].
    pub(crate) fn commit_soon(self) -> Result<()> {
        let NewFile { name, out, .. } = self;
        out.commit_soon().map_err(|source| failed("put", &name, source))
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
