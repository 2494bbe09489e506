//! The runs of a store: what each archive changes, some archives ahead. Knows nothing of what is made of them.

use std::collections::HashMap;

use archive::{Archive, LazyData};
use diffindex::Change;
use dirindex::TreeId;
use rayon::prelude::*;

use crate::error::Result;
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store, StoredArchive};

/// What an archive says.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) base: TreeId,
    pub(super) result: TreeId,
    /// How many bytes the archive has.
    pub(super) size: u64,
    pub(super) changes: Changes,
}

/// What a run changes, in path order.
#[derive(Clone)]
pub(super) enum Changes {
    /// All of it, which is still in the archive if it is much.
    Stored(LazyData),
    /// All or some of it, in memory.
    Listed(Vec<Change>),
}

impl Run {
    pub(super) fn of(archive: &Archive, changes: Changes) -> Run {
        let (base, result, size) = (archive.base(), archive.result(), archive.size());
        Run { base, result, size, changes }
    }
}

/// All changes of an archive, in memory.
pub(super) fn all_of(data: &LazyData) -> std::result::Result<Vec<Change>, archive::Error> {
    let diff = data.diff().load().map_err(|error| data.unreadable(error.into()))?;
    Ok(diff.into_changes())
}

/// Where runs come from.
pub(super) trait Runs {
    /// The run of the archive `name`, which leads to the snapshot `at`.
    fn get(&mut self, name: &ArchiveName, snapshots: &Snapshots, at: SnapshotId) -> Result<Run>;
}

/// So many archives are read ahead, in parallel.
const AHEAD: usize = 64;

/// The first of `archives`, as `read` reads them; what cannot be read is said by its turn.
pub(super) fn ahead<T: Send>(
    archives: impl Iterator<Item = StoredArchive>,
    read: impl Fn(&ArchiveName) -> Result<T> + Sync,
) -> HashMap<ArchiveName, Result<T>> {
    let names: Vec<ArchiveName> = archives.take(AHEAD).map(|archive| archive.name).collect();
    names.into_par_iter().map(|name| (name, read(&name))).collect()
}

/// So many bytes of archives are read ahead: all that they change may be in memory.
const AHEAD_LEN: u64 = 64 << 20;

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
            let data = LazyData::open(&archive)?;
            let changes = match data.only_adds() {
                true => Changes::Stored(data),
                false => Changes::Listed(all_of(&data)?),
            };
            Ok(Run::of(&archive, changes))
        };
        let is_next = snapshots.last_to(at).is_some_and(|last| last.name == *name);
        if is_next {
            let later = snapshots.restorable().skip_while(|snapshot| *snapshot < at);
            let mut len = 0u64;
            let fits = |archive: &StoredArchive| {
                let is_first = len == 0;
                len = len.saturating_add(archive.size);
                is_first || len <= AHEAD_LEN
            };
            let later = later.filter_map(|snapshot| snapshots.last_to(snapshot));
            self.read = ahead(later.take_while(fits), read);
        }
        self.read.remove(name).unwrap_or_else(|| read(name))
    }
}
