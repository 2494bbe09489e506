//! Archives of a live tree: what goes into one is read from the tree and checked against the diff on the
//! way. Knows nothing of tar.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use diffindex::{Change, Content, DiffIndex, LazyDiff, Signatures};
use dirindex::{Dir, LazyIndex, Neighbours, Node, RelPath};
use rsync_core::{Digest, FileBytes, Progress};
use rustix::io::Errno;

use crate::slot::Slot;
use crate::writer::{self, check_cancelled};
use crate::{Archive, DiffData, Error, Format, Labels, open, volumes};

/// So much is read at a time.
pub(crate) const PIECE_LEN: u64 = 256 << 10;

/// How an archive is written.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// The compression; `None`: the one the file's name asks for, or else gzip.
    pub format: Option<Format>,
    /// The compression level, 0 to 12 for gzip and 1 to 19 for zstd; `None`: 6 and 3.
    pub level: Option<i32>,
    /// Which signatures the archive has: those that an index takes from it which is to be made of the old
    /// one. Who keeps all archives from the first on can do without, and make them again.
    pub signatures: Signatures,
    /// What is written on the archive: 64 KiB at most.
    pub labels: Labels,
    /// When the work began, of which this is a part: the label [`SECONDS`](crate::SECONDS) says how long it took.
    pub began: Option<Instant>,
    /// Counts the bytes read from the tree and the contents done; its flag stops the work.
    pub progress: Option<Arc<Progress>>,
}

impl DiffData {
    /// Packs what `diff` needs of the tree `dir` into an archive at `path`, and opens that.
    ///
    /// `old` is the index that the diff starts from; its signatures are what deltas are made
    /// against, so the old data is not needed. Each file is read once and must have the content
    /// that the diff says.
    ///
    /// The archive is written beside `path` under another name, synced, and then renamed, so there
    /// is a whole archive at `path` afterwards or what was there before.
    ///
    /// # Errors
    /// [`Error::Changed`] when a file is no longer what was indexed; [`Error::WrongBase`],
    /// [`Error::NoBase`], [`Error::Signature`] when `old` does not fit; [`Error::Io`] and the rest
    /// of [`Error`].
    pub fn create(
        dir: &Dir,
        old: impl Into<LazyIndex>,
        diff: &DiffIndex,
        path: impl AsRef<Path>,
    ) -> Result<DiffData, Error> {
        DiffData::create_with(dir, old, diff, path, &ArchiveOptions::default())
    }

    /// [`create`](DiffData::create) with options.
    ///
    /// # Errors
    /// As [`create`](DiffData::create).
    pub fn create_with(
        dir: &Dir,
        old: impl Into<LazyIndex>,
        diff: &DiffIndex,
        path: impl AsRef<Path>,
        options: &ArchiveOptions,
    ) -> Result<DiffData, Error> {
        let (path, old) = (path.as_ref(), old.into());
        let mut options = options.clone();
        options.format = options.format.or(Format::from_name(path));
        dirindex::replace_file(path, |file| {
            let written = DiffData::write(dir, &old, diff, file, &options);
            written.map_err(|error| error.in_output(path))
        })?;
        open::with_diff(&Archive::open(path)?, diff.clone())
    }

    /// Writes the archive to `out`, front to back: a pipe will do. When this fails, what was
    /// written is no archive.
    ///
    /// # Errors
    /// As [`create`](DiffData::create), and [`Error::Write`] when `out` fails.
    pub fn write(
        dir: &Dir,
        old: impl Into<LazyIndex>,
        diff: impl Into<LazyDiff>,
        out: impl Write,
        options: &ArchiveOptions,
    ) -> Result<(), Error> {
        write(dir, &old.into(), &diff.into(), out, options, 0, |_| Ok(()))
    }

    /// [`create_with`](DiffData::create_with), into several files of at most `limit` bytes: `NAME.001.tgz`
    /// and so on for `NAME.tgz`. To other programs each is an archive by itself, and all of them one after the
    /// other (`cat`) are the archive; what is longer than 1 MiB is in them in parts. The last one has its table
    /// alone, and is what [`Archive::open`](crate::Archive::open) wants. An archive that fits into one file is
    /// one, `NAME.001.tgz`.
    ///
    /// No limit is lower than 2 MiB, and the table is not cut whatever its length.
    ///
    /// # Errors
    /// As [`create`](DiffData::create).
    pub fn create_volumes(
        dir: &Dir,
        old: impl Into<LazyIndex>,
        diff: &DiffIndex,
        path: impl AsRef<Path>,
        limit: u64,
        options: &ArchiveOptions,
    ) -> Result<DiffData, Error> {
        let path = path.as_ref();
        let format = options.format.or(Format::from_name(path));
        let limit = limit.max(volumes::MIN_LEN);
        let options = ArchiveOptions { format, ..options.clone() };
        let out = volumes::Writer::new(path, limit);
        let mut out = out.map_err(|error| Error::io("write", path, error))?;
        let written =
            write(dir, &old.into(), &diff.into(), &mut out, &options, limit, |out| out.table());
        written.map_err(|error| error.in_output(path))?;
        open::with_diff(&Archive::open(out.finish()?)?, diff.clone())
    }
}

/// Writes the archive of `diff`, whose contents are in the tree `dir`, as [`writer::write`] does.
fn write<W: Write>(
    dir: &Dir,
    old: &LazyIndex,
    diff: &LazyDiff,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Error> {
    Tree::check_base(old, diff)?;
    let progress = options.progress.as_deref();
    writer::write(diff, out, options, volume_len, before_table, || {
        let mut tree = Tree::new(dir, old, progress);
        move |change: &Change, slot: &mut Slot<'_>| tree.content(change, slot)
    })
}

/// The tree whose contents are read, by one task.
pub(crate) struct Tree<'a> {
    pub(crate) dir: &'a Dir,
    old: &'a LazyIndex,
    pub(crate) progress: Option<&'a Progress>,
    files: Neighbours<'a>,
    /// Only there to be used again.
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(
        dir: &'a Dir,
        old: &'a LazyIndex,
        progress: Option<&'a Progress>,
    ) -> Tree<'a> {
        Tree { dir, old, progress, files: Neighbours::new(dir.root()), buffer: Vec::new() }
    }

    /// That `diff` starts from the tree of `old`.
    pub(crate) fn check_base(old: &LazyIndex, diff: &LazyDiff) -> Result<(), Error> {
        match old.tree_id() == diff.base() {
            true => Ok(()),
            false => Err(Error::WrongBase { wanted: diff.base(), found: old.tree_id() }),
        }
    }

    /// Writes the content that is stored for `change`.
    pub(crate) fn content(&mut self, change: &Change, out: &mut Slot<'_>) -> Result<(), Error> {
        let Some(Node::File { len, digest }) = change.new.as_ref().map(|new| &new.node) else {
            return Ok(());
        };
        match change.stored_content() {
            Some(Content::Delta { base, digest: base_digest }) => {
                self.delta(&change.path, out, (*len, *digest), (base, *base_digest))
            }
            _ if *len <= PIECE_LEN => self.short(&change.path, out, (*len, *digest)),
            _ => {
                let file = self.open(&change.path)?;
                match self.stream(&change.path, &file, *len, out)? == *digest {
                    true => Ok(()),
                    false => Err(Error::Changed { path: change.path.clone() }),
                }
            }
        }
    }

    /// Writes a short file as it was indexed. Begins only when that is what it has.
    pub(crate) fn short(
        &mut self,
        path: &RelPath,
        out: &mut Slot<'_>,
        (len, digest): (u64, Digest),
    ) -> Result<(), Error> {
        let file = self.open(path)?;
        self.read(path, &file, len)?;
        let content = self.buffer.get(..len as usize).unwrap_or_default();
        if Digest::of(content) != digest {
            return Err(Error::Changed { path: path.clone() });
        }
        out.begin(len)?;
        out.write_all(content).map_err(Error::Write)?;
        self.count(len)
    }

    /// Writes the first `len` bytes of a file, and gives their digest. What was appended since the scan does no harm: the
    /// digest shows that what is before it is what was indexed.
    pub(crate) fn stream(
        &mut self,
        path: &RelPath,
        file: &File,
        len: u64,
        out: &mut Slot<'_>,
    ) -> Result<Digest, Error> {
        out.begin(len)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = len;
        while left > 0 {
            let now = left.min(PIECE_LEN);
            self.read(path, file, now)?;
            let piece = self.buffer.get(..now as usize).unwrap_or_default();
            hasher.update(piece);
            out.write_all(piece).map_err(Error::Write)?;
            left -= now;
            self.count(now)?;
        }
        Ok(Digest(hasher.finalize().into()))
    }

    /// Reads the next `len` bytes into the buffer.
    fn read(&mut self, path: &RelPath, mut file: &File, len: u64) -> Result<(), Error> {
        let len = len as usize;
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        let read = file.read_exact(self.buffer.get_mut(..len).unwrap_or_default());
        read.map_err(|error| unread(self.dir, path, file, error))
    }

    /// Counts bytes that are done, and stops when the caller wants it.
    pub(crate) fn count(&self, bytes: u64) -> Result<(), Error> {
        if let Some(progress) = self.progress {
            progress.add_bytes(bytes);
        }
        check_cancelled(self.progress)
    }

    /// Writes a file as the delta from what `base` has in the old tree.
    pub(crate) fn delta(
        &mut self,
        path: &RelPath,
        out: &mut Slot<'_>,
        file: (u64, Digest),
        base: (&RelPath, Digest),
    ) -> Result<(), Error> {
        let changed = || Error::Changed { path: path.clone() };
        let failed = |source| match source {
            rsync_core::Error::Changed => changed(),
            rsync_core::Error::Cancelled(_) => Error::Cancelled,
            source => Error::Delta { path: path.clone(), source },
        };
        let (len, digest) = file;
        let signature = self.signature(path, base)?;
        let file = self.open(path)?;
        let bytes = FileBytes::open(&file).map_err(|error| match error {
            rsync_core::Error::Io { source, .. } => unread(self.dir, path, &file, source),
            other => failed(other),
        })?;
        let new = bytes.first(len).ok_or_else(changed)?;
        let delta = new.delta(&signature, self.progress).map_err(failed)?;
        if delta.new_digest() != digest {
            return Err(changed());
        }
        out.begin(delta.encoded_len())?;
        new.write_delta(&delta, out, None).map_err(|error| match error {
            rsync_core::Error::Io { source, .. } => Error::Write(source),
            other => failed(other),
        })?;
        // The digest was taken before the blocks were matched. A file that was only added to since
        // still begins with what was indexed.
        if new.check().is_err() && new.digest(None).map_err(failed)? != digest {
            return Err(changed());
        }
        Ok(())
    }

    /// The old signature that a delta starts from.
    pub(crate) fn signature(
        &self,
        path: &RelPath,
        base: (&RelPath, Digest),
    ) -> Result<rsync_core::Signature, Error> {
        let (base, wanted) = base;
        let no_base = || Error::NoBase { path: path.clone(), base: base.clone() };
        let damaged = |source| Error::Signature { path: base.clone(), source };
        let record = self.old.record(base).map_err(damaged)?.ok_or_else(no_base)?;
        match record.entry.node {
            Node::File { digest, .. } if digest == wanted => {}
            _ => return Err(no_base()),
        }
        record.load_signature().map_err(damaged)?.ok_or_else(no_base)
    }

    /// Opens what should be a regular file of the tree.
    fn open(&mut self, path: &RelPath) -> Result<File, Error> {
        self.find(path)?.ok_or_else(|| Error::Changed { path: path.clone() })
    }

    /// Opens what should be a regular file of the tree; `None` when no file is there any more. A fifo or a device may be.
    pub(crate) fn find(&mut self, path: &RelPath) -> Result<Option<File>, Error> {
        match self.files.open(path) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                // A link or a socket in its place.
                _ if [Some(Errno::LOOP), Some(Errno::NXIO)]
                    .contains(&Errno::from_io_error(&error)) =>
                {
                    Ok(None)
                }
                _ => Err(failed(self.dir, "open", path, error)),
            },
        }
    }
}

/// Why `file`, which `path` was, cannot be read. Whether it is a file at all is asked only now: most are
/// small, and each call of the system counts. What anything else gives is not what was indexed.
pub(crate) fn unread(dir: &Dir, path: &RelPath, file: &File, error: io::Error) -> Error {
    // Where that cannot be known, it is taken for a file that cannot be read.
    let is_file = file.metadata().map_or(true, |metadata| metadata.is_file());
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::Changed { path: path.clone() },
        _ if !is_file => Error::Changed { path: path.clone() },
        _ => failed(dir, "read", path, error),
    }
}

/// A failure with one file, unless it would be one with any.
pub(crate) fn failed(
    dir: &Dir,
    operation: &'static str,
    path: &RelPath,
    source: io::Error,
) -> Error {
    match Errno::from_io_error(&source) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
            Error::io(operation, dir.path().join(path.as_path()), source)
        }
        _ => Error::Unreadable { operation, path: path.clone(), source },
    }
}
