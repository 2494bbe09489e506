//! [`DirIndex`]: what a tree had in it at one moment. Must not know how a tree is scanned, how two indexes compare, or how
//! an index is stored.

use std::sync::Arc;

use container::{SectionError, codec};

use crate::stored::StoredSignature;
use crate::tree;
use crate::{Entry, Error, Node, Problem, RelPath, Remarks, StatFingerprint, Time, Totals, TreeId};

/// An entry and what the index keeps beside it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What a restore brings back.
    pub entry: Entry,
    /// The signature of a file of 1 byte or more.
    pub signature: Option<StoredSignature>,
    /// Absent where the next scan has to read again.
    pub fingerprint: Option<StatFingerprint>,
}

impl Record {
    /// Whether both say the same of a path, of its signature and of when it has to be read again. Where the contents are the same,
    /// signatures of one shape are, too.
    pub(crate) fn is_same(&self, other: &Record) -> bool {
        std::ptr::eq(self, other)
            || self.fingerprint == other.fingerprint && self.is_same_file(other)
    }

    /// Whether both say the same of a path and of its signature.
    pub(crate) fn is_same_file(&self, other: &Record) -> bool {
        self.entry == other.entry && self.has_same_signature(other)
    }

    /// Whether both have the same content, and signatures of one shape or none. Then these are the same.
    pub(crate) fn has_same_signature(&self, other: &Record) -> bool {
        let code = |record: &Record| record.signature.as_ref().map(StoredSignature::code);
        self.entry.node == other.entry.node && code(self) == code(other)
    }

    /// Loads the signature of the file, if it has one.
    ///
    /// # Errors
    /// [`Error::Sections`] when the index file it lies in is damaged there.
    pub fn load_signature(&self) -> Result<Option<rsync_core::Signature>, Error> {
        match (&self.signature, &self.entry.node) {
            (Some(stored), Node::File { digest, .. }) => stored.load(*digest).map(Some),
            _ => Ok(None),
        }
    }
}

/// The state of a directory tree: every entry in path order, and the signatures of its files.
///
/// It is in memory as a whole; see [`LazyIndex`](crate::LazyIndex) for trees of millions of files. A clone is cheap.
#[derive(Debug, Clone)]
pub struct DirIndex {
    records: Arc<Vec<Arc<Record>>>,
    tree_id: TreeId,
    remarks: Remarks,
}

impl DirIndex {
    /// The index of a directory with nothing in it: the base of a full backup.
    #[must_use]
    pub fn empty() -> DirIndex {
        DirIndex {
            records: Arc::default(),
            tree_id: tree::id_of::<Arc<Record>>(&[]).unwrap_or(TreeId([0; 32])),
            remarks: Remarks::default(),
        }
    }

    /// An index of these records, in any order. Records that come from another index are shared with
    /// it when they come as they are there.
    ///
    /// # Errors
    /// [`Error::Entry`] names the first that cannot stand beside the others: a path twice, a path
    /// whose parent is missing or no directory, a hard link to no file before it, unusable metadata.
    pub fn from_records<R: Into<Arc<Record>>>(
        records: impl IntoIterator<Item = R>,
    ) -> Result<DirIndex, Error> {
        let mut records: Vec<Arc<Record>> = records.into_iter().map(Into::into).collect();
        if !records.is_sorted_by(|a, b| a.entry.path <= b.entry.path) {
            records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        }
        DirIndex::from_sorted(records)
    }

    /// An index of records that are in path order.
    pub(crate) fn from_sorted(records: Vec<Arc<Record>>) -> Result<DirIndex, Error> {
        tree::check(&records)?;
        let tree_id = tree::id_of(&records)?;
        Ok(DirIndex::of_parts(Arc::new(records), tree_id))
    }

    /// An index of records that are those of the tree `tree_id`.
    pub(crate) fn of_parts(records: Arc<Vec<Arc<Record>>>, tree_id: TreeId) -> DirIndex {
        DirIndex { records, tree_id, remarks: Remarks::default() }
    }

    pub(crate) fn shared_records(&self) -> &Arc<Vec<Arc<Record>>> {
        &self.records
    }

    /// What it says of the tree beside its entries.
    #[must_use]
    pub fn remarks(&self) -> &Remarks {
        &self.remarks
    }

    pub(crate) fn with_remarks(self, remarks: Remarks) -> DirIndex {
        DirIndex { remarks, ..self }
    }

    /// This index, of which [`Remarks::early_from`] is `early_from`. Without that, a scan takes every file of an index that it did not
    /// make itself for one that was read early.
    #[must_use]
    pub fn with_early_from(mut self, early_from: Time) -> DirIndex {
        self.remarks.early_from = early_from;
        self
    }

    /// [`Remarks::top_mode`].
    #[must_use]
    pub fn top_mode(&self) -> Option<u32> {
        self.remarks.top_mode()
    }

    /// [`Remarks::left_out`].
    #[must_use]
    pub fn left_out(&self) -> Vec<RelPath> {
        self.remarks.left_out()
    }

    /// [`Remarks::problems`].
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.remarks.problems()
    }

    /// [`Remarks::excluded`].
    #[must_use]
    pub fn excluded(&self) -> &[RelPath] {
        self.remarks.excluded()
    }

    /// [`Remarks::is_excluded`].
    #[must_use]
    pub fn is_excluded(&self, path: &RelPath) -> bool {
        self.remarks.is_excluded(path)
    }

    /// The identity of the tree.
    #[must_use]
    pub fn tree_id(&self) -> TreeId {
        self.tree_id
    }

    /// Every record, in path order.
    #[must_use]
    pub fn records(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing in the tree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Every entry, in path order.
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> + DoubleEndedIterator {
        self.records.iter().map(|record| &record.entry)
    }

    /// The paths that are not directories, in path order.
    pub fn files(&self) -> impl Iterator<Item = &RelPath> {
        self.entries().filter(|entry| entry.node != Node::Dir).map(|entry| &entry.path)
    }

    /// The paths of all directories below the root, in path order.
    pub fn subdirs(&self) -> impl Iterator<Item = &RelPath> {
        self.entries().filter(|entry| entry.node == Node::Dir).map(|entry| &entry.path)
    }

    /// What the index says of `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.record(path).map(|record| &record.entry)
    }

    /// The whole record at `path`.
    pub fn record(&self, path: &RelPath) -> Option<&Record> {
        let found = self.records.binary_search_by(|record| record.entry.path.cmp(path));
        found.ok().and_then(|at| self.records.get(at)).map(Arc::as_ref)
    }

    /// What the tree consists of.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.entries().collect()
    }

    /// Loads the signature of the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Sections`] when the index file it lies in is damaged there.
    pub fn signature(&self, path: &RelPath) -> Result<Option<rsync_core::Signature>, Error> {
        self.record(path).map_or(Ok(None), Record::load_signature)
    }

    /// Whether its files have signatures. Those of a scan [without](crate::ScanOptions::signature) have none, nor have those
    /// of an empty tree.
    #[must_use]
    pub fn has_signatures(&self) -> bool {
        self.records().iter().any(|record| record.signature.is_some())
    }

    /// Reads every signature, which an index that was opened has not done yet.
    ///
    /// # Errors
    /// [`Error::Sections`] for the first that is damaged.
    pub fn check_signatures(&self) -> Result<(), Error> {
        let mut signatures = self.records().iter().filter_map(|record| record.signature.as_ref());
        signatures.try_for_each(StoredSignature::check)
    }

    /// A fingerprint of names, kinds and contents alone, whatever the modes, owners and times.
    pub fn content_hash(&self) -> Result<rsync_core::Digest, Error> {
        content_hash(self.entries().map(|entry| (&entry.path, &entry.node)))
    }
}

/// The entries, in path order.
impl<'a> IntoIterator for &'a DirIndex {
    type Item = &'a Entry;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Arc<Record>>, fn(&Arc<Record>) -> &Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter().map(|record| &record.entry)
    }
}

/// Two indexes are equal when they describe the same tree.
impl PartialEq for DirIndex {
    fn eq(&self, other: &DirIndex) -> bool {
        self.tree_id == other.tree_id
    }
}

/// [`DirIndex::content_hash`] of an index with these paths, which are in path order, and what is there.
///
/// # Errors
/// [`Error::Sections`] for what cannot be encoded.
pub fn content_hash<'a>(
    nodes: impl IntoIterator<Item = (&'a RelPath, &'a Node)>,
) -> Result<rsync_core::Digest, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::new();
    for row in nodes {
        buffer.clear();
        codec::encode_into(&row, &mut buffer).map_err(SectionError::Encode)?;
        hasher.update(&buffer);
    }
    Ok(rsync_core::Digest(*hasher.finalize().as_bytes()))
}
