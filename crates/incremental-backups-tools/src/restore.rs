//! Restoring the state that a row of archives leads to: into an empty directory, or over whatever is
//! there, of which only what differs is written. Finds out what has to change; changing it is
//! `apply`'s.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use archive::{Archive, DiffData};
use diffindex::Change;
use dirindex::{Dir, DirIndex, DirOptions, Node, Record, RelPath, Root, ScanOptions};

use crate::apply::{Applied, ApplyOptions, apply_diff_with, recover};
use crate::error::{Error, Result};

/// What is restored, and what may go for it.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// These paths alone, with what is below them, the directories they lie in, and the files that
    /// hard links among them name. None: everything.
    pub paths: Vec<RelPath>,
    /// The states of trees of which there are backups: a directory that is in one of them may be
    /// changed into any other without being asked for [`overwrite`](RestoreOptions::overwrite).
    pub known: Vec<Root>,
    /// Whether what stands where something else is to be restored is replaced.
    pub overwrite: bool,
    /// Whether what the backup does not have, at or below what is restored, is removed.
    pub delete: bool,
    /// How it is done; always [beside](ApplyOptions::beside) what is left alone.
    pub apply: ApplyOptions,
}

/// Restores what `archives`, of which the first is a full backup and each starts where the one
/// before it ends, lead to, into the directory `dest`, which has to be there.
///
/// Nothing there is replaced or removed that the options do not allow. A restore that was
/// interrupted in `dest` is finished first.
///
/// # Errors
/// As [`plan_restore`] and [`apply_diff_with`].
pub fn restore(
    archives: &[Archive],
    dest: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<Applied> {
    let dest = dest.as_ref();
    recover(dest)?;
    let data = plan_restore(archives, dest, options)?;
    let apply = ApplyOptions { beside: true, ..options.apply.clone() };
    apply_diff_with(dest, data.diff(), &data, &apply)
}

/// What [`restore`] applies to the directory `dest`, [beside](ApplyOptions::beside) what it leaves alone;
/// one that is not there counts as empty. Reads
/// what there is, and writes nothing.
///
/// # Errors
/// [`Error::Archived`] for archives that do not go together or have not all that is wanted,
/// [`Error::Occupied`] for what is in the way, [`Error::Unreadable`] and [`Error::Index`] for a directory
/// that cannot be read.
pub fn plan_restore(
    archives: &[Archive],
    dest: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<DiffData> {
    let dest = dest.as_ref();
    let source = source(archives, &options.paths)?;
    let rules = DirOptions { only: options.paths.clone(), ..DirOptions::everything() };
    let scan = ScanOptions { progress: options.apply.progress.clone(), ..ScanOptions::default() };
    let found = match Dir::with_options(dest, &rules) {
        Err(dirindex::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            DirIndex::empty()
        }
        dir => DirIndex::scan_with(&dir?, None, &scan)?,
    };
    if let Some(problem) = found.problems().first() {
        let (path, detail) = (problem.path.clone(), problem.detail.clone());
        return Err(Error::Unreadable { path, detail });
    }
    let known = options.known.contains(&found.root());
    // Where nothing is, nothing is asked of it.
    let target = match found.records() {
        [] => DirIndex::empty(),
        _ => source.diff().apply_to(&DirIndex::empty())?,
    };
    let wanted = Wanted { target: &target, paths: &options.paths, delete: known || options.delete };
    let data = source.retarget(&wanted.concerns(&found)?)?;
    if !known && !options.overwrite {
        refuse_to_replace(dest, data.diff().changes())?;
    }
    Ok(data)
}

/// What the archives lead to, from nothing.
fn source(archives: &[Archive], paths: &[RelPath]) -> Result<DiffData> {
    if let Some(first) = archives.first().filter(|first| !first.is_full()) {
        return Err(Error::NoFull { archive: first.path().to_path_buf() });
    }
    if !paths.is_empty() {
        return Ok(Archive::select_chain(archives, paths)?);
    }
    let parts = archives.iter().map(Archive::load).collect::<Result<Vec<_>, _>>()?;
    Ok(DiffData::squash(&parts)?)
}

/// What is restored, seen from the directory it is restored into.
struct Wanted<'a> {
    target: &'a DirIndex,
    paths: &'a [RelPath],
    /// Whether what the target does not have is removed.
    delete: bool,
}

impl Wanted<'_> {
    /// The part of `found` that is to become the target: what the target has something to say of, what
    /// is in the way of that, and what is to be removed. All else is left alone.
    fn concerns(&self, found: &DirIndex) -> Result<DirIndex> {
        let mut records: Vec<Arc<Record>> = Vec::new();
        let mut in_the_way: Option<&RelPath> = None;
        for record in found.records() {
            let path = &record.entry.path;
            let doomed = in_the_way.is_some_and(|dir| path.is_below(dir));
            let target = self.target.record(path);
            if target.is_none() && !doomed && !(self.delete && self.selects(path)) {
                continue;
            }
            let is_dir = |record: &Record| record.entry.node == Node::Dir;
            if !doomed && is_dir(record) && target.is_some_and(|target| !is_dir(target)) {
                in_the_way = Some(path);
            }
            // Directories around what is asked for have to be there; how they are kept is not asked.
            let around =
                target.filter(|target| !self.selects(path) && is_dir(target) && is_dir(record));
            records.push(around.map_or_else(|| Arc::clone(record), |dir| Arc::new(dir.clone())));
        }
        name_files(&mut records, found);
        Ok(DirIndex::from_records(records)?)
    }

    /// Whether `path` is itself asked for, not only on the way to what is.
    fn selects(&self, path: &RelPath) -> bool {
        let selects = |wanted: &RelPath| wanted == path || path.is_below(wanted);
        self.paths.is_empty() || self.paths.iter().any(selects)
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

/// Refuses changes that something is lost by.
fn refuse_to_replace(dest: &Path, changes: &[Change]) -> Result<()> {
    let mut lost = changes.iter().filter(|change| change.old.is_some());
    let Some(first) = lost.next() else { return Ok(()) };
    let (dest, path, others) = (dest.to_path_buf(), first.path.clone(), lost.count());
    Err(Error::Occupied { dest, path, others })
}
