//! The runs of a store: what each archive changes, read whole, some archives ahead. Knows nothing of what is made of them.

use std::collections::HashMap;

use archive::Archive;
use diffindex::Change;
use dirindex::TreeId;
use rayon::prelude::*;

use crate::error::Result;
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store};

/// What an archive says.
pub(super) struct Run {
    pub(super) base: TreeId,
    pub(super) result: TreeId,
    /// How many bytes the archive has.
    pub(super) size: u64,
    /// Some or all of its changes, in path order.
    pub(super) changes: Vec<Change>,
}

impl Run {
    pub(super) fn of(archive: &Archive, changes: Vec<Change>) -> Run {
        let (base, result, size) = (archive.base(), archive.result(), archive.size());
        Run { base, result, size, changes }
    }
}

/// Where runs come from.
pub(super) trait Runs {
    /// The run of the archive `name`, which leads to the snapshot `at`.
    fn get(&mut self, name: &ArchiveName, snapshots: &Snapshots, at: SnapshotId) -> Result<Run>;
}

/// So many archives are read ahead, in parallel.
const AHEAD: usize = 64;

/// The archives that lead to `at` and the snapshots after it, as `read` reads them; what cannot be read is said by its turn.
pub(super) fn ahead<T: Send>(
    snapshots: &Snapshots,
    at: impl Iterator<Item = SnapshotId>,
    read: impl Fn(&ArchiveName) -> Result<T> + Sync,
) -> HashMap<ArchiveName, Result<T>> {
    let names = at.take(AHEAD).filter_map(|at| snapshots.last_to(at)).map(|last| last.name);
    let names: Vec<ArchiveName> = names.collect();
    names.into_par_iter().map(|name| (name, read(&name))).collect()
}

/// All changes of each archive.
pub(super) struct Whole<'a> {
    store: &'a dyn Store,
    read: HashMap<ArchiveName, Result<Run>>,
}

impl<'a> Whole<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Whole<'a> {
        Whole { store, read: HashMap::new() }
    }
}

impl Runs for Whole<'_> {
    fn get(&mut self, name: &ArchiveName, snapshots: &Snapshots, at: SnapshotId) -> Result<Run> {
        if let Some(run) = self.read.remove(name) {
            return run;
        }
        let store = self.store;
        let read = |name: &ArchiveName| {
            let archive = store::open_archive(store, name)?;
            let changes = archive.load()?.into_diff().into_changes();
            Ok(Run::of(&archive, changes))
        };
        let is_next = snapshots.last_to(at).is_some_and(|last| last.name == *name);
        if is_next {
            let later = snapshots.restorable().skip_while(|snapshot| *snapshot < at);
            self.read = ahead(snapshots, later, read);
        }
        self.read.remove(name).unwrap_or_else(|| read(name))
    }
}
