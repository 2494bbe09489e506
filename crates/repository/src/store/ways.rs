//! Going to a point by another way when archives on the cheapest one turn out to be damaged. Knows which archives a
//! failure speaks of, not what is done with them.

use std::collections::{HashSet, VecDeque};
use std::io;

use archive::Archive;

use super::{ArchiveName, Point, Points, Store, StoredArchive, open_archive, points};
use crate::error::{Error, Result};

/// An archive past which a point was come to, or tried to.
#[derive(Debug)]
pub struct PassedOver {
    /// Which one.
    pub archive: ArchiveName,
    /// What is wrong with it.
    pub error: Error,
}

/// Gives `attempt` the archives that lead to `point` from nothing, by the way with the fewest bytes. When one of them cannot be
/// read, or does not go with the others, and so when `attempt` fails by what is in them, that is told in `passed`, and
/// the next way is tried: the cheapest without such archives. `attempt` must have changed nothing when it fails so,
/// as [`restore`](crate::restore) and [`repair`](crate::repair()) have not.
///
/// When every way leads over such an archive, those are tried, some 64 at most, that go on from it by others: what is damaged in
/// it may not matter to them.
///
/// Another process may change the store meanwhile, as a prune does, which puts one archive in the place of several. So when an
/// archive is gone, or none lead to the point, the store is listed again, and what it has then is tried.
///
/// # Errors
/// [`Error::NoWay`] when archives are missing; the last error of `attempt`, and any that is not the archives' fault at
/// once.
pub fn by_any_way<T>(
    store: &dyn Store,
    listed: &Points,
    point: Point,
    passed: &mut Vec<PassedOver>,
    mut attempt: impl FnMut(&[Archive]) -> Result<T>,
) -> Result<T> {
    let mut listed = listed.clone();
    for _ in 0..MOST_LISTED {
        let mut past = Vec::new();
        let done = by_listed(store, &listed, point, &mut past, &mut attempt);
        let was_gone = past.iter().any(|past| is_gone(&past.error));
        past.retain(|past| !is_gone(&past.error));
        let retry = done.as_ref().is_err_and(|error| was_gone || is_gone(error));
        let now = if retry { Some(points(store)?) } else { None };
        match now {
            Some(now) if !now.is_same(&listed) => listed = now,
            _ => {
                passed.append(&mut past);
                return done;
            }
        }
    }
    by_listed(store, &listed, point, passed, &mut attempt)
}

/// So often a store is listed again that changes while it is read.
const MOST_LISTED: usize = 5;

/// Whether `error` says that something is not there which the names led to.
pub(crate) fn is_gone(error: &Error) -> bool {
    let not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    matches!(error, Error::NoWay { .. } | Error::Unlinked { .. })
        || causes(error).any(|cause| cause.downcast_ref().is_some_and(not_found))
}

/// Whether `error` says that there is no room for what is written.
pub(crate) fn is_full(error: &Error) -> bool {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let is_full = |error: &io::Error| kinds.contains(&error.kind());
    causes(error).any(|cause| cause.downcast_ref().is_some_and(is_full))
}

/// Whether `error` came of what is in archives, one of which is called `name`, and not of the way to it.
pub(crate) fn is_damage(error: &Error, archive: &StoredArchive) -> bool {
    matches!(error, Error::NoFull { .. }) || fault_of(error, &[*archive]).is_some()
}

/// Whether `error` came of too many open files: that says nothing of what was to be read.
pub(crate) fn is_exhaustion(error: &Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(dirindex::is_exhaustion))
}

/// [`by_any_way`], of what was listed.
fn by_listed<T>(
    store: &dyn Store,
    points: &Points,
    point: Point,
    passed: &mut Vec<PassedOver>,
    attempt: &mut impl FnMut(&[Archive]) -> Result<T>,
) -> Result<T> {
    let mut search = Search::new(points, point);
    let mut way = search.next().ok_or(Error::NoWay { point })?;
    loop {
        let (fault, done) = match open(store, &way).map(|archives| attempt(&archives)) {
            Ok(done) => match done.as_ref().err().and_then(|error| fault_of(error, &way)) {
                Some(fault) => (fault, done),
                None => return done.map_err(told),
            },
            Err(failed) if is_exhaustion(&failed.1) => return Err(told(failed.1)),
            Err(failed) => (failed.0, Err(failed.1)),
        };
        let Some(last) = way.last().map(|last| last.name) else { return done };
        search.learn(&way, &fault);
        let Some(next) = search.next() else { return done };
        let archive = fault.archive().unwrap_or(last);
        passed.extend(done.err().map(|error| PassedOver { archive, error }));
        way = next;
    }
}

/// An error of too many open files says so first.
pub(crate) fn told(error: Error) -> Error {
    match is_exhaustion(&error) {
        true => Error::TooManyOpen { source: Box::new(error) },
        false => error,
    }
}

/// Why a way was of no use.
pub(crate) enum Fault {
    /// The archive.
    All(ArchiveName),
    /// Something in the archive, which it may be possible to do without.
    Part(ArchiveName),
    /// That the second follows the first.
    Apart(ArchiveName, ArchiveName),
    /// This way.
    Unknown,
}

impl Fault {
    /// The archive that is at fault, if it is known.
    pub(crate) fn archive(&self) -> Option<ArchiveName> {
        match self {
            Fault::All(archive) | Fault::Part(archive) | Fault::Apart(_, archive) => Some(*archive),
            Fault::Unknown => None,
        }
    }

    /// What is left of `points`, when nothing is to be built upon what has this fault.
    pub(crate) fn left_of(&self, points: &Points) -> Points {
        match self {
            Fault::All(archive) | Fault::Part(archive) => points.without([archive]),
            Fault::Apart(before, after) => points.apart(*before, *after),
            Fault::Unknown => points.clone(),
        }
    }
}

/// No more ways than this are tried once none is left without a damaged archive.
const MOST_TRIED: usize = 64;

/// The ways to a point that are left.
struct Search {
    point: Point,
    /// Without archives of which nothing can be used.
    points: Points,
    /// Those in which something is damaged, or with which a way was of no use.
    damaged: Vec<ArchiveName>,
    /// What to do without, to come by another way over damaged ones; and now.
    others: VecDeque<Vec<ArchiveName>>,
    without: Vec<ArchiveName>,
    tried: HashSet<Vec<ArchiveName>>,
}

impl Search {
    fn new(points: &Points, point: Point) -> Search {
        let (points, damaged, others) = (points.clone(), Vec::new(), VecDeque::new());
        Search { point, points, damaged, others, without: Vec::new(), tried: HashSet::new() }
    }

    fn next(&mut self) -> Option<Vec<StoredArchive>> {
        if let Some(way) = self.way_without(&self.damaged) {
            self.without.clear();
            self.tried.insert(names(&way));
            return Some(way);
        }
        while self.tried.len() < MOST_TRIED {
            self.without = self.others.pop_front()?;
            if let Some(way) = self.way_without(&self.without)
                && self.tried.insert(names(&way))
            {
                return Some(way);
            }
        }
        None
    }

    fn way_without(&self, archives: &[ArchiveName]) -> Option<Vec<StoredArchive>> {
        match archives {
            [] => self.points.way_to(self.point),
            archives => self.points.without(archives).way_to(self.point),
        }
    }

    /// Takes in why `way`, the last one given, was of no use.
    fn learn(&mut self, way: &[StoredArchive], fault: &Fault) {
        let last = way.len().saturating_sub(1);
        let after = match fault {
            Fault::All(_) | Fault::Apart(..) => {
                self.points = fault.left_of(&self.points);
                return self.others.push_front(self.without.clone());
            }
            Fault::Part(archive) => {
                self.damaged.push(*archive);
                way.iter().position(|step| step.name == *archive).map_or(last, |at| at + 1)
            }
            Fault::Unknown => {
                self.damaged.extend(way.last().map(|last| last.name));
                last
            }
        };
        for step in way.get(after..).unwrap_or_default().iter().rev() {
            self.others.push_back([self.without.as_slice(), &[step.name]].concat());
        }
    }
}

fn names(way: &[StoredArchive]) -> Vec<ArchiveName> {
    way.iter().map(|step| step.name).collect()
}

/// Opens the archives of a way, which have to start where the one before ends, the first from nothing.
pub(crate) fn open(
    store: &dyn Store,
    way: &[StoredArchive],
) -> Result<Vec<Archive>, Box<(Fault, Error)>> {
    let mut archives: Vec<Archive> = Vec::with_capacity(way.len());
    let mut before: Option<ArchiveName> = None;
    for StoredArchive { name, .. } in way {
        let failed = |error| Box::new((Fault::All(*name), error));
        let archive = open_archive(store, name).map_err(failed)?;
        match before.zip(archives.last()) {
            None if !archive.is_full() => {
                return Err(failed(Error::NoFull { archive: archive.path().to_path_buf() }));
            }
            Some((before, last)) if last.result() != archive.base() => {
                let roots = Box::new((last.result(), archive.base()));
                let [first, after] = [before, *name].map(|name| name.to_string());
                let error = archive::Error::Unlinked { before: first, after, roots };
                return Err(Box::new((Fault::Apart(before, *name), error.into())));
            }
            _ => {}
        }
        archives.push(archive);
        before = Some(*name);
    }
    Ok(archives)
}

/// Why `way` is of no use, when `error` came of what is in its archives, or of reading them: then nothing has been made
/// of them.
fn fault_of(error: &Error, way: &[StoredArchive]) -> Option<Fault> {
    use archive::Error::{Damaged, Diff, Io, NotFull, NotStored, Sign, Unlinked};
    if is_exhaustion(error) {
        return None;
    }
    let part = |named: &str| {
        let archive = way.iter().find(|step| step.name.to_string() == named);
        archive.map(|archive| Fault::Part(archive.name))
    };
    match within(error) {
        Some(Damaged { archive, .. } | Diff { archive, .. } | NotStored { archive, .. }) => {
            Some(part(archive).unwrap_or(Fault::Unknown))
        }
        Some(Io { path, .. }) => part(&path.display().to_string()),
        Some(Unlinked { .. } | NotFull { .. } | Sign { .. }) => Some(Fault::Unknown),
        Some(_) => None,
        None => {
            use apply::Error::{Bytes, Content};
            let made = matches!(
                error,
                Error::Apply(
                    Content { .. } | Bytes { source: rsync_core::Error::Delta { .. }, .. }
                ) | Error::Diff(_)
                    | Error::OtherResult { .. }
            );
            made.then_some(Fault::Unknown)
        }
    }
}

/// The first error of an archive that another came of.
fn within(error: &Error) -> Option<&archive::Error> {
    let found = match error {
        Error::Archived(found) | Error::Apply(apply::Error::Archived(found)) => Some(found),
        _ => None,
    };
    causes(error).filter_map(|cause| cause.downcast_ref()).last().or(found)
}

/// `error`, and all that it came of.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| {
        // What an I/O error is made of is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as _).or_else(|| match error.downcast_ref::<Error>() {
            // It says what its cause says, and hides it.
            Some(Error::Archived(inner)) => Some(inner as _),
            Some(Error::Index(inner)) => Some(inner as _),
            Some(Error::Apply(inner)) => Some(inner as _),
            _ => match error.downcast_ref::<apply::Error>() {
                Some(apply::Error::Archived(inner)) => Some(inner as _),
                _ => error.source(),
            },
        })
    })
}
