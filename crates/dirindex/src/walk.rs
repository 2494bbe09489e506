//! Walking a tree in parallel: every path that is not excluded, with what `stat` says of it. Reads
//! names and metadata through held descriptors, never contents (but for exclude files).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::exclude::Excludes;
use crate::{Beneath, Error, Problem, ProblemKind, RelPath, STAGE_DIR, Xattr, xattr};

/// An exclude file larger than this is somebody's mistake.
const MAX_EXCLUDE_LEN: u64 = 16 << 20;

/// One path that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: RelPath,
    pub(crate) stat: Stat,
    /// A symbolic link's target.
    pub(crate) target: Vec<u8>,
    /// A directory's extended attributes.
    pub(crate) xattrs: Vec<Xattr>,
}

/// Everything that was found, in path order, and what could not be looked at.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) found: Vec<Found>,
    pub(crate) problems: Vec<Problem>,
}

/// Walks the tree below `root`, whose own path is `shown_as` in messages.
///
/// # Errors
/// When the root cannot be read, or an exclude file cannot be understood.
pub(crate) fn walk(
    root: &Beneath,
    shown_as: &Path,
    exclude_file: Option<&str>,
    excludes: &Excludes,
) -> Result<Walk, Error> {
    let walker = Walker { root, shown_as, exclude_file, state: Mutex::default() };
    rayon::scope(|scope| walker.visit(scope, None, excludes.clone()));
    let State { mut walk, mut dir_xattrs, error } =
        walker.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(error) = error {
        return Err(error);
    }
    walk.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    if !dir_xattrs.is_empty() {
        for found in &mut walk.found {
            found.xattrs = dir_xattrs.remove(&found.path).unwrap_or_default();
        }
    }
    Ok(walk)
}

struct Walker<'a> {
    root: &'a Beneath,
    shown_as: &'a Path,
    exclude_file: Option<&'a str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    walk: Walk,
    /// A directory's attributes are read when it is opened, after its parent listed it.
    dir_xattrs: BTreeMap<RelPath, Vec<Xattr>>,
    error: Option<Error>,
}

/// What one directory has: its entries, those of them to descend into with what is excluded there.
#[derive(Default)]
struct Listing {
    found: Vec<Found>,
    problems: Vec<Problem>,
    xattrs: Vec<Xattr>,
    subdirs: Vec<RelPath>,
}

impl<'a> Walker<'a> {
    /// Lists `dir` and spawns a task for each directory in it. No descriptor is held meanwhile, so
    /// a walk has as many open as it has threads, however deep the tree.
    fn visit<'s>(&'s self, scope: &rayon::Scope<'s>, dir: Option<RelPath>, above: Excludes) {
        match self.list(dir.as_ref(), above) {
            Ok((listing, excludes)) => {
                for subdir in listing.subdirs {
                    let excludes = excludes.clone();
                    scope.spawn(move |scope| self.visit(scope, Some(subdir), excludes));
                }
                let mut state = self.lock();
                state.walk.found.extend(listing.found);
                state.walk.problems.extend(listing.problems);
                if let (Some(dir), false) = (dir, listing.xattrs.is_empty()) {
                    state.dir_xattrs.insert(dir, listing.xattrs);
                }
            }
            Err(Failure::Fatal(error)) => {
                self.lock().error.get_or_insert(error);
            }
            Err(Failure::Unreadable(error)) => match dir {
                // It went away since its parent was listed.
                Some(_) if error.kind() == io::ErrorKind::NotFound => {}
                Some(dir) => self.lock().walk.problems.push(unreadable(dir, &error)),
                None => {
                    let error = Error::io("read the directory", self.shown_as, error);
                    self.lock().error.get_or_insert(error);
                }
            },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn list(&self, dir: Option<&RelPath>, above: Excludes) -> Result<(Listing, Excludes), Failure> {
        let fd = self.root.open_dir(dir)?;
        let mut listing = Listing::default();
        let excludes = match self.exclude_file_in(&fd, dir)? {
            Some((name, content)) => above.enter(dir, &name, &content).map_err(Failure::Fatal)?,
            None => above,
        };
        if dir.is_some() {
            listing.xattrs = xattr::read(fd.as_fd())?;
        }
        for name in rustix::fs::Dir::read_from(&fd)? {
            let name = name?;
            let name = name.file_name();
            let bytes = name.to_bytes();
            let stage = dir.is_none() && bytes == STAGE_DIR.as_bytes();
            if bytes == b"." || bytes == b".." || stage {
                continue;
            }
            let path = match dir {
                Some(dir) => dir.join(bytes),
                None => RelPath::new(bytes),
            };
            // The kernel gives no name that is not usable, but a path may grow too long.
            let Ok(path) = path else { continue };
            let stat = match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    listing.problems.push(unreadable(path, &error.into()));
                    continue;
                }
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if excludes.leave_out(&path, kind == FileType::Directory) {
                continue;
            }
            let mut target = Vec::new();
            if kind == FileType::Symlink {
                match readlinkat(&fd, name, Vec::new()) {
                    Ok(link) => target = link.into_bytes(),
                    Err(Errno::NOENT) => continue,
                    Err(error) => {
                        listing.problems.push(unreadable(path, &error.into()));
                        continue;
                    }
                }
            }
            if kind == FileType::Directory {
                listing.subdirs.push(path.clone());
            }
            listing.found.push(Found { path, stat, target, xattrs: Vec::new() });
        }
        Ok((listing, excludes))
    }

    /// The name, for messages, and the content of the exclude file in a directory, if it has one.
    fn exclude_file_in(
        &self,
        fd: &OwnedFd,
        dir: Option<&RelPath>,
    ) -> Result<Option<(std::path::PathBuf, Vec<u8>)>, Failure> {
        let Some(name) = self.exclude_file else { return Ok(None) };
        let shown = self.shown_as.join(dir.map_or(Path::new(""), RelPath::as_path)).join(name);
        match read_exclude_file(fd, name) {
            Ok(content) => Ok(Some((shown, content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::Fatal(Error::Exclude {
                file: shown,
                line: 0,
                problem: format!("cannot be read as exclude patterns: {error}"),
            })),
        }
    }
}

/// Reads the exclude file `name` in the directory `fd`. A link to one is followed, as git does not
/// and people expect; what it leads to is only read.
fn read_exclude_file(fd: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(openat(fd, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    let len = file.take(MAX_EXCLUDE_LEN + 1).read_to_end(&mut content)?;
    if len as u64 > MAX_EXCLUDE_LEN {
        return Err(io::Error::other("it is over 16 MiB"));
    }
    Ok(content)
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

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        Failure::Unreadable(error.into())
    }
}

/// Says it in the system's words, without the number that the standard library adds to them.
pub(crate) fn unreadable(path: RelPath, error: &io::Error) -> Problem {
    let text = error.to_string();
    let detail = text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).into();
    Problem { path, kind: ProblemKind::Unreadable, detail }
}

/// Whether `path` is left out, by itself or with a directory it lies in.
pub(crate) fn is_excluded(
    root: &Beneath,
    shown_as: &Path,
    exclude_file: Option<&str>,
    excludes: &Excludes,
    path: &RelPath,
) -> Result<bool, Error> {
    let walker = Walker { root, shown_as, exclude_file, state: Mutex::default() };
    let mut excludes = excludes.clone();
    let above = std::iter::successors(path.parent(), RelPath::parent);
    let mut dirs: Vec<RelPath> = above.collect();
    dirs.reverse();
    let mut inside = None;
    for step in dirs.iter().chain([path]) {
        let fd = root.open_dir(inside);
        if let Ok(fd) = &fd {
            match walker.exclude_file_in(fd, inside) {
                Ok(Some((name, content))) => excludes = excludes.enter(inside, &name, &content)?,
                Err(Failure::Fatal(error)) => return Err(error),
                Ok(None) | Err(Failure::Unreadable(_)) => {}
            }
        }
        let is_dir = step != path || root.open_dir(Some(step)).is_ok();
        if excludes.leave_out(step, is_dir) {
            return Ok(true);
        }
        inside = Some(step);
    }
    Ok(false)
}
