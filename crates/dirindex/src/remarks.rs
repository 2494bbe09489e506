//! [`Remarks`]: what an index says of the tree beside its entries. Knows no entry.

use crate::{Problem, ProblemKind, RelPath};

/// What an index says of the tree beside its entries. No part of the tree id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remarks {
    pub(crate) problems: Vec<Problem>,
    pub(crate) excluded: Vec<RelPath>,
    pub(crate) top_mode: Option<u32>,
}

impl Remarks {
    /// `excluded` is in path order, and no path in it lies below another.
    #[cfg(feature = "scan")]
    pub(crate) fn new(mut problems: Vec<Problem>, excluded: Vec<RelPath>) -> Remarks {
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Remarks { problems, excluded, top_mode: None }
    }

    /// What the scan could not take in as it should, in path order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What is in the tree and was left out by a rule, with all below it, in path order: a path that
    /// an older index has and that stands here has not been deleted. A directory may be in the
    /// index itself and only its content be left out.
    #[must_use]
    pub fn excluded(&self) -> &[RelPath] {
        &self.excluded
    }

    /// Whether `path` was left out of the scan by a rule, by itself or with a directory above it.
    #[must_use]
    pub fn is_excluded(&self, path: &RelPath) -> bool {
        let excluded = self.excluded();
        let after = excluded.partition_point(|excluded| excluded <= path);
        let before = after.checked_sub(1).and_then(|at| excluded.get(at));
        before.is_some_and(|excluded| path == excluded || path.is_below(excluded))
    }

    /// What stood in the tree and is not in the index, with all below it, in path order; none lies below another:
    /// what a rule [left out](Remarks::excluded), and what could not be read. That it is not in a backup does not
    /// mean that it may go.
    #[must_use]
    pub fn left_out(&self) -> Vec<RelPath> {
        use ProblemKind::{Unreadable, Unstable, Unsupported};
        let problems = self.problems().iter();
        let unread = problems
            .filter(|problem| matches!(problem.kind, Unreadable | Unstable | Unsupported))
            .map(|problem| &problem.path);
        let mut paths: Vec<RelPath> = self.excluded().iter().chain(unread).cloned().collect();
        paths.sort_unstable();
        paths.dedup_by(|path, above| path == above || path.is_below(above));
        paths
    }

    /// The permission bits that the top directory itself had, if the tree was scanned: what is made for the tree
    /// need be no more open.
    #[must_use]
    pub fn top_mode(&self) -> Option<u32> {
        self.top_mode
    }
}
