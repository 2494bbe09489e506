//! Going to a snapshot by another chain when archives on the cheapest one turn out to be damaged. Knows which archives a
//! failure speaks of, not what is done with them.

use std::collections::{HashSet, VecDeque};
use std::io;

use archive::Archive;
use rayon::prelude::*;

use crate::Repository;
use crate::error::{Error, Result};
use crate::store::{self, ArchiveName, SnapshotId, Snapshots, Store, StoredArchive};

/// An archive that was skipped, since it is damaged or does not go with the others.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Skipped {
    /// Which one.
    pub archive: ArchiveName,
    /// What is wrong with it.
    pub error: Error,
}

impl<S: Store> Repository<S> {
    /// Gives `attempt` the archives that lead to `snapshot` from nothing, by the chain with the fewest bytes. When one of them
    /// cannot be read, or does not go with the others, it is skipped, and so when `attempt` fails by what is in it: the next
    /// chain is tried, the cheapest without such archives. `attempt` must have changed nothing when it fails so.
    ///
    /// When every chain leads over such an archive, those are tried, some 64 at most, that go on from it by others: what is
    /// damaged in it may not matter to them.
    ///
    /// Another process may change the store meanwhile, as a prune does, which puts one archive in the place of several. So when
    /// an archive is gone, or none lead to the snapshot, the store is listed again, and what it has then is tried.
    ///
    /// # Errors
    /// [`Error::NoChain`] when archives are missing; the error of `attempt` that is not the archives' fault;
    /// [`Error::EveryChain`] with the last error when archives were skipped.
    pub fn with_archives<T>(
        &self,
        snapshot: SnapshotId,
        attempt: impl FnMut(&[Archive]) -> Result<T>,
    ) -> Result<(T, Vec<Skipped>)> {
        try_chains(self.store(), &self.snapshots()?, snapshot, attempt)
    }
}

/// [`Repository::with_archives`], of a store that was listed.
pub(crate) fn try_chains<T>(
    store: &dyn Store,
    listed: &Snapshots,
    snapshot: SnapshotId,
    attempt: impl FnMut(&[Archive]) -> Result<T>,
) -> Result<(T, Vec<Skipped>)> {
    let mut skipped = Vec::new();
    match by_any_chain(store, listed, snapshot, &mut skipped, attempt) {
        Ok(done) => Ok((done, skipped)),
        Err(error) if skipped.is_empty() => Err(error),
        Err(error) => Err(Error::EveryChain { skipped, source: Box::new(error) }),
    }
}

/// [`try_chains`], which says in `skipped` what was skipped.
pub(crate) fn by_any_chain<T>(
    store: &dyn Store,
    listed: &Snapshots,
    snapshot: SnapshotId,
    skipped: &mut Vec<Skipped>,
    mut attempt: impl FnMut(&[Archive]) -> Result<T>,
) -> Result<T> {
    let mut listed = listed.clone();
    for _ in 0..MOST_LISTED {
        let mut past = Vec::new();
        let done = by_listed(store, &listed, snapshot, &mut past, &mut attempt);
        let was_gone = past.iter().any(|past| is_gone(&past.error));
        past.retain(|past| !is_gone(&past.error));
        let retry = done.as_ref().is_err_and(|error| was_gone || is_gone(error));
        let now = if retry { Some(store::snapshots(store)?) } else { None };
        match now {
            Some(now) if !now.is_same(&listed) => listed = now,
            _ => {
                skipped.append(&mut past);
                return done;
            }
        }
    }
    by_listed(store, &listed, snapshot, skipped, &mut attempt)
}

/// So often a store is listed again that changes while it is read.
const MOST_LISTED: usize = 5;

/// Whether `error` says that something is not there which the names led to.
pub(crate) fn is_gone(error: &Error) -> bool {
    let not_found = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    matches!(error, Error::NoChain { .. } | Error::Unlinked { .. })
        || causes(error).any(|cause| cause.downcast_ref().is_some_and(not_found))
}

/// Whether `error` says that there is no room for what is written.
pub(crate) fn is_full(error: &Error) -> bool {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let is_full = |error: &io::Error| kinds.contains(&error.kind());
    causes(error).any(|cause| cause.downcast_ref().is_some_and(is_full))
}

/// Whether `error` came of what is in `archive`, and not of the way to it.
pub(crate) fn is_damage(error: &Error, archive: &StoredArchive) -> bool {
    matches!(error, Error::NoFull { .. }) || fault_of(error, &[*archive]).is_some()
}

impl Error {
    /// Whether it came of what is in archives, or of reading them: then
    /// [`skip_damaged`](apply::ApplyOptions::skip_damaged) restores what is not damaged.
    #[must_use]
    pub fn is_of_archives(&self) -> bool {
        match self {
            Error::EveryChain { source, .. } => source.is_of_archives(),
            error if is_exhaustion(error) => false,
            error => {
                let unread = matches!(within(error), Some(archive::Error::Io { .. }));
                unread || fault_of(error, &[]).is_some()
            }
        }
    }
}

/// Whether `error` came of too many open files: that says nothing of what was to be read.
pub(crate) fn is_exhaustion(error: &Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(dirindex::is_exhaustion))
}

/// [`by_any_chain`], of what was listed.
fn by_listed<T>(
    store: &dyn Store,
    snapshots: &Snapshots,
    snapshot: SnapshotId,
    skipped: &mut Vec<Skipped>,
    attempt: &mut impl FnMut(&[Archive]) -> Result<T>,
) -> Result<T> {
    let mut search = Search::new(snapshots, snapshot);
    let mut chain = search.next().ok_or(Error::NoChain { snapshot })?;
    loop {
        let (fault, done) = match open(store, &chain).map(|archives| attempt(&archives)) {
            Ok(done) => match done.as_ref().err().and_then(|error| fault_of(error, &chain)) {
                Some(fault) => (fault, done),
                None => return done.map_err(with_limit),
            },
            Err(failed) if is_exhaustion(&failed.1) => return Err(with_limit(failed.1)),
            Err(failed) => (failed.0, Err(failed.1)),
        };
        let Some(last) = chain.last().map(|last| last.name) else { return done };
        search.learn(&chain, &fault);
        let Some(next) = search.next() else { return done };
        let archive = fault.archive().unwrap_or(last);
        skipped.extend(done.err().map(|error| Skipped { archive, error }));
        chain = next;
    }
}

/// An error of too many open files says so first.
pub(crate) fn with_limit(error: Error) -> Error {
    match is_exhaustion(&error) {
        true => Error::TooManyOpen { source: Box::new(error) },
        false => error,
    }
}

/// Why a chain was of no use.
pub(crate) enum Fault {
    /// The archive.
    All(ArchiveName),
    /// Something in the archive, which it may be possible to do without.
    Part(ArchiveName),
    /// That the second follows the first.
    Apart(ArchiveName, ArchiveName),
    /// This chain.
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

    /// What is left of `snapshots`, when nothing is to be built upon what has this fault.
    pub(crate) fn left_of(&self, snapshots: &Snapshots) -> Snapshots {
        match self {
            Fault::All(archive) | Fault::Part(archive) => snapshots.without([archive]),
            Fault::Apart(before, after) => snapshots.apart(*before, *after),
            Fault::Unknown => snapshots.clone(),
        }
    }
}

/// No more chains than this are tried once none is left without a damaged archive.
const MOST_TRIED: usize = 64;

/// The chains to a snapshot that are left.
struct Search {
    snapshot: SnapshotId,
    /// Without archives of which nothing can be used.
    snapshots: Snapshots,
    /// Those in which something is damaged, or with which a chain was of no use.
    damaged: Vec<ArchiveName>,
    /// What to do without, to come by another chain over damaged ones; and now.
    others: VecDeque<Vec<ArchiveName>>,
    without: Vec<ArchiveName>,
    tried: HashSet<Vec<ArchiveName>>,
}

impl Search {
    fn new(snapshots: &Snapshots, snapshot: SnapshotId) -> Search {
        let (snapshots, damaged, others) = (snapshots.clone(), Vec::new(), VecDeque::new());
        Search { snapshot, snapshots, damaged, others, without: Vec::new(), tried: HashSet::new() }
    }

    fn next(&mut self) -> Option<Vec<StoredArchive>> {
        if let Some(chain) = self.chain_without(&self.damaged) {
            self.without.clear();
            self.tried.insert(names(&chain));
            return Some(chain);
        }
        while self.tried.len() < MOST_TRIED {
            self.without = self.others.pop_front()?;
            if let Some(chain) = self.chain_without(&self.without)
                && self.tried.insert(names(&chain))
            {
                return Some(chain);
            }
        }
        None
    }

    fn chain_without(&self, archives: &[ArchiveName]) -> Option<Vec<StoredArchive>> {
        match archives {
            [] => self.snapshots.chain_to(self.snapshot),
            archives => self.snapshots.without(archives).chain_to(self.snapshot),
        }
    }

    /// Takes in why `chain`, the last one given, was of no use.
    fn learn(&mut self, chain: &[StoredArchive], fault: &Fault) {
        let last = chain.len().saturating_sub(1);
        let after = match fault {
            Fault::All(_) | Fault::Apart(..) => {
                self.snapshots = fault.left_of(&self.snapshots);
                return self.others.push_front(self.without.clone());
            }
            Fault::Part(archive) => {
                self.damaged.push(*archive);
                chain.iter().position(|step| step.name == *archive).map_or(last, |at| at + 1)
            }
            Fault::Unknown => {
                self.damaged.extend(chain.last().map(|last| last.name));
                last
            }
        };
        for step in chain.get(after..).unwrap_or_default().iter().rev() {
            self.others.push_back([self.without.as_slice(), &[step.name]].concat());
        }
    }
}

fn names(chain: &[StoredArchive]) -> Vec<ArchiveName> {
    chain.iter().map(|step| step.name).collect()
}

/// Opens the archives of a chain, which have to start where the one before ends, the first from nothing.
pub(crate) fn open(
    store: &dyn Store,
    chain: &[StoredArchive],
) -> Result<Vec<Archive>, Box<(Fault, Error)>> {
    let mut archives: Vec<Archive> = Vec::with_capacity(chain.len());
    let mut before: Option<ArchiveName> = None;
    let opened =
        chain.par_iter().map(|StoredArchive { name, .. }| store::open_archive(store, name));
    for (StoredArchive { name, .. }, opened) in chain.iter().zip(opened.collect::<Vec<_>>()) {
        let failed = |error| Box::new((Fault::All(*name), error));
        let archive = opened.map_err(failed)?;
        match before.zip(archives.last()) {
            None if !archive.is_full() => {
                return Err(failed(Error::NoFull { archive: archive.path().to_path_buf() }));
            }
            Some((before, last)) if last.result() != archive.base() => {
                let trees = Box::new((last.result(), archive.base()));
                let [first, after] = [before, *name].map(|name| name.to_string());
                let error = archive::Error::Unlinked { before: first, after, trees };
                return Err(Box::new((Fault::Apart(before, *name), error.into())));
            }
            _ => {}
        }
        archives.push(archive);
        before = Some(*name);
    }
    Ok(archives)
}

/// Why `chain` is of no use, when `error` came of what is in its archives, or of reading them: then nothing has been made
/// of them.
fn fault_of(error: &Error, chain: &[StoredArchive]) -> Option<Fault> {
    use archive::Error::{Damaged, Diff, Io, NotFull, NotStored, Sign, Unlinked};
    if is_exhaustion(error) {
        return None;
    }
    let part = |named: &str| {
        let archive = chain.iter().find(|step| step.name.to_string() == named);
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
