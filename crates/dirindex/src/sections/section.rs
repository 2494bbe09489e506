//! One section by itself: encoded, compressed and hashed, and back. Knows nothing of the container around it.

use rayon::prelude::*;
use rsync_core::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{List, MAX_SECTION_LEN, SectionError};
use crate::codec;

const ZSTD_LEVEL: i32 = 3;

/// How a section's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// As they are: for hashes, which do not compress.
    Stored,
    /// As one zstd frame.
    Zstd,
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

    pub(super) fn unpack(&self, stored: Vec<u8>) -> Result<Vec<u8>, String> {
        let raw_len = usize::try_from(self.raw_len).unwrap_or(usize::MAX);
        if raw_len > MAX_SECTION_LEN {
            return Err(format!("it declares {raw_len} bytes"));
        }
        let raw = match self.packing {
            Packing::Stored => stored,
            Packing::Zstd => {
                zstd::bulk::decompress(&stored, raw_len).map_err(|error| error.to_string())?
            }
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

fn head(digest: &Digest) -> [u8; 16] {
    *digest.0.first_chunk().unwrap_or(&[0; 16])
}

/// A section ready to be written: encoded, compressed, hashed.
#[derive(Debug, Clone)]
pub struct Section {
    pub(super) kind: u32,
    pub(super) seal: Seal,
    pub(super) digest: Digest,
    pub(super) stored: Vec<u8>,
}

impl Section {
    /// A section of `raw` bytes.
    ///
    /// # Errors
    /// [`SectionError::Encode`] over [`MAX_SECTION_LEN`].
    pub fn new(kind: u32, raw: Vec<u8>, packing: Packing) -> Result<Section, SectionError> {
        if raw.len() > MAX_SECTION_LEN {
            return Err(SectionError::Encode(format!("{} bytes are over the limit", raw.len())));
        }
        let raw_len = raw.len() as u64;
        let stored = match packing {
            Packing::Stored => raw,
            Packing::Zstd => zstd::bulk::compress(&raw, ZSTD_LEVEL)
                .map_err(|error| SectionError::Encode(error.to_string()))?,
        };
        let (stored_len, digest) = (stored.len() as u64, Digest::of(&stored));
        let seal = Seal { packing, stored_len, raw_len, hash: head(&digest) };
        Ok(Section { kind, seal, digest, stored })
    }

    /// What it can be read with apart from its container.
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// A compressed section of one encoded value.
    ///
    /// # Errors
    /// As [`new`](Section::new).
    pub fn encode<T: Serialize>(kind: u32, value: &T) -> Result<Section, SectionError> {
        let mut raw = Vec::new();
        codec::encode_into(value, &mut raw).map_err(SectionError::Encode)?;
        Section::new(kind, raw, Packing::Zstd)
    }
}

/// So many bytes of rows fill a section, however few they are: one row may have a megabyte of
/// attributes, and a section has a limit.
const FULL: usize = 1 << 20;

/// Cuts `rows` into the lists that go into one section each, of at most `most` rows and of about
/// 1 MiB, when each row takes about `weight` bytes.
pub fn cut<T>(rows: &[T], most: usize, weight: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&T| {
            let fits = bytes < FULL;
            bytes += weight(row);
            fits
        };
        let len = rest.iter().take(most).take_while(fits).count();
        let (section, after) = rest.split_at(len);
        rest = after;
        (!section.is_empty()).then_some(section)
    })
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
