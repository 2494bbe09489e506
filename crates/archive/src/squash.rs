//! Neighbouring diffs with their data as one, whose contents lie where they lay. Reads no contents.

use std::sync::Arc;

use diffindex::Merge;
use dirindex::DirIndex;

use crate::diff_data::{Composition, composition_of, names};
use crate::lazy_data::of_diff;
use crate::limits::Limits;
use crate::stored::Stored;
use crate::{Archive, DiffData, Error};

impl DiffData {
    /// Neighbouring diffs as one: `parts`, oldest first, each of which starts from the tree that the
    /// one before it leads to.
    ///
    /// No content is read yet. One that several parts have to do with is made, when it is
    /// [opened](crate::ContentReader::open), from what they store: deltas one after another make one
    /// delta, and a file with the deltas after it makes a file. Squashing what was squashed gives what
    /// squashing all the parts at once gives.
    ///
    /// # Errors
    /// [`Error::Unlinked`] for parts that do not meet; [`Error::Diff`] for parts that contradict one
    /// another or themselves, and for no parts at all. The same, around
    /// [`Collapsed`](diffindex::Error::Collapsed), when the first part does not start from nothing and one moves a
    /// directory as a whole: the parts do not say what is below it. Then
    /// [`squash_from`](DiffData::squash_from) helps, or the parts before these, back to the full backup.
    pub fn squash(parts: &[DiffData]) -> Result<DiffData, Error> {
        let base =
            parts.first().map_or_else(|| DirIndex::empty().tree_id(), |part| part.diff.base());
        match parts {
            [only] => Ok(only.clone()),
            _ => squashed(Merge::from_unknown(base), Limits::default(), parts),
        }
    }

    /// [`squash`](DiffData::squash) for who has the index of the tree that the first part starts from. What
    /// is in the end what it was is left out, and a directory that moved as a whole is one change again.
    ///
    /// # Errors
    /// As [`squash`](DiffData::squash), but for directories that move as a whole; [`Error::WrongBase`] when
    /// `old` is the index of another tree.
    pub fn squash_from(old: &DirIndex, parts: &[DiffData]) -> Result<DiffData, Error> {
        if let Some(first) = parts.first()
            && first.diff.base() != old.tree_id()
        {
            return Err(Error::WrongBase { wanted: first.diff.base(), found: old.tree_id() });
        }
        squashed(Merge::from_tree(old), Limits::after(old.records().len()), parts)
    }

    /// What this was squashed from, or itself.
    fn parts(&self) -> &[DiffData] {
        if self.parts.is_empty() { std::slice::from_ref(self) } else { &self.parts }
    }

    /// What the `merge` of these archives leads to.
    fn of_merge(merge: Merge<Stored>, archives: Arc<[Archive]>) -> Result<DiffData, Error> {
        let unusable = |source| of_diff(names(&archives), source);
        let (diff, contents) = merge.into_diff().map_err(unusable)?;
        let contents = contents.into_iter().map(|(change, bodies)| Composition { change, bodies });
        let contents = contents.collect();
        Ok(DiffData { archives, diff, contents, parts: Arc::default() })
    }
}

fn squashed(
    merge: Merge<Stored>,
    mut limits: Limits,
    parts: &[DiffData],
) -> Result<DiffData, Error> {
    let parts: Vec<&DiffData> = parts.iter().flat_map(DiffData::parts).collect();
    if let [only] = parts.as_slice() {
        return Ok(DiffData::clone(only));
    }
    let archives: Arc<[Archive]> =
        parts.iter().flat_map(|part| part.archives.iter().cloned()).collect();
    if parts.is_empty() {
        let (archive, source) = (names(&archives), diffindex::Error::NoParts);
        return Err(Error::Diff { archive, source });
    }
    archives.iter().try_for_each(|archive| limits.add(archive).map(drop))?;
    let mut before: Option<&DiffData> = None;
    let merge = parts.iter().try_fold(merge, |merge, part| {
        if let Some(before) = before.replace(part) {
            check_link(&before.name(), merge.result(), part)?;
        }
        limits.add_moves(part)?;
        push(merge, DiffData::clone(part), &archives)
    })?;
    let squashed = DiffData::of_merge(merge, archives)?;
    // Of what nothing is taken from, nothing has to be left out later.
    if squashed.is_full() {
        return Ok(squashed);
    }
    Ok(DiffData { parts: parts.into_iter().cloned().collect(), ..squashed })
}

/// That `after` starts from the tree `result`, to which the archive or archives called `before` lead.
pub(crate) fn check_link(
    before: &str,
    result: dirindex::TreeId,
    after: &DiffData,
) -> Result<(), Error> {
    if result == after.diff.base() {
        return Ok(());
    }
    let trees = Box::new((result, after.diff.base()));
    Err(Error::Unlinked { before: before.to_owned(), after: after.name(), trees })
}

/// The merge of `archives` with one diff more, which some of them hold.
pub(crate) fn push(
    merge: Merge<Stored>,
    part: DiffData,
    archives: &[Archive],
) -> Result<Merge<Stored>, Error> {
    let (name, DiffData { diff, contents, .. }) = (part.name(), part);
    let stored = |number: usize| {
        let composition = composition_of(&contents, number);
        composition.map(|composition| Arc::clone(&composition.bodies)).unwrap_or_default()
    };
    merge.push(diff, stored).map_err(|source| {
        let archive = match &source {
            diffindex::Error::Collapsed { .. } => name,
            _ => names(archives),
        };
        of_diff(archive, source)
    })
}
