//! One section by itself: encoded, compressed and hashed, and back. Knows nothing of the container around it.

use rayon::prelude::*;
use rsync_core::Digest;
use std::cell::RefCell;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zstd::bulk::Decompressor;

use crate::{List, MAX_SECTION_LEN, SectionError, codec};

const ZSTD_LEVEL: i32 = 3;

/// How a section's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// As they are: for hashes, which do not compress.
    Stored,
    /// As one zstd frame.
    Zstd,
    /// XORed with a stream of noise, so that nothing around it compresses them. The key of the noise comes first, 32
    /// bytes: the BLAKE3 of the bytes themselves, so that nobody can choose bytes that are masked by nothing.
    Masked,
}

/// What proves that some bytes are a section's, and how to unpack them: all that is needed to read a
/// section apart from its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// How the bytes are kept.
    pub packing: Packing,
    /// How many there are.
    pub stored_len: u64,
    /// How many they are once unpacked.
    pub raw_len: u64,
    /// The first 16 bytes of the BLAKE3 of the bytes as they are kept: enough against damage, and who
    /// could make others fit could do so with any length.
    pub hash: [u8; 16],
}

impl Seal {
    /// The section whose stored bytes are `stored`, verified and unpacked.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn open(&self, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        if !Digest::of(&stored).0.starts_with(&self.hash) {
            return Err("it does not match its hash".to_owned());
        }
        self.unpack(stored)
    }

    pub(crate) fn unpack(&self, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        let raw_len = usize::try_from(self.raw_len).unwrap_or(usize::MAX);
        if raw_len > MAX_SECTION_LEN {
            return Err(format!("it declares {raw_len} bytes"));
        }
        let raw = match self.packing {
            Packing::Stored => stored,
            Packing::Zstd => decompressed(&stored, raw_len).map_err(|error| error.to_string())?,
            Packing::Masked => match stored.split_first_chunk() {
                Some((key, rest)) => masked(rest.to_vec(), *key),
                None => return Err("it has no key".to_owned()),
            },
        };
        if raw.len() != raw_len { Err("it has another length".to_owned()) } else { Ok(raw) }
    }

    /// The list in the section whose stored bytes are `stored`.
    ///
    /// # Errors
    /// As [`open`](Seal::open); a list of more rows than `list` may have is one.
    pub fn decode_list<T: DeserializeOwned>(
        &self,
        stored: Vec<u8>,
        list: &List,
    ) -> Result<Vec<T>, String> {
        codec::decode_list(&self.open(stored)?, list.rows)
    }
}

fn checked_len(raw: &[u8]) -> Result<u64, SectionError> {
    match raw.len() {
        len if len > MAX_SECTION_LEN => {
            Err(SectionError::Encode(format!("{len} bytes are over the limit")))
        }
        len => Ok(len as u64),
    }
}

thread_local! {
    /// To make one costs more than to unpack a small section, and archives have many of these.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompressed(stored: &[u8], raw_len: usize) -> io::Result<Vec<u8>> {
    UNPACKER.with_borrow_mut(|kept| {
        let unpacker = match kept {
            Some(unpacker) => unpacker,
            none => none.insert(Decompressor::new()?),
        };
        unpacker.decompress(stored, raw_len)
    })
}

fn compressed(raw: &[u8]) -> Result<Vec<u8>, SectionError> {
    zstd::bulk::compress(raw, ZSTD_LEVEL).map_err(|error| SectionError::Encode(error.to_string()))
}

/// XORs bytes with the BLAKE3 output stream of `key` (BLAKE3 paper, section 2.6), or undoes that.
fn masked(mut bytes: Vec<u8>, key: [u8; 32]) -> Vec<u8> {
    let mut noise = blake3::Hasher::new_keyed(&key).finalize_xof();
    let mut part = [0; 4096];
    for bytes in bytes.chunks_mut(part.len()) {
        noise.fill(&mut part);
        bytes.iter_mut().zip(part).for_each(|(byte, noise)| *byte ^= noise);
    }
    bytes
}

fn head(digest: &Digest) -> [u8; 16] {
    *digest.0.first_chunk().unwrap_or(&[0; 16])
}

/// A section ready to be written: encoded, compressed, hashed.
#[derive(Debug, Clone)]
pub struct Section {
    pub(crate) kind: u32,
    pub(crate) seal: Seal,
    pub(crate) digest: Digest,
    pub(crate) stored: Vec<u8>,
}

/// What a section unpacks to is at most so many times what is stored for it. Chains count it twice, against
/// 128 times the stored bytes: see [`max_held`](crate::max_held).
const MAX_RATIO: u64 = 60;
/// Sections up to this length may unpack to any number of times more.
const SMALL: u64 = 64 << 10;

impl Section {
    /// A section of `raw` bytes.
    ///
    /// # Errors
    /// [`SectionError::Encode`] over [`MAX_SECTION_LEN`].
    pub fn new(kind: u32, raw: Vec<u8>, packing: Packing) -> Result<Section, SectionError> {
        let raw_len = checked_len(&raw)?;
        let stored = match packing {
            Packing::Stored => raw,
            Packing::Zstd => compressed(&raw)?,
            Packing::Masked => {
                let key = Digest::of(&raw).0;
                [key.to_vec(), masked(raw, key)].concat()
            }
        };
        Ok(Section::sealed(kind, packing, raw_len, stored))
    }

    fn sealed(kind: u32, packing: Packing, raw_len: u64, stored: Vec<u8>) -> Section {
        let (stored_len, digest) = (stored.len() as u64, Digest::of(&stored));
        let seal = Seal { packing, stored_len, raw_len, hash: head(&digest) };
        Section { kind, seal, digest, stored }
    }

    /// What it can be read with apart from its container.
    #[must_use]
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// A section of `raw` bytes, compressed. One that would compress to nearly nothing is masked: readers limit
    /// their memory by what is stored, and one user's attributes must not keep everybody's tree out of a backup.
    ///
    /// # Errors
    /// As [`new`](Section::new).
    pub fn pack(kind: u32, raw: Vec<u8>) -> Result<Section, SectionError> {
        let (raw_len, stored) = (checked_len(&raw)?, compressed(&raw)?);
        match raw_len <= SMALL || raw_len <= MAX_RATIO * stored.len() as u64 {
            true => Ok(Section::sealed(kind, Packing::Zstd, raw_len, stored)),
            false => Section::new(kind, raw, Packing::Masked),
        }
    }

    /// [`pack`](Section::pack), of one encoded value.
    ///
    /// # Errors
    /// As [`new`](Section::new).
    pub fn encode<T: Serialize>(kind: u32, value: &T) -> Result<Section, SectionError> {
        let mut raw = Vec::new();
        codec::encode_into(value, &mut raw).map_err(SectionError::Encode)?;
        Section::pack(kind, raw)
    }
}

/// So many bytes of rows fill a section, however few they are: one row may have a megabyte of
/// attributes, and a section has a limit.
const FULL: usize = 1 << 20;

/// Cuts `rows` into the lists that go into one section each, of at most `most` rows and of about
/// 1 MiB, when each row takes about `weight` bytes.
pub fn cut<T>(rows: &[T], most: usize, weight: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    cut_at(rows, most, FULL, weight)
}

/// [`cut`], of rows that are full with so many bytes.
pub fn cut_at<T>(
    rows: &[T],
    most: usize,
    full: usize,
    weight: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&T| {
            let fits = bytes < full;
            bytes += weight(row);
            fits
        };
        let len = rest.iter().take(most).take_while(fits).count();
        let (section, after) = rest.split_at(len);
        rest = after;
        (!section.is_empty()).then_some(section)
    })
}

/// Whether nothing more goes into the list that `rows` are, where lists are [cut] so.
pub fn is_full<T>(rows: &[T], most: usize, weight: impl Fn(&T) -> usize) -> bool {
    rows.len() >= most || rows.iter().map(weight).fold(0, usize::saturating_add) >= FULL
}

/// Encodes `chunks` in parallel, each as a section of `kind`, in order.
///
/// # Errors
/// As [`Section::encode`].
pub fn encode_all<T: Serialize + Sync>(
    kind: u32,
    chunks: &[&[T]],
) -> Result<Vec<Section>, SectionError> {
    chunks.par_iter().map(|chunk| Section::encode(kind, chunk)).collect()
}
