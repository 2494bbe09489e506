//! Takes corrupt files of a tree back from its backups. A scan says which files are corrupt. This module knows which of
//! them may be new instead; `restore` brings the others back.

use std::collections::HashSet;
use std::path::Path;

use apply::{Applied, ApplyOptions};
use archive::Archive;
use dirindex::{
    Dir, DirOptions, Entry, LazyIndex, Node, ProblemKind, RelPath, StatFingerprint, Time, TreeId,
    mapped_for_writing, open_for_writing,
};
use rustix::fs::{AtFlags, fstatfs, statat};

use crate::Repository;
use crate::chains::{self, Skipped};
use crate::error::{Error, Result};
use crate::restore::{RestoreOptions, restore};
use crate::store::Store;

/// What [`Repository::repair`] did.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Repaired {
    /// What was taken back.
    pub applied: Applied,
    /// What was left as it is, in path order, and why: it may be newer than the backup.
    pub left: Vec<(RelPath, &'static str)>,
    /// The archives that are damaged, or do not go with the others, and were not needed.
    pub skipped: Vec<Skipped>,
}

impl<S: Store> Repository<S> {
    /// Replaces the files of the tree `dir` that `scan` found corrupt by what the newest snapshot has of them, which has
    /// to lead to the tree `since`. All else is left alone, and so is what may be new all the same: a file that some process has
    /// open for writing or mapped so that it can store to it, as far as this process may see; one that has changed since the
    /// scan; and all on file systems on which a store through a memory map leaves no time (in memory, FUSE, network, overlays)
    /// or of which that is not known.
    ///
    /// `scan` was made with [`ScanOptions::verify`](dirindex::ScanOptions::verify) since an index of the tree `since`, such as
    /// [`newest_index`](Repository::newest_index).
    ///
    /// # Errors
    /// As [`restore`](Repository::restore), and [`Error::OtherResult`] when the newest snapshot leads to another tree.
    pub fn repair(
        &self,
        dir: impl AsRef<Path>,
        since: TreeId,
        scan: &LazyIndex,
        options: &ApplyOptions,
    ) -> Result<Repaired> {
        let snapshots = self.snapshots()?;
        let latest = snapshots.latest().ok_or(Error::Empty)?;
        let (repaired, skipped) =
            chains::try_chains(self.store(), &snapshots, latest, |archives| {
                match archives.last().map(Archive::result) {
                    Some(found) if found != since => {
                        Err(Error::OtherResult { expected: since, found })
                    }
                    _ => repair(archives, dir.as_ref(), scan, options),
                }
            })?;
        Ok(Repaired { skipped, ..repaired })
    }
}

fn repair(
    archives: &[Archive],
    dir: &Path,
    scan: &LazyIndex,
    options: &ApplyOptions,
) -> Result<Repaired> {
    let corrupt = scan.problems().iter().filter(|problem| problem.kind == ProblemKind::BitRot);
    let corrupt: Vec<&RelPath> = corrupt.map(|problem| &problem.path).collect();
    if corrupt.is_empty() {
        return Ok(Repaired::default());
    }
    let tree = Dir::with_options(dir, &DirOptions::everything())?;
    let (open, mapped) = (open_for_writing(), mapped_for_writing());
    let doubt = |path| -> Result<(&RelPath, Option<&'static str>)> {
        let fingerprint = scan.record(path)?.and_then(|record| record.fingerprint);
        let is_busy = |inode| open.contains(&inode) || mapped.contains(&inode);
        Ok((path, in_doubt(&tree, path, fingerprint, is_busy)))
    };
    let doubts: Vec<_> = corrupt.into_iter().map(doubt).collect::<Result<_>>()?;
    let left = doubts.iter().filter_map(|(path, doubt)| Some(((*path).clone(), (*doubt)?)));
    let left: Vec<(RelPath, &'static str)> = left.collect();
    let sure = doubts.iter().filter(|(_, doubt)| doubt.is_none());
    let sure: HashSet<&RelPath> = sure.map(|(path, _)| *path).collect();
    if sure.is_empty() {
        return Ok(Repaired { left, ..Repaired::default() });
    }
    // A file is replaced, not written to: its other names have to come along.
    let is_name = |entry: &&Entry| match &entry.node {
        Node::HardLink { to } => sure.contains(to),
        _ => sure.contains(&entry.path),
    };
    let mut paths = Vec::new();
    scan.for_each_chunk(|records| {
        let names = records.iter().map(|record| &record.entry).filter(is_name);
        paths.extend(names.map(|entry| entry.path.clone()));
        Ok(())
    })?;
    let apply = options.clone();
    let restored = restore(
        archives,
        dir,
        &RestoreOptions { paths, overwrite: true, apply, ..RestoreOptions::default() },
    );
    Ok(Repaired { applied: restored?, left, ..Repaired::default() })
}

/// Why what is at `path`, which the scan saw as `fingerprint`, may be new and not corrupt.
fn in_doubt(
    tree: &Dir,
    path: &RelPath,
    fingerprint: Option<StatFingerprint>,
    is_busy: impl Fn(u64) -> bool,
) -> Option<&'static str> {
    let gone = "it has changed since it was looked at";
    let Ok(parent) = tree.root().parent(path) else { return Some(gone) };
    let Ok(stat) = statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW) else {
        return Some(gone);
    };
    let changed = Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 };
    let now = StatFingerprint::new(changed, stat.st_ino);
    if is_busy(stat.st_ino) {
        return Some("it is open for writing, or mapped, and may be new");
    }
    if !fingerprint.is_some_and(|fingerprint| fingerprint == now) {
        return Some(gone);
    }
    let system = fstatfs(&parent).map(|system| system.f_type as u64 & 0xffff_ffff);
    if !system.is_ok_and(|system| NOTE_STORES.contains(&system)) {
        return Some("its file system does not note stores through memory maps, so it may be new");
    }
    None
}

/// The file systems (`statfs(2)`) that stamp a file when a program stores to a page of it through a memory map, the first
/// time after the page was written to the disk: ext2, 3 and 4, XFS, Btrfs, F2FS, bcachefs.
const NOTE_STORES: [u64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e];
