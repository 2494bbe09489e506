//! Taking stock: a walk becomes a [`DirIndex`], by reading what the previous index cannot vouch
//! for. Reads files; knows nothing of what the index is for.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use rsync_core::{Progress, Shape, Signature, SignatureOptions};
use rustix::fs::{AtFlags, FileType, OFlags, Stat, major, minor, statat};

use crate::index::check;
use crate::stored::{self, StoredSignature};
use crate::walk::{Found, Walk, unreadable};
use crate::{
    Dir, DirIndex, Entry, Error, Meta, Node, Problem, ProblemKind, Record, RelPath, STAGE_DIR,
    Time, Trust, xattr,
};

/// How a tree is scanned.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Of the signatures. The strong hash must be BLAKE3 or SHA-256, of 16 bytes or more.
    pub signature: SignatureOptions,
    /// Counts files and bytes as they are dealt with; through it the caller can cancel.
    pub progress: Option<Arc<Progress>>,
}

/// How often a file that changes while it is read is read again before it is called unstable.
const ATTEMPTS: usize = 3;

/// A file that was changed less than this before the scan began could be changed again within the
/// same tick of the kernel's clock, and look the same. A tick is at most 10 ms.
const RACY: Time = Time { secs: 0, nanos: 50_000_000 };

/// The same where times have whole seconds only, or every other second (FAT).
const RACY_COARSE: Time = Time { secs: 2, nanos: 0 };

impl DirIndex {
    /// Takes stock of `dir`: reads everything.
    ///
    /// What cannot be read, or does not hold still, does not stop the scan: see
    /// [`problems`](DirIndex::problems).
    ///
    /// # Errors
    /// When the root itself cannot be read or holds an unfinished apply, and for exclude files that
    /// cannot be understood.
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
        let scan = Scan { dir, previous, options, started: now() };
        let Walk { found, mut problems } = dir.look()?;
        let firsts = first_names(&found);
        let outcomes: Vec<Outcome> = found
            .into_par_iter()
            .map(|found| scan.record(found, &firsts))
            .collect::<Result<_, Error>>()?;
        let mut records = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            records.extend(outcome.record);
            problems.extend(outcome.problem);
        }
        if let Some(previous) = previous {
            keep_unreadable(&mut records, &problems, previous);
        }
        drop_orphans(&mut records);
        fill_links(&mut records);
        Ok(DirIndex::from_records(records)?.with_problems(problems))
    }
}

impl DirIndex {
    /// This index with what `previous` has of the file at `path`, or without it: for a file that
    /// never holds still long enough to be stored as it was scanned. It is named among the
    /// [`problems`](DirIndex::problems); other names of a file that goes, go with it.
    ///
    /// # Errors
    /// [`Error::Entry`] when the two indexes do not go together.
    pub fn hold_back(&self, path: &RelPath, previous: &DirIndex) -> Result<DirIndex, Error> {
        let kept = previous.record(path);
        let kept = kept.filter(|record| matches!(record.entry.node, Node::File { .. }));
        let others = self.records().iter().filter(|record| record.entry.path != *path);
        let mut records: Vec<Record> = others.chain(kept).cloned().collect();
        records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
        drop_orphans(&mut records);
        fill_links(&mut records);
        let mut problems: Vec<Problem> = self.problems().to_vec();
        problems.retain(|problem| problem.path != *path);
        let detail = match kept {
            Some(_) => "changed whenever it was to be stored: kept as it was before",
            None => "changed whenever it was to be stored: left out",
        };
        let (path, detail) = (path.clone(), detail.into());
        problems.push(Problem { path, kind: ProblemKind::Unstable, detail });
        Ok(DirIndex::from_records(records)?.with_problems(problems))
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

/// What became of one path.
#[derive(Default)]
struct Outcome {
    record: Option<Record>,
    problem: Option<Problem>,
}

struct Scan<'a> {
    dir: &'a Dir,
    previous: Option<&'a DirIndex>,
    options: &'a ScanOptions,
    started: Time,
}

impl Scan<'_> {
    fn record(
        &self,
        found: Found,
        firsts: &HashMap<(u64, u64), RelPath>,
    ) -> Result<Outcome, Error> {
        if let Some(progress) = &self.options.progress {
            progress.check().map_err(|_| Error::Cancelled)?;
            progress.add_item();
        }
        let stat = &found.stat;
        let node = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(self.file(found, firsts)),
            FileType::Directory => Node::Dir,
            FileType::Symlink => Node::Symlink { target: found.target },
            FileType::Fifo => Node::Fifo,
            FileType::CharacterDevice => {
                Node::CharDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
            }
            FileType::BlockDevice => {
                Node::BlockDevice { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
            }
            _ => return Ok(problem(found.path, ProblemKind::Unsupported, "a socket".into())),
        };
        let mut meta = meta(stat);
        meta.xattrs = found.xattrs;
        let entry = Entry { path: found.path, node, meta };
        Ok(Outcome { record: Some(Record { entry, signature: None, trust: None }), problem: None })
    }

    fn file(&self, found: Found, firsts: &HashMap<(u64, u64), RelPath>) -> Outcome {
        let Found { path, stat, .. } = found;
        if let Some(to) = firsts.get(&(stat.st_dev, stat.st_ino)).filter(|first| **first != path) {
            // Its metadata is filled in from that file's record, so that both always agree.
            let entry = Entry { path, node: Node::HardLink { to: to.clone() }, meta: meta(&stat) };
            let record = Some(Record { entry, signature: None, trust: None });
            return Outcome { record, problem: None };
        }
        let previous = self.previous.and_then(|previous| previous.record(&path));
        if let Some(record) = previous.filter(|record| self.vouches_for(record, &stat)) {
            return Outcome { record: Some(record.clone()), problem: None };
        }
        match self.read(&path) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::default(),
            Err(error) => {
                let problem = Some(unreadable(path, &error));
                Outcome { record: previous.cloned(), problem }
            }
        }
    }

    /// Whether `record` is of the very file that `stat` describes, unchanged since.
    fn vouches_for(&self, record: &Record, stat: &Stat) -> bool {
        let trust = Trust { ctime: ctime(stat), inode: stat.st_ino };
        let wanted = &self.options.signature;
        let same_shape = record.signature.as_ref().is_none_or(|signature| {
            let shape = signature.shape();
            let automatic = rsync_core::block_len_for(record.entry.node.len());
            shape.strong == wanted.strong
                && shape.strong_len == wanted.strong_len
                && shape.block_len == wanted.block_len.unwrap_or(automatic)
        });
        matches!(record.entry.node, Node::File { .. })
            && record.trust == Some(trust)
            && record.entry.node.len() == len(stat)
            && record.entry.meta.mtime == mtime(stat)
            && same_shape
    }

    /// Reads a file until it holds still.
    fn read(&self, path: &RelPath) -> io::Result<Outcome> {
        for _ in 0..ATTEMPTS {
            let (file, before) = self.open(path)?;
            let signature = match self.sign(&file, len(&before)) {
                Err(rsync_core::Error::Changed) => continue,
                signed => signed.map_err(io::Error::other)?,
            };
            let xattrs = xattr::read(file.as_fd())?;
            let after = rustix::fs::fstat(&file)?;
            if signature.file_len() == len(&after) && same_state(&before, &after) {
                let trust = self.settled(&after).then(|| trust(&after));
                return Ok(self.outcome(path, &after, signature, xattrs, trust, None));
            }
        }
        let (file, stat) = self.open(path)?;
        let xattrs = xattr::read(file.as_fd())?;
        // As long as it was when it was opened, or it may never end.
        let content = (&file).take(len(&stat));
        let signature = Signature::of_reader(content, Some(len(&stat)), &self.options.signature)
            .map_err(io::Error::other)?;
        let detail = format!("changed while it was read, {ATTEMPTS} times");
        let problem = Problem { path: path.clone(), kind: ProblemKind::Unstable, detail };
        Ok(self.outcome(path, &stat, signature, xattrs, None, Some(problem)))
    }

    /// The signature of a file that had `len` bytes a moment ago. Whether it held still is for the
    /// caller to see; most files are small, and each call of the system counts.
    fn sign(&self, mut file: &File, len: u64) -> rsync_core::Result<Signature> {
        if len >= rsync_core::MAP_FROM {
            return Signature::of_file(file, &self.options.signature);
        }
        let mut content = vec![0; len as usize];
        match file.read_exact(&mut content) {
            Ok(()) => Signature::of_slice(&content, &self.options.signature),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(rsync_core::Error::Changed)
            }
            Err(source) => Err(rsync_core::Error::Io { operation: "read the file", source }),
        }
    }

    fn open(&self, path: &RelPath) -> io::Result<(File, Stat)> {
        let file = File::from(self.dir.root().open(path, READ)?);
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, stat)),
            _ => Err(io::Error::other("it is no longer a file")),
        }
    }

    fn outcome(
        &self,
        path: &RelPath,
        stat: &Stat,
        signature: Signature,
        xattrs: Vec<crate::Xattr>,
        trust: Option<Trust>,
        problem: Option<Problem>,
    ) -> Outcome {
        let len = signature.file_len();
        if let Some(progress) = &self.options.progress {
            progress.add_bytes(len);
        }
        let Some(digest) = signature.digest() else { return Outcome { record: None, problem } };
        let entry = Entry {
            path: path.clone(),
            node: Node::File { len, digest },
            meta: Meta { xattrs, ..meta(stat) },
        };
        let signature = (len > 0).then(|| StoredSignature::new(signature));
        Outcome { record: Some(Record { entry, signature, trust }), problem }
    }

    /// Whether the file's last change is far enough before the scan that any later one shows.
    fn settled(&self, stat: &Stat) -> bool {
        let ctime = ctime(stat);
        let window = if ctime.nanos == 0 { RACY_COARSE } else { RACY };
        let nanos = |time: Time| i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
        nanos(ctime) + nanos(window) < nanos(self.started)
    }
}

/// `O_NONBLOCK` so that a fifo put in a file's place cannot hold up the scan.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// For every file with several names that were found: the first of them in path order.
fn first_names(found: &[Found]) -> HashMap<(u64, u64), RelPath> {
    let mut firsts = HashMap::new();
    for Found { path, stat, .. } in found {
        if stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            firsts.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.clone());
        }
    }
    firsts
}

/// Adds what `previous` has inside directories that could not be read.
fn keep_unreadable(records: &mut Vec<Record>, problems: &[Problem], previous: &DirIndex) {
    let unreadable = problems.iter().filter(|problem| problem.kind == ProblemKind::Unreadable);
    let unreadable: HashSet<&RelPath> = unreadable.map(|problem| &problem.path).collect();
    if unreadable.is_empty() {
        return;
    }
    let known =
        |path: &RelPath| records.binary_search_by(|record| record.entry.path.cmp(path)).is_ok();
    let hidden = |path: &RelPath| {
        let mut above = std::iter::successors(path.parent(), RelPath::parent);
        unreadable.contains(path) || above.any(|dir| unreadable.contains(&dir))
    };
    let old = previous.records().iter();
    let kept = old.filter(|record| hidden(&record.entry.path) && !known(&record.entry.path));
    let kept: Vec<Record> = kept.cloned().collect();
    records.extend(kept);
    records.sort_unstable_by(|a, b| a.entry.path.cmp(&b.entry.path));
}

/// Gives hard links the metadata of the files they name.
fn fill_links(records: &mut [Record]) {
    for at in 0..records.len() {
        let Some(Entry { node: Node::HardLink { to }, .. }) = records.get(at).map(|r| &r.entry)
        else {
            continue;
        };
        let named = records.binary_search_by(|record| record.entry.path.cmp(to)).ok();
        let meta = named.and_then(|named| records.get(named)).map(|named| named.entry.meta.clone());
        if let (Some(meta), Some(link)) = (meta, records.get_mut(at)) {
            link.entry.meta = meta;
        }
    }
}

/// Removes what a changing tree left without what it needs: entries whose directory vanished
/// while it was scanned, hard links whose first name did.
fn drop_orphans(records: &mut Vec<Record>) {
    while check(records).is_err() {
        let nodes: HashMap<&RelPath, &Node> =
            records.iter().map(|record| (&record.entry.path, &record.entry.node)).collect();
        let is_orphan = |Record { entry, .. }: &Record| {
            let homeless =
                entry.path.parent().is_some_and(|dir| nodes.get(&dir) != Some(&&Node::Dir));
            let unnamed = match &entry.node {
                Node::HardLink { to } => !matches!(nodes.get(to), Some(Node::File { .. })),
                _ => false,
            };
            homeless || unnamed
        };
        let orphans: Vec<bool> = records.iter().map(is_orphan).collect();
        if !orphans.contains(&true) {
            return;
        }
        let mut orphans = orphans.into_iter();
        records.retain(|_| !orphans.next().unwrap_or(false));
    }
}

fn problem(path: RelPath, kind: ProblemKind, detail: String) -> Outcome {
    Outcome { record: None, problem: Some(Problem { path, kind, detail }) }
}

fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime(stat),
        xattrs: Vec::new(),
    }
}

fn same_state(a: &Stat, b: &Stat) -> bool {
    (len(a), mtime(a), ctime(a), a.st_ino, a.st_dev)
        == (len(b), mtime(b), ctime(b), b.st_ino, b.st_dev)
}

fn trust(stat: &Stat) -> Trust {
    Trust { ctime: ctime(stat), inode: stat.st_ino }
}

fn len(stat: &Stat) -> u64 {
    stat.st_size.unsigned_abs()
}

fn mtime(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

fn ctime(stat: &Stat) -> Time {
    Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str, node: Node) -> Record {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o700, uid: 0, gid: 0, mtime, xattrs: Vec::new() };
        let entry = Entry { path: RelPath::new(path).unwrap(), node, meta };
        Record { entry, signature: None, trust: None }
    }

    fn paths(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| record.entry.path.to_string()).collect()
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_deleted() {
        let known = ["closed", "closed/in", "closed/in/deep", "gone", "open"];
        let old = known.map(|path| record(path, Node::Dir));
        let previous = DirIndex::from_records(old.into()).unwrap();
        let mut found: Vec<Record> = ["closed", "open"].map(|path| record(path, Node::Dir)).into();
        let closed = RelPath::new("closed").unwrap();
        let denied = unreadable(closed, &io::Error::from_raw_os_error(13));
        assert_eq!(denied.detail, "Permission denied");
        keep_unreadable(&mut found, &[denied], &previous);
        assert_eq!(paths(&found), ["closed", "closed/in", "closed/in/deep", "open"]);
    }

    #[test]
    fn a_file_held_back_is_as_it_was_before() {
        let file = |path, byte: u8| {
            let digest = rsync_core::Digest::of(&[byte]);
            record(path, Node::File { len: 1, digest })
        };
        let to = |path| Node::HardLink { to: RelPath::new(path).unwrap() };
        let previous = DirIndex::from_records(vec![file("hot", 1)]).unwrap();
        let index = [file("hot", 2), file("new", 3), record("newer", to("new"))];
        let index = DirIndex::from_records(index.into()).unwrap();
        let [hot, new] = ["hot", "new"].map(|path| RelPath::new(path).unwrap());
        let held = index.hold_back(&hot, &previous).unwrap().hold_back(&new, &previous).unwrap();
        assert_eq!(held, previous);
        let named: Vec<&RelPath> = held.problems().iter().map(|problem| &problem.path).collect();
        assert_eq!(named, [&hot, &new]);
    }

    #[test]
    fn what_lost_its_directory_or_its_file_is_dropped() {
        let to = |path| Node::HardLink { to: RelPath::new(path).unwrap() };
        let mut found = vec![
            record("a", Node::Fifo),
            record("a/b", Node::Dir),
            record("a/b/c", Node::Fifo),
            record("d", to("a")),
            record("e", Node::Dir),
            record("e/f", to("vanished")),
        ];
        drop_orphans(&mut found);
        assert_eq!(paths(&found), ["a", "e"]);
    }
}
