//! Files on their way into an [`EncryptedStore`]. Knows what is noted of them when they are there; what it means is the log's.

use std::io::{self, Write};

use container::ReadAt;
use repository::store::{MARKER, Noted, Store, StoreWriter};

use super::EncryptedStore;
use crate::keys::Public;
use crate::log::{Entry, Link};
use crate::marker;
use crate::object::Encrypting;

/// An encrypted file on its way.
pub(super) struct NewFile<'a> {
    pub(super) store: &'a EncryptedStore,
    pub(super) name: String,
    pub(super) opens: Option<Public>,
    pub(super) noted: Option<Noted>,
    pub(super) out: Encrypting<'a>,
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
        let NewFile { store, name, opens, noted, out } = *self;
        let sealed = out.commit()?;
        let noted = noted.as_ref().map(Link::of);
        store.record(&[Entry::Put { name, sealed, noted, opens }])
    }

    fn note(&mut self, noted: Noted) {
        self.noted = Some(noted);
    }

    fn written(&mut self) -> io::Result<Option<Box<dyn ReadAt>>> {
        self.out.written()
    }
}

/// A marker on its way.
pub(super) struct NewMarker<'a> {
    pub(super) store: &'a EncryptedStore,
    pub(super) text: Vec<u8>,
    pub(super) is_new: bool,
}

impl Write for NewMarker<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreWriter for NewMarker<'_> {
    fn commit(self: Box<Self>) -> io::Result<()> {
        if self.is_new {
            return self.store.make(&self.text);
        }
        let mut out = self.store.kept.0.replace(MARKER)?;
        out.write_all(&marker::to_encrypted(&self.text, &self.store.id()))?;
        out.commit()
    }
}
