//! Reading a whole archive to see that it is sound, without restoring anything. Knows what each
//! byte must be as far as the archive alone can tell.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use diffindex::{Change, DiffIndex};
use dirindex::{RelPath, is_exhaustion};
use rayon::prelude::*;
use rsync_core::Progress;

use crate::diff_data::{Composition, ContentReader, is_whole, unread};
use crate::open::PATHS;
use crate::stored::StoredReader;
use crate::{Archive, DiffData, Error, paths};

/// Contents are checked in parallel in runs of about this much of the tar stream.
const RUN_LEN: u64 = 16 << 20;

impl DiffData {
    /// Reads everything: each frame unpacks to what is declared and matches its
    /// checksum, each header and padding is as it must be, PATHS says what the diff says, and each
    /// file that is stored whole has the digest that the diff promises. (What a delta makes
    /// can be checked only with the old file.)
    ///
    /// Of what was squashed or selected it reads what the contents of its diff are made of: a file
    /// that is made of one stored whole and deltas is compared with its digest. The archives
    /// themselves are read whole when each is verified.
    ///
    /// # Errors
    /// The first damage that is found, as [`Error::Damaged`]; [`Error::Io`]; [`Error::Cancelled`].
    pub fn verify(&self, progress: Option<&Progress>) -> Result<(), Error> {
        if let [archive] = &*self.archives
            && (self.diff.base(), self.diff.result()) == (archive.base(), archive.result())
        {
            self.verify_paths(archive)?;
        }
        self.verify_contents(progress, Err)
    }

    /// Reads all contents, as [`verify`](DiffData::verify) does, and gives those that are damaged or cannot be read, in path
    /// order, each with the first error.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::Io`] when there are too many open files, which says nothing of an archive.
    pub fn damaged(&self, progress: Option<&Progress>) -> Result<Vec<(RelPath, Error)>, Error> {
        let damaged = Mutex::new(Vec::new());
        self.verify_contents(progress, |(path, error)| match error {
            Error::Cancelled => Err((path, error)),
            Error::Io { ref source, .. } if is_exhaustion(source) => Err((path, error)),
            error => {
                damaged.lock().unwrap_or_else(PoisonError::into_inner).push((path, error));
                Ok(())
            }
        })?;
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(damaged)
    }

    /// Reads all contents. `pass` says whether to go on past one that is damaged.
    fn verify_contents(
        &self,
        progress: Option<&Progress>,
        pass: impl Fn((RelPath, Error)) -> Result<(), (RelPath, Error)> + Sync,
    ) -> Result<(), Error> {
        let runs = runs(&self.contents);
        let done = runs.into_par_iter().try_for_each(|run| {
            let mut reader = self.reader();
            run.iter().try_for_each(|composition| {
                let Some(change) = self.change(composition) else { return Ok(()) };
                let verified = verify_content(self, &mut reader, change, progress);
                verified.or_else(|error| pass((change.path.clone(), error)))
            })
        });
        done.map_err(|(_, error)| error)
    }

    fn verify_paths(&self, archive: &Archive) -> Result<(), Error> {
        let stream = &archive.0.stream;
        let mut reader = stream.reader();
        let body = archive.0.layout.paths;
        reader.header(PATHS, &body, 0)?;
        let differs = reader.damaged(PATHS, PATHS_DIFFER);
        if paths::byte_len(&self.diff) != body.len {
            return Err(differs);
        }
        compare_paths(&self.diff, StoredReader::new(&mut reader, body, PATHS), differs)?;
        reader.padding(PATHS, &body)
    }
}

/// The contents, in runs that take about as long to read.
fn runs(contents: &[Composition]) -> Vec<&[Composition]> {
    let (mut runs, mut start, mut cost) = (Vec::new(), 0, 0u64);
    for (number, composition) in contents.iter().enumerate() {
        cost = cost.saturating_add(composition.cost());
        if cost >= RUN_LEN {
            runs.extend(contents.get(start..=number));
            (start, cost) = (number + 1, 0);
        }
    }
    runs.extend(contents.get(start..));
    runs
}

fn verify_content(
    data: &DiffData,
    reader: &mut ContentReader<'_>,
    change: &Change,
    progress: Option<&Progress>,
) -> Result<(), Error> {
    let mut body = reader.open(change)?;
    let digest = body.digest(progress).map_err(|error| unread(error, &data.archives))?;
    body.padding()?;
    if is_whole(change) {
        data.check_digest(change, digest)?;
    }
    if let Some(progress) = progress {
        progress.add_item();
    }
    Ok(())
}

pub(crate) const PATHS_DIFFER: &str = "it does not say what the diff says";

/// Reads as many bytes of `paths` as PATHS has for `diff`, and gives `differs` where they are others.
pub(crate) fn compare_paths(
    diff: &DiffIndex,
    paths: impl Read,
    differs: Error,
) -> Result<(), Error> {
    paths::write(&diff.into(), Compare(paths)).map_err(|error| match error.downcast() {
        Ok(ours) => ours,
        Err(_) => differs,
    })
}

/// Takes only the bytes that are read from another place.
struct Compare<R>(R);

impl<R: Read> Write for Compare<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut found = vec![0; bytes.len()];
        self.0.read_exact(&mut found)?;
        if found == bytes { Ok(bytes.len()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
