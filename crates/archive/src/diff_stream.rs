//! [`DiffStream`]: a diff and its contents out of an archive that is read once, front to back. Knows which
//! bodies there are and, at the end, that all was as TABLE says; no compression.

use std::io::Read;
use std::path::PathBuf;

use container::{Seal, max_held};
use diffindex::{Change, DiffIndex};

use crate::diff_data::{is_whole, number_of};
use crate::open::{self, DIFF, MAX_TABLE_LEN, PATHS, max_diff_len};
use crate::pipe_reader::{Past, PipeReader};
use crate::table::{MAX_TRAILER_LEN, TABLE};
use crate::verify::{PATHS_DIFFER, compare_paths};
use crate::{Error, paths};

/// The data of a diff as it comes out of a pipe: the diff first, then the contents in path order. Nothing
/// is kept of what was read but 16 bytes for each frame and each content, and some MiB of the archive.
///
/// What an archive holds is vouched for at its end. So whatever is made of contents counts only once
/// [`finish`](DiffStream::finish) has said that all of it was sound.
pub struct DiffStream<'r> {
    forward: PipeReader<'r>,
    diff: DiffIndex,
    /// Where in `diff.index` each block is, and what it can be read with.
    blocks: Vec<(u64, Seal)>,
    /// The first change whose content is not begun yet.
    next: usize,
}

impl<'r> DiffStream<'r> {
    /// Reads the diff that the archive in `reader` begins with. `name` is what messages call it. An archive
    /// in volumes is one, too, when they come one after the other.
    ///
    /// A diff that takes more than 64 MiB is believed only when it takes no more than 64 times of what has come
    /// of the archive; unpacked, no more than [`max_held`] of that.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], [`Error::Diff`].
    pub fn open(reader: impl Read + Send + 'r, name: impl Into<PathBuf>) -> Result<Self, Error> {
        let mut forward = PipeReader::new(reader, name.into())?;
        forward.begin(DIFF, None)?;
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = forward.read_body(&mut piece)?;
            if read == 0 {
                break;
            }
            bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
            if bytes.len() as u64 > max_diff_len(forward.read_so_far()) {
                return Err(forward.damaged(DIFF, "it is too large for so short an archive"));
            }
        }
        forward.end()?;
        let most = max_held(forward.frame_end());
        let (diff, blocks, _) = DiffIndex::from_bytes_in_blocks(bytes, most)
            .map_err(|source| Error::Diff { archive: forward.name(), source })?;
        forward.begin(PATHS, Some(paths::byte_len(&diff)))?;
        let differs = forward.damaged(PATHS, PATHS_DIFFER);
        compare_paths(&(&diff).into(), &mut forward, differs)?;
        Ok(DiffStream { forward, diff, blocks, next: 0 })
    }

    /// What changed, and what each content must be.
    #[must_use]
    pub fn diff(&self) -> &DiffIndex {
        &self.diff
    }

    /// The content that is stored for `change`, as [`ContentReader::open`](crate::ContentReader::open) gives it.
    /// Contents before it are skipped and cannot be read any more.
    ///
    /// # Errors
    /// [`Error::NotStored`] when `change` is not one of this diff, or one without a stored content, or one
    /// whose content is gone; [`Error::Io`] and [`Error::Damaged`].
    pub fn content<'s>(&'s mut self, change: &Change) -> Result<impl Read + use<'s, 'r>, Error> {
        let number = number_of(&self.diff, change).filter(|&number| number >= self.next);
        match number.filter(|_| change.stored_content().is_some()) {
            Some(number) => self.begin_up_to(number + 1)?,
            None => {
                let (archive, path) = (self.forward.name(), change.path.clone());
                return Err(Error::NotStored { archive, path });
            }
        }
        Ok(&mut self.forward)
    }

    /// Reads the archive to its end and sees that it was sound: everything that [`DiffData::open`] does,
    /// and that each frame and each content was what TABLE says and where it says.
    ///
    /// [`DiffData::open`]: crate::DiffData::open
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Damaged`]: then nothing that came out of it is to be used.
    pub fn finish(mut self) -> Result<(), Error> {
        self.begin_up_to(self.diff.changes().len())?;
        let DiffStream { forward, diff, blocks, .. } = self;
        let name = forward.path().clone();
        let most = MAX_TABLE_LEN + MAX_TRAILER_LEN as u64;
        let Past { format, frames, bodies, rest } = forward.finish(TABLE, most)?;
        let from = rest.at;
        let archive = open::open(Box::new(rest), name, from)?;
        let opened = &*archive.0;
        if !opened.stream.is_made_of(format, &frames) {
            return Err(opened.wrong_table("it lists other frames than there are"));
        }
        open::check_diff(opened, &diff, blocks)?;
        let layout = &opened.layout;
        let contents = layout.place_all(&diff).map_err(|problem| opened.wrong_table(problem))?;
        let contents = contents.iter().map(|placed| placed.entry);
        let listed = [layout.diff, layout.paths].into_iter().chain(contents);
        if !listed.map(|body| (body.len, body.end)).eq(bodies) {
            return Err(opened.wrong_table("it says that the contents are elsewhere"));
        }
        Ok(())
    }

    /// Begins all contents of changes below number `end` that are not begun yet, one after the other: the last
    /// of them can be read then.
    fn begin_up_to(&mut self, end: usize) -> Result<(), Error> {
        let changes = self.diff.changes().get(self.next..end).unwrap_or_default();
        for change in changes.iter().filter(|change| change.stored_content().is_some()) {
            let whole = is_whole(change);
            let len = change.new.as_ref().map(|new| new.node.len()).filter(|_| whole);
            self.forward.begin(&paths::content_name(&change.path, whole), len)?;
        }
        self.next = end.max(self.next);
        Ok(())
    }
}

impl std::fmt::Debug for DiffStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiffStream").field("name", &self.forward.name()).finish_non_exhaustive()
    }
}
