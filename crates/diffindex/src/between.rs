//! Comparing two indexes. Pure: it looks at the indexes alone. What is in memory can always be compared.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dirindex::{DirIndex, Entry, LazyIndex, Node, Record, RelPath, Remarks, TreeId};
use rayon::prelude::*;
use rsync_core::Digest;

use crate::concerned::concerned;
use crate::{Change, Content, DiffIndex, NewEntry, resemble};

/// Both sides of one path, at least one of them there.
#[derive(Clone, Copy)]
struct Pair<'a> {
    path: &'a RelPath,
    old: Option<&'a Record>,
    new: Option<&'a Record>,
}

impl<'a> Pair<'a> {
    fn nodes(&self) -> (Option<&'a Node>, Option<&'a Node>) {
        let node = |record: &'a Record| &record.entry.node;
        (self.old.map(node), self.new.map(node))
    }

    fn same_node(&self) -> bool {
        let (old, new) = self.nodes();
        old == new
    }

    /// Whether a file is to stand here that did not.
    fn is_new_file(&self) -> bool {
        matches!(self.nodes().1, Some(Node::File { .. })) && !self.same_node()
    }

    fn same_entry(&self) -> bool {
        self.old.map(|old| &old.entry) == self.new.map(|new| &new.entry)
    }
}

pub(crate) fn between(old: &DirIndex, new: &DirIndex) -> DiffIndex {
    let ends = (old.tree_id(), new.tree_id());
    diff(old.records(), new.records(), ends, new.remarks())
}

/// What of `old` and `new` has a part in how they differ is looked at as [`between`] does.
pub(crate) fn between_lazy(old: &LazyIndex, new: &LazyIndex) -> Result<DiffIndex, dirindex::Error> {
    let (olds, news) = concerned(old, new)?;
    Ok(diff(&olds, &news, (old.tree_id(), new.tree_id()), new.remarks()))
}

/// The diff between the trees with these ids. The records are all of them, or those that are [concerned].
fn diff(
    old: &[Arc<Record>],
    new: &[Arc<Record>],
    ends: (TreeId, TreeId),
    remarks: &Remarks,
) -> DiffIndex {
    let pairs = differing(old, new);
    let holders = holders_of_new_content(old, &pairs);
    let firsts = firsts_of_new_content(&pairs, &holders);
    let bases = bases_of_new_content(old, &pairs, &holders, &firsts);
    let sources = Sources { holders, firsts, bases };
    let changes = pairs.par_iter().map(|pair| change(pair, &sources, remarks)).collect();
    let diff = DiffIndex::from_parts(ends.0, ends.1, changes).collapsed(old, new);
    diff.with_top(remarks.left_out(), remarks.top_mode())
}

/// Where new contents come from.
struct Sources<'a> {
    /// See [`holders_of_new_content`].
    holders: HashMap<Digest, &'a RelPath>,
    /// See [`firsts_of_new_content`].
    firsts: HashMap<&'a RelPath, &'a RelPath>,
    /// See [`bases_of_new_content`].
    bases: HashMap<&'a RelPath, &'a Record>,
}

/// For each path with new content that no path of the old tree has, and an earlier such path has too: the
/// first of these.
fn firsts_of_new_content<'a>(
    pairs: &[Pair<'a>],
    holders: &HashMap<Digest, &RelPath>,
) -> HashMap<&'a RelPath, &'a RelPath> {
    let news = pairs.par_iter().filter(|pair| !pair.same_node()).filter_map(|pair| {
        let entry = &pair.new?.entry;
        let digest = content_of(entry).filter(|digest| !holders.contains_key(digest))?;
        Some((digest, entry.node.len(), pair.path))
    });
    let mut news: Vec<(Digest, u64, &RelPath)> = news.collect();
    news.par_sort_unstable();
    let alike = news.chunk_by(|(a, a_len, _), (b, b_len, _)| (a, a_len) == (b, b_len));
    let firsts = alike
        .filter_map(|alike| alike.split_first())
        .flat_map(|((.., first), others)| others.iter().map(move |(.., path)| (*path, *first)));
    firsts.collect()
}

/// For new content that no path of the old tree has: the file there that it resembles, if that is not
/// what stood at its own path.
fn bases_of_new_content<'a>(
    old: &'a [Arc<Record>],
    pairs: &[Pair<'a>],
    holders: &HashMap<Digest, &RelPath>,
    firsts: &HashMap<&RelPath, &RelPath>,
) -> HashMap<&'a RelPath, &'a Record> {
    if old.is_empty() {
        return HashMap::new();
    }
    let wanted = pairs.iter().filter(|pair| !pair.same_node()).filter_map(|pair| {
        let new = pair.new.filter(|new| new.signature.is_some())?;
        let stored =
            !holders.contains_key(&content_of(&new.entry)?) && !firsts.contains_key(pair.path);
        let alike = pair.old.is_some_and(|old| resemble::share_a_block(old, new));
        (stored && !alike).then_some(new)
    });
    let gone = pairs.iter().filter(|pair| pair.new.is_none()).filter_map(|pair| pair.old);
    let gone: Vec<&Record> = gone.filter(|old| old.signature.is_some()).collect();
    resemble::bases(&wanted.collect::<Vec<_>>(), &gone, old)
}

/// The paths whose entries differ, in path order, and the hard links that are to be made anew.
fn differing<'a>(old: &'a [Arc<Record>], new: &'a [Arc<Record>]) -> Vec<Pair<'a>> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for pair in merge(old, new) {
        // The file a link names sorts before it, so it is among the pairs by now if it was replaced.
        let relink = match pair.nodes().1 {
            Some(Node::HardLink { to }) => {
                let found = pairs.binary_search_by(|pair| pair.path.cmp(to)).ok();
                found.and_then(|at| pairs.get(at)).is_some_and(Pair::is_new_file)
            }
            _ => false,
        };
        if relink || !pair.same_entry() {
            pairs.push(pair);
        }
    }
    pairs
}

/// Both lists side by side in path order.
fn merge<'a>(old: &'a [Arc<Record>], new: &'a [Arc<Record>]) -> impl Iterator<Item = Pair<'a>> {
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (olds.peek(), news.peek()) {
            (Some(old), Some(new)) => old.entry.path.cmp(&new.entry.path),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let old = if order.is_le() { olds.next() } else { None };
        let new = if order.is_ge() { news.next() } else { None };
        let (old, new) = (old.map(Arc::as_ref), new.map(Arc::as_ref));
        let path = &old.or(new)?.entry.path;
        Some(Pair { path, old, new })
    })
}

/// For each content that the new tree has at a path that did not have it: the path of the old tree
/// that has it, if one does. A path that goes away is preferred, so that a move is seen as one.
fn holders_of_new_content<'a>(
    old: &'a [Arc<Record>],
    pairs: &[Pair<'a>],
) -> HashMap<Digest, &'a RelPath> {
    let mut holders = HashMap::new();
    if old.is_empty() {
        return holders;
    }
    let wanted: HashSet<Digest> = pairs
        .iter()
        .filter(|pair| !pair.same_node())
        .filter_map(|pair| content_of(&pair.new?.entry))
        .collect();
    if wanted.is_empty() {
        return holders;
    }
    let going = pairs.iter().filter(|pair| pair.new.is_none()).filter_map(|pair| pair.old);
    for record in going.chain(old.iter().map(Arc::as_ref)) {
        if let Some(digest) = content_of(&record.entry)
            && wanted.contains(&digest)
        {
            holders.entry(digest).or_insert(&record.entry.path);
        }
    }
    holders
}

/// The digest of a file of 1 byte or more.
pub(crate) fn content_of(entry: &Entry) -> Option<Digest> {
    match entry.node {
        Node::File { len: 1.., digest } => Some(digest),
        _ => None,
    }
}

fn change(pair: &Pair<'_>, sources: &Sources<'_>, remarks: &Remarks) -> Change {
    let new = pair.new.map(|new| {
        let content = content(pair, &new.entry, sources);
        let stored = matches!(content, Content::Whole | Content::Delta { .. });
        NewEntry {
            node: new.entry.node.clone(),
            meta: new.entry.meta.clone(),
            content,
            signature: new.signature.clone().filter(|_| stored),
        }
    });
    let excluded = new.is_none() && remarks.is_excluded(pair.path);
    Change { path: pair.path.clone(), old: pair.nodes().0.cloned(), new, excluded }
}

fn content(pair: &Pair<'_>, new: &Entry, sources: &Sources<'_>) -> Content {
    let Some(digest) = content_of(new).filter(|_| !pair.same_node()) else {
        return Content::Keep;
    };
    if let Some(&base) = sources.holders.get(&digest) {
        return Content::Copy { base: base.clone() };
    }
    if let Some(&first) = sources.firsts.get(pair.path) {
        return Content::Same { path: first.clone() };
    }
    // Without a signature (the old file was empty) there is nothing to make a delta against.
    let own = pair.old.filter(|old| old.signature.is_some());
    let base = sources.bases.get(pair.path).copied().or(own).map(|old| &old.entry);
    match base.and_then(|base| Some((&base.path, content_of(base)?))) {
        Some((base, digest)) => Content::Delta { base: base.clone(), digest },
        None => Content::Whole,
    }
}
