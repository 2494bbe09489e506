//! Taking stock: a walk becomes a [`DirIndex`], by reading what the previous index cannot vouch
//! for. Knows nothing of what the index is for.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use rsync_core::{Progress, Shape, Signature, SignatureOptions};
use rustix::fs::{AtFlags, FileType, Mode, Stat, major, minor, openat, statat};

use crate::assemble::{in_path_order, index_of, keep_unreadable, put_xattrs};
use crate::read::{self, ATTEMPTS, Content, LARGE, READ};
use crate::stored::{self, Pool};
use crate::walk::{Found, Walk, unreadable, walk};
use crate::{
    Dir, DirIndex, Entry, Error, Meta, Node, Problem, ProblemKind, Record, RelPath, STAGE_DIR,
    Time, Trust, Xattrs,
};

/// Of the files that are left for later, those from this length on are read one by one, by all threads; in the
/// others a thread that waits for another goes on to the next file,
const ALONE: u64 = 4 << 20;
/// but there are never more than so many open.
const AT_ONCE: usize = 16;

/// How a tree is scanned.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Of the signatures. The strong hash must be BLAKE3 or SHA-256, of 16 bytes or more.
    pub signature: SignatureOptions,
    /// The state of which something is kept where it cannot be read; `None`: the previous index's. For
    /// who scans with a previous index of a state that was never backed up.
    pub keep: Option<Arc<DirIndex>>,
    /// Counts files and bytes as they are dealt with and has the path in hand; through it the caller
    /// can cancel.
    pub progress: Option<Arc<Progress>>,
    /// Whether large files may be mapped into memory. Without maps they are read, which takes a
    /// little longer.
    pub maps: bool,
    /// Read also what the previous index vouches for, and report as [`ProblemKind::Rotten`] what is
    /// no longer the same.
    pub verify: bool,
}

/// Signatures as [`SignatureOptions::default`], with maps, without verifying.
impl Default for ScanOptions {
    fn default() -> ScanOptions {
        ScanOptions {
            signature: SignatureOptions::default(),
            keep: None,
            progress: None,
            maps: true,
            verify: false,
        }
    }
}

impl DirIndex {
    /// Takes stock of `dir`: reads everything.
    ///
    /// What cannot be read, or does not hold still, does not stop the scan: see
    /// [`problems`](DirIndex::problems).
    ///
    /// # Errors
    /// When the root itself cannot be read or holds an unfinished apply, and for exclude files as
    /// [`DirOptions`](crate::DirOptions) says.
    pub fn scan(dir: &Dir) -> Result<DirIndex, Error> {
        DirIndex::scan_with(dir, None, &ScanOptions::default())
    }

    /// Takes stock of `dir`, without reading again the files that `previous` has with the same
    /// length, time of modification, time of change and inode number. What cannot be read keeps
    /// what `previous` has of it: it is not taken for deleted.
    ///
    /// # Errors
    /// As [`scan`](DirIndex::scan).
    pub fn scan_since(dir: &Dir, previous: &DirIndex) -> Result<DirIndex, Error> {
        DirIndex::scan_with(dir, Some(previous), &ScanOptions::default())
    }

    /// [`scan`](DirIndex::scan) or [`scan_since`](DirIndex::scan_since), with options.
    ///
    /// # Errors
    /// As [`scan`](DirIndex::scan), and [`Error::Signature`], [`Error::Cancelled`].
    pub fn scan_with(
        dir: &Dir,
        previous: Option<&DirIndex>,
        options: &ScanOptions,
    ) -> Result<DirIndex, Error> {
        let SignatureOptions { weak, strong, strong_len, .. } = options.signature;
        if let Some(why) = stored::unsuitable(&Shape { block_len: 1024, weak, strong, strong_len })
        {
            return Err(Error::Signature(why));
        }
        refuse_unfinished(dir)?;
        let later = Mutex::default();
        let scan = Scan { dir, previous, options, started: now(), later };
        let Walk { mut taken, dir_xattrs, mut problems, excluded } =
            walk(dir, |fd, found| scan.take(fd, found))?;
        scan.rest(&mut taken)?;
        scan.check()?;
        problems.append(&mut taken.iter_mut().flat_map(|t| t.problems.drain(..)).collect());
        let mut records = in_path_order(taken.into_iter().map(|taken| taken.records));
        put_xattrs(&mut records, dir_xattrs);
        if let Some(known) = options.keep.as_deref().or(previous) {
            keep_unreadable(&mut records, &problems, known);
        }
        index_of(records, problems, excluded)
    }

    /// This index with what `previous` has of the file at `path`, or without it: for a file that
    /// never holds still long enough to be stored as it was scanned. It is named among the
    /// [`problems`](DirIndex::problems); other names of a file that goes, go with it.
    ///
    /// # Errors
    /// [`Error::Entry`] when the two indexes do not go together.
    pub fn hold_back(&self, path: &RelPath, previous: &DirIndex) -> Result<DirIndex, Error> {
        let kept = previous.shared(path);
        let kept = kept.filter(|record| matches!(record.entry.node, Node::File { .. }));
        let others = self.records().iter().filter(|record| record.entry.path != *path);
        let mut records: Vec<Arc<Record>> = others.chain(kept).cloned().collect();
        records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let mut problems: Vec<Problem> = self.problems().to_vec();
        problems.retain(|problem| problem.path != *path);
        let detail = match kept {
            Some(_) => "changed whenever it was to be stored: kept as it was before",
            None => "changed whenever it was to be stored: left out",
        };
        problems.push(Problem::new(path.clone(), ProblemKind::Unstable, detail.into()));
        index_of(records, problems, self.excluded().to_vec())
    }
}

/// Refuses a tree that an interrupted apply left half old, half new.
fn refuse_unfinished(dir: &Dir) -> Result<(), Error> {
    let journal = format!("{STAGE_DIR}/journal");
    match statat(dir.root(), journal, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Error::Unfinished { root: dir.path().to_path_buf() }),
        Err(_) => Ok(()),
    }
}

/// What became of some of the paths in one directory.
#[derive(Default)]
struct Taken {
    records: Vec<Arc<Record>>,
    problems: Vec<Problem>,
}

struct Scan<'a> {
    dir: &'a Dir,
    previous: Option<&'a DirIndex>,
    options: &'a ScanOptions,
    started: Time,
    /// Files that are dealt with after the walk: those with several names, since only then it is
    /// known which is the first, and large ones, which all threads read together.
    later: Mutex<Vec<Found>>,
}

impl Scan<'_> {
    /// Takes in what was found in the directory open as `fd`.
    fn take(&self, fd: BorrowedFd<'_>, found: Vec<Found>) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        taken.records.reserve_exact(found.len());
        let (mut buffer, mut pool) = (Vec::new(), Pool::default());
        for found in found {
            self.begin(&found.path)?;
            if found.kind() != FileType::RegularFile {
                taken.add(special(found));
            } else if found.stat.st_nlink > 1 {
                self.later().push(found);
            } else if let Some(record) = self.vouched(&found).filter(|_| !self.options.verify) {
                taken.records.push(Arc::clone(record));
            } else if read::len(&found.stat) >= LARGE {
                self.later().push(found);
            } else {
                let name = found.path.name();
                let open = || Ok(openat(fd, name, READ, Mode::empty())?);
                taken.add(self.file(&found, open, &mut buffer, &mut pool));
            }
        }
        pool.shrink();
        Ok(taken)
    }

    /// Deals with what the walk left for later.
    fn rest(&self, taken: &mut Vec<Taken>) -> Result<(), Error> {
        let mut later = std::mem::take(&mut *self.later());
        later.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut firsts: HashMap<(u64, u64), RelPath> = HashMap::new();
        let (mut several, mut alone) = (Vec::new(), Vec::new());
        for found in later {
            let id = (found.stat.st_dev, found.stat.st_ino);
            if found.stat.st_nlink > 1 {
                if let Some(first) = firsts.get(&id) {
                    // Its metadata is filled in from that file's record, so that both agree.
                    let node = Node::HardLink { to: first.clone() };
                    let entry = Entry { path: found.path, node, meta: meta(&found.stat) };
                    let mut link = Taken::default();
                    link.add((Some(Record { entry, signature: None, trust: None }.into()), None));
                    taken.push(link);
                    continue;
                }
                firsts.insert(id, found.path.clone());
            }
            let list = if read::len(&found.stat) < ALONE { &mut several } else { &mut alone };
            list.push(found);
        }
        for found in several.chunks(AT_ONCE).chain(alone.chunks(1)) {
            self.check()?;
            if let (Some(progress), Some(found)) = (&self.options.progress, found.last()) {
                progress.set_in_hand(found.path.as_bytes());
            }
            taken.par_extend(found.par_iter().map(|found| self.again(found)));
        }
        Ok(())
    }

    fn again(&self, found: &Found) -> Taken {
        let mut taken = Taken::default();
        match self.vouched(found).filter(|_| !self.options.verify) {
            Some(record) => taken.records.push(Arc::clone(record)),
            None => {
                let open = || self.dir.root().open(&found.path, READ);
                taken.add(self.file(found, open, &mut Vec::new(), &mut Pool::default()));
            }
        }
        taken
    }

    fn later(&self) -> MutexGuard<'_, Vec<Found>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a path and shows it to who watches.
    fn begin(&self, path: &RelPath) -> Result<(), Error> {
        self.check()?;
        if let Some(progress) = &self.options.progress {
            progress.add_item();
            progress.set_in_hand(path.as_bytes());
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let progress = self.options.progress.as_deref();
        progress.map_or(Ok(()), Progress::check).map_err(|_| Error::Cancelled)
    }

    /// What the previous index has of this very file, unchanged since.
    fn vouched(&self, found: &Found) -> Option<&Arc<Record>> {
        let record = self.previous?.shared(&found.path)?;
        self.vouches_for(record, &found.stat).then_some(record)
    }

    fn vouches_for(&self, record: &Record, stat: &Stat) -> bool {
        let wanted = &self.options.signature;
        let same_shape = record.signature.as_ref().is_none_or(|signature| {
            let shape = signature.shape();
            let automatic = rsync_core::block_len_for(record.entry.node.len());
            shape.strong == wanted.strong
                && shape.strong_len == wanted.strong_len
                && shape.block_len == wanted.block_len.unwrap_or(automatic)
        });
        matches!(record.entry.node, Node::File { .. })
            && record.trust == Some(trust(stat))
            && record.entry.node.len() == read::len(stat)
            && record.entry.meta.mtime == read::mtime(stat)
            && same_shape
    }

    /// Reads a file.
    fn file(
        &self,
        found: &Found,
        open: impl Fn() -> io::Result<OwnedFd>,
        buffer: &mut Vec<u8>,
        pool: &mut Pool,
    ) -> Outcome {
        let path = &found.path;
        let content = match read::read(open, &found.stat, self.options, buffer) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None),
            Err(error) => return (None, Some(unreadable(path.clone(), &error))),
        };
        if let Some(record) = self.vouched(found).filter(|record| is_rotten(record, &content)) {
            let detail = "content changed, but not its length, times or inode".into();
            let mut problem = Problem::new(path.clone(), ProblemKind::Rotten, detail);
            problem.ranges = differing(record, &content.signature);
            return (Some(Arc::clone(record)), Some(problem));
        }
        let Content { stat, signature, xattrs, stable } = content;
        let Some(digest) = signature.digest() else { return (None, None) };
        let node = Node::File { len: signature.file_len(), digest };
        let signature = (!node.is_empty()).then(|| pool.keep(signature));
        let trust = (stable && read::settled(&stat, self.started)).then(|| trust(&stat));
        let entry =
            Entry { path: path.clone(), node, meta: Meta { xattrs: xattrs.into(), ..meta(&stat) } };
        let problem = (!stable).then(|| {
            let detail = format!("changed while it was read, {ATTEMPTS} times");
            Problem::new(path.clone(), ProblemKind::Unstable, detail)
        });
        (Some(Record { entry, signature, trust }.into()), problem)
    }
}

/// What is to stand in the index for a path, if anything, and what is to be said of it.
type Outcome = (Option<Arc<Record>>, Option<Problem>);

impl Taken {
    fn add(&mut self, (record, problem): Outcome) {
        self.records.extend(record);
        self.problems.extend(problem);
    }
}

/// All that is no file.
fn special(found: Found) -> Outcome {
    let (kind, meta) = (found.kind(), meta(&found.stat));
    let Found { path, stat, target } = found;
    let node = match kind {
        FileType::Directory => Node::Dir,
        FileType::Symlink => Node::Symlink { target },
        FileType::Fifo => Node::Fifo,
        FileType::CharacterDevice => {
            Node::CharDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
        }
        FileType::BlockDevice => {
            Node::BlockDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
        }
        _ => {
            let problem = Problem::new(path, ProblemKind::Unsupported, "a socket".into());
            return (None, Some(problem));
        }
    };
    let entry = Entry { path, node, meta };
    (Some(Record { entry, signature: None, trust: None }.into()), None)
}

/// Whether a file that `record` vouches for, and that held still, has another content.
fn is_rotten(record: &Record, content: &Content) -> bool {
    let Node::File { digest, .. } = &record.entry.node else { return false };
    content.stable
        && record.trust == Some(trust(&content.stat))
        && content.signature.digest() != Some(*digest)
}

/// The byte ranges of the blocks in which a file differs from what `record` has of it.
fn differing(record: &Record, now: &Signature) -> Vec<(u64, u64)> {
    let len = now.file_len();
    let before = record.signature.as_ref().and_then(|signature| signature.load().ok());
    let Some(before) = before.filter(|before| before.shape() == now.shape()) else {
        return vec![(0, len)];
    };
    let block_len = u64::from(now.shape().block_len);
    let starts = (0..len).step_by(block_len.max(1) as usize);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for ((start, a), b) in starts.zip(before.blocks()).zip(now.blocks()) {
        if a == b {
            continue;
        }
        let end = len.min(start + block_len);
        match ranges.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => ranges.push((start, end)),
        }
    }
    ranges
}

fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: read::mtime(stat),
        xattrs: Xattrs::default(),
    }
}

fn trust(stat: &Stat) -> Trust {
    Trust::new(read::ctime(stat), stat.st_ino)
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}
