//! [`DiffData`]: a diff and where its contents are stored, in one archive or in several; and its
//! contents one by one. Knows neither compression nor how the table was found.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diffindex::{Change, Content, DiffIndex};
use dirindex::{Node, RelPath};
use rsync_core::Digest;

use crate::content_reader::StoredContent;
use crate::error::shown;
use crate::stored::{FrameReaders, Stored};
use crate::{Archive, Error, ReadAt};

/// The data of a diff: an archive of the contents that the new tree has and the old one had not.
///
/// [`squash`](DiffData::squash) makes one of several that follow one another; its contents lie in the
/// archives of all of them, and are made of what is stored there when they are read. Everything here
/// works on either.
///
/// Cheap to clone. Several threads may read from one value, each through a
/// [`reader`](DiffData::reader) of its own.
#[derive(Clone)]
pub struct DiffData {
    /// At least one.
    pub(crate) archives: Arc<[Archive]>,
    pub(crate) diff: DiffIndex,
    /// The contents, in path order.
    pub(crate) contents: Arc<[Composition]>,
    /// What this was squashed from, none of which was squashed itself, if it starts from some tree; else
    /// nothing.
    pub(crate) parts: Arc<[DiffData]>,
}

/// What a content is made of.
#[derive(Debug, Clone)]
pub(crate) struct Composition {
    /// The number of its change in the diff.
    pub(crate) change: usize,
    /// Each is a delta against what the one before it makes. The first is the whole file for
    /// [`Content::Whole`], and else a delta against the old tree. At least one.
    pub(crate) bodies: Arc<[Stored]>,
}

impl Composition {
    /// How many bytes of tar streams it takes at most to read it.
    pub(crate) fn cost(&self) -> u64 {
        self.bodies.iter().map(Stored::cost).fold(0, u64::saturating_add)
    }
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

    /// The archives that hold the contents, oldest first: one, unless this was
    /// [squashed](DiffData::squash).
    #[must_use]
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// How many bytes these archives are together.
    pub fn size(&self) -> u64 {
        self.archives.iter().map(Archive::size).fold(0, u64::saturating_add)
    }

    /// What changed, and what each content must be.
    #[must_use]
    pub fn diff(&self) -> &DiffIndex {
        &self.diff
    }

    /// What changed, by itself.
    #[must_use]
    pub fn into_diff(self) -> DiffIndex {
        self.diff
    }

    /// Whether the diff starts from nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.diff.is_full()
    }

    /// A reader of single contents. One reader opens contents that follow one another without
    /// unpacking anything twice; several readers may work at once.
    #[must_use]
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { data: self, readers: FrameReaders::new(&self.archives) }
    }

    /// The name of the archive, or of the first and the last of several.
    pub(crate) fn name(&self) -> String {
        names(&self.archives)
    }

    /// The change of this diff whose content this is.
    pub(crate) fn change(&self, composition: &Composition) -> Option<&Change> {
        self.diff.changes().get(composition.change)
    }

    /// The content of change number `number`.
    pub(crate) fn content_of(&self, number: usize) -> Option<&Composition> {
        composition_of(&self.contents, number)
    }

    /// [`check_digest`], of a content of this diff.
    pub(crate) fn check_digest(&self, change: &Change, found: Digest) -> Result<(), Error> {
        let bodies = self.find(change).map_or(&[][..], |composition| &composition.bodies);
        let last = bodies.last().ok_or_else(|| self.not_stored(&change.path))?;
        check_digest((last, bodies.len() == 1), change, found)
    }

    fn find(&self, change: &Change) -> Option<&Composition> {
        self.content_of(number_of(&self.diff, change)?)
    }

    pub(crate) fn not_stored(&self, path: &RelPath) -> Error {
        Error::NotStored { archive: self.name(), path: path.clone() }
    }
}

/// That the whole content of `change`, whose digest is `found`, is what the diff promises. The last of what it is made of is `last`;
/// there is nothing else if it `is_only`.
pub(crate) fn check_digest(
    (last, is_only): (&Stored, bool),
    change: &Change,
    found: Digest,
) -> Result<(), Error> {
    match change.new.as_ref().map(|new| &new.node) {
        Some(Node::File { digest, .. }) if *digest == found => Ok(()),
        _ => {
            let problem = format!("{} has another content", change.path);
            Err(last.damaged(&last.name(is_only), problem))
        }
    }
}

/// The content of change number `number`, among contents in path order.
pub(crate) fn composition_of(contents: &[Composition], number: usize) -> Option<&Composition> {
    let found = contents.binary_search_by_key(&number, |composition| composition.change).ok()?;
    contents.get(found)
}

/// The number of the change of `diff` that leads to the same content at the same path as `change`.
pub(crate) fn number_of(diff: &DiffIndex, change: &Change) -> Option<usize> {
    let number = diff.position(&change.path)?;
    let ours = diff.changes().get(number)?.new.as_ref()?;
    let theirs = change.new.as_ref()?;
    (ours.node == theirs.node && ours.content == theirs.content).then_some(number)
}

/// The name of an archive, or of the first and the last of several.
pub(crate) fn names(archives: &[Archive]) -> String {
    match archives {
        [] => String::new(),
        [archive] => shown(archive.path()),
        [first, .., last] => format!("{} to {}", shown(first.path()), shown(last.path())),
    }
}

/// What reading a [`StoredContent`] out of `archives` ended with.
pub(crate) fn unread(error: io::Error, archives: &[Archive]) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("read", names(archives), error),
    }
}

impl std::fmt::Debug for DiffData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiffData")
            .field("archives", &self.archives)
            .field("contents", &self.contents.len())
            .finish_non_exhaustive()
    }
}

/// Opens contents of a [`DiffData`], at best in path order. Holds a frame of about 1 MiB, packed and
/// unpacked, of each archive that it reads from, and some 64 MiB of such at most.
pub struct ContentReader<'a> {
    data: &'a DiffData,
    readers: FrameReaders,
}

impl std::fmt::Debug for ContentReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentReader").field("data", self.data).finish_non_exhaustive()
    }
}

impl ContentReader<'_> {
    /// [`open`](ContentReader::open) for what becomes of `path`.
    ///
    /// # Errors
    /// As [`open`](ContentReader::open).
    pub fn open_path(&mut self, path: &RelPath) -> Result<StoredContent<'_>, Error> {
        let data = self.data;
        let change = data.diff().get(path).ok_or_else(|| data.not_stored(path))?;
        self.open(change)
    }

    /// The content that is stored for `change`: the bytes of the file for
    /// [`Content::Whole`](diffindex::Content::Whole), a librsync delta for
    /// [`Content::Delta`](diffindex::Content::Delta).
    ///
    /// A content that is made of several stored ones is composed now: the commands of its deltas are
    /// read, and for each run of bytes in what they make 24 bytes are held; it is then read 8 MiB at a time.
    ///
    /// What is read is not yet compared with the digest in the diff: who restores does that, on
    /// the file that results.
    ///
    /// # Errors
    /// [`Error::NotStored`] when `change` is not one of this diff, or one without a
    /// stored content; [`Error::Io`] and [`Error::Damaged`].
    pub fn open(&mut self, change: &Change) -> Result<StoredContent<'_>, Error> {
        let composition =
            self.data.find(change).ok_or_else(|| self.data.not_stored(&change.path))?;
        let bodies = Arc::clone(&composition.bodies);
        StoredContent::new(&mut self.readers, None, bodies, is_whole(change))
    }
}

/// Whether the content is stored as the file itself.
pub(crate) fn is_whole(change: &Change) -> bool {
    matches!(change.stored_content(), Some(Content::Whole))
        && matches!(change.new.as_ref().map(|new| &new.node), Some(Node::File { .. }))
}
