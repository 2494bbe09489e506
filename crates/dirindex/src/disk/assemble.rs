//! From the records of what was found to those of a tree: attributes of directories, and what could not be read. Touches no disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::unchanged::to_read_again;
use super::xattr::Attributes;
use crate::lazy::{Edit, Layers};
use crate::{Entry, Error, LazyIndex, Node, Problem, ProblemKind, Record, RelPath, Subtrees};

/// Gives directories their extended attributes; what could not be read of them is as `known` has it.
pub(crate) fn put_xattrs(
    layers: &mut Layers,
    dir_xattrs: BTreeMap<RelPath, Attributes>,
    known: Option<&LazyIndex>,
) -> Result<(), Error> {
    let mut edits = Vec::new();
    for (path, xattrs) in dir_xattrs {
        let Some(record) = layers.record(&path)?.filter(|it| it.entry.node == Node::Dir) else {
            continue;
        };
        let old = known.map_or(Ok(None), |known| known.record(&path))?;
        let old = old.as_deref().map(|old| &old.entry).filter(|old| old.node == Node::Dir);
        let xattrs = xattrs.or_old(old.map(|old| &old.meta.xattrs));
        if !xattrs.is_empty() {
            let mut record = Record::clone(&record);
            record.entry.meta.xattrs = xattrs.into();
            edits.push(Edit::Put(record.into()));
        }
    }
    layers.edit(edits)
}

/// Adds what `known` has of files that could not be read, and inside such directories.
pub(crate) fn keep_unreadable(
    layers: &mut Layers,
    problems: &[Problem],
    known: &LazyIndex,
) -> Result<(), Error> {
    let unreadable = problems.iter().filter(|problem| problem.kind == ProblemKind::Unreadable);
    let unreadable: Subtrees = unreadable.map(|problem| problem.path.clone()).collect();
    let mut there = Vec::new();
    for top in unreadable.tops() {
        known.layers().for_each_at(top, |record| {
            there.push(Arc::clone(record));
            Ok(())
        })?;
    }
    keep(layers, known, &there, |entry| unreadable.has(&entry.path))
}

/// Adds those of the records `there`, which `known` has, that are `wanted` and that `layers` do not have, each with its
/// own content: a hard link whose file has become another is a file from now on. What is added says
/// nothing that was not true of the path when it was looked at last: a file that was read early then was not read again since. All that
/// are wanted are `there`.
pub(crate) fn keep(
    layers: &mut Layers,
    known: &LazyIndex,
    there: &[Arc<Record>],
    wanted: impl Fn(&Entry) -> bool,
) -> Result<(), Error> {
    let is_kept = |entry: &Entry| -> Result<bool, Error> {
        Ok(wanted(entry) && layers.record(&entry.path)?.is_none())
    };
    // Where the content of a file is now, whose own path has another.
    let mut moved: HashMap<&RelPath, RelPath> = HashMap::new();
    let mut kept: Vec<Arc<Record>> = Vec::new();
    for record in there {
        if !is_kept(&record.entry)? {
            continue;
        }
        let Node::HardLink { to } = &record.entry.node else {
            kept.push(Arc::clone(record));
            continue;
        };
        let Some(file) = known.record(to)? else { continue };
        let path = &record.entry.path;
        let now = match moved.get(to) {
            Some(now) => Some(now.clone()),
            None => same_file(layers, &file)?,
        };
        if is_kept(&file.entry)? {
            kept.push(Arc::clone(record));
        } else if let Some(to) = now {
            kept.push(with_node(record, path, Node::HardLink { to }));
        } else {
            moved.insert(to, path.clone());
            kept.push(with_node(&file, path, file.entry.node.clone()));
        }
    }
    let put = |record: Arc<Record>| {
        let again = to_read_again(&record, known.remarks(), |_| true);
        Edit::Put(again.map_or(record, Arc::new))
    };
    layers.edit(kept.into_iter().map(put).collect())
}

/// The first name of the file that `layers` have where `file` was, if it is that file, unchanged.
fn same_file(layers: &Layers, file: &Record) -> Result<Option<RelPath>, Error> {
    let Some(mut found) = layers.record(&file.entry.path)? else { return Ok(None) };
    if let Node::HardLink { to } = &found.entry.node {
        let Some(named) = layers.record(to)? else { return Ok(None) };
        found = named;
    }
    let (now, then) = (&found.entry, &file.entry);
    Ok((now.node == then.node && now.meta == then.meta).then(|| now.path.clone()))
}

/// `record` as that of `path`, where `node` stands.
fn with_node(record: &Arc<Record>, path: &RelPath, node: Node) -> Arc<Record> {
    if record.entry.path == *path && record.entry.node == node {
        return Arc::clone(record);
    }
    let mut record = Record::clone(record);
    (record.entry.path, record.entry.node) = (path.clone(), node);
    record.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::walk::unreadable;
    use crate::{DirIndex, Meta, Time};
    use std::io;

    fn record(path: &str, node: Node) -> Arc<Record> {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o700, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = Entry { path: RelPath::new(path).unwrap(), node, meta };
        Record { entry, signature: None, fingerprint: None }.into()
    }

    fn paths(records: &[Arc<Record>]) -> Vec<String> {
        records.iter().map(|record| record.entry.path.to_string()).collect()
    }

    #[test]
    fn a_record_is_small() {
        // With its two counters one of 176 bytes: a million files are held in 256 MiB.
        assert!(size_of::<Record>() <= 152);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_deleted() {
        let known = ["closed", "closed/in", "closed/in/deep", "gone", "open"];
        let old = known.map(|path| record(path, Node::Dir));
        let found = ["closed", "open"].map(|path| record(path, Node::Dir)).into();
        let closed = RelPath::new("closed").unwrap();
        let denied = unreadable(closed, &io::Error::from_raw_os_error(13));
        assert_eq!(denied.detail, "Permission denied");
        let found = with_unreadable(old.into(), found, denied);
        assert_eq!(paths(&found), ["closed", "closed/in", "closed/in/deep", "open"]);
    }

    #[test]
    fn a_file_held_back_is_as_it_was_before() {
        let file = |path, byte: u8| {
            let digest = rsync_core::Digest::of(&[byte]);
            record(path, Node::File { len: 1, digest })
        };
        let to = |path| Node::HardLink { to: RelPath::new(path).unwrap() };
        let previous = DirIndex::from_records(vec![file("hot", 1)]).unwrap();
        let index = [file("hot", 2), file("new", 3), record("newer", to("new"))];
        let index = DirIndex::from_records(index).unwrap();
        let [hot, new] = ["hot", "new"].map(|path| RelPath::new(path).unwrap());
        let (index, previous) = (LazyIndex::from(index), LazyIndex::from(previous));
        let held = index.hold_back(&hot, &previous).unwrap().hold_back(&new, &previous).unwrap();
        assert_eq!(held.tree_id(), previous.tree_id());
        let named: Vec<&RelPath> = held.problems().iter().map(|problem| &problem.path).collect();
        assert_eq!(named, [&hot, &new, &RelPath::new("newer").unwrap()]);
    }

    fn file(path: &str, byte: u8) -> Arc<Record> {
        let digest = rsync_core::Digest::of(&[byte]);
        record(path, Node::File { len: 1, digest })
    }

    fn link(path: &str, to: &str) -> Arc<Record> {
        record(path, Node::HardLink { to: RelPath::new(to).unwrap() })
    }

    /// What `old`, of which what is in `z` cannot be read, leaves in `found`.
    fn kept(old: Vec<Arc<Record>>, mut found: Vec<Arc<Record>>) -> Vec<Arc<Record>> {
        let z = RelPath::new("z").unwrap();
        found.push(record("z", Node::Dir));
        let denied = unreadable(z, &io::Error::from_raw_os_error(13));
        let kept = with_unreadable(old, found, denied);
        DirIndex::from_records(kept).unwrap().records().to_vec()
    }

    /// `found`, and what `old` has of what could not be read.
    fn with_unreadable(
        old: Vec<Arc<Record>>,
        found: Vec<Arc<Record>>,
        problem: Problem,
    ) -> Vec<Arc<Record>> {
        let previous = LazyIndex::from(DirIndex::from_records(old).unwrap());
        let mut layers = layers_of(found);
        keep_unreadable(&mut layers, &[problem], &previous).unwrap();
        records_of(&layers)
    }

    fn layers_of(records: Vec<Arc<Record>>) -> Layers {
        let mut layers = Layers::of_memory(&Arc::default());
        layers.edit(records.into_iter().map(Edit::Put).collect()).unwrap();
        layers
    }

    fn records_of(layers: &Layers) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        let mut each = |chunk: &[Arc<Record>]| {
            records.extend_from_slice(chunk);
            Ok(())
        };
        layers.for_each_chunk(&mut each).unwrap();
        records
    }

    fn nodes(records: Vec<Arc<Record>>) -> Vec<(String, Node)> {
        let node = |r: &Arc<Record>| (r.entry.path.to_string(), r.entry.node.clone());
        records.iter().map(node).collect()
    }

    #[test]
    fn a_link_that_cannot_be_looked_at_keeps_the_content_it_had() {
        let dir = || record("z", Node::Dir);
        let old = || vec![file("a", 1), dir(), link("z/b", "a"), link("z/c", "a")];
        // Its first name is another file now, gone, or no file: the content lives on below.
        let alone = |found: Vec<Arc<Record>>| {
            let mut expected = found.clone();
            expected.extend([dir(), file("z/b", 1), link("z/c", "z/b")]);
            assert_eq!(nodes(kept(old(), found)), nodes(expected));
        };
        alone(vec![file("a", 2)]);
        alone(vec![]);
        alone(vec![record("a", Node::Fifo)]);
        alone(vec![file("A", 2), link("a", "A")]);
        // It is the same file, by this name or another.
        let same = kept(old(), vec![file("a", 1)]);
        assert_eq!(nodes(same), nodes(old()));
        let renamed = kept(old(), vec![file("A", 1), link("a", "A")]);
        let links = [dir(), link("z/b", "A"), link("z/c", "A")];
        let expected: Vec<_> = [file("A", 1), link("a", "A")].into_iter().chain(links).collect();
        assert_eq!(nodes(renamed), nodes(expected));
        // All names are out of sight.
        let hidden = || vec![dir(), file("z/a", 1), link("z/b", "z/a")];
        assert_eq!(nodes(kept(hidden(), vec![])), nodes(hidden()));
    }

    #[test]
    fn a_name_held_back_keeps_its_own_content() {
        let previous = DirIndex::from_records(vec![file("a", 1), file("b", 2)]).unwrap();
        let index = DirIndex::from_records(vec![file("a", 3), link("b", "a")]).unwrap();
        let (index, previous) = (LazyIndex::from(index), LazyIndex::from(previous));
        let held = index.hold_back(&RelPath::new("a").unwrap(), &previous).unwrap();
        assert_eq!(held.tree_id(), previous.tree_id());
    }

    #[test]
    fn what_lost_its_directory_or_its_file_is_dropped() {
        let to = |path| Node::HardLink { to: RelPath::new(path).unwrap() };
        let found = vec![
            record("a", Node::Fifo),
            record("a/b", Node::Dir),
            record("a/b/c", Node::Fifo),
            record("d", to("a")),
            record("e", Node::Dir),
            record("e/f", to("vanished")),
        ];
        let (left, ..) = crate::lazy::settled(layers_of(found)).unwrap();
        assert_eq!(paths(&records_of(&left)), ["a", "e"]);
    }
}
