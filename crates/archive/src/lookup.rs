//! Single paths out of archives: the changes that have to do with them, found by the tables, and the bytes
//! that restoring them reads. Knows no tar header and no compression.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use diffindex::{Change, Content, DiffIndex, MovedTree};
use dirindex::{Node, PathSlice, RelPath, Subtrees};

use crate::archive::{Blocks, Listed, Opened};
use crate::diff_data::Composition;
use crate::limits::{self, check_chain};
use crate::stored::Stored;
use crate::{Archive, DiffData, Error, Snapshot};

/// Some of an archive's changes, each with the place of its content if it has one.
type Changes = BTreeMap<RelPath, Arc<Listed>>;

/// What of an archive has to do with some paths, and which blocks were read to find it.
struct Found {
    changes: Changes,
    blocks: Vec<usize>,
}

impl Snapshot {
    /// The part at and below `paths` of the snapshot after `archives`, as [`select`](Snapshot::select) gives it, found
    /// without reading all that has changed: in each archive, the blocks that could say something of these paths, where
    /// they were then, of those that their contents were copied, moved or made from, and of the directories above these,
    /// which may have moved as a whole. Of the top directory nothing is found.
    ///
    /// It is what the archives say of these paths, each content with the digest that they name. That this is so in the tree
    /// whose id the last one names, only all changes together prove. Who does not trust where the archives lay
    /// [opens](Snapshot::open) the snapshot and selects from it.
    ///
    /// # Errors
    /// As [`open`](Snapshot::open) and [`select`](Snapshot::select).
    pub fn find(archives: &[Archive], paths: &[RelPath]) -> Result<Snapshot, Error> {
        check_chain(archives)?;
        let parts = archives.iter().zip(find(archives, paths)?);
        let parts = parts.map(|(archive, found)| part(archive, found.changes));
        Snapshot::of_found(archives, parts.collect::<Result<_, Error>>()?, paths)
    }

    /// For each of `archives`, which of its bytes are read by opening it, [finding](Snapshot::find) `paths` and restoring
    /// them, in order and without overlaps. A caller whose archives are far away fetches these alone.
    ///
    /// # Errors
    /// As [`find`](Snapshot::find).
    pub fn plan(archives: &[Archive], paths: &[RelPath]) -> Result<Vec<Vec<Range<u64>>>, Error> {
        let found = find(archives, paths)?;
        let blocks: Vec<Vec<usize>> = found.iter().map(|found| found.blocks.clone()).collect();
        let parts = archives.iter().zip(found);
        let parts = parts.map(|(archive, found)| part(archive, found.changes));
        let part = Snapshot::of_found(archives, parts.collect::<Result<_, Error>>()?, paths)?;
        let mut stored: Vec<Stored> = Vec::new();
        part.each_body(part.full()?, |body| stored.push(body.clone()))?;
        let plan = archives.iter().zip(blocks).map(|(archive, blocks)| {
            let own = stored.iter().filter(|body| Arc::ptr_eq(&body.archive.0, &archive.0));
            archive.ranges(&blocks, &own.map(Stored::span).collect::<Vec<_>>())
        });
        Ok(plan.collect())
    }
}

impl Archive {
    /// Which bytes of the archive are read by opening it, [finding](Snapshot::find) `paths` and
    /// restoring them, in order and without overlaps: for who has the archive far away, and fetches
    /// these alone. Of an increment: those that hold the changes and contents at and below `paths`.
    ///
    /// # Errors
    /// As [`load`](Archive::load).
    pub fn plan(&self, paths: &[RelPath]) -> Result<Vec<Range<u64>>, Error> {
        let found = find(std::slice::from_ref(self), paths)?;
        let spans = found.iter().flat_map(|found| found.changes.values());
        let spans = spans.filter_map(|listed| listed.placed.map(|placed| placed.entry));
        let spans = spans.map(|body| body.span(0..body.len));
        let spans: Vec<Range<u64>> = spans.collect();
        Ok(found.iter().flat_map(|found| self.ranges(&found.blocks, &spans)).collect())
    }

    /// The changes at `paths`, and at the directories above them, in path order and without signatures: the archive's own
    /// word, as by [`get`](Archive::get). Reads each block that has one of these once.
    ///
    /// # Errors
    /// As [`load`](Archive::load).
    pub fn changes_around<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p RelPath>,
    ) -> Result<Vec<Change>, Error> {
        let room = Cell::new(limits::room_for_blocks(std::slice::from_ref(self)));
        let (mut view, mut found) = (Blocks::new(&self.0, &room), Changes::new());
        for path in paths {
            look(&mut view, path.ancestors().chain([PathSlice::from(path)]), &mut found)?;
        }
        Ok(found.into_values().map(|listed| listed.change.clone()).collect())
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

/// Some changes of an archive's diff as one that names the same trees, though it does not lead from the
/// one to the other.
fn part(archive: &Archive, found: Changes) -> Result<DiffData, Error> {
    let (mut changes, mut contents) = (Vec::with_capacity(found.len()), Vec::new());
    for listed in found.into_values() {
        let Listed { change, placed } = Arc::unwrap_or_clone(listed);
        if let Some(placed) = placed {
            let bodies = [Stored::new(archive, &placed, &change)].into();
            contents.push(Composition { change: changes.len(), bodies });
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
fn find(archives: &[Archive], paths: &[RelPath]) -> Result<Vec<Found>, Error> {
    let room = Cell::new(limits::room_for_blocks(archives));
    let mut views: Vec<Blocks<'_>> =
        archives.iter().map(|archive| Blocks::new(&archive.0, &room)).collect();
    let asked: Subtrees = paths.iter().cloned().collect();
    let mut ends: BTreeSet<RelPath> = paths.iter().cloned().collect();
    loop {
        let (dirs, paths) = (asked.clone(), BTreeSet::new());
        let mut needed = Needed { dirs, ends: ends.clone(), paths };
        let mut found = Vec::with_capacity(archives.len());
        for (archive, view) in archives.iter().zip(&mut views).rev() {
            let changes = needed.find(view, archive.is_full())?;
            // What leads to a full backup does not matter to what comes after it.
            needed = match archive.is_full() {
                true => Needed::default(),
                false => needed.before(&changes),
            };
            found.push(changes);
        }
        found.reverse();
        let before = ends.len();
        ends.extend(named(&found));
        if ends.len() == before {
            let found = found.into_iter().zip(&views);
            let found =
                found.map(|(changes, view)| Found { changes, blocks: view.numbers().collect() });
            return Ok(found.collect());
        }
    }
}

/// What hard links among the changes of a row of archives name, where the last one has it.
fn named(found: &[Changes]) -> BTreeSet<RelPath> {
    let mut named = BTreeSet::new();
    for changes in found {
        let trees = changes.values().filter_map(|listed| listed.change.moved_tree());
        let trees: HashMap<&RelPath, MovedTree<'_>> = trees.map(|tree| (tree.from, tree)).collect();
        if !trees.is_empty() {
            let from: Subtrees = trees.keys().copied().cloned().collect();
            let moved = |path: RelPath| {
                let tree = from.top_of(&path).and_then(|dir| trees.get(dir));
                tree.and_then(|tree| tree.after(&path)).unwrap_or(path)
            };
            named = named.into_iter().map(moved).collect();
        }
        named.extend(changes.values().filter_map(
            |listed| match &listed.change.new.as_ref()?.node {
                Node::HardLink { to } => Some(to.clone()),
                _ => None,
            },
        ));
    }
    named
}

/// What has to be known of the tree that an archive leads to.
#[derive(Default)]
struct Needed {
    /// Directories with all that is below them. Each is one of `ends` too.
    dirs: Subtrees,
    /// Paths, and the directories that they lie in.
    ends: BTreeSet<RelPath>,
    /// Paths by themselves.
    paths: BTreeSet<RelPath>,
}

impl Needed {
    /// The changes of the archive that lead to it: with them those at the paths that their contents are stored
    /// for, and those at the directories above, with which what is below them may have come or gone. A
    /// `full` backup brings everything by itself.
    fn find(&mut self, view: &mut Blocks<'_>, full: bool) -> Result<Changes, Error> {
        let mut found = Changes::new();
        for dir in self.dirs.tops() {
            view.below(dir, |listed| {
                found.insert(listed.change.path.clone(), Arc::clone(listed));
            })?;
        }
        look(view, self.ends.iter().chain(&self.paths), &mut found)?;
        let above = self.ends.iter().chain(self.paths.iter().filter(|_| !full));
        look(view, above.flat_map(RelPath::ancestors), &mut found)?;
        let others =
            found.values().filter_map(|listed| match &listed.change.new.as_ref()?.content {
                Content::Same { path } | Content::Tree { base: path, .. } => Some(path.clone()),
                _ => None,
            });
        let others: BTreeSet<RelPath> = others.collect();
        look(view, &others, &mut found)?;
        self.paths.extend(others);
        Ok(found)
    }

    /// What has to be known of the tree before the archive, of which these changes were found.
    fn before(self, found: &Changes) -> Needed {
        // Below these there was nothing.
        let made = found.values().map(|listed| &listed.change).filter(|change| {
            let makes = change.new.as_ref().is_some_and(|new| new.node == Node::Dir);
            makes && change.old != Some(Node::Dir)
        });
        let made: Vec<&Change> = made.collect();
        let outermost: Subtrees = made.iter().map(|change| change.path.clone()).collect();
        let around = |path: &RelPath| outermost.top_of(path).filter(|dir| *dir != path);
        let trees = made.iter().filter_map(|change| change.moved_tree());
        let trees: HashMap<&RelPath, MovedTree<'_>> = trees.map(|tree| (tree.to, tree)).collect();
        let come: Subtrees = trees.keys().copied().cloned().collect();
        let brought = |path: &RelPath| trees.get(come.top_of(path)?)?.before(path);
        // That nothing was there is known when it is known of the outermost.
        let stood = |path: &RelPath| around(path).unwrap_or(path).clone();
        let earlier = |paths: &BTreeSet<RelPath>| -> BTreeSet<RelPath> {
            paths.iter().flat_map(|path| [Some(stood(path)), brought(path)]).flatten().collect()
        };
        let (ends, mut paths) = (earlier(&self.ends), earlier(&self.paths));
        let mut dirs: BTreeSet<RelPath> = BTreeSet::new();
        for dir in self.dirs.tops() {
            match outermost.has(dir) {
                true => dirs.extend(brought(dir)),
                false => drop(dirs.insert(dir.clone())),
            }
        }
        for Listed { change, .. } in found.values().map(Arc::as_ref) {
            let Some(new) = &change.new else { continue };
            match &new.content {
                Content::Copy { base } | Content::Delta { base, .. } => {
                    paths.insert(base.clone());
                }
                Content::Tree { base, .. } => {
                    if self.dirs.has(&change.path) {
                        dirs.insert(base.clone());
                    }
                }
                Content::Keep | Content::Whole | Content::Same { .. } => {}
            }
        }
        Needed { dirs: dirs.into_iter().collect(), ends, paths }
    }
}

/// Adds the changes at `paths` to those that were found.
fn look<'p, P: Into<PathSlice<'p>>>(
    view: &mut Blocks<'_>,
    paths: impl IntoIterator<Item = P>,
    found: &mut Changes,
) -> Result<(), Error> {
    for path in paths {
        if let Some(listed) = view.at(path)? {
            found.entry(listed.change.path.clone()).or_insert(listed);
        }
    }
    Ok(())
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
