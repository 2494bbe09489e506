//! [`DiffData`]: an archive opened, and its contents one by one, each where the diff and TABLE say
//! that it must be. Knows neither compression nor how the table was found.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diffindex::{Change, DiffIndex};
use dirindex::Node;
use rsync_core::Digest;

use crate::error::shown;
use crate::layout::Stored;
use crate::stream::{Cursor, Stream, as_io};
use crate::{Archive, Error, ReadAt, paths};

/// The data of a diff: an archive of the contents that the new tree has and the old one had not.
///
/// Several threads may read from one value, each through a [`reader`](DiffData::reader) of its own.
pub struct DiffData {
    pub(crate) archive: Archive,
    pub(crate) diff: DiffIndex,
    /// Where the contents are, in path order.
    pub(crate) contents: Vec<Stored>,
}

impl DiffData {
    /// Opens the archive at `path`: its end, its table and its diff are read, no contents.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], [`Error::Diff`].
    pub fn open(path: impl AsRef<Path>) -> Result<DiffData, Error> {
        Archive::open(path)?.load()
    }

    /// Opens the archive that `source` holds. `name` is what messages call it.
    ///
    /// # Errors
    /// As [`open`](DiffData::open).
    pub fn from_source(
        source: impl ReadAt + 'static,
        name: impl Into<PathBuf>,
    ) -> Result<DiffData, Error> {
        Archive::from_source(source, name)?.load()
    }

    /// The archive, and all that can be asked of it without its diff.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The diff that the archive carries: what changed, and what each content must be.
    pub fn diff(&self) -> &DiffIndex {
        &self.diff
    }

    /// A reader of single contents. One reader opens contents that follow one another without
    /// unpacking anything twice; several readers may work at once.
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { data: self, cursor: self.stream().cursor() }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.archive.0.stream
    }

    /// The change of this archive's diff whose content this is.
    pub(crate) fn change(&self, stored: &Stored) -> Option<&Change> {
        self.diff.changes().get(stored.change)
    }

    /// That the content stored whole for `change`, whose digest is `found`, is what the diff promises.
    pub(crate) fn check_digest(
        &self,
        stored: &Stored,
        change: &Change,
        found: Digest,
    ) -> Result<(), Error> {
        match change.new.as_ref().map(|new| &new.node) {
            Some(Node::File { digest, .. }) if *digest == found => Ok(()),
            _ => {
                let mut cursor = self.stream().cursor();
                cursor.seek(stored.at);
                let name = paths::member_name(change).unwrap_or_default();
                Err(cursor.damaged(&name, format!("{} has another content", change.path)))
            }
        }
    }

    fn find(&self, change: &Change) -> Option<&Stored> {
        let path = |stored: &Stored| self.change(stored).map(|change| &change.path);
        let found = self.contents.binary_search_by(|stored| path(stored).cmp(&Some(&change.path)));
        let stored = self.contents.get(found.ok()?)?;
        let (ours, theirs) = (self.change(stored)?.new.as_ref()?, change.new.as_ref()?);
        (ours.node == theirs.node && ours.content == theirs.content).then_some(stored)
    }
}

impl std::fmt::Debug for DiffData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiffData")
            .field("path", self.stream().path())
            .field("contents", &self.contents.len())
            .finish_non_exhaustive()
    }
}

/// Opens contents of an archive, at best in path order. Holds one member of about 1 MiB.
pub struct ContentReader<'a> {
    data: &'a DiffData,
    cursor: Cursor<'a>,
}

impl<'a> ContentReader<'a> {
    /// The content that is stored for `change`: the bytes of the file for
    /// [`Content::Whole`](diffindex::Content::Whole), a librsync delta for
    /// [`Content::Delta`](diffindex::Content::Delta).
    ///
    /// What is read is not yet compared with the digest in the diff: who restores does that, on
    /// the file that results.
    ///
    /// # Errors
    /// [`Error::NotStored`] when `change` is not one of this archive's diff, or one without a
    /// stored content; [`Error::Io`] and [`Error::Damaged`].
    pub fn open(&mut self, change: &Change) -> Result<Body<'_, 'a>, Error> {
        let not_stored = || Error::NotStored {
            archive: shown(self.data.stream().path()),
            path: change.path.clone(),
        };
        let stored = *self.data.find(change).ok_or_else(not_stored)?;
        let name = paths::member_name(change).ok_or_else(not_stored)?;
        self.cursor.seek(stored.at);
        self.cursor.header(&name, stored.len)?;
        Ok(Body { cursor: &mut self.cursor, name, left: stored.len })
    }
}

/// The bytes of one content: exactly as many as are declared, or an error.
pub struct Body<'r, 'a> {
    cursor: &'r mut Cursor<'a>,
    name: String,
    left: u64,
}

impl Body<'_, '_> {
    /// How many bytes are still to be read.
    pub fn remaining(&self) -> u64 {
        self.left
    }
}

/// Damage comes as [`InvalidData`](io::ErrorKind::InvalidData) around [`Error::Damaged`].
impl Read for Body<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        let len = self.cursor.read(buffer).map_err(|error| as_io(error.of(&self.name)))?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= len as u64;
        Ok(len)
    }
}

/// Whether the body of this content is the file itself.
pub(crate) fn is_whole(change: &Change) -> bool {
    matches!(change.stored_content(), Some(diffindex::Content::Whole))
        && matches!(change.new.as_ref().map(|new| &new.node), Some(Node::File { .. }))
}
