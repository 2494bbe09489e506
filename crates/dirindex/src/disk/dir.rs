//! [`Dir`]: a directory and what of it counts, with the questions one asks of such a directory.
//! Reads; knows nothing of indexes beyond asking for one to hash.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rsync_core::Digest;
use rustix::fs::FileType;

use super::rules::{self, Rules};
use super::walk::{Found, walk};
use crate::{Beneath, DirIndex, Error, Problem, ProblemKind, RelPath, ScanOptions};

/// What of a directory counts.
#[derive(Debug, Clone)]
pub struct DirOptions {
    /// The names of files, in any directory of the tree, that list patterns to leave out in their
    /// directory and below, in the syntax of `.gitignore`. Where a directory has several, what a
    /// later one says of a path goes before what an earlier one says.
    ///
    /// They are bounded (256 KiB, 256 files, a number of steps for each path: together, of those in
    /// force in one directory), and what is none (a link, a fifo) is not opened. What cannot be used
    /// leaves nothing out and is a [problem](ProblemKind::Exclude); in the root it is an error.
    pub exclude_files: Vec<String>,
    /// Patterns that exclude files can take back with `!`.
    pub default_excludes: Vec<OsString>,
    /// Patterns that come before any exclude file, each of which must be able to match something.
    pub excludes: Vec<OsString>,
    /// Files, anywhere, that list such patterns, for the root and below. `excludes` go before them, a
    /// later file before an earlier one. All lines must be usable.
    pub exclude_from: Vec<PathBuf>,
    /// An exclude file in the tree, or a line of one, that cannot be used is an error.
    pub strict_excludes: bool,
    /// Leave out what is in directories that a valid `CACHEDIR.TAG` marks as caches. The directory
    /// and its tag stay.
    pub exclude_caches: bool,
    /// Leave out what is in directories that have a file of one of these names. The directory and that file stay.
    pub exclude_if_present: Vec<String>,
    /// Leave out what is in directories on another file system than the root, or than those of [`only`](Self::only), if
    /// there are any. The directories stay.
    pub one_file_system: bool,
    /// Leave out files longer than this, in bytes.
    pub max_file_len: Option<u64>,
    /// If there are any: only these paths count, with all below them and the directories above them.
    /// Nothing else is looked at, or named as excluded.
    pub only: Vec<RelPath>,
}

/// A `.exclude` file, and the directories `.git/`, `.hg/` and `.svn/` left out.
impl Default for DirOptions {
    fn default() -> DirOptions {
        DirOptions {
            exclude_files: vec![".exclude".into()],
            default_excludes: [".git/", ".hg/", ".svn/"].map(OsString::from).into(),
            excludes: Vec::new(),
            exclude_from: Vec::new(),
            strict_excludes: false,
            exclude_caches: false,
            exclude_if_present: Vec::new(),
            one_file_system: false,
            max_file_len: None,
            only: Vec::new(),
        }
    }
}

impl DirOptions {
    /// Nothing is left out.
    #[must_use]
    pub fn everything() -> DirOptions {
        let (exclude_files, default_excludes) = (Vec::new(), Vec::new());
        DirOptions { exclude_files, default_excludes, ..DirOptions::default() }
    }
}

/// A directory, and the patterns that say what of it counts.
///
/// Patterns are `gitignore(5)`'s: `*.o` at any depth, `/build` at the level of the file it stands
/// in, `cache/` for directories alone, `!keep.o` to take back. Hidden files count like any other.
/// What is inside a directory that is left out is never looked at.
#[derive(Debug)]
pub struct Dir {
    path: PathBuf,
    root: Beneath,
    rules: Rules,
}

impl Dir {
    /// The directory at `path`, with [`DirOptions::default`].
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened as a directory.
    pub fn new(path: impl Into<PathBuf>) -> Result<Dir, Error> {
        Dir::with_options(path, &DirOptions::default())
    }

    /// The directory at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened as a directory; [`Error::Pattern`] and
    /// [`Error::Exclude`] for a pattern that can match nothing, and a file of patterns that cannot be
    /// used.
    pub fn with_options(path: impl Into<PathBuf>, options: &DirOptions) -> Result<Dir, Error> {
        let path = path.into();
        let root = Beneath::open_root(&path)
            .map_err(|error| Error::io("open the directory", &path, error))?;
        let rules = Rules::new(&path, &root, options)?;
        Ok(Dir { path, root, rules })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, held open.
    #[must_use]
    pub fn root(&self) -> &Beneath {
        &self.root
    }

    /// What is left out of it.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Every path that counts, in path order, and whether it is a directory.
    ///
    /// # Errors
    /// [`Error::Io`] for the first directory that cannot be read, [`Error::Exclude`].
    pub fn walk(&self) -> Result<Vec<(RelPath, bool)>, Error> {
        let paths = self.complete()?.into_iter().map(|found| {
            let is_dir = found.kind() == FileType::Directory;
            (found.path, is_dir)
        });
        Ok(paths.collect())
    }

    /// The files (all that are no directories) whose paths match `pattern`, in path order.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk), and [`Error::Pattern`].
    pub fn files(&self, pattern: &str) -> Result<Vec<RelPath>, Error> {
        self.matching(pattern, false)
    }

    /// The directories whose paths match `pattern`, in path order.
    ///
    /// # Errors
    /// As [`files`](Dir::files).
    pub fn subdirs(&self, pattern: &str) -> Result<Vec<RelPath>, Error> {
        self.matching(pattern, true)
    }

    /// The first of the files that match `pattern`.
    ///
    /// # Errors
    /// As [`files`](Dir::files).
    pub fn get(&self, pattern: &str) -> Result<Option<RelPath>, Error> {
        Ok(self.files(pattern)?.into_iter().next())
    }

    /// The directories that have a file called `marker` (`.project`, `Cargo.toml`) right in them,
    /// in path order; `None` is the root itself.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk).
    pub fn find_projects(&self, marker: &str) -> Result<Vec<Option<RelPath>>, Error> {
        let found = self.complete()?;
        let markers = found
            .iter()
            .filter(|found| found.kind() != FileType::Directory)
            .filter(|found| found.path.name() == marker.as_bytes());
        let mut projects: Vec<_> = markers.map(|found| found.path.parent()).collect();
        projects.sort();
        Ok(projects)
    }

    /// Whether `path` is left out, by itself or with a directory it lies in. It need not exist: it is
    /// taken for a file then.
    ///
    /// # Errors
    /// [`Error::Exclude`] as for a walk.
    pub fn is_excluded(&self, path: &RelPath) -> Result<bool, Error> {
        self.rules.is_excluded(&self.root, path, None)
    }

    /// Whether a directory (or else a file) that is made at `path` will be left out, whatever is
    /// there now.
    ///
    /// # Errors
    /// As [`is_excluded`](Dir::is_excluded).
    pub fn will_exclude(&self, path: &RelPath, is_dir: bool) -> Result<bool, Error> {
        self.rules.is_excluded(&self.root, path, Some(is_dir))
    }

    /// The bytes of all files that count; a file with several names counts once for each.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk).
    pub fn size(&self) -> Result<u64, Error> {
        let found = self.complete()?;
        let files = found.iter().filter(|found| found.kind() == FileType::RegularFile);
        Ok(files.map(|found| found.stat.st_size.unsigned_abs()).sum())
    }

    /// A fingerprint of the tree: the same for the same names, kinds and contents, whatever the
    /// modes, owners and times. Reads every file.
    ///
    /// # Errors
    /// As [`DirIndex::scan`], and [`Error::Io`] for the first path that cannot be read.
    pub fn hash(&self) -> Result<Digest, Error> {
        self.hash_with(&ScanOptions::default())
    }

    /// [`hash`](Dir::hash), of a tree that is scanned as `options` say: for who watches it.
    ///
    /// # Errors
    /// As [`hash`](Dir::hash), and [`Error::Cancelled`].
    pub fn hash_with(&self, options: &ScanOptions) -> Result<Digest, Error> {
        let options = ScanOptions { signature: None, ..options.clone() };
        let index = DirIndex::scan_with(self, None, &options)?;
        self.refuse(index.problems())?;
        index.content_hash()
    }

    fn matching(&self, pattern: &str, dirs: bool) -> Result<Vec<RelPath>, Error> {
        let pattern = rules::pattern(pattern.as_ref())?;
        let found = self.complete()?.into_iter();
        let kind = found.filter(|found| (found.kind() == FileType::Directory) == dirs);
        let matching = kind.filter(|found| pattern.verdict(&found.path, dirs) == Some(true));
        Ok(matching.map(|found| found.path).collect())
    }

    fn complete(&self) -> Result<Vec<Found>, Error> {
        let all = Mutex::new(Vec::new());
        let walk = walk(self, |_, mut found| {
            all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut found);
            Ok(())
        })?;
        self.refuse(&walk.problems)?;
        let mut found: Vec<Found> = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn refuse(&self, problems: &[Problem]) -> Result<(), Error> {
        // What was not left out does no harm to who asks what is there.
        match problems.iter().find(|problem| problem.kind != ProblemKind::Exclude) {
            None => Ok(()),
            Some(problem) => Err(Error::io(
                "read",
                &self.path.join(problem.path.as_path()),
                std::io::Error::other(problem.detail.clone()),
            )),
        }
    }
}
