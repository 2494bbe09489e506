//! Restoring the state that a chain of archives leads to: into an empty directory, or over whatever is
//! there, of which only what differs is written. Finds out what has to change; changing it is
//! `apply`'s.

mod found;
mod known;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use apply::{
    Applied, ApplyOptions, Preview, alike, apply_snapshot, apply_with, preview_diff, recover_with,
};
use archive::{Archive, DiffData, Snapshot};
use diffindex::{Change, LazyDiff};
use dirindex::{DirIndex, FileId, Meta, Node, Record, RelPath};

use self::found::{Found, Standing};
pub use self::known::Known;
use crate::Repository;
use crate::chains::{self, Skipped};
use crate::error::{Error, Result};
use crate::store::{self, SnapshotId, Store};

/// What is restored, and what may go for it.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// These paths alone, with what is below them, the directories they lie in, and the files that
    /// hard links among them name. None: everything.
    pub paths: Vec<RelPath>,
    /// The states of trees of which there are backups: a directory that is in one of them may be
    /// changed into any other without being asked for [`overwrite`](RestoreOptions::overwrite).
    pub known: Known<'static>,
    /// Whether what stands where something else is to be restored is replaced.
    pub overwrite: bool,
    /// Whether what the backup does not have, at or below what is restored, is removed. What no backup could
    /// have stays: what a rule left out of it, what could not be read then, sockets, and what cannot be read now.
    pub delete: bool,
    /// How it is done; always [beside](ApplyOptions::beside) what is left alone.
    pub apply: ApplyOptions,
}

/// What a restore did.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RestoreReport {
    /// What was changed in the directory.
    pub applied: Applied,
    /// The archives that are damaged, or do not go with the others, and were not needed.
    pub skipped: Vec<Skipped>,
}

impl<S: Store> Repository<S> {
    /// Restores `snapshot` into the directory `dest`, which has to be there. Where archives are damaged, another chain is
    /// tried.
    ///
    /// Nothing there is replaced or removed that the options do not allow, unless the directory is exactly as some snapshot of
    /// the repository: then all that it has is backed up. A restore that was interrupted in `dest` is finished first.
    ///
    /// # Errors
    /// As [`plan_restore`], [`apply_with`] and [`with_archives`](Repository::with_archives).
    pub fn restore(
        &self,
        snapshot: SnapshotId,
        dest: impl AsRef<Path>,
        options: &RestoreOptions,
    ) -> Result<RestoreReport> {
        let dest = dest.as_ref();
        recover_with(dest, &options.apply)?;
        let carry_out = |plan: &RestorePlan, apply: &ApplyOptions| plan.apply(dest, apply);
        let (applied, skipped) = self.restore_by(snapshot, dest, options, carry_out)?;
        Ok(RestoreReport { applied, skipped })
    }

    /// [`restore`](Repository::restore) for a caller that looks at the plan, or carries it out: `carry_out` gets what is to be
    /// done, and how. Where it fails by what is in an archive, it is
    /// called again with another plan. What is damaged is [skipped](ApplyOptions::skip_damaged) only when no other chain
    /// is left.
    ///
    /// # Errors
    /// As [`plan_restore`] and [`with_archives`](Repository::with_archives), and what `carry_out` returns;
    /// [`Error::StoreInside`] when the store is in `dest`, and what the backup does not have is to be removed there.
    pub fn restore_by<T>(
        &self,
        snapshot: SnapshotId,
        dest: impl AsRef<Path>,
        options: &RestoreOptions,
        mut carry_out: impl FnMut(&RestorePlan, &ApplyOptions) -> Result<T>,
    ) -> Result<(T, Vec<Skipped>)> {
        let listed = self.snapshots()?;
        let names = listed.archives().iter().map(|archive| archive.name);
        let store = self.store();
        let stored = Known::new(
            names.map(|name| Box::new(move || store::open_archive(store, &name).ok()) as _),
        );
        // What is removed there must not be the backups.
        let barred = if options.delete { store.directory() } else { None };
        let mut by = |skip_damaged: bool| {
            let apply = ApplyOptions { skip_damaged, ..options.apply.clone() };
            chains::try_chains(store, &listed, snapshot, |archives| {
                let known = [&options.known, &stored];
                let plan = plan(archives, dest.as_ref(), options, &known, barred)?;
                carry_out(&plan, &apply)
            })
        };
        match by(false) {
            Err(error) if options.apply.skip_damaged && error.is_of_archives() => by(true),
            done => done,
        }
    }
}

/// Restores what `archives`, of which the first is a full backup and each starts where the one
/// before it ends, lead to, into the directory `dest`, which has to be there.
///
/// Nothing there is replaced or removed that the options do not allow. A restore that was
/// interrupted in `dest` is finished first.
///
/// # Errors
/// As [`plan_restore`] and [`apply_with`].
pub fn restore(
    archives: &[Archive],
    dest: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<Applied> {
    let dest = dest.as_ref();
    recover_with(dest, &options.apply)?;
    plan_restore(archives, dest, options)?.apply(dest, &options.apply)
}

/// What a restore does to a directory.
///
/// A clone is cheap.
#[derive(Debug, Clone)]
pub struct RestorePlan(What);

#[derive(Debug, Clone)]
enum What {
    /// It is empty, and becomes this.
    All(Arc<Snapshot>),
    Changes(DiffData),
}

impl RestorePlan {
    /// What changes in the directory.
    ///
    /// # Errors
    /// [`Error::Archived`] for archives that cannot be read any more.
    pub fn diff(&self) -> Result<LazyDiff> {
        match &self.0 {
            What::All(snapshot) => Ok(snapshot.full()?.clone()),
            What::Changes(data) => Ok(data.diff().into()),
        }
    }

    /// Does it in `dest`, [beside](ApplyOptions::beside) what is left alone.
    ///
    /// # Errors
    /// As [`apply_with`].
    pub fn apply(&self, dest: impl AsRef<Path>, options: &ApplyOptions) -> Result<Applied> {
        let options = ApplyOptions { beside: true, ..options.clone() };
        Ok(match &self.0 {
            What::All(snapshot) => apply_snapshot(dest, snapshot, &options)?,
            What::Changes(data) => apply_with(dest, data, &options)?,
        })
    }

    /// What [`apply`](RestorePlan::apply) would do, found out by reading alone.
    ///
    /// # Errors
    /// As [`preview_diff`].
    pub fn preview(&self, dest: impl AsRef<Path>, options: &ApplyOptions) -> Result<Preview> {
        let options = ApplyOptions { beside: true, ..options.clone() };
        Ok(preview_diff(dest, self.diff()?, &options)?)
    }
}

/// What [`restore`] does to the directory `dest`; one that is not there counts as empty. Changes nothing that is there.
///
/// What would be set is compared as far as the file system of `dest` holds it: times that it rounds, and modes that it does
/// not have, are no differences. Where looking does not show that, the metadata is set on a file made for it in `dest`, which
/// is removed again.
///
/// What cannot be read, and what no backup has, such as a socket, matters only where something is to be restored: there
/// it is something else, and replaced if that is allowed. What cannot be read and looks by length, time and mode as what is to
/// be restored is taken for it, unless it may be replaced.
///
/// # Errors
/// [`Error::Archived`] for archives that do not go together or have not all that is wanted,
/// [`Error::Occupied`] for what is in the way, [`Error::Unreadable`] for a directory that cannot be read and in which
/// something is to be restored, [`Error::Index`].
pub fn plan_restore(
    archives: &[Archive],
    dest: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<RestorePlan> {
    plan(archives, dest.as_ref(), options, &[&options.known], None)
}

/// [`plan_restore`], with all that is known.
fn plan(
    archives: &[Archive],
    dest: &Path,
    options: &RestoreOptions,
    known: &[&Known<'_>],
    barred: Option<FileId>,
) -> Result<RestorePlan> {
    if let Some(first) = archives.first().filter(|first| !first.is_full()) {
        return Err(Error::NoFull { archive: first.path().to_path_buf() });
    }
    // The tree's id is over all paths together, so all are read, though no more contents than are wanted.
    let snapshot = Snapshot::open(archives)?;
    let snapshot = match options.paths.as_slice() {
        [] => snapshot,
        paths => snapshot.select(paths)?,
    };
    let found = Found::of(dest, options, barred)?;
    if found.is_empty() {
        // Where nothing is, nothing is asked.
        snapshot.full()?;
        return Ok(RestorePlan(What::All(snapshot.into())));
    }
    let (left_out, target) = (snapshot.left_out(), &snapshot.tree()?.load()?);
    let planned = |known: bool| -> Result<DiffData> {
        let (delete, replace) = (known || options.delete, known || options.overwrite);
        let paths = &options.paths;
        let wanted = Wanted { target, paths, left_out, delete, replace, dest, options };
        let (concerned, kept) = wanted.concerns(&found)?;
        Ok(snapshot.diff_beside(&concerned, &kept)?)
    };
    let is_known = known.iter().any(|known| known.has(found.index.tree_id()));
    let data = planned(is_known)?;
    if is_known || options.overwrite {
        return Ok(RestorePlan(What::Changes(data)));
    }
    let mut lost = data.diff().changes().iter().filter(|change| loses(change));
    let first = lost.next();
    let extra = |record: &Arc<Record>| target.get(&record.entry.path).is_none();
    // Of a copy, what the target does not have goes.
    let asks = first.is_some() || found.index.records().iter().any(extra);
    if asks
        && options.paths.is_empty()
        && known.iter().any(|known| {
            known.any(|state, diff| found.is_copy((state, diff.left_out()), dest, options))
        })
    {
        return Ok(RestorePlan(What::Changes(planned(true)?)));
    }
    let Some(first) = first else { return Ok(RestorePlan(What::Changes(data))) };
    let (path, others) = (first.path.clone(), lost.count());
    Err(Error::Occupied { dest: dest.to_path_buf(), path, others })
}

/// Whether something is lost by the change.
fn loses(change: &Change) -> bool {
    change.old.is_some()
}

/// What is restored, seen from the directory it is restored into.
struct Wanted<'a> {
    target: &'a DirIndex,
    paths: &'a [RelPath],
    /// What was there when it was backed up, and is in no backup.
    left_out: &'a [RelPath],
    /// Whether what the target does not have is removed.
    delete: bool,
    /// Whether what stands in the way is replaced.
    replace: bool,
    dest: &'a Path,
    options: &'a RestoreOptions,
}

impl Wanted<'_> {
    /// The part of `found` that is to become the target: what the target has something to say of, what
    /// is in the way of that, and what is to be removed. All else is left alone. And the directories in it that the target does
    /// not have, and that stay for what is spared in them.
    fn concerns(&self, found: &Found) -> Result<(DirIndex, Vec<Arc<Record>>)> {
        let (mut records, mut kept): (Vec<Arc<Record>>, Vec<Arc<Record>>) = Default::default();
        let mut in_the_way: Option<&RelPath> = None;
        let spared = self.delete.then(|| found.spared(self.target, self.left_out));
        let spared = spared.as_ref();
        let is_dir = |record: &Record| record.entry.node == Node::Dir;
        let mut all: Vec<&Arc<Record>> =
            found.index.records().iter().chain(found.unread()).collect();
        all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        for record in all {
            let path = &record.entry.path;
            let doomed = in_the_way.is_some_and(|dir| path.is_below(dir));
            let target = self.target.record(path);
            let extra = target.is_none() && !doomed;
            if extra && !self.selects(path) {
                continue;
            }
            match spared.map(|spared| spared.of(path, self.target)) {
                Some(Standing::Goes) => {}
                // Only what is beside it goes.
                Some(Standing::Around) if extra && is_dir(record) => {
                    kept.push(Arc::clone(record));
                }
                _ if extra => continue,
                _ => {}
            }
            if found.hides(path) && (doomed || self.has_below(path)) {
                let detail = found.detail(path);
                return Err(Error::Unreadable { path: path.clone(), detail });
            }
            if !doomed && is_dir(record) && target.is_some_and(|target| !is_dir(target)) {
                in_the_way = Some(path);
            }
            // Directories around what is asked for have to be there; how they are kept is not asked.
            let around =
                target.filter(|target| !self.selects(path) && is_dir(target) && is_dir(record));
            // By its looks, if it may stay.
            let looks = target.filter(|target| !self.replace && found.looks_like(record, target));
            let same = around.or(looks);
            records.push(same.map_or_else(|| Arc::clone(record), |same| Arc::new(same.clone())));
        }
        name_files(&mut records, &found.index);
        self.let_be(&mut records);
        Ok((DirIndex::from_records(records)?, kept))
    }

    /// Takes for the target what has only other metadata than it, and would have the same as now if it were restored.
    fn let_be(&self, records: &mut [Arc<Record>]) {
        let differing = records.iter().enumerate().filter_map(|(number, record)| {
            let target = self.target.record(&record.entry.path)?;
            let (found, wanted) = (&record.entry, &target.entry);
            (found.node == wanted.node && found.meta != wanted.meta).then_some((number, target))
        });
        let differing: Vec<(usize, &Record)> = differing.collect();
        let pairs = differing.iter().filter_map(|(number, target)| {
            let found = &records.get(*number)?.entry;
            Some((&found.node, &found.meta, &target.entry.meta))
        });
        let pairs: Vec<(&Node, &Meta, &Meta)> = pairs.collect();
        let same = alike(self.dest, self.options.apply.privileged, &pairs);
        for ((number, target), same) in differing.into_iter().zip(same) {
            if let (Some(record), true) = (records.get_mut(number), same) {
                *record = Arc::new(target.clone());
            }
        }
    }

    /// Whether `path` is itself asked for, not only on the way to what is.
    fn selects(&self, path: &RelPath) -> bool {
        let selects = |wanted: &RelPath| wanted == path || path.is_below(wanted);
        self.paths.is_empty() || self.paths.iter().any(selects)
    }

    /// Whether the target has something below `path`.
    fn has_below(&self, path: &RelPath) -> bool {
        let records = self.target.records();
        let after = records.partition_point(|record| record.entry.path <= *path);
        records.get(after).is_some_and(|record| record.entry.path.is_below(path))
    }
}

/// Makes the first of several names that are `records`, some of those `found`, the file of the others,
/// where the one that has it in `found` is not among them.
fn name_files(records: &mut [Arc<Record>], found: &DirIndex) {
    let kept: HashSet<RelPath> = records.iter().map(|record| record.entry.path.clone()).collect();
    let mut firsts: HashMap<RelPath, RelPath> = HashMap::new();
    for record in records {
        let Node::HardLink { to } = &record.entry.node else { continue };
        if kept.contains(to) {
            continue;
        }
        let node = match firsts.get(to) {
            Some(first) => Some(Node::HardLink { to: first.clone() }),
            None => {
                firsts.insert(to.clone(), record.entry.path.clone());
                found.get(to).map(|file| file.node.clone())
            }
        };
        if let Some(node) = node {
            Arc::make_mut(record).entry.node = node;
        }
    }
}
