//! [`Merge`]: what diffs that follow one another lead to, and where each content lies. A chain of diffs is a log-structured
//! merge tree, each diff a sorted run of it. Pure; must not know where contents are stored, nor how.

mod entries;
mod part;
mod proof;
mod push;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use dirindex::StoredSignature;
use dirindex::{DirIndex, LazyIndex, Meta, Node, RelPath, TreeId};
use rsync_core::Digest;

pub use self::entries::{Entries, MergedEntry};
use self::proof::Proof;
pub use self::read::{Contents, Made, Merged};
use crate::collapse::Growth;
use crate::{DiffIndex, Error};

/// What diffs that follow one another lead to: the merge of sorted runs. See P. O'Neil et al., "The Log-Structured
/// Merge-Tree", 1996.
///
/// `C` says where a stored content lies, and is the caller's. A content is followed back through the runs: through copies
/// and moves, and delta after delta, until it is stored whole or comes from the tree before the first run.
///
/// In memory is what the runs list. The tree before the first run may stay in its file. A clone costs as much as there are paths in
/// memory.
#[derive(Clone)]
pub struct Merge<C> {
    /// The tree before the first run, if it is known.
    old: Option<LazyIndex>,
    extent: Extent,
    /// A diff without changes. It has the ends, and the top directory as the last run has it.
    ends: DiffIndex,
    /// How many runs were merged.
    runs: usize,
    /// What becomes of each path that a run lists. Where the first tree is known, not of those where nothing was and
    /// nothing is.
    paths: BTreeMap<RelPath, Outcome<C>>,
    growth: Growth,
    /// Where the first tree is known: what has to be looked at to prove the last.
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
    /// What a path of the first tree has. Most contents have no such base, so it takes no room in them.
    Tree(Box<(RelPath, Digest)>),
}

impl<C> Origin<C> {
    /// What the first tree has at `path`.
    fn kept(path: &RelPath, digest: Digest) -> Arc<Origin<C>> {
        let base = Base::Tree(Box::new((path.clone(), digest)));
        Arc::new(Origin { base, contents: Arc::default(), signature: None })
    }
}

impl<C> std::fmt::Debug for Merge<C> {
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

impl<C: Clone> Merge<C> {
    /// No runs yet, on the empty tree.
    #[must_use]
    pub fn from_nothing() -> Merge<C> {
        Merge::from_tree(LazyIndex::empty())
    }

    /// No runs yet, on the tree of `old`. Every path is known.
    #[must_use]
    pub fn from_tree(old: impl Into<LazyIndex>) -> Merge<C> {
        let old = old.into();
        Merge::new(old.tree_id(), Some(old), Extent::Whole)
    }

    /// No runs yet, on a tree of which no more than its id is known.
    #[must_use]
    pub fn from_unknown(base: TreeId) -> Merge<C> {
        if base == DirIndex::empty().tree_id() {
            return Merge::from_nothing();
        }
        Merge::new(base, None, Extent::Whole)
    }

    /// No runs yet, on the empty tree, where each run is only a part: what it has at some paths, at the paths that their
    /// contents come from, and at the directories above either. Of the others the merge may say what is no longer so.
    #[must_use]
    pub fn of_parts() -> Merge<C> {
        Merge { extent: Extent::Part, ..Merge::from_nothing() }
    }

    fn new(base: TreeId, old: Option<LazyIndex>, extent: Extent) -> Merge<C> {
        let ends = DiffIndex::from_parts(base, base, Vec::new());
        let (paths, growth) = (BTreeMap::new(), Growth::default());
        let proof = Proof::of(old.as_ref());
        Merge { old, extent, ends, runs: 0, paths, growth, proof }
    }

    /// The same merge, whose last tree has the top directory that `diff` says, and left out what it says.
    #[must_use]
    pub fn with_top_of(self, diff: &DiffIndex) -> Merge<C> {
        Merge { ends: self.ends.with_top_of(diff), ..self }
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

    /// The tree before the first run, where that and all that became of it is known.
    fn known_tree(&self) -> Option<&LazyIndex> {
        self.old.as_ref().filter(|_| self.extent == Extent::Whole)
    }

    /// Whether no path is known because there is none.
    fn has_nothing(&self) -> bool {
        self.runs == 0 && self.old.as_ref().is_some_and(LazyIndex::is_empty)
    }

    /// What stands at `path`, where the first tree is known.
    fn node(&self, path: &RelPath) -> Result<Option<Node>, Error> {
        if let Some(outcome) = self.paths.get(path) {
            return Ok(outcome.node().cloned());
        }
        let record = self.old.as_ref().map_or(Ok(None), |old| old.record(path))?;
        Ok(record.map(|record| record.entry.node.clone()))
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

impl Merge<()> {
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
