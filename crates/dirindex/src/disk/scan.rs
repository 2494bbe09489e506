//! Scanning: a walk becomes an index. Files that may have changed since the previous one are read. What is as it was is noted by
//! its number there, so a scan that finds little changed takes little memory. Must not know what the index is for.

mod later;
mod options;
mod special;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rsync_core::{Progress, Shape, SignatureOptions};
use rustix::fs::{FileType, Mode, Stat, openat};

pub use self::options::ScanOptions;
use super::assemble::{keep_unreadable, put_xattrs};
use super::busy;
use super::read::{self, Bytes, Content, LARGE, READ};
use super::unchanged::{
    self, differing, fingerprint, forget_signatures, has_bit_rot, is_early, read_again,
    to_read_again,
};
use super::unfinished::holds_unfinished;
use super::walk::{Found, Walk, unreadable, walk};
use crate::lazy::{Base, Bits, Found as Before, Layers, Near, Room, Sorter, settled};
use crate::stored::{self, Pool};
use crate::{
    Dir, DirIndex, Entry, Error, FileId, LazyIndex, Meta, Node, Problem, ProblemKind, Record,
    RelPath, Remarks, StatFingerprint, Time, Xattrs,
};

impl DirIndex {
    /// Scans `dir`: reads everything.
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

    /// Scans `dir`, without reading again the files that `previous` has with the same
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
        scan(dir, previous.map(LazyIndex::from).as_ref(), options, room(usize::MAX), now())?.load()
    }
}

impl LazyIndex {
    /// [`DirIndex::scan_with`], of which little is in memory: what differs from `previous`. Without that, of more than 262,144 entries most
    /// are in temporary files, as [`std::env::temp_dir`] has them, which have no names; where these have no room, all are in memory.
    ///
    /// # Errors
    /// As [`DirIndex::scan_with`], and [`Error::Sections`] when the file of `previous`, or a temporary one, cannot be read any more.
    pub fn scan(
        dir: &Dir,
        previous: Option<&LazyIndex>,
        options: &ScanOptions,
    ) -> Result<LazyIndex, Error> {
        scan(dir, previous, options, room(IN_MEMORY), now())
    }

    /// The index of what stands in `layers`, [as far as](settled) that is a tree.
    pub(super) fn settled(layers: Layers) -> Result<LazyIndex, Error> {
        let (layers, tree_id, totals) = settled(layers)?;
        Ok(LazyIndex::new(layers, (tree_id, totals)))
    }
}

/// A first scan holds so many records in memory: some 80 MB.
const IN_MEMORY: usize = 1 << 18;

fn room(most: usize) -> Room {
    Room { most, dir: std::env::temp_dir() }
}

/// [`LazyIndex::scan`], which began at `started`, with `room` for what is found where there is no previous index.
fn scan(
    dir: &Dir,
    previous: Option<&LazyIndex>,
    options: &ScanOptions,
    room: Room,
    started: Time,
) -> Result<LazyIndex, Error> {
    if let Some(SignatureOptions { sums, strong_len, .. }) = options.signature
        && let Some(why) = stored::unsuitable(&Shape { block_len: 1024, sums, strong_len })
    {
        return Err(Error::Signature(why));
    }
    refuse_unfinished(dir)?;
    let previous = previous.filter(|previous| !previous.is_empty());
    let records = previous.map_or(0, |previous| previous.layers().base().len());
    let (seen, early) = (Bits::none(records), Bits::none(records));
    let later = Mutex::default();
    let most = if previous.is_some() { usize::MAX } else { room.most };
    let sorter = Sorter::new(Room { most, ..room });
    let kept =
        Mutex::new(Kept { sorter, problems: Vec::new(), no_proc: None, early_from: Time::MAX });
    let remarks = previous.map(|previous| previous.remarks().clone()).unwrap_or_default();
    let scan = Scan { dir, previous, remarks, options, started, seen, early, later, kept };
    let Walk { dir_xattrs, mut problems, excluded } = walk(dir, |fd, found| scan.take(fd, found))?;
    scan.rest()?;
    scan.check()?;
    let known = scan.known();
    let Scan { seen, early, kept, .. } = scan;
    let kept = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    problems.extend(kept.problems);
    problems.extend(kept.no_proc.map(|path| {
        let detail = "its attributes, and those of all links, fifos and devices, cannot be read: \
                      /proc is not mounted";
        Problem::new(path, ProblemKind::Attributes, detail.into())
    }));
    let top = rustix::fs::fstat(dir.root());
    let top = top.map_err(|error| Error::io("look at", dir.path(), error.into()))?;
    let top_mode = Some(top.st_mode & 0o7777);
    let remarks = Remarks { problems: Vec::new(), excluded, top_mode, early_from: kept.early_from };
    let mapped = match kept.early_from == Time::MAX {
        true => HashSet::new(),
        false => busy::mapped_for_writing(),
    };
    let is_mapped = |known: &StatFingerprint| mapped.contains(&known.inode());
    let found = kept.sorter.finish(|record| to_read_again(record, &remarks, is_mapped))?;
    let mut layers = match (previous, found) {
        (Some(previous), Base::Memory(records)) => previous.layers().scanned(&seen, &records)?,
        (_, found) => Layers::of(found),
    };
    if !mapped.is_empty() {
        read_again(&mut layers, &early, &remarks, is_mapped)?;
    }
    put_xattrs(&mut layers, dir_xattrs, known)?;
    if let Some(known) = known {
        keep_unreadable(&mut layers, &problems, known)?;
    }
    if options.signature.is_none() {
        forget_signatures(&mut layers)?;
    }
    let index = match previous.filter(|previous| layers.is_same(previous.layers())) {
        Some(previous) => previous.clone(),
        None => LazyIndex::settled(layers)?,
    };
    Ok(index.with_remarks(remarks.with_problems(problems)))
}

/// Refuses a tree that an interrupted apply left half old, half new.
fn refuse_unfinished(dir: &Dir) -> Result<(), Error> {
    // What cannot be read here cannot be scanned either, which says why.
    match holds_unfinished(dir.root().as_fd()) {
        Ok(true) => Err(Error::Unfinished { root: dir.path().to_path_buf() }),
        _ => Ok(()),
    }
}

/// What became of some of the paths in one directory.
#[derive(Default)]
struct Taken {
    /// But for those that are as the previous index has them.
    records: Vec<Arc<Record>>,
    problems: Vec<Problem>,
    /// Where attributes could not be read for lack of `/proc`: said once, not of each path.
    no_proc: Option<RelPath>,
    /// The first time of change of a file that is read early now.
    early_from: Option<Time>,
}

/// What became of all paths so far.
struct Kept {
    sorter: Sorter,
    problems: Vec<Problem>,
    /// The first of those [without `/proc`](Taken::no_proc).
    no_proc: Option<RelPath>,
    early_from: Time,
}

/// What became of reading a file.
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Read {
    /// It was taken in, and had this state.
    Done(Stat),
    /// It is not there, or cannot be read.
    Nothing,
    /// It is to be read apart.
    Apart,
}

struct Scan<'a> {
    dir: &'a Dir,
    previous: Option<&'a LazyIndex>,
    /// Those of the previous index.
    remarks: Remarks,
    options: &'a ScanOptions,
    started: Time,
    /// Which records of the base of the previous index were found as they are there.
    seen: Bits,
    /// Which of these are of files that are read early now.
    early: Bits,
    /// Files that are dealt with after the walk: those with several names, since only then it is
    /// known which is the first, and large ones, which all threads read together.
    later: Mutex<Vec<Found>>,
    kept: Mutex<Kept>,
}

impl<'a> Scan<'a> {
    /// Keeps what became of some paths.
    fn keep(&self, taken: Taken) {
        let Taken { records, mut problems, no_proc, early_from } = taken;
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let full = {
            let mut kept = kept();
            kept.problems.append(&mut problems);
            kept.no_proc = kept.no_proc.take().into_iter().chain(no_proc).min();
            kept.early_from = early_from.map_or(kept.early_from, |it| it.min(kept.early_from));
            kept.sorter.add(records)
        };
        if let Some(full) = full {
            // Other threads go on meanwhile.
            let written = full.write();
            kept().sorter.add_back(written);
        }
    }

    /// Refuses a tree that has the barred directory in it. It is known by device and inode, so no link, mount or `..` hides
    /// it.
    fn check_barred(&self, found: &Found) -> Result<(), Error> {
        let there = FileId::of_stat(&found.stat);
        let barred = self.options.barred == Some(there) && found.kind() == FileType::Directory;
        match barred {
            true => Err(Error::Barred { path: found.path.clone() }),
            false => Ok(()),
        }
    }

    /// Takes in what was found in the directory open as `fd`.
    fn take(&self, fd: BorrowedFd<'_>, found: Vec<Found>) -> Result<(), Error> {
        let mut taken = Taken::default();
        let (mut buffer, mut pool) = (Vec::new(), Pool::default());
        let mut near = self.previous.map(|previous| Near::new(previous.layers()));
        for found in found {
            self.begin(&found.path)?;
            self.check_barred(&found)?;
            let is_file = found.kind() == FileType::RegularFile;
            if is_file && found.stat.st_nlink > 1 {
                self.later().push(found);
                continue;
            }
            let mut before = near.as_mut().map_or(Ok(None), |near| near.find(&found.path))?;
            if !is_file {
                self.special(fd, found, before, &mut taken)?;
            } else if let Some(same) = before.take_if(|it| self.is_as_before(it, &found)) {
                self.stays(same, &mut taken);
            } else if read::len(&found.stat) >= LARGE {
                self.later().push(found);
            } else {
                let name = found.path.name();
                let open = || Ok(openat(fd, name, READ, Mode::empty())?);
                let room = (&mut buffer, &mut pool);
                let read = self.file(&found, before, open, room, &mut taken, false)?;
                if matches!(read, Read::Apart) {
                    self.later().push(found);
                }
            }
        }
        pool.shrink();
        self.keep(taken);
        Ok(())
    }

    /// Takes in a record that the previous index has, too.
    fn stays(&self, (number, record): Before, taken: &mut Taken) {
        let early = self.note_early(&record, taken);
        let Some(number) = number else { return taken.records.push(record) };
        self.seen.insert(number);
        if early {
            self.early.insert(number);
        }
    }

    /// Notes the file of `record` if it is read early now. Says whether it is.
    fn note_early(&self, record: &Record, taken: &mut Taken) -> bool {
        let ctime = record.fingerprint.map(|known| known.ctime());
        let early = ctime.filter(|ctime| is_early(*ctime, self.started));
        taken.early_from = taken.early_from.into_iter().chain(early).min();
        early.is_some()
    }

    /// Takes in a record. `before` is what the previous index has at its path.
    fn push(&self, record: Record, before: Option<Before>, taken: &mut Taken) {
        let is_same = |(_, before): &Before| match self.options.fingerprints {
            true => before.is_same(&record),
            false => before.is_same_file(&record),
        };
        match before.filter(is_same) {
            Some(before) => self.stays(before, taken),
            None => {
                self.note_early(&record, taken);
                taken.records.push(record.into());
            }
        }
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

    fn before(&self, path: &RelPath) -> Result<Option<Before>, Error> {
        self.previous.map_or(Ok(None), |previous| previous.layers().find(path))
    }

    /// Whether what the previous index has will do for a file, which need not be read then.
    fn is_as_before(&self, before: &Before, found: &Found) -> bool {
        let wanted = self.options.signature.as_ref();
        let has_signature = || wanted.is_none_or(|it| unchanged::has_signature(&before.1, it));
        !self.options.verify && self.looks_unchanged(before, found) && has_signature()
    }

    /// Whether a file looks as the previous index has it.
    fn looks_unchanged(&self, (_, record): &Before, found: &Found) -> bool {
        unchanged::is_unchanged(record, &self.remarks, &found.stat, self.started)
    }

    /// What something is kept of where it cannot be read.
    fn known(&self) -> Option<&'a LazyIndex> {
        self.options.keep.as_ref().or(self.previous)
    }

    /// Reads a file, one whose length is not what it is said to be only `apart`. `before` is what the previous index has at its path.
    fn file(
        &self,
        found: &Found,
        before: Option<Before>,
        open: impl Fn() -> io::Result<OwnedFd>,
        (buffer, pool): (&mut Vec<u8>, &mut Pool),
        taken: &mut Taken,
        apart: bool,
    ) -> Result<Read, Error> {
        let path = &found.path;
        let content = match read::read(&open, &found.stat, self.options, buffer, apart) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(Read::Apart),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::Nothing),
            Err(error) => {
                taken.problems.push(unreadable(path.clone(), &error));
                return Ok(Read::Nothing);
            }
        };
        let read = Read::Done(content.stat);
        let is_rotten = |before: &&Before| {
            self.looks_unchanged(before, found) && has_bit_rot(&before.1, &self.remarks, &content)
        };
        if let Some(before) = before.as_ref().filter(is_rotten) {
            let detail = "content changed, but not its length, times or inode".into();
            let mut problem = Problem::new(path.clone(), ProblemKind::BitRot, detail);
            problem.ranges = differing(&before.1, &open);
            taken.problems.push(problem);
            self.stays(before.clone(), taken);
            return Ok(read);
        }
        let firm = content.stable && content.is_as_told() && content.xattrs.are_complete();
        let Content { stat, bytes, xattrs, stable } = content;
        let Bytes { len, digest, signature } = bytes;
        let node = Node::File { len, digest };
        let signature = signature.filter(|_| len > 0).map(|signature| pool.keep(signature));
        let fingerprint = (firm && read::settled(&stat, self.started)).then(|| fingerprint(&stat));
        let is_file = |old: &Node| matches!(old, Node::File { .. });
        let xattrs = self.attributes(path, xattrs, is_file, taken)?;
        let entry = Entry { path: path.clone(), node, meta: Meta { xattrs, ..meta(&stat) } };
        if !stable {
            let detail = "changed each time it was read".into();
            taken.problems.push(Problem::new(path.clone(), ProblemKind::Unstable, detail));
        }
        self.push(Record { entry, signature, fingerprint }, before, taken);
        Ok(read)
    }
}

pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: read::mtime(stat),
        xattrs: Xattrs::default(),
    }
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// So many files that they are in several blocks.
    const FILES: usize = 5_000;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: String| tree.path().join(path);
        for number in 0..FILES {
            let dir = at(format!("{}/{}", number % 13, number % 170));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(number.to_string()), format!("{number} ").repeat(number % 99))
                .unwrap();
        }
        fs::create_dir(at("empty".to_owned())).unwrap();
        symlink("1/2", at("link".to_owned())).unwrap();
        for (number, to) in [(5, "7/again"), (5, "0"), (6, "again"), (7, "9/again")] {
            let dir = at(to.to_owned());
            let to = if dir.is_dir() { dir.join("again") } else { dir };
            fs::hard_link(at(format!("{}/{}/{number}", number % 13, number % 170)), to).unwrap();
        }
        tree
    }

    fn bytes(index: &LazyIndex) -> Vec<u8> {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        bytes
    }

    /// Promise: a first scan finds the same, however little of it is in memory, and also where no file can be made for the rest.
    #[test]
    fn room_makes_no_difference() {
        let (tree, temporary) = (tree(), tempfile::tempdir().unwrap());
        let dir = Dir::new(tree.path()).unwrap();
        let scan = |most: usize, into: &str| {
            let room = Room { most, dir: temporary.path().join(into) };
            scan(&dir, None, &ScanOptions::default(), room, now()).unwrap()
        };
        // Until so long after the last change that each file has a fingerprint.
        let is_settled = |index: &LazyIndex| {
            let records = index.load().unwrap().records().to_vec();
            let files = records.iter().filter(|it| matches!(it.entry.node, Node::File { .. }));
            files.into_iter().all(|file| file.fingerprint.is_some())
        };
        let whole = std::iter::repeat_with(|| scan(usize::MAX, "")).find(is_settled).unwrap();
        assert!(matches!(whole.layers().base(), Base::Memory(_)));
        for most in [300, 4_100] {
            let lazy = scan(most, "");
            assert!(matches!(lazy.layers().base(), Base::File(_)), "{most}");
            assert_eq!(lazy.tree_id(), whole.tree_id(), "{most}");
            assert_eq!(lazy.totals(), whole.totals());
            assert!(bytes(&lazy) == bytes(&whole), "{most}");
            let again = LazyIndex::scan(&dir, Some(&lazy), &ScanOptions::default()).unwrap();
            assert!(bytes(&again) == bytes(&whole), "{most}");
            let nowhere = scan(most, "nowhere");
            assert!(matches!(nowhere.layers().base(), Base::Memory(_)), "{most}");
            assert!(bytes(&nowhere) == bytes(&whole), "{most}");
        }
    }

    /// Promise: to compare a tree that was copied takes the memory of what changed: that each file is another one is no change.
    #[test]
    fn a_copied_tree_is_the_same() {
        let tree = tree();
        let dir = Dir::new(tree.path()).unwrap();
        let old = LazyIndex::scan(&dir, None, &ScanOptions::default()).unwrap();
        let files = old.load().unwrap();
        let files = files.records().iter().filter(|it| matches!(it.entry.node, Node::File { .. }));
        for (number, file) in files.enumerate().filter(|(number, _)| number % 5 != 0) {
            let path = tree.path().join(file.entry.path.as_path());
            let aside = tree.path().join("aside");
            if fs::metadata(&path).unwrap().nlink() == 1 {
                let times = fs::File::open(&path).unwrap().metadata().unwrap().modified().unwrap();
                fs::copy(&path, &aside).unwrap();
                fs::File::options().write(true).open(&aside).unwrap().set_modified(times).unwrap();
                fs::rename(&aside, &path).unwrap();
            }
            if number == 1 {
                fs::write(&path, "another").unwrap();
            }
        }
        let options = ScanOptions { fingerprints: false, ..ScanOptions::default() };
        let new = LazyIndex::scan(&dir, Some(&old), &options).unwrap();
        let differing = old.differing(&new).unwrap();
        let nodes = |it: &Option<Arc<Record>>| it.as_ref().map(|it| it.entry.node.clone());
        let files = differing.iter().filter(|pair| nodes(&pair.old) != nodes(&pair.new));
        assert_eq!(files.count(), 1);
        // Directories have other times.
        assert!(differing.iter().all(
            |it| matches!(nodes(&it.new), Some(Node::Dir)) || nodes(&it.old) != nodes(&it.new)
        ));
        let all = LazyIndex::scan(&dir, Some(&old), &ScanOptions::default()).unwrap();
        assert_eq!(all.tree_id(), new.tree_id());
        assert!(old.differing(&all).unwrap().len() > FILES / 2);
    }

    /// Promise: a night costs what changed, also soon after a whole tree was written. Then its files are read again once, and that is no
    /// change of any of them.
    #[test]
    fn files_that_are_read_again_take_no_room() {
        let tree = tree();
        let dir = Dir::new(tree.path()).unwrap();
        let scan = |previous: Option<&LazyIndex>, secs: i64| {
            let started = Time { secs: now().secs + secs, ..now() };
            let progress = Arc::new(Progress::new());
            let options =
                ScanOptions { progress: Some(Arc::clone(&progress)), ..ScanOptions::default() };
            let index = scan(&dir, previous, &options, room(usize::MAX), started).unwrap();
            (index, progress.bytes())
        };
        let (first, all) = scan(None, 1);
        assert!(first.remarks().early_from() < now() && all > 0);
        // Still early.
        let (soon, read) = scan(Some(&first), 60);
        assert_eq!((soon.remarks(), read), (first.remarks(), 0));
        let (later, read) = scan(Some(&soon), 700);
        assert_eq!((later.remarks().early_from(), read), (Time::MAX, all));
        assert!(later.layers().is_base() && later.layers().is_beside(first.layers()));
        let mut run = Vec::new();
        crate::IndexRun::between(&first, &later).unwrap().write_to(&mut run).unwrap();
        assert!(run.len() < 400, "{}", run.len());
        let run = crate::IndexRun::from_bytes(run).unwrap();
        assert_eq!(first.with_runs(&[run]).unwrap().remarks(), later.remarks());
        let (again, read) = scan(Some(&later), 1_400);
        assert_eq!((again.remarks(), read), (later.remarks(), 0));
    }
}
