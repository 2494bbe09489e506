//! What entries have to keep to be those of one tree, and the tree's id. Knows no file and no index.

use std::collections::HashSet;
use std::sync::Arc;

use container::{SectionError, codec};
use rayon::prelude::*;
use rsync_core::Digest;

use crate::entry::EntryRef;
use crate::{Error, Meta, Node, Record, RelPath, TreeId};

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

/// The id of the tree that has these entries, which are in path order, and the [hash](directory_hash) of each directory
/// below the top, in path order. It takes no index of them, so little memory.
///
/// # Errors
/// As [`DirIndex::from_records`](crate::DirIndex::from_records).
pub fn tree_hashes(entries: &[EntryRef<'_>]) -> Result<(TreeId, Vec<(RelPath, Digest)>), Error> {
    check(entries)?;
    let mut hasher = TreeHasher::default();
    hasher.add(&[entries])?;
    let (id, hashes) = hasher.finish();
    let dirs = entries.iter().filter(|entry| *entry.node == Node::Dir);
    Ok((id, dirs.map(|dir| dir.path.clone()).zip(hashes).collect()))
}

/// Sections that are encoded or decoded at a time: enough for all threads, and so few that little
/// more than the records themselves is held of a large index.
pub(crate) fn sections_at_once() -> usize {
    2 * rayon::current_num_threads()
}

/// The id of the tree that has these rows, which are in path order.
///
/// It is a Merkle tree: each directory has a hash over what is right in it, with the hashes of the directories among
/// that. So who changes a few entries of a large tree hashes a few directories ([`directory_hash`]).
pub(crate) fn id_of<T: Listed>(rows: &[T]) -> Result<TreeId, Error> {
    let mut hasher = TreeHasher::default();
    hasher.add(&[rows])?;
    Ok(hasher.finish().0)
}

/// So many rows at most are encoded and hashed by one thread.
const ROWS_PER_LIST: usize = 1024;

/// What a list of rows adds to the directories around them, in order.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    /// The hashes of the directories in the list, in path order. Of one that is not complete in it, there is none yet.
    dirs: Vec<Digest>,
}

enum Part {
    /// An entry, with its hash if it is a directory.
    Whole(RelPath, Vec<u8>),
    /// A directory of which more may follow, what is in it so far, and its number among those of the list.
    Begun(RelPath, Vec<u8>, Listing, usize),
}

fn parts_of<T: Listed>(rows: &[T]) -> Result<Parts, Error> {
    let Parts { mut parts, mut dirs } = Parts::default();
    // Each with its own encoding.
    let mut open: Vec<(&RelPath, Vec<u8>, Listing, usize)> = Vec::new();
    for EntryRef { path, node, meta } in rows.iter().map(T::entry) {
        while let Some((dir, mut bytes, listing, number)) =
            open.pop_if(|(dir, ..)| !path.is_below(dir))
        {
            let hash = listing.finish();
            if let Some(place) = dirs.get_mut(number) {
                *place = hash;
            }
            bytes.extend_from_slice(&hash.0);
            match open.last_mut() {
                Some((_, _, outer, _)) => outer.room().extend_from_slice(&bytes),
                None => parts.push(Part::Whole(dir.clone(), bytes)),
            }
        }
        match open.last_mut() {
            Some((_, _, dir, _)) if *node != Node::Dir => {
                encode_into(path.name(), node, meta, dir.room())?;
                continue;
            }
            _ => {}
        }
        let mut bytes = Vec::with_capacity(96);
        encode_into(path.name(), node, meta, &mut bytes)?;
        match node {
            Node::Dir => {
                open.push((path, bytes, Listing::default(), dirs.len()));
                dirs.push(Digest([0; 32]));
            }
            _ => parts.push(Part::Whole(path.clone(), bytes)),
        }
    }
    parts.extend(
        open.into_iter()
            .map(|(dir, bytes, listing, number)| Part::Begun(dir.clone(), bytes, listing, number)),
    );
    Ok(Parts { parts, dirs })
}

/// What stands right in a directory: its name there, and the hash of what is below it if it is a directory.
pub type Child<'a> = (&'a [u8], &'a Node, &'a Meta, Option<Digest>);

/// The hash of a directory that has these children, which are in the order of their names. That of the top directory is
/// the tree's id.
///
/// # Errors
/// [`Error::Sections`] for a child that cannot be encoded.
pub fn directory_hash<'a>(children: impl IntoIterator<Item = Child<'a>>) -> Result<Digest, Error> {
    let mut listing = Listing::default();
    for (name, node, meta, below) in children {
        let room = listing.room();
        encode_into(name, node, meta, room)?;
        room.extend_from_slice(below.as_ref().map_or(&[], |below| &below.0[..]));
    }
    Ok(listing.finish())
}

fn encode_into(name: &[u8], node: &Node, meta: &Meta, bytes: &mut Vec<u8>) -> Result<(), Error> {
    #[derive(serde::Serialize)]
    struct Row<'a>(#[serde(with = "crate::bytes")] &'a [u8], &'a Node, &'a Meta);
    Ok(codec::encode_into(&Row(name, node, meta), bytes).map_err(SectionError::Encode)?)
}

/// What the hash of a directory is made of.
struct Listing {
    /// Not hashed yet.
    pending: Vec<u8>,
    /// Of what was more than `pending` holds. Most directories are small, and of deeply nested ones there are many.
    hasher: Option<Box<blake3::Hasher>>,
}

/// As much of a directory is hashed at once.
const LISTING_LEN: usize = 64 << 10;
const LISTING_START: &[u8] = b"incremental-backups-tools directory 1\n";

impl Default for Listing {
    fn default() -> Listing {
        let mut pending = Vec::with_capacity(1 << 10);
        pending.extend_from_slice(LISTING_START);
        Listing { pending, hasher: None }
    }
}

impl Listing {
    /// Where more is to be appended.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.pending.len() >= LISTING_LEN {
            self.hasher.get_or_insert_default().update(&self.pending);
            self.pending.clear();
        }
        &mut self.pending
    }

    fn finish(self) -> Digest {
        match self.hasher {
            Some(mut hasher) => Digest(hasher.update(&self.pending).finalize().into()),
            None => Digest(blake3::hash(&self.pending).into()),
        }
    }
}

/// Hashes a tree, list by list in path order. However the rows are cut into lists, the id is the same.
#[derive(Default)]
pub(crate) struct TreeHasher {
    top: Listing,
    /// The directories that the last row lies in, outermost first, with their numbers.
    open: Vec<(RelPath, Listing, usize)>,
    /// The hashes of all directories, in path order.
    dirs: Vec<Digest>,
}

impl TreeHasher {
    /// The rows that follow, in several lists.
    pub(crate) fn add<T: Listed>(&mut self, rows: &[&[T]]) -> Result<(), Error> {
        self.add_in_lists(rows, ROWS_PER_LIST)
    }

    /// [`add`](TreeHasher::add), in lists of at most so many rows.
    fn add_in_lists<T: Listed>(&mut self, rows: &[&[T]], most: usize) -> Result<(), Error> {
        let cut = |rows| container::cut(rows, most, |row: &T| row.entry().weight());
        let lists: Vec<&[T]> = rows.iter().copied().flat_map(cut).collect();
        for lists in lists.chunks(sections_at_once() * 4) {
            let parts = lists.par_iter().map(|list| parts_of(list));
            for Parts { parts, mut dirs } in parts.collect::<Result<Vec<_>, Error>>()? {
                let before = self.dirs.len();
                self.dirs.append(&mut dirs);
                parts.into_iter().for_each(|part| self.add_part(part, before));
            }
        }
        Ok(())
    }

    /// A part of a list that has so many directories before it.
    fn add_part(&mut self, part: Part, before: usize) {
        let (Part::Whole(path, bytes) | Part::Begun(path, bytes, ..)) = &part;
        while self.open.last().is_some_and(|(dir, ..)| !path.is_below(dir)) {
            self.close();
        }
        self.innermost().room().extend_from_slice(bytes);
        if let Part::Begun(dir, _, listing, number) = part {
            self.open.push((dir, listing, before + number));
        }
    }

    fn innermost(&mut self) -> &mut Listing {
        self.open.last_mut().map_or(&mut self.top, |(_, listing, _)| listing)
    }

    fn close(&mut self) {
        if let Some((_, listing, number)) = self.open.pop() {
            let hash = listing.finish();
            if let Some(place) = self.dirs.get_mut(number) {
                *place = hash;
            }
            self.innermost().room().extend_from_slice(&hash.0);
        }
    }

    /// The id of the tree, and the hashes of its directories in path order.
    pub(crate) fn finish(mut self) -> (TreeId, Vec<Digest>) {
        while !self.open.is_empty() {
            self.close();
        }
        (TreeId(self.top.finish().0), self.dirs)
    }
}

/// Checks that `rows` can be the entries of one tree.
pub(crate) fn check<T: Listed>(rows: &[T]) -> Result<(), Error> {
    let mut checker = TreeChecker::default();
    checker.add(rows)?;
    let links = checker.links();
    let mut named = NamedFiles::of(&links);
    named.look(rows);
    named.check()
}

/// A hard link, and the file that it names.
pub(crate) type Link = (RelPath, RelPath);

/// Checks that rows can be the entries of one tree, list by list in path order. Whether the files are there that hard links
/// name, [`NamedFiles`] tells.
#[derive(Default)]
pub(crate) struct TreeChecker {
    /// The directories that the last row lies in, outermost first.
    open: Vec<RelPath>,
    last: Option<RelPath>,
    links: Vec<Link>,
}

impl TreeChecker {
    /// The rows that follow.
    pub(crate) fn add<T: Listed>(&mut self, rows: &[T]) -> Result<(), Error> {
        let last = self.last.take();
        let mut previous = last.as_ref();
        for row in rows {
            let EntryRef { path, node, meta } = row.entry();
            let fault = |problem| Error::Entry { path: path.clone(), problem };
            if previous.is_some_and(|previous| previous >= path) {
                return Err(fault("a path twice or out of order"));
            }
            previous = Some(path);
            while self.open.last().is_some_and(|dir| !path.is_below(dir)) {
                self.open.pop();
            }
            if self.open.last().map(RelPath::as_bytes) != path.parent_bytes() {
                return Err(fault("a path whose parent is not a directory"));
            }
            if let Some(problem) = node.broken_rule().or_else(|| meta.broken_rule()) {
                return Err(fault(problem));
            }
            if row.is_signed() && node.is_empty() {
                return Err(fault("a signature of no content"));
            }
            match node {
                Node::Dir => self.open.push(path.clone()),
                Node::HardLink { to } => self.links.push((path.clone(), to.clone())),
                _ => {}
            }
        }
        self.last = previous.cloned();
        Ok(())
    }

    /// The hard links that there were, in path order.
    pub(crate) fn links(self) -> Vec<Link> {
        self.links
    }
}

/// The files that hard links name: which of them are there.
pub(crate) struct NamedFiles<'a> {
    links: &'a [Link],
    wanted: HashSet<&'a RelPath>,
    found: HashSet<&'a RelPath>,
}

impl<'a> NamedFiles<'a> {
    pub(crate) fn of(links: &'a [Link]) -> NamedFiles<'a> {
        let wanted = links.iter().map(|(_, to)| to).collect();
        NamedFiles { links, wanted, found: HashSet::new() }
    }

    /// Looks for them among `rows`.
    pub(crate) fn look<T: Listed>(&mut self, rows: &[T]) {
        if self.wanted.is_empty() {
            return;
        }
        let files = rows.iter().map(T::entry).filter(|it| matches!(it.node, Node::File { .. }));
        self.found.extend(files.filter_map(|file| self.wanted.get(file.path).copied()));
    }

    /// That each link names a file before it.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.links.iter().find(|(path, to)| to >= path || !self.found.contains(to)) {
            None => Ok(()),
            Some((path, _)) => Err(broken_link(path)),
        }
    }
}

pub(crate) fn broken_link(path: &RelPath) -> Error {
    Error::Entry { path: path.clone(), problem: "a hard link to no file before it" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Time};

    /// The id is the same wherever the rows are cut, and it is that of the directories by themselves.
    #[test]
    fn cutting_changes_nothing() {
        let paths = [
            "a", "b", "b/1", "b/c", "b/c/2", "b/c/3", "b/d", "b/e", "b/e/f", "b/e/f/4", "g", "h",
            "h/5",
        ];
        let mtime = Time { secs: 1, nanos: 2 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = |at: &&str| {
            let is_dir =
                paths.iter().any(|other| other.starts_with(&format!("{at}/"))) || *at == "b/d";
            let node = if is_dir { Node::Dir } else { Node::Fifo };
            Entry { path: RelPath::new(*at).unwrap(), node, meta: meta.clone() }
        };
        let entries: Vec<Entry> = paths.iter().map(entry).collect();
        let rows: Vec<EntryRef<'_>> = entries.iter().map(Entry::borrowed).collect();
        let expected = TreeId(by_hand(&entries, None).0);
        let dirs = entries.iter().filter(|entry| entry.node == Node::Dir);
        let dirs: Vec<Digest> = dirs.map(|dir| by_hand(&entries, Some(&dir.path))).collect();
        for most in 1..=rows.len() {
            let mut hasher = TreeHasher::default();
            for rows in rows.chunks(most + 1) {
                hasher.add_in_lists(&[rows], most).unwrap();
            }
            assert_eq!(hasher.finish(), (expected, dirs.clone()), "{most} rows at once");
        }
    }

    fn by_hand(entries: &[Entry], dir: Option<&RelPath>) -> Digest {
        let right = entries.iter().filter(|entry| entry.path.parent().as_ref() == dir);
        let children = right.map(|Entry { path, node, meta }| {
            let below = (*node == Node::Dir).then(|| by_hand(entries, Some(path)));
            (path.name(), node, meta, below)
        });
        directory_hash(children).unwrap()
    }
}
