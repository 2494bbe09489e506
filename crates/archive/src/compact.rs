//! Archives of what other archives hold: contents composed, checked and packed again. Knows nothing of
//! tar.

use std::io::{self, Read, Write};
use std::path::Path;

use diffindex::{Change, LazyDiff, Signatures};
use rsync_core::{Digest, Progress};

use crate::diff_data::{ContentReader, is_whole, unread};
use crate::slot::Slot;
use crate::writer::{self, check_cancelled};
use crate::{Archive, ArchiveOptions, DiffData, Error, Format, open};

const BUFFER_LEN: usize = 256 << 10;

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
        let format = options.format.or(Format::from_name(path));
        let options = ArchiveOptions { format, ..options.clone() };
        dirindex::replace_file(path, |file| {
            self.repack_to(file, &options).map_err(|error| error.in_output(path))
        })?;
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
                self.pass_on(&mut reader, change, slot, &mut buffer, progress)
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
        let encoded = LazyDiff::from(&self.diff).encode(io::sink(), Signatures::None, |_, _| ());
        let encoded = encoded.map_err(|source| Error::Diff { archive: self.name(), source })?;
        let bodies = self.contents.iter().flat_map(|content| content.bodies.iter());
        let contents = bodies.map(|body| body.archive.0.stream.packed_len(body.span())).sum();
        Ok(encoded.byte_len().saturating_add(contents))
    }

    /// Writes the content of `change` to `out`.
    fn pass_on(
        &self,
        reader: &mut ContentReader<'_>,
        change: &Change,
        out: &mut Slot<'_>,
        buffer: &mut [u8],
        progress: Option<&Progress>,
    ) -> Result<(), Error> {
        let mut body = reader.open(change)?;
        out.begin(body.remaining())?;
        let mut hasher = blake3::Hasher::new();
        while body.remaining() > 0 {
            let read = body.read(buffer).map_err(|error| unread(error, &self.archives))?;
            let piece = buffer.get(..read).unwrap_or_default();
            hasher.update(piece);
            out.write_all(piece).map_err(Error::Write)?;
            if let Some(progress) = progress {
                progress.add_bytes(read as u64);
            }
            check_cancelled(progress)?;
        }
        match is_whole(change) {
            true => self.check_digest(change, Digest(hasher.finalize().into())),
            false => Ok(()),
        }
    }
}
