//! [`Merge`]: what diffs that follow one another lead to, and where each content lies. A chain of diffs is a log-structured
//! merge tree, each diff a sorted run of it. Pure; must not know where contents are stored, nor how.

mod proof;
mod push;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use dirindex::StoredSignature;
use dirindex::{DirIndex, Meta, Node, RelPath, TreeId};
use rsync_core::Digest;

use self::proof::Proof;
pub use self::read::{Contents, Merged};
use crate::collapse::Growth;
use crate::{DiffIndex, Error};

/// What diffs that follow one another lead to: the merge of sorted runs. See P. O'Neil et al., "The Log-Structured
/// Merge-Tree", 1996.
///
/// `C` says where a stored content lies, and is the caller's. A content is followed back through the runs: through copies
/// and moves, and delta after delta, until it is stored whole or comes from the tree before the first run.
///
/// A clone costs as much as there are paths.
#[derive(Clone)]
pub struct Merge<'a, C> {
    /// The tree before the first run, if it is known.
    old: Option<Cow<'a, DirIndex>>,
    extent: Extent,
    /// A diff without changes. It has the ends, and the top directory as the last run has it.
    ends: DiffIndex,
    /// How many runs were merged.
    runs: usize,
    /// What becomes of each path that a run lists. Where the first tree is known, not of those where nothing was and
    /// nothing is.
    paths: BTreeMap<RelPath, Outcome<C>>,
    growth: Growth,
    /// Of a merge from nothing: what has to be looked at to prove the tree.
    proof: Proof,
}

/// How much of the runs is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// What some paths need. Of others the runs may say what was there when it was needed, and not what became of it.
    Part,
}

/// What becomes of one path.
struct Outcome<C> {
    /// What stood there before the first run.
    old: Option<Box<Node>>,
    /// What stands there after the last run.
    new: Option<Arc<Standing<C>>>,
    excluded: bool,
}

/// What stands at a path.
#[derive(Clone)]
struct Standing<C> {
    node: Node,
    meta: Meta,
    /// Shared by all paths that have the content. None where there is none.
    origin: Option<Arc<Origin<C>>>,
}

/// Several paths, and what stands there.
type Standings<C> = Vec<(RelPath, Arc<Standing<C>>)>;

/// Where a content comes from.
struct Origin<C> {
    base: Base,
    /// Each is a delta against what the one before it makes.
    contents: Arc<[C]>,
    signature: Option<Box<StoredSignature>>,
}

#[derive(Clone)]
enum Base {
    /// The first of the contents is the whole file.
    Whole,
    /// What a path of the first tree has. Most contents of a merge from nothing have no such base, so it takes no room in them.
    Tree(Box<(RelPath, Digest)>),
}

impl<C> Origin<C> {
    /// What the first tree has at `path`.
    fn kept(path: &RelPath, digest: Digest) -> Arc<Origin<C>> {
        let base = Base::Tree(Box::new((path.clone(), digest)));
        Arc::new(Origin { base, contents: Arc::default(), signature: None })
    }
}

impl<C> std::fmt::Debug for Merge<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Merge");
        debug.field("base", &self.ends.base()).field("result", &self.ends.result());
        debug.field("runs", &self.runs).field("paths", &self.paths.len()).finish_non_exhaustive()
    }
}

impl<C> Clone for Outcome<C> {
    fn clone(&self) -> Outcome<C> {
        Outcome { old: self.old.clone(), new: self.new.clone(), excluded: self.excluded }
    }
}

impl<C> Outcome<C> {
    fn node(&self) -> Option<&Node> {
        self.new.as_ref().map(|standing| &standing.node)
    }

    /// Whether nothing was there, and nothing is.
    fn is_nothing(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }
}

impl<C: Clone> Merge<'static, C> {
    /// No runs yet, on the empty tree. Then every path is known.
    #[must_use]
    pub fn from_nothing() -> Merge<'static, C> {
        let old = DirIndex::empty();
        Merge::new(old.tree_id(), Some(Cow::Owned(old)), Extent::Whole)
    }

    /// No runs yet, on a tree of which no more than its id is known.
    #[must_use]
    pub fn from_unknown(base: TreeId) -> Merge<'static, C> {
        if base == DirIndex::empty().tree_id() {
            return Merge::from_nothing();
        }
        Merge::new(base, None, Extent::Whole)
    }

    /// No runs yet, on the empty tree, where each run is only a part: what it has at some paths, at the paths that their
    /// contents come from, and at the directories above either. Of the others the merge may say what is no longer so.
    #[must_use]
    pub fn of_parts() -> Merge<'static, C> {
        Merge { extent: Extent::Part, ..Merge::from_nothing() }
    }
}

impl<'a, C: Clone> Merge<'a, C> {
    /// No runs yet, on the tree of `old`.
    #[must_use]
    pub fn from_tree(old: &'a DirIndex) -> Merge<'a, C> {
        Merge::new(old.tree_id(), Some(Cow::Borrowed(old)), Extent::Whole)
    }

    fn new(base: TreeId, old: Option<Cow<'a, DirIndex>>, extent: Extent) -> Merge<'a, C> {
        let ends = DiffIndex::from_parts(base, base, Vec::new());
        let (paths, growth, proof) = (BTreeMap::new(), Growth::default(), Proof::default());
        Merge { old, extent, ends, runs: 0, paths, growth, proof }
    }

    /// The id of the tree before the first run.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.ends.base()
    }

    /// The id of the tree that the last run names as its result. [`prove`](Merge::prove) checks that it is.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.ends.result()
    }

    /// A diff without changes, from the first tree to the last. It has what is known of the last one's top directory.
    #[must_use]
    pub fn ends(&self) -> &DiffIndex {
        &self.ends
    }

    /// Whether the paths are all that there are.
    fn knows_all(&self) -> bool {
        self.extent == Extent::Whole && self.is_from_nothing()
    }

    fn is_from_nothing(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.records().is_empty())
    }

    /// Whether no path is known because there is none.
    fn has_nothing(&self) -> bool {
        self.runs == 0 && self.is_from_nothing()
    }
}

impl DiffIndex {
    /// `parts`, each of which starts from the tree that the one before it leads to, as one diff: their [`Merge`].
    ///
    /// # Errors
    /// [`Error::NoParts`], and as [`Merge::push`].
    pub fn squash(parts: &[DiffIndex]) -> Result<DiffIndex, Error> {
        let first = parts.first().ok_or(Error::NoParts)?;
        Merge::from_unknown(first.base()).squashed(parts)
    }

    /// [`squash`](DiffIndex::squash) with the index of the tree that the first part starts from. What is in the end what it
    /// was is left out, and directories that moved as a whole are one change again.
    ///
    /// # Errors
    /// As [`squash`](DiffIndex::squash), and [`Error::Apart`] when `old` is another tree.
    pub fn squash_from(old: &DirIndex, parts: &[DiffIndex]) -> Result<DiffIndex, Error> {
        let _first = parts.first().ok_or(Error::NoParts)?;
        Merge::from_tree(old).squashed(parts)
    }
}

impl Merge<'_, ()> {
    fn squashed(self, parts: &[DiffIndex]) -> Result<DiffIndex, Error> {
        let merge =
            parts.iter().try_fold(self, |merge, part| merge.push(part.clone(), |_| [()]))?;
        Ok(merge.into_diff()?.0)
    }
}

/// The digest of a file of 1 byte or more.
fn content_of(node: &Node) -> Option<Digest> {
    match node {
        Node::File { len: 1.., digest } => Some(*digest),
        _ => None,
    }
}

const TAKEN: &str = "something taken from where nothing was";

fn disagree(path: &RelPath) -> Error {
    unusable(path, "two neighbouring diffs do not agree on what stands between them")
}

fn unusable(path: &RelPath, problem: &'static str) -> Error {
    Error::Unusable { path: path.clone(), problem }
}
