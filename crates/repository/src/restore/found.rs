//! [`Found`]: what is in the directory that is restored into, and what of it cannot be read. Reads only.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apply::{UNREAD, alike};
use dirindex::{
    Beneath, Dir, DirIndex, DirOptions, Entry, FileId, Meta, Node, Problem, ProblemKind, Record,
    RelPath, ScanOptions, Time, Xattrs,
};
use rustix::fs::{FileType, Stat, fstat};

use super::RestoreOptions;
use crate::error::{Error, Result};

/// What is in a directory.
pub(super) struct Found {
    dest: PathBuf,
    pub(super) index: DirIndex,
    /// What the index does not have, or not what is in it, in path order.
    unseen: Vec<Unseen>,
}

/// What cannot be read, or is of a kind that no backup has.
struct Unseen {
    path: RelPath,
    detail: String,
    /// A record of it, for where it is in the way. `None` for a directory, which has one, and for what is in that.
    record: Option<Arc<Record>>,
}

impl Found {
    /// Looks at the directory `dest`; one that is not there has nothing in it. What lies on another file
    /// system in it is not looked at. The directory `barred` must not be in it.
    pub(super) fn of(
        dest: &Path,
        options: &RestoreOptions,
        barred: Option<FileId>,
    ) -> Result<Found> {
        let only = options.paths.clone();
        let rules = DirOptions { only, one_file_system: true, ..DirOptions::everything() };
        let progress = options.apply.progress.clone();
        let scan = ScanOptions { progress, barred, signature: None, ..ScanOptions::default() };
        let dir = match Dir::with_options(dest, &rules) {
            Err(dirindex::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let (index, unseen) = (DirIndex::empty(), Vec::new());
                return Ok(Found { dest: dest.into(), index, unseen });
            }
            dir => dir?,
        };
        if barred.is_some() && barred == FileId::of_open(dir.root()) {
            return Err(Error::StoreInside { path: ".".into() });
        }
        let index = DirIndex::scan_with(&dir, None, &scan).map_err(|error| match error {
            dirindex::Error::Barred { path } => Error::StoreInside { path: path.to_string() },
            other => other.into(),
        })?;
        let unreadable = index.problems().iter().filter(|problem| {
            matches!(problem.kind, ProblemKind::Unreadable | ProblemKind::Unsupported)
        });
        let mut unseen: Vec<Unseen> =
            unreadable.map(|problem| Unseen::of(dir.root(), problem)).collect();
        let elsewhere = index.excluded().iter().map(|path| Unseen {
            path: path.clone(),
            detail: "it lies on another file system".into(),
            record: None,
        });
        unseen.extend(elsewhere);
        unseen.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Found { dest: dest.into(), index, unseen })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.records().is_empty() && self.unseen.is_empty()
    }

    /// Records of what cannot be read.
    pub(super) fn unread(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.unseen.iter().filter_map(|unseen| unseen.record.as_ref())
    }

    /// What is not for a restore of `target` to remove, of which `left_out` was there and is in no backup.
    pub(super) fn spared(&self, target: &DirIndex, left_out: &[RelPath]) -> Spared {
        let unseen = self.unseen.iter().map(|unseen| &unseen.path);
        let mut tops: Vec<RelPath> = left_out.iter().chain(unseen.clone()).cloned().collect();
        tops.sort_unstable();
        tops.dedup_by(|path, above| path == above || path.is_below(above));
        let mut spared = Spared { tops, rules: self.rules(), around: HashSet::new() };
        let there = self.index.records().iter().map(|record| &record.entry.path);
        let there =
            there.filter(|path| target.get(path).is_none() && spared.is_itself(path, target));
        let there: Vec<&RelPath> = there.chain(unseen).collect();
        for path in there {
            for dir in std::iter::successors(path.parent(), RelPath::parent) {
                if !spared.around.insert(dir) {
                    break;
                }
            }
        }
        spared
    }

    /// The rules by which the directory would be backed up if nothing else were asked for.
    fn rules(&self) -> Option<Dir> {
        Dir::new(&self.dest).ok()
    }

    /// Whether `path` is a directory in which nothing can be seen.
    pub(super) fn hides(&self, path: &RelPath) -> bool {
        self.at(path).is_some_and(|unseen| unseen.record.is_none())
    }

    /// Why `path` cannot be read.
    pub(super) fn detail(&self, path: &RelPath) -> String {
        self.at(path).map_or_else(String::new, |unseen| unseen.detail.clone())
    }

    fn at(&self, path: &RelPath) -> Option<&Unseen> {
        let at = self.unseen.binary_search_by(|unseen| unseen.path.cmp(path));
        self.unseen.get(at.ok()?)
    }

    /// Whether a file that cannot be read is `target` by all that can be seen of it.
    pub(super) fn looks_like(&self, found: &Record, target: &Record) -> bool {
        let (found, target) = (&found.entry, &target.entry);
        let is_unread = matches!(found.node, Node::File { digest, .. } if digest == UNREAD);
        is_unread
            && matches!(target.node, Node::File { len, .. } if len == found.node.len())
            && (found.meta.mode, found.meta.mtime) == (target.meta.mode, target.meta.mtime)
    }

    /// Whether all that is there, but for what was `left_out`, is what a restore of `state` would leave.
    pub(super) fn is_copy(
        &self,
        (state, left_out): (&DirIndex, &[RelPath]),
        dest: &Path,
        options: &RestoreOptions,
    ) -> bool {
        let spared = self.spared(state, left_out);
        let found = self.index.records().iter().filter(|record| {
            let path = &record.entry.path;
            state.get(path).is_some() || spared.of(path, state) == Standing::Goes
        });
        let found: Vec<&Arc<Record>> = found.collect();
        if found.len() != state.records().len() {
            return false;
        }
        let mut differing: Vec<(&Node, &Meta, &Meta)> = Vec::new();
        for (found, wanted) in found.into_iter().zip(state.records()) {
            let (found, wanted) = (&found.entry, &wanted.entry);
            if (&found.path, &found.node) != (&wanted.path, &wanted.node) {
                return false;
            }
            if found.meta != wanted.meta {
                differing.push((&found.node, &found.meta, &wanted.meta));
            }
        }
        alike(dest, options.apply.privileged, &differing).into_iter().all(|alike| alike)
    }
}

/// What is not for a restore to remove.
pub(super) struct Spared {
    /// With all below them, in path order; none lies below another.
    tops: Vec<RelPath>,
    rules: Option<Dir>,
    /// The directories around what is spared.
    around: HashSet<RelPath>,
}

/// What a restore that removes does with a path that the target does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is removed.
    Goes,
    /// It stays, since something in it is spared.
    Around,
    /// It stays.
    Spared,
}

impl Spared {
    /// What becomes of `path`, which the target does not have.
    pub(super) fn of(&self, path: &RelPath, target: &DirIndex) -> Standing {
        if self.is_itself(path, target) {
            Standing::Spared
        } else if self.around.contains(path) {
            Standing::Around
        } else {
            Standing::Goes
        }
    }

    fn is_itself(&self, path: &RelPath, target: &DirIndex) -> bool {
        let after = self.tops.partition_point(|top| top <= path);
        let before = after.checked_sub(1).and_then(|at| self.tops.get(at));
        before.is_some_and(|top| path == top || path.is_below(top)) || self.by_rule(path, target)
    }

    /// Whether a rule would leave it out now, and left it out of the target too.
    fn by_rule(&self, path: &RelPath, target: &DirIndex) -> bool {
        let Some(rules) = &self.rules else { return false };
        let excluded = |path: &RelPath| rules.is_excluded(path).unwrap_or(false);
        let above = std::iter::successors(Some(path.clone()), RelPath::parent);
        let top = above.take_while(excluded).last();
        top.is_some_and(|top| target.get(&top).is_none())
    }
}

impl Unseen {
    fn of(root: &Beneath, problem: &Problem) -> Unseen {
        let (path, detail) = (problem.path.clone(), problem.detail.clone());
        let held = root.look(&path).and_then(|held| Ok(fstat(held)?));
        let record = held.ok().and_then(|stat| unread(&path, &stat));
        Unseen { path, detail, record }
    }
}

/// A record of a file or a socket whose content is not known; `None` for a directory.
fn unread(path: &RelPath, stat: &Stat) -> Option<Arc<Record>> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return None;
    }
    let node = Node::File { len: stat.st_size.unsigned_abs(), digest: UNREAD };
    let meta = Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
        xattrs: Xattrs::default(),
    };
    let entry = Entry { path: path.clone(), node, meta };
    Some(Arc::new(Record { entry, signature: None, fingerprint: None }))
}
