//! [`Dir`]: a directory and what of it counts, with the questions one asks of such a directory.
//! Reads; knows nothing of indexes beyond asking for one to hash.

use std::path::{Path, PathBuf};

use rsync_core::Digest;
use rustix::fs::FileType;

use crate::exclude::{self, Excludes};
use crate::walk::{self, Found, Walk};
use crate::{Beneath, DirIndex, Error, RelPath};

/// What of a directory counts.
#[derive(Debug, Clone)]
pub struct DirOptions {
    /// The name of files, in any directory of the tree, that list patterns to leave out in their
    /// directory and below, in the syntax of `.gitignore`; `None` to read none.
    pub exclude_file: Option<String>,
    /// Patterns that exclude files can take back with `!`.
    pub default_excludes: Vec<String>,
    /// Patterns that come before any exclude file.
    pub excludes: Vec<String>,
}

/// A `.exclude` file, and the directories `.git/`, `.hg/` and `.svn/` left out.
impl Default for DirOptions {
    fn default() -> DirOptions {
        DirOptions {
            exclude_file: Some(".exclude".into()),
            default_excludes: [".git/", ".hg/", ".svn/"].map(String::from).into(),
            excludes: Vec::new(),
        }
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
    exclude_file: Option<String>,
    excludes: Excludes,
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
    /// [`Error::Io`] when it cannot be opened as a directory, [`Error::Exclude`] for a pattern that
    /// cannot be understood.
    pub fn with_options(path: impl Into<PathBuf>, options: &DirOptions) -> Result<Dir, Error> {
        let path = path.into();
        let root = Beneath::open_root(&path)
            .map_err(|error| Error::io("open the directory", &path, error))?;
        let excludes = Excludes::new(&options.default_excludes, &options.excludes)?;
        Ok(Dir { path, root, exclude_file: options.exclude_file.clone(), excludes })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, held open.
    pub fn root(&self) -> &Beneath {
        &self.root
    }

    /// Everything that counts, in path order, with what could not be read.
    pub(crate) fn look(&self) -> Result<Walk, Error> {
        walk::walk(&self.root, &self.path, self.exclude_file.as_deref(), &self.excludes)
    }

    /// Every path that counts, in path order, and whether it is a directory.
    ///
    /// # Errors
    /// [`Error::Io`] for the first directory that cannot be read, [`Error::Exclude`].
    pub fn walk(&self) -> Result<Vec<(RelPath, bool)>, Error> {
        let paths = self.complete()?.into_iter().map(|found| {
            let is_dir = is(&found, FileType::Directory);
            (found.path, is_dir)
        });
        Ok(paths.collect())
    }

    /// The files (all that are no directories) whose paths match `pattern`, in path order.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk), and [`Error::Exclude`] for a bad pattern.
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
    /// in path order; `None` stands for the root itself.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk).
    pub fn find_projects(&self, marker: &str) -> Result<Vec<Option<RelPath>>, Error> {
        let found = self.complete()?;
        let markers = found
            .iter()
            .filter(|found| !is(found, FileType::Directory))
            .filter(|found| found.path.name() == marker.as_bytes());
        let mut projects: Vec<_> = markers.map(|found| found.path.parent()).collect();
        projects.sort();
        Ok(projects)
    }

    /// Whether `path` is left out, by itself or with a directory it lies in. It need not exist.
    ///
    /// # Errors
    /// [`Error::Exclude`] for an exclude file on the way that cannot be understood.
    pub fn is_excluded(&self, path: &RelPath) -> Result<bool, Error> {
        let exclude_file = self.exclude_file.as_deref();
        walk::is_excluded(&self.root, &self.path, exclude_file, &self.excludes, path)
    }

    /// The bytes of all files that count; a file with several names counts once for each.
    ///
    /// # Errors
    /// As [`walk`](Dir::walk).
    pub fn size(&self) -> Result<u64, Error> {
        let found = self.complete()?;
        let files = found.iter().filter(|found| is(found, FileType::RegularFile));
        Ok(files.map(|found| found.stat.st_size.unsigned_abs()).sum())
    }

    /// A fingerprint of the tree: the same for the same names, kinds and contents, whatever the
    /// modes, owners and times. Reads every file.
    ///
    /// # Errors
    /// As [`DirIndex::scan`], and [`Error::Io`] for the first path that cannot be read.
    pub fn hash(&self) -> Result<Digest, Error> {
        let index = DirIndex::scan(self)?;
        self.refuse(index.problems())?;
        index.content_hash()
    }

    fn matching(&self, pattern: &str, dirs: bool) -> Result<Vec<RelPath>, Error> {
        let pattern = exclude::pattern(pattern)?;
        let found = self.complete()?.into_iter();
        let kind = found.filter(|found| is(found, FileType::Directory) == dirs);
        let matching = kind.filter(|found| pattern.matched(found.path.as_path(), dirs).is_ignore());
        Ok(matching.map(|found| found.path).collect())
    }

    fn complete(&self) -> Result<Vec<Found>, Error> {
        let walk = self.look()?;
        self.refuse(&walk.problems)?;
        Ok(walk.found)
    }

    fn refuse(&self, problems: &[crate::Problem]) -> Result<(), Error> {
        match problems.first() {
            None => Ok(()),
            Some(problem) => Err(Error::io(
                "read",
                &self.path.join(problem.path.as_path()),
                std::io::Error::other(problem.detail.clone()),
            )),
        }
    }
}

fn is(found: &Found, kind: FileType) -> bool {
    FileType::from_raw_mode(found.stat.st_mode) == kind
}
