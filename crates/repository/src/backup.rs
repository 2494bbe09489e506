//! [`backup`](Repository::backup): one more snapshot in a store. Knows neither what a store is made of nor how a tree is
//! brought back.
//!
//! The order of its steps is what makes an interruption harmless, wherever it comes; `docs/chains.md`
//! says why.

mod base;
mod checkpoint;
mod leftovers;
mod put;

use std::cell::Cell;
use std::collections::BTreeSet;

use archive::ArchiveOptions;
use diffindex::{Class, DiffIndex, LazyDiff};
use dirindex::{Dir, FileId, LazyIndex, ScanOptions};
use rsync_core::Total;

use self::base::{Indexes, Newest, is_index_damage, newest};
use self::leftovers::{clear_indexes, renew_notes};
use self::put::Putting;
use crate::Repository;
use crate::chains::with_limit;
use crate::error::{Error, Result};
use crate::origin::Origin;
use crate::pack::pack;
use crate::protect;
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store, Stored, StoredName};

/// How a backup is made.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// A full backup, even if nothing has changed.
    pub full: bool,
    /// A full backup when so many increments follow the last one.
    pub full_after: Option<usize>,
    /// A full backup when the increments after the last one are this many times as large as it,
    /// together.
    pub full_ratio: Option<f64>,
    /// How the tree is scanned. What is [kept](ScanOptions::keep) of what cannot be read is what was
    /// backed up of it. Without [signatures](ScanOptions::signature) the next backup stores what changed whole.
    pub scan: ScanOptions,
    /// After how many bytes of contents a first backup puts a checkpoint: what it has stored, as a snapshot of the beginning of
    /// the tree, from which the next backup goes on if this one is interrupted. Each one brings a sixteenth of what is there
    /// at least. `None`: 4 GiB.
    pub checkpoint: Option<u64>,
    /// Leave a file that changes while it is stored as the last backup has it. By default it is stored as it is then, and
    /// named among the index's problems if it does not hold still.
    pub refuse_changing: bool,
    /// Back up even if nearly all that the last backup has is gone: over nine in ten entries, and more than ten.
    pub allow_emptied: bool,
    /// Whose tree it is. It is noted in the snapshot, with how much there is, and another tree than that of the newest
    /// snapshot is refused. `None`: nothing is noted and nothing asked.
    pub origin: Option<Origin>,
    /// What the snapshot is marked with, such as `before-update`. A tag has no comma. They are noted with the origin.
    pub tags: Vec<String>,
    /// When the backup is made. `None`: now, by the system's clock. For who tries out what rules keep.
    pub time: Option<SnapshotId>,
    /// How many percent of each archive and index its parity makes again, from 1 to 100. The store remembers it. `None`: as it
    /// remembers.
    pub parity: Option<u32>,
    /// How the archive is written; always without signatures, which the store's index has.
    pub archive: ArchiveOptions,
}

impl BackupOptions {
    fn now(&self) -> SnapshotId {
        self.time.unwrap_or_else(SnapshotId::now)
    }
}

/// What a backup did.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BackupReport {
    /// The snapshot that has the tree as it is now: a new one, or the newest one if nothing has
    /// changed since.
    pub snapshot: SnapshotId,
    /// What was put into the store; `None` when nothing has changed.
    pub made: Option<NewArchive>,
    /// The checkpoint of an interrupted backup that this one went on from.
    pub resumed: Option<SnapshotId>,
    /// The tree as it is now, and what could not be taken in.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::index"))]
    pub index: LazyIndex,
    /// How many snapshots the store has now.
    pub snapshots: usize,
    /// How many bytes its archives and indexes have together.
    pub store_bytes: u64,
    /// What the clock said when the newest snapshot there was made, if that is later than what it says now. One of both is
    /// wrong.
    pub clock_behind: Option<SnapshotId>,
    /// Why parity that the store is to have could not be made. The snapshot is there all the same, and the next backup makes it.
    pub unprotected: Option<Error>,
    /// What in the store could not be used, though it should have been: archives that are damaged,
    /// indexes that are damaged or missing.
    pub unusable: Vec<Unusable>,
}

/// What a backup put into the store.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NewArchive {
    /// The archive.
    pub archive: ArchiveName,
    /// How many bytes it has, and the archives of checkpoints before it that were put too.
    pub archive_bytes: u64,
    /// How many bytes the index beside it has.
    pub index_bytes: u64,
    /// How many bytes the parity of both has.
    pub parity_bytes: u64,
    /// What it and the checkpoints bring: all there is, or what has changed.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::diff"))]
    pub diff: LazyDiff,
}

/// A file of the store that cannot be used.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Unusable {
    /// Which one.
    pub name: StoredName,
    /// Why; `None` when it was not there. Of an index that cannot be made again either: what is wrong
    /// with the archives.
    pub error: Option<Error>,
}

impl<S: Store> Repository<S> {
    /// Backs up the tree `dir`: everything if there is nothing to start from, else what has changed since the newest snapshot
    /// that can be restored. If nothing has, there is no new snapshot.
    ///
    /// Interrupted at any moment, it leaves every snapshot as it was, and the next backup goes on from what has been scanned. A
    /// first backup of much leaves [checkpoints](BackupOptions::checkpoint): then the next one goes on from what has been stored, too.
    /// Nothing is built upon an archive that cannot be opened or does not follow the one before it: the newest snapshot is the
    /// last one whose archives all can, and do. An index that is lost or damaged is made again from the archives; if these are
    /// damaged too, the backup is a full one.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process is changing the store, [`Error::StoreInside`], [`Error::OtherOrigin`], [`Error::Emptied`],
    /// [`Error::Store`], [`Error::Archived`], [`Error::Index`], [`Error::TooManyOpen`], [`Error::EndOfTime`].
    pub fn backup(&self, dir: &Dir, options: &BackupOptions) -> Result<BackupReport> {
        let _lock = store::lock(self.store())?;
        back_up(dir, self.store(), options).map_err(with_limit)
    }
}

/// [`Repository::backup`], under the lock.
fn back_up(dir: &Dir, store: &dyn Store, options: &BackupOptions) -> Result<BackupReport> {
    let root = FileId::of_open(dir.root());
    if root.is_some() && root == store.directory() {
        return Err(Error::StoreInside { path: ".".into() });
    }
    let percent = protect::share_of(store, options.parity)?;
    // Under the lock nobody else changes the store: what is put and deleted here is noted in this list.
    let mut files = store::list(store)?;
    let there: BTreeSet<String> = files.iter().map(|file| file.name.clone()).collect();
    if percent.is_some() {
        protect::prepare(&files);
    }
    let snapshots = Snapshots::of(&files);
    let before = snapshots.all().next_back().and_then(|newest| snapshots.clock(newest));
    let clock_behind = before.filter(|before| *before > options.now());
    let mut unusable = Vec::new();
    let newest = newest(store, snapshots.clone(), &mut unusable)?;
    if let (Some(given), Some(before)) =
        (&options.origin, newest.as_ref().and_then(|newest| newest.origin.clone()))
        && !given.is_same(&before)
    {
        return Err(Error::OtherOrigin {
            before: Box::new(before),
            given: Box::new(given.clone()),
        });
    }
    let mut indexes = Indexes::open(store, &snapshots, newest.as_ref(), &mut unusable)?;
    let (index, made) = loop {
        let work = Work { dir, store, options, newest: newest.as_ref(), indexes: &indexes };
        match work.add_snapshot(&mut files, &mut unusable) {
            // Damage among the signatures of an index shows when they are needed.
            Err(error) if is_index_damage(&error) && !indexes.0.is_empty() => {
                let names = indexes.0.remove(0).names().next_back();
                let name = names.map(StoredName::Index);
                unusable.extend(name.map(|name| Unusable { name, error: Some(error) }));
            }
            other => break other?,
        }
    };
    clear_indexes(store, &mut files)?;
    let unchanged = newest.as_ref().filter(|_| made.is_none()).map(|newest| newest.snapshot);
    renew_notes(store, unchanged, options.now(), &mut files)?;
    // The snapshot is there, whatever comes of this.
    let protected = percent.map_or(Ok(0), |percent| {
        let progress = options.archive.progress.as_deref();
        protect::after_backup(store, &mut files, percent, &there, progress)
    });
    let (parity_bytes, unprotected) = match protected {
        Ok(bytes) => (bytes, None),
        Err(error) => (0, Some(error)),
    };
    let now = Snapshots::of(&files);
    let snapshot =
        made.as_ref().map(|(archive, _)| archive.to).or(newest.as_ref().map(|it| it.snapshot));
    let new = files.iter().filter(|file| !there.contains(&file.name)).cloned();
    let new = Snapshots::of(&new.collect::<Vec<_>>());
    let checkpoint = newest.as_ref().filter(|newest| newest.checkpoint.is_some());
    let resumed = checkpoint.map(|newest| newest.snapshot);
    let resumed = resumed.filter(|it| new.archives().iter().any(|new| new.name.since == Some(*it)));
    let made = made.map(|(archive, diff)| NewArchive {
        archive,
        archive_bytes: new.archives().iter().map(|archive| archive.size).sum(),
        index_bytes: now.indexes().last().map_or(0, |index| index.size),
        parity_bytes,
        diff,
    });
    Ok(BackupReport {
        snapshot: snapshot.ok_or(Error::EndOfTime)?,
        made,
        resumed,
        index,
        snapshots: now.all().count(),
        store_bytes: now.bytes(),
        clock_behind,
        unprotected,
        unusable,
    })
}

/// What a backup added to the store, if it did.
type Added = Option<(ArchiveName, LazyDiff)>;

/// What a backup is made of.
struct Work<'a> {
    dir: &'a Dir,
    store: &'a dyn Store,
    options: &'a BackupOptions,
    newest: Option<&'a Newest>,
    indexes: &'a Indexes,
}

impl Work<'_> {
    /// Scans the tree, and puts its index and an archive of what has changed since the newest snapshot. Notes in `files` what
    /// it puts.
    fn add_snapshot(
        &self,
        files: &mut Vec<Stored>,
        unusable: &mut Vec<Unusable>,
    ) -> Result<(LazyIndex, Added)> {
        let Work { dir, store, options, newest, indexes } = *self;
        let to_build_on = newest.filter(|newest| !options.full && !newest.ends_chain(options));
        let base = match to_build_on {
            Some(newest) => indexes.base(store, newest, options, unusable)?,
            None => None,
        };
        let since = to_build_on.filter(|_| base.is_some()).map(|newest| newest.snapshot);
        let base = base.unwrap_or_else(LazyIndex::empty);
        let mut putting = Putting::new(self, files, (since, base.clone()));
        let started = Cell::new(options.now());
        let scan = |again: Option<&LazyIndex>, reads_all: bool| {
            started.set(options.now());
            if let Some(progress) = &options.scan.progress {
                let before = indexes.newest().map(|index| Total::Items(index.len() as u64));
                progress.begin("scanning", before);
            }
            let scan = ScanOptions {
                keep: Some(base.clone()),
                barred: store.directory(),
                provisional: !options.refuse_changing,
                verify: options.scan.verify || reads_all,
                ..options.scan.clone()
            };
            let index = LazyIndex::scan(dir, again.or(indexes.newest()), &scan);
            index.map_err(|error| match error {
                dirindex::Error::Barred { path } => Error::StoreInside { path: path.to_string() },
                other => other.into(),
            })
        };
        let write = |index: &LazyIndex, diff: LazyDiff| {
            if !options.allow_emptied {
                refuse_emptied(newest, &base, &diff, indexes, index)?;
            }
            putting.put(index, diff, started.get())
        };
        pack(&base, scan, write)
    }
}

/// So many entries may go without a word, however few there were.
const FEW: u64 = 10;

/// Refuses to back up a tree from which nearly all is gone that the newest snapshot has. `diff` is from `base` to `index`.
fn refuse_emptied(
    newest: Option<&Newest>,
    base: &LazyIndex,
    diff: &LazyDiff,
    indexes: &Indexes,
    index: &LazyIndex,
) -> Result<()> {
    let gone = |before: &LazyIndex, diff: &DiffIndex| {
        let deleted = diff.changes().iter().filter(|change| change.class() == Class::Deleted);
        // What moved is there, elsewhere.
        let removed = deleted.count().saturating_sub(diff.moved().count()) as u64;
        let entries = before.len() as u64;
        match removed > FEW && removed.saturating_mul(10) > entries.saturating_mul(9) {
            true => Err(Error::Emptied { removed, entries }),
            false => Ok(()),
        }
    };
    if !base.is_empty() {
        // Where it brings new entries alone, nothing is gone.
        return diff.in_memory().map_or(Ok(()), |diff| gone(base, diff));
    }
    // A full backup takes nothing away, but what is kept later may be that alone.
    match newest.and_then(|newest| indexes.of(newest)) {
        Some(before) => gone(&before, &DiffIndex::between_lazy(&before, index)?),
        None => Ok(()),
    }
}
