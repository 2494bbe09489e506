//! [`DiffIndex`]: every change between two trees, what it turns an index into, and its file. Knows
//! neither how the changes were found nor where contents are stored.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use container::{SectionError, max_held};
use dirindex::StoredSignature;
use dirindex::{DirIndex, LazyIndex, PathSlice, Record, RelPath, TreeId};

use crate::check::{check, holder, unusable};
use crate::moves::source;
use crate::{Change, Class, Content, Entry, Error, LazyDiff, NewEntry, Signatures, collapse};

/// What changed between two trees: from the one whose id is [`base`](DiffIndex::base) to the one
/// whose id is [`result`](DiffIndex::result).
#[derive(Debug, Clone, PartialEq)]
pub struct DiffIndex {
    base: TreeId,
    result: TreeId,
    /// Shared by clones: a diff of a large tree is large, and an archive keeps one.
    changes: Arc<Vec<Change>>,
    left_out: Arc<Vec<RelPath>>,
    top_mode: Option<u32>,
}

/// The changes, in path order.
impl<'a> IntoIterator for &'a DiffIndex {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.iter()
    }
}

impl DiffIndex {
    /// What turns the tree of `old` into that of `new`.
    ///
    /// Compared are contents and metadata as the indexes have them. A file whose content some path
    /// of the old tree has becomes a copy of it; a file that resembles one of the old tree, most often the
    /// one at the same path, becomes a delta against its signature; and only what neither helps is
    /// stored whole. What several new paths have is stored for the first of them alone. A directory that
    /// moved with all that is in it is one change ([`moved_trees`](DiffIndex::moved_trees)).
    #[must_use]
    pub fn between(old: &DirIndex, new: &DirIndex) -> DiffIndex {
        crate::between::between(old, new)
    }

    /// [`between`](DiffIndex::between), of indexes of which little is in memory: it takes what differs, the directories of what is
    /// new, and the files of the same names.
    ///
    /// # Errors
    /// [`dirindex::Error::Sections`] when a file cannot be read any more in which a part of them is.
    pub fn between_lazy(old: &LazyIndex, new: &LazyIndex) -> Result<DiffIndex, dirindex::Error> {
        crate::between::between_lazy(old, new)
    }

    pub(crate) fn from_parts(base: TreeId, result: TreeId, changes: Vec<Change>) -> DiffIndex {
        let (changes, left_out) = (Arc::new(changes), Arc::default());
        DiffIndex { base, result, changes, left_out, top_mode: None }
    }

    /// The diff of these changes, which are in path order, between the trees with these ids.
    ///
    /// # Errors
    /// [`Error::Unusable`] for changes that no two trees can differ by. Whether they lead from the
    /// one tree to the other shows when they are applied to an index.
    pub fn from_changes(
        base: TreeId,
        result: TreeId,
        changes: Vec<Change>,
    ) -> Result<DiffIndex, Error> {
        check(&changes)?;
        Ok(DiffIndex::from_parts(base, result, changes))
    }

    /// The root of the tree that this changes.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.base
    }

    /// The root of the tree that this leads to.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.result
    }

    /// The same diff, to a tree of which [`left_out`](DiffIndex::left_out) and [`top_mode`](DiffIndex::top_mode)
    /// are as `other` has them.
    #[must_use]
    pub fn with_top_of(self, other: &DiffIndex) -> DiffIndex {
        DiffIndex { left_out: Arc::clone(&other.left_out), top_mode: other.top_mode, ..self }
    }

    pub(crate) fn with_top(self, left_out: Vec<RelPath>, top_mode: Option<u32>) -> DiffIndex {
        DiffIndex { left_out: Arc::new(left_out), top_mode, ..self }
    }

    /// What stood in the tree that this leads to and is not in the backup, as [`DirIndex::left_out`]
    /// has it: where the tree is brought back over what is there, it stays.
    #[must_use]
    pub fn left_out(&self) -> &[RelPath] {
        &self.left_out
    }

    /// The permission bits of the top directory of the tree that this leads to, if they are known.
    #[must_use]
    pub fn top_mode(&self) -> Option<u32> {
        self.top_mode
    }

    /// Whether this starts from nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.base == DirIndex::empty().tree_id()
    }

    /// Every change, in path order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    pub(crate) fn shared_changes(&self) -> Arc<Vec<Change>> {
        Arc::clone(&self.changes)
    }

    /// [`changes`](DiffIndex::changes), taken over where nobody shares them.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        Arc::try_unwrap(self.changes).unwrap_or_else(|shared| shared.to_vec())
    }

    /// Whether the two trees are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The change at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Change> {
        self.position(path).and_then(|at| self.changes.get(at))
    }

    /// The number, among [`changes`](DiffIndex::changes), of the change at `path`.
    pub fn position<'p>(&self, path: impl Into<PathSlice<'p>>) -> Option<usize> {
        let path = path.into();
        self.changes.binary_search_by(|change| PathSlice::from(&change.path).cmp(&path)).ok()
    }

    /// The change with which the content of `change`, one of this diff, is stored: itself, or that of the
    /// path it is the [same](Content::Same) as. `None` when it is not stored.
    #[must_use]
    pub fn holder<'a>(&'a self, change: &'a Change) -> Option<&'a Change> {
        holder(&self.changes, change)
    }

    /// New paths that are not directories.
    pub fn created(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Created && !change.makes_dir())
    }

    /// Files and links with other content.
    pub fn updated(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Updated)
    }

    /// Paths of which only the metadata differs.
    pub fn metadata(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Metadata)
    }

    /// Paths where another kind stands.
    pub fn type_changed(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::TypeChanged)
    }

    /// Paths, directories too, that are now left out of the scan. They go from a copy of the tree as
    /// if they were deleted, but need not be gone from the source.
    pub fn excluded(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Excluded)
    }

    /// Paths that were no directories and are gone.
    pub fn deleted(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Deleted && !change.was_dir())
    }

    /// New directories.
    pub fn created_dirs(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Created && change.makes_dir())
    }

    /// Directories that are gone, outer ones before those inside them.
    pub fn deleted_dirs(&self) -> impl Iterator<Item = &RelPath> {
        self.select(|change| change.class() == Class::Deleted && change.was_dir())
    }

    /// Moves: where a file was, and where it is now. What was moved may have been edited too: then
    /// its content is a delta. Each new path is in [`created`](DiffIndex::created) too, each old one in
    /// [`deleted`](DiffIndex::deleted); of several new paths that one gone file came to, the first
    /// counts as the move and the others as copies. A directory that moved as a whole is one of them.
    pub fn moved(&self) -> impl Iterator<Item = (&RelPath, &RelPath)> {
        self.derived().filter(|(_, _, moved)| *moved).map(|(from, to, _)| (from, to))
    }

    /// Where what is at `path` was before, if it [moved](DiffIndex::moved) there. It looks at all changes.
    #[must_use]
    pub fn moved_from(&self, path: &RelPath) -> Option<&RelPath> {
        self.moved().find(|(_, to)| *to == path).map(|(from, _)| from)
    }

    /// Copies: a file of the old tree, and a new path that has the same content, or an edited one.
    pub fn copied(&self) -> impl Iterator<Item = (&RelPath, &RelPath)> {
        self.derived().filter(|(_, _, moved)| !*moved).map(|(from, to, _)| (from, to))
    }

    /// Every new path whose content is made from another path's, and whether that one moved there.
    fn derived(&self) -> impl Iterator<Item = (&RelPath, &RelPath, bool)> {
        let mut left: HashSet<&RelPath> = HashSet::new();
        self.changes.iter().filter_map(move |change| {
            let (base, is_tree) = source(change)?;
            let gone = || self.get(base).is_some_and(|at_base| at_base.new.is_none());
            Some((base, &change.path, is_tree || gone() && left.insert(base)))
        })
    }

    fn select(&self, want: impl Fn(&Change) -> bool) -> impl Iterator<Item = &RelPath> {
        self.changes.iter().filter(move |change| want(change)).map(|change| &change.path)
    }

    /// The index of the new tree, from that of the old one.
    ///
    /// # Errors
    /// [`Error::WrongBase`] when `old` is another tree than this diff was made from, and
    /// [`Error::Unusable`] when the diff does not lead where it says.
    pub fn apply_to(&self, old: &DirIndex) -> Result<DirIndex, Error> {
        if old.tree_id() != self.base {
            return Err(Error::WrongBase { expected: self.base, found: old.tree_id() });
        }
        let whole = self.expand(|tree| {
            let entries = collapse::below(old.records(), tree.from);
            let elsewhere = || unusable(tree.from, "the base index says something else");
            entries.filter(|entries| tree.holds(entries)).ok_or_else(elsewhere)
        })?;
        whole.apply_each_to(old)
    }

    /// [`apply_to`](DiffIndex::apply_to), of changes that list every path.
    fn apply_each_to(&self, old: &DirIndex) -> Result<DirIndex, Error> {
        let mut records = Vec::with_capacity(old.records().len() + self.changes.len());
        let mut kept = old.records().iter().peekable();
        for change in self.changes.iter() {
            while let Some(record) = kept.next_if(|record| record.entry.path < change.path) {
                records.push(Arc::clone(record));
            }
            let was = kept.next_if(|record| record.entry.path == change.path);
            if was.map(|record| &record.entry.node) != change.old.as_ref() {
                return Err(unusable(&change.path, "the base index says something else"));
            }
            if let Some(new) = &change.new {
                records.push(self.record(old, change, new)?.into());
            }
        }
        records.extend(kept.cloned());
        let index = DirIndex::from_records(records)?;
        if index.tree_id() != self.result {
            let found = index.tree_id();
            return Err(Error::WrongResult { expected: self.result, found });
        }
        Ok(index)
    }

    fn record(&self, old: &DirIndex, change: &Change, new: &NewEntry) -> Result<Record, Error> {
        let path = &change.path;
        let base = match &new.content {
            Content::Keep => Some(path),
            Content::Copy { base } => Some(base),
            Content::Whole
            | Content::Delta { .. }
            | Content::Same { .. }
            | Content::Tree { .. } => None,
        };
        let held = base.and_then(|path| old.record(path));
        if let (Content::Copy { base }, held) = (&new.content, held)
            && held.map(|record| &record.entry.node) != Some(&new.node)
        {
            return Err(unusable(base, "a copy of what the base index does not have there"));
        }
        let signature = match held {
            Some(record) if !new.node.is_empty() => record.signature.clone(),
            _ => self.holder(change).and_then(|holder| holder.new.as_ref()?.signature.clone()),
        };
        let entry = Entry { path: path.clone(), node: new.node.clone(), meta: new.meta.clone() };
        Ok(Record { entry, signature, fingerprint: None })
    }

    /// Gives change number `number` the signature of its content, which was stored without it.
    ///
    /// # Errors
    /// [`Error::Unusable`] when it is not of a content of that length that is stored.
    pub fn sign(&mut self, number: usize, signature: StoredSignature) -> Result<(), Error> {
        let Some(change) = Arc::make_mut(&mut self.changes).get_mut(number) else { return Ok(()) };
        let stored = change.stored_content().is_some();
        match &mut change.new {
            Some(new) if stored && new.node.len() == signature.file_len() => {
                new.signature = Some(signature);
                Ok(())
            }
            _ => Err(unusable(&change.path, "a signature out of place")),
        }
    }

    /// The diff as the bytes of its file, signatures included.
    ///
    /// # Errors
    /// [`Error::Sections`], when a signature cannot be loaded from its index file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, Signatures::All)?;
        Ok(bytes)
    }

    /// Writes the diff to `out`. The bytes depend on the two trees alone.
    ///
    /// # Errors
    /// [`Error::Sections`], also before anything is written, when the diff takes so much more memory than
    /// bytes that no reader would believe it.
    pub fn write_to(&self, mut out: impl Write, signatures: Signatures) -> Result<(), Error> {
        let encoded = LazyDiff::from(self).encode(Vec::new(), signatures, |_, _| ())?;
        encoded.check_held(encoded.byte_len())?;
        out.write_all(&encoded.into_inner()).map_err(|error| SectionError::Write(error).into())
    }

    /// Reads what [`to_bytes`](DiffIndex::to_bytes) wrote.
    ///
    /// # Errors
    /// [`Error::Sections`] for damage, [`Error::Unusable`] for what no two trees can give.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<DiffIndex, Error> {
        let most = max_held(bytes.len() as u64);
        Ok(DiffIndex::from_bytes_in_blocks(bytes, most)?.0)
    }

    /// Writes the diff to `path`, in one step. With the feature `scan`.
    ///
    /// # Errors
    /// [`Error::File`], around what went wrong.
    #[cfg(feature = "scan")]
    pub fn to_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        dirindex::replace_file(path, |file| {
            let mut out = std::io::BufWriter::new(file);
            self.write_to(&mut out, Signatures::All)?;
            out.flush().map_err(|error| SectionError::Write(error).into())
        })
        .map_err(|error: Error| error.in_file(path))
    }

    /// Reads the diff in the file at `path`.
    ///
    /// # Errors
    /// [`Error::File`], around what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<DiffIndex, Error> {
        let path = path.as_ref();
        DiffIndex::open(path).map_err(|error| error.in_file(path))
    }
}
