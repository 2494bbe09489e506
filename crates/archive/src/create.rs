//! Writing an archive: what goes into it, in which order, read from the live tree and checked
//! against the diff on the way.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use diffindex::{Change, Content, DiffIndex, Encoded, Signatures};
use dirindex::sections::Seal;
use dirindex::{Dir, DirIndex, Node, RelPath, SectionError};
use rsync_core::{Delta, Digest, FileBytes, Progress};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::codec::Packer;
use crate::members::MemberWriter;
use crate::open::{DIFF, PATHS};
use crate::table::{BlockRow, Head, Table, Trailer};
use crate::{Archive, DiffData, Error, Format, count, frame, open, paths, volumes};

const BUFFER_LEN: usize = 256 << 10;

/// How an archive is written.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// The compression; `None`: the one the file's name asks for, or else gzip.
    pub format: Option<Format>,
    /// The compression level, 0 to 12 for gzip and 1 to 19 for zstd; `None`: 6 and 3.
    pub level: Option<i32>,
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
        old: &DirIndex,
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
        old: &DirIndex,
        diff: &DiffIndex,
        path: impl AsRef<Path>,
        options: &ArchiveOptions,
    ) -> Result<DiffData, Error> {
        let path = path.as_ref();
        let mut options = options.clone();
        options.format = options.format.or(Format::from_name(path));
        dirindex::replace_file(path, |file| {
            let written = DiffData::write(dir, old, diff, file, &options);
            written.map_err(|error| match error {
                Error::Write(source) => Error::io("write", path, source),
                other => other,
            })
        })?;
        open::load(&Archive::open(path)?, Some(diff))
    }

    /// Writes the archive to `out`, front to back: a pipe will do. When this fails, what was
    /// written is no archive.
    ///
    /// # Errors
    /// As [`create`](DiffData::create), and [`Error::Write`] when `out` fails.
    pub fn write(
        dir: &Dir,
        old: &DirIndex,
        diff: &DiffIndex,
        out: impl Write,
        options: &ArchiveOptions,
    ) -> Result<(), Error> {
        write(dir, old, diff, out, options, 0, |_| Ok(()))
    }

    /// [`create_with`](DiffData::create_with), into several files of at most `limit` bytes: `NAME.001.tgz`
    /// and so on for `NAME.tgz`. Each is a sound compressed file by itself, and all of them one after the
    /// other (`cat`) are the archive. The last one has its table alone, and is what
    /// [`Archive::open`](crate::Archive::open) wants. An archive that fits into one file is one,
    /// `NAME.001.tgz`.
    ///
    /// No limit is lower than 2 MiB, and the table is not cut whatever its length.
    ///
    /// # Errors
    /// As [`create`](DiffData::create).
    pub fn create_volumes(
        dir: &Dir,
        old: &DirIndex,
        diff: &DiffIndex,
        path: impl AsRef<Path>,
        limit: u64,
        options: &ArchiveOptions,
    ) -> Result<DiffData, Error> {
        let path = path.as_ref();
        let format = options.format.or(Format::from_name(path));
        let limit = limit.max(volumes::MIN_LEN);
        let options = ArchiveOptions { format, ..options.clone() };
        let failed = |error| Error::io("write", path, error);
        let mut out = volumes::Writer::new(path, limit).map_err(failed)?;
        let written = write(dir, old, diff, &mut out, &options, limit, |out| out.table());
        written.map_err(|error| match error {
            Error::Write(source) => failed(source),
            other => other,
        })?;
        open::load(&Archive::open(out.finish()?)?, Some(diff))
    }
}

/// Writes an archive to `out`, each compressed member in one call of [`Write::write`] if that takes it,
/// and TABLE with the trailer in one call after `before_table`.
fn write<W: Write>(
    dir: &Dir,
    old: &DirIndex,
    diff: &DiffIndex,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Error> {
    let packer = Packer::new(options.format.unwrap_or_default(), options.level)?;
    if old.root() != diff.base() {
        return Err(Error::WrongBase { wanted: diff.base(), found: old.root() });
    }
    let mut writing = Writing {
        dir,
        old,
        progress: options.progress.as_deref(),
        tar: MemberWriter::new(out, packer),
        deltas: Vec::new(),
        buffer: vec![0; BUFFER_LEN],
    };
    // What is stored whole can be signed again by who needs it: see `sign`.
    let encoded = diff.encode(Signatures::OfDeltas).map_err(Error::Encode)?;
    let head = writing.head(diff, &encoded, volume_len)?;
    let blocks = encoded.blocks().map(|(changes, seal)| writing.block(changes, seal));
    let blocks = blocks.collect::<Result<Vec<BlockRow>, Error>>()?;
    writing.finish(head, blocks, packer, before_table)
}

/// An archive that is being written.
struct Writing<'a, W> {
    dir: &'a Dir,
    old: &'a DirIndex,
    progress: Option<&'a Progress>,
    tar: MemberWriter<W>,
    deltas: Vec<u64>,
    buffer: Vec<u8>,
}

impl<W: Write> Writing<'_, W> {
    /// Writes `diff.index`, each block of changes in a member of its own, and PATHS.
    fn head(
        &mut self,
        diff: &DiffIndex,
        encoded: &Encoded<'_>,
        volume_len: u64,
    ) -> Result<Head, Error> {
        let failed = |error| match error {
            diffindex::Error::Sections(SectionError::Write(error)) => Error::Write(error),
            other => Error::Encode(other),
        };
        let diff_len = encoded.byte_len();
        self.header(DIFF, diff_len)?;
        encoded.write_to(&mut self.tar, |tar| tar.cut()).map_err(failed)?;
        self.end_body(diff_len)?;
        self.tar.cut().map_err(Error::Write)?;

        let paths_len = count::length(|out| paths::write(diff, out)).map_err(Error::Write)?;
        self.header(PATHS, paths_len)?;
        paths::write(diff, &mut self.tar).map_err(Error::Write)?;
        self.end_body(paths_len)?;
        self.tar.cut().map_err(Error::Write)?;
        let (base, result, blocks_at) = (diff.base(), diff.result(), encoded.blocks_at());
        Ok(Head { base, result, diff_len, blocks_at, paths_len, volume_len })
    }

    /// Writes the contents that are stored for a block of changes.
    fn block(&mut self, changes: &[Change], seal: Seal) -> Result<BlockRow, Error> {
        let first = changes.first().map(|change| change.path.clone());
        let first = first.ok_or_else(|| Error::Write(io::Error::other("an empty block")))?;
        let (deltas, mut contents) = (self.deltas.len(), 0);
        for change in changes {
            contents += self.content(change)?;
        }
        Ok(BlockRow { first, seal, contents, deltas: (self.deltas.len() - deltas) as u64 })
    }

    /// Writes the content that is stored for a change, if any is. Gives what it takes up.
    fn content(&mut self, change: &Change) -> Result<u64, Error> {
        self.check_cancelled()?;
        let (Some(content), Some(name)) = (change.stored_content(), paths::member_name(change))
        else {
            return Ok(0);
        };
        let Some(Node::File { len, digest }) = change.new.as_ref().map(|new| &new.node) else {
            return Ok(0);
        };
        let len = match content {
            Content::Delta { base, digest: base_digest } => {
                self.delta(&change.path, &name, (*len, *digest), (base, *base_digest))?
            }
            _ => self.whole(&change.path, &name, (*len, *digest))?,
        };
        self.end_body(len)?;
        if let Some(progress) = self.progress {
            progress.add_item();
        }
        Ok(frame::footprint(len).unwrap_or(u64::MAX))
    }

    /// Writes a file as it is. Exactly the indexed length is read: what was appended since does no
    /// harm, since the digest shows that what is before it is what was indexed.
    fn whole(&mut self, path: &RelPath, name: &str, file: (u64, Digest)) -> Result<u64, Error> {
        let (len, digest) = file;
        let mut file = self.open(path)?;
        self.header(name, len)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = len;
        while left > 0 {
            let room = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = self.buffer.get_mut(..room).unwrap_or_default();
            file.read_exact(piece).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => Error::Changed { path: path.clone() },
                _ => Error::io("read", self.dir.path().join(path.as_path()), error),
            })?;
            hasher.update(piece);
            self.tar.write_all(piece).map_err(Error::Write)?;
            left -= room as u64;
            if let Some(progress) = self.progress {
                progress.add_bytes(room as u64);
            }
            self.check_cancelled()?;
        }
        if Digest::from(hasher.finalize()) != digest {
            return Err(Error::Changed { path: path.clone() });
        }
        Ok(len)
    }

    /// Writes a file as the delta from what `base` has in the old tree. Gives the delta's length.
    fn delta(
        &mut self,
        path: &RelPath,
        name: &str,
        file: (u64, Digest),
        base: (&RelPath, Digest),
    ) -> Result<u64, Error> {
        let changed = || Error::Changed { path: path.clone() };
        let failed = |source| match source {
            rsync_core::Error::Changed => changed(),
            rsync_core::Error::Cancelled(_) => Error::Cancelled,
            source => Error::Delta { path: path.clone(), source },
        };
        let (len, digest) = file;
        let signature = self.signature(path, base)?;
        let file = self.open(path)?;
        let bytes = FileBytes::open(&file).map_err(failed)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let new = bytes.get(..len).ok_or_else(changed)?;
        let delta = Delta::compute(&signature, new, self.progress).map_err(failed)?;
        if delta.new_digest() != digest {
            return Err(changed());
        }
        let delta_len = delta.encoded_len();
        self.header(name, delta_len)?;
        delta.write_to(new, &mut self.tar).map_err(|error| match error {
            rsync_core::Error::Io { source, .. } => Error::Write(source),
            other => failed(other),
        })?;
        // The digest was taken before the blocks were matched. A file that was only added to since
        // still begins with what was indexed.
        if bytes.check().is_err() && Digest::of(new) != digest {
            return Err(changed());
        }
        self.deltas.push(delta_len);
        Ok(delta_len)
    }

    /// The old signature that a delta starts from.
    fn signature(
        &self,
        path: &RelPath,
        base: (&RelPath, Digest),
    ) -> Result<rsync_core::Signature, Error> {
        let (base, wanted) = base;
        let no_base = || Error::NoBase { path: path.clone(), base: base.clone() };
        match self.old.get(base).map(|entry| &entry.node) {
            Some(Node::File { digest, .. }) if *digest == wanted => {}
            _ => return Err(no_base()),
        }
        let signature = self.old.signature(base);
        signature
            .map_err(|source| Error::Signature { path: base.clone(), source })?
            .ok_or_else(no_base)
    }

    /// Opens a regular file of the tree; what is no longer one has changed.
    fn open(&self, path: &RelPath) -> Result<File, Error> {
        let changed = || Error::Changed { path: path.clone() };
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => changed(),
            // A link or a socket in its place.
            _ if [Some(Errno::LOOP), Some(Errno::NXIO)].contains(&Errno::from_io_error(&error)) => {
                changed()
            }
            _ => Error::io("open", self.dir.path().join(path.as_path()), error),
        };
        let file = self.dir.root().open(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
        let file = File::from(file);
        let metadata = file
            .metadata()
            .map_err(|error| Error::io("stat", self.dir.path().join(path.as_path()), error))?;
        if metadata.is_file() { Ok(file) } else { Err(changed()) }
    }

    /// Writes TABLE, the end of the tar stream, and the trailer.
    fn finish(
        mut self,
        head: Head,
        blocks: Vec<BlockRow>,
        packer: Packer,
        before_table: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Error> {
        let (members, table_offset) = self.tar.settle().map_err(Error::Write)?;
        let members = members.to_vec();
        let table = Table { head, members, blocks, deltas: self.deltas };
        let body = table.to_bytes().map_err(Error::EncodeTable)?;
        let packed = Table::pack(packer, &body).map_err(Error::Write)?;
        let trailer = Trailer::new(table_offset, body.len() as u64, &packed);
        let end = [packed, trailer.to_bytes(packer.format)].concat();
        let out = self.tar.get_mut();
        before_table(out)
            .and_then(|()| out.write_all(&end))
            .and_then(|()| out.flush())
            .map_err(Error::Write)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<(), Error> {
        self.tar.write_all(&frame::header(name, size)).map_err(Error::Write)
    }

    /// Fills up the last block of a body of `size` bytes.
    fn end_body(&mut self, size: u64) -> Result<(), Error> {
        self.tar.write_all(frame::padding(size)).map_err(Error::Write)
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        let check = self.progress.map_or(Ok(()), Progress::check);
        check.map_err(|_| Error::Cancelled)
    }
}
