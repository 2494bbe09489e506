//! [`list`](Repository::list): what is known of each snapshot without reading it.

use std::time::Duration;

use archive::Labels;
use rayon::prelude::*;

use crate::Repository;
use crate::error::{Error, Result};
use crate::origin::{self, Origin, Size};
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store};

/// A snapshot in a list.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// When it was taken, as the clock said.
    pub time: SnapshotId,
    /// Whose tree it is of, if that was noted.
    pub origin: Option<Origin>,
    /// How much it has, if that was noted.
    pub size: Option<Size>,
    /// What it was marked with.
    pub tags: Vec<String>,
    /// How long the backup took, if that was noted.
    pub duration: Option<Duration>,
    /// When a later backup found nothing changed: the last time.
    pub seen_again: Option<SnapshotId>,
    /// How many bytes the archive has that leads there: what the snapshot added.
    pub added: u64,
    /// Whether that archive is a full backup.
    pub is_full: bool,
    /// Whether it is a checkpoint, and has the beginning of the tree alone.
    pub is_checkpoint: bool,
    /// Whether there is a chain of archives to it.
    pub is_restorable: bool,
    /// Why the archive cannot be opened, if it cannot.
    pub error: Option<Error>,
}

impl<S: Store> Repository<S> {
    /// Every snapshot, the oldest first. Opens one archive of each by its end.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::TooManyOpen`].
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let snapshots = &self.snapshots()?;
        let ids: Vec<SnapshotId> = snapshots.all().collect();
        let infos = ids.into_par_iter().filter_map(|id| info(self.store(), snapshots, id));
        Ok(infos.collect())
    }

    /// Whose tree `snapshot` is of, if that was noted. Opens one archive by its end.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Archived`], [`Error::NoChain`].
    pub fn origin(&self, snapshot: SnapshotId) -> Result<Option<Origin>> {
        let last = self.snapshots()?.last_to(snapshot).ok_or(Error::NoChain { snapshot })?;
        Ok(Origin::from_labels(&labels(self.store(), &last.name)?))
    }
}

/// What is known of a snapshot.
fn info(store: &dyn Store, snapshots: &Snapshots, id: SnapshotId) -> Option<SnapshotInfo> {
    let last = snapshots.last_to(id);
    let is_restorable = last.is_some();
    let any = || snapshots.archives().iter().find(|archive| archive.name.to == id).copied();
    let last = last.or_else(any)?;
    let opened = labels(store, &last.name);
    let labels = opened.as_ref().ok();
    Some(SnapshotInfo {
        id,
        time: snapshots.clock(id).unwrap_or(id),
        origin: labels.and_then(Origin::from_labels),
        size: labels.and_then(Size::from_labels),
        tags: labels.map(origin::tags).unwrap_or_default(),
        duration: labels.and_then(origin::duration),
        seen_again: snapshots.seen_again(id),
        added: last.size,
        is_full: last.name.since.is_none(),
        is_checkpoint: snapshots.is_checkpoint(id),
        is_restorable,
        error: opened.err(),
    })
}

/// The labels of an archive: as the store noted them, else as it says itself.
fn labels(store: &dyn Store, name: &ArchiveName) -> Result<Labels> {
    match store.noted(&name.to_string()) {
        Some(noted) => Ok(noted.labels),
        None => Ok(store::open_archive(store, name)?.labels().clone()),
    }
}
