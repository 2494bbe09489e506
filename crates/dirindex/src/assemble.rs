//! From the records of what was found to the index of a tree: order, links, and what a changing tree
//! left without what it needs. Touches no disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use crate::index::check;
use crate::{DirIndex, Entry, Error, Node, Problem, ProblemKind, Record, RelPath, Subtrees, Xattr};

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

pub(crate) fn put_xattrs(records: &mut [Arc<Record>], dir_xattrs: BTreeMap<RelPath, Vec<Xattr>>) {
    for (path, xattrs) in dir_xattrs {
        if let Some(record) = position(records, &path).and_then(|at| records.get_mut(at)) {
            Arc::make_mut(record).entry.meta.xattrs = xattrs.into();
        }
    }
}

/// Adds what `previous` has of files that could not be read, and inside such directories.
pub(crate) fn keep_unreadable(
    records: &mut Vec<Arc<Record>>,
    problems: &[Problem],
    previous: &DirIndex,
) {
    let unreadable = problems.iter().filter(|problem| problem.kind == ProblemKind::Unreadable);
    let unreadable: Subtrees = unreadable.map(|problem| problem.path.clone()).collect();
    let missing = |path: &RelPath| position(records, path).is_none();
    let old = previous.records().iter();
    let kept =
        old.filter(|record| unreadable.has(&record.entry.path) && missing(&record.entry.path));
    let kept: Vec<Arc<Record>> = kept.cloned().collect();
    records.extend(kept);
    records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
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
    use crate::walk::unreadable;
    use crate::{Meta, Time};
    use std::io;

    fn record(path: &str, node: Node) -> Arc<Record> {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o700, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = Entry { path: RelPath::new(path).unwrap(), node, meta };
        Record { entry, signature: None, trust: None }.into()
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
        assert_eq!(named, [&hot, &new]);
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
