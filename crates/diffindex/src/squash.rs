//! Neighbouring diffs as one: what becomes of each path in the end, and of which stored contents its own is made. Pure; knows
//! nothing of where contents are stored.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use dirindex::stored::StoredSignature;
use dirindex::{DirIndex, Entry, Node, RelPath};
use rsync_core::Digest;

use crate::{Change, Content, DiffIndex, Error, MovedTree, New, fold};

/// Several diffs as one.
#[derive(Debug, Clone)]
pub struct Squashed {
    /// What leads from the first one's base to the last one's result.
    pub diff: DiffIndex,
    /// For each change of it with a stored content, in path order: what that is made of.
    pub recipes: Vec<Recipe>,
}

/// What a content is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The number of the change.
    pub change: usize,
    /// Stored contents, at least one. Each is a delta against what the one before it makes. The first is a whole file for
    /// [`Content::Whole`], and a delta against [`Content::Delta`]'s base.
    pub contents: Vec<PartContent>,
}

/// A content that one of the parts stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartContent {
    /// The number of the part.
    pub part: usize,
    /// The number of the change, in that part.
    pub change: usize,
}

impl DiffIndex {
    /// `parts`, each of which starts from the tree that the one before it leads to, as one diff.
    ///
    /// A content is followed back through the parts: through copies and moves, and delta after delta, until it is stored
    /// whole or comes from the first tree. What several paths have in the end is stored for the first of them. What the first
    /// tree is known to have is not stored: a file that is in the end what it was in the beginning is kept, though it was
    /// edited or gone in between.
    ///
    /// Takes time for the changes of all parts and no contents.
    ///
    /// # Errors
    /// [`Error::NoParts`]; [`Error::Apart`] when two parts do not meet, by their roots or, though these are the same, by
    /// what they say of a path; [`Error::Folded`] when a part moves a directory as a whole and the first part does not
    /// start from nothing: then [`squash_from`](DiffIndex::squash_from) helps; [`Error::Unusable`] for parts that are not
    /// what two trees can differ by.
    pub fn squash(parts: &[DiffIndex]) -> Result<Squashed, Error> {
        squash(None, parts, Extent::Whole, |_| true)
    }

    /// [`squash`](DiffIndex::squash) for who has the index of the tree that the first part starts from. What is in the end
    /// what it was is not told, and directories that moved as a whole are told so again.
    ///
    /// # Errors
    /// As [`squash`](DiffIndex::squash), and [`Error::WrongBase`] when `old` is another tree.
    pub fn squash_from(old: &DirIndex, parts: &[DiffIndex]) -> Result<Squashed, Error> {
        let Squashed { diff, recipes } = squash(Some(old), parts, Extent::Whole, |_| true)?;
        let listed = diff.clone();
        let new = diff.apply_to(old)?;
        let differs = |change: &&Change| {
            let (was, is) = (old.get(&change.path), new.get(&change.path));
            was != is || is.is_some_and(|entry| matches!(entry.node, Node::HardLink { .. }))
        };
        let changes = diff.changes().iter().filter(differs).cloned().collect();
        let diff = DiffIndex::from_parts(diff.base(), diff.result(), changes).folded(old, &new);
        let number = |recipe: Recipe| {
            let change = &listed.changes().get(recipe.change)?.path;
            Some(Recipe { change: diff.position(change)?, ..recipe })
        };
        let recipes = recipes.into_iter().filter_map(number).collect();
        Ok(Squashed { diff, recipes })
    }

    /// [`squash`](DiffIndex::squash), of which only the changes at the `wanted` paths are told. So of `parts`
    /// no more is needed than what each has at these, at the paths that their contents come from, and at the
    /// directories above either; and what moved as a whole need not be all there.
    ///
    /// # Errors
    /// As [`squash`](DiffIndex::squash).
    pub fn squash_at(
        parts: &[DiffIndex],
        wanted: impl Fn(&RelPath) -> bool,
    ) -> Result<Squashed, Error> {
        squash(None, parts, Extent::Part, wanted)
    }
}

/// How much of the parts is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// What the wanted paths need. Of others the parts may say what was there when it was needed, and not what
    /// became of it.
    Part,
}

fn squash(
    old: Option<&DirIndex>,
    parts: &[DiffIndex],
    extent: Extent,
    wanted: impl Fn(&RelPath) -> bool,
) -> Result<Squashed, Error> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Err(Error::NoParts);
    };
    let nothing = DirIndex::empty();
    let old = old.or(first.is_full().then_some(&nothing));
    if let Some(old) = old.filter(|old| old.root() != first.base()) {
        return Err(Error::WrongBase { expected: first.base(), found: old.root() });
    }
    // Of the parts that move directories as a whole, what they say of each path.
    let listed: Vec<OnceCell<DiffIndex>> = parts.iter().map(|_| OnceCell::new()).collect();
    let mut state = State { old, extent, paths: BTreeMap::new() };
    let mut met = first.base();
    for ((number, part), listed) in parts.iter().enumerate().zip(&listed) {
        if part.base() != met {
            let (result, base) = (met, part.base());
            return Err(Error::Apart { part: number, result, base });
        }
        met = part.result();
        let part = match part.moved_trees().next() {
            None => part,
            Some(_) => {
                let whole = part.unfold(|tree| state.below(number, tree))?;
                listed.get_or_init(|| whole)
            }
        };
        state.follow(number, part)?;
    }
    let (changes, mut recipes) = state.finish(wanted);
    for content in recipes.iter_mut().flat_map(|recipe| &mut recipe.contents) {
        // The numbers that the parts themselves have.
        let listed = listed.get(content.part).and_then(OnceCell::get);
        let change = listed.and_then(|listed| listed.changes().get(content.change));
        let number = change.and_then(|change| parts.get(content.part)?.position(&change.path));
        content.change = number.unwrap_or(content.change);
    }
    let diff = DiffIndex::from_changes(first.base(), last.result(), changes)?;
    Ok(Squashed { diff, recipes })
}

/// What the parts so far lead to.
struct State<'a> {
    /// The first tree, if it is known.
    old: Option<&'a DirIndex>,
    extent: Extent,
    /// What becomes of each path that the parts list.
    paths: BTreeMap<&'a RelPath, Outcome<'a>>,
}

/// What becomes of one path.
struct Outcome<'a> {
    /// What stood there before the first part.
    old: Option<&'a Node>,
    /// What stands there after the last part.
    new: Option<(&'a New, Origin<'a>)>,
    excluded: bool,
}

/// Where a content comes from, seen from the first tree.
#[derive(Clone)]
struct Origin<'a> {
    base: Base<'a>,
    contents: Vec<PartContent>,
    signature: Option<&'a StoredSignature>,
}

#[derive(Clone, Copy)]
enum Base<'a> {
    /// There is no content.
    None,
    /// The first of the contents is the whole file.
    Whole,
    /// What a path of the first tree has.
    Tree(&'a RelPath, Digest),
}

impl<'a> Origin<'a> {
    fn of(base: Base<'a>) -> Origin<'a> {
        Origin { base, contents: Vec::new(), signature: None }
    }
}

impl<'a> State<'a> {
    /// Goes through one part more.
    fn follow(&mut self, number: usize, part: &'a DiffIndex) -> Result<(), Error> {
        // Each looks at the state before any of them.
        let outcomes = part.changes().iter().enumerate().map(|(at, change)| {
            let stored = PartContent { part: number, change: at };
            Ok((&change.path, self.outcome(part, change, stored)?))
        });
        let outcomes = outcomes.collect::<Result<Vec<_>, Error>>()?;
        if self.extent == Extent::Part {
            part.changes().iter().for_each(|change| self.clear_below(change));
        }
        if self.paths.is_empty() {
            self.paths = outcomes.into_iter().collect();
        } else {
            self.paths.extend(outcomes);
        }
        Ok(())
    }

    /// Lets go what is below a directory that `change` lets go.
    fn clear_below(&mut self, change: &'a Change) {
        let stays = change.new.as_ref().is_some_and(|new| new.node == Node::Dir);
        if stays || change.old != Some(Node::Dir) {
            return;
        }
        let from = (Bound::Excluded(&change.path), Bound::Unbounded);
        let below = self.paths.range_mut::<RelPath, _>(from);
        for (_, outcome) in below.take_while(|(path, _)| path.is_below(&change.path)) {
            (outcome.new, outcome.excluded) = (None, change.excluded);
        }
    }

    /// What is below a directory that part `number`, the next one, moves as a whole.
    fn below(&self, number: usize, tree: &MovedTree<'_>) -> Result<Vec<Entry>, Error> {
        let dir = tree.from;
        let old = self.old.ok_or_else(|| Error::Folded { part: number, path: dir.clone() })?;
        let old = fold::slice(old.records(), dir).iter().map(|record| &record.entry);
        let kept = old.filter(|entry| !self.paths.contains_key(&entry.path)).map(Entry::clone);
        let from = (Bound::Excluded(dir), Bound::Unbounded);
        let listed = self.paths.range::<RelPath, _>(from);
        let listed = listed.take_while(|(path, _)| path.is_below(dir));
        let brought = listed.filter_map(|(path, outcome)| {
            let (New { node, meta, .. }, _) = outcome.new.as_ref()?;
            Some(Entry { path: (*path).clone(), node: node.clone(), meta: meta.clone() })
        });
        let entries = kept.chain(brought).map(|entry| fold::within(&entry, dir));
        let entries: Option<Vec<Entry>> = entries.collect();
        let mut entries = entries.ok_or_else(|| disagree(dir))?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        match self.extent {
            Extent::Whole if !tree.holds(&entries) => Err(disagree(dir)),
            _ => Ok(entries),
        }
    }

    fn outcome(
        &self,
        part: &'a DiffIndex,
        change: &'a Change,
        stored: PartContent,
    ) -> Result<Outcome<'a>, Error> {
        let old = match self.paths.get(&change.path) {
            None => match (self.extent, self.old) {
                // The parts before may have had something here that nobody needed.
                (Extent::Part, Some(tree)) => tree.get(&change.path).map(|entry| &entry.node),
                _ => change.old.as_ref(),
            },
            Some(before) if before.node() == change.old.as_ref() => before.old,
            Some(_) => return Err(disagree(&change.path)),
        };
        let new = match &change.new {
            Some(new) => Some((new, self.origin(part, &change.path, new, stored)?)),
            None => None,
        };
        Ok(Outcome { old, new, excluded: change.excluded })
    }

    /// Where the content of `new`, which a part puts at `path`, comes from.
    fn origin(
        &self,
        part: &'a DiffIndex,
        path: &'a RelPath,
        new: &'a New,
        stored: PartContent,
    ) -> Result<Origin<'a>, Error> {
        let Some(digest) = content_of(&new.node) else { return Ok(Origin::of(Base::None)) };
        let mut origin = match &new.content {
            Content::Whole => Origin::of(Base::Whole),
            Content::Keep => return self.at(path, digest, Some(new.node.len())),
            Content::Copy { base } => return self.at(base, digest, Some(new.node.len())),
            Content::Delta { base, digest } => self.at(base, *digest, None)?,
            Content::Same { path } => {
                let at = part.position(path).filter(|&at| at < stored.change);
                let at = at.ok_or_else(|| disagree(path))?;
                let first = part.changes().get(at).and_then(|first| first.new.as_ref());
                let first = first.ok_or_else(|| disagree(path))?;
                return self.origin(part, path, first, PartContent { change: at, ..stored });
            }
            Content::Tree { .. } => return Err(disagree(path)),
        };
        origin.contents.push(stored);
        origin.signature = new.signature.as_ref();
        Ok(origin)
    }

    /// Where what is at `path` after the parts so far comes from, of which the next one says this digest, and
    /// the length if it does.
    fn at(&self, path: &'a RelPath, digest: Digest, len: Option<u64>) -> Result<Origin<'a>, Error> {
        match self.paths.get(path) {
            None => Ok(Origin::of(Base::Tree(path, digest))),
            Some(Outcome { new: Some((new, origin)), .. })
                if content_of(&new.node) == Some(digest)
                    && len.is_none_or(|len| len == new.node.len()) =>
            {
                Ok(origin.clone())
            }
            Some(_) => Err(disagree(path)),
        }
    }

    /// The changes that are left, and the recipes of their contents.
    fn finish(self, wanted: impl Fn(&RelPath) -> bool) -> (Vec<Change>, Vec<Recipe>) {
        let known = self.known();
        // The path with which each content is stored, by the last of what it is made of.
        let mut firsts: HashMap<PartContent, &RelPath> = HashMap::new();
        let (mut changes, mut recipes) = (Vec::new(), Vec::new());
        for (path, Outcome { old, new, excluded }) in self.paths {
            if (old.is_none() && new.is_none()) || !wanted(path) {
                continue;
            }
            let new = new.map(|(new, origin)| {
                let mut content = content(path, old, &new.node, &origin, &known);
                let mut stored = matches!(content, Content::Whole | Content::Delta { .. });
                if let Some(last) = origin.contents.last().filter(|_| stored) {
                    let first = *firsts.entry(*last).or_insert(path);
                    if first != path {
                        (content, stored) = (Content::Same { path: first.clone() }, false);
                    }
                }
                let signature = origin.signature.filter(|_| stored).cloned();
                if stored {
                    recipes.push(Recipe { change: changes.len(), contents: origin.contents });
                }
                New { node: new.node.clone(), meta: new.meta.clone(), content, signature }
            });
            changes.push(Change { path: path.clone(), old: old.cloned(), new, excluded });
        }
        (changes, recipes)
    }

    /// The contents that the first tree is known to have, each with a path: one that goes away if there is one, so that a
    /// move is seen as one.
    fn known(&self) -> HashMap<Digest, &'a RelPath> {
        let mut known = HashMap::new();
        let old = |going: bool| {
            let of = move |(path, outcome): (&&'a RelPath, &Outcome<'a>)| {
                let old = outcome.old.filter(|_| outcome.new.is_none() == going)?;
                Some((content_of(old)?, *path))
            };
            self.paths.iter().filter_map(of)
        };
        let bases = self.paths.values().filter_map(|outcome| match outcome.new.as_ref()?.1.base {
            Base::Tree(path, digest) => Some((digest, path)),
            _ => None,
        });
        for (digest, path) in old(true).chain(old(false)).chain(bases) {
            known.entry(digest).or_insert(path);
        }
        known
    }
}

impl<'a> Outcome<'a> {
    fn node(&self) -> Option<&'a Node> {
        self.new.as_ref().map(|(new, _)| &new.node)
    }
}

/// How a diff says where the content of `node` at `path` comes from.
fn content(
    path: &RelPath,
    old: Option<&Node>,
    node: &Node,
    origin: &Origin<'_>,
    known: &HashMap<Digest, &RelPath>,
) -> Content {
    let Some(digest) = content_of(node).filter(|_| old != Some(node)) else {
        return Content::Keep;
    };
    match (origin.base, known.get(&digest)) {
        // Where it came from, if that is what it was.
        (Base::Tree(base, _), _) if origin.contents.is_empty() && base != path => {
            Content::Copy { base: base.clone() }
        }
        (_, Some(&base)) => Content::Copy { base: base.clone() },
        (Base::Tree(base, digest), None) => Content::Delta { base: base.clone(), digest },
        (Base::Whole | Base::None, None) => Content::Whole,
    }
}

/// The digest of a file of 1 byte or more.
fn content_of(node: &Node) -> Option<Digest> {
    match node {
        Node::File { len: 1.., digest } => Some(*digest),
        _ => None,
    }
}

fn disagree(path: &RelPath) -> Error {
    let problem = "two neighbouring diffs do not agree on what stands between them";
    Error::Unusable { path: path.clone(), problem }
}
