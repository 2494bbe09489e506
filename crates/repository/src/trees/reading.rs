//! Reading contents, one after the other: what one content has unpacked serves the next. Knows nothing of who asks.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use archive::{SnapshotReader, StoredContent};
use dirindex::RelPath;

use super::contents::{Bytes, File, Held, Part};
use crate::error::{Error, Result};

/// Who is not asked for so long lets go of the tree and the frames that it has.
const IDLE: Duration = Duration::from_secs(10);

/// A part that is to be read.
pub(super) struct Job {
    pub(super) file: File,
    pub(super) part: Part,
    pub(super) answer: SyncSender<Result<Bytes>>,
}

/// Reads a part by itself.
pub(super) fn once(file: &File, part: Part) -> Result<Bytes> {
    with(&mut file.tree().snapshot().reader(), file, part)
}

/// Reads a part by itself, of a content all of which is read and compared with its digest.
pub(super) fn proved(file: &File, part: Part) -> Result<Bytes> {
    let mut reader = file.tree().snapshot().reader();
    if part != Part::Whole {
        let digest = reader.digest(file.path(), None)?;
        file.tree().snapshot().check(file.path(), digest)?;
    }
    let bytes = with(&mut reader, file, part)?;
    if part == Part::Whole {
        file.check(&bytes)?;
    }
    Ok(bytes)
}

/// Does jobs as long as there are any. What is open for one stays so for the next one.
pub(super) fn work(jobs: &Receiver<Job>, held: &Held) {
    let mut next = jobs.recv().ok();
    while let Some(job) = next {
        next = of_tree(job, jobs, held).or_else(|| jobs.recv().ok());
    }
}

/// Does the jobs of one tree. Gives the first of another.
fn of_tree(first: Job, jobs: &Receiver<Job>, held: &Held) -> Option<Job> {
    let tree = Arc::clone(first.file.tree());
    let mut reader = tree.snapshot().reader();
    let mut next = Some(first);
    while let Some(job) = next.take_if(|job| Arc::ptr_eq(job.file.tree(), &tree)) {
        next = match job.part {
            Part::Number(_) => of_content(job, &mut reader, jobs, held),
            Part::Whole => {
                let read = held.read(&job.file, job.part, |file, part| {
                    with(&mut reader, file, part).or_else(|_| {
                        // It may have been the reader: what it may spend on all contents together has an end.
                        reader = tree.snapshot().reader();
                        with(&mut reader, file, part)
                    })
                });
                job.done(read);
                jobs.recv_timeout(IDLE).ok()
            }
        };
    }
    next
}

/// Does the jobs of one content that is read in parts. Gives the first of another.
fn of_content<'a>(
    first: Job,
    reader: &mut SnapshotReader<'a>,
    jobs: &Receiver<Job>,
    held: &Held,
) -> Option<Job> {
    let file = first.file.clone();
    let mut content = reader.open(file.path());
    let mut next = Some(first);
    while let Some(job) = next.take_if(|job| job.file.is(&file)) {
        let read = held.read(&file, job.part, |file, part| match &mut content {
            Ok(content) => bytes(content, file, part).or_else(|_| once(file, part)),
            Err(_) => once(file, part),
        });
        job.done(read);
        next = jobs.recv_timeout(IDLE).ok();
    }
    next
}

impl Job {
    fn done(self, read: Result<Bytes>) {
        // Who asked may have gone.
        _ = self.answer.send(read);
    }
}

/// Reads a part with a reader.
fn with(reader: &mut SnapshotReader<'_>, file: &File, part: Part) -> Result<Bytes> {
    match file.len() {
        // What has no bytes is not stored.
        0 => Ok(Arc::default()),
        _ => bytes(&mut reader.open(file.path())?, file, part),
    }
}

/// Reads a part of a content that is open.
fn bytes(content: &mut StoredContent<'_>, file: &File, part: Part) -> Result<Bytes> {
    let range = file.range(part);
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let filled = content.seek(SeekFrom::Start(range.start));
    let filled = filled.and_then(|_| content.read_exact(&mut bytes));
    filled.map_err(|error| unread(file.path(), error))?;
    Ok(bytes.into())
}

fn unread(path: &RelPath, error: io::Error) -> Error {
    match error.downcast::<archive::Error>() {
        Ok(ours) => ours.into(),
        Err(source) => Error::Content { path: path.clone(), source },
    }
}
