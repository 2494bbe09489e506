//! Going to a point by another way when archives on the cheapest one turn out to be damaged. Knows which archives a
//! failure speaks of, not what is done with them.

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
/// When every way leads over such an archive, those are tried that come to the point by another last one: what is damaged in
/// the others may not matter to it.
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
        search.learn(last, &fault);
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

/// The ways to a point that are left.
struct Search {
    point: Point,
    /// Those without any archive that is known to be damaged.
    sound: Points,
    /// Those by another last archive.
    fresh: Points,
}

impl Search {
    fn new(points: &Points, point: Point) -> Search {
        Search { point, sound: points.clone(), fresh: points.clone() }
    }

    fn next(&self) -> Option<Vec<StoredArchive>> {
        self.sound.way_to(self.point).or_else(|| self.fresh.way_to(self.point))
    }

    /// Takes in why a way that ends with `last` was of no use.
    fn learn(&mut self, last: ArchiveName, fault: &Fault) {
        let remove = |points: &Points| match fault {
            Fault::All(archive) => points.without(archive),
            Fault::Apart(before, after) => points.apart(*before, *after),
            Fault::Part(_) | Fault::Unknown => points.clone(),
        };
        self.sound = remove(&self.sound);
        self.fresh = remove(&self.fresh);
        match fault {
            Fault::Part(archive) => self.sound = self.sound.without(archive),
            Fault::Unknown => self.sound = self.sound.without(&last),
            Fault::All(_) | Fault::Apart(..) => return,
        }
        self.fresh = self.fresh.without(&last);
    }
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
