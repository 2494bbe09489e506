//! What a backup starts from: the newest snapshot that its archives lead to, and the index of it. Knows nothing of the tree.

use archive::{Archive, Labels, Snapshot};
use dirindex::{DirIndex, LazyIndex, TreeId};

use super::{BackupOptions, Unusable};
use crate::chains::{self, Fault, Skipped};
use crate::error::{Error, Result};
use crate::origin::{self, Origin};
use crate::store::indexes::IndexChain;
use crate::store::{
    IndexName, Noted, SnapshotId, Snapshots, Store, StoredArchive, StoredIndex, StoredName,
};

/// The snapshot that a backup starts from.
pub(super) struct Newest {
    pub(super) snapshot: SnapshotId,
    chain: Vec<StoredArchive>,
    pub(super) tree: TreeId,
    /// How many entries it has, if it is a checkpoint.
    pub(super) checkpoint: Option<usize>,
    /// Whose tree it is, if that was noted.
    pub(super) origin: Option<Origin>,
    /// All there is, but for newer archives that are damaged.
    snapshots: Snapshots,
}

/// The newest snapshot that can be restored, as far as the ends of its archives show: all of them can be opened,
/// and each starts from the tree that the one before it leads to.
pub(super) fn newest(
    store: &dyn Store,
    mut snapshots: Snapshots,
    unusable: &mut Vec<Unusable>,
) -> Result<Option<Newest>> {
    loop {
        let Some(snapshot) = snapshots.restorable().next_back() else { return Ok(None) };
        let Some(chain) = snapshots.chain_to(snapshot) else { return Ok(None) };
        match ends(store, &chain).map_err(|failed| *failed) {
            Ok(None) => return Ok(None),
            Ok(Some((tree, labels))) => {
                let is_checkpoint = snapshots.is_checkpoint(snapshot);
                // Of one that does not say it, the index is made again from the archives.
                let checkpoint = is_checkpoint.then(|| origin::checkpoint(&labels).unwrap_or(0));
                let origin = Origin::from_labels(&labels);
                let newest = Newest { snapshot, chain, tree, checkpoint, origin, snapshots };
                return Ok(Some(newest));
            }
            Err((fault, error)) => match fault.archive() {
                Some(archive) if is_damage(&error) => {
                    snapshots = fault.left_of(&snapshots);
                    unusable
                        .push(Unusable { name: StoredName::Archive(archive), error: Some(error) });
                }
                _ => return Err(error),
            },
        }
    }
}

/// The tree that a chain leads to, and what is noted of it.
type End = (TreeId, Labels);

/// Where the archives of a chain lead, and the labels of the last: as the store noted them, else as they say themselves. `None`
/// for no archive.
fn ends(store: &dyn Store, chain: &[StoredArchive]) -> Result<Option<End>, Box<(Fault, Error)>> {
    let noted: Option<Vec<Noted>> =
        chain.iter().map(|archive| store.noted(&archive.name.to_string())).collect();
    if let Some(noted) = noted.filter(|noted| follow(noted)) {
        return Ok(noted.into_iter().next_back().map(|last| (last.result, last.labels)));
    }
    let end = |last: &Archive| (last.result(), last.labels().clone());
    chains::open(store, chain).map(|archives| archives.last().map(end))
}

/// Whether each starts where the one before it ends, the first from nothing.
fn follow(chain: &[Noted]) -> bool {
    let starts = chain.iter().map(|noted| noted.base);
    let ends = chain.iter().map(|noted| noted.result);
    std::iter::once(DirIndex::empty().tree_id())
        .chain(ends)
        .zip(starts)
        .all(|(end, start)| end == start)
}

impl Newest {
    /// Its index, if `chain` has it. A checkpoint has none of its own: it is the beginning of one that was put before.
    fn index_in(&self, chain: &IndexChain) -> Option<LazyIndex> {
        match self.checkpoint {
            None => chain.of(self.tree),
            Some(entries) => chain.beginning(self.tree, entries),
        }
    }

    /// Whether the rules ask for a full backup after this.
    pub(super) fn ends_chain(&self, options: &BackupOptions) -> bool {
        // Checkpoints and what goes on from the last of them are one full backup in pieces.
        let full = self.chain.iter().take_while(|archive| archive.name.checkpoint).count() + 1;
        let Some((full, increments)) = self.chain.split_at_checked(full) else { return false };
        let bytes =
            |archives: &[StoredArchive]| archives.iter().map(|it| it.size).sum::<u64>() as f64;
        options.full_after.is_some_and(|most| increments.len() >= most)
            || options.full_ratio.is_some_and(|ratio| bytes(increments) >= ratio * bytes(full))
    }
}

/// The indexes in a store that can be read, the newest first, until one is that of the newest snapshot. Those that one before is upon
/// are not among them.
pub(super) struct Indexes(pub(super) Vec<IndexChain>);

impl Indexes {
    pub(super) fn open(
        store: &dyn Store,
        snapshots: &Snapshots,
        newest: Option<&Newest>,
        unusable: &mut Vec<Unusable>,
    ) -> Result<Indexes> {
        let mut indexes: Vec<IndexChain> = Vec::new();
        // A store that only takes has those of all nights.
        let is_found = |chain: &IndexChain| newest.is_none_or(|it| it.index_in(chain).is_some());
        for StoredIndex { name, .. } in snapshots.indexes().iter().rev() {
            if indexes.iter().any(|newer| newer.names().any(|it| it == *name)) {
                continue;
            }
            match IndexChain::open(store, snapshots, *name) {
                Ok(chain) => {
                    let is_found = is_found(&chain);
                    indexes.push(chain);
                    if is_found {
                        break;
                    }
                }
                Err(error @ (Error::Index(_) | Error::IndexMissing { .. })) => {
                    unusable.push(Unusable { name: StoredName::Index(*name), error: Some(error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Indexes(indexes))
    }

    /// What was scanned last, be it backed up or not.
    pub(super) fn newest(&self) -> Option<&LazyIndex> {
        self.chain().map(IndexChain::index)
    }

    /// The files of it.
    pub(super) fn chain(&self) -> Option<&IndexChain> {
        self.0.first()
    }

    /// The index of `newest`, if it is there.
    pub(super) fn of(&self, newest: &Newest) -> Option<LazyIndex> {
        self.0.iter().find_map(|chain| newest.index_in(chain))
    }

    /// The index of the snapshot `newest`: one that is there, or one made from the archives. `None` when
    /// these are damaged.
    pub(super) fn base(
        &self,
        store: &dyn Store,
        newest: &Newest,
        options: &BackupOptions,
        unusable: &mut Vec<Unusable>,
    ) -> Result<Option<LazyIndex>> {
        if let Some(index) = self.of(newest) {
            return Ok(Some(index));
        }
        let name = StoredName::Index(IndexName::whole(newest.snapshot));
        if !store.is_readable() {
            unusable.push(Unusable { name, error: None });
            return Ok(None);
        }
        let mut skipped = Vec::new();
        let rebuilt = rebuilt(store, newest, options, &mut skipped);
        for Skipped { archive, error } in skipped {
            let name = StoredName::Archive(archive);
            if unusable.iter().all(|file| file.name != name) {
                unusable.push(Unusable { name, error: Some(error) });
            }
        }
        match rebuilt {
            Ok(index) => {
                if !unusable.iter().any(|file| matches!(file.name, StoredName::Index(_))) {
                    unusable.push(Unusable { name, error: None });
                }
                Ok(Some(index.into()))
            }
            Err(error) if is_damage(&error) => {
                unusable.push(Unusable { name, error: Some(error) });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the newest index there says all that `index` says of the tree, to the next scan too.
    pub(super) fn are_current(&self, index: &LazyIndex) -> Result<bool> {
        match self.newest() {
            Some(newest) => Ok(newest.remarks().early_from() == index.remarks().early_from()
                && newest.differing(index)?.is_empty()),
            None => Ok(false),
        }
    }
}

/// The index of the snapshot `newest`, made from archives alone; by another chain when some on the first turn out to be damaged.
fn rebuilt(
    store: &dyn Store,
    newest: &Newest,
    options: &BackupOptions,
    skipped: &mut Vec<Skipped>,
) -> Result<DirIndex> {
    chains::by_any_chain(store, &newest.snapshots, newest.snapshot, skipped, |archives| {
        let index = Snapshot::open(archives)?.index(&options.scan.signature.unwrap_or_default())?;
        match index.tree_id() {
            tree if tree == newest.tree => Ok(index),
            found => Err(Error::OtherResult { expected: newest.tree, found }),
        }
    })
}

/// Whether what is in the store is at fault, and not the way to it.
fn is_damage(error: &Error) -> bool {
    use archive::Error::{Damaged, Diff, Sign, Unlinked};
    matches!(
        error,
        Error::Diff(_)
            | Error::NoFull { .. }
            | Error::OtherResult { .. }
            | Error::Archived(Damaged { .. } | Diff { .. } | Sign { .. } | Unlinked { .. })
    )
}

/// Whether an index of the store is at fault, in a part that is read when it is needed.
pub(super) fn is_index_damage(error: &Error) -> bool {
    use container::SectionError;
    use dirindex::Error::Sections;
    matches!(
        error,
        Error::Index(Sections(SectionError::Damaged { .. }))
            | Error::Archived(archive::Error::Signature { .. })
            | Error::Archived(archive::Error::Index(Sections(SectionError::Damaged { .. })))
    )
}
