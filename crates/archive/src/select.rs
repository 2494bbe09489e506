//! Single paths out of archives: the changes that have to do with them, found by the tables, and the bytes
//! that restoring them reads. Knows no tar header and no compression.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use diffindex::{Change, Content, DiffIndex};
use dirindex::{Node, RelPath};

use crate::archive::{Blocks, Opened};
use crate::body::Stored;
use crate::layout::Placed;
use crate::read::{Recipe, names};
use crate::squash::squash_by;
use crate::{Archive, DiffData, Error};

/// Some of an archive's changes, each with the place of its content if it has one.
type Changes = BTreeMap<RelPath, (Change, Option<Placed>)>;

/// What of an archive has to do with some paths, and which blocks were read to find it.
struct Found {
    changes: Changes,
    blocks: Vec<usize>,
}

/// Where something is to be in the end: at and below the paths that were asked for, around them, and at
/// what hard links among these name.
struct Wanted<'a> {
    paths: BTreeSet<&'a RelPath>,
    ends: BTreeSet<RelPath>,
}

impl Wanted<'_> {
    fn has(&self, path: &RelPath) -> bool {
        self.ends.contains(path) || with_above(path).any(|path| self.paths.contains(&path))
    }
}

impl Archive {
    /// The part of a full backup at and below `paths`: what brings them back, with the directories
    /// that they lie in and the files that hard links among them name. Reads the blocks that have
    /// these.
    ///
    /// What comes back has a diff of its own, from nothing to the tree of these paths, and can be
    /// applied as any.
    ///
    /// # Errors
    /// [`Error::NotFull`] for an increment, which cannot bring back anything by itself;
    /// [`Error::Missing`] for a path that is not in the archive; and as [`load`](Archive::load).
    pub fn select(&self, paths: &[RelPath]) -> Result<DiffData, Error> {
        Archive::select_chain(std::slice::from_ref(self), paths)
    }

    /// [`select`](Archive::select), of the tree that a row of archives leads to: the first of
    /// `archives` is a full backup, and each of the others starts from the tree that the one before it
    /// leads to. Reads, in each archive, the blocks that could say something of these paths, and of
    /// those that their contents were copied, moved or made from. It is what
    /// [squashing](DiffData::squash) all of them and [selecting](DiffData::select) from that gives.
    ///
    /// # Errors
    /// As [`select`](Archive::select); [`Error::Unlinked`] for archives that do not meet.
    pub fn select_chain(archives: &[Archive], paths: &[RelPath]) -> Result<DiffData, Error> {
        let (found, wanted) = find(archives, paths)?;
        select(archives, found, &wanted, paths)
    }

    /// Which bytes of the archive are read by opening it, [`select`](Archive::select)ing `paths` and
    /// restoring them, in order and without overlaps: for who has the archive far away, and fetches
    /// these alone. Of an increment: those that hold the changes and contents at and below `paths`.
    ///
    /// # Errors
    /// As [`load`](Archive::load).
    pub fn plan(&self, paths: &[RelPath]) -> Result<Vec<Range<u64>>, Error> {
        let (found, _) = find(std::slice::from_ref(self), paths)?;
        let spans = found.iter().flat_map(|found| found.changes.values());
        let spans = spans.filter_map(|(_, placed)| placed.map(|placed| placed.framed));
        let spans = spans.map(|body| body.span(0..body.len));
        let spans: Vec<Range<u64>> = spans.collect();
        Ok(found.iter().flat_map(|found| self.ranges(&found.blocks, &spans)).collect())
    }

    /// [`plan`](Archive::plan) for [`select_chain`](Archive::select_chain): for each of `archives`, which
    /// of its bytes are read.
    ///
    /// # Errors
    /// As [`select_chain`](Archive::select_chain).
    pub fn plan_chain(
        archives: &[Archive],
        paths: &[RelPath],
    ) -> Result<Vec<Vec<Range<u64>>>, Error> {
        let (found, wanted) = find(archives, paths)?;
        let blocks: Vec<Vec<usize>> = found.iter().map(|found| found.blocks.clone()).collect();
        let selected = select(archives, found, &wanted, paths)?;
        let bodies = || selected.contents.iter().flat_map(|recipe| &recipe.bodies);
        let plan = archives.iter().zip(blocks).map(|(archive, blocks)| {
            let own = bodies().filter(|body| Arc::ptr_eq(&body.archive.0, &archive.0));
            archive.ranges(&blocks, &own.map(Stored::span).collect::<Vec<_>>())
        });
        Ok(plan.collect())
    }

    /// The bytes that opening the archive and reading these blocks and parts of its stream takes.
    fn ranges(&self, blocks: &[usize], spans: &[Range<u64>]) -> Vec<Range<u64>> {
        let Opened { stream, layout, end, .. } = &*self.0;
        let blocks = blocks.iter().filter_map(|&number| layout.blocks.get(number));
        let spans = blocks.map(|block| &block.span).chain(spans);
        let mut ranges: Vec<_> = spans.map(|span| stream.archive_range(span.clone())).collect();
        ranges.push(end.clone());
        merged(ranges)
    }
}

/// What `paths` are after `archives`, of which `found` was found.
fn select(
    archives: &[Archive],
    found: Vec<Found>,
    wanted: &Wanted<'_>,
    paths: &[RelPath],
) -> Result<DiffData, Error> {
    if !archives.first().is_some_and(Archive::is_full) {
        return Err(Error::NotFull { archive: names(archives) });
    }
    let parts = archives.iter().zip(found).map(|(archive, found)| part(archive, found.changes));
    let parts = parts.collect::<Result<Vec<DiffData>, Error>>()?;
    // Of the other paths, not all of what became of them is known.
    squash_by(&parts, |diffs| DiffIndex::squash_at(diffs, |path| wanted.has(path)))?.select(paths)
}

/// Some changes of an archive's diff as one that names the same trees, though it does not lead from the
/// one to the other.
fn part(archive: &Archive, found: Changes) -> Result<DiffData, Error> {
    let (mut changes, mut contents) = (Vec::new(), Vec::new());
    for (change, placed) in found.into_values() {
        if let Some(placed) = placed {
            let bodies = vec![Stored::new(archive, &placed, &change)];
            contents.push(Recipe { change: changes.len(), bodies });
        }
        changes.push(change);
    }
    let diff = DiffIndex::from_changes(archive.base(), archive.result(), changes);
    let unusable = |source| Error::Diff { archive: archive.0.stream.name(), source };
    Ok(DiffData {
        archives: [archive.clone()].into(),
        diff: diff.map_err(unusable)?,
        contents: contents.into(),
        parts: Arc::default(),
    })
}

/// Of each archive, what has to do with what stands at, above and below `paths` after the last one, and
/// with what hard links among that name.
fn find<'a>(archives: &[Archive], paths: &'a [RelPath]) -> Result<(Vec<Found>, Wanted<'a>), Error> {
    let mut views: Vec<Blocks<'_>> =
        archives.iter().map(|archive| Blocks::new(&archive.0)).collect();
    let mut ends: BTreeSet<RelPath> = paths.iter().flat_map(with_above).collect();
    loop {
        let found = sweep(&mut views, paths, ends.clone())?;
        let changes = found.iter().flat_map(BTreeMap::values);
        let named = changes.filter_map(|(change, _)| match &change.new.as_ref()?.node {
            Node::HardLink { to } => Some(to),
            _ => None,
        });
        let before = ends.len();
        ends.extend(named.flat_map(with_above));
        if ends.len() == before {
            let found = found.into_iter().zip(&views);
            let found =
                found.map(|(changes, view)| Found { changes, blocks: view.numbers().collect() });
            let wanted = Wanted { paths: paths.iter().collect(), ends };
            return Ok((found.collect(), wanted));
        }
    }
}

/// The changes below `dirs` and at `needed`, the last archive's first; with them at the paths that their
/// contents are stored for, and in the archives before also at those that they were made from.
fn sweep(
    views: &mut [Blocks<'_>],
    dirs: &[RelPath],
    mut needed: BTreeSet<RelPath>,
) -> Result<Vec<Changes>, Error> {
    let mut all = Vec::with_capacity(views.len());
    for view in views.iter_mut().rev() {
        let mut found = Changes::new();
        for dir in dirs {
            view.below(dir, |change, placed| {
                found.insert(change.path.clone(), (change.clone(), placed));
            })?;
        }
        look(view, &needed, &mut found)?;
        let same = found.values().filter_map(|(change, _)| match &change.new.as_ref()?.content {
            Content::Same { path } => Some(path),
            _ => None,
        });
        let same: BTreeSet<RelPath> = same.cloned().collect();
        look(view, &same, &mut found)?;
        needed.extend(same);
        needed.extend(found.values().filter_map(
            |(change, _)| match &change.new.as_ref()?.content {
                Content::Copy { base } | Content::Delta { base, .. } => Some(base.clone()),
                Content::Keep | Content::Whole | Content::Same { .. } | Content::Tree { .. } => {
                    None
                }
            },
        ));
        all.push(found);
    }
    all.reverse();
    Ok(all)
}

/// Adds the changes at `paths` to those that were found.
fn look(
    view: &mut Blocks<'_>,
    paths: &BTreeSet<RelPath>,
    found: &mut Changes,
) -> Result<(), Error> {
    for path in paths {
        if !found.contains_key(path)
            && let Some(change) = view.at(path)?
        {
            found.insert(path.clone(), change);
        }
    }
    Ok(())
}

/// A path, and the directories that it lies in.
fn with_above(path: &RelPath) -> impl Iterator<Item = RelPath> {
    std::iter::successors(Some(path.clone()), RelPath::parent)
}

/// The same bytes in as few ranges as can be, in order.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
