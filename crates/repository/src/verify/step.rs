//! One archive on top of what the ones before it lead to: whether every byte of it is sound, and each
//! delta meets its base. Knows no store; writes nothing, not even temporary files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};

use archive::{Archive, ContentReader, DiffData};
use diffindex::{Change, Content};
use dirindex::{DirIndex, Node, RelPath, Root};
use rayon::prelude::*;
use rsync_core::{Digest, Progress};

use crate::chains;
use crate::error::{Error, Result};

/// Contents that one task of the thread pool reads: neighbours, mostly in the same members.
const RUN: usize = 64;
const BUFFER_LEN: usize = 128 << 10;

/// A tree that archives lead to, as far as they are sound.
pub(super) struct State {
    /// All of it, from nothing.
    data: DiffData,
    /// The files whose content cannot be had.
    pub(super) lost: BTreeSet<RelPath>,
}

impl State {
    pub(super) fn root(&self) -> Root {
        self.data.diff().result()
    }
}

/// What verifying an archive found.
pub(super) struct Found {
    /// What is wrong with it: of damage, the first place.
    pub(super) problems: Vec<Error>,
    /// What it leads to; `None` where nothing can be restored with it.
    pub(super) state: Option<State>,
}

/// Verifies `archive`, which is a full backup or starts from `base`, if that can be had.
///
/// # Errors
/// [`archive::Error::Cancelled`] and [`Error::TooManyOpen`] alone; what is wrong with the archive is found.
pub(super) fn verify(
    archive: &Archive,
    base: Option<&State>,
    progress: Option<&Progress>,
) -> Result<Found> {
    let mut problems = Vec::new();
    let state = check(archive, base, progress, &mut problems);
    if problems.iter().any(is_cancelled) {
        return Err(archive::Error::Cancelled.into());
    }
    // That says nothing of the archive.
    match problems.iter().position(chains::is_exhaustion) {
        Some(at) => Err(chains::told(problems.swap_remove(at))),
        None => Ok(Found { problems, state }),
    }
}

fn is_cancelled(error: &Error) -> bool {
    matches!(error, Error::Archived(archive::Error::Cancelled))
}

fn check(
    archive: &Archive,
    base: Option<&State>,
    progress: Option<&Progress>,
    problems: &mut Vec<Error>,
) -> Option<State> {
    let mut noted = |error: Error| problems.push(error);
    let data = archive.load().map_err(|error| noted(error.into())).ok()?;
    let mut lost = BTreeSet::new();
    if let Err(error) = data.verify(progress) {
        noted(error.into());
        // It says where damage first showed. Which files that costs has to be looked for.
        lost.extend(unreadable(&data, is_whole, progress).into_keys());
    }
    let all = match (archive.is_full(), base) {
        (true, None) => Ok(data.clone()),
        (_, Some(base)) => DiffData::squash(&[base.data.clone(), data.clone()]),
        (false, None) => return None,
    };
    let all = all.map_err(|error| noted(error.into())).ok()?;
    all.diff().apply_to(&DirIndex::empty()).map_err(|error| noted(error.into())).ok()?;

    let before = |path: &RelPath| base.is_some_and(|base| base.lost.contains(path));
    // By the contents that they lead to.
    let deltas = |change: &Change| {
        let content = data.diff().get(&change.path).and_then(Change::stored_content);
        matches!(content, Some(Content::Delta { base, .. }) if !before(base))
    };
    for (path, error) in unreadable(&all, deltas, progress) {
        noted(error);
        lost.insert(path);
    }
    for change in data.diff().changes() {
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
        lost.extend(from.filter(|from| before(from)).map(|_| change.path.clone()));
    }
    let moved = |path: &RelPath| {
        let trees = &mut data.diff().moved_trees();
        trees.find_map(|tree| tree.after(path)).unwrap_or_else(|| path.clone())
    };
    let untouched = |path: &&RelPath| data.diff().get(path).is_none();
    let kept = base.iter().flat_map(|base| base.lost.iter().filter(untouched));
    lost.extend(kept.map(moved));
    Some(State { data: all, lost })
}

fn is_whole(change: &Change) -> bool {
    matches!(change.stored_content(), Some(Content::Whole))
}

/// Those of the files of `data`, of which it has the whole contents, that are `wanted` and cannot be had,
/// and why.
fn unreadable(
    data: &DiffData,
    wanted: impl Fn(&Change) -> bool,
    progress: Option<&Progress>,
) -> BTreeMap<RelPath, Error> {
    let changes = data.diff().changes().iter().filter(|change| wanted(change));
    let changes: Vec<(&Change, &Change)> =
        changes.map(|change| (change, data.diff().holder(change).unwrap_or(change))).collect();
    let unreadable = |run: &&[(&Change, &Change)]| {
        let (mut reader, mut buffer) = (data.reader(), vec![0; BUFFER_LEN]);
        let mut failed = Vec::new();
        for (change, holder) in *run {
            if let Err(error) = read(&mut reader, holder, &mut buffer, progress) {
                failed.push((change.path.clone(), error));
            }
        }
        failed
    };
    changes.chunks(RUN).collect::<Vec<_>>().par_iter().flat_map_iter(unreadable).collect()
}

/// Reads a whole content, which has to be what the diff declares.
fn read(
    reader: &mut ContentReader<'_>,
    change: &Change,
    buffer: &mut [u8],
    progress: Option<&Progress>,
) -> Result<()> {
    let unread = |source| Error::Content { path: change.path.clone(), source };
    let mut body = reader.open(change)?;
    let mut hasher = blake3::Hasher::new();
    loop {
        let len = body.read(buffer).map_err(unread)?;
        if len == 0 {
            break;
        }
        hasher.update(buffer.get(..len).unwrap_or_default());
        if let Some(progress) = progress {
            progress.add_bytes(len as u64);
            progress.check().map_err(|_| archive::Error::Cancelled)?;
        }
    }
    let found = Digest::from(hasher.finalize());
    match change.new.as_ref().map(|new| &new.node) {
        Some(Node::File { digest, .. }) if *digest == found => Ok(()),
        _ => {
            Err(unread(io::Error::new(ErrorKind::InvalidData, "it is not what the diff declares")))
        }
    }
}
