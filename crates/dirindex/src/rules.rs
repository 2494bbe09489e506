//! What a tree leaves out: by patterns, of the caller's and of files in the tree, and by what a thing
//! is: a cache, another file system, a large file. Reads exclude files and cache tags; walks nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::exclude::Excludes;
use crate::{Beneath, DirOptions, Error, RelPath};

/// An exclude file larger than this is somebody's mistake.
const MAX_EXCLUDE_LEN: u64 = 16 << 20;

/// What marks a cache: a file of this name that begins so (<https://bford.info/cachedir/>).
pub(crate) const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_TAG_START: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The rules of one tree.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The tree's own path, for messages.
    shown_as: PathBuf,
    exclude_files: Vec<String>,
    caches: bool,
    max_file_len: Option<u64>,
    only: Vec<RelPath>,
    /// The device of the root, if no other is to be entered.
    only_device: Option<u64>,
    at_root: Excludes,
}

impl Rules {
    pub(crate) fn new(
        shown_as: &Path,
        root: &Beneath,
        options: &DirOptions,
    ) -> Result<Rules, Error> {
        let stat = fstat(root).map_err(|error| Error::io("stat", shown_as, error.into()))?;
        Ok(Rules {
            shown_as: shown_as.to_path_buf(),
            exclude_files: options.exclude_files.clone(),
            caches: options.exclude_caches,
            max_file_len: options.max_file_len,
            only: options.only.clone(),
            only_device: options.one_file_system.then_some(stat.st_dev),
            at_root: Excludes::new(&options.default_excludes, &options.excludes)?,
        })
    }

    /// The patterns in force before any exclude file was read.
    pub(crate) fn at_root(&self) -> &Excludes {
        &self.at_root
    }

    /// The patterns in force inside `dir` (`None`: the root), which is open as `fd`: those `above`
    /// and those of its exclude files. Only what it `has` is looked for.
    pub(crate) fn enter(
        &self,
        above: &Excludes,
        fd: BorrowedFd<'_>,
        dir: Option<&RelPath>,
        has: impl Fn(&[u8]) -> bool,
    ) -> Result<Excludes, Error> {
        let mut excludes = above.clone();
        for name in self.exclude_files.iter().filter(|name| has(name.as_bytes())) {
            let shown = self.shown_as.join(dir.map_or(Path::new(""), RelPath::as_path)).join(name);
            match read_exclude_file(fd, name) {
                Ok(content) => excludes = excludes.enter(dir, &shown, &content)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problem = format!("cannot be read as exclude patterns: {error}");
                    return Err(Error::Exclude { file: shown, line: 0, problem });
                }
            }
        }
        Ok(excludes)
    }

    /// Whether the directory open as `fd`, which `has` such names, is a cache whose content is left
    /// out, but for the tag that says so.
    pub(crate) fn is_cache(&self, fd: BorrowedFd<'_>, has: impl Fn(&[u8]) -> bool) -> bool {
        let begins_right = || {
            let flags = READ_ONLY | OFlags::NOFOLLOW;
            let tag = File::from(openat(fd, CACHE_TAG, flags, Mode::empty())?);
            let mut start = [0; CACHE_TAG_START.len()];
            (&tag).read_exact(&mut start)?;
            io::Result::Ok(start == *CACHE_TAG_START)
        };
        self.caches && has(CACHE_TAG) && begins_right().unwrap_or(false)
    }

    /// Whether `path` is one of those that alone count, or lies on the way to one or below one.
    pub(crate) fn concerns(&self, path: &RelPath) -> bool {
        let related = |only: &RelPath| only == path || only.is_below(path) || path.is_below(only);
        self.only.is_empty() || self.only.iter().any(related)
    }

    /// Whether `path`, which is in the directory that `excludes` are in force in, is left out with
    /// all that is below it.
    pub(crate) fn leave_out(&self, excludes: &Excludes, path: &RelPath, stat: &Stat) -> bool {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let too_large = kind == FileType::RegularFile
            && self.max_file_len.is_some_and(|max| stat.st_size.unsigned_abs() > max);
        too_large || excludes.leave_out(path, kind == FileType::Directory)
    }

    /// Whether what is in a directory is left out because it is on another file system.
    pub(crate) fn is_elsewhere(&self, stat: &Stat) -> bool {
        self.only_device.is_some_and(|device| device != stat.st_dev)
    }

    /// Whether `path` is left out, by itself or with a directory it lies in. It need not exist.
    pub(crate) fn is_excluded(&self, root: &Beneath, path: &RelPath) -> Result<bool, Error> {
        if !self.concerns(path) {
            return Ok(true);
        }
        let mut excludes = self.at_root.clone();
        let above = std::iter::successors(path.parent(), RelPath::parent);
        let mut steps: Vec<RelPath> = above.collect();
        steps.reverse();
        steps.push(path.clone());
        let mut inside = None;
        for step in &steps {
            let fd = root.open_dir(inside).ok();
            if let Some(fd) = &fd {
                excludes = self.enter(&excludes, fd.as_fd(), inside, |_| true)?;
                let cache = inside.is_some() && self.is_cache(fd.as_fd(), |_| true);
                if cache && step.name() != CACHE_TAG {
                    return Ok(true);
                }
            }
            let stat = fd.and_then(|fd| statat(fd, step.name(), AtFlags::SYMLINK_NOFOLLOW).ok());
            let out = match &stat {
                Some(stat) => {
                    self.leave_out(&excludes, step, stat)
                        || (step != path && self.is_elsewhere(stat))
                }
                None => excludes.leave_out(step, step != path),
            };
            if out {
                return Ok(true);
            }
            inside = Some(step);
        }
        Ok(false)
    }
}

/// `O_NONBLOCK` so that a fifo cannot hold up who opens it.
const READ_ONLY: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Reads the exclude file `name` in the directory `fd`. A link to one is followed, as git does not
/// and people expect; what it leads to is only read.
fn read_exclude_file(fd: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    let file = File::from(openat(fd, name, READ_ONLY, Mode::empty())?);
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
