//! What entries have to keep to be those of one tree, and the tree's root. Knows no file and no index.

use std::collections::HashSet;
use std::sync::Arc;

use container::{SectionError, codec};
use rayon::prelude::*;

use crate::entry::EntryRef;
use crate::index::ROWS_PER_SECTION;
use crate::{Error, Node, Record, RelPath, Root};

/// Something that an entry lies in.
pub(crate) trait Listed: Sync {
    fn entry(&self) -> EntryRef<'_>;
    fn is_signed(&self) -> bool;
}

impl Listed for Arc<Record> {
    fn entry(&self) -> EntryRef<'_> {
        self.entry.borrowed()
    }

    fn is_signed(&self) -> bool {
        self.signature.is_some()
    }
}

impl Listed for EntryRef<'_> {
    fn entry(&self) -> EntryRef<'_> {
        *self
    }

    fn is_signed(&self) -> bool {
        false
    }
}

/// The root of the tree that has these entries, which are in path order. It takes no index of them, so little memory.
///
/// # Errors
/// As [`DirIndex::from_records`](crate::DirIndex::from_records).
pub fn tree_root(entries: &[EntryRef<'_>]) -> Result<Root, Error> {
    check(entries)?;
    root_of(entries)
}

/// Sections that are encoded or decoded at a time: enough for all threads, and so few that little
/// more than the records themselves is held of a large index.
pub(crate) fn sections_at_once() -> usize {
    2 * rayon::current_num_threads()
}

/// The root of rows that are in path order.
pub(crate) fn root_of<T: Listed>(rows: &[T]) -> Result<Root, Error> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"incremental-backups-tools root 1\n");
    let lists = container::cut(rows, ROWS_PER_SECTION / 4, |row| row.entry().weight());
    let lists: Vec<&[T]> = lists.collect();
    for lists in lists.chunks(sections_at_once() * 4) {
        let encode = |list: &&[T]| {
            let mut buffer = Vec::new();
            let encoded =
                list.iter().try_for_each(|row| codec::encode_into(&row.entry(), &mut buffer));
            encoded.map(|()| buffer).map_err(SectionError::Encode)
        };
        for encoded in lists.par_iter().map(encode).collect::<Result<Vec<Vec<u8>>, _>>()? {
            hasher.update(&encoded);
        }
    }
    Ok(Root(*hasher.finalize().as_bytes()))
}

/// Checks that `rows` can be the entries of one tree.
pub(crate) fn check<T: Listed>(rows: &[T]) -> Result<(), Error> {
    let mut open_dirs: Vec<&RelPath> = Vec::new();
    let mut links: Vec<(&RelPath, &RelPath)> = Vec::new();
    let mut previous: Option<&RelPath> = None;
    for row in rows {
        let EntryRef { path, node, meta } = row.entry();
        let fault = |problem| Error::Entry { path: path.clone(), problem };
        if previous.is_some_and(|previous| previous >= path) {
            return Err(fault("a path twice or out of order"));
        }
        previous = Some(path);
        while open_dirs.last().is_some_and(|dir| !path.is_below(dir)) {
            open_dirs.pop();
        }
        if open_dirs.last().map(|dir| dir.as_bytes()) != path.parent_bytes() {
            return Err(fault("a path whose parent is not a directory"));
        }
        if let Some(problem) = node.broken_rule().or_else(|| meta.broken_rule()) {
            return Err(fault(problem));
        }
        if row.is_signed() && node.is_empty() {
            return Err(fault("a signature of no content"));
        }
        match node {
            Node::Dir => open_dirs.push(path),
            Node::HardLink { to } => links.push((path, to)),
            _ => {}
        }
    }
    check_links(rows, &links)
}

fn check_links<T: Listed>(rows: &[T], links: &[(&RelPath, &RelPath)]) -> Result<(), Error> {
    if links.is_empty() {
        return Ok(());
    }
    let wanted: HashSet<&RelPath> = links.iter().map(|(_, to)| *to).collect();
    let is_wanted_file = |entry: &EntryRef<'_>| {
        matches!(entry.node, Node::File { .. }) && wanted.contains(entry.path)
    };
    let found: HashSet<&RelPath> =
        rows.iter().map(T::entry).filter(is_wanted_file).map(|entry| entry.path).collect();
    match links.iter().find(|(path, to)| to >= path || !found.contains(to)) {
        None => Ok(()),
        Some((path, _)) => {
            Err(Error::Entry { path: (*path).clone(), problem: "a hard link to no file before it" })
        }
    }
}
