//! Neighbouring diffs as one: what becomes of each path in the end, and of which stored contents its own is made. Pure; knows
//! nothing of where contents are stored.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use dirindex::stored::StoredSignature;
use dirindex::{DirIndex, Entry, Meta, Node, RelPath};
use rsync_core::Digest;

use crate::fold::{self, Growth};
use crate::{Change, Content, DiffIndex, Error, MovedTree, New};

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
        let made = DiffIndex::from_parts(diff.base(), diff.result(), changes).folded(old, &new);
        let diff = made.with_top_of(&diff);
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
    let mut state = State { old, extent, paths: BTreeMap::new(), growth: Growth::default() };
    let mut met = first.base();
    for (number, part) in parts.iter().enumerate() {
        if part.base() != met {
            let (result, base) = (met, part.base());
            return Err(Error::Apart { part: number, result, base });
        }
        met = part.result();
        state.follow(number, part)?;
    }
    let (changes, recipes) = state.finish(wanted);
    let diff = DiffIndex::from_changes(first.base(), last.result(), changes)?;
    Ok(Squashed { diff: diff.with_top_of(last), recipes })
}

/// What the parts so far lead to. It holds what differs from the first tree, however often that moved on the way.
struct State<'a> {
    /// The first tree, if it is known.
    old: Option<&'a DirIndex>,
    extent: Extent,
    /// What becomes of each path that the parts list. Where the first tree is known, not of those where nothing was
    /// and nothing is.
    paths: BTreeMap<RelPath, Outcome<'a>>,
    growth: Growth,
}

/// What becomes of one path.
struct Outcome<'a> {
    /// What stood there before the first part.
    old: Option<&'a Node>,
    /// What stands there after the last part.
    new: Option<Standing<'a>>,
    excluded: bool,
}

/// What stands at a path.
struct Standing<'a> {
    /// Owned where it names another path, which moved with it.
    node: Cow<'a, Node>,
    meta: &'a Meta,
    origin: Origin<'a>,
}

/// Where a content comes from, seen from the first tree.
#[derive(Clone)]
struct Origin<'a> {
    base: Base,
    /// Shared by all paths that have it.
    contents: Arc<[PartContent]>,
    signature: Option<&'a StoredSignature>,
}

#[derive(Clone)]
enum Base {
    /// There is no content.
    None,
    /// The first of the contents is the whole file.
    Whole,
    /// What a path of the first tree has.
    Tree(Arc<(RelPath, Digest)>),
}

impl Base {
    fn tree(path: &RelPath, digest: Digest) -> Base {
        Base::Tree(Arc::new((path.clone(), digest)))
    }
}

impl<'a> Origin<'a> {
    fn of(base: Base) -> Origin<'a> {
        Origin { base, contents: Arc::default(), signature: None }
    }

    /// Of what the first tree has at `path`.
    fn kept(path: &RelPath, node: &Node) -> Origin<'a> {
        Origin::of(match content_of(node) {
            Some(digest) => Base::tree(path, digest),
            None => Base::None,
        })
    }
}

impl<'a> State<'a> {
    /// Goes through one part more.
    fn follow(&mut self, number: usize, part: &'a DiffIndex) -> Result<(), Error> {
        // Each looks at the state before any of them.
        // Reserved at once: a vector that grows is in memory twice while it is copied.
        let mut outcomes = Vec::with_capacity(part.changes().len());
        for (at, change) in part.changes().iter().enumerate() {
            let stored = PartContent { part: number, change: at };
            outcomes.push((change.path.clone(), self.outcome(part, change, stored)?));
        }
        // No directory that moves lies in another, nor does one come to lie in another.
        for tree in part.moved_trees() {
            let excluded = part.get(tree.from).is_some_and(|change| change.excluded);
            let moved = self.take(number, &tree, excluded)?;
            for (path, standing) in moved {
                let old = self.stood(&path, None)?;
                outcomes.push((path, Outcome { old, new: Some(standing), excluded: false }));
            }
        }
        if self.extent == Extent::Part {
            part.changes().iter().for_each(|change| self.clear_below(change));
        }
        for (path, outcome) in outcomes {
            if self.old.is_some() && outcome.is_nothing() {
                self.paths.remove(&path);
            } else {
                self.paths.insert(path, outcome);
            }
        }
        let from_nothing = self.old.is_some_and(|old| old.records().is_empty());
        match self.extent == Extent::Whole && from_nothing {
            true => self.check_tree(part),
            false => Ok(()),
        }
    }

    /// Checks that the result of `part` is a tree. A chain from nothing knows every path, so this can be told.
    /// Without the check, a path could lie in no directory, and a later part could make that directory. Reading the
    /// whole chain would then find the path. A look-up of the directory would not.
    fn check_tree(&self, part: &DiffIndex) -> Result<(), Error> {
        let mut checked: Option<RelPath> = None;
        for change in part.changes() {
            let Change { path, new, .. } = change;
            let is_dir = new.as_ref().is_some_and(|new| new.node == Node::Dir);
            if new.is_some() && checked.as_ref().is_none_or(|dir| !path.is_right_below(dir)) {
                checked = path.parent();
                let parent = checked.as_ref().map(|dir| self.paths.get(dir));
                if parent.is_some_and(|dir| dir.and_then(Outcome::node) != Some(&Node::Dir)) {
                    let problem = "something new where no directory is";
                    return Err(Error::Unusable { path: path.clone(), problem });
                }
            }
            let mut after =
                self.paths.range::<RelPath, _>((Bound::Excluded(path), Bound::Unbounded));
            if !is_dir && after.next().is_some_and(|(next, _)| next.is_below(path)) {
                let problem = "something is left below a directory that goes";
                return Err(Error::Unusable { path: path.clone(), problem });
            }
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

    /// Takes away what is below a directory that part `number`, the next one, moves as a whole. Gives what
    /// stands where then.
    fn take(
        &mut self,
        number: usize,
        tree: &MovedTree<'_>,
        excluded: bool,
    ) -> Result<Vec<(RelPath, Standing<'a>)>, Error> {
        let dir = tree.from;
        let old = self.old.ok_or_else(|| Error::Folded { part: number, path: dir.clone() })?;
        let mut below: Vec<(RelPath, Standing<'a>)> = Vec::new();
        // What the first tree has there is listed from now on, as gone.
        for record in fold::slice(old.records(), dir) {
            let Entry { path, node, meta } = &record.entry;
            if !self.paths.contains_key(path) {
                let standing =
                    Standing { node: Cow::Borrowed(node), meta, origin: Origin::kept(path, node) };
                below.push((path.clone(), standing));
                self.paths.insert(path.clone(), Outcome { old: Some(node), new: None, excluded });
            }
        }
        let kept = below.len();
        let from = (Bound::Excluded(dir), Bound::Unbounded);
        let mut nothing = Vec::new();
        for (path, outcome) in self.paths.range_mut::<RelPath, _>(from) {
            if !path.is_below(dir) {
                break;
            }
            if let Some(standing) = outcome.new.take() {
                outcome.excluded = excluded;
                below.push((path.clone(), standing));
            }
            if outcome.is_nothing() {
                nothing.push(path.clone());
            }
        }
        nothing.iter().for_each(|path| drop(self.paths.remove(path)));
        if kept > 0 {
            below.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.growth.add(tree, below.len(), self.paths.len() + old.records().len())?;
        // Whether the move is allowed was decided by the number of paths that it names.
        let whole = match self.extent {
            Extent::Whole => holds(tree, &below)?,
            Extent::Part => below.len() as u64 <= tree.entries,
        };
        let moved = below.into_iter().map(|(path, mut standing)| {
            if let Node::HardLink { to } = &*standing.node {
                standing.node = Cow::Owned(Node::HardLink { to: tree.after(to)? });
            }
            Some((tree.after(&path)?, standing))
        });
        let moved = moved.collect::<Option<Vec<_>>>().filter(|_| whole);
        moved.ok_or_else(|| disagree(dir))
    }

    /// What was at `path` in the first tree, when `now` is what the next part says is there.
    fn stood(&self, path: &RelPath, now: Option<&'a Node>) -> Result<Option<&'a Node>, Error> {
        match (self.paths.get(path), self.old) {
            (Some(before), _) if before.node() == now => Ok(before.old),
            (Some(_), _) => Err(disagree(path)),
            (None, None) => Ok(now),
            (None, Some(tree)) => {
                let stands = tree.get(path).map(|entry| &entry.node);
                // The parts before may have had something here that nobody needed.
                match stands == now || self.extent == Extent::Part {
                    true => Ok(stands),
                    false => Err(disagree(path)),
                }
            }
        }
    }

    fn outcome(
        &self,
        part: &'a DiffIndex,
        change: &'a Change,
        stored: PartContent,
    ) -> Result<Outcome<'a>, Error> {
        let old = self.stood(&change.path, change.old.as_ref())?;
        let new = match &change.new {
            Some(new) => {
                let origin = self.origin(part, &change.path, new, stored)?;
                Some(Standing { node: Cow::Borrowed(&new.node), meta: &new.meta, origin })
            }
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
        origin.contents = origin.contents.iter().copied().chain([stored]).collect();
        origin.signature = new.signature.as_ref();
        Ok(origin)
    }

    /// Where what is at `path` after the parts so far comes from, of which the next one says this digest, and
    /// the length if it does.
    fn at(&self, path: &RelPath, digest: Digest, len: Option<u64>) -> Result<Origin<'a>, Error> {
        match self.paths.get(path) {
            None => Ok(Origin::of(Base::tree(path, digest))),
            Some(Outcome { new: Some(Standing { node, origin, .. }), .. })
                if content_of(node) == Some(digest) && len.is_none_or(|len| len == node.len()) =>
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
        let mut firsts: HashMap<PartContent, RelPath> = HashMap::new();
        let (mut changes, mut recipes) = (Vec::with_capacity(self.paths.len()), Vec::new());
        for (path, outcome) in self.paths {
            if outcome.is_nothing() || !wanted(&path) {
                continue;
            }
            let Outcome { old, new, excluded } = outcome;
            let new = new.map(|Standing { node, meta, origin }| {
                let mut content = content(&path, old, &node, &origin, &known);
                let mut stored = matches!(content, Content::Whole | Content::Delta { .. });
                if let Some(last) = origin.contents.last().filter(|_| stored) {
                    let first = firsts.entry(*last).or_insert_with(|| path.clone());
                    if *first != path {
                        (content, stored) = (Content::Same { path: first.clone() }, false);
                    }
                }
                let signature = origin.signature.filter(|_| stored).cloned();
                if stored {
                    let contents = origin.contents.to_vec();
                    recipes.push(Recipe { change: changes.len(), contents });
                }
                New { node: node.into_owned(), meta: meta.clone(), content, signature }
            });
            changes.push(Change { path, old: old.cloned(), new, excluded });
        }
        (changes, recipes)
    }

    /// The contents that the first tree is known to have, each with a path: one that goes away if there is one, so that a
    /// move is seen as one.
    fn known(&self) -> HashMap<Digest, RelPath> {
        let mut known = HashMap::new();
        let old = |going: bool| {
            let of = move |(path, outcome): (&RelPath, &Outcome<'a>)| {
                let old = outcome.old.filter(|_| outcome.new.is_none() == going)?;
                Some((content_of(old)?, path.clone()))
            };
            self.paths.iter().filter_map(of)
        };
        let bases =
            self.paths.values().filter_map(|outcome| match &outcome.new.as_ref()?.origin.base {
                Base::Tree(base) => Some((base.1, base.0.clone())),
                _ => None,
            });
        for (digest, path) in old(true).chain(old(false)).chain(bases) {
            known.entry(digest).or_insert(path);
        }
        known
    }
}

impl<'a> Outcome<'a> {
    fn node(&self) -> Option<&Node> {
        self.new.as_ref().map(|standing| &*standing.node)
    }

    /// Whether nothing was there, and nothing is.
    fn is_nothing(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }
}

/// Whether `below`, with whole paths and in their order, is what `tree` says is below the directory that moves.
fn holds(tree: &MovedTree<'_>, below: &[(RelPath, Standing<'_>)]) -> Result<bool, Error> {
    let mut nodes: Vec<(RelPath, Cow<'_, Node>)> = Vec::with_capacity(below.len());
    for (path, standing) in below {
        let elsewhere = || disagree(tree.from);
        let node = match &*standing.node {
            Node::HardLink { to } => {
                Cow::Owned(Node::HardLink { to: to.within(tree.from).ok_or_else(elsewhere)? })
            }
            node => Cow::Borrowed(node),
        };
        nodes.push((path.within(tree.from).ok_or_else(elsewhere)?, node));
    }
    Ok(tree.is(nodes.iter().map(|(path, node)| (path, &**node))))
}

/// How a diff says where the content of `node` at `path` comes from.
fn content(
    path: &RelPath,
    old: Option<&Node>,
    node: &Node,
    origin: &Origin<'_>,
    known: &HashMap<Digest, RelPath>,
) -> Content {
    let Some(digest) = content_of(node).filter(|_| old != Some(node)) else {
        return Content::Keep;
    };
    match (&origin.base, known.get(&digest)) {
        // Where it came from, if that is what it was.
        (Base::Tree(base), _) if origin.contents.is_empty() && base.0 != *path => {
            Content::Copy { base: base.0.clone() }
        }
        (_, Some(base)) => Content::Copy { base: base.clone() },
        (Base::Tree(base), None) => Content::Delta { base: base.0.clone(), digest: base.1 },
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
