//! [`prune`]: fewer points in a store, without losing what the others depend on. Knows neither which
//! points are worth keeping nor how archives are squashed.
//!
//! Between two kept points that follow one another on a way, all archives are squashed into one. The
//! order of the steps is what makes an interruption harmless: new archives are put and verified before
//! anything is deleted, and what is deleted is deleted from the newest end, so that whatever is left can
//! be restored. `docs/chains.md` says more.

use std::collections::{BTreeMap, BTreeSet};

use archive::{ArchiveOptions, DiffData};
use diffindex::{Change, Content, Signatures};
use dirindex::{DirIndex, RelPath};
use rsync_core::Progress;

use crate::error::{Error, Result};
use crate::store::{self, ArchiveName, Keep, Point, Points, Store, StoredArchive, failed};

/// How a store is pruned.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Which points are kept. The newest one that can be restored always is.
    pub keep: Keep,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// How archives are written. Without a format they get that of the last archive they are made of.
    pub archive: ArchiveOptions,
}

/// What pruning came to, or would come to.
#[derive(Debug, Clone)]
pub struct PruneReport {
    /// The points that are kept, in order.
    pub kept: Vec<Point>,
    /// The points that can be restored no more, in order.
    pub removed: Vec<Point>,
    /// The points that could not be restored before, in order. Their archives are left alone.
    pub lost: Vec<Point>,
    /// The archives that are made, in order.
    pub squashed: Vec<Squashed>,
    /// The archives that are deleted, in the order in which they are.
    pub deleted: Vec<StoredArchive>,
    /// How many bytes the archives and indexes of the store have together now.
    pub store_bytes: u64,
}

/// An archive that is made of several.
#[derive(Debug, Clone)]
pub struct Squashed {
    /// Its name.
    pub name: ArchiveName,
    /// How many bytes it has; `None` when it has not been made.
    pub size: Option<u64>,
    /// What it is made of.
    pub parts: Vec<StoredArchive>,
}

/// Removes the points of `store` that `options.keep` does not name. Archives that kept points depend on
/// are squashed, without the tree that they were made from.
///
/// A new archive is opened from the store again and verified, with what it builds on, before anything is
/// deleted. Interrupted at any moment, all kept points can be restored, and the next prune clears up.
///
/// # Errors
/// [`Error::NoRule`], [`Error::Busy`], [`Error::Store`]; [`Error::Archived`] for an archive that is
/// damaged or that another does not fit: nothing has been deleted then.
pub fn prune(store: &dyn Store, options: &PruneOptions) -> Result<PruneReport> {
    if options.keep == Keep::default() {
        return Err(Error::NoRule);
    }
    let _lock = if options.dry_run { None } else { Some(store::lock(store)?) };
    let points = store::points(store)?;
    let plan = Plan::new(&points, &options.keep, options.archive.format);
    let mut squashed = Vec::new();
    for edge in &plan.edges {
        let size = match options.dry_run {
            true => None,
            false => plan.carry_out(store, &points, edge, &options.archive)?,
        };
        if edge.is_new() {
            squashed.push(Squashed { name: edge.name, size, parts: edge.parts.clone() });
        }
    }
    if !options.dry_run {
        for StoredArchive { name, .. } in &plan.deleted {
            delete(store, name)?;
        }
    }
    let restorable: BTreeSet<Point> = points.restorable().collect();
    let files = store.list().map_err(|source| failed("list", "the store", source))?;
    Ok(PruneReport {
        removed: restorable.difference(&plan.kept).copied().collect(),
        lost: points.all().filter(|point| !restorable.contains(point)).collect(),
        kept: plan.kept.into_iter().collect(),
        squashed,
        deleted: plan.deleted,
        store_bytes: store::bytes_of(&files),
    })
}

/// What is to become of a store.
struct Plan {
    kept: BTreeSet<Point>,
    /// The archives that the kept points are restored from in the end, in order: each has one.
    edges: Vec<Edge>,
    /// What is not needed then, the newest first.
    deleted: Vec<StoredArchive>,
}

/// An archive that leads to a kept point, from another one or from nothing.
struct Edge {
    name: ArchiveName,
    /// What it is made of; itself if it is there.
    parts: Vec<StoredArchive>,
}

impl Edge {
    fn is_new(&self) -> bool {
        self.parts.iter().all(|part| part.name != self.name)
    }
}

impl Plan {
    fn new(points: &Points, keep: &Keep, format: Option<archive::Format>) -> Plan {
        let kept = keep.of(points.restorable());
        let edges: Vec<Edge> =
            kept.iter().filter_map(|&point| edge_to(point, &kept, points, format)).collect();
        let needed: BTreeSet<ArchiveName> = edges.iter().map(|edge| edge.name).collect();
        let restorable: BTreeSet<Point> = points.restorable().collect();
        let can_be_used = |name: ArchiveName| name.since.is_none_or(|p| restorable.contains(&p));
        let archives = points.archives().iter().rev().copied();
        let deleted = archives.filter(|a| can_be_used(a.name) && !needed.contains(&a.name));
        Plan { deleted: deleted.collect(), kept, edges }
    }

    /// Sees to it that the archive of `edge` is in the store, and verified if anything else that leads to
    /// its point is going to be deleted. Gives the size of a new one.
    fn carry_out(
        &self,
        store: &dyn Store,
        points: &Points,
        edge: &Edge,
        options: &ArchiveOptions,
    ) -> Result<Option<u64>> {
        let others_go = self.deleted.iter().any(|archive| archive.name.to == edge.name.to);
        if !edge.is_new() {
            if others_go {
                self.verify(store, edge, options.progress.as_deref())?;
            }
            return Ok(None);
        }
        squash(store, points, edge, options)?;
        let verified = self.verify(store, edge, options.progress.as_deref());
        // What is not fit to take the place of others must not be taken for an archive.
        let size = verified.inspect_err(|_| drop(store.delete(&edge.name.to_string())))?;
        Ok(Some(size))
    }

    /// Reads all of the archive of `edge` as it is in the store, and makes each content that it brings,
    /// with what it builds on. Gives its size.
    fn verify(&self, store: &dyn Store, edge: &Edge, progress: Option<&Progress>) -> Result<u64> {
        let ends: BTreeMap<Point, &Edge> = self.edges.iter().map(|e| (e.name.to, e)).collect();
        let mut chain = Vec::new();
        let mut at = Some(edge.name.to);
        while let Some(edge) = at.and_then(|point| ends.get(&point)) {
            chain.push(store::open_archive(store, &edge.name)?.load()?);
            at = edge.name.since;
        }
        chain.reverse();
        let Some(last) = chain.last() else { return Ok(0) };
        last.verify(progress)?;
        let size = last.size();
        let brought =
            |change: &&Change| change.new.as_ref().is_some_and(|new| new.content != Content::Keep);
        let changes = last.diff().changes().iter().filter(brought);
        let paths: Vec<RelPath> = changes.map(|change| change.path.clone()).collect();
        DiffData::squash(&chain)?.select(&paths)?.verify(progress)?;
        Ok(size)
    }
}

/// How `point` is reached from the kept point before it on its way, or from nothing.
fn edge_to(
    point: Point,
    kept: &BTreeSet<Point>,
    points: &Points,
    format: Option<archive::Format>,
) -> Option<Edge> {
    let way = points.way_to(point)?;
    let before = way.iter().rposition(|a| a.name.to != point && kept.contains(&a.name.to));
    let parts = way.get(before.map_or(0, |at| at + 1)..)?;
    let (first, last) = (parts.first()?, parts.last()?);
    // One that an interrupted prune made, or that is there for any other reason.
    let since = first.name.since;
    let direct =
        points.archives().iter().find(|a| (a.name.to, a.name.since) == (point, since)).copied();
    let parts = direct.map_or_else(|| parts.to_vec(), |direct| vec![direct]);
    let format = format.unwrap_or(last.name.format);
    let name = direct.map_or(ArchiveName { to: point, since, format }, |direct| direct.name);
    Some(Edge { name, parts })
}

/// Puts the archive of `edge` into the store, made of its parts.
fn squash(store: &dyn Store, points: &Points, edge: &Edge, options: &ArchiveOptions) -> Result<()> {
    let parts = load(store, &edge.parts)?;
    // What is below a directory that moved as a whole, only the archives before tell.
    let folded = parts.iter().any(|part| part.diff().moved_trees().next().is_some());
    let before = edge.name.since.filter(|_| folded).and_then(|since| points.way_to(since));
    let data = match before {
        None => DiffData::squash(&parts)?,
        Some(way) => {
            let before = DiffData::squash(&load(store, &way)?)?;
            DiffData::squash_from(&before.diff().apply_to(&DirIndex::empty())?, &parts)?
        }
    };
    let name = edge.name.to_string();
    let mut out = store.put(&name).map_err(|source| failed("put", &name, source))?;
    let format = Some(edge.name.format);
    let options = ArchiveOptions { format, signatures: Signatures::None, ..options.clone() };
    data.repack_to(&mut out, &options).map_err(|error| match error {
        archive::Error::Write(source) => failed("put", &name, source),
        other => other.into(),
    })?;
    out.commit().map_err(|source| failed("put", &name, source))
}

fn load(store: &dyn Store, archives: &[StoredArchive]) -> Result<Vec<DiffData>> {
    let load = |archive: &StoredArchive| Ok(store::open_archive(store, &archive.name)?.load()?);
    archives.iter().map(load).collect()
}

fn delete(store: &dyn Store, name: &ArchiveName) -> Result<()> {
    let name = name.to_string();
    store.delete(&name).map_err(|source| failed("delete", &name, source))
}
