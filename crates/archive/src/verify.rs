//! Reading a whole archive to see that it is sound, without restoring anything. Knows what each
//! byte must be as far as the archive alone can tell.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use diffindex::{Change, LazyDiff};
use dirindex::{RelPath, is_exhaustion};
use rayon::prelude::*;
use rsync_core::Progress;

use crate::content_reader::StoredContent;
use crate::diff_data::{Composition, check_digest, is_whole, unread};
use crate::open::PATHS;
use crate::stored::{FrameReaders, Stored, StoredReader};
use crate::{Archive, DiffData, Error, LazyData, paths};

/// Contents are checked in parallel in runs of about this much of the tar stream.
const RUN_LEN: u64 = 16 << 20;
/// So many runs for each thread are in memory at a time, where the diff is not.
const RUNS: usize = 4;

/// Changes that are read by one thread, and what their contents are made of.
type Run = Vec<(Change, Arc<[Stored]>)>;

impl LazyData {
    /// Reads everything, as [`DiffData::verify`] does.
    ///
    /// # Errors
    /// As [`DiffData::verify`].
    pub fn verify(&self, progress: Option<&Progress>) -> Result<(), Error> {
        let archives = std::slice::from_ref(self.archive());
        verify_paths(self.archive(), self.diff())?;
        let at_once = RUNS * rayon::current_num_threads();
        let (mut runs, mut run, mut cost) = (Vec::new(), Vec::new(), 0u64);
        let verify = |runs: &mut Vec<Run>| {
            let done = runs.par_iter().try_for_each(|run| {
                let contents = run.iter().map(|(change, bodies)| (change, bodies));
                verify_run(archives, contents, progress, Err)
            });
            runs.clear();
            done.map_err(|(_, error)| error)
        };
        for part in self.parts() {
            let part = part?;
            for (change, stored) in part.contents(self.archive()) {
                cost = cost.saturating_add(stored.cost());
                run.push((change.clone(), [stored].into()));
            }
            if cost >= RUN_LEN {
                runs.push(std::mem::take(&mut run));
                cost = 0;
            }
            if runs.len() >= at_once {
                verify(&mut runs)?;
            }
        }
        runs.push(run);
        verify(&mut runs)
    }
}

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
            verify_paths(archive, &(&self.diff).into())?;
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
        pass: impl Fn(Damaged) -> Result<(), Damaged> + Sync,
    ) -> Result<(), Error> {
        let runs = runs(&self.contents);
        let done = runs.into_par_iter().try_for_each(|run| {
            let contents = run.iter().filter_map(|it| Some((self.change(it)?, &it.bodies)));
            verify_run(&self.archives, contents, progress, &pass)
        });
        done.map_err(|(_, error)| error)
    }
}

/// A path whose content is damaged, and how.
type Damaged = (RelPath, Error);

fn verify_paths(archive: &Archive, diff: &LazyDiff) -> Result<(), Error> {
    let stream = &archive.0.stream;
    let mut reader = stream.reader();
    let body = archive.0.layout.paths;
    reader.header(PATHS, &body, 0)?;
    let differs = reader.damaged(PATHS, PATHS_DIFFER);
    let compared = compare_paths(diff, StoredReader::new(&mut reader, body, PATHS), differs)?;
    match compared == body.len {
        true => reader.padding(PATHS, &body),
        false => Err(reader.damaged(PATHS, PATHS_DIFFER)),
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

/// Reads the contents of these changes, which `archives` hold.
fn verify_run<'c>(
    archives: &[Archive],
    contents: impl Iterator<Item = (&'c Change, &'c Arc<[Stored]>)>,
    progress: Option<&Progress>,
    pass: impl Fn(Damaged) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut readers = FrameReaders::new(archives);
    for (change, bodies) in contents {
        let mut verify = || {
            let whole = is_whole(change);
            let mut body = StoredContent::new(&mut readers, None, Arc::clone(bodies), whole)?;
            let digest = body.digest(progress).map_err(|error| unread(error, archives))?;
            body.padding()?;
            if let Some(last) = bodies.last().filter(|_| whole) {
                check_digest((last, bodies.len() == 1), change, digest)?;
            }
            if let Some(progress) = progress {
                progress.add_item();
            }
            Ok(())
        };
        verify().or_else(|error| pass((change.path.clone(), error)))?;
    }
    Ok(())
}

pub(crate) const PATHS_DIFFER: &str = "it does not say what the diff says";

/// Reads as many bytes of `paths` as PATHS has for `diff`, and gives `differs` where they are others; else how many they are.
pub(crate) fn compare_paths(
    diff: &LazyDiff,
    paths: impl Read,
    differs: Error,
) -> Result<u64, Error> {
    let mut compare = Compare { paths, len: 0 };
    paths::write(diff, &mut compare).map_err(|error| match error.downcast() {
        Ok(ours) => ours,
        Err(_) => differs,
    })?;
    Ok(compare.len)
}

/// Takes only the bytes that are read from another place, and counts them.
struct Compare<R> {
    paths: R,
    len: u64,
}

impl<R: Read> Write for Compare<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut found = vec![0; bytes.len()];
        self.paths.read_exact(&mut found)?;
        self.len += bytes.len() as u64;
        if found == bytes { Ok(bytes.len()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
