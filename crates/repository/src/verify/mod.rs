//! Verifying backups without restoring them: archives one after the other, or all of a store. Knows
//! which archive follows which; what is looked at in each is `row`'s.

mod reached;
mod row;

use std::collections::{BTreeMap, HashSet};

use archive::Archive;
use dirindex::{RelPath, Root};
use rsync_core::Progress;

use self::reached::{Reached, Start};
use self::row::{Found, State};
use crate::error::{Error, Result};
use crate::store::{self, ArchiveName, Point, Points, Store, StoredArchive};

/// What verifying an archive found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// What is wrong with it; of its own damage the first place.
    pub problems: Vec<Error>,
    /// What can be restored of the state that it leads to. `None` for an increment that was verified
    /// without what it starts from.
    pub result: Option<Restorable>,
}

impl Verified {
    /// What was found.
    pub fn new(problems: Vec<Error>, result: Option<Restorable>) -> Verified {
        Verified { problems, result }
    }
}

/// How much of a state can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restorable {
    /// All of it.
    Whole,
    /// All but the content of these files.
    Without(Vec<RelPath>),
    /// Nothing.
    Nothing,
}

/// What verifying a store found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifiedStore {
    /// Each archive, in the order of where they lead.
    pub archives: Vec<(StoredArchive, Verified)>,
    /// What can be restored of each point, by the way on which the least is lost.
    pub points: Vec<(Point, Restorable)>,
    /// Points that are come to past archives with which something is wrong, though these are on the way with the fewest bytes,
    /// and past which: they do not matter to these points.
    pub passed: Vec<(Point, Vec<ArchiveName>)>,
    /// Each index that is damaged or of another state than its point, and why. That costs nothing
    /// but time: it is made again from the archives.
    pub indexes: Vec<(Point, Error)>,
    /// Points of which there is an index and no archive.
    pub missing: Vec<Point>,
}

impl VerifiedStore {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.indexes.is_empty()
            && self.missing.is_empty()
            && self.archives.iter().all(|(_, verified)| verified.problems.is_empty())
            && self.points.iter().all(|(_, restorable)| *restorable == Restorable::Whole)
    }
}

/// Verifies every byte of `archives`, of which each starts where the one before it ends, and that every
/// file they lead to has the content that was backed up: what is whole by its digest, what is a delta
/// by what it makes of its base. Writes nothing; holds the changes of all of them and, on each thread,
/// a few MiB.
///
/// # Errors
/// [`archive::Error::Cancelled`].
pub fn verify_archives(archives: &[Archive], progress: Option<&Progress>) -> Result<Vec<Verified>> {
    let mut verified = Vec::with_capacity(archives.len());
    let mut state: Option<State> = None;
    for archive in archives {
        let Found { problems, state: next } = row::verify(archive, state.as_ref(), progress)?;
        let on_its_own = !archive.is_full() && verified.is_empty();
        let result = (!on_its_own).then(|| restorable(next.as_ref()));
        verified.push(Verified { problems, result });
        state = next;
    }
    Ok(verified)
}

/// Verifies a store as [`verify_archives`] does each row of archives in it, and that none is missing
/// from between others.
///
/// A backup or prune that is at work meanwhile is no fault: when something is wrong, and the store has other files than
/// before, they are verified again.
///
/// # Errors
/// [`Error::Store`] when it cannot be listed, [`Error::TooManyOpen`], and [`archive::Error::Cancelled`]. What is wrong with what is
/// in it is found.
pub fn verify_store(store: &dyn Store, progress: Option<&Progress>) -> Result<VerifiedStore> {
    let mut points = store::points(store)?;
    for _ in 0..MOST_LISTED {
        let found = verify_listed(store, &points, progress)?;
        let now = if found.is_sound() { None } else { Some(store::points(store)?) };
        match now {
            Some(now) if !now.is_same(&points) => points = now,
            _ => return Ok(found),
        }
    }
    verify_listed(store, &points, progress)
}

/// So often a store is verified again that changes meanwhile.
const MOST_LISTED: usize = 3;

/// Verifies what a store was found to have.
fn verify_listed(
    store: &dyn Store,
    points: &Points,
    progress: Option<&Progress>,
) -> Result<VerifiedStore> {
    let mut found = VerifiedStore::default();
    let mut reached = Reached::default();
    let mut roots: BTreeMap<Point, Root> = BTreeMap::new();
    let starts = points.archives().iter().enumerate();
    let last_use: BTreeMap<Point, usize> =
        starts.filter_map(|(number, archive)| Some((archive.name.since?, number))).collect();
    for (number, &stored) in points.archives().iter().enumerate() {
        let (to, since) = (stored.name.to, stored.name.since);
        let mut before = None;
        let mut verified = match store::open_archive(store, &stored.name) {
            Ok(archive) => {
                let base = since.and_then(|since| reached.start(since, archive.base()));
                before = base.map(Start::as_before);
                let state = base.map(|base| &base.state);
                let mut verified = row::verify(&archive, state, progress)?;
                let (expected, found) = (roots.get(&to).copied(), archive.result());
                if let Some(expected) = expected.filter(|expected| *expected != found) {
                    verified.problems.push(Error::OtherResult { expected, found });
                }
                roots.entry(to).or_insert(found);
                if since.is_none() && !archive.is_full() {
                    let archive = archive.path().to_path_buf();
                    verified.problems.push(Error::NoFull { archive });
                }
                verified
            }
            Err(error) if store::is_exhaustion(&error) => return Err(store::told(error)),
            Err(error) => Found { problems: vec![error], state: None },
        };
        if let Some(since) = since.filter(|since| points.way_to(*since).is_none()) {
            verified.problems.push(Error::Unlinked { since });
        }
        // A full backup under the name of an increment leads nowhere by itself.
        verified.state = verified.state.filter(|_| since.is_none() || before.is_some());
        let result = Some(restorable(verified.state.as_ref()));
        if let Some(state) = verified.state {
            reached.add(stored, before, state);
        }
        reached.keep(|point| last_use.get(&point).is_some_and(|&last| last > number));
        found.archives.push((stored, Verified { problems: verified.problems, result }));
    }
    found.points = points.all().map(|point| (point, reached.restorable(point))).collect();
    found.passed = passed(points, &reached, &found.archives);
    let mut indexed = HashSet::new();
    for &point in points.indexes() {
        match index_root(store, point, reached.root(point)) {
            Ok(root) => drop(indexed.insert(root)),
            Err(error) if store::is_exhaustion(&error) => return Err(store::told(error)),
            Err(error) => found.indexes.push((point, error)),
        }
    }
    // A backup that was interrupted leaves an index and no archive too, but then that of the state
    // before is still there.
    let newest = points.all().next_back().and_then(|point| reached.root(point));
    if newest.is_none_or(|root| !indexed.contains(&root)) {
        let missing = points.indexes().iter().filter(|point| !points.all().any(|it| it == **point));
        found.missing.extend(missing);
    }
    Ok(found)
}

/// Past which archives with which something is wrong each point is come to, though they are on its way by names and sizes alone.
fn passed(
    points: &Points,
    reached: &Reached,
    archives: &[(StoredArchive, Verified)],
) -> Vec<(Point, Vec<ArchiveName>)> {
    let wrong = archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
    let wrong: HashSet<ArchiveName> = wrong.map(|(stored, _)| stored.name).collect();
    let past = |point: Point| {
        let first = points.way_to(point)?.into_iter().map(|step| step.name);
        let first: Vec<ArchiveName> = first.filter(|name| wrong.contains(name)).collect();
        let taken = match first.is_empty() {
            true => return None,
            false => reached.way_to(point),
        };
        let past: Vec<ArchiveName> = first.into_iter().filter(|it| !taken.contains(it)).collect();
        (!taken.is_empty() && !past.is_empty()).then_some((point, past))
    };
    points.all().filter_map(past).collect()
}

fn restorable(state: Option<&State>) -> Restorable {
    match state {
        None => Restorable::Nothing,
        Some(state) if state.lost.is_empty() => Restorable::Whole,
        Some(state) => Restorable::Without(state.lost.iter().cloned().collect()),
    }
}

/// Reads every byte of the index of a point, which has to be of the tree that archives lead to there.
/// Gives its root.
fn index_root(store: &dyn Store, point: Point, expected: Option<Root>) -> Result<Root> {
    let index = store::open_index(store, point)?;
    index.check_signatures()?;
    match expected {
        Some(expected) if expected != index.root() => {
            Err(Error::OtherIndex { expected, found: index.root() })
        }
        _ => Ok(index.root()),
    }
}
