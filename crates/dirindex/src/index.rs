//! [`DirIndex`]: what a tree had in it at one moment. Must not know how a tree is scanned, how two indexes compare, or how
//! an index is stored.

use std::sync::Arc;

use container::{SectionError, codec};

use crate::stored::StoredSignature;
use crate::tree;
use crate::{Entry, Error, Node, Problem, ProblemKind, RelPath, StatFingerprint, TreeId};

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

/// The state of a directory tree: every entry in path order, and the signatures of its files.
#[derive(Debug, Clone)]
pub struct DirIndex {
    records: Vec<Arc<Record>>,
    tree_id: TreeId,
    remarks: Remarks,
}

/// What an index says of the tree beside its entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remarks {
    pub(crate) problems: Vec<Problem>,
    pub(crate) excluded: Vec<RelPath>,
    pub(crate) top_mode: Option<u32>,
}

impl DirIndex {
    /// The index of a directory with nothing in it: the base of a full backup.
    #[must_use]
    pub fn empty() -> DirIndex {
        DirIndex {
            records: Vec::new(),
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
        DirIndex::from_checked(records)
    }

    /// An index of records that [`tree::check`] has nothing against.
    pub(crate) fn from_checked(records: Vec<Arc<Record>>) -> Result<DirIndex, Error> {
        let tree_id = tree::id_of(&records)?;
        Ok(DirIndex { records, tree_id, remarks: Remarks::default() })
    }

    pub(crate) fn with_problems(mut self, mut problems: Vec<Problem>) -> DirIndex {
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        self.remarks.problems = problems;
        self
    }

    /// `excluded` is in path order, and no path in it lies below another.
    pub(crate) fn with_excluded(mut self, excluded: Vec<RelPath>) -> DirIndex {
        self.remarks.excluded = excluded;
        self
    }

    /// The index of the first `entries`: of a tree, since what is in a directory follows it, and a hard link the file that it
    /// names. What is [said of the scan](DirIndex::problems) is that of this index.
    ///
    /// # Errors
    /// [`Error::Sections`] for what cannot be encoded.
    pub fn beginning(&self, entries: usize) -> Result<DirIndex, Error> {
        let records = self.records.get(..entries).unwrap_or(&self.records).to_vec();
        Ok(DirIndex::from_checked(records)?.with_remarks(self.remarks.clone()))
    }

    /// This index for a scan that is to read every file again.
    #[must_use]
    pub fn without_fingerprints(&self) -> DirIndex {
        let without = |record: &Arc<Record>| {
            let has_one = record.fingerprint.is_some();
            if has_one {
                Record { fingerprint: None, ..Record::clone(record) }.into()
            } else {
                record.clone()
            }
        };
        DirIndex { records: self.records.iter().map(without).collect(), ..self.clone() }
    }

    pub(crate) fn with_top_mode(mut self, mode: Option<u32>) -> DirIndex {
        self.remarks.top_mode = mode;
        self
    }

    pub(crate) fn remarks(&self) -> &Remarks {
        &self.remarks
    }

    pub(crate) fn with_remarks(self, remarks: Remarks) -> DirIndex {
        DirIndex { remarks, ..self }
    }

    /// The permission bits that the top directory itself had, if the tree was scanned: what is made for the tree
    /// need be no more open. No part of the tree id.
    #[must_use]
    pub fn top_mode(&self) -> Option<u32> {
        self.remarks.top_mode
    }

    /// What stood in the tree and is not in the index, with all below it, in path order; none lies below another:
    /// what a rule [left out](DirIndex::excluded), and what could not be read. That it is not in a backup does not
    /// mean that it may go.
    #[must_use]
    pub fn left_out(&self) -> Vec<RelPath> {
        use ProblemKind::{Unreadable, Unstable, Unsupported};
        let problems = self.problems().iter();
        let unread = problems
            .filter(|problem| matches!(problem.kind, Unreadable | Unstable | Unsupported))
            .map(|problem| &problem.path);
        let mut paths: Vec<RelPath> = self.excluded().iter().chain(unread).cloned().collect();
        paths.sort_unstable();
        paths.dedup_by(|path, above| path == above || path.is_below(above));
        paths
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
        self.shared(path).map(Arc::as_ref)
    }

    /// [`record`](DirIndex::record), to be shared with another index.
    pub(crate) fn shared(&self, path: &RelPath) -> Option<&Arc<Record>> {
        let found = self.records.binary_search_by(|record| record.entry.path.cmp(path));
        found.ok().and_then(|at| self.records.get(at))
    }

    /// Loads the signature of the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Sections`] when the index file it lies in is damaged there.
    pub fn signature(&self, path: &RelPath) -> Result<Option<rsync_core::Signature>, Error> {
        let Some(record) = self.record(path) else { return Ok(None) };
        let (Some(stored), Node::File { digest, .. }) = (&record.signature, &record.entry.node)
        else {
            return Ok(None);
        };
        stored.load(*digest).map(Some)
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

    /// What the scan could not take in as it should, in path order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.remarks.problems
    }

    /// What is in the tree and was left out by a rule, with all below it, in path order: a path that
    /// an older index has and that stands here has not been deleted. A directory may be in the
    /// index itself and only its content be left out. No part of the tree id.
    #[must_use]
    pub fn excluded(&self) -> &[RelPath] {
        &self.remarks.excluded
    }

    /// Whether `path` was left out of the scan by a rule, by itself or with a directory above it.
    #[must_use]
    pub fn is_excluded(&self, path: &RelPath) -> bool {
        let excluded = self.excluded();
        let after = excluded.partition_point(|excluded| excluded <= path);
        let before = after.checked_sub(1).and_then(|at| excluded.get(at));
        before.is_some_and(|excluded| path == excluded || path.is_below(excluded))
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
