//! Archives of what other archives hold: contents composed, checked and packed again. Knows nothing of
//! tar.

use std::io::{self, Read, Write};
use std::path::Path;

use diffindex::{Change, LazyDiff, Signatures};
use rsync_core::{Digest, Progress};

use crate::content_reader::StoredContent;
use crate::diff_data::{is_whole, names, unread};
use crate::lazy_data::of_diff;
use crate::slot::Slot;
use crate::stored::Stored;
use crate::writer::{self, check_cancelled};
use crate::{Archive, ArchiveOptions, DiffData, Error, Format, Snapshot, open};

const BUFFER_LEN: usize = 256 << 10;

impl Snapshot {
    /// Writes the snapshot as one full archive at `path`, as [`DiffData::compact`] does it: what merges its runs to one, compaction.
    ///
    /// # Errors
    /// As [`DiffData::compact`].
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        options: &ArchiveOptions,
    ) -> Result<Archive, Error> {
        let path = path.as_ref();
        in_file(path, options, |file, options| self.repack_to(file, options))?;
        Archive::open(path)
    }

    /// [`write`](Snapshot::write) to `out`, front to back: a pipe will do. When this fails, what was
    /// written is no archive. Little more of its diff is in memory than of the snapshot.
    ///
    /// # Errors
    /// As [`DiffData::repack_to`].
    pub fn repack_to(&self, out: impl Write, options: &ArchiveOptions) -> Result<(), Error> {
        let progress = options.progress.as_deref();
        let reader = || {
            let (mut reader, mut buffer) = (self.reader(), vec![0; BUFFER_LEN]);
            move |change: &Change, slot: &mut Slot<'_>| {
                let body = reader.open(&change.path)?;
                let found = pass_on(body, self.archives(), slot, &mut buffer, progress)?;
                self.check(&change.path, found)
            }
        };
        writer::write(self.full()?, out, options, 0, |_| Ok(()), reader)
    }

    /// About how many bytes [`repack_to`](Snapshot::repack_to) would write, as [`DiffData::packed_len`] has it.
    ///
    /// # Errors
    /// [`Error::Diff`]; those of reading the archives.
    pub fn packed_len(&self) -> Result<u64, Error> {
        let (diff, mut contents) = (self.full()?, 0u64);
        self.each_body(diff, |body| contents = contents.saturating_add(packed(body)))?;
        Ok(encoded_len(diff, &names(self.archives()))?.saturating_add(contents))
    }
}

impl DiffData {
    /// Packs this, which was [squashed](DiffData::squash) or not, into an archive of its own at `path`,
    /// and opens that. The archives that its contents are made of are not needed any more then.
    ///
    /// The archive is written beside `path` under another name, synced, and then renamed, so there
    /// is a whole archive at `path` afterwards or what was there before.
    ///
    /// # Errors
    /// [`Error::Damaged`], which names the archive, for a content that cannot be read, and for a file
    /// that has not the digest that the diff promises; [`Error::Io`] and the rest of [`Error`].
    pub fn compact(
        &self,
        path: impl AsRef<Path>,
        options: &ArchiveOptions,
    ) -> Result<DiffData, Error> {
        let path = path.as_ref();
        in_file(path, options, |file, options| self.repack_to(file, options))?;
        open::with_diff(&Archive::open(path)?, self.diff.clone())
    }

    /// [`compact`](DiffData::compact) to `out`, front to back: a pipe will do. When this fails, what was
    /// written is no archive.
    ///
    /// # Errors
    /// As [`compact`](DiffData::compact), and [`Error::Write`] when `out` fails.
    pub fn repack_to(&self, out: impl Write, options: &ArchiveOptions) -> Result<(), Error> {
        let progress = options.progress.as_deref();
        let reader = || {
            let (mut reader, mut buffer) = (self.reader(), vec![0; BUFFER_LEN]);
            move |change: &Change, slot: &mut Slot<'_>| {
                let body = reader.open(change)?;
                let found = pass_on(body, &self.archives, slot, &mut buffer, progress)?;
                if is_whole(change) { self.check_digest(change, found) } else { Ok(()) }
            }
        };
        writer::write(&(&self.diff).into(), out, options, 0, |_| Ok(()), reader)
    }

    /// About how many bytes [`repack_to`](DiffData::repack_to) would write: what the contents take where they lie, and what
    /// the diff takes. Reads no contents. It is more than will be written where a content is made of several that replace
    /// one another.
    ///
    /// # Errors
    /// [`Error::Diff`] when the diff cannot be written.
    pub fn packed_len(&self) -> Result<u64, Error> {
        let bodies = self.contents.iter().flat_map(|content| content.bodies.iter());
        let contents = bodies.map(packed).fold(0, u64::saturating_add);
        Ok(encoded_len(&(&self.diff).into(), &self.name())?.saturating_add(contents))
    }
}

/// Has `write` write an archive to the file at `path`, in one step.
fn in_file(
    path: &Path,
    options: &ArchiveOptions,
    write: impl FnOnce(&mut dyn Write, &ArchiveOptions) -> Result<(), Error>,
) -> Result<(), Error> {
    let format = options.format.or(Format::from_name(path));
    let options = ArchiveOptions { format, ..options.clone() };
    dirindex::replace_file(path, |file| {
        write(file, &options).map_err(|error| error.in_output(path))
    })
}

/// How many bytes `diff` is, of the archives called `name`.
fn encoded_len(diff: &LazyDiff, name: &str) -> Result<u64, Error> {
    let encoded = diff.encode(io::sink(), Signatures::None, |_, _| ());
    Ok(encoded.map_err(|source| of_diff(name.to_owned(), source))?.byte_len())
}

/// About how many bytes a body takes where it lies.
fn packed(body: &Stored) -> u64 {
    body.archive.0.stream.packed_len(body.span())
}

/// Writes a content, which `archives` hold, to `out`. Gives its digest.
fn pass_on(
    mut body: StoredContent<'_>,
    archives: &[Archive],
    out: &mut Slot<'_>,
    buffer: &mut [u8],
    progress: Option<&Progress>,
) -> Result<Digest, Error> {
    out.begin(body.remaining())?;
    let mut hasher = blake3::Hasher::new();
    while body.remaining() > 0 {
        let read = body.read(buffer).map_err(|error| unread(error, archives))?;
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        out.write_all(piece).map_err(Error::Write)?;
        if let Some(progress) = progress {
            progress.add_bytes(read as u64);
        }
        check_cancelled(progress)?;
    }
    Ok(Digest(hasher.finalize().into()))
}
