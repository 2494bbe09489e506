//! [`protect`]: writes a parity. Knows nothing of damage.

use std::io::Write;

use rayon::prelude::*;

use crate::Progress;
use crate::code::{self, Counts};
use crate::error::{Error, Result};
use crate::files::{File, read_shard};
use crate::layout::{HASH_LEN, Hash, Layout, Member, Place, Redundancy};
use crate::scratch::Scratch;

/// A shard is read and hashed in pieces of this length.
const PIECE_LEN: u64 = 256 << 10;

/// What a parity was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

/// Writes the parity of `files` to `out`, on all of rayon's threads. The files must not change. Up to 32 MiB, and from 2 GiB on, they are
/// read once, else twice. The parity is held until it is whole: up to 256 MiB in memory, more in a temporary file. Besides it some 50
/// MiB are used, and up to 150 for files of over 1 GiB. Counts the bytes of the files in `progress`.
///
/// # Errors
/// [`Error::TooMany`], [`Error::Io`] when a file cannot be read, or not be written to, [`Error::Cancelled`].
pub fn protect(
    files: &[File<'_>],
    redundancy: Redundancy,
    out: &mut dyn Write,
    progress: Option<&Progress>,
) -> Result<Protected> {
    let members = files.iter().map(|file| {
        let len = file.source.size().map_err(Error::io("read a file to protect"))?;
        Ok(Member { name: file.name.to_owned(), len })
    });
    put(files, Layout::plan(members.collect::<Result<_>>()?, redundancy)?, out, progress)
}

/// Writes the parity of files that are cut so.
fn put(
    files: &[File<'_>],
    mut layout: Layout,
    out: &mut dyn Write,
    progress: Option<&Progress>,
) -> Result<Protected> {
    let (shard_len, groups, recovery) = (layout.shard_len, layout.groups, layout.recovery());
    let places: Vec<Place> = layout.places().collect();
    let read = |place: &Place, buffer: &mut [u8], from: u64| {
        let Some(file) = files.get(place.file) else { return Ok(()) };
        let read = read_shard(file.source, place, buffer, from);
        read.map_err(Error::io("read a file to protect"))
    };
    let recovery_len = recovery as u64 * shard_len;
    let mut made = Scratch::new(recovery_len).map_err(Error::io("make a temporary file"))?;
    let mut column = Vec::new();
    for group in (0..groups).filter(|_| recovery > 0) {
        let counts = Counts::of(&layout, group);
        let places: Vec<Place> = places.iter().skip(group).step_by(groups).copied().collect();
        // Shards that are held whole are read once, others from front to back before.
        let is_whole = code::columns(&layout, counts.shards).nth(1).is_none();
        let mut hashes = Vec::new();
        if !is_whole {
            let hash = |place: &Place| {
                hash_of(place.len, |buffer, from| {
                    advance(progress, buffer.len() as u64)?;
                    read(place, buffer, from)
                })
            };
            hashes = places.par_iter().map(hash).collect::<Result<Vec<Hash>>>()?;
        }
        for span in code::columns(&layout, counts.shards) {
            let width = (span.end - span.start) as usize;
            column.resize(counts.shards * width, 0);
            let rows = column.par_chunks_exact_mut(width).zip(&places);
            if is_whole {
                let hash = |(row, place): (&mut [u8], &Place)| {
                    advance(progress, place.len)?;
                    read(place, row, 0)?;
                    Ok(hash_of_bytes(row.get(..place.len as usize).unwrap_or_default()))
                };
                hashes = rows.map(hash).collect::<Result<_>>()?;
            } else {
                rows.try_for_each(|(row, place)| {
                    advance(progress, 0)?;
                    read(place, row, span.start)
                })?;
            }
            let recovery = code::encode(counts, &column, width)?;
            for (row, bytes) in recovery.chunks_exact(width).enumerate() {
                let at = (row * groups + group) as u64 * shard_len + span.start;
                let put = made.write_at(bytes, at);
                put.map_err(Error::io("keep the parity in a temporary file"))?;
            }
        }
        let kept = layout.hashes.iter_mut().skip(group).step_by(groups);
        kept.zip(hashes).for_each(|(kept, hash)| *kept = hash);
    }
    let reread = |buffer: &mut [u8], at| {
        made.fill_at(buffer, at).map_err(Error::io("read a temporary file"))
    };
    let hash = |number: usize| {
        let start = number as u64 * shard_len;
        hash_of(shard_len, |buffer, from| reread(buffer, start + from))
    };
    let hashes = (0..recovery).into_par_iter().map(hash).collect::<Result<Vec<Hash>>>()?;
    let kept = layout.hashes.iter_mut().skip(layout.shards);
    kept.zip(hashes).for_each(|(kept, hash)| *kept = hash);

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
    Ok(Protected { bytes, parity_bytes, shards: layout.shards, recovery, shard_len })
}

/// Counts so many bytes of files, unless the work was cancelled.
pub(crate) fn advance(progress: Option<&Progress>, bytes: u64) -> Result<()> {
    let Some(progress) = progress else { return Ok(()) };
    progress.check()?;
    progress.add_bytes(bytes);
    Ok(())
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

/// The hash of a shard that is in memory.
pub(crate) fn hash_of_bytes(shard: &[u8]) -> Hash {
    let mut hash = [0; HASH_LEN];
    blake3::Hasher::new().update(shard).finalize_xof().fill(&mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parity;

    /// Promise: of several groups, each with its own shards of the file, what a burst and single bits take is made again, by the
    /// script that knows the format alone too; what one group cannot stand is an error, and nothing is made.
    #[test]
    fn groups_mend_each_for_itself() {
        let mut file = vec![0; 50_000];
        fastrand::Rng::with_seed(7).fill(&mut file);
        let mut layout = Layout::plan(
            vec![Member { name: String::new(), len: file.len() as u64 }],
            Redundancy::Share(10),
        )
        .unwrap();
        // 25 shards: nine, eight and eight of them in a group.
        (layout.shard_len, layout.shards, layout.groups) = (2048, 25, 3);
        layout.hashes = vec![Hash::default(); 25 + 6];
        let mut parity = Vec::new();
        let made = put(&[File::alone(&file)], layout, &mut parity, None).unwrap();
        assert_eq!((made.shards, made.recovery), (25, 6));
        let damaged = |shards: &[usize]| {
            let mut damaged = file.clone();
            shards.iter().for_each(|shard| damaged[shard * 2048 + 99] ^= 1);
            damaged
        };
        let mended = |damaged: &Vec<u8>| {
            let parity = Parity::open(parity.clone())?;
            let check = parity.check(&[Some(damaged)], None)?;
            let mut right = Vec::new();
            let mended = parity.mend(&[Some(damaged)], &check, None)?;
            mended.write(0, Some(damaged), &mut right, None)?;
            Ok(right)
        };
        let (burst, scattered) = ([6, 7, 8, 9, 10, 11], [0, 3, 13, 16, 20, 23]);
        for lost in [burst, scattered] {
            assert!(mended(&damaged(&lost)).is_ok_and(|right| right == file), "{lost:?}");
        }
        let beyond: Result<Vec<u8>> = mended(&damaged(&[0, 3, 6]));
        assert!(matches!(beyond, Err(Error::Beyond { lost: 3, shards: 9, mendable: 2 })));

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), damaged(&burst)).unwrap();
        std::fs::write(path("parity"), &parity).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mend.py");
        let run = std::process::Command::new("python3")
            .arg(script)
            .args([path("file"), path("parity"), path("mended")])
            .output();
        match run {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{said}");
                assert!(std::fs::read(path("mended")).unwrap() == file);
            }
            Err(error) => assert!(std::env::var_os("CI").is_none(), "python3: {error}"),
        }
    }
}
