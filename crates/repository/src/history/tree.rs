//! [`Tree`]: what stands in a snapshot. What a full backup brought stays in its archives; in memory is what was changed since. Must not
//! know what becomes of it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use archive::LazyData;
use diffindex::{Change, ChangeList, Content, NewEntry};
use dirindex::{Meta, Node, RelPath};

use crate::chains::Skipped;
use crate::store::ArchiveName;

/// What stands at a path.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) node: Node,
    pub(super) meta: Meta,
    pub(super) content: Content,
}

impl Standing {
    pub(super) fn of(NewEntry { node, meta, content, .. }: &NewEntry) -> Arc<Standing> {
        let (node, meta, content) = (node.clone(), meta.clone(), content.clone());
        Arc::new(Standing { node, meta, content })
    }
}

/// All that stands in a snapshot, as far as it is known.
///
/// Whoever asks may hear of an archive that cannot be read any more.
#[derive(Clone, Default)]
pub(super) struct Tree {
    /// A full backup, and archives that each only add what lies behind the last path of the one before it.
    first: Arc<Vec<Part>>,
    /// What stands at other paths, and where there is none of what the first archives brought.
    changed: BTreeMap<RelPath, Option<Arc<Standing>>>,
    /// The block that was read last: the number of its part, and its own.
    last: Option<(usize, usize, ChangeList)>,
}

#[derive(Clone)]
struct Part {
    name: ArchiveName,
    data: LazyData,
}

/// An archive that adds fewer paths than one in so many does not become one of the first ones, of which there are so only a few.
const SHARE: u64 = 8;

type Result<T> = std::result::Result<T, Box<Skipped>>;

impl Tree {
    /// Whether [`add`](Tree::add) takes in what an archive says.
    pub(super) fn can_add(&self, data: &LazyData) -> bool {
        let stored = data.stored();
        if !stored.only_adds() {
            return false;
        }
        let Some(end) = self.end() else {
            return self.changed.is_empty() && data.archive().is_full();
        };
        let before: u64 = self.first.iter().map(|part| part.data.stored().len()).sum();
        let is_much = stored.len().saturating_mul(SHARE) >= before;
        let behind = (Bound::Excluded(end), Bound::Unbounded);
        let is_behind = stored.first_path(0).is_some_and(|first| first > end);
        is_much && is_behind && self.changed.range::<RelPath, _>(behind).next().is_none()
    }

    /// Adds what an archive says. It stays there.
    pub(super) fn add(&mut self, name: ArchiveName, data: LazyData) {
        Arc::make_mut(&mut self.first).push(Part { name, data });
    }

    /// The last path that the first archives have.
    fn end(&self) -> Option<&RelPath> {
        self.first.iter().rev().find_map(|part| part.data.stored().last_path())
    }

    /// What stands at `path`.
    pub(super) fn get(&mut self, path: &RelPath) -> Result<Option<Arc<Standing>>> {
        if let Some(known) = self.changed.get(path) {
            return Ok(known.clone());
        }
        let Some((part, block)) = self.place_of(path) else { return Ok(None) };
        let Some(list) = self.list(part, block)? else { return Ok(None) };
        let found = list.binary_search_by(|change| change.path.cmp(path)).ok();
        Ok(found.and_then(|at| list.get(at)?.new.as_ref()).map(Standing::of))
    }

    /// How many bytes the file has that stands there, or that a hard link there names.
    pub(super) fn len_of(&mut self, standing: &Standing) -> Result<Option<u64>> {
        Ok(match &standing.node {
            Node::File { len, .. } => Some(*len),
            Node::HardLink { to } => self.get(to)?.map(|file| file.node.len()),
            _ => None,
        })
    }

    /// Whether something stood at `path` that was removed.
    pub(super) fn is_removed(&self, path: &RelPath) -> bool {
        matches!(self.changed.get(path), Some(None))
    }

    pub(super) fn insert(&mut self, path: RelPath, standing: Arc<Standing>) {
        self.changed.insert(path, Some(standing));
    }

    pub(super) fn remove(&mut self, path: &RelPath) {
        self.changed.insert(path.clone(), None);
    }

    /// What stands below `dir`.
    pub(super) fn below(&mut self, dir: &RelPath) -> Result<Vec<(RelPath, Arc<Standing>)>> {
        let after = (Bound::Excluded(dir), Bound::Unbounded);
        let after = self.changed.range::<RelPath, _>(after);
        let changed = after.take_while(|(path, _)| path.is_below(dir));
        let changed =
            changed.filter_map(|(path, it)| Some((path.clone(), Arc::clone(it.as_ref()?))));
        let mut below: Vec<(RelPath, Arc<Standing>)> = changed.collect();
        let (mut part, mut block) = self.place_of(dir).unwrap_or_default();
        while part < self.first.len() {
            let Some(list) = self.list(part, block)? else {
                (part, block) = (part + 1, 0);
                continue;
            };
            let start = list.partition_point(|change| change.path <= *dir);
            let list = list.get(start..).unwrap_or_default();
            let inside = list.iter().take_while(|change| change.path.is_below(dir));
            let first = inside.filter(|change| !self.changed.contains_key(&change.path));
            below.extend(
                first.filter_map(|it| Some((it.path.clone(), Standing::of(it.new.as_ref()?)))),
            );
            if list.last().is_some_and(|last| !last.path.is_below(dir)) {
                break;
            }
            block += 1;
        }
        Ok(below)
    }

    /// Shows what stands at the paths that are `wanted`, in no order.
    pub(super) fn for_each_of(
        &self,
        wanted: impl Fn(&RelPath) -> bool,
        mut each: impl FnMut(&RelPath, Arc<Standing>),
    ) -> Result<()> {
        for (path, standing) in self.changed.iter().filter(|(path, _)| wanted(path)) {
            standing.iter().for_each(|standing| each(path, Arc::clone(standing)));
        }
        for Part { name, data } in self.first.iter() {
            for list in data.changes() {
                let list = list.map_err(|error| failed(name, error))?;
                for Change { path, new, .. } in list.iter().filter(|change| wanted(&change.path)) {
                    let stays = new.as_ref().filter(|_| !self.changed.contains_key(path));
                    stays.map(Standing::of).into_iter().for_each(|standing| each(path, standing));
                }
            }
        }
        Ok(())
    }

    /// Where in the first archives `path` would be: the number of the part, and of the block.
    fn place_of(&self, path: &RelPath) -> Option<(usize, usize)> {
        let begins = |part: &Part| part.data.stored().first_path(0).is_none_or(|it| it <= path);
        let part = self.first.partition_point(begins).checked_sub(1)?;
        Some((part, self.first.get(part)?.data.stored().block_of(path)?))
    }

    /// The changes of a block, if there is such a one.
    fn list(&mut self, part: usize, block: usize) -> Result<Option<ChangeList>> {
        let is_last = |it: &&(usize, usize, ChangeList)| (it.0, it.1) == (part, block);
        if let Some((_, _, list)) = self.last.as_ref().filter(is_last) {
            return Ok(Some(list.clone()));
        }
        let Some(Part { name, data }) = self.first.get(part) else { return Ok(None) };
        if block >= data.stored().blocks() {
            return Ok(None);
        }
        let list = data.stored().block(block);
        let list = list.map_err(|error| failed(name, data.unreadable(error)))?;
        self.last = Some((part, block, list.clone()));
        Ok(Some(list))
    }
}

fn failed(name: &ArchiveName, error: archive::Error) -> Box<Skipped> {
    Box::new(Skipped { archive: *name, error: error.into() })
}

#[cfg(test)]
mod tests {
    use archive::{Archive, ArchiveOptions, DiffData, Format};
    use diffindex::LazyDiff;
    use dirindex::{Dir, DirIndex, Entry, Record, Time};

    use super::*;
    use crate::store::SnapshotId;

    /// So many that they are in several blocks.
    const PATHS: u32 = 6_000;

    fn path(number: u32) -> RelPath {
        let text = match number % 100 {
            0 => format!("{:02}", number / 100),
            _ => format!("{:02}/{number}", number / 100),
        };
        RelPath::new(text).unwrap()
    }

    fn entry(number: u32) -> Entry {
        let node = if number.is_multiple_of(100) { Node::Dir } else { Node::Fifo };
        let mtime = Time { secs: number.into(), nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        Entry { path: path(number), node, meta }
    }

    fn name(since: Option<i64>, to: i64) -> ArchiveName {
        let id = |secs| SnapshotId::from_secs(secs).unwrap();
        let (to, since) = (id(to), since.map(id));
        ArchiveName { to, since, clock: None, format: Format::Zstd, checkpoint: false }
    }

    /// Archives that add the first half of the entries, and the second.
    fn halves() -> [(ArchiveName, LazyData); 2] {
        let index = |count| {
            let entries = (0..count).map(entry);
            let records = entries.map(|entry| Record { entry, signature: None, fingerprint: None });
            DirIndex::from_records(records).unwrap()
        };
        let (empty, half, all) = (DirIndex::empty(), index(PATHS / 2), index(PATHS));
        let temp = testing::fast_tempdir();
        let dir = Dir::new(temp.path()).unwrap();
        let data = |old: &DirIndex, new: &DirIndex, name: ArchiveName| {
            let diff = LazyDiff::between(&old.into(), &new.into()).unwrap();
            let mut bytes = Vec::new();
            let options = ArchiveOptions { format: Some(Format::Zstd), ..Default::default() };
            DiffData::write(&dir, old, diff, &mut bytes, &options).unwrap();
            let archive = Archive::from_source(bytes, name.to_string()).unwrap();
            let data = LazyData::open(&archive).unwrap();
            data.stored().let_go();
            (name, data)
        };
        [data(&empty, &half, name(None, 1)), data(&half, &all, name(Some(1), 2))]
    }

    fn times(tree: &mut Tree, numbers: impl Iterator<Item = u32>) -> Vec<Option<i64>> {
        let found = numbers.map(|number| tree.get(&path(number)).unwrap());
        found.map(|it| it.map(|it| it.meta.mtime.secs)).collect()
    }

    /// Promise: a tree that stays in its archives is that which they lead to, with what changed since.
    #[test]
    fn what_was_added_stays_in_its_archives() {
        let [first, second] = halves();
        let mut tree = Tree::default();
        assert!(!tree.can_add(&second.1));
        for (name, data) in [first.clone(), second.clone()] {
            assert!(tree.can_add(&data));
            tree.add(name, data);
        }
        assert!(!tree.can_add(&first.1) && !tree.can_add(&second.1));
        let mut expected: BTreeMap<RelPath, i64> =
            (0..PATHS).map(|number| (path(number), number.into())).collect();
        for number in (0..PATHS).step_by(7) {
            match number % 2 {
                0 => {
                    tree.remove(&path(number));
                    expected.remove(&path(number));
                }
                _ => {
                    let mut standing = (*tree.get(&path(number)).unwrap().unwrap()).clone();
                    standing.meta.mtime.secs = -1;
                    tree.insert(path(number), standing.into());
                    expected.insert(path(number), -1);
                }
            }
        }
        let found = times(&mut tree, 0..PATHS + 100);
        let known = (0..PATHS + 100).map(|number| expected.get(&path(number)).copied());
        assert!(found.into_iter().eq(known));
        let mut all = BTreeMap::new();
        let mut add =
            |path: &RelPath, it: Arc<Standing>| all.insert(path.clone(), it.meta.mtime.secs);
        tree.for_each_of(|_| true, |path, it| assert!(add(path, it).is_none())).unwrap();
        assert_eq!(all, expected);
        for dir in (0..PATHS + 100).step_by(100).map(path) {
            let mut below = tree.below(&dir).unwrap();
            below.sort_by(|a, b| a.0.cmp(&b.0));
            let below = below.iter().map(|(path, it)| (path, it.meta.mtime.secs));
            let known = expected.iter().filter(|(path, _)| path.is_below(&dir));
            assert!(below.eq(known.map(|(path, secs)| (path, *secs))), "{dir}");
        }
    }
}
