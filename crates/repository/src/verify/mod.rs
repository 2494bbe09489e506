//! Verifying backups without restoring them: archives one after the other, or all of a store. Knows
//! which archive follows which; what is looked at in each is `step`'s.

mod reached;
mod step;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io::ErrorKind;

use archive::Archive;
use dirindex::{LazyIndex, RelPath, TreeId};
use rsync_core::{Progress, Total};

use self::reached::{Reached, Start};
use self::step::{Found, Kept, State};
use crate::error::{Error, Result};
use crate::store::indexes::IndexFile;
use crate::store::{
    self, ArchiveName, IndexName, SnapshotId, Snapshots, Store, Stored, StoredArchive, StoredIndex,
    failed,
};
use crate::{ParityReport, Repository, chains, heal};

/// What verifying an archive found.
#[derive(Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[must_use = "it says what is damaged"]
pub struct Verified {
    /// What is wrong with it; of its own damage the first place.
    pub problems: Vec<Error>,
    /// What can be restored of the snapshot that it leads to. `None` for an increment that was verified
    /// without what it starts from.
    pub result: Option<Restorable>,
}

impl Verified {
    /// What was found.
    pub fn new(problems: Vec<Error>, result: Option<Restorable>) -> Verified {
        Verified { problems, result }
    }
}

/// How much of a snapshot can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Restorable {
    /// All of it.
    Whole,
    /// All but the content of these files.
    Without(Vec<RelPath>),
    /// Nothing.
    Nothing,
}

/// The files are counted, not named.
impl fmt::Display for Restorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restorable::Whole => f.pad("whole"),
            Restorable::Without(paths) if paths.len() == 1 => f.pad("without 1 file"),
            Restorable::Without(paths) => write!(f, "without {} files", paths.len()),
            Restorable::Nothing => f.pad("nothing"),
        }
    }
}

/// What verifying a store found.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
#[must_use = "it says what is damaged"]
pub struct VerifiedStore {
    /// Each archive, in the order of where they lead.
    pub archives: Vec<(StoredArchive, Verified)>,
    /// What can be restored of each snapshot, by the chain on which the least is lost.
    pub snapshots: Vec<(SnapshotId, Restorable)>,
    /// Snapshots that are restored by another chain, because archives on the one with the fewest bytes are damaged; and these
    /// archives.
    pub skipped: Vec<(SnapshotId, Vec<ArchiveName>)>,
    /// Each index that is damaged or of another tree than its snapshot, and why. That costs nothing
    /// but time: it is made again from the archives.
    pub indexes: Vec<(IndexName, Error)>,
    /// Snapshots of which there is an index and no archive.
    pub missing: Vec<SnapshotId>,
    /// What the parity of files says of them, and what is wrong with it.
    pub parity: ParityReport,
    /// What is wrong with the store as a whole, a sentence each: something was taken away, or is another.
    pub faults: Vec<String>,
    /// The files were compared with what is noted of them, and not read: they are encrypted for others.
    pub unread: bool,
}

impl VerifiedStore {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
            && self.indexes.is_empty()
            && self.missing.is_empty()
            && self.parity.is_sound()
            && self.archives.iter().all(|(_, verified)| verified.problems.is_empty())
            && self.snapshots.iter().all(|(_, restorable)| *restorable == Restorable::Whole)
    }
}

/// Verifies every byte of `archives`, of which each starts where the one before it ends, and that every
/// file they lead to has the content that was backed up: what is whole by its digest, what is a delta
/// by what it makes of its base. Writes nothing. Holds what is in memory of a [snapshot](archive::Snapshot), the changes of one
/// increment and, on each thread, a few MiB.
///
/// # Errors
/// [`archive::Error::Cancelled`].
pub fn verify_archives(archives: &[Archive], progress: Option<&Progress>) -> Result<Vec<Verified>> {
    let mut verified = Vec::with_capacity(archives.len());
    let (mut state, kept): (Option<State>, _) = (None, Kept::default());
    for archive in archives {
        let Found { problems, state: next } = step::verify(archive, state.take(), &kept, progress)?;
        let on_its_own = !archive.is_full() && verified.is_empty();
        let result = (!on_its_own).then(|| restorable(next.as_ref()));
        verified.push(Verified { problems, result });
        state = next;
    }
    Ok(verified)
}

impl<S: Store> Repository<S> {
    /// Verifies the store as [`verify_archives`] does each chain of archives in it, and that none is missing from between
    /// others.
    ///
    /// A backup or prune that is at work meanwhile is no fault: when something is wrong, and the store has other files than
    /// before, they are verified again.
    ///
    /// # Errors
    /// [`Error::Store`] when it cannot be listed, [`Error::TooManyOpen`], and [`archive::Error::Cancelled`]. What is wrong
    /// with what is in it is found.
    pub fn verify(&self, progress: Option<&Progress>) -> Result<VerifiedStore> {
        let mut files = store::list(self.store())?;
        for _ in 0..MOST_LISTED {
            let found = verify_listed(self.store(), &files, progress)?;
            if found.is_sound() {
                return Ok(found);
            }
            let now = store::list(self.store())?;
            if Snapshots::of(&now).is_same(&Snapshots::of(&files)) {
                return Ok(found);
            }
            files = now;
        }
        verify_listed(self.store(), &files, progress)
    }
}

/// So often a store is verified again that changes meanwhile.
const MOST_LISTED: usize = 3;

/// Verifies what a store was found to have.
fn verify_listed(
    store: &dyn Store,
    files: &[Stored],
    progress: Option<&Progress>,
) -> Result<VerifiedStore> {
    let snapshots = &Snapshots::of(files);
    let faults = store.audit().map_err(|source| failed("verify", "the store", source))?;
    let mut found = VerifiedStore { faults, ..VerifiedStore::default() };
    if !store.is_readable() {
        for file in files {
            match store.compare(&file.name) {
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    found.faults.push(format!("{}: {error}", file.name));
                }
                compared => compared.map_err(|source| failed("verify", &file.name, source))?,
            }
        }
        (found.parity, found.unread) = (heal::examine(store, files, None, progress)?, true);
        return Ok(found);
    }
    let (mut reached, kept) = (Reached::default(), Kept::default());
    let mut ids: BTreeMap<SnapshotId, TreeId> = BTreeMap::new();
    let starts = snapshots.archives().iter().enumerate();
    let last_use: BTreeMap<SnapshotId, usize> =
        starts.filter_map(|(number, archive)| Some((archive.name.since?, number))).collect();
    let (mut done, whole) = (0, snapshots.archives().iter().map(|stored| stored.size).sum());
    for (number, &stored) in snapshots.archives().iter().enumerate() {
        let (to, since) = (stored.name.to, stored.name.since);
        let mut before = None;
        let mut verified = match store::open_archive_as_it_is(store, &stored.name) {
            Ok(archive) => {
                let is_last = since.is_some_and(|since| last_use.get(&since) == Some(&number));
                let base = since.and_then(|since| reached.start(since, archive.base(), is_last));
                before = base.as_ref().map(Start::as_before);
                if let Some(progress) = progress {
                    let total = Some(Total::Bytes(archive.contents_len()));
                    progress.begin_part("verifying", total, done, stored.size, whole);
                }
                done += stored.size;
                let base = base.map(|base| base.state);
                let mut verified = step::verify(&archive, base, &kept, progress)?;
                let (expected, found) = (ids.get(&to).copied(), archive.result());
                if let Some(expected) = expected.filter(|expected| *expected != found) {
                    verified.problems.push(Error::OtherResult { expected, found });
                }
                ids.entry(to).or_insert(found);
                if since.is_none() && !archive.is_full() {
                    let archive = archive.path().to_path_buf();
                    verified.problems.push(Error::NoFull { archive });
                }
                verified
            }
            Err(error) if chains::is_exhaustion(&error) => return Err(chains::with_limit(error)),
            Err(error) => Found { problems: vec![error], state: None },
        };
        if let Some(since) = since.filter(|since| snapshots.last_to(*since).is_none()) {
            verified.problems.push(Error::Unlinked { since });
        }
        // A full backup under the name of an increment leads nowhere by itself.
        verified.state = verified.state.filter(|_| since.is_none() || before.is_some());
        let result = Some(restorable(verified.state.as_ref()));
        if let Some(state) = verified.state {
            reached.add(stored, before, state);
        }
        reached.keep(|snapshot| last_use.get(&snapshot).is_some_and(|&last| last > number));
        found.archives.push((stored, Verified { problems: verified.problems, result }));
    }
    // Indexes and parities take memory of their own.
    drop(kept);
    found.snapshots =
        snapshots.all().map(|snapshot| (snapshot, reached.restorable(snapshot))).collect();
    found.skipped = skipped(snapshots, &reached, &found.archives);
    let mut before: HashMap<SnapshotId, LazyIndex> = HashMap::new();
    // One that others are upon may have been scanned, and a file stored as it was then, so that it is of no snapshot. The others say
    // upon which tree they are.
    let bases = snapshots.indexes().iter().filter_map(|index| index.name.since);
    let bases: HashSet<SnapshotId> = bases.collect();
    for StoredIndex { name, .. } in snapshots.indexes() {
        let expected = reached.tree(name.of).filter(|_| !bases.contains(&name.of));
        match index_of(store, *name, &before, expected) {
            Ok(index) => {
                before.insert(name.of, index);
            }
            Err(error) if chains::is_exhaustion(&error) => return Err(chains::with_limit(error)),
            Err(error) => found.indexes.push((*name, error)),
        }
    }
    let newest = snapshots.all().next_back().and_then(|snapshot| reached.tree(snapshot));
    if let Some(StoredIndex { name: IndexName { of, .. }, .. }) = snapshots.indexes().last()
        && before.get(of).is_some_and(|index| Some(index.tree_id()) != newest)
        && !(store.tells_losses() || snapshots.is_begun(*of))
        && !snapshots.all().any(|snapshot| snapshot == *of)
    {
        found.missing.push(*of);
    }
    found.parity = heal::examine(store, files, None, progress)?;
    Ok(found)
}

/// Which damaged archives on the chain with the fewest bytes each snapshot is restored without.
fn skipped(
    snapshots: &Snapshots,
    reached: &Reached,
    archives: &[(StoredArchive, Verified)],
) -> Vec<(SnapshotId, Vec<ArchiveName>)> {
    let wrong = archives.iter().filter(|(_, verified)| !verified.problems.is_empty());
    let wrong: HashSet<ArchiveName> = wrong.map(|(stored, _)| stored.name).collect();
    if wrong.is_empty() {
        return Vec::new();
    }
    let past = |snapshot: SnapshotId| {
        let first = snapshots.chain_to(snapshot)?.into_iter().map(|step| step.name);
        let first: Vec<ArchiveName> = first.filter(|name| wrong.contains(name)).collect();
        let taken = match first.is_empty() {
            true => return None,
            false => reached.chain_to(snapshot),
        };
        let past: Vec<ArchiveName> = first.into_iter().filter(|it| !taken.contains(it)).collect();
        (!taken.is_empty() && !past.is_empty()).then_some((snapshot, past))
    };
    snapshots.all().filter_map(past).collect()
}

fn restorable(state: Option<&State>) -> Restorable {
    match state {
        None => Restorable::Nothing,
        Some(state) if state.lost.is_empty() => Restorable::Whole,
        Some(state) => Restorable::Without(state.lost.iter().cloned().collect()),
    }
}

/// Reads every byte of an index, which has to be of the tree that archives lead to there. `before` are the indexes of earlier
/// snapshots.
fn index_of(
    store: &dyn Store,
    name: IndexName,
    before: &HashMap<SnapshotId, LazyIndex>,
    expected: Option<TreeId>,
) -> Result<LazyIndex> {
    let index = match IndexFile::check(store, name)? {
        IndexFile::Whole(index) => index,
        IndexFile::Run(run) => {
            let of = name.since.unwrap_or(name.of);
            before.get(&of).ok_or(Error::IndexMissing { of })?.with_runs(&[run])?
        }
    };
    match expected {
        Some(expected) if expected != index.tree_id() => {
            Err(Error::OtherIndex { expected, found: index.tree_id() })
        }
        _ => Ok(index),
    }
}
