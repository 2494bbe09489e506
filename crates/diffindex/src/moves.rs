//! [`Moves`]: what of a diff comes from other paths. Must not know where changes are kept.

use std::collections::{HashMap, HashSet};

use dirindex::{Error, RelPath};

use crate::{Change, Content, LazyDiff};

/// The paths whose contents come from other paths of the old tree, as [`DiffIndex::moved`](crate::DiffIndex::moved) and
/// [`DiffIndex::copied`](crate::DiffIndex::copied) have them: of a diff that need not be in memory.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// Where each comes from, and whether it moved.
    from: HashMap<RelPath, (RelPath, bool)>,
    /// From where something moved.
    away: HashSet<RelPath>,
}

/// Where the content of a new path comes from, if it is another path, and whether that is all of a directory.
pub(crate) fn source(change: &Change) -> Option<(&RelPath, bool)> {
    match &change.new.as_ref()?.content {
        Content::Tree { base, .. } => Some((base, true)),
        Content::Copy { base } | Content::Delta { base, .. } if change.old.is_none() => {
            Some((base, false))
        }
        _ => None,
    }
}

impl Moves {
    /// Those of these changes, which are all of a diff.
    #[must_use]
    pub fn of(changes: &[Change]) -> Moves {
        let sources: Vec<_> = changes.iter().filter_map(found).collect();
        let bases = bases(&sources);
        let gone = changes.iter().filter(|change| goes(change, &bases));
        let gone = gone.map(|change| change.path.clone()).collect();
        Moves::made(sources, &gone)
    }

    /// Those of a diff that need not be in memory. Reads it twice at most.
    ///
    /// # Errors
    /// [`Error::Sections`] when a file cannot be read any more in which a part of it is.
    pub fn of_lazy(diff: &LazyDiff) -> Result<Moves, Error> {
        if !diff.may_move() {
            return Ok(Moves::default());
        }
        let mut sources = Vec::new();
        for list in diff.lists() {
            sources.extend(list?.iter().filter_map(found));
        }
        let (bases, mut gone) = (bases(&sources), HashSet::new());
        if !bases.is_empty() {
            for list in diff.lists() {
                let list = list?;
                let going = list.iter().filter(|change| goes(change, &bases));
                gone.extend(going.map(|change| change.path.clone()));
            }
        }
        Ok(Moves::made(sources, &gone))
    }

    fn made(sources: Vec<Source>, gone: &HashSet<RelPath>) -> Moves {
        let mut moves = Moves::default();
        for (path, base, is_tree) in sources {
            // Of several paths that one came to, the first counts as the move.
            let moved = is_tree || gone.contains(&base) && !moves.away.contains(&base);
            if moved {
                moves.away.insert(base.clone());
            }
            moves.from.insert(path, (base, moved));
        }
        moves
    }

    /// Where what is new at `path` comes from, and whether it moved: else it is a copy.
    #[must_use]
    pub fn source(&self, path: &RelPath) -> Option<(&RelPath, bool)> {
        self.from.get(path).map(|(from, moved)| (from, *moved))
    }

    /// Whether what was at `path` moved elsewhere.
    #[must_use]
    pub fn went(&self, path: &RelPath) -> bool {
        self.away.contains(path)
    }

    /// How many paths were moved, and how many copied.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let moved = self.from.values().filter(|(_, moved)| *moved).count();
        (moved, self.from.len() - moved)
    }
}

/// A path, where it comes from, and whether that is all of a directory.
type Source = (RelPath, RelPath, bool);

fn found(change: &Change) -> Option<Source> {
    let (base, is_tree) = source(change)?;
    Some((change.path.clone(), base.clone(), is_tree))
}

fn bases(sources: &[Source]) -> HashSet<RelPath> {
    sources.iter().map(|(_, base, _)| base.clone()).collect()
}

fn goes(change: &Change, bases: &HashSet<RelPath>) -> bool {
    change.new.is_none() && bases.contains(&change.path)
}
