//! [`Source`]: where the contents of a diff come from. Must not know what is made of them.

use std::io::Read;

use archive::{ContentReader, DiffData, DiffStream, Snapshot, SnapshotReader};
use diffindex::Change;

use crate::error::{Error, Result};

/// Where the contents of a diff come from.
pub(crate) enum Source<'a, 'r> {
    /// An archive that can be read at any place, by several threads at once.
    Data(&'a DiffData),
    /// Archives that can be read so, of which all that they lead to is taken.
    Snapshot(&'a Snapshot),
    /// One that is read once, front to back.
    Stream(Box<DiffStream<'r>>),
}

impl<'a> Source<'a, '_> {
    /// The same once more, if it can be read again.
    pub(crate) fn again(&self) -> Option<Source<'a, 'static>> {
        match self {
            Source::Data(data) => Some(Source::Data(data)),
            Source::Snapshot(snapshot) => Some(Source::Snapshot(snapshot)),
            Source::Stream(_) => None,
        }
    }

    /// Checks that what was taken from it can be trusted. The end of an archive said so before anything was taken. The
    /// end of a stream is read now.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Source::Data(_) | Source::Snapshot(_) => Ok(()),
            Source::Stream(stream) => Ok(stream.finish()?),
        }
    }
}

/// Gives the contents of changes, which are asked for in path order.
pub(crate) enum Contents<'a, 'r> {
    Data(ContentReader<'a>),
    Snapshot(SnapshotReader<'a>),
    Stream(&'a mut DiffStream<'r>),
}

impl Contents<'_, '_> {
    pub(crate) fn open(&mut self, change: &Change) -> Result<Box<dyn Read + '_>> {
        let opened = match self {
            Contents::Data(reader) => reader.open(change).map(|body| Box::new(body) as _),
            Contents::Snapshot(reader) => reader.open(&change.path).map(|body| Box::new(body) as _),
            Contents::Stream(stream) => stream.content(change).map(|body| Box::new(body) as _),
        };
        opened.map_err(|source| Error::Archive { path: change.path.clone(), source })
    }
}
