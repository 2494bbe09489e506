//! [`protect`]: writes a parity. Knows nothing of damage.

use std::io::Write;

use rayon::prelude::*;

use crate::code::{self, Counts};
use crate::error::{Error, Result};
use crate::files::{File, read_shard};
use crate::layout::{HASH_LEN, Hash, Layout, Member, Place, Redundancy};
use crate::scratch::Scratch;

/// A shard is read and hashed in pieces of this length.
const PIECE_LEN: u64 = 256 << 10;

/// What a parity was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protected {
    /// How many bytes the files have.
    pub bytes: u64,
    /// How many bytes the parity has.
    pub parity_bytes: u64,
    /// How many shards the files were cut into.
    pub shards: usize,
    /// How many may be lost.
    pub recovery: usize,
    /// How long each is.
    pub shard_len: u64,
}

/// Writes the parity of `files` to `out`. The files are read twice, on all of rayon's threads, and must not change. Some
/// 100 MiB of memory are used, up to 200 for files of over 1 GiB, and where the parity has more than 256 MiB a temporary file as long as it.
///
/// # Errors
/// [`Error::TooMany`], [`Error::Io`] when a file cannot be read, or not be written to.
pub fn protect(
    files: &[File<'_>],
    redundancy: Redundancy,
    out: &mut dyn Write,
) -> Result<Protected> {
    let members = files.iter().map(|file| {
        let len = file.source.size().map_err(Error::io("read a file to protect"))?;
        Ok(Member { name: file.name.to_owned(), len })
    });
    let mut layout = Layout::plan(members.collect::<Result<_>>()?, redundancy)?;
    let (counts, shard_len) = (Counts::of(&layout), layout.shard_len);
    let places: Vec<Place> = layout.places().collect();
    let read = |place: &Place, buffer: &mut [u8], from: u64| {
        let Some(file) = files.get(place.file) else { return Ok(()) };
        let read = read_shard(file.source, place, buffer, from);
        read.map_err(Error::io("read a file to protect"))
    };
    let hash = |place: &Place| hash_of(place.len, |buffer, from| read(place, buffer, from));
    let mut hashes = places.par_iter().map(hash).collect::<Result<Vec<Hash>>>()?;

    let recovery_len = counts.recovery as u64 * shard_len;
    let mut made = Scratch::new(recovery_len).map_err(Error::io("make a temporary file"))?;
    let mut column = Vec::new();
    for span in code::columns(shard_len, counts.shards).filter(|_| counts.shards > 0) {
        let width = (span.end - span.start) as usize;
        column.resize(counts.shards * width, 0);
        let rows = column.par_chunks_exact_mut(width).zip(&places);
        rows.try_for_each(|(row, place)| read(place, row, span.start))?;
        let recovery = code::encode(counts, &column, width)?;
        for (number, row) in recovery.chunks_exact(width).enumerate() {
            let put = made.write_at(row, number as u64 * shard_len + span.start);
            put.map_err(Error::io("keep the parity in a temporary file"))?;
        }
    }
    let reread = |buffer: &mut [u8], at| {
        made.read_exact_at(buffer, at).map_err(Error::io("read a temporary file"))
    };
    let hash = |number: usize| {
        let start = number as u64 * shard_len;
        hash_of(shard_len, |buffer, from| reread(buffer, start + from))
    };
    hashes.extend((0..counts.recovery).into_par_iter().map(hash).collect::<Result<Vec<Hash>>>()?);
    layout.hashes = hashes;

    let block = layout.encode();
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(Error::io("write the parity"));
    put(&block)?;
    let mut piece = vec![0; PIECE_LEN.min(recovery_len) as usize];
    let mut at = 0;
    while at < recovery_len {
        piece.truncate((recovery_len - at).min(PIECE_LEN) as usize);
        reread(&mut piece, at)?;
        put(&piece)?;
        at += piece.len() as u64;
    }
    put(&block)?;
    put(&layout.footer())?;
    let bytes = layout.members.iter().map(|member| member.len).sum();
    let parity_bytes = 2 * block.len() as u64 + recovery_len + layout.footer().len() as u64;
    let Counts { shards, recovery } = counts;
    Ok(Protected { bytes, parity_bytes, shards, recovery, shard_len })
}

/// The hash of a shard of `len` bytes, of which `read` fills a buffer from a place in it on.
pub(crate) fn hash_of<E>(
    len: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<(), E>,
) -> Result<Hash, E> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_LEN.min(len) as usize];
    let mut at = 0;
    while at < len {
        piece.truncate((len - at).min(PIECE_LEN) as usize);
        read(&mut piece, at)?;
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    let mut hash = [0; HASH_LEN];
    hasher.finalize_xof().fill(&mut hash);
    Ok(hash)
}
