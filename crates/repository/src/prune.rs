//! [`prune`]: fewer points in a store, without losing what the others depend on. Knows neither which
//! points are worth keeping nor how archives are squashed.
//!
//! Between two kept points that follow one another on a way, all archives are squashed into one. The
//! order of the steps is what makes an interruption harmless: new archives are put, and verified with those that are to
//! take the place of others, before anything is deleted; and what is deleted is deleted from the newest end, so that whatever
//! is left can be restored. `docs/chains.md` says more.

mod work;

use std::collections::{BTreeMap, BTreeSet};

use archive::ArchiveOptions;

use self::work::Work;
use crate::error::{Error, Result};
use crate::store::{self, ArchiveName, Keep, Point, Points, Store, StoredArchive, failed, told};

/// How a store is pruned.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Which points are kept. The newest one that can be restored always is.
    pub keep: Keep,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Count days, weeks, months and years by the [times](Points::time) that points have, though the clock was wrong for
    /// some, or is now.
    pub ignore_clock: bool,
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
    /// The points that no rule keeps, and that are still there: there is no room for an archive in the place of those that
    /// lead to them and to kept ones.
    pub waiting: Vec<Point>,
    /// How many bytes the archives have, together, in whose place the next of these archives would be: so much room is
    /// enough for it. 0 when none is waiting.
    pub room_wanted: u64,
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
/// Before anything is deleted, each archive that stays is opened, its changes are read, and it has to start from the tree that
/// the one before it leads to. What is in it is read too where it takes the place of something that is deleted: of each point
/// that goes, the next one that stays is made from all that the two do not share. Interrupted at any moment, all kept
/// points can be restored, and the next prune clears up.
///
/// Where there is no room for a new archive beside those it is made of, what nothing depends on goes first, and then
/// archives are joined two by two, each pair deleted when its like is there and verified. Where not even that fits, its
/// points [wait](PruneReport::waiting).
///
/// # Errors
/// [`Error::NoRule`], [`Error::Clock`], [`Error::Busy`], [`Error::Store`], [`Error::TooManyOpen`]; [`Error::Unsound`] for
/// an archive that is damaged or does not follow another: nothing has been deleted then, unless there was no room.
pub fn prune(store: &dyn Store, options: &PruneOptions) -> Result<PruneReport> {
    if options.keep == Keep::default() {
        return Err(Error::NoRule);
    }
    let _lock = if options.dry_run { None } else { Some(store::lock(store)?) };
    let points = store::points(store)?;
    if options.keep.asks_for_times() && !options.ignore_clock {
        check_clock(&points, Point::now())?;
    }
    let plan = Plan::new(&points, &options.keep, options.archive.format);
    let (kept, mut deleted) = (plan.kept.clone(), plan.deleted.clone());
    let planned = plan.edges.iter().filter(|edge| edge.is_new());
    let mut squashed: Vec<Squashed> =
        planned.map(|e| Squashed { name: e.name, size: None, parts: e.parts.clone() }).collect();
    let (mut waiting, mut room_wanted) = (Vec::new(), 0);
    if !options.dry_run {
        let done = Work::new(store, plan, &options.archive).carry_out().map_err(told)?;
        (squashed, deleted) = (done.squashed, done.deleted);
        (waiting, room_wanted) = (done.waiting, done.room_wanted);
    }
    let restorable: BTreeSet<Point> = points.restorable().collect();
    let files = store.list().map_err(|source| failed("list", "the store", source))?;
    let removed = restorable.difference(&kept).filter(|point| !waiting.contains(point));
    Ok(PruneReport {
        removed: removed.copied().collect(),
        lost: points.all().filter(|point| !restorable.contains(point)).collect(),
        kept: kept.into_iter().collect(),
        waiting,
        room_wanted,
        squashed,
        deleted,
        store_bytes: store::bytes_of(&files),
    })
}

/// A clock may be wrong by this many seconds and change nothing that matters: which day it is differs by place as much.
const SLACK: i64 = 24 * 60 * 60;

/// Refuses to count days by times of which one is wrong.
fn check_clock(points: &Points, now: Point) -> Result<()> {
    for point in points.all() {
        let Some((clock, time)) = points.clock(point).zip(points.time(point)) else { continue };
        let after = clock.secs() > now.secs().saturating_add(SLACK);
        if after || clock.secs().abs_diff(time.secs()) > SLACK.unsigned_abs() {
            return Err(Error::Clock { point, clock, after });
        }
    }
    Ok(())
}

/// What is to become of a store.
struct Plan {
    kept: BTreeSet<Point>,
    /// The archives that the kept points are restored from in the end, in order: each has one.
    edges: Vec<Edge>,
    /// What is not needed then, the newest first.
    deleted: Vec<StoredArchive>,
    /// Those of the edges that are there and have to be read, since they take the place of something that goes.
    read: BTreeSet<ArchiveName>,
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
        let dated = points.restorable().filter_map(|point| Some((point, points.time(point)?)));
        let kept = keep.of_dated(dated);
        let edges: Vec<Edge> =
            kept.iter().filter_map(|&point| edge_to(point, &kept, points, format)).collect();
        let needed: BTreeSet<ArchiveName> = edges.iter().map(|edge| edge.name).collect();
        let restorable: BTreeSet<Point> = points.restorable().collect();
        let can_be_used = |name: ArchiveName| name.since.is_none_or(|p| restorable.contains(&p));
        let archives = points.archives().iter().rev().copied();
        let deleted = archives.filter(|a| can_be_used(a.name) && !needed.contains(&a.name));
        let deleted: Vec<StoredArchive> = deleted.collect();
        let read = to_read(points, &kept, &edges, &deleted);
        Plan { deleted, kept, edges, read }
    }
}

/// Which of the archives of `edges` take the place of something: those that lead where a deleted one leads, and those by which
/// the next kept point after one that goes is restored, and that one is not.
fn to_read(
    points: &Points,
    kept: &BTreeSet<Point>,
    edges: &[Edge],
    deleted: &[StoredArchive],
) -> BTreeSet<ArchiveName> {
    let ends: BTreeMap<Point, ArchiveName> =
        edges.iter().map(|edge| (edge.name.to, edge.name)).collect();
    let led: BTreeSet<Point> = deleted.iter().map(|archive| archive.name.to).collect();
    let mut read: BTreeSet<ArchiveName> =
        ends.values().copied().filter(|name| led.contains(&name.to)).collect();
    for point in points.restorable().filter(|point| !kept.contains(point)) {
        let way = points.way_to(point).unwrap_or_default();
        let shared: BTreeSet<ArchiveName> = way.iter().map(|archive| archive.name).collect();
        let next = kept.range(point..).next().and_then(|next| ends.get(next)).copied();
        let chain = std::iter::successors(next, |name| ends.get(&name.since?).copied());
        read.extend(chain.take_while(|name| !shared.contains(name)));
    }
    read
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
    let name = ArchiveName { since, format, ..last.name };
    let name = direct.map_or(name, |direct| direct.name);
    Some(Edge { name, parts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stored;

    #[test]
    fn days_are_not_counted_by_a_clock_that_was_wrong() {
        let points = |names: &[&str]| {
            let file = |name: &&str| Stored { name: (*name).into(), size: 1 };
            Points::of(&names.iter().map(file).collect::<Vec<_>>())
        };
        let now: Point = "20260110T000000Z".parse().unwrap();
        let wrong = |names: &[&str]| match check_clock(&points(names), now) {
            Ok(()) => None,
            Err(Error::Clock { point, after, .. }) => Some((point.to_string(), after)),
            Err(other) => panic!("{other}"),
        };
        let day = ["20260101T120000Z-full.tgz", "20260102T120000Z-full.tgz"];
        assert_eq!(wrong(&day), None);
        // A second, or the hours between time zones, are nothing.
        let near = [day[0], day[1], "20260102T120001Z-at-20260102T010000Z-full.tgz"];
        assert_eq!(wrong(&near), None);
        let ahead = [day[0], "20360101T120000Z-full.tgz"];
        assert_eq!(wrong(&ahead), Some(("20360101T120000Z".into(), true)));
        let behind = [day[0], day[1], "20260102T120001Z-at-19700101T000000Z-full.tgz"];
        assert_eq!(wrong(&behind), Some(("20260102T120001Z".into(), false)));
        // Ahead, but past by now.
        let between = [
            "20260108T000000Z-full.tgz",
            "20260108T000001Z-at-20260103T000000Z-full.tgz",
            "20260108T000002Z-at-20260104T000000Z-full.tgz",
        ];
        assert_eq!(wrong(&between), Some(("20260108T000000Z".into(), false)));
    }
}
