//! What a [`Merge`] leads to, as a diff, and what single contents are made of. Changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dirindex::{DirIndex, Node, RelPath};
use rsync_core::Digest;

use super::{Base, Merge, Origin, Outcome, Standing, content_of};
use crate::{Change, Content, DiffIndex, Error, NewEntry};

/// A diff, and the contents that are stored for it.
pub type Merged<C> = (DiffIndex, Contents<C>);

/// What a content is made of.
#[derive(Debug, Clone)]
pub struct Made<C> {
    /// The path at which the first tree has what it begins with, if it does not begin with a whole file.
    pub from: Option<RelPath>,
    /// The whole file if it begins with one, and deltas, each against what the one before it makes.
    pub then: Arc<[C]>,
}

impl<C> Made<C> {
    fn of(origin: &Origin<C>) -> Made<C> {
        let from = match &origin.base {
            Base::Tree(base) => Some(base.0.clone()),
            Base::Whole => None,
        };
        Made { from, then: Arc::clone(&origin.contents) }
    }
}

/// For each change of a diff with a stored content, in path order: its number, and what the content is made of. Each is a
/// delta against what the one before it makes. The first is a whole file for [`Content::Whole`], and a delta against
/// [`Content::Delta`]'s base.
pub type Contents<C> = Vec<(usize, Arc<[C]>)>;

impl<C: Clone> Merge<C> {
    /// One diff from the first tree to the last. What several paths have in the end is stored for the first of them.
    /// What the first tree is known to have is not stored: a file that is in the end what it was in the beginning is kept,
    /// though it was edited or gone in between. Where all of the first tree is known, what is in the end what it was is
    /// left out, and a directory that moved as a whole is one change.
    ///
    /// # Errors
    /// [`Error::Unusable`] and [`Error::WrongResult`] for runs that do not lead where they say.
    pub fn into_diff(self) -> Result<Merged<C>, Error> {
        let known = self.known();
        let Merge { old, ends, paths, .. } = self;
        let (changes, contents) = changes(paths, &known);
        let diff = DiffIndex::from_changes(ends.base(), ends.result(), changes)?.with_top_of(&ends);
        match old.filter(|old| !old.is_empty()) {
            Some(old) => collapsed(&old.load()?, diff, contents),
            None => Ok((diff, contents)),
        }
    }

    /// What the content at `path` is made of, where the first tree is known. None where there is no content; whether there is one at
    /// a path that no run lists is not looked at.
    #[must_use]
    pub fn contents(&self, path: &RelPath) -> Option<Made<C>> {
        let Some(outcome) = self.paths.get(path) else {
            return Some(Made { from: Some(path.clone()), then: Arc::default() });
        };
        let origin = outcome.new.as_ref()?.origin.as_ref()?;
        Some(Made::of(origin))
    }

    /// The contents that the first tree is known to have, each with a path: one that goes away if there is one, so that a
    /// move is seen as one.
    fn known(&self) -> HashMap<Digest, RelPath> {
        let mut known = HashMap::new();
        let old = |going: bool| {
            let of = move |(path, outcome): (&RelPath, &Outcome<C>)| {
                let old = outcome.old.as_deref().filter(|_| outcome.new.is_none() == going)?;
                Some((content_of(old)?, path.clone()))
            };
            self.paths.iter().filter_map(of)
        };
        let bases = self.paths.values().filter_map(|outcome| {
            match &outcome.new.as_ref()?.origin.as_ref()?.base {
                Base::Tree(base) => Some((base.1, base.0.clone())),
                Base::Whole => None,
            }
        });
        for (digest, path) in old(true).chain(old(false)).chain(bases) {
            known.entry(digest).or_insert(path);
        }
        known
    }
}

/// The changes that lead from the first tree to the last, and what their contents are made of. Each path is let go when its
/// change is made. `known` are the contents of the first tree.
fn changes<C: Clone>(
    paths: BTreeMap<RelPath, Outcome<C>>,
    known: &HashMap<Digest, RelPath>,
) -> (Vec<Change>, Contents<C>) {
    // The path with which a content is stored that others have too. They share what it is made of, which is in memory until the
    // last of them.
    let mut firsts: HashMap<*const Origin<C>, RelPath> = HashMap::new();
    let (mut changes, mut contents) = (Vec::with_capacity(paths.len()), Vec::new());
    for (path, Outcome { old, new, excluded }) in paths {
        if old.is_none() && new.is_none() {
            continue;
        }
        let new = new.map(Arc::unwrap_or_clone).map(|Standing { node, meta, origin }| {
            let (mut content, mut signature) = (Content::Keep, None);
            if let Some(origin) = origin.filter(|_| old.as_deref() != Some(&node)) {
                content = origin.content(&path, &node, known);
                if matches!(content, Content::Whole | Content::Delta { .. }) {
                    match firsts.get(&Arc::as_ptr(&origin)) {
                        Some(first) => content = Content::Same { path: first.clone() },
                        None => {
                            if Arc::strong_count(&origin) > 1 {
                                firsts.insert(Arc::as_ptr(&origin), path.clone());
                            }
                            contents.push((changes.len(), Arc::clone(&origin.contents)));
                            signature = origin.signature.as_deref().cloned();
                        }
                    }
                }
            }
            NewEntry { node, meta, content, signature }
        });
        changes.push(Change { path, old: old.map(|old| *old), new, excluded });
    }
    (changes, contents)
}

/// `diff`, from the tree of `old`, without the changes that change nothing, and with one change for each directory that
/// moved as a whole.
fn collapsed<C>(
    old: &DirIndex,
    diff: DiffIndex,
    contents: Contents<C>,
) -> Result<Merged<C>, Error> {
    let new = diff.apply_to(old)?;
    let differs = |change: &&Change| {
        let (was, is) = (old.get(&change.path), new.get(&change.path));
        was != is || is.is_some_and(|entry| matches!(entry.node, Node::HardLink { .. }))
    };
    let changes = diff.changes().iter().filter(differs).cloned().collect();
    let made = DiffIndex::from_parts(diff.base(), diff.result(), changes)
        .collapsed(old.records(), new.records());
    let made = made.with_top_of(&diff);
    let renumbered = contents.into_iter().filter_map(|(number, content)| {
        Some((made.position(&diff.changes().get(number)?.path)?, content))
    });
    let contents = renumbered.collect();
    Ok((made, contents))
}

impl<C> Origin<C> {
    /// How a diff says that the content of `node` at `path` comes from here.
    fn content(&self, path: &RelPath, node: &Node, known: &HashMap<Digest, RelPath>) -> Content {
        match (&self.base, content_of(node).and_then(|digest| known.get(&digest))) {
            // Where it came from, if that is what it was.
            (Base::Tree(base), _) if self.contents.is_empty() && base.0 != *path => {
                Content::Copy { base: base.0.clone() }
            }
            (_, Some(base)) => Content::Copy { base: base.clone() },
            (Base::Tree(base), None) => Content::Delta { base: base.0.clone(), digest: base.1 },
            (Base::Whole, None) => Content::Whole,
        }
    }
}
