//! From the records of what was found to the index of a tree: order, links, and what a changing tree
//! left without what it needs. Touches no disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::xattr::Attributes;
use crate::tree::check;
use crate::{DirIndex, Entry, Error, Node, Problem, ProblemKind, Record, RelPath, Subtrees};

/// The index of what was found, which is in path order.
pub(crate) fn index_of(
    mut records: Vec<Arc<Record>>,
    problems: Vec<Problem>,
    excluded: Vec<RelPath>,
) -> Result<DirIndex, Error> {
    drop_orphans(&mut records)?;
    fill_links(&mut records);
    Ok(DirIndex::from_checked(records)?.with_problems(problems).with_excluded(excluded))
}

/// Puts lists of records, each from one directory, in path order: a directory is followed by what is
/// in it. What lies in no directory that is there is left out.
pub(crate) fn in_path_order(lists: impl Iterator<Item = Vec<Arc<Record>>>) -> Vec<Arc<Record>> {
    let mut inside: HashMap<Box<[u8]>, Vec<Arc<Record>>> = HashMap::new();
    let mut total = 0;
    for mut list in lists {
        total += list.len();
        let Some(first) = list.first() else { continue };
        let dir = first.entry.path.parent_bytes().unwrap_or_default();
        match inside.get_mut(dir) {
            Some(others) => others.append(&mut list),
            None => drop(inside.insert(dir.into(), list)),
        }
    }
    inside.par_iter_mut().for_each(|(_, list)| {
        list.sort_unstable_by(|a, b| a.entry.path.as_bytes().cmp(b.entry.path.as_bytes()));
        // A directory that changes while it is listed may give a name twice.
        list.dedup_by(|a, b| a.entry.path == b.entry.path);
    });
    let mut ordered = Vec::with_capacity(total);
    let mut open = vec![inside.remove(&[][..]).unwrap_or_default().into_iter()];
    while let Some(list) = open.last_mut() {
        let Some(record) = list.next() else {
            open.pop();
            continue;
        };
        if record.entry.node == Node::Dir
            && let Some(list) = inside.remove(record.entry.path.as_bytes())
        {
            open.push(list.into_iter());
        }
        ordered.push(record);
    }
    ordered
}

fn position(records: &[Arc<Record>], path: &RelPath) -> Option<usize> {
    records.binary_search_by(|record| record.entry.path.cmp(path)).ok()
}

/// Gives directories their extended attributes; what could not be read of them is as `known` has it.
pub(crate) fn put_xattrs(
    records: &mut [Arc<Record>],
    dir_xattrs: BTreeMap<RelPath, Attributes>,
    known: Option<&DirIndex>,
) {
    for (path, xattrs) in dir_xattrs {
        let Some(record) = position(records, &path).and_then(|at| records.get_mut(at)) else {
            continue;
        };
        let old = known.and_then(|known| known.get(&path)).filter(|old| old.node == Node::Dir);
        let xattrs = xattrs.or_old(old.map(|old| &old.meta.xattrs));
        if record.entry.node == Node::Dir && !xattrs.is_empty() {
            Arc::make_mut(record).entry.meta.xattrs = xattrs.into();
        }
    }
}

/// Adds what `known` has of files that could not be read, and inside such directories.
pub(crate) fn keep_unreadable(
    records: &mut Vec<Arc<Record>>,
    problems: &[Problem],
    known: &DirIndex,
) {
    let unreadable = problems.iter().filter(|problem| problem.kind == ProblemKind::Unreadable);
    let unreadable: Subtrees = unreadable.map(|problem| problem.path.clone()).collect();
    keep(records, known, |entry| unreadable.has(&entry.path));
}

/// Adds what `known` has at the paths that are `wanted` and that `records` do not have, each with its
/// own content: a hard link whose file has become another is a file from now on. What is added says
/// nothing that was not true of the path when it was looked at last.
pub(crate) fn keep(
    records: &mut Vec<Arc<Record>>,
    known: &DirIndex,
    wanted: impl Fn(&Entry) -> bool,
) {
    let is_kept = |entry: &Entry| wanted(entry) && position(records, &entry.path).is_none();
    // Where the content of a file is now, whose own path has another.
    let mut moved: HashMap<&RelPath, RelPath> = HashMap::new();
    let mut kept: Vec<Arc<Record>> = Vec::new();
    for record in known.records().iter().filter(|record| is_kept(&record.entry)) {
        let Node::HardLink { to } = &record.entry.node else {
            kept.push(Arc::clone(record));
            continue;
        };
        let Some(file) = known.shared(to) else { continue };
        let path = &record.entry.path;
        if is_kept(&file.entry) {
            kept.push(Arc::clone(record));
        } else if let Some(to) = moved.get(to).cloned().or_else(|| same_file(records, file)) {
            kept.push(with_node(record, path, Node::HardLink { to }));
        } else {
            moved.insert(to, path.clone());
            kept.push(with_node(file, path, file.entry.node.clone()));
        }
    }
    if !kept.is_empty() {
        records.extend(kept);
        records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
    }
}

/// The first name of the file that `records` have where `file` was, if it is that file, unchanged.
fn same_file(records: &[Arc<Record>], file: &Record) -> Option<RelPath> {
    let at = |path| position(records, path).and_then(|at| records.get(at));
    let mut found = at(&file.entry.path)?;
    if let Node::HardLink { to } = &found.entry.node {
        found = at(to)?;
    }
    let (now, then) = (&found.entry, &file.entry);
    (now.node == then.node && now.meta == then.meta).then(|| now.path.clone())
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

/// Gives hard links the metadata of the files they name.
fn fill_links(records: &mut [Arc<Record>]) {
    for at in 0..records.len() {
        let Some(Node::HardLink { to }) = records.get(at).map(|record| &record.entry.node) else {
            continue;
        };
        let named = position(records, to).and_then(|named| records.get(named));
        let meta = named.map(|named| named.entry.meta.clone());
        if let (Some(meta), Some(link)) = (meta, records.get_mut(at))
            && link.entry.meta != meta
        {
            Arc::make_mut(link).entry.meta = meta;
        }
    }
}

/// Removes what a changing tree left without what it needs: entries whose directory vanished
/// while it was scanned, hard links whose first name did. What is left is the index of a tree.
fn drop_orphans(records: &mut Vec<Arc<Record>>) -> Result<(), Error> {
    while let Err(fault) = check(records) {
        let nodes: HashMap<&RelPath, &Node> =
            records.iter().map(|record| (&record.entry.path, &record.entry.node)).collect();
        let is_orphan = |entry: &Entry| {
            let homeless =
                entry.path.parent().is_some_and(|dir| nodes.get(&dir) != Some(&&Node::Dir));
            let unnamed = match &entry.node {
                Node::HardLink { to } => !matches!(nodes.get(to), Some(Node::File { .. })),
                _ => false,
            };
            homeless || unnamed
        };
        let orphans: Vec<bool> = records.iter().map(|record| is_orphan(&record.entry)).collect();
        if !orphans.contains(&true) {
            return Err(fault);
        }
        let mut orphans = orphans.into_iter();
        records.retain(|_| !orphans.next().unwrap_or(false));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::walk::unreadable;
    use crate::{Meta, Time};
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
        let previous = DirIndex::from_records(old).unwrap();
        let mut found: Vec<Arc<Record>> =
            ["closed", "open"].map(|path| record(path, Node::Dir)).into();
        let closed = RelPath::new("closed").unwrap();
        let denied = unreadable(closed, &io::Error::from_raw_os_error(13));
        assert_eq!(denied.detail, "Permission denied");
        keep_unreadable(&mut found, &[denied], &previous);
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
        let held = index.hold_back(&hot, &previous).unwrap().hold_back(&new, &previous).unwrap();
        assert_eq!(held, previous);
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
        let previous = DirIndex::from_records(old).unwrap();
        let z = RelPath::new("z").unwrap();
        found.push(record("z", Node::Dir));
        let denied = unreadable(z, &io::Error::from_raw_os_error(13));
        keep_unreadable(&mut found, &[denied], &previous);
        DirIndex::from_records(found).unwrap().records().to_vec()
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
        let held = index.hold_back(&RelPath::new("a").unwrap(), &previous).unwrap();
        assert_eq!(held, previous);
    }

    #[test]
    fn what_lost_its_directory_or_its_file_is_dropped() {
        let to = |path| Node::HardLink { to: RelPath::new(path).unwrap() };
        let mut found = vec![
            record("a", Node::Fifo),
            record("a/b", Node::Dir),
            record("a/b/c", Node::Fifo),
            record("d", to("a")),
            record("e", Node::Dir),
            record("e/f", to("vanished")),
        ];
        drop_orphans(&mut found).unwrap();
        assert_eq!(paths(&found), ["a", "e"]);
    }
}
