//! Archives of a tree that changes while it is packed: what is stored of a file is what it has when it is read, and the
//! index says afterwards what that was. Knows nothing of tar.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use container::ReadAt;
use diffindex::{Change, Content, LazyDiff};
use dirindex::{
    Amendment, Dir, FileState, LazyIndex, NewFile, Node, ProblemKind, RelPath, StoredFile,
};
use rsync_core::{Digest, FileBytes, Signature, SignatureOptions};

use crate::ahead::RUN_LEN;
use crate::create::{PIECE_LEN, Tree, failed, unread};
use crate::slot::Slot;
use crate::writer::{self, Contents};
use crate::{Archive, ArchiveOptions, DiffData, Error, Format, open};

/// A file that was scanned as a short one is in memory when it is stored. One that has grown beyond this since is left to
/// the next attempt.
const MAX_GROWN: u64 = 16 << 20;

/// A live tree: what its scan found, and what is found when it is packed.
struct Live<'a> {
    index: &'a LazyIndex,
    signature: &'a SignatureOptions,
    /// What did not hold still when it was scanned.
    unstable: HashSet<&'a RelPath>,
    amendments: Mutex<Vec<Amendment>>,
}

/// What became of packing a live tree.
#[derive(Debug)]
#[must_use = "what was amended has to be written again"]
pub enum Packed {
    /// The archive is written. It leads to the tree that was scanned. There is another index of that where a file was
    /// looked at again.
    Whole(Option<LazyIndex>),
    /// Other contents are stored than those that were scanned. What was written is no archive: it has to be
    /// [written again](Amended::write), which takes no look at the tree.
    Amended(Amended),
}

/// An archive to be written with what another attempt stored.
#[derive(Debug)]
pub struct Amended {
    index: LazyIndex,
    contents: Contents,
}

impl Amended {
    /// The index of the tree that the archive leads to.
    #[must_use]
    pub fn index(&self) -> &LazyIndex {
        &self.index
    }

    /// What the archive brings.
    #[must_use]
    pub fn diff(&self) -> &LazyDiff {
        &self.contents.diff
    }

    /// [`index`](Amended::index) and [`diff`](Amended::diff).
    #[must_use]
    pub fn into_parts(self) -> (LazyIndex, LazyDiff) {
        (self.index, self.contents.diff)
    }

    /// Writes the archive to `out`. `written` has what [`DiffData::write_live`] wrote, and `options` are those that it had.
    ///
    /// # Errors
    /// [`Error::Write`] when `written` or `out` fails, or what is read is not what was written; [`Error::Encode`].
    pub fn write(
        &self,
        written: &dyn ReadAt,
        out: impl Write,
        options: &ArchiveOptions,
    ) -> Result<(), Error> {
        writer::write_again(&self.contents, written, out, options)
    }
}

impl DiffData {
    /// [`write`](DiffData::write) for a tree that changes meanwhile. `index` is that of the tree, and `diff` is from `old` to
    /// it. A file that is not as it was indexed is stored as it is, read once: what its entry says of it is what was stored,
    /// length, digest and times. A file that is gone is left out. Each is then other in the index that this gives. A file
    /// that changes just while it is stored is among that index's [`problems`](LazyIndex::problems), as
    /// [`ProblemKind::Changing`].
    ///
    /// A file that is stored as a delta and changes is copied to a temporary file first. `signature` is how the new
    /// signatures are made.
    ///
    /// # Errors
    /// As [`write`](DiffData::write). [`Error::Changed`] where that does not do: the content is stored for other paths too,
    /// or has other names, and is gone; it became shorter while it was read, or very much longer than it was.
    pub fn write_live(
        dir: &Dir,
        old: &LazyIndex,
        (index, diff): (&LazyIndex, &LazyDiff),
        out: impl Write,
        signature: &SignatureOptions,
        options: &ArchiveOptions,
    ) -> Result<Packed, Error> {
        let problems = index.problems().iter();
        let unstable = problems.filter(|problem| problem.kind == ProblemKind::Unstable);
        let unstable = unstable.map(|problem| &problem.path).collect();
        let live = Live { index, signature, unstable, amendments: Mutex::default() };
        let mut amended = None;
        let amend = || {
            let (index, diff) = live.amended(diff)?;
            amended = index;
            Ok(diff)
        };
        Tree::check_base(old, diff)?;
        let progress = options.progress.as_deref();
        let reader = || {
            let mut tree = Tree::new(dir, old, progress);
            let live = &live;
            move |change: &Change, slot: &mut Slot<'_>| live.store(&mut tree, change, slot)
        };
        let contents = writer::write_or_amend(diff, out, options, 0, |_| Ok(()), reader, amend)?;
        Ok(match (contents, amended) {
            (Some(contents), Some(index)) => Packed::Amended(Amended { index, contents }),
            (_, amended) => Packed::Whole(amended),
        })
    }

    /// [`create_with`](DiffData::create_with) for a tree that changes meanwhile, as [`write_live`](DiffData::write_live) has
    /// it. Gives the archive, the diff that is in it, and the index of the tree that it leads to where that is another.
    ///
    /// # Errors
    /// As [`write_live`](DiffData::write_live).
    pub fn create_live(
        dir: &Dir,
        old: &LazyIndex,
        (index, diff): (&LazyIndex, &LazyDiff),
        path: impl AsRef<Path>,
        signature: &SignatureOptions,
        options: &ArchiveOptions,
    ) -> Result<(Archive, LazyDiff, Option<LazyIndex>), Error> {
        let path = path.as_ref();
        let format = options.format.or(Format::from_name(path));
        let options = ArchiveOptions { format, ..options.clone() };
        let mut file = NewFile::beside(path)?;
        let packed = DiffData::write_live(dir, old, (index, diff), &mut file, signature, &options);
        let (index, diff) = match packed.map_err(|error| error.in_output(path))? {
            Packed::Whole(seen) => {
                file.put()?;
                (seen, diff.clone())
            }
            Packed::Amended(amended) => {
                let mut again = NewFile::beside(path)?;
                let written = amended.write(&file.as_file(), &mut again, &options);
                written.map_err(|error| error.in_output(path))?;
                again.put()?;
                let (index, diff) = amended.into_parts();
                (Some(index), diff)
            }
        };
        let archive = Archive::open(path)?;
        if let Some(diff) = diff.in_memory() {
            open::with_diff(&archive, diff.clone())?;
        }
        Ok((archive, diff, index))
    }
}

impl Live<'_> {
    /// The index as it turned out, where it is another, and the diff to that.
    fn amended(&self, diff: &LazyDiff) -> Result<(Option<LazyIndex>, Option<LazyDiff>), Error> {
        let amendments =
            std::mem::take(&mut *self.amendments.lock().unwrap_or_else(PoisonError::into_inner));
        let paths: Vec<RelPath> =
            amendments.iter().map(|amendment| amendment.path.clone()).collect();
        let Some(first) = paths.first() else { return Ok((None, None)) };
        let index = self.index.amended(amendments).map_err(Error::Index)?;
        if index.tree_id() == self.index.tree_id() {
            return Ok((Some(index), None));
        }
        let diff = diff.amended(&index, &paths.iter().collect()).map_err(Error::Index)?;
        let diff = diff.ok_or_else(|| Error::Changed { path: first.clone() })?;
        Ok((Some(index), Some(diff)))
    }

    /// Writes what is stored for `change`: the content that was indexed, or else what there is.
    fn store(&self, tree: &mut Tree<'_>, change: &Change, out: &mut Slot<'_>) -> Result<(), Error> {
        let path = &change.path;
        let new = change.new.as_ref();
        let (Some(Node::File { len, digest }), Some(content)) =
            (new.map(|new| &new.node), change.stored_content())
        else {
            return Ok(());
        };
        let (len, digest) = (*len, *digest);
        let base = match content {
            Content::Delta { base, digest } => Some((base, *digest)),
            _ => None,
        };
        let is_stable = !self.unstable.contains(path);
        // A short file shows by its digest alone whether it is as it was.
        if len <= PIECE_LEN && base.is_none() && is_stable {
            match tree.short(path, out, (len, digest)) {
                Err(Error::Changed { .. }) => {}
                other => return other,
            }
        }
        let Some(record) = self.index.record(path).map_err(Error::Index)? else {
            return tree.content(change, out);
        };
        let Some(file) = tree.find(path)? else { return self.amend(path, None) };
        let state = FileState::of(&file);
        let state = state.map_err(|error| failed(tree.dir, "look at", path, error))?;
        let Some(state) = state else { return self.amend(path, None) };
        if len <= RUN_LEN && state.len() > MAX_GROWN {
            return Err(Error::Changed { path: path.clone() });
        }
        let as_scanned = is_stable && state.is_of(&record);
        let (len, digest, signature) = match base {
            Some(base) if as_scanned => match tree.delta(path, out, (len, digest), base) {
                Err(Error::Changed { .. }) if !out.has_begun() => {
                    self.delta(tree, path, (&file, state.len()), base, out)?
                }
                other => return other,
            },
            Some(base) => self.delta(tree, path, (&file, state.len()), base, out)?,
            None if len <= RUN_LEN => self.short(tree, path, (&file, state.len()), out)?,
            None if as_scanned => match tree.stream(path, &file, len, out)? {
                found if found == digest => return Ok(()),
                found => (len, found, None),
            },
            None => self.long(tree, path, (&file, state.len()), out)?,
        };
        let held_still = FileState::of(&file).is_ok_and(|now| now == Some(state));
        self.amend(path, Some(StoredFile { len, digest, signature, state, held_still }))
    }

    fn amend(&self, path: &RelPath, stored: Option<StoredFile>) -> Result<(), Error> {
        let amendment = Amendment { path: path.clone(), stored };
        self.amendments.lock().unwrap_or_else(PoisonError::into_inner).push(amendment);
        Ok(())
    }

    /// Writes what a short file has now, and not more than `len` bytes of it.
    fn short(
        &self,
        tree: &Tree<'_>,
        path: &RelPath,
        (file, len): (&File, u64),
        out: &mut Slot<'_>,
    ) -> Result<As, Error> {
        let mut bytes = Vec::new();
        let read = file.take(len).read_to_end(&mut bytes);
        read.map_err(|error| unread(tree.dir, path, file, error))?;
        let signature = Signature::of_slice(&bytes, self.signature, None);
        let signature = signature.map_err(|source| Error::Delta { path: path.clone(), source })?;
        let (len, digest) = (bytes.len() as u64, Digest::of(&bytes));
        if !bytes.is_empty() {
            out.begin(len)?;
            out.write_all(&bytes).map_err(Error::Write)?;
            tree.count(len)?;
        }
        Ok((len, digest, Some(signature)))
    }

    /// Writes the first `len` bytes of a file, as they are now.
    fn long(
        &self,
        tree: &Tree<'_>,
        path: &RelPath,
        (file, len): (&File, u64),
        out: &mut Slot<'_>,
    ) -> Result<As, Error> {
        if len == 0 {
            return Ok((0, Digest::of(&[]), None));
        }
        out.begin(len)?;
        let mut tee = Tee { input: file.take(len), out, tree, failed: None };
        let signature = Signature::of_reader(&mut tee, Some(len), self.signature, None);
        if let Some(error) = tee.failed {
            return Err(error);
        }
        let signature = signature.map_err(|error| match error {
            rsync_core::Error::Io { source, .. } => unread(tree.dir, path, file, source),
            source => Error::Delta { path: path.clone(), source },
        })?;
        match signature.digest() {
            Some(digest) if signature.file_len() == len => Ok((len, digest, Some(signature))),
            _ => Err(Error::Changed { path: path.clone() }),
        }
    }

    /// Writes the first `len` bytes of a file as the delta from `base`, of a copy that holds still.
    fn delta(
        &self,
        tree: &Tree<'_>,
        path: &RelPath,
        (file, len): (&File, u64),
        base: (&RelPath, Digest),
        out: &mut Slot<'_>,
    ) -> Result<As, Error> {
        let failed = |source| match source {
            rsync_core::Error::Cancelled(_) => Error::Cancelled,
            source => Error::Delta { path: path.clone(), source },
        };
        let old = tree.signature(path, base)?;
        let copy = copy(file.take(len)).map_err(|error| unread(tree.dir, path, file, error))?;
        let bytes = FileBytes::open(&copy).map_err(failed)?;
        let signature = bytes.signature(self.signature, None).map_err(failed)?;
        if bytes.is_empty() {
            return Ok((0, Digest::of(&[]), None));
        }
        let delta = bytes.delta(&old, tree.progress).map_err(failed)?;
        out.begin(delta.encoded_len())?;
        bytes.write_delta(&delta, out, None).map_err(|error| match error {
            rsync_core::Error::Io { source, .. } => Error::Write(source),
            other => failed(other),
        })?;
        Ok((bytes.len() as u64, delta.new_digest(), Some(signature)))
    }
}

/// What was stored of a file: its length, its digest, and its signature if that was made.
type As = (u64, Digest, Option<Signature>);

/// A copy in a file without a name. Zeros are left out of it, which a file of holes has many of.
fn copy(mut input: impl Read) -> io::Result<File> {
    let (mut copy, mut piece, mut len) = (tempfile::tempfile()?, Vec::new(), 0);
    loop {
        piece.clear();
        input.by_ref().take(PIECE_LEN).read_to_end(&mut piece)?;
        if piece.is_empty() {
            copy.set_len(len)?;
            return Ok(copy);
        }
        len += piece.len() as u64;
        match piece.iter().all(|&byte| byte == 0) {
            true => drop(copy.seek_relative(piece.len() as i64)?),
            false => copy.write_all(&piece)?,
        }
    }
}

/// Passes on what is read.
struct Tee<'a, 'w, R> {
    input: R,
    out: &'a mut Slot<'w>,
    tree: &'a Tree<'a>,
    /// Why it was not passed on.
    failed: Option<Error>,
}

impl<R: Read> Read for Tee<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let passed = self.out.write_all(buffer.get(..read).unwrap_or_default());
        let passed = passed.map_err(Error::Write).and_then(|()| self.tree.count(read as u64));
        match passed {
            Ok(()) => Ok(read),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}
