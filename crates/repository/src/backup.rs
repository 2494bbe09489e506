//! [`backup`]: one more point in a store. Knows neither what a store is made of nor how a tree is
//! brought back.
//!
//! The order of its steps is what makes an interruption harmless, wherever it comes; `docs/chains.md`
//! says why.

use std::cell::Cell;
use std::sync::Arc;

use archive::{Archive, ArchiveOptions, DiffData};
use diffindex::{Class, DiffIndex, Signatures};
use dirindex::{Dir, DirIndex, Root, ScanOptions};

use crate::error::{Error, Result};
use crate::pack::pack;
use crate::store::{
    self, ArchiveName, Name, PassedOver, Point, Points, Store, StoredArchive, failed, told,
};

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
    /// backed up of it.
    pub scan: ScanOptions,
    /// Back up even if nearly all that the last backup has is gone: over nine in ten entries, and more than ten.
    pub allow_emptied: bool,
    /// How the archive is written; always without signatures, which the store's index has.
    pub archive: ArchiveOptions,
}

/// What a backup came to.
#[derive(Debug)]
pub struct BackupReport {
    /// The point that the store has the tree's state at: a new one, or the newest one if nothing has
    /// changed since.
    pub point: Point,
    /// What was put into the store; `None` when nothing has changed.
    pub made: Option<Made>,
    /// The tree's state, and what could not be taken in.
    pub index: DirIndex,
    /// How many points the store has now.
    pub points: usize,
    /// How many bytes its archives and indexes have together.
    pub store_bytes: u64,
    /// What the clock said when the newest point there was made, if that is later than what it says now. One of both is
    /// wrong.
    pub clock_behind: Option<Point>,
    /// What in the store could not be used, though it should have been: archives that are damaged,
    /// indexes that are damaged or missing.
    pub unusable: Vec<Unusable>,
}

/// What a backup put into the store.
#[derive(Debug)]
pub struct Made {
    /// The archive.
    pub archive: ArchiveName,
    /// How many bytes it has.
    pub archive_bytes: u64,
    /// How many bytes the index beside it has.
    pub index_bytes: u64,
    /// What the archive brings: all there is, or what has changed.
    pub diff: DiffIndex,
}

/// A file of the store that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Which one.
    pub name: Name,
    /// Why; `None` when it was not there. Of an index that cannot be made again either: what is wrong
    /// with the archives.
    pub error: Option<Error>,
}

/// Backs up the tree `dir` to `store`: everything if there is nothing to start from, else what has
/// changed since the newest point that can be restored. If nothing has, the store gets no new point.
///
/// Interrupted at any moment, it leaves every point as it was, and the next backup goes on from what
/// has been scanned. Nothing is built upon an archive that cannot be opened or does not follow the one before it: the newest
/// point is the last one whose archives all can, and do. An index that is lost or damaged is made again from the archives; if these are
/// damaged too, the backup is a full one.
///
/// # Errors
/// [`Error::Busy`] when another process is changing the store, [`Error::StoreInside`], [`Error::Emptied`], [`Error::Store`],
/// [`Error::Archived`], [`Error::Index`], [`Error::TooManyOpen`], [`Error::EndOfTime`].
pub fn backup(dir: &Dir, store: &dyn Store, options: &BackupOptions) -> Result<BackupReport> {
    let _lock = store::lock(store)?;
    back_up(dir, store, options).map_err(told)
}

/// [`backup`], under the lock.
fn back_up(dir: &Dir, store: &dyn Store, options: &BackupOptions) -> Result<BackupReport> {
    let root = rustix::fs::fstat(dir.root()).ok().map(|root| (root.st_dev, root.st_ino));
    if root.is_some() && root == store.directory() {
        return Err(Error::StoreInside { path: ".".into() });
    }
    let points = store::points(store)?;
    let before = points.all().next_back().and_then(|newest| points.clock(newest));
    let clock_behind = before.filter(|before| *before > Point::now());
    let mut unusable = Vec::new();
    let newest = newest(store, points.clone(), &mut unusable)?;
    let mut indexes = Indexes::open(store, &points, &mut unusable)?;
    let (index, made) = loop {
        match add_point(dir, store, options, newest.as_ref(), &indexes, &mut unusable) {
            // Damage among the signatures of an index shows when they are needed.
            Err(error) if is_index_damage(&error) && !indexes.0.is_empty() => {
                let (point, _) = indexes.0.remove(0);
                unusable.push(Unusable { name: Name::Index(point), error: Some(error) });
            }
            other => break other?,
        }
    };
    clear_indexes(store)?;
    let files = store.list().map_err(|source| failed("list", "the store", source))?;
    let size_of = |name: Name| {
        let name = name.to_string();
        files.iter().find(|file| file.name == name).map_or(0, |file| file.size)
    };
    let point = made.as_ref().map(|(archive, _)| archive.to).or(newest.map(|newest| newest.point));
    let made = made.map(|(archive, diff)| Made {
        archive,
        archive_bytes: size_of(Name::Archive(archive)),
        index_bytes: size_of(Name::Index(archive.to)),
        diff,
    });
    Ok(BackupReport {
        point: point.ok_or(Error::EndOfTime)?,
        made,
        index,
        points: Points::of(&files).all().count(),
        store_bytes: store::bytes_of(&files),
        clock_behind,
        unusable,
    })
}

/// What a backup added to the store, if it did.
type Added = Option<(ArchiveName, DiffIndex)>;

/// Scans the tree, and puts its index and an archive of what has changed since `newest`.
fn add_point(
    dir: &Dir,
    store: &dyn Store,
    options: &BackupOptions,
    newest: Option<&Newest>,
    indexes: &Indexes,
    unusable: &mut Vec<Unusable>,
) -> Result<(DirIndex, Added)> {
    let to_build_on = newest.filter(|newest| !options.full && !newest.ends_chain(options));
    let base = match to_build_on {
        Some(newest) => indexes.base(store, newest, options, unusable)?,
        None => None,
    };
    let since = to_build_on.filter(|_| base.is_some()).map(|newest| newest.point);
    let base = base.unwrap_or_else(|| Arc::new(DirIndex::empty()));
    let unchanged = |index: &DirIndex| newest.is_some_and(|newest| newest.root == index.root());
    let started = Cell::new(Point::now());
    let scan = |again: Option<&DirIndex>| {
        started.set(Point::now());
        let keep = Some(Arc::clone(&base));
        let scan = ScanOptions { keep, barred: store.directory(), ..options.scan.clone() };
        let index = DirIndex::scan_with(dir, again.or(indexes.newest()), &scan);
        index.map_err(|error| match error {
            dirindex::Error::Barred { path } => Error::StoreInside { path: path.to_string() },
            other => other.into(),
        })
    };
    let write = |index: &DirIndex, diff: DiffIndex| {
        if !options.allow_emptied {
            refuse_emptied(newest, &base, &diff, indexes, index)?;
        }
        if unchanged(index) && !options.full {
            if !indexes.are_current(index) {
                put_index(store, index, started.get())?;
            }
            return Ok(None);
        }
        let point = put_index(store, index, started.get())?;
        let format = options.archive.format.unwrap_or_default();
        let clock = Some(started.get()).filter(|clock| *clock != point);
        let name = ArchiveName { to: point, since, clock, format };
        put_archive(store, &name, dir, &base, &diff, &options.archive)?;
        Ok(Some((name, diff)))
    };
    pack(&base, scan, write)
}

/// So many entries may go without a word, however few there were.
const FEW: u64 = 10;

/// Refuses to back up a tree from which nearly all is gone that the newest point has. `diff` is from `base` to `index`.
fn refuse_emptied(
    newest: Option<&Newest>,
    base: &DirIndex,
    diff: &DiffIndex,
    indexes: &Indexes,
    index: &DirIndex,
) -> Result<()> {
    let gone = |before: &DirIndex, diff: &DiffIndex| {
        let deleted = diff.changes().iter().filter(|change| change.class() == Class::Deleted);
        // What moved is there, elsewhere.
        let removed = deleted.count().saturating_sub(diff.moved().count()) as u64;
        let entries = before.records().len() as u64;
        match removed > FEW && removed.saturating_mul(10) > entries.saturating_mul(9) {
            true => Err(Error::Emptied { removed, entries }),
            false => Ok(()),
        }
    };
    if !base.records().is_empty() {
        return gone(base, diff);
    }
    // A full backup takes nothing away, but what is kept later may be that alone.
    let newest = newest.and_then(|newest| indexes.of(newest.root));
    newest.map_or(Ok(()), |before| gone(before, &DiffIndex::between(before, index)))
}

/// The state that a backup starts from.
struct Newest {
    point: Point,
    way: Vec<StoredArchive>,
    root: Root,
    /// All there is, but for newer archives that are damaged.
    points: Points,
}

/// The newest point that can be restored, as far as that can be told by the ends of its archives: all of them can be opened,
/// and each starts from the tree that the one before it leads to.
fn newest(
    store: &dyn Store,
    mut points: Points,
    unusable: &mut Vec<Unusable>,
) -> Result<Option<Newest>> {
    loop {
        let Some(point) = points.restorable().next_back() else { return Ok(None) };
        let Some(way) = points.way_to(point) else { return Ok(None) };
        let opened = store::open(store, &way).map(|archives| archives.last().map(Archive::result));
        match opened.map_err(|failed| *failed) {
            Ok(None) => return Ok(None),
            Ok(Some(root)) => return Ok(Some(Newest { point, way, root, points })),
            Err((fault, error)) => match fault.archive() {
                Some(archive) if is_damage(&error) => {
                    points = fault.left_of(&points);
                    unusable.push(Unusable { name: Name::Archive(archive), error: Some(error) });
                }
                _ => return Err(error),
            },
        }
    }
}

impl Newest {
    /// Whether the rules ask for a full backup after this.
    fn ends_chain(&self, options: &BackupOptions) -> bool {
        let Some((full, increments)) = self.way.split_first() else { return true };
        let bytes: u64 = increments.iter().map(|archive| archive.size).sum();
        options.full_after.is_some_and(|most| increments.len() >= most)
            || options.full_ratio.is_some_and(|ratio| bytes as f64 >= ratio * full.size as f64)
    }
}

/// The indexes in a store that can be read, the newest first.
struct Indexes(Vec<(Point, Arc<DirIndex>)>);

impl Indexes {
    fn open(store: &dyn Store, points: &Points, unusable: &mut Vec<Unusable>) -> Result<Indexes> {
        let mut indexes = Vec::new();
        for &point in points.indexes().iter().rev() {
            match store::open_index(store, point) {
                Ok(index) => indexes.push((point, Arc::new(index))),
                Err(error @ Error::Index(_)) => {
                    unusable.push(Unusable { name: Name::Index(point), error: Some(error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Indexes(indexes))
    }

    /// What was scanned last, be it backed up or not.
    fn newest(&self) -> Option<&DirIndex> {
        self.0.first().map(|(_, index)| &**index)
    }

    /// The index of the tree `root`, if it is there.
    fn of(&self, root: Root) -> Option<&Arc<DirIndex>> {
        self.0.iter().find(|(_, index)| index.root() == root).map(|(_, index)| index)
    }

    /// The index of the state `newest`: one that is there, or one made from the archives. `None` when
    /// these are damaged.
    fn base(
        &self,
        store: &dyn Store,
        newest: &Newest,
        options: &BackupOptions,
        unusable: &mut Vec<Unusable>,
    ) -> Result<Option<Arc<DirIndex>>> {
        if let Some(index) = self.of(newest.root) {
            return Ok(Some(Arc::clone(index)));
        }
        let name = Name::Index(newest.point);
        let mut passed = Vec::new();
        let rebuilt = rebuilt(store, newest, options, &mut passed);
        for PassedOver { archive, error } in passed {
            let name = Name::Archive(archive);
            if unusable.iter().all(|file| file.name != name) {
                unusable.push(Unusable { name, error: Some(error) });
            }
        }
        match rebuilt {
            Ok(index) => {
                if !unusable.iter().any(|file| matches!(file.name, Name::Index(_))) {
                    unusable.push(Unusable { name, error: None });
                }
                Ok(Some(Arc::new(index)))
            }
            Err(error) if is_damage(&error) => {
                unusable.push(Unusable { name, error: Some(error) });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the newest index there says all that `index` says of the tree, to the next scan too.
    fn are_current(&self, index: &DirIndex) -> bool {
        let vouches = |newest: &&DirIndex| {
            let (old, new) = (newest.records().iter(), index.records());
            newest.root() == index.root() && old.zip(new).all(|(old, new)| old.trust == new.trust)
        };
        self.newest().filter(vouches).is_some()
    }
}

/// The index of the state `newest`, made from archives alone; by another way when some on the first turn out to be damaged.
fn rebuilt(
    store: &dyn Store,
    newest: &Newest,
    options: &BackupOptions,
    passed: &mut Vec<PassedOver>,
) -> Result<DirIndex> {
    store::by_any_way(store, &newest.points, newest.point, passed, |archives| {
        let parts = archives.iter().map(Archive::load).collect::<Result<Vec<_>, _>>()?;
        let data = DiffData::squash(&parts)?;
        let index = data.signed_diff(&options.scan.signature)?.apply_to(&DirIndex::empty())?;
        match index.root() {
            root if root == newest.root => Ok(index),
            found => Err(Error::OtherResult { expected: newest.root, found }),
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
fn is_index_damage(error: &Error) -> bool {
    use container::SectionError;
    use dirindex::Error::Sections;
    matches!(
        error,
        Error::Index(Sections(SectionError::Damaged { .. }))
            | Error::Archived(archive::Error::Signature { .. })
    )
}

/// Puts an index of the state seen at `seen` into the store. Gives the point it is named by.
fn put_index(store: &dyn Store, index: &DirIndex, seen: Point) -> Result<Point> {
    let point = store::points(store)?.next(seen).ok_or(Error::EndOfTime)?;
    let name = Name::Index(point).to_string();
    let mut out = store.put(&name).map_err(|source| failed("put", &name, source))?;
    index.write_to(&mut out)?;
    out.commit().map_err(|source| failed("put", &name, source))?;
    Ok(point)
}

fn put_archive(
    store: &dyn Store,
    name: &ArchiveName,
    dir: &Dir,
    base: &DirIndex,
    diff: &DiffIndex,
    options: &ArchiveOptions,
) -> Result<()> {
    let name = name.to_string();
    let mut out = store.put(&name).map_err(|source| failed("put", &name, source))?;
    // The index has the signatures, and they can be made again of all archives together.
    let options = ArchiveOptions { signatures: Signatures::None, ..options.clone() };
    DiffData::write(dir, base, diff, &mut out, &options).map_err(|error| match error {
        archive::Error::Write(source) => failed("put", &name, source),
        other => other.into(),
    })?;
    out.commit().map_err(|source| failed("put", &name, source))
}

/// Deletes all indexes but the newest.
fn clear_indexes(store: &dyn Store) -> Result<()> {
    let points = store::points(store)?;
    let Some((_, older)) = points.indexes().split_last() else { return Ok(()) };
    for &point in older {
        let name = Name::Index(point).to_string();
        store.delete(&name).map_err(|source| failed("delete", &name, source))?;
    }
    Ok(())
}
