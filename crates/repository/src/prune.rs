//! [`prune`](Repository::prune) and [`forget`](Repository::forget): fewer snapshots in a store, without losing what the
//! others depend on. Knows neither which snapshots are worth keeping nor how archives are squashed.
//!
//! Between two kept snapshots that follow one another on a chain, all archives are squashed into one. The
//! order of the steps is what makes an interruption harmless: new archives are put, and verified with those that are to
//! take the place of others, before anything is deleted; and what is deleted is deleted from the newest end, so that whatever
//! is left can be restored. `docs/chains.md` says more.

mod work;

use std::collections::{BTreeMap, BTreeSet};

use archive::ArchiveOptions;

use self::work::{Done, Work};
use crate::Repository;
use crate::chains::with_limit;
use crate::error::{Error, Result};
use crate::origin;
use crate::protect;
use crate::store::{self, ArchiveName, Keep, SnapshotId, Snapshots, Store, StoredArchive};

/// How a store is pruned.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Which snapshots are kept. The newest one that can be restored always is.
    pub keep: Keep,
    /// Snapshots with one of these tags are kept, too.
    pub keep_tags: Vec<String>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// Count days, weeks, months and years by the [times](Snapshots::time) that snapshots have, though the clock was wrong for
    /// some, or is now.
    pub ignore_clock: bool,
    /// How archives are written. Without a format they get that of the last archive they are made of.
    pub archive: ArchiveOptions,
}

/// What pruning did, or would do.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PruneReport {
    /// The snapshots that are kept, in order.
    pub kept: Vec<SnapshotId>,
    /// The snapshots that can be restored no more, in order.
    pub removed: Vec<SnapshotId>,
    /// The snapshots that no rule keeps, and that are still there: there is no room for an archive in the place of those that
    /// lead to them and to kept ones.
    pub waiting: Vec<SnapshotId>,
    /// How many bytes the archives have, together, in whose place the next of these archives would be: so much room is
    /// enough for it. 0 when none is waiting.
    pub room_wanted: u64,
    /// The snapshots that could not be restored before, in order. Their archives are left alone.
    pub lost: Vec<SnapshotId>,
    /// The archives that are made, in order.
    pub squashed: Vec<Squashed>,
    /// The archives that are deleted, in the order in which they are.
    pub deleted: Vec<StoredArchive>,
    /// How many bytes this frees. Of a dry run it is an estimate where archives are to be made, and known where they are
    /// only deleted.
    pub freed: u64,
    /// How many bytes the archives and indexes of the store have together now.
    pub store_bytes: u64,
}

/// An archive that is made of several.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Squashed {
    /// Its name.
    pub name: ArchiveName,
    /// How many bytes it has; `None` when it has not been made.
    pub size: Option<u64>,
    /// What it is made of.
    pub parts: Vec<StoredArchive>,
}

impl<S: Store> Repository<S> {
    /// Removes the snapshots that `options.keep` does not name. Archives that kept snapshots depend on are squashed, without
    /// the tree that they were made from.
    ///
    /// Before anything is deleted, each archive that stays is opened, its changes are read, and it has to start from the tree
    /// that the one before it leads to. What is in it is read too where it takes the place of something that is deleted: of
    /// each snapshot that goes, the next one that stays is made from all that the two do not share. Interrupted at any moment,
    /// all kept snapshots can be restored, and the next prune clears up.
    ///
    /// Where there is no room for a new archive beside those it is made of, what nothing depends on goes first, and then
    /// archives are joined two by two, each pair deleted when its like is there and verified. Where not even that fits, its
    /// snapshots [wait](PruneReport::waiting).
    ///
    /// # Errors
    /// [`Error::NoRule`], [`Error::Clock`], [`Error::Busy`], [`Error::Store`], [`Error::TooManyOpen`]; [`Error::Unsound`] for
    /// an archive that is damaged or does not follow another: nothing has been deleted then, unless there was no room.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport> {
        if options.keep == Keep::default() && options.keep_tags.is_empty() {
            return Err(Error::NoRule);
        }
        thin_out(self.store(), options, |snapshots| {
            if options.keep.asks_for_times() && !options.ignore_clock {
                check_clock(snapshots, SnapshotId::now())?;
            }
            let dated =
                whole(snapshots).filter_map(|snapshot| Some((snapshot, snapshots.time(snapshot)?)));
            let mut kept = options.keep.of_dated(dated);
            kept.extend(tagged(self.store(), snapshots, &options.keep_tags)?);
            kept.extend(unfinished(snapshots));
            Ok(Wanted { kept: snapshots.with_checkpoints(kept), lost: BTreeSet::new() })
        })
    }

    /// Removes the snapshots `forgotten` and keeps all others, whatever the rules among the `options` say. It is done as
    /// [`prune`](Repository::prune) does it, with the same proofs. A snapshot that cannot be restored goes with the archives
    /// that lead to it.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] for one that is not there, [`Error::NewestStays`] for the newest one that can be restored, from
    /// which the next backup starts, and as [`prune`](Repository::prune).
    pub fn forget(&self, forgotten: &[SnapshotId], options: &PruneOptions) -> Result<PruneReport> {
        thin_out(self.store(), options, |snapshots| {
            let all: BTreeSet<SnapshotId> = snapshots.all().collect();
            let restorable: BTreeSet<SnapshotId> = snapshots.restorable().collect();
            let newest = whole(snapshots).next_back().or(unfinished(snapshots));
            for &snapshot in forgotten {
                if !all.contains(&snapshot) {
                    return Err(Error::NoSnapshot { snapshot });
                }
                if Some(snapshot) == newest {
                    return Err(Error::NewestStays { snapshot });
                }
            }
            let go: BTreeSet<SnapshotId> = forgotten.iter().copied().collect();
            let stay = whole(snapshots).chain(unfinished(snapshots));
            let stay = snapshots.with_checkpoints(stay.filter(|snapshot| !go.contains(snapshot)));
            Ok(Wanted { kept: &stay - &go, lost: &go - &restorable })
        })
    }
}

/// The snapshots that can be restored and are no checkpoints, in order.
fn whole(snapshots: &Snapshots) -> impl DoubleEndedIterator<Item = SnapshotId> {
    snapshots.restorable().filter(|snapshot| !snapshots.is_checkpoint(*snapshot))
}

/// The checkpoint that the next backup goes on from.
fn unfinished(snapshots: &Snapshots) -> Option<SnapshotId> {
    snapshots.restorable().next_back().filter(|newest| snapshots.is_checkpoint(*newest))
}

/// The snapshots that can be restored and have one of these tags.
fn tagged(store: &dyn Store, snapshots: &Snapshots, tags: &[String]) -> Result<Vec<SnapshotId>> {
    let mut tagged = Vec::new();
    if tags.is_empty() {
        return Ok(tagged);
    }
    for snapshot in snapshots.restorable() {
        let Some(last) = snapshots.last_to(snapshot) else { continue };
        let archive = store::open_archive(store, &last.name)?;
        if origin::tags(archive.labels()).iter().any(|tag| tags.contains(tag)) {
            tagged.push(snapshot);
        }
    }
    Ok(tagged)
}

/// What is wanted of the snapshots of a store.
struct Wanted {
    /// Those that stay.
    kept: BTreeSet<SnapshotId>,
    /// Those that go though they cannot be restored.
    lost: BTreeSet<SnapshotId>,
}

/// Leaves the snapshots of `store` that `choose` keeps.
fn thin_out(
    store: &dyn Store,
    options: &PruneOptions,
    choose: impl FnOnce(&Snapshots) -> Result<Wanted>,
) -> Result<PruneReport> {
    let _lock = if options.dry_run { None } else { Some(store::lock(store)?) };
    let files = store::list(store)?;
    let snapshots = Snapshots::of(&files);
    let wanted = choose(&snapshots)?;
    let restorable: BTreeSet<SnapshotId> = snapshots.restorable().collect();
    let goes = restorable.difference(&wanted.kept).chain(&wanted.lost);
    let goes: BTreeSet<SnapshotId> = goes.copied().collect();
    let lost = snapshots.all().filter(|snapshot| !restorable.contains(snapshot));
    let lost = lost.filter(|snapshot| !wanted.lost.contains(snapshot)).collect();
    let plan = Plan::new(&snapshots, wanted, options.archive.format);
    let kept = plan.kept.iter().copied().collect();
    let before = snapshots.bytes();
    let work = Work::new(store, plan, before, &options.archive, &files);
    let done = if options.dry_run { work.estimate() } else { work.carry_out() };
    let Done { squashed, deleted, waiting, room_wanted, bytes } = done.map_err(with_limit)?;
    if !options.dry_run {
        protect::after_prune(store, !protect::across_in(&files).is_empty())?;
    }
    Ok(PruneReport {
        removed: goes.into_iter().filter(|snapshot| !waiting.contains(snapshot)).collect(),
        lost,
        kept,
        waiting,
        room_wanted,
        squashed,
        deleted,
        freed: before.saturating_sub(bytes),
        store_bytes: if options.dry_run { before } else { bytes },
    })
}

/// A clock may be wrong by this many seconds and change nothing that matters: which day it is differs by place as much.
const SLACK: i64 = 24 * 60 * 60;

/// Refuses to count days by times of which one is wrong.
fn check_clock(snapshots: &Snapshots, now: SnapshotId) -> Result<()> {
    for snapshot in snapshots.all() {
        let Some((clock, time)) = snapshots.clock(snapshot).zip(snapshots.time(snapshot)) else {
            continue;
        };
        let after = clock.secs() > now.secs().saturating_add(SLACK);
        if after || clock.secs().abs_diff(time.secs()) > SLACK.unsigned_abs() {
            return Err(Error::Clock { snapshot, clock, after });
        }
    }
    Ok(())
}

/// What is to become of a store.
struct Plan {
    kept: BTreeSet<SnapshotId>,
    /// The archives that the kept snapshots are restored from in the end, in order: each has one.
    edges: Vec<Edge>,
    /// What is not needed then, the newest first.
    deleted: Vec<StoredArchive>,
    /// Those of the edges that are there and have to be read, since they take the place of something that goes.
    read: BTreeSet<ArchiveName>,
}

/// An archive that leads to a kept snapshot, from another one or from nothing.
#[derive(Clone)]
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
    fn new(snapshots: &Snapshots, wanted: Wanted, format: Option<archive::Format>) -> Plan {
        let Wanted { kept, lost } = wanted;
        let edges: Vec<Edge> = kept
            .iter()
            .filter_map(|&snapshot| edge_to(snapshot, &kept, snapshots, format))
            .collect();
        let needed: BTreeSet<ArchiveName> = edges.iter().map(|edge| edge.name).collect();
        let restorable: BTreeSet<SnapshotId> = snapshots.restorable().collect();
        let can_be_used = |name: ArchiveName| name.since.is_none_or(|p| restorable.contains(&p));
        let can_go = |name: ArchiveName| can_be_used(name) || lost.contains(&name.to);
        let archives = snapshots.archives().iter().rev().copied();
        let deleted = archives.filter(|a| can_go(a.name) && !needed.contains(&a.name));
        let deleted: Vec<StoredArchive> = deleted.collect();
        let read = to_read(snapshots, &kept, &edges, &deleted);
        Plan { deleted, kept, edges, read }
    }
}

/// Which of the archives of `edges` take the place of something: those that lead where a deleted one leads, and those by which
/// the next kept snapshot after one that goes is restored, and that one is not.
fn to_read(
    snapshots: &Snapshots,
    kept: &BTreeSet<SnapshotId>,
    edges: &[Edge],
    deleted: &[StoredArchive],
) -> BTreeSet<ArchiveName> {
    let ends: BTreeMap<SnapshotId, ArchiveName> =
        edges.iter().map(|edge| (edge.name.to, edge.name)).collect();
    let led: BTreeSet<SnapshotId> = deleted.iter().map(|archive| archive.name.to).collect();
    let mut read: BTreeSet<ArchiveName> =
        ends.values().copied().filter(|name| led.contains(&name.to)).collect();
    for snapshot in snapshots.restorable().filter(|snapshot| !kept.contains(snapshot)) {
        let chain = snapshots.chain_to(snapshot).unwrap_or_default();
        let shared: BTreeSet<ArchiveName> = chain.iter().map(|archive| archive.name).collect();
        let next = kept.range(snapshot..).next().and_then(|next| ends.get(next)).copied();
        let chain = std::iter::successors(next, |name| ends.get(&name.since?).copied());
        read.extend(chain.take_while(|name| !shared.contains(name)));
    }
    read
}

/// How `snapshot` is reached from the kept snapshot before it on its chain, or from nothing.
fn edge_to(
    snapshot: SnapshotId,
    kept: &BTreeSet<SnapshotId>,
    snapshots: &Snapshots,
    format: Option<archive::Format>,
) -> Option<Edge> {
    let chain = snapshots.chain_to(snapshot)?;
    let before = chain.iter().rposition(|a| a.name.to != snapshot && kept.contains(&a.name.to));
    let parts = chain.get(before.map_or(0, |at| at + 1)..)?;
    let (first, last) = (parts.first()?, parts.last()?);
    // One that an interrupted prune made, or that is there for any other reason.
    let since = first.name.since;
    let direct = snapshots
        .archives()
        .iter()
        .find(|a| (a.name.to, a.name.since) == (snapshot, since))
        .copied();
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
        let snapshots = |names: &[&str]| {
            let file = |name: &&str| Stored { name: (*name).into(), size: 1 };
            Snapshots::of(&names.iter().map(file).collect::<Vec<_>>())
        };
        let now: SnapshotId = "20260110T000000Z".parse().unwrap();
        let wrong = |names: &[&str]| match check_clock(&snapshots(names), now) {
            Ok(()) => None,
            Err(Error::Clock { snapshot, after, .. }) => Some((snapshot.to_string(), after)),
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
