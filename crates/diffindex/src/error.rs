//! The one error type of the crate. Knows no wording of callers.

use std::io;
use std::path::{Path, PathBuf};

use container::SectionError;
use dirindex::{RelPath, TreeId};

/// What can go wrong with a diff. Comparing itself cannot fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The diff was made from another tree.
    #[error("the diff starts from the tree {expected}, this is {found}")]
    WrongBase {
        /// The tree that the diff starts from.
        expected: TreeId,
        /// The tree that was given.
        found: TreeId,
    },
    /// The changes do not lead to the tree that the diff names.
    #[error("the diff promises the tree {expected} and leads to {found}")]
    WrongResult {
        /// The tree that the diff names.
        expected: TreeId,
        /// The tree that the changes lead to.
        found: TreeId,
    },
    /// There is no diff to squash.
    #[error("no diffs to make one of")]
    NoParts,
    /// A diff does not start from the tree that the one before it leads to.
    #[error("diff {} leads to the tree {result}, the next starts from {base}", part)]
    Apart {
        /// The number of the diff that starts elsewhere, from 0; so of the one before it, from 1.
        part: usize,
        /// Where the one before it leads.
        result: TreeId,
        /// Where it starts.
        base: TreeId,
    },
    /// A diff moves a directory as a whole, and what was below it is not known.
    #[error(
        "diff {} moves {path} as a whole. To know what is in it, give an index of the tree that the first diff starts \
         from, or all diffs before it, back to a full one",
        part + 1
    )]
    Collapsed {
        /// The number of the diff, from 0.
        part: usize,
        /// The directory, where it was.
        path: RelPath,
    },
    /// The diff says something of a path that cannot be true.
    #[error("the diff is unusable: {problem} at {path}")]
    Unusable {
        /// The path.
        path: RelPath,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The file cannot be opened.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// The container of a diff is damaged or cannot be written.
    #[error("the diff is unusable")]
    Sections(#[from] SectionError),
    /// A block of changes, read by itself, is damaged.
    #[error("a block of changes is unusable: {0}")]
    Block(String),
    /// An error with an index.
    #[error(transparent)]
    Index(#[from] dirindex::Error),
    /// An error with a file that holds a diff.
    #[error("diff file {}", dirindex::escape(path.as_os_str().as_encoded_bytes()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn in_file(self, path: &Path) -> Error {
        Error::File { path: path.to_path_buf(), source: Box::new(self) }
    }
}
