//! [`Amendment`]: what a file had when its content was stored, where the index says something else. Must not know how
//! contents are stored.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rsync_core::{Digest, Signature};
use rustix::fs::Stat;

use crate::assemble::index_of;
use crate::read::{same_state, settled, stat_of_file};
use crate::scan::{fingerprint, meta, now};
use crate::stored::Pool;
use crate::{DirIndex, Entry, Error, Meta, Node, Problem, ProblemKind, Record, RelPath, Time};

/// The state of an open file, as the system tells it: length, times, inode, mode and owner. Two are equal when no change
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
    /// The state of `file` now.
    ///
    /// # Errors
    /// Those of `fstat`, and when it is no regular file.
    pub fn of(file: &File) -> io::Result<FileState> {
        let at = now();
        Ok(FileState { stat: stat_of_file(file)?, at })
    }

    /// The file's length.
    #[allow(clippy::len_without_is_empty, reason = "a state is not a collection")]
    pub fn len(&self) -> u64 {
        crate::read::len(&self.stat)
    }

    /// Whether the file is still as `record` has it. Always false where the record has no fingerprint.
    pub fn is_of(&self, record: &Record) -> bool {
        let known =
            record.fingerprint.is_some_and(|known| known.is_of_same(&fingerprint(&self.stat)));
        known && record.entry.node.len() == self.len()
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

impl DirIndex {
    /// This index with what was stored in place of what was scanned. A file that is gone has no entry any more. A file
    /// that changed while it was stored is named among the [`problems`](DirIndex::problems).
    ///
    /// # Errors
    /// [`Error::Entry`] when the amendments do not go with the index.
    pub fn amended(&self, mut amendments: Vec<Amendment>) -> Result<DirIndex, Error> {
        amendments.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let is_amended = |path: &RelPath| amendments.binary_search_by(|a| a.path.cmp(path)).is_ok();
        let mut problems: Vec<Problem> = self.problems().to_vec();
        problems.retain(|p| p.kind != ProblemKind::Unstable || !is_amended(&p.path));
        let (mut records, mut pool) = (Vec::with_capacity(self.len()), Pool::default());
        let mut amendments = amendments.into_iter().peekable();
        for record in self.records() {
            let Some(Amendment { path, stored }) =
                amendments.next_if(|amendment| amendment.path == record.entry.path)
            else {
                records.push(Arc::clone(record));
                continue;
            };
            let Some(stored) = stored else { continue };
            if !stored.held_still {
                let detail = "stored while it changed".into();
                problems.push(Problem::new(path, ProblemKind::Changing, detail));
            }
            records.push(amended(record, stored, &mut pool).into());
        }
        let index = index_of(records, problems, self.excluded().to_vec())?;
        Ok(index.with_top_mode(self.top_mode()))
    }
}

/// `record` of the file as it was stored. Its attributes are those that were scanned.
fn amended(record: &Record, stored: StoredFile, pool: &mut Pool) -> Record {
    let StoredFile { len, digest, signature, state: FileState { stat, at }, held_still } = stored;
    let Entry { path, meta: Meta { xattrs, .. }, .. } = record.entry.clone();
    let is_firm = held_still && signature.is_some() && settled(&stat, at);
    let fingerprint = is_firm.then(|| fingerprint(&stat).read_at(at));
    let meta = Meta { xattrs, ..meta(&stat) };
    let signature = signature.filter(|_| len > 0).map(|signature| pool.keep(signature));
    Record { entry: Entry { path, node: Node::File { len, digest }, meta }, signature, fingerprint }
}
