//! [`LazyIndex`]: an index of which little is in memory. Must not know how a tree is scanned.

mod base;
#[cfg(feature = "scan")]
mod bits;
mod chunks;
mod cursor;
mod differing;
mod layers;
mod lists;
mod rehash;
#[cfg(feature = "scan")]
mod settle;
#[cfg(feature = "scan")]
mod sort;
mod survey;
#[cfg(feature = "scan")]
mod temporary;

use std::sync::Arc;

use container::Sections;
use rsync_core::Digest;

pub(crate) use self::base::{Base, FileBase};
#[cfg(feature = "scan")]
pub(crate) use self::bits::Bits;
pub use self::chunks::RecordChunks;
use self::cursor::Cursor;
#[cfg(feature = "scan")]
pub(crate) use self::cursor::Near;
pub use self::differing::Pair;
pub(crate) use self::layers::Layers;
#[cfg(feature = "scan")]
pub(crate) use self::layers::{Edit, Found};
pub(crate) use self::lists::{RecordList, in_lists};
#[cfg(feature = "scan")]
pub(crate) use self::settle::settled;
#[cfg(feature = "scan")]
pub(crate) use self::sort::{Room, Sorter};
use self::survey::{check_links, checked};
use crate::stored::StoredSignature;
use crate::tree::Link;
use crate::{DirIndex, Error, IndexRun, Node, Problem, Record, RelPath, Remarks, Totals, TreeId};

/// A record, and the [hash](crate::directory_hash) of what is below it if it is a directory whose hash is known.
pub type HashedRecord = (Arc<Record>, Option<Digest>);

/// An index of which little is in memory: what is in a file stays there until it is needed, and an index that was made from
/// another has what differs from it. So it takes what changed, where a [`DirIndex`] takes what there is: to compare a tree of
/// ten million files with its index takes some 100 MB.
///
/// A clone is cheap. Whoever asks for a record may hear that the file cannot be read any more, or was changed meanwhile.
///
/// ```
/// use dirindex::{DirIndex, Entry, LazyIndex, Meta, Node, Record, RelPath, Time};
///
/// let mtime = Time { secs: 0, nanos: 0 };
/// let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() };
/// let entry = Entry { path: RelPath::new("a")?, node: Node::Dir, meta };
/// let index = DirIndex::from_records([Record { entry, signature: None, fingerprint: None }])?;
/// let mut file = Vec::new();
/// index.write_to(&mut file)?;
///
/// let lazy = LazyIndex::from_source(file)?;
/// assert_eq!(lazy.tree_id(), index.tree_id());
/// assert_eq!(lazy.record(&RelPath::new("a")?)?.map(|record| record.entry.node.clone()), Some(Node::Dir));
/// assert_eq!(lazy.load()?, index);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LazyIndex {
    layers: Layers,
    tree_id: TreeId,
    totals: Totals,
    remarks: Remarks,
}

impl LazyIndex {
    /// The index of a directory with nothing in it.
    #[must_use]
    pub fn empty() -> LazyIndex {
        LazyIndex::from(&DirIndex::empty())
    }

    pub(crate) fn from_sections(sections: Sections) -> Result<LazyIndex, Error> {
        let remarks = Remarks::read(&sections)?;
        LazyIndex::of_file(FileBase::open(Arc::new(sections))?, remarks)
    }

    /// The index of records that somebody else has in a file, in blocks: `read` gives those of one, in path order. All are read once now:
    /// what they say is checked. They stay in that file until they are asked for.
    ///
    /// # Errors
    /// [`Error::Entry`], and those of `read`.
    pub fn from_blocks(
        blocks: usize,
        read: impl Fn(usize) -> Result<Vec<Record>, Error> + Send + Sync + 'static,
    ) -> Result<LazyIndex, Error> {
        LazyIndex::of_file(FileBase::of_blocks(blocks, Arc::new(read))?, Remarks::default())
    }

    fn of_file(
        (base, tree_id, links): (FileBase, TreeId, Vec<Link>),
        remarks: Remarks,
    ) -> Result<LazyIndex, Error> {
        let totals = base.tree().map(|tree| tree.totals).unwrap_or_default();
        let layers = Layers::of(Base::File(Box::new(base)));
        check_links(&layers, &links)?;
        Ok(LazyIndex { layers, tree_id, totals, remarks })
    }

    #[cfg(feature = "scan")]
    pub(crate) fn new(layers: Layers, (tree_id, totals): (TreeId, Totals)) -> LazyIndex {
        LazyIndex { layers, tree_id, totals, remarks: Remarks::default() }
    }

    #[cfg(feature = "scan")]
    pub(crate) fn with_remarks(self, remarks: Remarks) -> LazyIndex {
        LazyIndex { remarks, ..self }
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The whole index, in memory.
    ///
    /// # Errors
    /// [`Error::Sections`] when a file cannot be read any more in which a part of it is.
    pub fn load(&self) -> Result<DirIndex, Error> {
        let records = match self.layers.base() {
            Base::Memory(records) if self.layers.is_base() => Arc::clone(records),
            _ => {
                let mut records = Vec::with_capacity(self.len());
                self.layers.for_each_chunk(|chunk| {
                    records.extend_from_slice(chunk);
                    Ok(())
                })?;
                Arc::new(records)
            }
        };
        Ok(DirIndex::of_parts(records, self.tree_id).with_remarks(self.remarks.clone()))
    }

    /// The identity of the tree.
    #[must_use]
    pub fn tree_id(&self) -> TreeId {
        self.tree_id
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.totals.entries() as usize
    }

    /// Whether there is nothing in the tree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the tree consists of.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What it says of the tree beside its entries.
    #[must_use]
    pub fn remarks(&self) -> &Remarks {
        &self.remarks
    }

    /// What the scan could not take in as it should, in path order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.remarks.problems()
    }

    /// The record at `path`.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn record(&self, path: &RelPath) -> Result<Option<Arc<Record>>, Error> {
        self.layers.record(path)
    }

    /// Hands over all records in path order, some at a time, until it returns an error.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load), and what `each` returns.
    pub fn for_each_chunk(
        &self,
        each: impl FnMut(&[Arc<Record>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.layers.for_each_chunk(each)
    }

    /// The records in path order, some at a time: those behind the path `after`, or all.
    #[must_use]
    pub fn chunks<'a>(&'a self, after: Option<&'a RelPath>) -> RecordChunks<'a> {
        RecordChunks::new(&self.layers, after)
    }

    /// The path of the last entry of `beginning`, if this index has the same up to there, and others behind it. `None` also where that
    /// cannot be seen without reading: each is an index by itself.
    #[must_use]
    pub fn continues<'b>(&self, beginning: &'b LazyIndex) -> Option<&'b RelPath> {
        self.layers.continues(&beginning.layers)
    }

    /// What lies right in the directory `dir`, in the top directory for `None`, in path order; with the [hash](crate::directory_hash) of each
    /// directory, where the index [has hashes](LazyIndex::has_hashes).
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn children(&self, dir: Option<&RelPath>) -> Result<Vec<HashedRecord>, Error> {
        let mut cursor = Cursor::new(self.layers.base());
        let children = cursor::children(&self.layers, dir, &mut cursor)?;
        let hashed = children.into_iter().map(|(number, record)| {
            let is_dir = record.entry.node == Node::Dir;
            let hash = match (self.tree(), self.layers.base(), number.filter(|_| is_dir)) {
                (Some(_), Base::File(file), Some(number)) => file.dir_hash(number, &mut cursor)?,
                _ => None,
            };
            Ok((record, hash))
        });
        hashed.collect()
    }

    /// Whether the hashes of directories are known: when it was opened and is as it was.
    #[must_use]
    pub fn has_hashes(&self) -> bool {
        self.tree().is_some()
    }

    /// Whether a hard link may name the file at `path`. If not, none does.
    #[must_use]
    pub fn may_be_linked(&self, path: &RelPath) -> bool {
        self.tree().is_none_or(|tree| tree.is_linked(path))
    }

    /// The tree that these records are, if the base is one, and nothing was changed.
    fn tree(&self) -> Option<&base::Tree> {
        match self.layers.base() {
            Base::File(file) if self.layers.is_base() => file.tree(),
            _ => None,
        }
    }

    /// Loads the signature of the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Sections`] when the index file it lies in is damaged there.
    pub fn signature(&self, path: &RelPath) -> Result<Option<rsync_core::Signature>, Error> {
        self.record(path)?.map_or(Ok(None), |record| record.load_signature())
    }

    /// Whether its files have signatures, as [`DirIndex::has_signatures`] has it.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn has_signatures(&self) -> Result<bool, Error> {
        let mut chunks = chunks::Chunks::new(&self.layers, None);
        while let Some(chunk) = chunks.next()? {
            if chunk.iter().any(|record| record.signature.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads every signature, which an index that was opened has not done yet.
    ///
    /// # Errors
    /// [`Error::Sections`] for the first that is damaged.
    pub fn check_signatures(&self) -> Result<(), Error> {
        self.for_each_chunk(|records| {
            let mut signatures = records.iter().filter_map(|record| record.signature.as_ref());
            signatures.try_for_each(StoredSignature::check)
        })
    }

    /// The index of the first `entries`: of a tree, since what is in a directory follows it, and a hard link the file that it
    /// names. What is [said of the scan](LazyIndex::remarks) is that of this index.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn beginning(&self, entries: usize) -> Result<LazyIndex, Error> {
        if entries >= self.len() {
            return Ok(self.clone());
        }
        let Some(last) = entries.checked_sub(1) else {
            return Ok(LazyIndex { remarks: self.remarks.clone(), ..LazyIndex::empty() });
        };
        let (mut chunks, mut before, mut end) = (chunks::Chunks::new(&self.layers, None), 0, None);
        while end.is_none()
            && let Some(chunk) = chunks.next()?
        {
            end = chunk.get(last - before).map(|record| record.entry.path.clone());
            before += chunk.len();
        }
        let layers = self.layers.up_to(end);
        let (tree_id, totals) = checked(&layers)?;
        Ok(LazyIndex { layers, tree_id, totals, remarks: self.remarks.clone() })
    }

    /// How many entries there are up to `path`, with that.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn entries_up_to(&self, path: &RelPath) -> Result<usize, Error> {
        let mut chunks = chunks::Chunks::new(&self.layers, None);
        let mut count = 0;
        while let Some(chunk) = chunks.next()? {
            let these = chunk.partition_point(|record| record.entry.path <= *path);
            count += these;
            if these < chunk.len() {
                break;
            }
        }
        Ok(count)
    }

    /// The path of the last entry.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn last_path(&self) -> Result<Option<RelPath>, Error> {
        if let Some(end) = self.layers.end() {
            return Ok(Some(end.clone()));
        }
        let mut last = None;
        self.for_each_chunk(|records| {
            last = records.last().map(|record| record.entry.path.clone());
            Ok(())
        })?;
        Ok(last)
    }

    /// The index that this and `runs` are, each of which is upon the one before it, the first upon this.
    ///
    /// # Errors
    /// [`Error::Sections`] when one is not, [`Error::Entry`].
    pub fn with_runs(&self, runs: &[IndexRun]) -> Result<LazyIndex, Error> {
        let Some(last) = runs.last() else { return Ok(self.clone()) };
        let ends = std::iter::once(self.tree_id()).chain(runs.iter().map(IndexRun::result));
        if let Some((run, _)) = runs.iter().zip(ends).find(|(run, end)| run.base() != *end) {
            return Err(run.damaged("it is upon another index".to_owned()));
        }
        let mut layers = self.layers.clone();
        for run in runs {
            run.put_upon(&mut layers)?;
        }
        let (tree_id, totals) = checked(&layers)?;
        match tree_id == last.result() {
            true => Ok(LazyIndex { layers, tree_id, totals, remarks: last.remarks().clone() }),
            false => Err(last.damaged("it does not lead to its tree".to_owned())),
        }
    }

    /// The index in which at these paths, in path order, something else stands, or nothing.
    ///
    /// # Errors
    /// [`Error::Entry`] where that is no tree; as [`load`](LazyIndex::load).
    pub fn with(&self, changes: &[(RelPath, Option<Arc<Record>>)]) -> Result<LazyIndex, Error> {
        let mut layers = self.layers.clone();
        layers.change(changes, |(path, _)| path, |(_, becomes), _| Ok(becomes.clone()))?;
        let (tree_id, totals) = checked(&layers)?;
        Ok(LazyIndex { layers, tree_id, totals, remarks: self.remarks.clone() })
    }

    /// The paths at which this and `new` do not have the same, in path order, with what they have there.
    ///
    /// # Errors
    /// As [`load`](LazyIndex::load).
    pub fn differing(&self, new: &LazyIndex) -> Result<Vec<Pair>, Error> {
        differing::differing(&self.layers, &new.layers)
    }
}

/// What is in memory stays there.
impl From<&DirIndex> for LazyIndex {
    fn from(index: &DirIndex) -> LazyIndex {
        LazyIndex {
            layers: Layers::of_memory(index.shared_records()),
            tree_id: index.tree_id(),
            totals: index.totals(),
            remarks: index.remarks().clone(),
        }
    }
}

impl From<DirIndex> for LazyIndex {
    fn from(index: DirIndex) -> LazyIndex {
        LazyIndex::from(&index)
    }
}

impl From<&LazyIndex> for LazyIndex {
    fn from(index: &LazyIndex) -> LazyIndex {
        index.clone()
    }
}
