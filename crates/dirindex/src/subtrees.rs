//! [`Subtrees`]: directories with all that is below them, as a set of paths. Pure.

use std::collections::BTreeSet;

use crate::RelPath;

/// Paths, each with all that is below it. One look-up finds whether a path is among these, however deep it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subtrees(Vec<RelPath>);

impl Subtrees {
    /// The one of these that `path` is, or lies below.
    #[must_use]
    pub fn top_of(&self, path: &RelPath) -> Option<&RelPath> {
        // None lies below another, so no other comes between a path and the one that it lies below.
        let before = self.0.partition_point(|top| top <= path).checked_sub(1)?;
        self.0.get(before).filter(|top| path == *top || path.is_below(top))
    }

    /// Whether `path` is one of these or lies below one.
    #[must_use]
    pub fn has(&self, path: &RelPath) -> bool {
        self.top_of(path).is_some()
    }

    /// Those that lie below no other, in path order.
    #[must_use]
    pub fn tops(&self) -> &[RelPath] {
        &self.0
    }
}

/// Of paths in any order. One that lies below another is in that one's tree.
impl FromIterator<RelPath> for Subtrees {
    fn from_iter<I: IntoIterator<Item = RelPath>>(paths: I) -> Subtrees {
        let mut tops: Vec<RelPath> = Vec::new();
        for path in paths.into_iter().collect::<BTreeSet<_>>() {
            if tops.last().is_none_or(|last| !path.is_below(last)) {
                tops.push(path);
            }
        }
        Subtrees(tops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RelPath {
        RelPath::new(path).unwrap()
    }

    #[test]
    fn a_path_is_found_by_the_outermost_directory_that_it_lies_in() {
        let trees: Subtrees = ["b/c", "a", "b/c/d", "b-", "a/x"].map(path).into_iter().collect();
        assert_eq!(trees.tops(), ["a", "b/c", "b-"].map(path));
        for (inside, top) in [("a", "a"), ("a/z/y", "a"), ("b/c/d/e", "b/c"), ("b-/x", "b-")] {
            assert_eq!(trees.top_of(&path(inside)), Some(&path(top)));
        }
        for outside in ["b", "b/a", "b/cc", "A", "c", "a-"] {
            assert!(!trees.has(&path(outside)), "{outside}");
        }
        assert!(!Subtrees::default().has(&path("a")));
    }
}
