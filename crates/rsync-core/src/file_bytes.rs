//! The content of an open file, read or mapped. Owns what callers may do with these bytes; must not know what
//! they mean.
//!
//! The bytes of a map change when another process writes to the file. Rust does not allow that for a `&[u8]`.
//! So no caller of this crate gets a slice of a map; callers get the methods of [`FileBytes`]. The code
//! behind these methods treats every read of a byte as a new read.
//!
//! The length that `stat` reports may be wrong: files in `/proc` and on some FUSE file systems report 0 bytes
//! or one page. So this module uses the reported length only if the file ends there.

mod input;
#[cfg(all(feature = "mmap", target_os = "linux"))]
mod map;
#[cfg(not(all(feature = "mmap", target_os = "linux")))]
mod no_map;
mod platform;
#[cfg(all(feature = "mmap", target_os = "linux"))]
mod sigbus;

pub(crate) use input::Input;

use crate::error::During;
use crate::{Delta, Digest, Error, Progress, Result, Signature, SignatureOptions, delta};
#[cfg(all(feature = "mmap", target_os = "linux"))]
use map::FileMap;
#[cfg(not(all(feature = "mmap", target_os = "linux")))]
use no_map::FileMap;
use platform::{StatFingerprint, read_at};
use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Files of this many bytes or more are mapped. Shorter files are read: that costs less than building page
/// tables.
pub const MAP_FROM: u64 = 1 << 20;

/// Whether large files may be mapped.
static MAPPING: AtomicBool = AtomicBool::new(true);

/// Turns the mapping of files on or off for the whole process. It is on at first, with the feature `mmap` on
/// Linux; elsewhere this does nothing. Without it, [`FileBytes::open`] reads a large file into memory.
///
/// The first map installs a handler for SIGBUS in the process, which stays: a program that has a handler of its own for
/// SIGBUS, and cannot have ours in front of it, turns the mapping off before it opens a file. Maps that are
/// open stay.
pub fn map_files(on: bool) {
    MAPPING.store(on, Relaxed);
}

/// Limit in bytes for a file that does not end where `stat` says: an endless file must not fill the memory.
const READ_LIMIT: usize = 1 << 30;

/// The content of an open regular file, and a check that the file did not change.
///
/// `F` is the file itself or a reference to it.
///
/// A large file is mapped, so its bytes may change at any time, between any two reads. That is why this type
/// gives no slice of them: safe code could make a `&str` of it, and the `&str` could become invalid UTF-8.
#[derive(Debug)]
pub struct FileBytes<F = File> {
    file: F,
    /// The stat fingerprint at opening.
    fingerprint: StatFingerprint,
    content: Content,
    len: usize,
}

#[derive(Debug)]
enum Content {
    Read(Vec<u8>),
    Mapped(FileMap),
}

impl<F: Borrow<File>> FileBytes<F> {
    /// The whole content of `file`. The file's position and the length that `stat` reports do not matter.
    ///
    /// # Errors
    /// [`Error::Io`], also if `file` is not a regular file, or if it does not end where `stat` says and has
    /// more than 1 GiB.
    pub fn open(file: F) -> Result<FileBytes<F>> {
        let opened: &File = file.borrow();
        let metadata = opened.metadata().during("stat the file")?;
        if !metadata.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(Error::Io { operation: "read the file", source });
        }
        let fingerprint = StatFingerprint::of(&metadata);
        let content = map_or_read(opened, fingerprint.len)?;
        let len = content.input().bytes.len();
        Ok(FileBytes { file, fingerprint, content, len })
    }

    /// Checks that the file did not change since [`open`](FileBytes::open): no page was lost to a truncation,
    /// and length, mtime and ctime are the same. A write through another process's map leaves no trace in
    /// `stat`, so this check does not notice it.
    ///
    /// # Errors
    /// [`Error::Changed`]; [`Error::Io`] if `stat` fails.
    pub fn check(&self) -> Result<()> {
        let torn = matches!(&self.content, Content::Mapped(map) if map.is_torn());
        let metadata = self.file.borrow().metadata().during("stat the file")?;
        let same = StatFingerprint::of(&metadata) == self.fingerprint;
        if same && !torn { Ok(()) } else { Err(Error::Changed) }
    }
}

impl<F> FileBytes<F> {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` bytes only; `None` if there are fewer.
    pub fn first(self, len: u64) -> Option<FileBytes<F>> {
        let len = usize::try_from(len).ok().filter(|&len| len <= self.len)?;
        Some(FileBytes { len, ..self })
    }

    /// The digest of the bytes. Counts bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn digest(&self, progress: Option<&Progress>) -> Result<Digest> {
        Digest::of_input(self.input(), progress)
    }

    /// The signature of the bytes. Counts bytes in `progress`.
    ///
    /// # Errors
    /// Those of [`Signature::of_slice`].
    pub fn signature(
        &self,
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        Signature::of_input(self.input(), options, progress)
    }

    /// The delta from the signature's file to these bytes. See [`Delta::compute`].
    ///
    /// # Errors
    /// Those of [`Delta::compute`].
    pub fn delta(&self, signature: &Signature, progress: Option<&Progress>) -> Result<Delta> {
        delta::compute(signature, self.input(), progress, delta::TASK_LEN)
    }

    /// Writes a delta that was computed from these bytes. See [`Delta::write_to`].
    ///
    /// # Errors
    /// Those of [`Delta::write_to`].
    pub fn write_delta(
        &self,
        delta: &Delta,
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        delta.write_from(self.input(), out, progress)
    }

    /// Writes such a delta and its seal. See [`Delta::write_sealed`].
    ///
    /// # Errors
    /// Those of [`Delta::write_sealed`].
    pub fn write_sealed(
        &self,
        delta: &Delta,
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        delta.write_sealed_from(self.input(), out, progress)
    }

    /// A copy of the bytes, which does not change any more. [`check`](FileBytes::check) says whether the file had all of
    /// them at one moment.
    pub fn to_vec(&self) -> Vec<u8> {
        self.input().bytes.to_vec()
    }

    /// Only for the methods above, which hash, search and copy. Their code bounds-checks every memory access
    /// that depends on a byte, and never relies on two reads of a byte being equal. A delta's literals are
    /// verified in a copy.
    fn input(&self) -> Input<'_> {
        self.content.input().first(self.len)
    }
}

impl Content {
    fn input(&self) -> Input<'_> {
        match self {
            Content::Read(bytes) => Input::from(bytes.as_slice()),
            Content::Mapped(map) => Input::of_map(map),
        }
    }
}

/// The content of a file whose length is `stat_len` according to `stat`.
fn map_or_read(file: &File, stat_len: u64) -> Result<Content> {
    let len = usize::try_from(stat_len).map_err(io::Error::other).during("read the file")?;
    if stat_len < MAP_FROM {
        return read_all(file, len, READ_LIMIT).during("read the file").map(Content::Read);
    }
    if !ends_at(file, stat_len).during("read the file")? {
        return read_all(file, 0, READ_LIMIT).during("read the file").map(Content::Read);
    }
    let map = if MAPPING.load(Relaxed) { FileMap::new(file, len) } else { Ok(None) };
    match map.during("map the file")? {
        Some(map) => Ok(Content::Mapped(map)),
        None => read_all(file, len, READ_LIMIT.max(len)).during("read the file").map(Content::Read),
    }
}

/// Whether the file has a byte before `len` and none after it. `len` is not 0.
fn ends_at(file: &File, len: u64) -> io::Result<bool> {
    Ok(read_at(file, &mut [0; 2], len - 1)? == 1)
}

/// Reads to the end of the file, at most a little over `limit` bytes. Most files have `expected` bytes. The
/// buffer has one byte more, so that one read shows that the file ends there.
fn read_all(file: &File, expected: usize, limit: usize) -> io::Result<Vec<u8>> {
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
        if filled > limit {
            return Err(io::Error::other("it does not end where stat says, nor within 1 GiB"));
        }
        if filled == bytes.len() {
            bytes.resize((2 * filled).max(64 << 10), 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
