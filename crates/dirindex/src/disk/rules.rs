//! What a tree leaves out: by patterns, of the caller's and of files in the tree, and by what a thing
//! is: a cache, another file system, a large file. Reads exclude files and cache tags; walks nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::exclude::{Excludes, MAX_IN_FORCE, Verdict};
use super::pattern::Pattern;
use crate::error::words;
use crate::{
    Beneath, DirOptions, Error, PathSlice, Patterns, Problem, ProblemKind, RelPath, UnusableLines,
    escape,
};

/// The caller may list more patterns than files in the tree may, but no device without an end.
const MAX_CALLERS_LEN: u64 = 64 << 20;

/// What marks a cache: a file of this name that begins so (<https://bford.info/cachedir/>).
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_TAG_START: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The rules of one tree.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The tree's own path, for messages.
    shown_as: PathBuf,
    exclude_files: Vec<String>,
    /// Exclude files that cannot be used are errors.
    strict: bool,
    caches: bool,
    max_file_len: Option<u64>,
    /// The names of files that leave out the content of their directory.
    tags: Vec<String>,
    /// In path order.
    only: Vec<RelPath>,
    /// The devices that may be entered, if not all may.
    devices: Option<BTreeSet<u64>>,
    at_root: Excludes,
}

impl Rules {
    pub(crate) fn new(
        shown_as: &Path,
        root: &Beneath,
        options: &DirOptions,
    ) -> Result<Rules, Error> {
        let stat = fstat(root).map_err(|error| Error::io("stat", shown_as, error.into()))?;
        for name in &options.exclude_files {
            refuse_path(name)?;
        }
        for name in &options.exclude_if_present {
            refuse_tag(name)?;
        }
        let mut only = options.only.clone();
        only.sort_unstable();
        let only_devices = || {
            let at = |path: &RelPath| {
                root.open_dir(Some(path)).and_then(|dir| Ok(fstat(dir)?.st_dev)).ok()
            };
            only.iter().filter_map(at).chain([stat.st_dev]).collect()
        };
        let devices = options.one_file_system.then(only_devices);
        let place = Place { path: std::fs::canonicalize(shown_as).ok(), root };
        let mut caller = Patterns::default();
        for file in &options.exclude_from {
            listed(file, &place, &mut caller)?;
        }
        single(&options.excludes, Some(&place), &mut caller)?;
        let mut defaults = Patterns::default();
        single(&options.default_excludes, None, &mut defaults)?;
        Ok(Rules {
            shown_as: shown_as.to_path_buf(),
            exclude_files: options.exclude_files.clone(),
            strict: options.strict_excludes,
            caches: options.exclude_caches,
            max_file_len: options.max_file_len,
            tags: options.exclude_if_present.clone(),
            devices,
            only,
            at_root: Excludes::new(caller, defaults),
        })
    }

    /// The patterns in force before any exclude file was read.
    pub(crate) fn at_root(&self) -> &Excludes {
        &self.at_root
    }

    /// The patterns in force inside `dir` (`None`: the root), which is open as `fd`: those `above`
    /// and those of its exclude files. Only what it `has` is looked for.
    ///
    /// # Errors
    /// For an exclude file that cannot be used, if it is in the root or the caller is strict; else it
    /// is one of the `problems`.
    pub(crate) fn enter(
        &self,
        above: &Excludes,
        fd: BorrowedFd<'_>,
        dir: Option<&RelPath>,
        has: impl Fn(&[u8]) -> bool,
        problems: &mut Vec<Problem>,
    ) -> Result<Excludes, Error> {
        let mut excludes = above.clone();
        for name in self.exclude_files.iter().filter(|name| has(name.as_bytes())) {
            let Ok(path) =
                dir.map_or_else(|| RelPath::new(name.as_str()), |d| d.join(name.as_bytes()))
            else {
                continue;
            };
            let error = |line, problem| {
                let file = self.shown_as.join(path.as_path());
                Err(Error::Exclude { file, line, problem })
            };
            let content = match read_exclude_file(fd, name, excludes.room()) {
                Ok(None) => continue,
                Ok(Some(content)) => content,
                Err(why) => {
                    let problem = format!("not used as an exclude file: {why}");
                    if dir.is_none() {
                        let own =
                            "a file of your own can be given as exclude_from (--exclude-from)";
                        return error(0, format!("{problem}; {own}"));
                    }
                    if self.strict {
                        return error(0, problem);
                    }
                    problems.push(Problem::new(path, ProblemKind::Exclude, problem));
                    continue;
                }
            };
            let (patterns, unusable) = Patterns::parse(&content);
            excludes.enter(dir, patterns, content.len());
            let Some(UnusableLines { first, problem, count }) = unusable else { continue };
            if self.strict {
                return error(first, format!("the line leaves nothing out: {problem}"));
            }
            let others = match count {
                1 => String::new(),
                more => format!(" (nor do {} other lines)", more - 1),
            };
            let problem = format!("line {first} leaves nothing out: {problem}{others}");
            problems.push(Problem::new(path, ProblemKind::Exclude, problem));
        }
        Ok(excludes)
    }

    /// The file for whose sake the content of the directory open as `fd`, which `has` such names, is left out, but for that
    /// file.
    pub(crate) fn tag(&self, fd: BorrowedFd<'_>, has: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        let begins_right = || {
            let tag = File::from(openat(fd, CACHE_TAG, READ_ONLY, Mode::empty())?);
            let mut start = [0; CACHE_TAG_START.len()];
            (&tag).read_exact(&mut start)?;
            io::Result::Ok(start == *CACHE_TAG_START)
        };
        if self.caches && has(CACHE_TAG) && begins_right().unwrap_or(false) {
            return Some(CACHE_TAG);
        }
        let is_there = |name: &[u8]| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let mut tags = self.tags.iter().map(String::as_bytes);
        tags.find(|&name| has(name) && is_there(name))
    }

    /// Whether `path` is one of those that alone count, or lies on the way to one or below one.
    pub(crate) fn concerns(&self, path: &RelPath) -> bool {
        let has = |path: &RelPath| self.only.binary_search(path).is_ok();
        let above = || path.ancestors().any(|above| has(&above.to_path()));
        self.only.is_empty() || has(path) || self.is_above(path) || above()
    }

    /// Whether `path` is on the way to one of the paths that alone count. What is below a path follows it in path order.
    fn is_above(&self, path: &RelPath) -> bool {
        let next = self.only.partition_point(|only| only <= path);
        self.only.get(next).is_some_and(|only| only.is_below(path))
    }

    /// What becomes of `path`, which is in the directory that `excludes` are in force in.
    pub(crate) fn verdict(&self, excludes: &Excludes, path: &RelPath, stat: &Stat) -> Verdict {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let too_large = kind == FileType::RegularFile
            && self.max_file_len.is_some_and(|max| stat.st_size.unsigned_abs() > max);
        match too_large {
            true => Verdict::LeftOut,
            false => excludes.verdict(path, kind == FileType::Directory),
        }
    }

    /// Whether what is in the directory at `path` is left out because it is on another file system.
    pub(crate) fn is_elsewhere(&self, path: &RelPath, stat: &Stat) -> bool {
        let other = |devices: &BTreeSet<u64>| !devices.contains(&stat.st_dev);
        self.devices.as_ref().is_some_and(other) && !self.is_above(path)
    }

    /// Whether `path` is left out, by itself or with a directory it lies in. It need not exist; with
    /// `will_be_dir` it counts as one that is, or is not, a directory, whatever stands there.
    pub(crate) fn is_excluded(
        &self,
        root: &Beneath,
        path: &RelPath,
        will_be_dir: Option<bool>,
    ) -> Result<bool, Error> {
        if !self.concerns(path) {
            return Ok(true);
        }
        let mut excludes = self.at_root.clone();
        let above = path.ancestors().rev().map(PathSlice::to_path);
        let mut inside: Option<RelPath> = None;
        for step in above.chain([path.clone()]) {
            let fd = root.open_dir(inside.as_ref()).ok();
            if let Some(fd) = &fd {
                // The walk reports what cannot be used.
                let problems = &mut Vec::new();
                excludes =
                    self.enter(&excludes, fd.as_fd(), inside.as_ref(), |_| true, problems)?;
                let tag = inside.as_ref().and_then(|_| self.tag(fd.as_fd(), |_| true));
                if tag.is_some_and(|tag| step.name() != tag) {
                    return Ok(true);
                }
            }
            let stat = fd.and_then(|fd| statat(fd, step.name(), AtFlags::SYMLINK_NOFOLLOW).ok());
            let verdict = match (&stat, will_be_dir.filter(|_| step == *path)) {
                (_, Some(is_dir)) => excludes.verdict(&step, is_dir),
                (Some(stat), None) if step != *path && self.is_elsewhere(&step, stat) => {
                    Verdict::LeftOut
                }
                (Some(stat), None) => self.verdict(&excludes, &step, stat),
                (None, None) => excludes.verdict(&step, step != *path),
            };
            if verdict == Verdict::LeftOut {
                return Ok(true);
            }
            inside = Some(step);
        }
        Ok(false)
    }
}

/// A list of one pattern, for who looks for paths.
pub(crate) fn pattern(pattern: &OsStr) -> Result<Patterns, Error> {
    let mut patterns = Patterns::default();
    single(&[pattern.to_os_string()], None, &mut patterns)?;
    Ok(patterns)
}

/// Refuses what cannot be the name of a file in a directory.
fn refuse_path(name: &str) -> Result<(), Error> {
    if RelPath::new(name).is_ok() && !name.contains('/') {
        return Ok(());
    }
    let problem = "exclude files in the tree are found by their name, and this is none: a file of \
                   patterns of your own goes into exclude_from (--exclude-from)";
    Err(Error::Exclude { file: name.into(), line: 0, problem: problem.into() })
}

/// Refuses what cannot be the name of a file in a directory.
fn refuse_tag(name: &str) -> Result<(), Error> {
    if RelPath::new(name).is_ok() && !name.contains('/') {
        return Ok(());
    }
    let problem = "no file in a directory is called so, and it would leave out nothing (exclude_if_present, --exclude-if-present)";
    Err(Error::Pattern { pattern: escape(name.as_bytes()), problem: problem.into() })
}

/// Where the tree is, for patterns that mistake what they begin at.
struct Place<'a> {
    path: Option<PathBuf>,
    root: &'a Beneath,
}

/// Puts patterns of the caller's at the end of `list`, if they can match something in the tree.
fn single(
    patterns: &[std::ffi::OsString],
    place: Option<&Place<'_>>,
    list: &mut Patterns,
) -> Result<(), Error> {
    for text in patterns {
        let parsed = match Pattern::parse(text.as_bytes()) {
            Ok(None) => Err("it is empty, or a comment (`\\#` is the character)".to_owned()),
            Err(problem) => Err(problem.to_owned()),
            Ok(parsed) => match place.and_then(|place| place.mistaken(text.as_bytes())) {
                Some(problem) => Err(problem),
                None => Ok(parsed),
            },
        };
        let pattern = escape(text.as_bytes());
        list.extend(parsed.map_err(|problem| Error::Pattern { pattern, problem })?);
    }
    Ok(())
}

/// Puts the patterns in a file of the caller's at the end of `list`.
fn listed(file: &Path, place: &Place<'_>, list: &mut Patterns) -> Result<(), Error> {
    let fault = |line, problem| Error::Exclude { file: file.into(), line, problem };
    let read = || {
        let mut content = Vec::new();
        File::open(file)?.take(MAX_CALLERS_LEN + 1).read_to_end(&mut content)?;
        io::Result::Ok(content)
    };
    let content = read().map_err(|error| Error::io("read the exclude patterns in", file, error))?;
    if content.len() as u64 > MAX_CALLERS_LEN {
        return Err(fault(0, "it has over 64 MiB, which is no list of patterns".into()));
    }
    for (number, line) in Patterns::lines(&content) {
        let pattern = Pattern::parse(line).map_err(|problem| problem.to_owned());
        let pattern = pattern.and_then(|pattern| match place.mistaken(line) {
            Some(problem) if pattern.is_some() => Err(problem),
            _ => Ok(pattern),
        });
        let why = |problem| fault(number, format!("the line leaves nothing out: {problem}"));
        list.extend(pattern.map_err(why)?);
    }
    Ok(())
}

impl Place<'_> {
    /// Why `pattern` seems to name a path of the whole system, where patterns begin at the root of
    /// the tree. That it does is a guess, made only if the tree has nothing it could mean.
    fn mistaken(&self, pattern: &[u8]) -> Option<String> {
        let pattern = pattern.strip_prefix(b"!").unwrap_or(pattern);
        let absolute = pattern.strip_prefix(b"/")?;
        let absolute = absolute.strip_suffix(b"/").unwrap_or(absolute);
        let wild = absolute.iter().position(|byte| b"*?[\\".contains(byte));
        let literal = &absolute[..wild.unwrap_or(absolute.len())];
        let first = &literal[..literal.iter().position(|&byte| byte == b'/')?];
        let tree = self.path.as_deref()?.as_os_str().as_bytes().strip_prefix(b"/")?;
        if statat(self.root, first, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return None;
        }
        let below = absolute.strip_prefix(tree).filter(|_| !tree.is_empty());
        if let Some(below) = below.filter(|below| below.is_empty() || below.starts_with(b"/")) {
            let below = if below.is_empty() { b"/*" } else { below };
            return Some(format!(
                "patterns begin at the root of the tree, not of the system: write {}",
                escape(below),
            ));
        }
        // `/tmp/*` may be of a tree that has no `tmp` today.
        if literal.len() == first.len() + 1 {
            return None;
        }
        let beside = tree.split(|&byte| byte == b'/').next() == Some(first);
        let literal = Path::new("/").join(OsStr::from_bytes(literal));
        (beside || literal.symlink_metadata().is_ok()).then(|| {
            "it is a path outside of the tree, and patterns begin at the root of the tree (one that \
             is meant to needs no slash before it)"
                .to_owned()
        })
    }
}

/// `O_NONBLOCK` so that a fifo cannot hold up who opens it.
const READ_ONLY: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Reads the exclude file `name` in the directory `fd`, of which there is `room` for so many bytes;
/// `None` when it is not there. Anybody may have put it there: only a regular file is opened, and
/// what a link leads to may not be theirs to read.
///
/// # Errors
/// Why it cannot be used.
fn read_exclude_file(
    fd: BorrowedFd<'_>,
    name: &str,
    room: Option<usize>,
) -> Result<Option<Vec<u8>>, String> {
    let refuse = |stat: Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err("it is a symbolic link".to_owned()),
        FileType::Directory => Err("it is a directory".to_owned()),
        FileType::Fifo => Err("it is a fifo".to_owned()),
        FileType::Socket => Err("it is a socket".to_owned()),
        _ => Err("it is a device".to_owned()),
    };
    let failed = |error: io::Error| format!("it cannot be read: {}", words(&error));
    // Looked at first, since opening a device may do something.
    match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
        Ok(stat) => refuse(stat)?,
    }
    let room = room.ok_or("over 256 exclude files are in force")?;
    let file = match openat(fd, name, READ_ONLY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
        Ok(file) => File::from(file),
    };
    refuse(fstat(&file).map_err(|error| failed(error.into()))?)?;
    let mut content = Vec::new();
    file.take(room as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    match content.len() > room {
        true if room < MAX_IN_FORCE => Err("with those above it, it is larger than 256 KiB".into()),
        true => Err("it is larger than 256 KiB".into()),
        false => Ok(Some(content)),
    }
}
