//! Reading a whole archive to see that it is sound, without restoring anything. Knows what each
//! byte must be as far as the archive alone can tell.

use std::io::{self, Write};

use rayon::prelude::*;
use rsync_core::{Digest, Progress};

use crate::layout::Stored;
use crate::open::PATHS;
use crate::read::is_whole;
use crate::stream::{Cursor, as_io};
use crate::{DiffData, Error, count, paths};

/// Contents are checked in parallel in runs of about this much of the tar stream.
const RUN_LEN: u64 = 16 << 20;
const BUFFER_LEN: usize = 64 << 10;

impl DiffData {
    /// Reads everything: each compressed member unpacks to what is declared and matches its
    /// checksum, each header and padding is as it must be, PATHS says what the diff says, and each
    /// file that is stored whole has the digest that the diff promises. (What a delta leads to can
    /// only be told with the old file at hand.)
    ///
    /// # Errors
    /// The first damage that is found, as [`Error::Damaged`]; [`Error::Io`]; [`Error::Cancelled`].
    pub fn verify(&self, progress: Option<&Progress>) -> Result<(), Error> {
        // A selection has its own diff, which PATHS knows nothing of.
        if self.diff.result() == self.archive.result() {
            self.verify_paths()?;
        }
        let runs: Vec<&[Stored]> =
            self.contents.chunk_by(|a, b| a.at / RUN_LEN == b.at / RUN_LEN).collect();
        runs.into_par_iter().try_for_each(|run| {
            let mut cursor = self.stream().cursor();
            let mut buffer = vec![0; BUFFER_LEN];
            run.iter().try_for_each(|stored| {
                verify_content(self, &mut cursor, stored, &mut buffer, progress)
            })
        })
    }

    fn verify_paths(&self) -> Result<(), Error> {
        let mut cursor = self.stream().cursor();
        let layout = &self.archive.0.layout;
        let paths_len = layout.head.paths_len;
        cursor.seek(layout.paths_at);
        cursor.header(PATHS, paths_len)?;
        let offset = cursor.archive_offset();
        let damaged = || self.stream().damaged(PATHS, offset, "it does not say what the diff says");
        let len = count::length(|out| paths::write(&self.diff, out));
        if len.ok() != Some(paths_len) {
            return Err(damaged());
        }
        paths::write(&self.diff, Compare(&mut cursor)).map_err(|error| match error.downcast() {
            Ok(ours) => ours,
            Err(_) => damaged(),
        })?;
        cursor.padding(PATHS, paths_len)
    }
}

fn verify_content(
    data: &DiffData,
    cursor: &mut Cursor<'_>,
    stored: &Stored,
    buffer: &mut [u8],
    progress: Option<&Progress>,
) -> Result<(), Error> {
    let Some((change, name)) = data.change(stored).and_then(|c| Some((c, paths::member_name(c)?)))
    else {
        return Ok(());
    };
    cursor.seek(stored.at);
    cursor.header(&name, stored.len)?;
    let mut hasher = blake3::Hasher::new();
    let mut left = stored.len;
    while left > 0 {
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = buffer.get_mut(..room).unwrap_or_default();
        cursor.read_exact(piece).map_err(|error| error.of(&name))?;
        hasher.update(piece);
        left -= room as u64;
        if let Some(progress) = progress {
            progress.add_bytes(room as u64);
            progress.check().map_err(|_| Error::Cancelled)?;
        }
    }
    let digest: Digest = hasher.finalize().into();
    if is_whole(change) {
        data.check_digest(stored, change, digest)?;
    }
    if let Some(progress) = progress {
        progress.add_item();
    }
    cursor.padding(&name, stored.len)
}

/// Takes only the bytes that the cursor is at.
struct Compare<'r, 'a>(&'r mut Cursor<'a>);

impl Write for Compare<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut found = vec![0; bytes.len()];
        self.0.read_exact(&mut found).map_err(|error| as_io(error.of(PATHS)))?;
        if found == bytes { Ok(bytes.len()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
