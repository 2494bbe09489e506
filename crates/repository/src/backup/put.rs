//! Putting a backup into the store, in the order in which an interruption is harmless: what says that it has begun, the index, the
//! archives. Must not know how the tree is scanned.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::time::Instant;

use archive::{ArchiveOptions, DiffData, Packed, SECONDS};
use diffindex::{LazyDiff, Signatures};
use dirindex::LazyIndex;
use rsync_core::Total;

use super::{Added, Work, checkpoint};
use crate::error::{Error, Result};
use crate::origin;
use crate::store::indexes::{IndexChain, put_index};
use crate::store::{
    self, ArchiveName, NewFile, Noted, SnapshotId, Snapshots, Stored, StoredName, failed,
};

/// A snapshot that an archive starts from, and its index. `None`: nothing at all.
type Start = (Option<SnapshotId>, LazyIndex);

/// A backup on its way into the store.
pub(super) struct Putting<'a> {
    work: &'a Work<'a>,
    /// What the store has: what is put is noted here.
    files: &'a mut Vec<Stored>,
    start: Start,
    /// What the next archive starts from: the last checkpoint, if one was put.
    from: Start,
    /// The index that was put last.
    chain: Option<IndexChain>,
    began: Instant,
}

impl<'a> Putting<'a> {
    /// Nothing is put yet.
    pub(super) fn new(work: &'a Work<'a>, files: &'a mut Vec<Stored>, start: Start) -> Self {
        let (from, began) = (start.clone(), Instant::now());
        Putting { work, files, start, from, chain: None, began }
    }

    /// Puts the tree of `index`, which was seen at `seen`; `diff` leads there from the start. Gives the index as it turned out, if it is
    /// another, and what was put, if anything has changed.
    pub(super) fn put(
        &mut self,
        index: &LazyIndex,
        diff: LazyDiff,
        seen: SnapshotId,
    ) -> Result<(Option<LazyIndex>, Added)> {
        let &Work { store, options, newest, indexes, .. } = self.work;
        let whole = newest.filter(|newest| newest.checkpoint.is_none());
        let unchanged = whole.is_some_and(|newest| newest.tree == index.tree_id()) && !options.full;
        if unchanged && indexes.are_current(index)? {
            return Ok((None, None));
        }
        let mut to = self.next(seen)?;
        if !unchanged && !store.tells_losses() {
            self.files.push(store::put(store, StoredName::Begun(to), |_| Ok(()))?);
        }
        self.put_index(index, to)?;
        if unchanged {
            return Ok((None, None));
        }
        let mut index = Cow::Borrowed(index);
        let mut diff = match self.from.0 == self.start.0 {
            true => diff,
            false => diff.part(&self.from.1, &index)?,
        };
        if let Some(progress) = &options.archive.progress {
            progress.begin("packing", Some(Total::Bytes(checkpoint::contents_len(&diff)?)));
        }
        while whole.is_none()
            && let Some(entries) = checkpoint::due(&self.from.1, &index, &diff, options.checkpoint)?
        {
            // Not that of the index, which is of the whole tree.
            let id = self.next(seen)?;
            let beginning = index.beginning(entries)?;
            let brings = diff.part(&self.from.1, &beginning)?;
            let (as_stored, amended) =
                self.put_archive(self.name(id, seen, true), (&beginning, &brings))?;
            if let Some(as_stored) = &as_stored {
                index = Cow::Owned(as_stored.whole()?);
            }
            if amended.is_some() {
                self.put_index(&index, self.next(seen)?)?;
            }
            self.from = (Some(id), as_stored.unwrap_or(beginning));
            diff = diff.part(&self.from.1, &index)?;
            to = self.next(seen)?;
        }
        let name = self.name(to, seen, false);
        let (as_stored, amended) = self.put_archive(name, (&index, &diff))?;
        // Only now: until the archive is there, the next backup goes on from what was scanned.
        if let (Some(index), Some(_)) = (&as_stored, &amended) {
            self.put_index(index, self.next(seen)?)?;
        }
        let index = as_stored.map_or(index, Cow::Owned);
        let diff = match self.from.0 == self.start.0 {
            true => amended.unwrap_or(diff),
            false => diff.part(&self.start.1, &index)?,
        };
        let index = match index {
            Cow::Borrowed(_) => None,
            Cow::Owned(index) => Some(index),
        };
        Ok((index, Some((name, diff))))
    }

    /// The id of the next snapshot.
    fn next(&self, seen: SnapshotId) -> Result<SnapshotId> {
        Snapshots::of(self.files).next(seen).ok_or(Error::EndOfTime)
    }

    /// The name of the archive that leads from the last one to `to`.
    fn name(&self, to: SnapshotId, seen: SnapshotId, checkpoint: bool) -> ArchiveName {
        let format = self.work.options.archive.format.unwrap_or_default();
        let clock = Some(seen).filter(|clock| *clock != to);
        ArchiveName { to, since: self.from.0, clock, format, checkpoint }
    }

    /// Puts an index, as a run where that is worth it.
    fn put_index(&mut self, index: &LazyIndex, of: SnapshotId) -> Result<()> {
        let upon = self.chain.as_ref().or(self.work.indexes.chain());
        self.chain = Some(put_index(self.work.store, self.files, upon, index, of)?);
        Ok(())
    }

    /// Puts the archive `name` of `diff`, from where the last one ended to the tree of `index`. Gives that tree and that diff as
    /// they turned out, where a file was not as it was scanned.
    fn put_archive(
        &mut self,
        name: ArchiveName,
        (index, diff): (&LazyIndex, &LazyDiff),
    ) -> Result<(Option<LazyIndex>, Option<LazyDiff>)> {
        let &Work { dir, store, options, .. } = self.work;
        let began = self.began;
        let base = self.from.1.clone();
        // The index has the signatures, and they can be made again of all archives together.
        let how = |index: &LazyIndex| {
            let tags = if name.checkpoint { &[][..] } else { &options.tags };
            let labels = options.origin.as_ref();
            let labels = labels.map(|origin| origin::labels(origin, tags, index));
            let mut labels = labels.unwrap_or_default();
            if name.checkpoint {
                origin::note_checkpoint(&mut labels, index.len());
            }
            ArchiveOptions {
                signatures: Signatures::None,
                labels,
                began: options.origin.as_ref().map(|_| began),
                ..options.archive.clone()
            }
        };
        let note = |file: &mut NewFile<'_>, index: &LazyIndex| {
            let (base, result) = (base.tree_id(), index.tree_id());
            let mut labels = how(index).labels;
            if options.origin.is_some() {
                // The archive has it too, as it is when its end is written.
                labels.insert(SECONDS.to_owned(), format!("{:.1}", began.elapsed().as_secs_f64()));
            }
            file.note(Noted { base, result, labels });
        };
        let begin = || NewFile::begin(store, StoredName::Archive(name));
        let mut file = begin()?;
        if options.refuse_changing || file.written()?.is_none() {
            file.write_by(|out| Ok(DiffData::write(dir, &base, diff, out, &how(index))?))?;
            note(&mut file, index);
            self.files.push(file.commit()?);
            return Ok((None, None));
        }
        let (scanned, signature) = ((index, diff), options.scan.signature.unwrap_or_default());
        let packed = file.write_by(|out| {
            Ok(DiffData::write_live(dir, &base, scanned, out, &signature, &how(index))?)
        })?;
        let (amended, written) = match packed {
            Packed::Whole(seen) => {
                note(&mut file, seen.as_ref().unwrap_or(index));
                self.files.push(file.commit()?);
                return Ok((seen, None));
            }
            Packed::Amended(amended) => (amended, file.written()?),
        };
        let written = written
            .ok_or_else(|| failed("read back", &name.to_string(), ErrorKind::Unsupported.into()))?;
        let mut again = begin()?;
        again.write_by(|out| Ok(amended.write(&written, out, &how(amended.index()))?))?;
        note(&mut again, amended.index());
        self.files.push(again.commit()?);
        let (index, diff) = amended.into_parts();
        Ok((Some(index), Some(diff)))
    }
}
