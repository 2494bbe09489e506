//! Which file of the old tree a new content resembles, by signatures alone: the same blocks at the same places. It is an
//! estimate: only the size of a diff depends on it. Must not know deltas.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dirindex::{Record, RelPath};
use rsync_core::Shape;

/// No more than this much of each file's start is looked at, in blocks.
const BLOCKS: u64 = 16;
/// Of no more new files than this are the blocks held in memory; the others go by their names.
const MAX_FILES: usize = 20_000;
/// A block that more new files have says nothing.
const MAX_HOLDERS: usize = 8;
/// Without a block in common, a file of the same name is a base from this length on, if the lengths are
/// within a quarter of each other: an insertion near the start moves all blocks.
const MIN_BY_NAME: u64 = 4096;

/// A block: its length, and so much of its weak sum as the shortest ones have. A strong hash is bound to its file.
type Block = (u32, [u8; 6]);

/// For each of `wanted`, the file of the old tree to make its delta against, if one resembles it.
///
/// Looked at are the files that are gone (`gone`), and those that have the same name or lie in the same
/// directory as one that is wanted: a copy is seldom farther away, and no more of the old signatures is
/// read than that. At least a quarter of the blocks has to be shared.
pub(crate) fn bases<'a>(
    wanted: &[&'a Record],
    gone: &[&'a Record],
    old: &'a [Arc<Record>],
) -> HashMap<&'a RelPath, &'a Record> {
    let some = wanted.iter().take(MAX_FILES);
    let blocks: Vec<Vec<Block>> = some.map(|record| leading_blocks(record)).collect();
    let mut holders: HashMap<Block, Vec<usize>> = HashMap::new();
    for (number, blocks) in blocks.iter().enumerate() {
        for block in blocks {
            let holders = holders.entry(*block).or_default();
            if holders.len() < MAX_HOLDERS && !holders.contains(&number) {
                holders.push(number);
            }
        }
    }
    let mut best: Vec<Option<(usize, &'a Record)>> = vec![None; wanted.len()];
    // Those that are gone come first, and win where others have no more in common: moves are seen.
    for candidate in gone.iter().copied().chain(near(wanted, old)) {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for (at, block) in leading_blocks(candidate).iter().enumerate() {
            for &number in holders.get(block).into_iter().flatten() {
                let in_place = blocks.get(number).and_then(|blocks| blocks.get(at)) == Some(block);
                *shared.entry(number).or_default() += usize::from(in_place);
            }
        }
        for (number, count) in shared {
            let enough = blocks.get(number).is_some_and(|blocks| count * 4 >= blocks.len());
            if let Some(best) = best.get_mut(number)
                && enough
                && best.is_none_or(|(most, _)| count > most)
            {
                *best = Some((count, candidate));
            }
        }
    }
    let by_name = by_name(gone);
    let found = wanted.iter().zip(best).filter_map(|(&record, best)| {
        let base = best.map(|(_, base)| base).or_else(|| namesake(record, &by_name))?;
        Some((&record.entry.path, base))
    });
    found.collect()
}

/// Whether it has a block by which it may resemble another file.
pub(crate) fn has_full_blocks(record: &Record) -> bool {
    let signature = record.signature.as_ref();
    signature.is_some_and(|it| it.file_len() >= u64::from(it.shape().block_len))
}

/// Whether both have a block in common, at the same place.
pub(crate) fn share_a_block(old: &Record, new: &Record) -> bool {
    leading_blocks(old).iter().zip(leading_blocks(new)).any(|(old, new)| *old == new)
}

/// The files of `old` with the name, or in the directory, of one that is wanted.
fn near<'a>(wanted: &[&Record], old: &'a [Arc<Record>]) -> impl Iterator<Item = &'a Record> {
    let wanted = wanted.iter().copied().filter(|record| has_full_blocks(record));
    let neighbours: Neighbours = wanted.collect();
    old.iter().map(Arc::as_ref).filter(move |record| neighbours.has(record))
}

/// The files that have the name of one of some files, or lie in its directory.
pub(crate) struct Neighbours {
    names: HashSet<Vec<u8>>,
    dirs: HashSet<Vec<u8>>,
}

impl<'a> FromIterator<&'a Record> for Neighbours {
    fn from_iter<I: IntoIterator<Item = &'a Record>>(files: I) -> Neighbours {
        let (mut names, mut dirs) = (HashSet::new(), HashSet::new());
        for Record { entry, .. } in files {
            names.insert(entry.path.name().to_vec());
            dirs.insert(dir(&entry.path).to_vec());
        }
        Neighbours { names, dirs }
    }
}

impl Neighbours {
    /// Whether `record` is one of them. Without a signature it says nothing.
    pub(crate) fn has(&self, record: &Record) -> bool {
        let path = &record.entry.path;
        !self.names.is_empty()
            && record.signature.is_some()
            && (self.names.contains(path.name()) || self.dirs.contains(dir(path)))
    }
}

/// The bytes of a path up to its name.
fn dir(path: &RelPath) -> &[u8] {
    let bytes = path.as_bytes();
    bytes.get(..bytes.len() - path.name().len()).unwrap_or_default()
}

fn by_name<'a>(gone: &[&'a Record]) -> HashMap<&'a [u8], Vec<&'a Record>> {
    let mut by_name: HashMap<&[u8], Vec<&Record>> = HashMap::new();
    for &record in gone {
        by_name.entry(record.entry.path.name()).or_default().push(record);
    }
    by_name
}

/// The file of the same name, of those that are gone, that is nearest in length.
fn namesake<'a>(record: &Record, gone: &HashMap<&[u8], Vec<&'a Record>>) -> Option<&'a Record> {
    let len = record.entry.node.len();
    let apart = |other: &Record| other.entry.node.len().abs_diff(len);
    let others = gone.get(record.entry.path.name())?.iter().copied();
    let nearest = others.min_by_key(|other| apart(other))?;
    (len >= MIN_BY_NAME && apart(nearest) <= len / 4).then_some(nearest)
}

/// The full blocks that a file starts with. None when the signature cannot be read: then the file
/// resembles nothing, and who needs the signature will hear why.
fn leading_blocks(record: &Record) -> Vec<Block> {
    let Some(signature) = &record.signature else { return Vec::new() };
    let Shape { block_len, .. } = signature.shape();
    let full = (signature.file_len() / u64::from(block_len.max(1))).min(BLOCKS);
    let packed = signature.leading(full).unwrap_or_default();
    let sums = packed.chunks_exact(signature.bytes_per_block());
    sums.filter_map(|sums| Some((block_len, *sums.first_chunk()?))).collect()
}
