//! [`Contents`]: contents that were read last, and threads that read others. Knows which part of a content is read and held,
//! not by which archives.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use archive::SnapshotTree;
use dirindex::{Node, RelPath};
use rsync_core::Digest;

use super::lru::Lru;
use super::reading::{self, Job};
use super::{Within, locked};
use crate::error::{Error, Result};

/// A content of up to so many bytes is read as one, and compared with its digest before anything of it is given,
const MAX_WHOLE: u64 = 8 << 20;
/// and a larger one in parts of so many.
const PART_LEN: u64 = 1 << 20;
/// So many bytes of contents are held.
const MAX_HELD: u64 = 64 << 20;
/// What holding a content costs beside its bytes.
const OVERHEAD: u64 = 128;
/// So many contents are compared with their digests at once, while they are read in parts.
const MAX_HASHED: u64 = 64;
/// Files with numbers close to one another lie close to one another, and are read by one thread.
const NEIGHBOURS: usize = 256;
/// More threads than this read no faster: each holds frames of the archives.
const MAX_THREADS: usize = 4;

/// The bytes of a part.
pub(super) type Bytes = Arc<[u8]>;

/// A part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Whole,
    /// The part with a number.
    Number(u64),
}

/// A file in a tree.
#[derive(Debug, Clone)]
pub(super) struct File {
    tree: Arc<SnapshotTree>,
    number: usize,
    path: RelPath,
    len: u64,
    digest: Digest,
}

impl File {
    /// The file with a number.
    pub(super) fn new(tree: &Arc<SnapshotTree>, number: usize) -> Result<File> {
        let entry = tree.file(number).and_then(|file| Some((file, tree.entry(file)?)));
        match entry.map(|(file, entry)| (file, entry.path, entry.node)) {
            Some((number, path, Node::File { len, digest })) => {
                let (tree, path) = (Arc::clone(tree), path.clone());
                Ok(File { tree, number, path, len: *len, digest: *digest })
            }
            _ => Err(Error::NoFile { number }),
        }
    }

    pub(super) fn tree(&self) -> &Arc<SnapshotTree> {
        &self.tree
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn path(&self) -> &RelPath {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether `other` is the same file of the same open tree.
    pub(super) fn is(&self, other: &File) -> bool {
        Arc::ptr_eq(&self.tree, &other.tree) && self.number == other.number
    }

    /// That these bytes are the whole content.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<()> {
        let digest = Digest(blake3::hash(bytes).into());
        match digest == self.digest {
            true => Ok(()),
            false => Ok(self.tree.snapshot().check(&self.path, digest)?),
        }
    }

    /// The parts in which `len` bytes from `offset` on lie, and where in each.
    pub(super) fn parts(&self, offset: u64, len: usize) -> impl Iterator<Item = (Part, Within)> {
        let end = offset.saturating_add(len as u64).min(self.len);
        let is_whole = self.len <= MAX_WHOLE;
        let part_len = if is_whole { MAX_WHOLE } else { PART_LEN };
        let mut at = offset;
        std::iter::from_fn(move || {
            let start = at - at % part_len;
            let to = end.min(start.saturating_add(part_len));
            let part = if is_whole { Part::Whole } else { Part::Number(start / part_len) };
            let within = (at - start) as usize..to.saturating_sub(start) as usize;
            let is_some = at < end;
            at = to;
            is_some.then_some((part, within))
        })
    }

    /// Which bytes of the content a part is.
    pub(super) fn range(&self, part: Part) -> std::ops::Range<u64> {
        match part {
            Part::Whole => 0..self.len,
            Part::Number(number) => {
                let start = number.saturating_mul(PART_LEN);
                start..start.saturating_add(PART_LEN).min(self.len)
            }
        }
    }
}

/// What was read last, and the threads that read.
pub(super) struct Contents {
    held: Arc<Held>,
    threads: Vec<Sender<Job>>,
}

/// What was read last.
pub(super) struct Held {
    /// By what proves the bytes: the same content is one, in whatever snapshot.
    parts: Mutex<Lru<(Digest, Part), Bytes>>,
    /// How far contents were read in order, and the hash of that.
    hashed: Mutex<Lru<Digest, (u64, Arc<blake3::Hasher>)>>,
}

impl Contents {
    pub(super) fn new() -> Contents {
        let (parts, hashed) = (Mutex::new(Lru::new(MAX_HELD)), Mutex::new(Lru::new(MAX_HASHED)));
        let held = Arc::new(Held { parts, hashed });
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let start = |_| {
            let (held, (sender, jobs)) = (Arc::clone(&held), mpsc::channel());
            let thread = thread::Builder::new().name("contents".to_owned());
            thread.spawn(move || reading::work(&jobs, &held)).ok().map(|_| sender)
        };
        let threads = (0..count).filter_map(start).collect();
        Contents { held, threads }
    }

    /// A part of a content. What was not read last is read by a thread that keeps what it needs for those that follow.
    pub(super) fn read(&self, file: &File, part: Part) -> Result<Bytes> {
        if let Some(bytes) = self.held.get(file, part) {
            return Ok(bytes);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let number = (file.number / NEIGHBOURS).checked_rem(self.threads.len()).unwrap_or(0);
        let job = Job { file: file.clone(), part, answer };
        let sent = self.threads.get(number).map(|thread| thread.send(job));
        match sent.and_then(|sent| sent.ok()).and_then(|()| answered.recv().ok()) {
            Some(answer) => answer,
            // No thread could be started.
            None => self.held.read(file, part, reading::once),
        }
    }

    /// Holds a part that was read.
    pub(super) fn keep(&self, file: &File, part: Part, bytes: &Bytes) {
        self.held.put(file, part, bytes);
    }
}

impl Held {
    fn get(&self, file: &File, part: Part) -> Option<Bytes> {
        locked(&self.parts).get(&(file.digest, part))
    }

    fn put(&self, file: &File, part: Part, bytes: &Bytes) {
        let weight = bytes.len() as u64 + OVERHEAD;
        locked(&self.parts).put((file.digest, part), Arc::clone(bytes), weight);
    }

    /// What is held, or else what `read` gives, which is held then.
    pub(super) fn read(
        &self,
        file: &File,
        part: Part,
        read: impl FnOnce(&File, Part) -> Result<Bytes>,
    ) -> Result<Bytes> {
        if let Some(bytes) = self.get(file, part) {
            return Ok(bytes);
        }
        let bytes = read(file, part)?;
        match part {
            Part::Whole => file.check(&bytes)?,
            Part::Number(_) => self.check_in_order(file, part, &bytes)?,
        }
        self.put(file, part, &bytes);
        Ok(bytes)
    }

    /// Hashes a part that follows what was hashed. Where the content ends, its digest is compared.
    fn check_in_order(&self, file: &File, part: Part, bytes: &[u8]) -> Result<()> {
        let range = file.range(part);
        let mut hashed = locked(&self.hashed);
        let before = hashed.get(&file.digest).filter(|(at, _)| *at == range.start);
        let mut hasher = match before {
            Some((_, hasher)) => Arc::unwrap_or_clone(hasher),
            None if range.start == 0 => blake3::Hasher::new(),
            None => return Ok(()),
        };
        hasher.update(bytes);
        if range.end < file.len {
            hashed.put(file.digest, (range.end, Arc::new(hasher)), 1);
            return Ok(());
        }
        hashed.remove(&file.digest);
        if Digest(hasher.finalize().into()) == file.digest {
            return Ok(());
        }
        // Parts that were given are wrong, and no other archives can help.
        let source =
            io::Error::new(io::ErrorKind::InvalidData, "it is another than its digest says");
        Err(Error::Content { path: file.path.clone(), source })
    }
}
