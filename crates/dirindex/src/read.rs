//! Reading one file until it holds still: what it had, and whether that was one state of it. Knows
//! nothing of trees and indexes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use rsync_core::{FileBytes, Progress, Signature};
use rustix::fs::{FileType, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::xattr::{self, Attributes};
use crate::{ScanOptions, Time};

/// `O_NONBLOCK` so that a fifo put in a file's place cannot hold up the scan.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// How often a file that changes while it is read is read again before it is called unstable.
pub(crate) const ATTEMPTS: usize = 3;

/// Files from this length on are read on several threads. While one waits for the others it may
/// take up other work, so none of these is read while a directory is held open.
pub(crate) const LARGE: u64 = 256 << 10;

/// A file that was changed less than this before it is looked at could be changed again within the
/// same tick of the kernel's clock, and look the same. A tick is at most 10 ms.
const RACY: Time = Time { secs: 0, nanos: 50_000_000 };

/// The same where times have whole seconds only, or every other second (FAT).
const RACY_COARSE: Time = Time { secs: 2, nanos: 0 };

/// What a file had when it was read.
pub(crate) struct Content {
    pub(crate) stat: Stat,
    pub(crate) signature: Signature,
    pub(crate) xattrs: Attributes,
    /// Whether the file had all this at one moment. If not, `stat` and `signature` may be of
    /// different states of it, and the signature of none.
    pub(crate) stable: bool,
}

/// Reads the file that `open` opens, which looked like `seen` a moment ago. `buffer` is only there
/// to be used again.
///
/// The file's state is known before and after: length, times of modification and change, inode and
/// device. The kernel stamps a change with the time of its last clock tick, so reading begins only
/// once a change would leave another time than the one that is there.
///
/// # Errors
/// As the system has them; also when a file stands there no longer.
pub(crate) fn read(
    open: impl Fn() -> io::Result<OwnedFd>,
    seen: &Stat,
    options: &ScanOptions,
    buffer: &mut Vec<u8>,
) -> io::Result<Content> {
    let mut before = *seen;
    for _ in 0..ATTEMPTS {
        let_a_tick_pass(ctime(&before));
        let file = File::from(open()?);
        let signature = sign(&file, &before, options, buffer)?;
        let xattrs = xattr::read(xattr::Of::Open(file.as_fd()));
        let after = fstat(&file)?;
        if FileType::from_raw_mode(after.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no longer a file"));
        }
        if let Some(signature) = signature
            && signature.file_len() == len(&after)
            && same_state(&before, &after)
        {
            return Ok(Content { stat: after, signature, xattrs, stable: true });
        }
        before = after;
    }
    let file = File::from(open()?);
    let stat = fstat(&file)?;
    let xattrs = xattr::read(xattr::Of::Open(file.as_fd()));
    // As long as it was when it was opened, or it may never end.
    let content =
        Counted { input: (&file).take(len(&stat)), progress: options.progress.as_deref() };
    let signature = Signature::of_reader(content, Some(len(&stat)), &options.signature)
        .map_err(io::Error::other)?;
    Ok(Content { stat, signature, xattrs, stable: false })
}

/// The signature of a file that looked like `stat`; `None` when it turned out shorter. Whether it
/// held still is for the caller to see; most files are small, and each call of the system counts.
fn sign(
    file: &File,
    stat: &Stat,
    options: &ScanOptions,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Signature>> {
    let (len, progress) = (len(stat), options.progress.as_deref());
    let signed = if len < LARGE {
        if buffer.len() < len as usize {
            buffer.resize(len as usize, 0);
        }
        let content = buffer.get_mut(..len as usize).unwrap_or_default();
        if let Err(error) = (&*file).read_exact(content) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(error),
            };
        }
        progress.inspect(|progress| progress.add_bytes(len));
        Signature::of_slice(content, &options.signature)
    } else if options.maps && !is_sparse(stat) {
        FileBytes::open(file).and_then(|bytes| {
            let signature = Signature::of_slice_with(&bytes, &options.signature, progress)?;
            bytes.check().map(|()| signature)
        })
    } else {
        let input = Counted { input: Sparse { file, at: 0, data: 0, hole: 0, len }, progress };
        Signature::of_reader(input, Some(len), &options.signature)
    };
    match signed {
        Ok(signature) => Ok(Some(signature)),
        Err(rsync_core::Error::Changed) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
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
            std::os::unix::fs::FileExt::read_at(self.file, out, self.at)?
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// Counts what is read, and stops when the caller asks for it.
struct Counted<'a, R> {
    input: R,
    progress: Option<&'a Progress>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        if let Some(progress) = self.progress {
            progress.check().map_err(io::Error::other)?;
            progress.add_bytes(n as u64);
        }
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
    (len(a), mtime(a), ctime(a), a.st_ino, a.st_dev)
        == (len(b), mtime(b), ctime(b), b.st_ino, b.st_dev)
}

/// What tells a file from all others, as long as it is there.
pub(crate) fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
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
