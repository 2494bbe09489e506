//! What a [`Merge`] leads to: as a diff, as entries, at single paths. Changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use dirindex::{DirIndex, EntryRef, Node, RelPath};
use rsync_core::Digest;

use super::{Base, Merge, Origin, Outcome, Standing, TAKEN, content_of, unusable};
use crate::{Change, Content, DiffIndex, Error, NewEntry};

/// A diff, and the contents that are stored for it.
pub type Merged<C> = (DiffIndex, Contents<C>);

/// For each change of a diff with a stored content, in path order: its number, and what the content is made of. Each is a
/// delta against what the one before it makes. The first is a whole file for [`Content::Whole`], and a delta against
/// [`Content::Delta`]'s base.
pub type Contents<C> = Vec<(usize, Arc<[C]>)>;

impl<C: Clone> Merge<'_, C> {
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
        match old.as_deref().filter(|old| !old.records().is_empty()) {
            Some(old) => collapsed(old, diff, contents),
            None => Ok((diff, contents)),
        }
    }

    /// The entries of the last tree, in path order, of a merge from nothing.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.paths.iter().filter_map(|(path, outcome)| entry(path, outcome))
    }

    /// [`entries`](Merge::entries), of what is below `dir`.
    pub fn below<'s>(&'s self, dir: &'s RelPath) -> impl Iterator<Item = EntryRef<'s>> {
        let from = (Bound::Excluded(dir), Bound::Unbounded);
        let below = self.paths.range::<RelPath, _>(from);
        let below = below.take_while(move |(path, _)| path.is_below(dir));
        below.filter_map(|(path, outcome)| entry(path, outcome))
    }

    /// What stands at `path` in the last tree, of a merge from nothing.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<EntryRef<'_>> {
        let (path, outcome) = self.paths.get_key_value(path)?;
        entry(path, outcome)
    }

    /// What the content at `path` is made of: a whole file, and deltas one on the other. Empty where nothing is stored.
    #[must_use]
    pub fn contents(&self, path: &RelPath) -> Option<&Arc<[C]>> {
        Some(&self.paths.get(path)?.new.as_ref()?.origin.as_ref()?.contents)
    }

    /// The part of a merge from nothing at and below `paths`, with the directories that they lie in and the files that
    /// hard links among them name. Its [`result`](Merge::result) is the id of the tree of these; its top directory is the
    /// same. Where nothing stands, nothing is selected.
    ///
    /// # Errors
    /// [`Error::Unusable`] where these are no tree.
    pub fn select(&self, paths: &[RelPath]) -> Result<Merge<'static, C>, Error> {
        let mut part = Merge::from_nothing();
        let mut found: Vec<RelPath> = Vec::new();
        for path in paths {
            found.push(path.clone());
            found.extend(self.below(path).map(|entry| entry.path.clone()));
        }
        while let Some(path) = found.pop() {
            let Some((path, outcome)) = self.paths.get_key_value(&path) else { continue };
            let Some(Standing { node, origin, .. }) = outcome.new.as_deref() else { continue };
            if part.paths.contains_key(path) {
                continue;
            }
            if let Some(Base::Tree(base)) = origin.as_ref().map(|origin| &origin.base) {
                return Err(unusable(&base.0, TAKEN));
            }
            if let Some(above) = path.parent() {
                if self.node(&above) != Some(&Node::Dir) {
                    return Err(unusable(path, "something new where no directory is"));
                }
                found.push(above);
            }
            if let Node::HardLink { to } = node {
                found.push(to.clone());
            }
            part.proof.note(path, None, Some(node));
            part.paths.insert(path.clone(), outcome.clone());
        }
        let id = part.tree_id()?;
        part.ends = DiffIndex::from_parts(part.base(), id, Vec::new()).with_top_of(&self.ends);
        Ok(part)
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

fn entry<'a, C>(path: &'a RelPath, outcome: &'a Outcome<C>) -> Option<EntryRef<'a>> {
    let Standing { node, meta, .. } = outcome.new.as_deref()?;
    Some(EntryRef { path, node, meta })
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
