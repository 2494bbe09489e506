//! An archive in several files: which bytes are in which, and their names. Knows nothing of what is in
//! them but that they are cut between frames.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dirindex::place::{parent, sync_dir};
use dirindex::{Readers, Streamed, is_exhaustion, take_after};
use tempfile::{NamedTempFile, TempPath};

use crate::open::By;
use crate::{Error, ReadAt};

/// No volume is limited to less, so that what is not cut fits.
pub(crate) const MIN_LEN: u64 = 2 << 20;

/// How many digits the numbers of volumes have at least.
const MIN_DIGITS: usize = 3;

/// The name of volume `number` of `count`: `NAME.001.tgz` for `NAME.tgz`. From a thousand volumes on all numbers have more
/// digits, so that a shell names them in their order.
fn name(archive: &Path, number: usize, count: usize) -> PathBuf {
    let (stem, ending) = around(archive);
    let digits = count.to_string().len().max(MIN_DIGITS);
    let number = format!(".{number:0digits$}");
    archive.with_file_name(OsString::from_vec([stem, number.as_bytes(), ending].concat()))
}

/// What of the archive's name stands before the number of a volume, and what after it.
fn around(archive: &Path) -> (&[u8], &[u8]) {
    let name = archive.file_name().unwrap_or_default().as_bytes();
    let ending = [&b".tar.gz"[..], b".tar.zst"].into_iter().find(|end| name.ends_with(end));
    let dot = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    name.split_at(ending.map_or(dot, |ending| name.len() - ending.len()))
}

/// A file that a shell would take for one of the archive's `count` volumes, and that is none of them.
fn stray(archive: &Path, count: usize) -> io::Result<Option<PathBuf>> {
    let (stem, ending) = around(archive);
    for entry in fs::read_dir(parent(archive))? {
        let found = entry?.file_name();
        let number = found.as_bytes().strip_prefix(stem).and_then(|it| it.strip_suffix(ending));
        let Some(digits) = number.and_then(|number| number.strip_prefix(b".")) else { continue };
        if digits.len() < MIN_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
            continue;
        }
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let path = archive.with_file_name(&found);
        let is_one = |number| (1..=count).contains(&number) && name(archive, number, count) == path;
        if !number.is_some_and(is_one) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The name of volume `number` of the archive that has a volume called `volume`, if that is the name
/// of one.
fn sibling(volume: &Path, number: usize) -> Option<PathBuf> {
    let parts: Vec<&[u8]> = volume.file_name()?.as_bytes().split(|&byte| byte == b'.').collect();
    let is_number = |part: &&[u8]| part.len() >= MIN_DIGITS && part.iter().all(u8::is_ascii_digit);
    let at = parts.iter().rposition(is_number).filter(|&at| at > 0)?;
    let digits = parts.get(at)?.len();
    let number = format!("{number:0digits$}");
    let (before, after) = (parts.get(..at)?, parts.get(at + 1..)?);
    let name = [before, &[number.as_bytes()], after].concat().join(&b'.');
    Some(volume.with_file_name(OsString::from_vec(name)))
}

/// Writes an archive into as many files as it takes. What is written by one [`write`](Write::write) stays
/// together.
pub(crate) struct Writer<'a> {
    archive: &'a Path,
    limit: u64,
    /// Closed: there may be more than a process may have open.
    done: Vec<TempPath>,
    file: Streamed<NamedTempFile>,
    len: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(archive: &'a Path, limit: u64) -> io::Result<Writer<'a>> {
        let file = Streamed::new(temporary(archive)?);
        Ok(Writer { archive, limit, done: Vec::new(), file, len: 0 })
    }

    /// What follows is TABLE, which has the last volume to itself, if there are several.
    pub(crate) fn table(&mut self) -> io::Result<()> {
        if self.done.is_empty() { Ok(()) } else { self.next() }
    }

    fn next(&mut self) -> io::Result<()> {
        let next = Streamed::new(temporary(self.archive)?);
        let file = std::mem::replace(&mut self.file, next).into_inner();
        file.as_file().sync_all()?;
        self.done.push(file.into_temp_path());
        self.len = 0;
        Ok(())
    }

    /// Gives the volumes their names, the last one last: without it there is no archive. Gives that
    /// one's.
    pub(crate) fn finish(mut self) -> Result<PathBuf, Error> {
        let failed = |operation, path: &Path, error| Error::io(operation, path, error);
        let dir = parent(self.archive);
        let last = self.file.into_inner();
        last.as_file().sync_all().map_err(|error| failed("sync", self.archive, error))?;
        self.done.push(last.into_temp_path());
        let count = self.done.len();
        if let Some(path) = stray(self.archive, count).map_err(|e| failed("list", dir, e))? {
            let taken = "it is none of these volumes and would be taken for one: remove it, or choose another name";
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, taken);
            return Err(failed("write volumes beside", &path, taken));
        }
        let mut path = self.archive.to_path_buf();
        for (number, file) in (1..).zip(self.done) {
            path = name(self.archive, number, count);
            keep_mode(&file, &path).map_err(|error| failed("set the mode of", &path, error))?;
            let placed = file.persist(&path);
            placed.map_err(|error| failed("rename a file to", &path, error.error))?;
        }
        sync_dir(dir).map_err(|error| failed("sync", dir, error))?;
        Ok(path)
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, group: &[u8]) -> io::Result<usize> {
        if self.len > 0 && self.len + group.len() as u64 > self.limit {
            self.next()?;
        }
        self.file.write_all(group)?;
        self.len += group.len() as u64;
        Ok(group.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn temporary(archive: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".ibtools-").tempfile_in(parent(archive))
}

/// Gives the new file `file` the mode of the one that it replaces.
fn keep_mode(file: &Path, path: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(file)?;
    take_after(&file, path, Readers::Owner)
}

/// Where in the archive each volume ends, the last one too, when frames of these lengths, each of which
/// may begin a volume or not, were written with this limit and TABLE begins at `table_at`.
pub(crate) fn ends(
    frames: impl Iterator<Item = (u64, bool)>,
    limit: u64,
    table_at: u64,
) -> Vec<u64> {
    let (mut ends, mut start, mut group, mut at) = (Vec::new(), 0, 0, 0);
    for (frame, may_begin) in frames {
        if may_begin {
            group = at;
        }
        at += frame;
        if at - start > limit && group > start {
            ends.push(group);
            start = group;
        }
    }
    if !ends.is_empty() {
        ends.push(table_at);
    }
    ends.push(u64::MAX);
    ends
}

/// The volumes as one archive. Only the last one has to be there until something of another is read.
pub(crate) struct Volumes {
    last: Arc<dyn ReadAt>,
    last_path: PathBuf,
    last_at: u64,
    by: By,
    ends: OnceLock<Vec<u64>>,
    open: Mutex<HashMap<usize, Arc<dyn ReadAt>>>,
}

impl Volumes {
    /// The volumes of which the last, its path, and where it begins are given. The others are opened `by` that.
    pub(crate) fn new(
        (last, last_path, last_at): (Arc<dyn ReadAt>, &Path, u64),
        by: By,
    ) -> Volumes {
        let (last_path, open) = (last_path.to_path_buf(), Mutex::default());
        Volumes { last, last_path, last_at, by, ends: OnceLock::new(), open }
    }

    /// Tells where each volume ends, which the last one says.
    pub(crate) fn set_ends(&self, ends: Vec<u64>) {
        self.ends.get_or_init(|| ends);
    }

    fn volume(&self, number: usize) -> io::Result<Arc<dyn ReadAt>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = sibling(&self.last_path, number + 1).ok_or(io::ErrorKind::NotFound)?;
        let named = |error: io::Error| {
            if is_exhaustion(&error) {
                return error;
            }
            let name = dirindex::escape(path.as_os_str().as_bytes());
            io::Error::new(error.kind(), format!("volume {name}: {error}"))
        };
        let file: Arc<dyn ReadAt> = (self.by)(&path).map_err(named)?.into();
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }
}

impl ReadAt for Volumes {
    fn size(&self) -> io::Result<u64> {
        let size = self.last_at.checked_add(self.last.size()?);
        size.ok_or_else(|| io::Error::other("the volumes are longer than any file can be"))
    }

    fn fill_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            if offset >= self.last_at {
                return ReadAt::fill_at(&self.last, buffer, offset - self.last_at);
            }
            let ends = self.ends.get().ok_or(io::ErrorKind::NotFound)?;
            let number = ends.partition_point(|&end| end <= offset);
            let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied();
            let (start, end) = (start.unwrap_or(0), ends.get(number).copied().unwrap_or(u64::MAX));
            let here = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
            let (now, later) = buffer.split_at_mut(here);
            ReadAt::fill_at(&*self.volume(number)?, now, offset - start)?;
            (buffer, offset) = (later, end);
        }
        Ok(())
    }

    /// Which of those that are open is damaged, nobody knows: each looks.
    fn heal(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<Arc<dyn ReadAt>> = open.values().map(Arc::clone).collect();
        open.iter().chain([&self.last]).filter(|volume| volume.heal()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (archive, volume) in [
            ("a.tgz", "a.002.tgz"),
            ("dir/a.b.tar.gz", "dir/a.b.002.tar.gz"),
            ("a.tar.zst", "a.002.tar.zst"),
            ("a", "a.002"),
        ] {
            assert_eq!(name(Path::new(archive), 2, 999), Path::new(volume));
            assert_eq!(sibling(Path::new(volume), 17), Some(name(Path::new(archive), 17, 17)));
        }
        assert_eq!(sibling(Path::new("a.tgz"), 1), None);
        assert_eq!(sibling(Path::new("001.tgz"), 1), None);
    }

    /// Promise: an archive in volumes is `cat NAME.*.tgz`.
    #[test]
    fn a_shell_names_them_in_order_however_many() {
        let archive = Path::new("dir/a.tgz");
        for count in [1, 999, 1000, 1007, 12_345] {
            let names: Vec<PathBuf> =
                (1..=count).map(|number| name(archive, number, count)).collect();
            assert!(names.is_sorted(), "{count}");
            let last = names.last().unwrap();
            assert_eq!(sibling(last, 1).as_ref(), names.first(), "{count}");
        }
        assert_eq!(name(archive, 7, 1007), Path::new("dir/a.0007.tgz"));
    }

    #[test]
    fn volumes_of_another_archive_are_not_mixed_with_these() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tgz");
        for name in
            ["a.001.tgz", "a.002.tgz", "a.tgz", "a.12.tgz", "a.x01.tgz", "b.003.tgz", "a.003.tar"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(stray(&archive, 2).unwrap(), None);
        assert_eq!(stray(&archive, 1).unwrap(), Some(dir.path().join("a.002.tgz")));
        assert!(stray(&archive, 1000).unwrap().is_some());
        let written = Writer::new(&archive, MIN_LEN).unwrap().finish();
        assert!(written.unwrap_err().to_string().contains("a.002.tgz"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 7);
    }

    #[test]
    fn volumes_end_where_the_next_member_does_not_fit() {
        let all = |frames: &[u64], limit| {
            let end = frames.iter().sum();
            ends(frames.iter().map(|&frame| (frame, true)), limit, end)
        };
        assert_eq!(all(&[3, 3, 3], 10), [u64::MAX]);
        assert_eq!(all(&[3, 3, 5, 20, 1], 10), [6, 11, 31, 32, u64::MAX]);
        // The second and third stay with the first.
        let joined = [(9, true), (3, true), (4, false), (4, false), (1, true)];
        assert_eq!(ends(joined.into_iter(), 11, 21), [9, 20, 21, u64::MAX]);
        assert_eq!(ends(joined.into_iter(), 2, 21), [9, 20, 21, u64::MAX]);
    }
}
