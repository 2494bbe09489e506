//! [`LazyDiff`]: a diff of which little is in memory. Must not know how it is encoded, nor where contents are stored.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::{Deref, Range};
use std::sync::Arc;

use container::SectionError;
use dirindex::{Error, LazyIndex, Record, RecordChunks, RelPath, TreeId};
use rayon::prelude::*;
use rsync_core::Digest;

use crate::between::content_of;
use crate::encoded::{BLOCK_ROWS, Blocks, weight};
use crate::repeated::firsts;
use crate::{Change, Content, DiffIndex, NewEntry, Signatures, StoredDiff};

/// A diff that brings more than so many entries, and nothing else, is not in memory.
pub(crate) const MANY: usize = 1 << 17;

/// A diff of which little is in memory. One that brings many new entries alone, as that of a first backup, is made of their index as
/// it is read; one that is [stored](StoredDiff) stays in its file; any other is in memory.
///
/// A clone is cheap. Whoever asks for changes may hear that a file cannot be read any more.
///
/// ```
/// use diffindex::{DiffIndex, LazyDiff};
/// use dirindex::{DirIndex, Entry, LazyIndex, Meta, Node, Record, RelPath, Time};
///
/// let mtime = Time { secs: 0, nanos: 0 };
/// let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() };
/// let entry = Entry { path: RelPath::new("a")?, node: Node::Dir, meta };
/// let index = DirIndex::from_records([Record { entry, signature: None, fingerprint: None }])?;
///
/// let diff = LazyDiff::between(&LazyIndex::empty(), &LazyIndex::from(&index))?;
/// let lists = diff.lists().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(lists.len(), 1);
/// assert_eq!(lists[0][0].path, RelPath::new("a")?);
/// assert_eq!(diff.load()?, DiffIndex::between(&DirIndex::empty(), &index));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LazyDiff {
    /// All changes, if these are in memory; else none.
    diff: DiffIndex,
    elsewhere: Option<Elsewhere>,
}

/// Where changes are that are not in memory.
#[derive(Debug, Clone)]
enum Elsewhere {
    New(Arc<New>),
    Stored(StoredDiff),
}

/// The first files of contents that several have.
type Firsts = HashMap<Digest, RelPath>;

/// The entries of an index behind some path, all of which are new.
#[derive(Debug)]
struct New {
    index: LazyIndex,
    /// The old tree ends with it. `None` for the empty one.
    after: Option<RelPath>,
    firsts: Arc<Firsts>,
    /// Files whose contents are stored whole whatever others have.
    stored: HashSet<RelPath>,
}

impl LazyDiff {
    /// What turns the tree of `old` into that of `new`, as [`DiffIndex::between_lazy`] has it. Where `new` has very many entries more, and
    /// all else is the same, it is made [as it is read](LazyDiff::added).
    ///
    /// # Errors
    /// [`Error::Sections`] when a file cannot be read any more in which a part of the indexes is.
    pub fn between(old: &LazyIndex, new: &LazyIndex) -> Result<LazyDiff, Error> {
        LazyDiff::between_with(old, new, None)
    }

    /// [`between`](LazyDiff::between), where the two are beginnings of the index that this diff leads to.
    ///
    /// # Errors
    /// As [`between`](LazyDiff::between).
    pub fn part(&self, old: &LazyIndex, new: &LazyIndex) -> Result<LazyDiff, Error> {
        LazyDiff::between_with(old, new, self.as_new().map(|new| &new.firsts))
    }

    fn between_with(
        old: &LazyIndex,
        new: &LazyIndex,
        known: Option<&Arc<Firsts>>,
    ) -> Result<LazyDiff, Error> {
        let added = match new.len().saturating_sub(old.len()) < MANY {
            true => None,
            false => LazyDiff::added_with(old, new, known)?,
        };
        added.map_or_else(|| Ok(DiffIndex::between_lazy(old, new)?.into()), Ok)
    }

    /// [`between`](LazyDiff::between), where `old` is empty or a [beginning](LazyIndex::continues) of `new`; else `None`. No change is in
    /// memory. A new file is not compared with those of `old` that it resembles without having their content.
    ///
    /// # Errors
    /// As [`between`](LazyDiff::between).
    pub fn added(old: &LazyIndex, new: &LazyIndex) -> Result<Option<LazyDiff>, Error> {
        LazyDiff::added_with(old, new, None)
    }

    fn added_with(
        old: &LazyIndex,
        new: &LazyIndex,
        known: Option<&Arc<Firsts>>,
    ) -> Result<Option<LazyDiff>, Error> {
        let after = new.continues(old).cloned();
        if !old.is_empty() && after.is_none() {
            return Ok(None);
        }
        let firsts = known.map_or_else(|| firsts(new).map(Arc::new), |known| Ok(Arc::clone(known)));
        let new = New { index: new.clone(), after, firsts: firsts?, stored: HashSet::new() };
        Ok(Some(LazyDiff::of_new(old.tree_id(), new)))
    }

    fn of_new(base: TreeId, new: New) -> LazyDiff {
        let remarks = new.index.remarks();
        let diff = DiffIndex::from_parts(base, new.index.tree_id(), Vec::new());
        let diff = diff.with_top(remarks.left_out(), remarks.top_mode());
        LazyDiff { diff, elsewhere: Some(Elsewhere::New(Arc::new(new))) }
    }

    fn as_new(&self) -> Option<&Arc<New>> {
        match &self.elsewhere {
            Some(Elsewhere::New(new)) => Some(new),
            _ => None,
        }
    }

    /// The diff without its changes, if these are not in memory; else all of it.
    pub(crate) fn ends(&self) -> &DiffIndex {
        &self.diff
    }

    /// The whole diff, if it is in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&DiffIndex> {
        self.elsewhere.is_none().then_some(&self.diff)
    }

    /// The diff in a file: in the one that it is in, else in a temporary one, as [`std::env::temp_dir`] has it, which has no name. The
    /// latter has no signatures.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Sections`] when the file cannot be made, or the other one not be read any more.
    #[cfg(feature = "scan")]
    pub fn to_stored(&self) -> Result<StoredDiff, crate::Error> {
        if let Some(Elsewhere::Stored(stored)) = &self.elsewhere {
            return Ok(stored.clone());
        }
        let dir = std::env::temp_dir();
        let file = tempfile::tempfile_in(&dir);
        let file =
            file.map_err(|source| Error::Io { operation: "make a file in", path: dir, source })?;
        let file = std::io::BufWriter::with_capacity(1 << 20, file);
        let written = self.encode(file, Signatures::None, |_, _| ())?;
        let held = written.held();
        let file = written.into_inner().into_inner().map_err(std::io::IntoInnerError::into_error);
        StoredDiff::from_source_within(file.map_err(SectionError::Write)?, held)
    }

    /// Whether contents may come from other paths of the old tree.
    pub(crate) fn may_move(&self) -> bool {
        match &self.elsewhere {
            None => true,
            Some(Elsewhere::New(new)) => new.after.is_some(),
            Some(Elsewhere::Stored(stored)) => stored.copies() || !stored.only_adds(),
        }
    }

    /// The same diff, to a tree of which the top directory is as `other` has it, and what was left out.
    #[must_use]
    pub fn with_top_of(self, other: &DiffIndex) -> LazyDiff {
        LazyDiff { diff: self.diff.with_top_of(other), ..self }
    }

    /// The whole diff, in memory.
    ///
    /// # Errors
    /// As [`between`](LazyDiff::between).
    pub fn load(&self) -> Result<DiffIndex, Error> {
        if let Some(diff) = self.in_memory() {
            return Ok(diff.clone());
        }
        let mut changes = Vec::new();
        for list in self.lists() {
            changes.extend_from_slice(&list?);
        }
        let diff = DiffIndex::from_parts(self.base(), self.result(), changes);
        Ok(diff.with_top_of(&self.diff))
    }

    /// The root of the tree that this changes.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.diff.base()
    }

    /// The root of the tree that this leads to.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.diff.result()
    }

    /// The permission bits of the top directory, as [`DiffIndex::top_mode`] has them.
    #[must_use]
    pub fn top_mode(&self) -> Option<u32> {
        self.diff.top_mode()
    }

    /// Whether this starts from nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.diff.is_full()
    }

    /// All changes in path order, in lists as they are encoded.
    #[must_use]
    pub fn lists(&self) -> ChangeLists<'_> {
        let mut lists = ChangeLists { more: More::None, rest: Vec::new(), ready: VecDeque::new() };
        match &self.elsewhere {
            None => lists.make_ready(self.diff.shared_changes()),
            Some(Elsewhere::New(new)) => {
                lists.more = More::New(new, new.index.chunks(new.after.as_ref()));
            }
            Some(Elsewhere::Stored(stored)) => match stored.in_memory() {
                Some(few) => lists.ready.extend(few.iter().cloned()),
                None => lists.more = stored.in_blocks().map_or_else(More::Failed, More::Stored),
            },
        }
        lists
    }

    /// This diff, to the tree of `index` instead, as [`DiffIndex::amended`] has it.
    ///
    /// # Errors
    /// As [`between`](LazyDiff::between).
    pub fn amended(
        &self,
        index: &LazyIndex,
        paths: &HashSet<&RelPath>,
    ) -> Result<Option<LazyDiff>, Error> {
        let Some(new) = self.as_new() else {
            return Ok(self.load()?.amended(index, paths)?.map(LazyDiff::from));
        };
        let mut gone = 0;
        for path in paths {
            let before = new.index.record(path)?;
            let digest = before.as_ref().and_then(|before| content_of(&before.entry));
            if digest.and_then(|digest| new.firsts.get(&digest)) == Some(path) {
                return Ok(None);
            }
            gone += usize::from(index.record(path)?.is_none());
        }
        // With a file that has other names, these go too.
        if new.index.len() - gone != index.len() {
            return Ok(None);
        }
        let stored = paths.iter().copied().cloned();
        let stored = new.stored.iter().cloned().chain(stored).collect();
        let (after, firsts) = (new.after.clone(), Arc::clone(&new.firsts));
        let new = New { index: index.clone(), after, firsts, stored };
        Ok(Some(LazyDiff::of_new(self.base(), new)))
    }
}

impl From<DiffIndex> for LazyDiff {
    fn from(diff: DiffIndex) -> LazyDiff {
        LazyDiff { diff, elsewhere: None }
    }
}

impl From<&StoredDiff> for LazyDiff {
    fn from(stored: &StoredDiff) -> LazyDiff {
        let elsewhere = Some(Elsewhere::Stored(stored.clone()));
        LazyDiff { diff: stored.ends().clone(), elsewhere }
    }
}

impl From<&DiffIndex> for LazyDiff {
    fn from(diff: &DiffIndex) -> LazyDiff {
        diff.clone().into()
    }
}

impl From<&LazyDiff> for LazyDiff {
    fn from(diff: &LazyDiff) -> LazyDiff {
        diff.clone()
    }
}

impl New {
    /// The change that brings an entry.
    fn change(&self, Record { entry, signature, .. }: &Record) -> Change {
        let path = &entry.path;
        let content = match content_of(entry) {
            None => Content::Keep,
            Some(_) if self.stored.contains(path) => Content::Whole,
            Some(digest) => match self.firsts.get(&digest).filter(|first| *first < path) {
                Some(first) if self.after.as_ref().is_some_and(|after| first <= after) => {
                    Content::Copy { base: first.clone() }
                }
                Some(first) => Content::Same { path: first.clone() },
                None => Content::Whole,
            },
        };
        let signature = signature.clone().filter(|_| content == Content::Whole);
        let (node, meta) = (entry.node.clone(), entry.meta.clone());
        let new = Some(NewEntry { node, meta, content, signature });
        Change { path: path.clone(), old: None, new, excluded: false }
    }
}

/// Changes of a diff that follow one another. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChangeList {
    changes: Arc<Vec<Change>>,
    range: Range<usize>,
}

impl Deref for ChangeList {
    type Target = [Change];

    fn deref(&self) -> &[Change] {
        self.changes.get(self.range.clone()).unwrap_or_default()
    }
}

impl ChangeList {
    pub(crate) fn of(changes: Vec<Change>) -> ChangeList {
        let range = 0..changes.len();
        ChangeList { changes: Arc::new(changes), range }
    }

    /// Some of them.
    ///
    /// Of what is beyond the end, nothing is there.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> ChangeList {
        let at = |at: usize| self.range.end.min(self.range.start.saturating_add(at));
        ChangeList { changes: Arc::clone(&self.changes), range: at(range.start)..at(range.end) }
    }
}

/// The changes of a [`LazyDiff`] in path order, in lists as they are encoded: none is empty.
#[derive(Debug)]
pub struct ChangeLists<'a> {
    more: More<'a>,
    /// What does not fill a list yet.
    rest: Vec<Change>,
    ready: VecDeque<ChangeList>,
}

/// Where more changes come from.
#[derive(Debug)]
enum More<'a> {
    None,
    New(&'a New, RecordChunks<'a>),
    Stored(Blocks),
    Failed(SectionError),
}

impl ChangeLists<'_> {
    fn make_ready(&mut self, changes: Arc<Vec<Change>>) {
        let mut start = 0;
        for list in container::cut(&changes, BLOCK_ROWS, weight) {
            let range = start..start + list.len();
            start = range.end;
            self.ready.push_back(ChangeList { changes: Arc::clone(&changes), range });
        }
    }
}

/// [`Error::Sections`] when a file cannot be read any more in which a part of an index is.
impl Iterator for ChangeLists<'_> {
    type Item = Result<ChangeList, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(list) = self.ready.pop_front() {
                return Some(Ok(list));
            }
            match std::mem::replace(&mut self.more, More::None) {
                More::None => return None,
                More::Failed(error) => return Some(Err(error.into())),
                More::Stored(mut blocks) => match blocks.next() {
                    Ok(Some(lists)) => {
                        self.more = More::Stored(blocks);
                        self.ready.extend(lists.into_iter().map(ChangeList::of));
                    }
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error.into())),
                },
                More::New(new, mut chunks) => {
                    let mut changes = std::mem::take(&mut self.rest);
                    match chunks.next() {
                        Some(Ok(records)) => {
                            changes.par_extend(records.par_iter().map(|record| new.change(record)));
                            let last = container::cut(&changes, BLOCK_ROWS, weight).last();
                            let is_open =
                                |last: &&[Change]| !container::is_full(last, BLOCK_ROWS, weight);
                            let open = last.filter(is_open).map_or(0, <[Change]>::len);
                            self.rest = changes.split_off(changes.len() - open);
                            self.more = More::New(new, chunks);
                        }
                        Some(Err(error)) => return Some(Err(error)),
                        None => {}
                    }
                    self.make_ready(Arc::new(changes));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirindex::{DirIndex, Entry, Meta, Node, Time};

    fn record(path: &str, node: Node) -> Record {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = Entry { path: RelPath::new(path).unwrap(), node, meta };
        Record { entry, signature: None, fingerprint: None }
    }

    fn file(path: &str, content: &str) -> Record {
        let digest = Digest::of(content.as_bytes());
        record(path, Node::File { len: content.len() as u64, digest })
    }

    /// Files in some directories, a third of them with contents that others have.
    fn records() -> Vec<Record> {
        let mut records = Vec::new();
        for dir in 'a'..='f' {
            records.push(record(&dir.to_string(), Node::Dir));
            for number in 0..90u32 {
                let content = match number % 3 {
                    0 => format!("{}", number % 7),
                    _ => format!("{dir} {number}"),
                };
                records.push(file(&format!("{dir}/{number}"), &content));
            }
            records.push(file(&format!("{dir}/empty"), ""));
            let to = RelPath::new(format!("{dir}/0")).unwrap();
            records.push(record(&format!("{dir}/link"), Node::HardLink { to }));
        }
        records
    }

    fn lazy(old: &LazyIndex, new: &LazyIndex) -> LazyDiff {
        LazyDiff::added(old, new).unwrap().unwrap()
    }

    /// Promise: however much of it is in memory, a full diff is the same, to the byte.
    #[test]
    fn a_full_diff_is_that_in_memory() {
        let index = DirIndex::from_records(records()).unwrap();
        let whole = DiffIndex::between(&DirIndex::empty(), &index);
        let diff = lazy(&LazyIndex::empty(), &(&index).into());
        assert_eq!(diff.load().unwrap(), whole);
        let bytes = |diff: &LazyDiff| {
            diff.encode(Vec::new(), Signatures::All, |_, _| ()).unwrap().into_inner()
        };
        assert!(bytes(&diff) == bytes(&LazyDiff::from(&whole)));
        let lists =
            |diff: &LazyDiff| diff.lists().map(|list| list.unwrap().to_vec()).collect::<Vec<_>>();
        assert_eq!(lists(&diff), lists(&whole.into()));
    }

    /// From each beginning of an index, and with what is known of another one, the diff leads there.
    #[test]
    fn beginnings_are_added_to() {
        let index = DirIndex::from_records(records()).unwrap();
        let whole = LazyIndex::from(&index);
        let full = lazy(&LazyIndex::empty(), &whole);
        let firsts = &full.as_new().unwrap().firsts;
        let ends = [1, 2, 90, 95, 200, 500, index.records().len()];
        let beginnings = ends.map(|entries| whole.beginning(entries).unwrap());
        for pair in beginnings.windows(2) {
            let [old, new] = pair else { continue };
            let alike = LazyDiff::added_with(old, new, Some(firsts)).unwrap().unwrap();
            let diff = lazy(old, new);
            assert_eq!(alike.load().unwrap(), diff.load().unwrap());
            let diff = DiffIndex::from_bytes(diff.load().unwrap().to_bytes().unwrap()).unwrap();
            assert_eq!(diff.apply_to(&old.load().unwrap()).unwrap(), new.load().unwrap());
            let stored = diff.changes().iter().filter_map(Change::stored_content).count();
            let by_hand = DiffIndex::between(&old.load().unwrap(), &new.load().unwrap());
            let best = by_hand.changes().iter().filter_map(Change::stored_content).count();
            assert_eq!(stored, best, "nothing is stored twice");
        }
    }

    /// What was amended is stored as it is now, and the others as they were.
    #[test]
    fn an_amended_diff_leads_to_the_amended_tree() {
        let records = records();
        let index = DirIndex::from_records(records.clone()).unwrap();
        let diff = lazy(&LazyIndex::empty(), &(&index).into());
        let at = |path: &str| RelPath::new(path).unwrap();
        let amended = |path: &str, becomes: Option<Record>| {
            let path = at(path);
            let others = records.iter().filter(|record| record.entry.path != path).cloned();
            let now = DirIndex::from_records(others.chain(becomes)).unwrap();
            let diff = diff.amended(&(&now).into(), &HashSet::from([&path])).unwrap();
            (now, diff.map(|diff| diff.load().unwrap()))
        };
        for becomes in [Some("other"), Some("a 1"), Some("0"), Some(""), None] {
            let (now, diff) = amended("b/1", becomes.map(|content| file("b/1", content)));
            let diff = diff.unwrap();
            assert_eq!(diff.apply_to(&DirIndex::empty()).unwrap(), now, "{becomes:?}");
            let change = diff.get(&at("b/1"));
            let content = change.map(|change| &change.new.as_ref().unwrap().content);
            let expected =
                becomes.map(|it| if it.is_empty() { Content::Keep } else { Content::Whole });
            assert_eq!(content, expected.as_ref(), "{becomes:?}");
        }
        // Others have what it had.
        assert!(amended("a/0", Some(file("a/0", "other"))).1.is_none());
        assert!(amended("a/24", Some(file("a/24", "other"))).1.is_none());
    }
}
