//! Reading one file until it holds still: what it had, and whether that was one state of it. Knows
//! nothing of trees and indexes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::Duration;

use rsync_core::{Digest, FileBytes, Progress, Signature, SignatureOptions};
use rustix::fs::{FileType, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::xattr::{self, Attributes};
use crate::{FileId, ScanOptions, Time};

/// `O_NONBLOCK` so that a fifo put in a file's place cannot hold up the scan.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// How often a file that changes while it is read is read again before it is called unstable.
const ATTEMPTS: usize = 3;

/// Files from this length on are read on several threads. While one waits for the others it may
/// take up other work, so none of these is read while a directory is held open.
pub(crate) const LARGE: u64 = 256 << 10;

/// A file that was changed less than this before it is looked at could be changed again within the
/// same tick of the kernel's clock, and look the same. A tick is at most 10 ms.
const RACY: Time = Time { secs: 0, nanos: 50_000_000 };

/// The same where times have whole seconds only, or every other second (FAT).
const RACY_COARSE: Time = Time { secs: 2, nanos: 0 };

/// The most that is read of a file beyond what its length is said to be: it may never end.
const MOST_BEYOND: u64 = 1 << 30;

/// A file of which so much is said, or so much and next to nothing of it is stored, is left out: the
/// backup of all others would have to wait for it for hours.
const TOO_LONG: u64 = 16 << 40;
const TOO_LONG_AND_EMPTY: u64 = 1 << 40;

/// What a file had when it was read.
pub(crate) struct Content {
    pub(crate) stat: Stat,
    pub(crate) bytes: Bytes,
    pub(crate) xattrs: Attributes,
    /// Whether the file had all this at one moment. If not, `stat` and `bytes` may be of
    /// different states of it, and the bytes of none.
    pub(crate) stable: bool,
}

/// What bytes were read.
pub(crate) struct Bytes {
    pub(crate) len: u64,
    pub(crate) digest: Digest,
    /// If it is wanted.
    pub(crate) signature: Option<Signature>,
}

impl Bytes {
    fn signed(signature: Signature) -> rsync_core::Result<Bytes> {
        // Only one that was read from librsync's format has no digest.
        let digest = signature.digest().ok_or(rsync_core::Error::Changed)?;
        Ok(Bytes { len: signature.file_len(), digest, signature: Some(signature) })
    }

    fn of_slice(
        data: &[u8],
        options: Option<&SignatureOptions>,
        progress: Option<&Progress>,
    ) -> rsync_core::Result<Bytes> {
        if let Some(options) = options {
            return Signature::of_slice(data, options, progress).and_then(Bytes::signed);
        }
        if let Some(progress) = progress {
            progress.check()?;
            progress.add_bytes(data.len() as u64);
        }
        Ok(Bytes { len: data.len() as u64, digest: Digest::of(data), signature: None })
    }

    fn of_file(
        file: &File,
        options: Option<&SignatureOptions>,
        progress: Option<&Progress>,
    ) -> rsync_core::Result<Bytes> {
        let bytes = FileBytes::open(file)?;
        let read = match options {
            Some(options) => Bytes::signed(bytes.signature(options, progress)?)?,
            None => {
                let digest = bytes.digest(progress)?;
                Bytes { len: bytes.len() as u64, digest, signature: None }
            }
        };
        bytes.check().map(|()| read)
    }

    fn of_reader(
        input: impl Read,
        len: Option<u64>,
        options: Option<&SignatureOptions>,
        progress: Option<&Progress>,
    ) -> rsync_core::Result<Bytes> {
        if let Some(options) = options {
            return Signature::of_reader(input, len, options, progress).and_then(Bytes::signed);
        }
        let (digest, len) = Digest::of_reader(input, progress)?;
        Ok(Bytes { len, digest, signature: None })
    }
}

impl Content {
    /// Whether it has the length that it is said to have. If not, what else is said of it may not
    /// change either when its content does.
    pub(crate) fn is_as_told(&self) -> bool {
        self.bytes.len == len(&self.stat)
    }
}

/// Reads the file that `open` opens, which looked like `seen` a moment ago. `buffer` is only there
/// to be used again. `None` when it does not have the length that it is said to have, unless it is
/// read `apart`, while no directory is held open: it may be long.
///
/// The file's state is known before and after: length, times of modification and change, inode and
/// device. The kernel stamps a change with the time of its last clock tick, so reading begins only
/// once a change would leave another time than the one that is there. A file of another length than
/// it is said to have is read until it has the same content twice.
///
/// # Errors
/// As the system has them; also when a file stands there no longer, is too long, or has no end.
pub(crate) fn read(
    open: impl Fn() -> io::Result<OwnedFd>,
    seen: &Stat,
    options: &ScanOptions,
    buffer: &mut Vec<u8>,
    apart: bool,
) -> io::Result<Option<Content>> {
    let mut before = *seen;
    let mut last = None;
    let mut torn = None;
    let attempts = if options.provisional && len(seen) >= LARGE { 1 } else { ATTEMPTS };
    for _ in 0..attempts {
        let_a_tick_pass(ctime(&before));
        let file = File::from(open()?);
        refuse_too_long(&file, &before)?;
        let mut found = sum(&file, &before, options, buffer)?;
        let is_odd = matches!(found, Sum::Odd);
        if is_odd && same_state(&before, &stat_of_file(&file)?) {
            if !apart {
                return Ok(None);
            }
            found = Sum::Whole(to_the_end(File::from(open()?), &before, options)?);
        }
        let xattrs = xattr::read(xattr::Of::Open(file.as_fd()));
        let after = stat_of_file(&file)?;
        if let Sum::Whole(bytes) = found {
            if same_state(&before, &after) {
                let known = Some(bytes.digest);
                if !is_odd || known == last {
                    return Ok(Some(Content { stat: after, bytes, xattrs, stable: true }));
                }
                last = known;
            } else {
                torn = Some(Content { stat: after, bytes, xattrs, stable: false });
            }
        }
        before = after;
    }
    if let Some(content) = torn.filter(|_| last.is_none()) {
        return Ok(Some(content));
    }
    let file = File::from(open()?);
    let stat = stat_of_file(&file)?;
    let xattrs = xattr::read(xattr::Of::Open(file.as_fd()));
    let bytes = if last.is_some() {
        to_the_end(file, &stat, options)?
    } else {
        // As long as it was when it was opened, or it may never end.
        sum_of(file.take(len(&stat)), Some(len(&stat)), options)?
    };
    Ok(Some(Content { stat, bytes, xattrs, stable: false }))
}

pub(crate) fn stat_of_file(file: &File) -> io::Result<Stat> {
    let stat = fstat(file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        _ => Err(io::Error::other("it is no longer a file")),
    }
}

fn refuse_too_long(file: &File, stat: &Stat) -> io::Result<()> {
    let len = len(stat);
    // Not every file system says how much of a file is stored: there have to be holes.
    let is_empty = || {
        stat.st_blocks.unsigned_abs() < len / 512 / 1024
            && seek(file, SeekFrom::Hole(0)).is_ok_and(|hole| hole < len)
            && seek(file, SeekFrom::Start(0)).is_ok()
    };
    if len > TOO_LONG {
        return Err(io::Error::other(format!("it says that it has {len} bytes, over 16 TiB")));
    }
    if len > TOO_LONG_AND_EMPTY && is_empty() {
        let why = format!("it has {len} bytes, and less than a thousandth of them is stored");
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// All that comes out of a file, whose length is not what it is said to be.
fn to_the_end(file: File, stat: &Stat, options: &ScanOptions) -> io::Result<Bytes> {
    let most = if len(stat) < LARGE { len(stat) + MOST_BEYOND } else { MOST_BEYOND };
    let bytes = sum_of(file.take(most + 1), None, options)?;
    match bytes.len <= most {
        true => Ok(bytes),
        false => Err(io::Error::other(format!(
            "it says that it has {} bytes, and does not end there, nor 1 GiB after",
            len(stat)
        ))),
    }
}

fn sum_of(input: impl Read, len: Option<u64>, options: &ScanOptions) -> io::Result<Bytes> {
    let (signature, progress) = (options.signature.as_ref(), options.progress.as_deref());
    Bytes::of_reader(input, len, signature, progress).map_err(|error| match error {
        rsync_core::Error::Io { source, .. } => source,
        other => io::Error::other(other),
    })
}

/// What became of a file.
enum Sum {
    Whole(Bytes),
    /// It changed meanwhile.
    Changed,
    /// It does not have the length that it is said to have.
    Odd,
}

/// The bytes of a file that looked like `stat`. Whether it held still is for the caller to see;
/// most files are small, and each call of the system counts.
fn sum(file: &File, stat: &Stat, options: &ScanOptions, buffer: &mut Vec<u8>) -> io::Result<Sum> {
    let (len, progress) = (len(stat), options.progress.as_deref());
    let signature = options.signature.as_ref();
    let found = if len < LARGE {
        let len = len as usize;
        if buffer.len() <= len {
            buffer.resize(len + 1, 0);
        }
        // One more is asked for: who then gets no more is at the end.
        let filled = fill(file, buffer.get_mut(..=len).unwrap_or_default(), len)?;
        if filled != len {
            return Ok(Sum::Odd);
        }
        Bytes::of_slice(buffer.get(..len).unwrap_or_default(), signature, progress)
    } else if file.read_at(&mut [0; 2], len - 1)? != 1 {
        return Ok(Sum::Odd);
    } else if options.maps && !is_sparse(stat) {
        Bytes::of_file(file, signature, progress)
    } else {
        let input = Sparse { file, at: 0, data: 0, hole: 0, len };
        Bytes::of_reader(input, Some(len), signature, progress)
    };
    match found {
        Ok(bytes) if bytes.len == len => Ok(Sum::Whole(bytes)),
        Ok(_) | Err(rsync_core::Error::Changed) => Ok(Sum::Changed),
        Err(rsync_core::Error::Io { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Reads into `out` until `enough` bytes are there, or no more come. How many there are.
fn fill(mut file: &File, out: &mut [u8], enough: usize) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match file.read(out.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Ok(filled),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled >= enough {
            return Ok(filled);
        }
    }
}

/// Whether a good part of the file is holes, which cost nothing to skip and much to map.
fn is_sparse(stat: &Stat) -> bool {
    stat.st_blocks.unsigned_abs() < len(stat) / 512 / 8 * 7
}

/// The content of a file whose holes are known to be zeros without being read.
struct Sparse<'a> {
    file: &'a File,
    at: u64,
    /// Where the data at or after `at` begins, and where the hole after it does, once asked.
    data: u64,
    hole: u64,
    /// What lies after is not read.
    len: u64,
}

impl Read for Sparse<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.hole && self.at < self.len {
            (self.data, self.hole) = match seek(self.file, SeekFrom::Data(self.at)) {
                Ok(data) => (data, seek(self.file, SeekFrom::Hole(data)).unwrap_or(self.len)),
                // After the last data.
                Err(Errno::NXIO) => (self.len, self.len),
                // A file system that knows no holes.
                Err(_) => (self.at, self.len),
            };
        }
        let in_hole = self.at < self.data;
        let end = if in_hole { self.data } else { self.hole }.min(self.len);
        let room = end.saturating_sub(self.at).min(out.len() as u64) as usize;
        let out = out.get_mut(..room).unwrap_or_default();
        let n = if in_hole {
            out.fill(0);
            out.len()
        } else {
            self.file.read_at(out, self.at)?
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// Waits until a change of a file that was last changed at `ctime` would show in its time. Times
/// that are far ahead of the clock are of another clock, and no change would repeat them.
fn let_a_tick_pass(ctime: Time) {
    let coarse = ctime.nanos == 0;
    let (due, longest) = if coarse {
        (nanos(ctime) + nanos(RACY_COARSE), nanos(RACY_COARSE))
    } else {
        (nanos(ctime) + 1, nanos(RACY))
    };
    loop {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let missing = due - nanos(Time { secs: now.tv_sec, nanos: now.tv_nsec as u32 });
        if missing <= 0 || missing > longest {
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

/// Whether the file's last change is far enough before `moment` that any later one shows.
pub(crate) fn settled(stat: &Stat, moment: Time) -> bool {
    let ctime = ctime(stat);
    let window = if ctime.nanos == 0 { RACY_COARSE } else { RACY };
    nanos(ctime) + nanos(window) < nanos(moment)
}

fn nanos(time: Time) -> i128 {
    i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos)
}

pub(crate) fn same_state(a: &Stat, b: &Stat) -> bool {
    (len(a), mtime(a), ctime(a), FileId::of_stat(a))
        == (len(b), mtime(b), ctime(b), FileId::of_stat(b))
}

pub(crate) fn len(stat: &Stat) -> u64 {
    stat.st_size.unsigned_abs()
}

pub(crate) fn mtime(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

pub(crate) fn ctime(stat: &Stat) -> Time {
    Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 }
}
