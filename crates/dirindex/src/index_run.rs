//! [`IndexRun`]: what an index has other than an older one, and the file of that, as `docs/format.md` has it. Must not know where
//! the older one is kept.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use container::{FileKind, List, ReadAt, Section, SectionError, Sections, Writer};
use rsync_core::Digest;
use serde::{Deserialize, Serialize};

use crate::index_file::{EXCLUDED, PROBLEMS, ROWS_PER_SECTION, SIGNATURES};
use crate::lazy::Layers;
use crate::stored::{self, ShapeCode, SignatureReader, StoredSignature};
use crate::{
    DirIndex, Entry, Error, LazyIndex, Node, Pair, Record, RelPath, Remarks, StatFingerprint,
    TreeId,
};

const FILE_KIND: FileKind = FileKind {
    letters: *b"IRUN",
    lists: &[
        List { kind: CHANGES, rows: ROWS_PER_SECTION, row_room: 256 },
        List { kind: PROBLEMS, rows: ROWS_PER_SECTION, row_room: 256 },
        List { kind: EXCLUDED, rows: ROWS_PER_SECTION, row_room: 64 },
    ],
};
const CHANGES: u32 = 1;
const TREE_IDS: u32 = 7;

/// About how many bytes the file of a run without changes has.
const EMPTY: u64 = 500;

/// What an index has other than an older one, its base: the base and the run are the index. It has the size of what changed, where
/// an index has that of the tree.
///
/// ```
/// use dirindex::{DirIndex, Entry, IndexRun, Meta, Node, Record, RelPath, Time};
///
/// let dir = |path: &str| -> Result<Record, Box<dyn std::error::Error>> {
///     let mtime = Time { secs: 0, nanos: 0 };
///     let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() };
///     let entry = Entry { path: RelPath::new(path)?, node: Node::Dir, meta };
///     Ok(Record { entry, signature: None, fingerprint: None })
/// };
/// let old = DirIndex::from_records([dir("a")?, dir("b")?])?;
/// let new = DirIndex::from_records([dir("b")?, dir("c")?])?;
/// let mut file = Vec::new();
/// IndexRun::between(&old, &new)?.write_to(&mut file)?;
/// assert_eq!(old.with_runs(&[IndexRun::from_bytes(file)?])?, new);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct IndexRun {
    base: TreeId,
    result: TreeId,
    /// In path order.
    changes: Vec<Change>,
    remarks: Remarks,
    /// Where it was read from, for errors that say where in it. `None` for a run that was not read.
    file: Option<Arc<Sections>>,
}

#[derive(Debug, Clone)]
enum Change {
    Gone(RelPath),
    /// Only the fingerprint is another.
    Seen(RelPath, Option<StatFingerprint>),
    Stands(Arc<Record>, SignatureFrom),
}

/// Where the signature of a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SignatureFrom {
    /// There, if it has one.
    Record,
    /// What this path of the base has: it has the same content.
    Base(RelPath),
}

/// [`Change`] as it is encoded; `E` is an [`Entry`] or a reference to one.
#[derive(Serialize, Deserialize)]
enum Row<E> {
    Gone(RelPath),
    Seen(RelPath, Option<StatFingerprint>),
    Stands(E, Option<StatFingerprint>, SignatureCode),
}

#[derive(Serialize, Deserialize)]
enum SignatureCode {
    None,
    Here(ShapeCode),
    Base(RelPath),
}

impl IndexRun {
    /// What `index` has other than `base`.
    ///
    /// # Errors
    /// [`Error::Sections`] when a file cannot be read any more in which a part of them is. What is in memory can always be compared.
    pub fn between(
        base: impl Into<LazyIndex>,
        index: impl Into<LazyIndex>,
    ) -> Result<IndexRun, Error> {
        let (base, index) = (base.into(), index.into());
        let pairs = base.differing(&index)?;
        // A file that moved has its signature at a path that is gone.
        let gone = pairs.iter().filter(|pair| pair.new.is_none());
        let gone = gone.filter_map(|pair| pair.old.as_deref());
        let gone: HashMap<Digest, &Record> =
            gone.filter_map(|record| Some((digest(record)?, record))).collect();
        let change = |Pair { old, new }: &Pair| {
            let old = old.as_deref();
            let Some(new) = new else { return Some(Change::Gone(old?.entry.path.clone())) };
            if let Some(old) = old
                && old.entry == new.entry
                && old.has_same_signature(new)
            {
                return Some(Change::Seen(new.entry.path.clone(), new.fingerprint));
            }
            let moved = digest(new).and_then(|digest| gone.get(&digest).copied());
            let mut same = [old, moved].into_iter().flatten();
            let same = same.find(|old| new.signature.is_some() && old.has_same_signature(new));
            let signature = same.map(|old| SignatureFrom::Base(old.entry.path.clone()));
            Some(Change::Stands(Arc::clone(new), signature.unwrap_or(SignatureFrom::Record)))
        };
        Ok(IndexRun {
            base: base.tree_id(),
            result: index.tree_id(),
            changes: pairs.iter().filter_map(change).collect(),
            remarks: index.remarks().clone(),
            file: None,
        })
    }

    /// The tree of the index that it is upon.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.base
    }

    /// The tree of the index that both are.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.result
    }

    /// About how many bytes its file has.
    #[must_use]
    pub fn size(&self) -> u64 {
        let of = |change: &Change| match change {
            Change::Gone(path) | Change::Seen(path, _) => path.as_bytes().len() as u64,
            Change::Stands(record, SignatureFrom::Base(_)) => record.entry.weight() as u64,
            Change::Stands(record, SignatureFrom::Record) => {
                let signature = record.signature.as_ref().map_or(0, StoredSignature::packed_len);
                signature.saturating_add(record.entry.weight() as u64)
            }
        };
        self.changes.iter().map(of).fold(EMPTY, u64::saturating_add)
    }

    /// Writes the run to `out`.
    ///
    /// # Errors
    /// [`Error::Sections`].
    pub fn write_to(&self, out: impl Write) -> Result<(), Error> {
        let mut writer = Writer::new(out, FILE_KIND)?;
        writer.section(&Section::encode(TREE_IDS, &(self.base, self.result))?)?;
        let weight = |change: &Change| match change {
            Change::Gone(path) | Change::Seen(path, _) => path.as_bytes().len(),
            Change::Stands(record, _) => record.entry.weight(),
        };
        for list in container::cut(&self.changes, ROWS_PER_SECTION, weight) {
            let rows: Vec<Row<&Entry>> = list.iter().map(Change::row).collect();
            writer.section(&Section::encode(CHANGES, &rows)?)?;
        }
        self.remarks.write(&mut writer)?;
        let signatures = self.changes.iter().filter_map(Change::signature);
        stored::write_signatures(&mut writer, SIGNATURES, signatures)?;
        writer.finish()?;
        Ok(())
    }

    /// Opens the run that `source` holds. Signatures stay there until they are asked for.
    ///
    /// # Errors
    /// [`Error::Sections`].
    pub fn from_source(source: impl ReadAt + 'static) -> Result<IndexRun, Error> {
        IndexRun::from_sections(Sections::from_source(Box::new(source), FILE_KIND)?)
    }

    /// Opens the run that `bytes` are.
    ///
    /// # Errors
    /// [`Error::Sections`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<IndexRun, Error> {
        IndexRun::from_sections(Sections::from_bytes(bytes, FILE_KIND)?)
    }

    fn from_sections(sections: Sections) -> Result<IndexRun, Error> {
        let sections = Arc::new(sections);
        let ids = sections.of_kind(TREE_IDS).next();
        let ids = ids.ok_or_else(|| sections.damaged(TREE_IDS, "no tree ids"))?;
        let (base, result) = sections.decode(ids)?;
        let remarks = Remarks::read(&sections)?;
        let mut signatures = SignatureReader::new(Arc::clone(&sections), SIGNATURES)?;
        let mut changes: Vec<Change> = Vec::new();
        for row in sections.decode_all::<Row<Entry>>(CHANGES)? {
            let change = Change::of(row, &mut signatures)?;
            if changes.last().is_some_and(|last| last.path() >= change.path()) {
                return Err(sections.damaged(CHANGES, "the paths are not in order").into());
            }
            changes.push(change);
        }
        signatures.finish()?;
        Ok(IndexRun { base, result, changes, remarks, file: Some(sections) })
    }

    /// Reads every signature that it has, which opening has not done yet.
    ///
    /// # Errors
    /// [`Error::Sections`] for the first that is damaged.
    pub fn check_signatures(&self) -> Result<(), Error> {
        let mut signatures = self.changes.iter().filter_map(Change::signature);
        signatures.try_for_each(StoredSignature::check)
    }

    /// Makes of the index that it is upon what both are.
    pub(crate) fn put_upon(&self, layers: &mut Layers) -> Result<(), Error> {
        let base = layers.clone();
        let missing = |path: &RelPath| self.damaged(format!("the index before has no {path}"));
        let becomes = |change: &Change, stands: Option<&Arc<Record>>| match change {
            Change::Gone(path) => stands.map(|_| None).ok_or_else(|| missing(path)),
            Change::Seen(path, fingerprint) => {
                let stands = stands.ok_or_else(|| missing(path))?;
                let seen = Record { fingerprint: *fingerprint, ..Record::clone(stands) };
                Ok(Some(seen.into()))
            }
            Change::Stands(record, SignatureFrom::Record) => Ok(Some(Arc::clone(record))),
            Change::Stands(record, SignatureFrom::Base(path)) => {
                let same = match *path == record.entry.path {
                    true => stands.cloned(),
                    false => base.record(path)?,
                };
                let same = same.filter(|old| old.entry.node == record.entry.node);
                let Some(signature) = same.and_then(|old| old.signature.clone()) else {
                    let problem = format!("the index before has no signature of {path}");
                    return Err(self.damaged(problem));
                };
                let signature = Some(signature);
                Ok(Some(Record { signature, ..Record::clone(record) }.into()))
            }
        };
        layers.change(&self.changes, Change::path, becomes)
    }

    pub(crate) fn remarks(&self) -> &Remarks {
        &self.remarks
    }

    pub(crate) fn damaged(&self, problem: String) -> Error {
        match &self.file {
            Some(sections) => sections.damaged(CHANGES, &problem).into(),
            None => SectionError::Damaged { offset: 0, problem }.into(),
        }
    }
}

impl DirIndex {
    /// The index that this and `runs` are, each of which is upon the one before it, the first upon this.
    ///
    /// # Errors
    /// [`Error::Sections`] when one is not, [`Error::Entry`].
    pub fn with_runs(&self, runs: &[IndexRun]) -> Result<DirIndex, Error> {
        LazyIndex::from(self).with_runs(runs)?.load()
    }
}

impl Change {
    fn path(&self) -> &RelPath {
        match self {
            Change::Gone(path) | Change::Seen(path, _) => path,
            Change::Stands(record, _) => &record.entry.path,
        }
    }

    /// The signature that is written with it.
    fn signature(&self) -> Option<&StoredSignature> {
        match self {
            Change::Stands(record, SignatureFrom::Record) => record.signature.as_ref(),
            _ => None,
        }
    }

    fn row(&self) -> Row<&Entry> {
        match self {
            Change::Gone(path) => Row::Gone(path.clone()),
            Change::Seen(path, fingerprint) => Row::Seen(path.clone(), *fingerprint),
            Change::Stands(record, from) => {
                let code = match from {
                    SignatureFrom::Base(path) => SignatureCode::Base(path.clone()),
                    SignatureFrom::Record => {
                        let code = record.signature.as_ref().map(StoredSignature::code);
                        code.map_or(SignatureCode::None, SignatureCode::Here)
                    }
                };
                Row::Stands(&record.entry, record.fingerprint, code)
            }
        }
    }

    fn of(row: Row<Entry>, signatures: &mut SignatureReader) -> Result<Change, SectionError> {
        let (entry, fingerprint, code) = match row {
            Row::Gone(path) => return Ok(Change::Gone(path)),
            Row::Seen(path, fingerprint) => return Ok(Change::Seen(path, fingerprint)),
            Row::Stands(entry, fingerprint, code) => (entry, fingerprint, code),
        };
        let (code, from) = match code {
            SignatureCode::None => (None, SignatureFrom::Record),
            SignatureCode::Here(code) => (Some(code), SignatureFrom::Record),
            SignatureCode::Base(path) => (None, SignatureFrom::Base(path)),
        };
        let signature = signatures.next(code, entry.node.len())?;
        Ok(Change::Stands(Record { entry, signature, fingerprint }.into(), from))
    }
}

fn digest(record: &Record) -> Option<Digest> {
    match record.entry.node {
        Node::File { digest, .. } => Some(digest),
        _ => None,
    }
}
