//! Walking a tree in parallel: every path that is not left out, with what `stat` says of it, handed
//! over a directory at a time. Knows nothing of what is done with it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::Scope;
use rustix::fs::{AtFlags, FileType, RawDir, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::beneath::NAMES_LEN;
use super::exclude::{Excludes, Verdict};
use super::unfinished::holds_unfinished;
use super::xattr::{self, Attributes};
use crate::error::words;
use crate::{Dir, Error, Problem, ProblemKind, RelPath, is_stage_name};

/// Names of one directory that a task deals with; what has more is dealt with by several.
const BATCH: usize = 256;

/// One path that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: RelPath,
    pub(crate) stat: Stat,
    /// A symbolic link's target.
    pub(crate) target: Vec<u8>,
}

impl Found {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// What a walk came across, beside the paths that it handed over.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The extended attributes of directories that have any, which are read where a directory is
    /// opened, after it was found.
    pub(crate) dir_xattrs: BTreeMap<RelPath, Attributes>,
    /// What could not be looked at.
    pub(crate) problems: Vec<Problem>,
    /// What is there and left out, with all below it, in path order; none lies below another.
    pub(crate) excluded: Vec<RelPath>,
}

/// Walks the tree of `dir` and calls `take` with paths found in one directory, which is open as the
/// descriptor it gets. No descriptor is held for longer, so that a walk has few open, however deep
/// or wide the tree.
///
/// # Errors
/// When the root cannot be read, for exclude files as [`DirOptions::strict_excludes`](crate::DirOptions)
/// says, and what `take` returns.
pub(crate) fn walk(
    dir: &Dir,
    take: impl Fn(BorrowedFd<'_>, Vec<Found>) -> Result<(), Error> + Sync,
) -> Result<Walk, Error> {
    let dir_xattrs = BTreeMap::new();
    let walk = Walk { dir_xattrs, problems: Vec::new(), excluded: Vec::new() };
    let walker = Walker { dir, take, state: Mutex::new((walk, None)) };
    let excludes = dir.rules().at_root().clone();
    rayon::scope(|scope| walker.visit(scope, None, &excludes));
    let (mut walk, error) = walker.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    walk.excluded.sort_unstable();
    // The tag of a cache can be left out too.
    walk.excluded.dedup_by(|path, above| path == above || path.is_below(above));
    error.map_or(Ok(walk), Err)
}

struct Walker<'a, F> {
    dir: &'a Dir,
    take: F,
    state: Mutex<(Walk, Option<Error>)>,
}

/// A directory that is being looked at.
struct Here {
    fd: OwnedFd,
    excludes: Excludes,
}

impl<F: Fn(BorrowedFd<'_>, Vec<Found>) -> Result<(), Error> + Sync> Walker<'_, F> {
    /// Looks at one directory, and has tasks spawned for those in it.
    fn visit<'s>(&'s self, scope: &Scope<'s>, dir: Option<RelPath>, above: &Excludes) {
        if self.lock().1.is_some() {
            return;
        }
        if let Err(failure) = self.list(scope, dir.as_ref(), above) {
            match (failure, dir) {
                (Failure::Fatal(error), _) => self.fail(error),
                // It went away since its parent was listed.
                (Failure::Unreadable(error), Some(_))
                    if error.kind() == io::ErrorKind::NotFound => {}
                (Failure::Unreadable(error), Some(dir)) => {
                    // Its attributes were not looked at either, and are no fewer for that.
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    let mut state = self.lock();
                    state.0.dir_xattrs.insert(dir.clone(), Attributes::unknown(errno));
                    state.0.problems.push(unreadable(dir, &error));
                }
                (Failure::Unreadable(error), None) => {
                    self.fail(Error::io("read the directory", self.dir.path(), error));
                }
            }
        }
    }

    fn list<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: Option<&RelPath>,
        above: &Excludes,
    ) -> Result<(), Failure> {
        let fd = self.dir.root().open_dir(dir)?;
        let mut names = self.names(&fd, dir)?;
        let has = |name: &[u8]| names.iter().any(|(path, _)| path.name() == name);
        let rules = self.dir.rules();
        let mut problems = Vec::new();
        let excludes = rules.enter(above, fd.as_fd(), dir, has, &mut problems);
        let excludes = excludes.map_err(Failure::Fatal)?;
        if !problems.is_empty() {
            self.lock().0.problems.append(&mut problems);
        }
        if let Some(dir) = dir {
            let xattrs = xattr::read(xattr::Of::Open(fd.as_fd()));
            let tag = rules.tag(fd.as_fd(), has);
            if let Some(tag) = tag {
                names.retain(|(path, _)| path.name() == tag);
            }
            if tag.is_some() || !xattrs.are_empty() {
                let mut state = self.lock();
                state.0.excluded.extend(tag.map(|_| dir.clone()));
                state.0.problems.extend(xattr::problem(dir, &xattrs));
                state.0.dir_xattrs.insert(dir.clone(), xattrs);
            }
        }
        // Directories first: what is spawned last is done first, so the tasks of this one, which
        // hold its descriptor, are done before those of the ones in it. In the order of their names, since so the previous index
        // has them.
        names.sort_unstable_by(|(a, a_kind), (b, b_kind)| {
            let is_file = |kind| !matches!(kind, FileType::Directory | FileType::Unknown);
            (is_file(*a_kind), a.as_bytes()).cmp(&(is_file(*b_kind), b.as_bytes()))
        });
        let here = Arc::new(Here { fd, excludes });
        if names.len() <= BATCH {
            self.batch(scope, &here, names);
            return Ok(());
        }
        let files = names
            .iter()
            .position(|(_, kind)| !matches!(kind, FileType::Directory | FileType::Unknown));
        let mut rest = names.split_off(files.unwrap_or(names.len())).into_iter();
        self.batch(scope, &here, names);
        while !rest.as_slice().is_empty() {
            let (names, here) = (rest.by_ref().take(BATCH).collect(), Arc::clone(&here));
            scope.spawn(move |scope| self.batch(scope, &here, names));
        }
        Ok(())
    }

    /// The paths in a directory, with what the directory says they are.
    fn names(&self, fd: &OwnedFd, dir: Option<&RelPath>) -> io::Result<Vec<(RelPath, FileType)>> {
        let mut names = Vec::new();
        let mut buffer = Vec::with_capacity(NAMES_LEN);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        let (mut staged, mut unusable) = (false, None::<(RelPath, String)>);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if is_stage_name(name) {
                staged = true;
                continue;
            }
            let path = match dir {
                Some(dir) => dir.join(name),
                None => RelPath::new(name),
            };
            match path {
                Ok(path) => names.push((path, entry.file_type())),
                // A path may grow too long, and FUSE has longer names than all others.
                Err(error) => {
                    let near = dir.cloned().or_else(|| RelPath::new(name.get(..255)?).ok());
                    // The first in the order of names, whatever the directory's is.
                    let named = near.map(|near| (near, error.to_string()));
                    unusable = unusable.into_iter().chain(named).min();
                }
            }
        }
        let mut problems = Vec::new();
        if let (Some(dir), true) = (dir, staged) {
            if holds_unfinished(fd.as_fd())? {
                let why =
                    "it holds an unfinished apply (.ibtools-apply/journal): run that again first";
                return Err(io::Error::other(why));
            }
            let detail = "what an apply left there in .ibtools-apply".into();
            problems.push(Problem::new(dir.clone(), ProblemKind::Unsupported, detail));
        }
        if let Some((path, error)) = unusable {
            let detail = format!("something in it, and all below that: {error}");
            problems.push(Problem::new(path, ProblemKind::Unsupported, detail));
        }
        if !problems.is_empty() {
            self.lock().0.problems.append(&mut problems);
        }
        Ok(names)
    }

    /// Looks at some of the paths in a directory and hands over what counts.
    fn batch<'s>(&'s self, scope: &Scope<'s>, here: &Arc<Here>, names: Vec<(RelPath, FileType)>) {
        let rules = self.dir.rules();
        let mut found = Vec::with_capacity(names.len());
        let (mut problems, mut excluded, mut slow) = (Vec::new(), Vec::new(), false);
        for (path, _) in names.into_iter().filter(|(path, _)| rules.concerns(path)) {
            let (stat, target) = match look(here.fd.as_fd(), &path) {
                Ok(seen) => seen,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    problems.push(unreadable(path, &error.into()));
                    continue;
                }
            };
            match rules.verdict(&here.excludes, &path, &stat) {
                Verdict::LeftOut => {
                    excluded.push(path);
                    continue;
                }
                Verdict::TooSlow if !slow => {
                    slow = true;
                    let detail = "counts: the exclude files above it take too long to match".into();
                    problems.push(Problem::new(path.clone(), ProblemKind::Exclude, detail));
                }
                Verdict::TooSlow | Verdict::Counts => {}
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if rules.is_elsewhere(&path, &stat) {
                    excluded.push(path.clone());
                } else {
                    let (dir, excludes) = (path.clone(), here.excludes.clone());
                    scope.spawn(move |scope| self.visit(scope, Some(dir), &excludes));
                }
            }
            found.push(Found { path, stat, target });
        }
        let taken = (self.take)(here.fd.as_fd(), found);
        let mut state = self.lock();
        state.0.problems.append(&mut problems);
        state.0.excluded.append(&mut excluded);
        if let Err(error) = taken {
            state.1.get_or_insert(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Walk, Option<Error>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.lock().1.get_or_insert(error);
    }
}

/// What stands at `path` in the directory `fd`, and a symbolic link's target.
fn look(fd: BorrowedFd<'_>, path: &RelPath) -> rustix::io::Result<(Stat, Vec<u8>)> {
    let stat = statat(fd, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
    let target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => readlinkat(fd, path.name(), Vec::new())?.into_bytes(),
        _ => Vec::new(),
    };
    Ok((stat, target))
}

/// Why a directory was not listed.
enum Failure {
    /// This directory cannot be read; the walk goes on.
    Unreadable(io::Error),
    /// The walk cannot go on.
    Fatal(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Unreadable(error)
    }
}

/// The path cannot be read.
pub(crate) fn unreadable(path: RelPath, error: &io::Error) -> Problem {
    Problem::new(path, ProblemKind::Unreadable, words(error))
}
