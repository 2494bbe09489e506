//! [`Parity`]: a parity file that was opened, and [`Check`]: what is damaged. Knows no code.

use std::io;

use container::ReadAt;
use rayon::prelude::*;

use crate::Progress;
use crate::error::{Error, Result};
use crate::files::{is_loss, read_shard};
use crate::layout::{self, FOOTER_LEN, HEADER_LEN, Hash, Layout, MAGIC, Member, Place, Redundancy};
use crate::protect::{advance, hash_of};

/// A parity, of which the block at one of its ends was read.
pub struct Parity {
    pub(crate) source: Box<dyn ReadAt>,
    pub(crate) layout: Layout,
    /// Whether both ends are there, and the file is as long as they say.
    is_framed: bool,
}

/// What is damaged of files and their parity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it says what is damaged"]
pub struct Check {
    /// The numbers of the files' shards that are lost, in order.
    pub(crate) lost: Vec<usize>,
    /// The numbers of the recovery shards that are there, in order.
    pub(crate) sound_recovery: Vec<usize>,
    /// For each file whether all of it is as it was, its length too.
    files: Vec<bool>,
    shards: usize,
    is_parity_sound: bool,
    /// The group that has lost more than it can be given: how many, of how many, and how many could be.
    pub(crate) beyond: Option<[usize; 3]>,
}

impl Check {
    /// Whether all files and the parity are as they were.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.are_files_sound() && self.is_parity_sound
    }

    /// Whether all files are as they were.
    #[must_use]
    pub fn are_files_sound(&self) -> bool {
        self.files.iter().all(|sound| *sound)
    }

    /// Whether the parity is as it was.
    #[must_use]
    pub fn is_parity_sound(&self) -> bool {
        self.is_parity_sound
    }

    /// Whether that file is as it was.
    #[must_use]
    pub fn is_file_sound(&self, number: usize) -> bool {
        self.files.get(number).is_some_and(|sound| *sound)
    }

    /// Whether what is damaged can be made again.
    #[must_use]
    pub fn is_mendable(&self) -> bool {
        self.beyond.is_none()
    }

    /// How many shards of the files are damaged.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// How many shards the files have.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }
}

impl Parity {
    /// Opens a parity file: reads the block at its start or, if that is damaged, the one at its end.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Version`], [`Error::Io`].
    pub fn open(source: impl ReadAt + 'static) -> Result<Parity> {
        let source: Box<dyn ReadAt> = Box::new(source);
        let size = source.size().map_err(Error::io("read the parity"))?;
        let head = head(&*source, size);
        let tail = tail(&*source, size);
        let (layout, other) = match (head, tail) {
            (Ok(head), tail) => (head, tail),
            (Err(error), Ok(tail)) => (tail, Err(error)),
            (Err(error), Err(_)) => return Err(error),
        };
        let recovery = layout.recovery() as u64 * layout.shard_len;
        let len = 2 * layout.block_len() as u64 + recovery + FOOTER_LEN as u64;
        let is_framed = other.is_ok_and(|other| other == layout) && len == size;
        Ok(Parity { source, layout, is_framed })
    }

    /// The files that it was made of.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.layout.members
    }

    /// Whether it is what [`protect`](crate::protect) makes of files of these lengths, its bytes not considered.
    #[must_use]
    pub fn is_made_so(&self, lens: &[u64], redundancy: Redundancy) -> bool {
        let members = self.members().iter().zip(lens);
        let members = members.map(|(member, len)| Member { len: *len, ..member.clone() });
        let planned = Layout::plan(members.collect(), redundancy);
        let shape = |layout: &Layout| {
            (layout.members.clone(), layout.shard_len, layout.hashes.len(), layout.groups)
        };
        self.is_framed
            && lens.len() == self.members().len()
            && planned.is_ok_and(|planned| shape(&planned) == shape(&self.layout))
    }

    /// How many percent of its file it makes again: at least what was asked for when it was made, and as many shards.
    #[must_use]
    pub fn percent(&self) -> u32 {
        let rows = self.layout.shards.div_ceil(self.layout.groups);
        let recovery = self.layout.recovery_each();
        let fits = |percent: &u32| (rows * *percent as usize).div_ceil(100) < recovery;
        (1..=100).rev().find(fits).unwrap_or(1)
    }

    /// How many shards may be damaged, at most.
    #[must_use]
    pub fn recovery(&self) -> usize {
        self.layout.recovery()
    }

    /// Reads all of the files, each of which may be missing, and of the parity, and finds what is not as it was. What cannot
    /// be read is lost.
    ///
    /// # Errors
    /// [`Error::Io`] for a failure that says nothing of the file, such as too many open files. [`Error::Other`] when not
    /// a single shard of the files is as it was, and they are there. [`Error::Cancelled`].
    pub fn check(
        &self,
        files: &[Option<&dyn ReadAt>],
        progress: Option<&Progress>,
    ) -> Result<Check> {
        let Layout { members, shard_len, shards, .. } = &self.layout;
        let file = |number: usize| files.get(number).copied().flatten();
        let mut sizes = Vec::with_capacity(members.len());
        for number in 0..members.len() {
            sizes.push(file(number).map(ReadAt::size).transpose().map_err(Error::io("read"))?);
        }
        let places: Vec<Place> = self.layout.places().collect();
        let is_sound = |place: &Place, hash: &Hash| -> Result<bool> {
            advance(progress, place.len)?;
            let Some(source) = file(place.file) else { return Ok(false) };
            // Nothing beyond the end is read, whatever length the parity says.
            let end = place.offset + place.len;
            if sizes.get(place.file).copied().flatten().is_none_or(|size| size < end) {
                return Ok(false);
            }
            is_as_it_was(place.len, hash, |buffer, from| read_shard(source, place, buffer, from))
        };
        let (of_files, of_recovery) = self.layout.hashes.split_at(*shards);
        let sound = places.par_iter().zip(of_files);
        let sound = sound.map(|(place, hash)| is_sound(place, hash));
        let sound = sound.collect::<Result<Vec<bool>>>()?;
        let sound_recovery = of_recovery.par_iter().enumerate().map(|(number, hash)| {
            let start = self.recovery_at(number);
            advance(progress, 0)?;
            is_as_it_was(*shard_len, hash, |buffer, from| self.source.fill_at(buffer, start + from))
        });
        let sound_recovery = numbers(&sound_recovery.collect::<Result<Vec<bool>>>()?, true);
        if files.iter().any(Option::is_some) && *shards > 0 && !sound.contains(&true) {
            return Err(Error::Other);
        }
        let as_long = |number: usize, member: &Member| {
            sizes.get(number).copied().flatten() == Some(member.len)
        };
        let mut of_file: Vec<bool> =
            members.iter().enumerate().map(|(number, member)| as_long(number, member)).collect();
        for (place, sound) in places.iter().zip(&sound) {
            if let Some(of_file) = of_file.get_mut(place.file) {
                *of_file &= sound;
            }
        }
        let lost = numbers(&sound, false);
        Ok(Check {
            beyond: self.beyond(&lost, &sound_recovery),
            lost,
            is_parity_sound: self.is_framed && sound_recovery.len() == self.recovery(),
            sound_recovery,
            files: of_file,
            shards: *shards,
        })
    }

    /// [`Check::beyond`], when these are lost, and those recovery shards there.
    fn beyond(&self, lost: &[usize], sound_recovery: &[usize]) -> Option<[usize; 3]> {
        let groups = self.layout.groups;
        let mut counts = vec![(0, 0); groups];
        for number in lost {
            counts.get_mut(number % groups)?.0 += 1;
        }
        for number in sound_recovery {
            counts.get_mut(number % groups)?.1 += 1;
        }
        let beyond = counts.iter().enumerate().find(|(_, (lost, there))| lost > there);
        beyond.map(|(group, (lost, there))| [*lost, self.layout.shards_of(group).count(), *there])
    }

    /// Where a recovery shard lies.
    pub(crate) fn recovery_at(&self, number: usize) -> u64 {
        self.layout.block_len() as u64 + number as u64 * self.layout.shard_len
    }
}

impl std::fmt::Debug for Parity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parity").field("members", &self.members()).finish_non_exhaustive()
    }
}

/// Whether a shard of `len` bytes has its hash. One that cannot be read has not.
fn is_as_it_was(
    len: u64,
    hash: &Hash,
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
) -> Result<bool> {
    match hash_of(len, read) {
        Ok(found) => Ok(found == *hash),
        Err(error) if is_loss(&error) => Ok(false),
        Err(error) => Err(Error::io("read")(error)),
    }
}

/// The places at which `all` is `wanted`.
fn numbers(all: &[bool], wanted: bool) -> Vec<usize> {
    all.iter().enumerate().filter(|(_, it)| **it == wanted).map(|(number, _)| number).collect()
}

fn head(source: &dyn ReadAt, size: u64) -> Result<Layout> {
    let mut header = [0; HEADER_LEN];
    read(source, size, &mut header, 0)?;
    block(source, size, 0, Layout::len_of(&header)?)
}

fn tail(source: &dyn ReadAt, size: u64) -> Result<Layout> {
    let mut footer = [0; FOOTER_LEN];
    let at = size.saturating_sub(FOOTER_LEN as u64);
    read(source, size, &mut footer, at)?;
    let [a, b, c, d, magic @ ..] = footer;
    if magic != MAGIC {
        return Err(layout::unreadable("it does not end as one"));
    }
    let len = layout::checked_len(u32::from_le_bytes([a, b, c, d]) as usize)?;
    let at = at.checked_sub(len as u64).ok_or_else(|| layout::unreadable("it is too short"))?;
    block(source, size, at, len)
}

/// The block of `len` bytes at `at`. No memory is taken for what is not there.
fn block(source: &dyn ReadAt, size: u64, at: u64, len: usize) -> Result<Layout> {
    if size.saturating_sub(at) < len as u64 {
        return Err(layout::unreadable("it is cut short"));
    }
    let mut block = vec![0; len];
    read(source, size, &mut block, at)?;
    Layout::decode(&block)
}

fn read(source: &dyn ReadAt, size: u64, buffer: &mut [u8], at: u64) -> Result<()> {
    if size.saturating_sub(at) < buffer.len() as u64 {
        return Err(layout::unreadable("it is cut short"));
    }
    source.fill_at(buffer, at).map_err(|error| match is_loss(&error) {
        true => layout::unreadable("it cannot be read"),
        false => Error::io("read the parity")(error),
    })
}
