//! The indexes of a store: whole ones, and runs upon them. Knows how they follow each other and when a run is worth it, not what
//! they are of.
//!
//! A backup puts what its index has other than the one before, so that it writes what changed, and not what there is. A run
//! that is not at least twice as large as the next one is merged with it, so there are few: as in a log-structured merge tree
//! (O'Neil et al., 1996), of which the whole index is the largest run.

use archive::ReadAt;
use dirindex::{DirIndex, IndexRun, LazyIndex, TreeId};

use super::{
    IndexName, SnapshotId, Snapshots, Store, Stored, StoredIndex, StoredName, failed, open_healing,
    put,
};
use crate::error::{Error, Result};

/// An index of fewer bytes is written as a whole: one more file costs more than these.
const SMALL: u64 = 64 << 10;

/// An index of a store, and the files that it is in.
#[derive(Debug)]
pub(crate) struct IndexChain {
    /// A whole index, and the runs upon it.
    files: Vec<StoredIndex>,
    base: LazyIndex,
    runs: Vec<IndexRun>,
    index: LazyIndex,
}

impl IndexChain {
    /// Opens the index `name`, which is among `snapshots`.
    pub(crate) fn open(
        store: &dyn Store,
        snapshots: &Snapshots,
        name: IndexName,
    ) -> Result<IndexChain> {
        let files = snapshots.index_chain(name).map_err(|of| Error::IndexMissing { of })?;
        let (mut base, mut runs) = (LazyIndex::empty(), Vec::new());
        for file in &files {
            let source = open_healing(store, StoredName::Index(file.name))?;
            match file.name.since {
                None if store.directory().is_some() => base = LazyIndex::from_source(source)?,
                // What is elsewhere is read once.
                None => base = DirIndex::from_source(source)?.into(),
                Some(_) => runs.push(IndexRun::from_source(source)?),
            }
        }
        let index = base.with_runs(&runs)?;
        Ok(IndexChain { files, base, runs, index })
    }

    pub(crate) fn index(&self) -> &LazyIndex {
        &self.index
    }

    /// The names of its files, its own the last.
    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = IndexName> {
        self.files.iter().map(|file| file.name)
    }

    /// The index of the tree `tree`, if it is this one or one that it is upon.
    pub(crate) fn of(&self, tree: TreeId) -> Option<LazyIndex> {
        if self.index.tree_id() == tree {
            return Some(self.index.clone());
        }
        let ends =
            std::iter::once(self.base.tree_id()).chain(self.runs.iter().map(IndexRun::result));
        let runs = ends.take(self.files.len()).position(|end| end == tree)?;
        self.upto(runs).ok()
    }

    /// The index of the tree `tree`, if that is what the first `entries` of this one are, or of one that it is upon.
    pub(crate) fn beginning(&self, tree: TreeId, entries: usize) -> Option<LazyIndex> {
        let indexes = (0..=self.runs.len()).rev().filter_map(|runs| self.upto(runs).ok());
        let mut beginnings = indexes.filter_map(|index| index.beginning(entries).ok());
        beginnings.find(|beginning| beginning.tree_id() == tree)
    }

    /// The index that the first `runs` lead to.
    fn upto(&self, runs: usize) -> Result<LazyIndex> {
        match self.runs.get(..runs) {
            Some(first) if runs < self.runs.len() => Ok(self.base.with_runs(first)?),
            _ => Ok(self.index.clone()),
        }
    }

    /// What `index` has other than one of this chain, and how many runs lead to that. `None` where a whole index is better.
    fn run_to(&self, index: &LazyIndex) -> Result<Option<(IndexRun, usize)>> {
        if self.files.first().is_none_or(|whole| whole.size < SMALL) {
            return Ok(None);
        }
        let run = IndexRun::between(&self.index, index)?;
        let Some(upon) = upon(self.files.iter().map(|file| file.size), run.size()) else {
            return Ok(None);
        };
        let run = match upon == self.runs.len() {
            true => run,
            false => IndexRun::between(self.upto(upon)?, index)?,
        };
        Ok(Some((run, upon)))
    }
}

/// Upon which of the files of a chain, which have these sizes, a run of `size` bytes is to be: all after that are merged with it. `None`
/// when it is to be a whole index.
fn upon(
    sizes: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    size: u64,
) -> Option<usize> {
    let mut merged = size;
    let large = |&(_, before): &(usize, u64)| {
        let is_large = before / 2 > merged;
        merged = merged.saturating_add(before);
        is_large
    };
    sizes.enumerate().rev().find(large).map(|(number, _)| number)
}

/// Puts `index` as that of the snapshot `of`, as a run upon one of `chain` where that is worth it, and notes it in `files`. Gives its
/// files.
pub(crate) fn put_index(
    store: &dyn Store,
    files: &mut Vec<Stored>,
    chain: Option<&IndexChain>,
    index: &LazyIndex,
    of: SnapshotId,
) -> Result<IndexChain> {
    let run = chain.map(|chain| Ok::<_, Error>((chain, chain.run_to(index)?))).transpose()?;
    let whole = index.clone();
    let Some((chain, (run, upon))) = run.and_then(|(chain, run)| Some((chain, run?))) else {
        let name = IndexName::whole(of);
        let file = put(store, StoredName::Index(name), |out| Ok(index.write_to(out)?))?;
        let size = file.size;
        files.push(file);
        let (files, base) = (vec![StoredIndex { name, size }], whole.clone());
        return Ok(IndexChain { files, base, runs: Vec::new(), index: whole });
    };
    let before = chain.files.get(..=upon).unwrap_or_default();
    let name = IndexName { of, since: before.last().map(|file| file.name.of) };
    let file = put(store, StoredName::Index(name), |out| Ok(run.write_to(out)?))?;
    let size = file.size;
    files.push(file);
    let mut runs = chain.runs.get(..upon).unwrap_or_default().to_vec();
    runs.push(run);
    let files = before.iter().copied().chain([StoredIndex { name, size }]).collect();
    Ok(IndexChain { files, base: chain.base.clone(), runs, index: whole })
}

/// A file of an index, as it lies there: its damage shows, whatever its parity could do.
pub(crate) enum IndexFile {
    Whole(LazyIndex),
    Run(IndexRun),
}

impl IndexFile {
    /// Reads every byte of a file.
    pub(crate) fn check(store: &dyn Store, name: IndexName) -> Result<IndexFile> {
        let text = name.to_string();
        let source: Box<dyn ReadAt> =
            store.open(&text).map_err(|source| failed("open", &text, source))?;
        Ok(match name.since {
            None => {
                let index = LazyIndex::from_source(source)?;
                index.check_signatures()?;
                IndexFile::Whole(index)
            }
            Some(_) => {
                let run = IndexRun::from_source(source)?;
                run.check_signatures()?;
                IndexFile::Run(run)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::upon;

    /// However much changes each night, there are few runs, and all together nights write little more than what changed.
    #[test]
    fn runs_are_few_and_cheap() {
        for night in [1_000u64, 40_000, 300_000] {
            let (whole, mut sizes, mut written, nights) =
                (35_000_000u64, vec![35_000_000u64], 0, 2_000);
            for _ in 0..nights {
                match upon(sizes.iter().copied(), night) {
                    None => sizes = vec![whole],
                    Some(upon) => {
                        let merged: u64 = sizes.drain(upon + 1..).sum();
                        sizes.push(merged + night);
                    }
                }
                written += sizes.last().copied().unwrap_or(0);
                assert!(sizes.len() <= 16, "{sizes:?}");
            }
            assert!(written < nights * night * 16, "{night}: {}", written / nights);
        }
        // A run of which nothing is gained.
        assert_eq!(upon([1000].into_iter(), 500), None);
        assert_eq!(upon([1000, 400, 90].into_iter(), 499), None);
        assert_eq!(upon([1000, 400, 90].into_iter(), 20), Some(2));
        assert_eq!(upon([1000, 400, 90].into_iter(), 60), Some(1));
    }
}
