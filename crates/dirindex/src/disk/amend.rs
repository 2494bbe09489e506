//! Amending an index: entries of files that changed after the scan become what was stored of them, or what was there before.
//! Must not know how contents are stored.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use rsync_core::{Digest, Signature};
use rustix::fs::{FileType, Stat, fstat};

use super::assemble::keep;
use super::read::{ctime, same_state, settled};
use super::scan::{meta, now};
use super::unchanged::{fingerprint, is_early};
use crate::lazy::{Edit, Layers};
use crate::stored::Pool;
use crate::{
    Entry, Error, LazyIndex, Meta, Node, Problem, ProblemKind, Record, RelPath, Remarks, Time,
};

/// The state of an open file, as the system reports it: length, times, inode, mode and owner. Two are equal when no change
/// shows between them.
#[derive(Debug, Clone, Copy)]
pub struct FileState {
    stat: Stat,
    /// When the system was asked.
    at: Time,
}

impl PartialEq for FileState {
    fn eq(&self, other: &FileState) -> bool {
        same_state(&self.stat, &other.stat)
    }
}

impl FileState {
    /// The state of `file` now; `None` when it is no regular file.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn of(file: &File) -> io::Result<Option<FileState>> {
        let at = now();
        let stat = fstat(file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(is_file.then_some(FileState { stat, at }))
    }

    /// The file's length.
    #[allow(clippy::len_without_is_empty, reason = "a state is not a collection")]
    #[must_use]
    pub fn len(&self) -> u64 {
        super::read::len(&self.stat)
    }

    /// Whether the file is still as `record` has it. Always false where the record has no fingerprint.
    #[must_use]
    pub fn is_of(&self, record: &Record) -> bool {
        record.fingerprint == Some(fingerprint(&self.stat)) && record.entry.node.len() == self.len()
    }
}

/// What became of a file between the scan and the moment its content was stored.
#[derive(Debug)]
pub struct Amendment {
    /// Where.
    pub path: RelPath,
    /// What was stored; `None` when there was no such file any more.
    pub stored: Option<StoredFile>,
}

/// A file as it was stored.
#[derive(Debug)]
pub struct StoredFile {
    /// How many bytes were stored.
    pub len: u64,
    /// Their digest.
    pub digest: Digest,
    /// Their signature, if it was made. Without one the next backup stores the file whole.
    pub signature: Option<Signature>,
    /// The file's state when it was opened.
    pub state: FileState,
    /// Whether its state was the same after it was read. If not, the content may be of no single moment.
    pub held_still: bool,
}

impl LazyIndex {
    /// This index with what was stored in place of what was scanned. A file that is gone has no entry any more. A file
    /// that changed while it was stored is named among the [`problems`](LazyIndex::problems).
    ///
    /// # Errors
    /// [`Error::Entry`] when the amendments do not go with the index, [`Error::Sections`].
    pub fn amended(&self, mut amendments: Vec<Amendment>) -> Result<LazyIndex, Error> {
        amendments.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let is_amended = |path: &RelPath| amendments.binary_search_by(|a| a.path.cmp(path)).is_ok();
        let mut problems: Vec<Problem> = self.problems().to_vec();
        problems.retain(|p| p.kind != ProblemKind::Unstable || !is_amended(&p.path));
        let (mut edits, mut pool) = (Vec::with_capacity(amendments.len()), Pool::default());
        let mut early_from = self.remarks().early_from();
        for Amendment { path, stored } in amendments {
            let Some(record) = self.record(&path)? else { continue };
            let Some(stored) = stored else {
                edits.push(Edit::Remove(path));
                continue;
            };
            if !stored.held_still {
                let detail = "stored while it changed".into();
                problems.push(Problem::new(path, ProblemKind::Changing, detail));
            }
            let FileState { stat, at } = &stored.state;
            if is_early(ctime(stat), *at) {
                early_from = early_from.min(ctime(stat));
            }
            edits.push(Edit::Put(amended(&record, stored, &mut pool).into()));
        }
        let remarks = Remarks { early_from, ..self.remarks().clone() };
        edited(self.layers().clone(), edits, remarks.with_problems(problems))
    }

    /// The index that this is the [beginning](LazyIndex::beginning) of, with what was [amended](LazyIndex::amended) of the
    /// beginning.
    ///
    /// # Errors
    /// [`Error::Entry`] when the two do not go together, [`Error::Sections`].
    pub fn whole(&self) -> Result<LazyIndex, Error> {
        edited(self.layers().up_to(None), Vec::new(), self.remarks().clone())
    }

    /// This index with what `previous` has of the file at `path` and of its other names, or without
    /// them: for a file that never holds still long enough to be stored as it was scanned. Each is
    /// named among the [`problems`](LazyIndex::problems).
    ///
    /// # Errors
    /// [`Error::Entry`] when the two indexes do not go together, [`Error::Sections`].
    pub fn hold_back(&self, path: &RelPath, previous: &LazyIndex) -> Result<LazyIndex, Error> {
        let mut names = BTreeSet::from([path.clone()]);
        self.for_each_chunk(|records| {
            let entries = records.iter().map(|record| &record.entry);
            let links =
                entries.filter(|it| matches!(&it.node, Node::HardLink { to } if to == path));
            names.extend(links.map(|link| link.path.clone()));
            Ok(())
        })?;
        let mut layers = self.layers().clone();
        layers.edit(names.iter().cloned().map(Edit::Remove).collect())?;
        let there = names.iter().map(|name| previous.record(name));
        let there: Vec<_> = there.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        keep(&mut layers, previous, &there, |entry| {
            names.contains(&entry.path) && entry.node != Node::Dir
        })?;
        let mut problems: Vec<Problem> = self.problems().to_vec();
        problems.retain(|problem| !names.contains(&problem.path));
        for name in names {
            let detail = match layers.record(&name)? {
                Some(_) => "changed whenever it was to be stored: kept as it was before",
                None => "changed whenever it was to be stored: left out",
            };
            problems.push(Problem::new(name, ProblemKind::Unstable, detail.into()));
        }
        edited(layers, Vec::new(), self.remarks().clone().with_problems(problems))
    }
}

/// The index of what `edits` make of `layers`, with these remarks.
fn edited(mut layers: Layers, edits: Vec<Edit>, remarks: Remarks) -> Result<LazyIndex, Error> {
    layers.edit(edits)?;
    Ok(LazyIndex::settled(layers)?.with_remarks(remarks))
}

/// `record` of the file as it was stored. Its attributes are those that were scanned.
fn amended(record: &Record, stored: StoredFile, pool: &mut Pool) -> Record {
    let StoredFile { len, digest, signature, state: FileState { stat, at }, held_still } = stored;
    let Entry { path, meta: Meta { xattrs, .. }, .. } = record.entry.clone();
    let is_firm = held_still && signature.is_some() && settled(&stat, at);
    let fingerprint = is_firm.then(|| fingerprint(&stat));
    let meta = Meta { xattrs, ..meta(&stat) };
    let signature = signature.filter(|_| len > 0).map(|signature| pool.keep(signature));
    Record { entry: Entry { path, node: Node::File { len, digest }, meta }, signature, fingerprint }
}
