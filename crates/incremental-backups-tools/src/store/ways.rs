//! Going to a point by another way when archives on the cheapest one turn out to be damaged. Knows which archives a
//! failure speaks of, not what is done with them.

use std::collections::{HashSet, VecDeque};
use std::error::Error as _;
use std::io;

use archive::Archive;

use super::{ArchiveName, Point, Points, Store, StoredArchive, open_archive};
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
/// # Errors
/// [`Error::NoWay`] when archives are missing; the last error of `attempt`, and any that is not the archives' fault at
/// once.
pub fn by_any_way<T>(
    store: &dyn Store,
    points: &Points,
    point: Point,
    passed: &mut Vec<PassedOver>,
    mut attempt: impl FnMut(&[Archive]) -> Result<T>,
) -> Result<T> {
    let mut search = Search::new(points, point);
    let mut way = search.next().ok_or(Error::NoWay { point })?;
    loop {
        let (fault, done) = match open(store, &way).map(|archives| attempt(&archives)) {
            Ok(done) => match done.as_ref().err().and_then(|error| fault_of(error, &way)) {
                Some(fault) => (fault, done),
                None => return done,
            },
            Err(failed) => (failed.0, Err(failed.1)),
        };
        let Some(last) = way.last().map(|last| last.name) else { return done };
        search.learn(&way, &fault);
        let Some(next) = search.next() else { return done };
        let archive = match fault {
            Fault::All(archive) | Fault::Part(archive) | Fault::Apart(_, archive) => archive,
            Fault::Unknown => last,
        };
        passed.extend(done.err().map(|error| PassedOver { archive, error }));
        way = next;
    }
}

/// Why a way was of no use.
enum Fault {
    /// The archive.
    All(ArchiveName),
    /// Something in the archive, which it may be possible to do without.
    Part(ArchiveName),
    /// That the second follows the first.
    Apart(ArchiveName, ArchiveName),
    /// This way.
    Unknown,
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
        let left = archives.iter().fold(self.points.clone(), |left, name| left.without(name));
        left.way_to(self.point)
    }

    /// Takes in why `way`, the last one given, was of no use.
    fn learn(&mut self, way: &[StoredArchive], fault: &Fault) {
        let last = way.len().saturating_sub(1);
        let after = match fault {
            Fault::All(archive) => {
                self.points = self.points.without(archive);
                return self.others.push_front(self.without.clone());
            }
            Fault::Apart(before, after) => {
                self.points = self.points.apart(*before, *after);
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
fn open(store: &dyn Store, way: &[StoredArchive]) -> Result<Vec<Archive>, Box<(Fault, Error)>> {
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
            let delta =
                matches!(error, Error::Bytes { source: rsync_core::Error::Delta { .. }, .. });
            let made = matches!(error, Error::Content { .. } | Error::Diff(_));
            (delta || made || matches!(error, Error::OtherResult { .. })).then_some(Fault::Unknown)
        }
    }
}

/// The first error of an archive that another came of.
fn within(error: &Error) -> Option<&archive::Error> {
    let mut found = match error {
        Error::Archived(found) => Some(found),
        _ => None,
    };
    let mut at = error.source();
    while let Some(error) = at {
        found = error.downcast_ref().or(found);
        // What an I/O error is made of is not its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = inner.map(|inner| inner as _).or_else(|| error.source());
    }
    found
}
