//! One archive on top of what the ones before it lead to: whether every byte of it is sound, and each
//! delta meets its base. Knows no store; writes nothing, not even temporary files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::{Archive, LazyData, Snapshot, SnapshotReader, Unpacked};
use diffindex::{Change, Content};
use dirindex::{Node, RelPath, TreeId};
use rayon::prelude::*;
use rsync_core::Progress;

use crate::chains;
use crate::error::{Error, Result};

/// Contents that one task of the thread pool reads: neighbours, mostly in the same frames.
const RUN: usize = 64;

/// A snapshot that archives lead to, as far as they are sound.
#[derive(Clone)]
pub(super) struct State {
    snapshot: Snapshot,
    /// The files whose content cannot be had.
    pub(super) lost: BTreeSet<RelPath>,
}

impl State {
    pub(super) fn tree_id(&self) -> TreeId {
        self.snapshot.id()
    }
}

/// What verifying an archive found.
pub(super) struct Found {
    /// What is wrong with it: of damage, the first place.
    pub(super) problems: Vec<Error>,
    /// What it leads to; `None` where nothing can be restored with it.
    pub(super) state: Option<State>,
}

/// What was unpacked to verify some archives, for those after them. One for each thread.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Unpacked>>);

impl Kept {
    fn locked(&self) -> MutexGuard<'_, Vec<Unpacked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verifies `archive`, which is a full backup or starts from `base`, if that can be had.
///
/// # Errors
/// [`archive::Error::Cancelled`] and [`Error::TooManyOpen`] alone; what is wrong with the archive is found.
pub(super) fn verify(
    archive: &Archive,
    base: Option<State>,
    kept: &Kept,
    progress: Option<&Progress>,
) -> Result<Found> {
    let mut problems = Vec::new();
    let state = check(archive, base, kept, progress, &mut problems);
    if problems.iter().any(is_cancelled) {
        return Err(archive::Error::Cancelled.into());
    }
    // That says nothing of the archive.
    match problems.iter().position(chains::is_exhaustion) {
        Some(at) => Err(chains::with_limit(problems.swap_remove(at))),
        None => Ok(Found { problems, state }),
    }
}

fn is_cancelled(error: &Error) -> bool {
    matches!(error, Error::Archived(archive::Error::Cancelled))
}

fn check(
    archive: &Archive,
    base: Option<State>,
    kept: &Kept,
    progress: Option<&Progress>,
    problems: &mut Vec<Error>,
) -> Option<State> {
    let mut noted = |error: Error| problems.push(error);
    let data = LazyData::open(archive).map_err(|error| noted(error.into())).ok()?;
    let sound = data.verify(progress).map_err(|error| noted(error.into())).is_ok();
    let (start, before) = match (archive.is_full(), base) {
        (true, None) => (Snapshot::empty(), BTreeSet::new()),
        (_, Some(State { snapshot, lost })) => (snapshot, lost),
        (false, None) => return None,
    };
    // Where nothing was lost before and all is sound, files are lost by deltas alone, and with what is the same as they are.
    let all = !sound || !before.is_empty();
    let is_delta = |content: Option<&Content>| matches!(content, Some(Content::Delta { .. }));
    let mut changes = Vec::new();
    if all || !data.only_adds() {
        let found = changes_of(&data, |content| all || is_delta(content));
        changes = found.map_err(&mut noted).ok()?;
    }
    let snapshot = start.push_lazy(&data).map_err(|error| noted(error.into())).ok()?;

    let mut lost = BTreeSet::new();
    if !sound {
        // It was said where damage first shows. Which files that costs has to be looked for.
        let whole = |content: &Content| *content == Content::Whole;
        lost.extend(unreadable(&snapshot, &changes, whole, kept, progress).into_keys());
    }
    // By the contents that they lead to.
    let delta = |content: &Content| matches!(content, Content::Delta { base, .. } if !before.contains(base));
    for (path, error) in unreadable(&snapshot, &changes, delta, kept, progress) {
        noted(error);
        lost.insert(path);
    }
    if !all && !lost.is_empty() {
        let is_same = |content: Option<&Content>| matches!(content, Some(Content::Same { .. }));
        let alike = changes_of(&data, |content| is_delta(content) || is_same(content));
        changes = alike.map_err(&mut noted).ok()?;
    }
    for change in &changes {
        // Nothing of what was there before is kept for a node without content.
        let new = change.new.as_ref().filter(|new| !new.node.is_empty());
        let from = match new.map(|new| &new.content) {
            Some(Content::Copy { base } | Content::Delta { base, .. }) => Some(base),
            Some(Content::Keep) => Some(&change.path),
            Some(Content::Whole | Content::Tree { .. }) | None => None,
            Some(Content::Same { path }) => {
                // Earlier in path order, so all is known of it.
                if lost.contains(path) {
                    lost.insert(change.path.clone());
                }
                None
            }
        };
        lost.extend(from.filter(|from| before.contains(*from)).map(|_| change.path.clone()));
    }
    let moved = |path: &RelPath| {
        let mut trees = changes.iter().filter_map(Change::moved_tree);
        trees.find_map(|tree| tree.after(path)).unwrap_or_else(|| path.clone())
    };
    let untouched =
        |path: &&RelPath| changes.binary_search_by(|change| change.path.cmp(path)).is_err();
    lost.extend(before.iter().filter(untouched).map(moved));
    Some(State { snapshot, lost })
}

/// The changes whose content is `wanted`.
fn changes_of(data: &LazyData, wanted: impl Fn(Option<&Content>) -> bool) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for list in data.changes() {
        let list = list?;
        let are_wanted = |change: &&Change| wanted(change.new.as_ref().map(|new| &new.content));
        changes.extend(list.iter().filter(are_wanted).cloned());
    }
    Ok(changes)
}

/// Those of the files for which one of `changes`, of the last archive of `snapshot`, stores a content that is `wanted`, and that
/// cannot be had; and why.
fn unreadable(
    snapshot: &Snapshot,
    changes: &[Change],
    wanted: impl Fn(&Content) -> bool,
    kept: &Kept,
    progress: Option<&Progress>,
) -> BTreeMap<RelPath, Error> {
    let is_wanted = |change: &&Change| change.stored_content().is_some_and(&wanted);
    let changes: Vec<&Change> = changes.iter().filter(is_wanted).collect();
    let unreadable = |run: &&[&Change]| {
        let unpacked = kept.locked().pop().unwrap_or_default();
        let mut reader = snapshot.reader_with(unpacked);
        let mut failed = Vec::new();
        for change in *run {
            if let Err(error) = check_content(&mut reader, change, progress) {
                failed.push((change.path.clone(), error));
            }
        }
        kept.locked().push(reader.into_unpacked());
        failed
    };
    changes.chunks(RUN).collect::<Vec<_>>().par_iter().flat_map_iter(unreadable).collect()
}

/// Reads a whole content, which has to be what the diff declares.
fn check_content(
    reader: &mut SnapshotReader<'_>,
    change: &Change,
    progress: Option<&Progress>,
) -> Result<()> {
    let wrong = |source| Error::Content { path: change.path.clone(), source };
    let found = reader.digest(&change.path, progress).map_err(|error| match error {
        archive::Error::Cancelled | archive::Error::Io { .. } => error.into(),
        error => wrong(io::Error::new(ErrorKind::InvalidData, error)),
    })?;
    match change.new.as_ref().map(|new| &new.node) {
        Some(Node::File { digest, .. }) if *digest == found => Ok(()),
        _ => Err(wrong(io::Error::new(ErrorKind::InvalidData, "it is not what the diff declares"))),
    }
}
