//! [`Mended`]: the shards that were lost, made again, and the files as they were. Knows nothing of where files are kept.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use container::ReadAt;
use rayon::prelude::*;

use crate::Progress;
use crate::check::{Check, Parity};
use crate::code::{self, Counts, Known};
use crate::error::{Error, Result};
use crate::files::read_shard;
use crate::layout::{Hash, Layout, Place};
use crate::protect::{advance, hash_of, hash_of_bytes};
use crate::scratch::Scratch;

/// So many bytes of shards are read at once, on all threads, while those before them are written.
const HELD_LEN: u64 = 8 << 20;

/// So many bytes are written at once. Of many more a kernel makes large pages, for which it may have to look far.
const PUT_LEN: usize = 64 << 10;

/// What was lost of files, made again. Up to 256 MiB of it are in memory, more is in a temporary file.
pub struct Mended {
    layout: Layout,
    /// The numbers of the lost shards, in order.
    lost: Vec<usize>,
    /// These, one after the other.
    made: Scratch,
}

impl Parity {
    /// Makes again what a [check](Parity::check) of these files found lost. Reads all that is left, once.
    ///
    /// # Errors
    /// [`Error::Beyond`] when more is lost than can be made again, [`Error::Changed`] when files or parity are not as they
    /// were checked, [`Error::Io`], [`Error::Cancelled`].
    pub fn mend(
        &self,
        files: &[Option<&dyn ReadAt>],
        check: &Check,
        progress: Option<&Progress>,
    ) -> Result<Mended> {
        let (layout, lost) = (&self.layout, &check.lost);
        if let Some([lost, shards, mendable]) = check.beyond {
            return Err(Error::Beyond { lost, shards, mendable });
        }
        let made = Scratch::new(lost.len() as u64 * layout.shard_len);
        let mut made = made.map_err(Error::io("make a temporary file"))?;
        let places: Vec<Place> = layout.places().collect();
        let mut column = Vec::new();
        for group in 0..layout.groups {
            advance(progress, 0)?;
            self.mend_group(group, (files, &places), check, &mut column, &mut made)?;
        }
        let mended = Mended { layout: layout.clone(), lost: lost.clone(), made };
        let is_right = |(number, shard): (usize, &usize)| {
            let start = number as u64 * layout.shard_len;
            let read = |buffer: &mut [u8], from| mended.made.fill_at(buffer, start + from);
            let len = places.get(*shard).map_or(0, |place| place.len);
            let hash = hash_of(len, read).map_err(Error::io("read a temporary file"))?;
            match layout.hashes.get(*shard) {
                Some(expected) if *expected == hash => Ok(()),
                _ => Err(Error::Changed),
            }
        };
        mended.lost.par_iter().enumerate().try_for_each(is_right)?;
        Ok(mended)
    }

    /// Makes again what one group has lost, if it has. `column` is memory to use.
    fn mend_group(
        &self,
        group: usize,
        (files, places): (&[Option<&dyn ReadAt>], &[Place]),
        check: &Check,
        column: &mut Vec<u8>,
        made: &mut Scratch,
    ) -> Result<()> {
        let (layout, groups) = (&self.layout, self.layout.groups);
        let is_ours = |number: &&usize| **number % groups == group;
        // Where in what is lost of all groups these are, and which rows of their group.
        let (kept_at, lost): (Vec<usize>, Vec<usize>) = check
            .lost
            .iter()
            .enumerate()
            .filter(|(_, number)| is_ours(number))
            .map(|(at, number)| (at, number / groups))
            .unzip();
        if lost.is_empty() {
            return Ok(());
        }
        let counts = Counts::of(layout, group);
        let is_left = |row: &usize| lost.binary_search(row).is_err();
        let left: Vec<usize> = (0..counts.shards).filter(is_left).collect();
        let recovery = check.sound_recovery.iter().filter(is_ours).take(lost.len());
        let recovery: Vec<usize> = recovery.map(|number| number / groups).collect();
        let rows: Vec<Row> = left
            .iter()
            .filter_map(|row| places.get(row * groups + group).copied().map(Row::Shard))
            .chain(recovery.iter().map(|row| Row::Recovery(row * groups + group)))
            .collect();
        let read = |row: &Row, buffer: &mut [u8], from: u64| match *row {
            Row::Shard(place) => {
                let source = files.get(place.file).copied().flatten();
                read_shard(source.ok_or(io::ErrorKind::NotFound)?, &place, buffer, from)
            }
            Row::Recovery(number) => self.source.fill_at(buffer, self.recovery_at(number) + from),
        };
        for span in code::columns(layout, rows.len()) {
            let width = (span.end - span.start) as usize;
            column.resize(rows.len() * width, 0);
            let filled = column.par_chunks_exact_mut(width).zip(&rows);
            let filled = filled.try_for_each(|(buffer, row)| read(row, buffer, span.start));
            filled.map_err(Error::io("read what is left"))?;
            let known = Known { column, shards: &left, recovery: &recovery, lost: &lost };
            let mended = code::decode(counts, &known, width)?;
            for (row, at) in mended.chunks_exact(width).zip(&kept_at) {
                let put = made.write_at(row, *at as u64 * layout.shard_len + span.start);
                put.map_err(Error::io("keep what was mended in a temporary file"))?;
            }
        }
        Ok(())
    }
}

/// Where a row of a column comes from.
enum Row {
    Shard(Place),
    Recovery(usize),
}

impl Mended {
    /// How many shards were made again.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.lost.len()
    }

    /// A file as it was, of which `damaged` has what is left.
    #[must_use]
    pub fn file<'a>(&'a self, number: usize, damaged: Option<&'a dyn ReadAt>) -> MendedFile<'a> {
        MendedFile { mended: self, number, damaged }
    }

    /// How long a file is.
    pub(crate) fn len(&self, number: usize) -> u64 {
        self.layout.members.get(number).map_or(0, |member| member.len)
    }

    /// [`ReadAt::fill_at`] of a file.
    pub(crate) fn read(
        &self,
        number: usize,
        damaged: Option<&dyn ReadAt>,
        mut buffer: &mut [u8],
        mut offset: u64,
    ) -> io::Result<()> {
        let (len, shard_len) = (self.len(number), self.layout.shard_len);
        if len.saturating_sub(offset) < buffer.len() as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = self.layout.first_shard(number);
        while !buffer.is_empty() {
            let (shard, within) = (offset / shard_len, offset % shard_len);
            let here = (shard_len - within).min(buffer.len() as u64) as usize;
            let (now, later) = buffer.split_at_mut(here);
            match self.lost.binary_search(&(first + shard as usize)) {
                Ok(at) => self.made.fill_at(now, at as u64 * shard_len + within)?,
                Err(_) => {
                    let damaged = damaged.ok_or(io::ErrorKind::NotFound)?;
                    damaged.fill_at(now, offset)?;
                }
            }
            (buffer, offset) = (later, offset + here as u64);
        }
        Ok(())
    }

    /// Writes a file as it was to `out`, and compares each of its shards with its hash meanwhile: only when this returns
    /// without an error is what was written right.
    ///
    /// # Errors
    /// [`Error::Changed`], [`Error::Io`], [`Error::Cancelled`].
    pub fn write(
        &self,
        number: usize,
        damaged: Option<&dyn ReadAt>,
        out: &mut dyn Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        let places = self.layout.places().zip(&self.layout.hashes);
        let places: Vec<_> = places.filter(|(place, _)| place.file == number).collect();
        let mut put = |bytes: &[u8]| {
            advance(progress, bytes.len() as u64)?;
            let mut pieces = bytes.chunks(PUT_LEN);
            let put = pieces.try_for_each(|piece| out.write_all(piece));
            put.map_err(Error::io("write what was mended"))
        };
        let shard_len = self.layout.shard_len;
        let Some(held) = NonZeroUsize::new((HELD_LEN / shard_len) as usize) else {
            // One that is too long to be held is written while it is read.
            return places.iter().try_for_each(|(place, expected)| {
                self.read_checked(place, damaged, expected, &mut put)
            });
        };
        let read = |places: &[(Place, &Hash)], buffer: &mut Vec<u8>| {
            buffer.resize(places.iter().map(|(place, _)| place.len as usize).sum(), 0);
            let shards = buffer.par_chunks_mut(shard_len as usize).zip(places);
            shards.try_for_each(|(shard, (place, expected))| {
                let read = self.read(place.file, damaged, shard, place.offset);
                read.map_err(Error::io("read what is left"))?;
                if hash_of_bytes(shard) == **expected { Ok(()) } else { Err(Error::Changed) }
            })
        };
        // Some are read while those before them are written.
        let (mut ready, mut next) = (Vec::new(), Vec::new());
        for places in places.chunks(held.get()) {
            let (mut was_read, mut was_put) = (Ok(()), Ok(()));
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| was_read = read(places, &mut next));
                was_put = put(&ready);
            });
            was_put.and(was_read)?;
            std::mem::swap(&mut ready, &mut next);
        }
        put(&ready)
    }

    /// Reads a shard of a file, gives `keep` its bytes, and compares them with their hash.
    fn read_checked(
        &self,
        place: &Place,
        damaged: Option<&dyn ReadAt>,
        expected: &Hash,
        mut keep: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let hash = hash_of(place.len, |piece: &mut [u8], from| {
            let read = self.read(place.file, damaged, piece, place.offset + from);
            read.map_err(Error::io("read what is left"))?;
            keep(piece)
        })?;
        if hash == *expected { Ok(()) } else { Err(Error::Changed) }
    }
}

/// A file as it was: what is left of it, with what was lost in its place.
pub struct MendedFile<'a> {
    mended: &'a Mended,
    number: usize,
    damaged: Option<&'a dyn ReadAt>,
}

impl fmt::Debug for MendedFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MendedFile").field("number", &self.number).finish_non_exhaustive()
    }
}

impl ReadAt for MendedFile<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.mended.len(self.number))
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.mended.read(self.number, self.damaged, buffer, offset)
    }
}

impl std::fmt::Debug for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mended").field("shards", &self.shards()).finish_non_exhaustive()
    }
}
