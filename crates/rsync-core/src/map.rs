//! The bytes of an open file, mapped when that pays. With [`fault`](crate::fault) the only module with `unsafe`; knows
//! nothing of what the bytes mean.
//!
//! The bytes of a map change when another process writes to the file, which the language does not allow for a `&[u8]`. So
//! no slice of them leaves this crate: what can be done with them are methods of [`FileBytes`], each of which treats every
//! read of a byte as if it were a new one. A file that is truncated while it is mapped is [`fault`](crate::fault)'s.
//!
//! The pages of a map that were looked at count as memory of the process until the kernel takes them back. Who goes through
//! the bytes from front to back says what it is [`done`] with, and of large maps these pages are given back at once.
//!
//! What `stat` says of a file's length is believed only where the file ends there: files in `/proc`, and those of some
//! FUSE file systems, say 0, or a page, and have more or less.
#![allow(unsafe_code)]

use crate::error::During;
use crate::fault::{self, Slot};
use crate::{Delta, Digest, Error, Progress, Result, Signature, SignatureOptions};
use std::borrow::Borrow;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files from this length on are mapped; shorter ones are read, which is cheaper than building page tables for them.
pub const MAP_FROM: u64 = 1 << 20;

/// Maps of at least so many bytes give back what is [`done`]: nothing small pays for it.
const RELEASE_FROM: usize = 64 << 20;
/// A call of the system is worth so much,
const AT_ONCE: usize = 1 << 20;
/// and what is done in shorter steps is given back so much at a time.
const STRETCH: usize = 4 << 20;

/// The most that is read into memory of a file that does not end where `stat` says: one that has no end must not take all
/// there is.
const MOST_READ: usize = 1 << 30;

/// The content of an open regular file, and whether it is still the file's.
///
/// `F` is the file itself or a reference to it.
///
/// A large file is mapped, so its bytes may change at any time, between any two looks at them. That is why there is no
/// slice of them to be had: a `&str` made of one could become invalid in safe hands.
#[derive(Debug)]
pub struct FileBytes<F = File> {
    file: F,
    opened: Stamp,
    bytes: Bytes,
    len: usize,
}

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Mapped),
}

impl<F: Borrow<File>> FileBytes<F> {
    /// The whole content of `file`, whatever its position and whatever length it is said to have.
    ///
    /// # Errors
    /// [`Error::Io`]; also when it is not a regular file, and when more than 1 GiB of one come that does not end where
    /// it should.
    pub fn open(file: F) -> Result<FileBytes<F>> {
        let opened: &File = file.borrow();
        let metadata = opened.metadata().during("stat the file")?;
        if !metadata.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::Io { operation: "read the file", source });
        }
        let stamp = Stamp::of(&metadata);
        let bytes = bytes_of(opened, stamp.len)?;
        let len = bytes.as_slice().len();
        Ok(FileBytes { file, opened: stamp, bytes, len })
    }

    /// That the bytes were, up to now, those of an unchanged file: no page was lost to a truncation, and length, mtime and
    /// ctime are those at opening. Stores through another process's map leave no trace in the stamps and are not seen.
    ///
    /// # Errors
    /// [`Error::Changed`], or [`Error::Io`] when the file cannot be asked.
    pub fn check(&self) -> Result<()> {
        let torn = matches!(&self.bytes, Bytes::Mapped(map) if map.slot.is_torn());
        let now = Stamp::of(&self.file.borrow().metadata().during("stat the file")?);
        if !torn && now == self.opened { Ok(()) } else { Err(Error::Changed) }
    }
}

impl<F> FileBytes<F> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Only the first `len` of them; `None` when there are not so many.
    pub fn first(self, len: u64) -> Option<FileBytes<F>> {
        let len = usize::try_from(len).ok().filter(|&len| len <= self.len)?;
        Some(FileBytes { len, ..self })
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        Digest::of(self.slice())
    }

    /// Their signature, counting bytes in `progress`.
    ///
    /// # Errors
    /// As [`Signature::of_slice_with`].
    pub fn signature(
        &self,
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        Signature::of_slice_with(self.slice(), options, progress)
    }

    /// The delta that turns the signature's file into them. See [`Delta::compute`].
    ///
    /// # Errors
    /// As [`Delta::compute`].
    pub fn delta(&self, signature: &Signature, progress: Option<&Progress>) -> Result<Delta> {
        Delta::compute(signature, self.slice(), progress)
    }

    /// Writes a delta that was computed from them. See [`Delta::write_to`].
    ///
    /// # Errors
    /// As [`Delta::write_to`].
    pub fn write_delta(&self, delta: &Delta, out: impl Write) -> Result<()> {
        delta.write_to(self.slice(), out)
    }

    /// Writes such a delta and its seal. See [`Delta::write_sealed`].
    ///
    /// # Errors
    /// As [`Delta::write_sealed`].
    pub fn write_sealed(&self, delta: &Delta, out: impl Write) -> Result<()> {
        delta.write_sealed(self.slice(), out)
    }

    /// A copy of them, which changes no more. Whether it is one state of the file, [`check`](FileBytes::check) says.
    pub fn to_vec(&self) -> Vec<u8> {
        self.slice().to_vec()
    }

    /// For the methods above alone, which are hashes, searches and copies: none branches on a byte into memory access that is
    /// not checked, none relies on two reads of a byte agreeing, and what a delta says is proven from a copy.
    fn slice(&self) -> &[u8] {
        self.bytes.as_slice().get(..self.len).unwrap_or_default()
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Read(bytes) => bytes,
            Bytes::Mapped(map) => &map.map,
        }
    }
}

/// What the file has, which says that it has `told` bytes.
fn bytes_of(file: &File, told: u64) -> Result<Bytes> {
    let len = usize::try_from(told).map_err(io::Error::other).during("read the file")?;
    if told >= MAP_FROM && !ends_at(file, told).during("read the file")? {
        return read_all(file, 0, MOST_READ).during("read the file").map(Bytes::Read);
    }
    let slot = if told >= MAP_FROM { Slot::claim() } else { None };
    Ok(match slot {
        Some(slot) => Bytes::Mapped(Mapped::new(file, len, slot).during("map the file")?),
        None => Bytes::Read(read_all(file, len, MOST_READ.max(len)).during("read the file")?),
    })
}

/// Whether the file has a byte before `len`, which is not 0, and none after it.
fn ends_at(file: &File, len: u64) -> io::Result<bool> {
    Ok(read_at(file, &mut [0; 2], len - 1)? == 1)
}

fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(out, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// All that the file has, which is `expected` bytes most often. One more is asked for: who then gets no more is at the end.
fn read_all(file: &File, expected: usize, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; expected + 1];
    let mut filled = 0;
    loop {
        match read_at(file, bytes.get_mut(filled..).unwrap_or_default(), filled as u64)? {
            0 => break,
            n => filled += n,
        }
        if filled == expected {
            break;
        }
        if filled > most {
            return Err(io::Error::other("it does not end where it says, nor 1 GiB after"));
        }
        if filled == bytes.len() {
            bytes.resize((2 * filled).max(64 << 10), 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// What a change of content changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A map and its place in the handler's table.
#[derive(Debug)]
struct Mapped {
    map: memmap2::Mmap,
    slot: &'static Slot,
}

impl Mapped {
    fn new(file: &File, len: usize, slot: &'static Slot) -> io::Result<Mapped> {
        fault::install_handler();
        // SAFETY: the map is private to this module and read-only. Its bytes may change under us when someone writes to the
        // file, which the language does not allow for a `&[u8]`; `FileBytes::slice`, which alone hands it on, says why none
        // of those who get it minds. Truncation is handled by `fault`.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file) };
        match map {
            Ok(map) => {
                slot.list(addresses(&map));
                if len >= RELEASE_FROM {
                    large().push(addresses(&map));
                }
                Ok(Mapped { map, slot })
            }
            Err(e) => {
                slot.release();
                Err(e)
            }
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // Unlisted before `map` is dropped: nobody reads it any more, and its addresses may soon be someone else's.
        self.slot.release();
        if self.map.len() >= RELEASE_FROM {
            let gone = addresses(&self.map);
            large().retain(|map| *map != gone);
        }
    }
}

fn addresses(bytes: &[u8]) -> Range<usize> {
    let Range { start, end } = bytes.as_ptr_range();
    start.addr()..end.addr()
}

/// The live maps of [`RELEASE_FROM`] bytes and more, as addresses.
static LARGE: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

fn large() -> MutexGuard<'static, Vec<Range<usize>>> {
    LARGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that `range` of `data`, which is gone through from front to back, will hardly be looked at again. If `data` is a large
/// map, the memory of the range is given back; of one shorter than [`AT_ONCE`], with the stretch that ends in it. Looked at
/// again, it is read from the file again.
pub(crate) fn done(data: &[u8], range: Range<usize>) {
    if data.len() < RELEASE_FROM {
        return;
    }
    let Range { mut start, mut end } = range;
    if end.saturating_sub(start) < AT_ONCE {
        start = start / STRETCH * STRETCH;
        end = if end == data.len() { end } else { end / STRETCH * STRETCH };
    }
    if let Some(bytes) = data.get(start..end).filter(|bytes| !bytes.is_empty()) {
        give_back(bytes);
    }
}

fn give_back(bytes: &[u8]) {
    let page = fault::page_len();
    let Range { start, end } = addresses(bytes);
    if !large().iter().any(|map| map.start <= start && end <= map.end) {
        return;
    }
    let (from, to) = (start.next_multiple_of(page), end / page * page);
    if from < to {
        // SAFETY: [from, to) lies in `bytes`, and those in a map that was live when the list was looked at: they are a part of
        // it, and as long as they are borrowed it stays. It is a map of a file that nothing is written to, so its pages are
        // not changed by being dropped: who looks at one again, be it another thread right now, gets it from the file, as at
        // first, with all that is said of this in `Mapped::new`; and a page of zeros that `fault` put there comes back as one.
        // It is advice: what the call returns does not matter.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
    }
}
