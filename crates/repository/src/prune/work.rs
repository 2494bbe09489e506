//! Carrying out what was planned for a store, step by step; with little room, in the order that frees as it goes. Knows
//! nothing of rules.
//!
//! After each step every kept snapshot can be restored: an archive is deleted when others lead to all kept snapshots, and those that
//! take its place have been read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use archive::{Archive, ArchiveOptions, DiffData, Labels, LazyData, Snapshot};
use diffindex::{Change, Content, LazyDiff, Signatures};
use dirindex::{DirIndex, RelPath, TreeId};
use rsync_core::Total;

use super::{Edge, Plan, Squashed};
use crate::chains::{is_damage, is_full};
use crate::error::{Error, Result};
use crate::protect;
use crate::store::{
    self, ArchiveName, NewFile, Noted, SnapshotId, Store, Stored, StoredArchive, StoredName, failed,
};

/// So many pairs of archives are tried to be joined when there is little room, those of the fewest bytes.
const PAIRS_TRIED: usize = 8;

/// What is being done to a store.
pub(super) struct Work<'a> {
    store: &'a dyn Store,
    plan: Plan,
    options: &'a ArchiveOptions,
    /// The edges that are yet to be made, by their numbers.
    to_make: BTreeSet<usize>,
    /// What is in the store besides what is made.
    files: &'a [Stored],
    /// The parities over several archives, which are of others once one of these is deleted.
    across: Vec<StoredName>,
    done: Done,
}

/// What several archives are as one.
enum One {
    /// A full backup, whose changes need not be in memory.
    Full(Box<Snapshot>),
    Increment(DiffData),
}

impl One {
    fn diff(&self) -> Result<LazyDiff> {
        Ok(match self {
            One::Full(snapshot) => snapshot.full()?.clone(),
            One::Increment(data) => data.diff().into(),
        })
    }

    fn packed_len(&self) -> Result<u64> {
        let len = match self {
            One::Full(snapshot) => snapshot.packed_len(),
            One::Increment(data) => data.packed_len(),
        };
        Ok(len?)
    }

    fn repack_to(&self, out: &mut dyn Write, options: &ArchiveOptions) -> Result<()> {
        let written = match self {
            One::Full(snapshot) => snapshot.repack_to(out, options),
            One::Increment(data) => data.repack_to(out, options),
        };
        Ok(written?)
    }
}

/// What has been done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) squashed: Vec<Squashed>,
    pub(super) deleted: Vec<StoredArchive>,
    pub(super) waiting: Vec<SnapshotId>,
    pub(super) room_wanted: u64,
    /// How many bytes the store has.
    pub(super) bytes: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        plan: Plan,
        bytes: u64,
        options: &'a ArchiveOptions,
        files: &'a [Stored],
    ) -> Work<'a> {
        let edges = plan.edges.iter().enumerate();
        let to_make = edges.filter(|(_, edge)| edge.is_new()).map(|(number, _)| number).collect();
        let (across, done) = (protect::across_in(files), Done { bytes, ..Done::default() });
        Work { store, plan, options, to_make, files, across, done }
    }

    /// What [`carry_out`](Work::carry_out) would do where there is room, and about how many bytes the store would have then.
    /// Reads what has changed in the archives of which others are to be made, and no contents.
    pub(super) fn estimate(mut self) -> Result<Done> {
        for number in &self.to_make {
            let Some(edge) = self.plan.edges.get(*number) else { continue };
            let (name, parts) = (edge.name, edge.parts.clone());
            let data = self.parts_as_one(&parts, &self.chain_to(name.since));
            let last = parts.last().map_or(name, |part| part.name);
            let size = unsound(name.to, last, data.and_then(|(data, _)| data.packed_len()))?;
            self.done.bytes += size;
            self.done.squashed.push(Squashed { name, size: None, parts });
        }
        for archive in std::mem::take(&mut self.plan.deleted) {
            self.done.bytes = self.done.bytes.saturating_sub(archive.size);
            self.done.deleted.push(archive);
        }
        Ok(self.done)
    }

    /// Makes the archives that are to be made, verifies what is to be relied on, and deletes what is not needed.
    pub(super) fn carry_out(mut self) -> Result<Done> {
        if self.plan.deleted.is_empty() && self.to_make.is_empty() {
            return Ok(self.done);
        }
        self.open_all()?;
        let mut short = false;
        loop {
            self.make_what_fits()?;
            if !short {
                // Once is enough: nothing that stays is changed by what follows.
                self.verify_all()?;
            }
            short = true;
            let freed = self.delete_unneeded()?;
            if self.to_make.is_empty() || (!freed && !self.join_a_pair()?) {
                break;
            }
        }
        let waiting = self.to_make.iter().filter_map(|&number| self.plan.edges.get(number));
        let waiting: Vec<&Edge> = waiting.collect();
        let bytes = |edge: &&Edge| edge.parts.iter().map(|part| part.size).sum();
        self.done.room_wanted = waiting.iter().map(bytes).min().unwrap_or(0);
        let snapshots = waiting.iter().flat_map(|edge| edge.parts.iter().map(|part| part.name.to));
        let snapshots: BTreeSet<SnapshotId> =
            snapshots.filter(|it| !self.plan.kept.contains(it)).collect();
        self.done.waiting = snapshots.into_iter().collect();
        self.done.squashed.sort_by_key(|made| made.name);
        Ok(self.done)
    }

    /// The archives that lead to the end of an edge from its start.
    fn archives_of(&self, number: usize) -> Vec<ArchiveName> {
        let edge = self.plan.edges.get(number);
        edge.map_or_else(Vec::new, |edge| match self.to_make.contains(&number) {
            true => edge.parts.iter().map(|part| part.name).collect(),
            false => vec![edge.name],
        })
    }

    /// The archives that lead to the kept snapshot `snapshot` from nothing.
    fn chain_to(&self, snapshot: Option<SnapshotId>) -> Vec<ArchiveName> {
        let mut chain = Vec::new();
        let mut at = snapshot;
        while let Some(snapshot) = at {
            let number = self.plan.edges.iter().position(|edge| edge.name.to == snapshot);
            let Some(edge) = number.and_then(|number| self.plan.edges.get(number)) else { break };
            let before = std::mem::take(&mut chain);
            chain = number.map(|number| self.archives_of(number)).unwrap_or_default();
            chain.extend(before);
            at = edge.name.since;
        }
        chain
    }

    /// Opens all archives that stay, or of which others are made. Each has to start where the one before it ends.
    fn open_all(&self) -> Result<()> {
        let mut ids: BTreeMap<SnapshotId, TreeId> = BTreeMap::new();
        for (number, edge) in self.plan.edges.iter().enumerate() {
            let mut at = match edge.name.since {
                None => Some(DirIndex::empty().tree_id()),
                Some(since) => ids.get(&since).copied(),
            };
            let mut before = edge.name.since.map(|since| since.to_string());
            for name in self.archives_of(number) {
                let open = || {
                    let archive = store::open_archive(self.store, &name)?;
                    if name.since.is_none() && !archive.is_full() {
                        return Err(Error::NoFull { archive: archive.path().to_path_buf() });
                    }
                    if let Some(at) = at.filter(|at| *at != archive.base()) {
                        let trees = Box::new((at, archive.base()));
                        let (before, after) =
                            (before.clone().unwrap_or_default(), name.to_string());
                        return Err(archive::Error::Unlinked { before, after, trees }.into());
                    }
                    // What others are made of is read when they are.
                    if !edge.is_new() {
                        LazyData::open(&archive)?;
                    }
                    Ok(archive.result())
                };
                at = Some(unsound(edge.name.to, name, open())?);
                before = Some(name.to_string());
            }
            ids.extend(at.map(|id| (edge.name.to, id)));
        }
        Ok(())
    }

    /// Makes those archives for which there is room, and verifies them.
    fn make_what_fits(&mut self) -> Result<()> {
        for number in self.to_make.clone() {
            let Some(edge) = self.plan.edges.get(number) else { continue };
            let (name, parts) = (edge.name, edge.parts.clone());
            let before = self.chain_to(name.since);
            match self.make(name, &parts, &before) {
                Ok(size) => {
                    self.to_make.remove(&number);
                    self.done.squashed.push(Squashed { name, size: Some(size), parts });
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts the archive `name`, made of `parts`, and verifies it. Gives its size. `before` leads to where it starts.
    fn make(
        &mut self,
        name: ArchiveName,
        parts: &[StoredArchive],
        before: &[ArchiveName],
    ) -> Result<u64> {
        let made = self.squash(name, parts, before);
        let first = parts.last().map_or(name, |part| part.name);
        unsound(name.to, first, made)?;
        let before = self.snapshot(before);
        let verified = before.and_then(|before| self.verify(name, before));
        // What is not fit to take the place of others must not be taken for an archive.
        let verified = unsound(name.to, name, verified.map(|(size, _)| size));
        let delete = |_: &Error| drop(store::delete(self.store, StoredName::Archive(name)));
        let size = verified.inspect_err(delete)?;
        self.done.bytes += size;
        Ok(size)
    }

    fn squash(
        &self,
        name: ArchiveName,
        parts: &[StoredArchive],
        before: &[ArchiveName],
    ) -> Result<()> {
        let (one, labels) = self.parts_as_one(parts, before)?;
        let diff = one.diff()?;
        let (format, signatures) = (Some(name.format), Signatures::None);
        let options = ArchiveOptions { format, signatures, labels, ..self.options.clone() };
        if let Some(progress) = &self.options.progress {
            // Each is written and then read again.
            let mut total = 0u64;
            for changes in diff.lists() {
                let changes = changes?;
                let stored = changes.iter().filter(|change| change.stored_content().is_some());
                let lens = stored.filter_map(|change| Some(change.new.as_ref()?.node.len()));
                total = lens.fold(total, |total, len| total.saturating_add(len.saturating_mul(2)));
            }
            let (made, left) = (self.done.squashed.len() as u64, self.to_make.len() as u64);
            progress.begin_part("squashing", Some(Total::Bytes(total)), made, 1, made + left);
        }
        let noted =
            Noted { base: diff.base(), result: diff.result(), labels: options.labels.clone() };
        let mut file = NewFile::begin(self.store, StoredName::Archive(name))?;
        file.write_by(|out| one.repack_to(out, &options))?;
        file.note(noted);
        file.commit().map(drop)
    }

    /// `parts` as one, with the labels of the last: where that leads, the squashed one does. `before` leads to where the
    /// first starts.
    fn parts_as_one(
        &self,
        parts: &[StoredArchive],
        before: &[ArchiveName],
    ) -> Result<(One, Labels)> {
        let parts: Vec<ArchiveName> = parts.iter().map(|part| part.name).collect();
        let parts = self.open(&parts)?;
        let labels = parts.last().map(|last| last.labels().clone()).unwrap_or_default();
        if parts.first().is_some_and(Archive::is_full) {
            return Ok((One::Full(Box::new(Snapshot::open(&parts)?)), labels));
        }
        let parts = parts.iter().map(Archive::load).collect::<Result<Vec<_>, _>>()?;
        // What is below a directory that moved as a whole, only the archives before tell.
        let collapsed = parts.iter().any(|part| part.diff().moved_trees().next().is_some());
        let data = match collapsed && !before.is_empty() {
            false => DiffData::squash(&parts)?,
            true => {
                let before = Snapshot::open(&self.open(before)?)?.tree()?.load()?;
                DiffData::squash_from(&before, &parts)?
            }
        };
        Ok((One::Increment(data), labels))
    }

    fn open(&self, archives: &[ArchiveName]) -> Result<Vec<Archive>> {
        archives.iter().map(|name| store::open_archive(self.store, name)).collect()
    }

    fn snapshot(&self, archives: &[ArchiveName]) -> Result<Snapshot> {
        match archives {
            [] => Ok(Snapshot::empty()),
            _ => Ok(Snapshot::open(&self.open(archives)?)?),
        }
    }

    /// Reads all of the archive `name` as it is in the store, and makes each content that it brings, with what it builds
    /// on, which is the snapshot `before`. Gives its size, and the snapshot that it leads to.
    fn verify(&self, name: ArchiveName, before: Snapshot) -> Result<(u64, Snapshot)> {
        let progress = self.options.progress.as_deref();
        let data = LazyData::open(&store::open_archive(self.store, &name)?)?;
        data.verify(progress)?;
        // What is stored whole has been read, and what is the same as that is no other content.
        let builds_on = |change: &&Change| {
            let content = change.new.as_ref().map(|new| &new.content);
            !matches!(content, None | Some(Content::Keep | Content::Whole | Content::Same { .. }))
        };
        let mut paths: Vec<RelPath> = Vec::new();
        for changes in data.changes() {
            let changes = changes?;
            paths.extend(changes.iter().filter(builds_on).map(|change| change.path.clone()));
        }
        let snapshot = before.push_lazy(&data)?;
        snapshot.select(&paths)?.verify(progress)?;
        Ok((data.archive().size(), snapshot))
    }

    /// Verifies what is there and takes the place of something that goes; of what could not be made, that of which it was
    /// to be made.
    fn verify_all(&self) -> Result<()> {
        // The snapshot that was verified last: mostly the next archive starts from it.
        let mut last: Option<(Vec<ArchiveName>, Snapshot)> = None;
        for (number, edge) in self.plan.edges.iter().enumerate() {
            if edge.is_new() && !self.to_make.contains(&number) {
                continue;
            }
            if !edge.is_new() && !self.plan.read.contains(&edge.name) {
                continue;
            }
            let mut chain = self.chain_to(edge.name.since);
            for name in self.archives_of(number) {
                let before = match last.take() {
                    Some((archives, snapshot)) if archives == chain => Ok(snapshot),
                    _ => self.snapshot(&chain),
                };
                let verified = before.and_then(|before| self.verify(name, before));
                let (_, snapshot) = unsound(edge.name.to, name, verified)?;
                chain.push(name);
                last = Some((chain.clone(), snapshot));
            }
        }
        Ok(())
    }

    /// Deletes what no kept snapshot is restored from. Whether there was anything.
    fn delete_unneeded(&mut self) -> Result<bool> {
        let edges = 0..self.plan.edges.len();
        let needed: BTreeSet<ArchiveName> = edges.flat_map(|it| self.archives_of(it)).collect();
        let candidates = std::mem::take(&mut self.plan.deleted);
        let (stay, go): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|archive| needed.contains(&archive.name));
        self.plan.deleted = stay;
        if !go.is_empty() {
            self.renew_across()?;
        }
        let names: Vec<String> = go.iter().map(|archive| archive.name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = self.store.will_delete(&names);
        told.map_err(|source| failed("note in", "the store", source))?;
        for archive in &go {
            store::delete_with_parity(self.store, StoredName::Archive(archive.name), self.files)?;
            self.done.bytes = self.done.bytes.saturating_sub(archive.size);
            self.done.deleted.push(*archive);
        }
        Ok(!go.is_empty())
    }

    /// Has the parity over several archives, if there is one, be over those that stay, before others go: at no moment is there
    /// none. Where room is short, or it cannot be made, there is none until the end.
    fn renew_across(&mut self) -> Result<()> {
        let newest = self.plan.kept.last().copied().filter(|_| !self.across.is_empty());
        let Some(newest) = newest else { return Ok(()) };
        let chain = self.chain_to(Some(newest));
        let is_made = self.to_make.is_empty()
            && protect::across_chain(self.store, newest, &chain, &self.across, None).is_ok();
        for name in std::mem::take(&mut self.across) {
            match is_made && name == StoredName::Across(newest) {
                true => self.across.push(name),
                false => store::delete(self.store, name)?,
            }
        }
        Ok(())
    }

    /// Puts one archive in the place of two that follow one another, among those of which one could not be made. Whether
    /// there was room for one.
    fn join_a_pair(&mut self) -> Result<bool> {
        for number in self.to_make.clone() {
            let Some(edge) = self.plan.edges.get(number).cloned() else { continue };
            // Two are what was tried already.
            if edge.parts.len() < 3 {
                continue;
            }
            let start = self.chain_to(edge.name.since);
            let mut pairs: Vec<(usize, Vec<StoredArchive>)> =
                edge.parts.windows(2).map(<[_]>::to_vec).enumerate().collect();
            pairs.sort_by_key(|(_, pair)| pair.iter().map(|part| part.size).sum::<u64>());
            for (at, pair) in pairs.into_iter().take(PAIRS_TRIED) {
                let (Some(first), Some(last)) = (pair.first(), pair.last()) else { continue };
                let name = ArchiveName { since: first.name.since, ..last.name };
                let names = edge.parts.iter().map(|part| part.name);
                let before: Vec<ArchiveName> =
                    start.iter().copied().chain(names.take(at)).collect();
                match self.make(name, &pair, &before) {
                    Ok(size) => {
                        self.replace(number, at, StoredArchive { name, size });
                        return Ok(true);
                    }
                    Err(error) if is_full(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }

    /// Notes that `joined` is in the place of the two parts from `at` on of an edge.
    fn replace(&mut self, number: usize, at: usize, joined: StoredArchive) {
        let Some(edge) = self.plan.edges.get_mut(number) else { return };
        edge.parts.splice(at..at + 2, [joined]);
        // It is on the chain to the archive that is wanted, and goes as the others do.
        self.plan.deleted.push(joined);
        self.plan.deleted.sort_unstable_by_key(|archive| std::cmp::Reverse(archive.name));
    }
}

/// Says of damage in an archive which snapshot it costs.
fn unsound<T>(snapshot: SnapshotId, archive: ArchiveName, done: Result<T>) -> Result<T> {
    let stored = StoredArchive { name: archive, size: 0 };
    done.map_err(|error| match is_damage(&error, &stored) {
        true => {
            let archive = named(&error).unwrap_or_else(|| archive.to_string());
            Error::Unsound { snapshot, archive, source: Box::new(error) }
        }
        false => error,
    })
}

/// The archive that an error speaks of.
fn named(error: &Error) -> Option<String> {
    use archive::Error::{Damaged, Diff, NotStored};
    match error {
        Error::Archived(
            Damaged { archive, .. } | Diff { archive, .. } | NotStored { archive, .. },
        ) => Some(archive.clone()),
        _ => None,
    }
}
