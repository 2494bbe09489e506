//! [`Remarks`]: what an index says of the tree beside its entries. Knows no entry.

use crate::{Problem, ProblemKind, RelPath, StatFingerprint, Time};

/// What an index says of the tree beside its entries. No part of the tree id.
#[derive(Debug, Clone, PartialEq)]
pub struct Remarks {
    pub(crate) problems: Vec<Problem>,
    pub(crate) excluded: Vec<RelPath>,
    pub(crate) top_mode: Option<u32>,
    pub(crate) early_from: Time,
}

/// Those of an index that nobody scanned.
impl Default for Remarks {
    fn default() -> Remarks {
        let (problems, excluded) = (Vec::new(), Vec::new());
        Remarks { problems, excluded, top_mode: None, early_from: Time::MIN }
    }
}

impl Remarks {
    /// These, and no other problems than `problems`.
    #[cfg(feature = "scan")]
    pub(crate) fn with_problems(self, mut problems: Vec<Problem>) -> Remarks {
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Remarks { problems, ..self }
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

    /// Files that were last changed at this time or later were read early, so soon after the change that what was stored later through
    /// a memory map (as databases do) would not show in their times. The next scan that is not early reads them again; what differs
    /// then is taken for a change, not for rot.
    #[must_use]
    pub fn early_from(&self) -> Time {
        self.early_from
    }

    /// Whether the file that has this fingerprint was read [early](Remarks::early_from).
    #[must_use]
    pub fn is_early(&self, fingerprint: &StatFingerprint) -> bool {
        fingerprint.ctime() >= self.early_from
    }
}
