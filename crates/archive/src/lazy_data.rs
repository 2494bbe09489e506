//! [`LazyData`]: an archive's diff, and where its contents are, a block of changes at a time. Must not know what a content is made of in
//! other archives.

use container::SectionError;
use diffindex::{Change, ChangeList, LazyDiff, StoredDiff};

use crate::frame_reader::as_io;
use crate::layout::Placed;
use crate::stored::Stored;
use crate::{Archive, DiffData, Error, open};

/// The data of a diff in one archive, as [`DiffData`], of which little is in memory: changes are read from the
/// archive when they are asked for.
///
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct LazyData {
    archive: Archive,
    stored: StoredDiff,
    diff: LazyDiff,
}

/// The changes of a block, and where their contents are.
pub(crate) struct Part {
    pub(crate) changes: ChangeList,
    /// In the order of the changes.
    pub(crate) placed: Vec<Placed>,
}

impl LazyData {
    /// The data of the archive, whose diff is read once now: what it says is checked, as [`load`](Archive::load) does it.
    ///
    /// # Errors
    /// As [`load`](Archive::load).
    pub fn open(archive: &Archive) -> Result<LazyData, Error> {
        let stored = open::stored_diff(archive)?;
        let (archive, diff) = (archive.clone(), LazyDiff::from(&stored));
        Ok(LazyData { archive, stored, diff })
    }

    /// All of it, in memory. What is read is what was checked, or an error.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn load(&self) -> Result<DiffData, Error> {
        let diff = self.diff.load().map_err(|error| self.unreadable(error.into()))?;
        open::with_diff(&self.archive, diff)
    }

    /// The archive that holds the contents.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// What changed, and what each content must be.
    #[must_use]
    pub fn diff(&self) -> &LazyDiff {
        &self.diff
    }

    /// Whether each change brings something where nothing stood, and no content is a delta.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        self.stored.only_adds()
    }

    /// The diff, of which a block can be read by itself. What is wrong with one, [`unreadable`](LazyData::unreadable) says of the archive.
    #[must_use]
    pub fn stored(&self) -> &StoredDiff {
        &self.stored
    }

    /// All changes in path order, those of one block at a time.
    ///
    /// # Errors
    /// Each may be an error of reading the archive: [`Error::Io`], [`Error::Damaged`].
    pub fn changes(&self) -> impl Iterator<Item = Result<ChangeList, Error>> {
        self.diff.lists().map(|list| list.map_err(|error| self.unreadable(error.into())))
    }

    /// [`changes`](LazyData::changes), with where the contents are.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Result<Part, Error>> {
        self.changes().enumerate().map(|(number, changes)| self.part(number, changes?))
    }

    /// The changes of a block, without signatures, and where their contents are.
    pub(crate) fn block(&self, number: usize) -> Result<Part, Error> {
        self.part(number, self.stored.block(number).map_err(|error| self.unreadable(error))?)
    }

    fn part(&self, number: usize, changes: ChangeList) -> Result<Part, Error> {
        let opened = &self.archive.0;
        let placed = opened.layout.place(number, &changes);
        let placed = placed.map_err(|problem| opened.wrong_table(problem))?;
        Ok(Part { changes, placed })
    }

    /// What reading the [stored](LazyData::stored) diff ended with, as an error of the archive.
    #[must_use]
    pub fn unreadable(&self, source: diffindex::Error) -> Error {
        of_diff(self.archive.0.stream.name(), source)
    }
}

impl Part {
    /// The changes that have contents in `archive`, and what is stored there.
    pub(crate) fn contents(&self, archive: &Archive) -> impl Iterator<Item = (&Change, Stored)> {
        self.placed.iter().filter_map(|placed| {
            let change = self.changes.get(placed.change)?;
            Some((change, Stored::new(archive, placed, change)))
        })
    }
}

/// An error of this crate, as what reading a diff ends with.
pub(crate) fn in_diff(error: Error) -> diffindex::Error {
    SectionError::Read(as_io(error)).into()
}

/// What reading a diff ended with, or what was made of it. `archive` is the name of where it is.
pub(crate) fn of_diff(archive: String, source: diffindex::Error) -> Error {
    let (diffindex::Error::Sections(SectionError::Read(error))
    | diffindex::Error::Index(dirindex::Error::Sections(SectionError::Read(error)))) = source
    else {
        return Error::Diff { archive, source };
    };
    // Errors of archives come through readers of sections as they are.
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::io("read", archive, error),
    }
}
