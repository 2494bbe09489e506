//! [`Layout`]: how files are cut into shards, and the block that says so at both ends of a parity file. Knows no code and
//! reads no file.

use std::fmt;

use crate::error::{Error, Result};

/// What a parity file begins with: our magic, its kind, its version.
pub(crate) const MAGIC: [u8; 8] = *b"\x89IBTPRTY";
const VERSION: u32 = 1;
/// Magic, version, length of the block, how many files, shards, recovery shards and groups, length of a shard.
pub(crate) const HEADER_LEN: usize = 40;
/// The length of the block before it, and the magic again.
pub(crate) const FOOTER_LEN: usize = 12;
/// The digest at the end of a block.
const DIGEST_LEN: usize = 32;
/// How much of a shard's BLAKE3 is kept.
pub(crate) const HASH_LEN: usize = 16;
/// The most shards of a group, and the most files. The code takes 65,536, with those that are computed rounded up to a power of two.
pub(crate) const MAX_SHARDS: usize = 32_767;
/// The most recovery shards of a group.
pub(crate) const MAX_RECOVERY: usize = 32_768;
/// The most shards of all groups.
const MAX_ALL_SHARDS: u64 = 1 << 18;
/// A block has no more bytes than this.
pub(crate) const MAX_BLOCK_LEN: usize = 16 << 20;
const MAX_NAME_LEN: usize = 255;
/// Shards are no shorter and, while one group takes them, no longer.
const SHARD_LENS: (u64, u64) = (2 << 10, 64 << 10);
/// Of several groups each has about so many bytes: they are in memory together. With up to 13% of parity they have no more shards than
/// the power of two above, for which the code takes its time.
pub(crate) const GROUP_LEN: u64 = 112 << 20;
/// Shards as long as this are read from a hard disk in nearly the time that it takes to read all in a row. No more are needed.
const GROUPED_SHARD_LEN: u64 = 1 << 20;
/// Files up to the longest of these shards' have at least half so many shards.
const AIM: u64 = 1024;
/// Shards are a multiple of this long, as the code wants them.
const UNIT: u64 = 64;
/// About so many shards a short file has at least, if it is not shorter than that many units.
const LEAST_SHARDS: u64 = 16;
/// No shard is longer: with it, no file has more than 2^55 bytes, and nothing overflows.
const MAX_SHARD_LEN: u64 = 1 << 40;

/// The hash that shows whether a shard is as it was.
pub(crate) type Hash = [u8; HASH_LEN];

/// How much can be lost and still be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redundancy {
    /// So many percent of the files, from 1 to 100.
    Share(u32),
    /// The largest of the files, whole.
    LargestFile,
    /// Files, whole: as many at most, with so many bytes together.
    Files {
        /// How many.
        count: usize,
        /// How many bytes.
        bytes: u64,
    },
}

impl fmt::Display for Redundancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Redundancy::Share(percent) => write!(f, "{percent} %"),
            Redundancy::LargestFile => f.pad("the largest file"),
            Redundancy::Files { count, bytes } => write!(f, "{count} files of {bytes} bytes"),
        }
    }
}

impl Redundancy {
    /// The share where nobody says one.
    pub const DEFAULT_PERCENT: u32 = 5;

    /// A share in percent.
    ///
    /// # Errors
    /// [`Error::Share`].
    pub fn percent(percent: u32) -> Result<Redundancy> {
        match percent {
            1..=100 => Ok(Redundancy::Share(percent)),
            _ => Err(Error::Share { percent }),
        }
    }
}

/// A file that a parity was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// What it is called; nothing where it is the file beside the parity.
    pub name: String,
    /// How many bytes it has.
    pub len: u64,
}

/// What a parity file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) members: Vec<Member>,
    pub(crate) shard_len: u64,
    /// One of each shard of the files, in order, then one of each recovery shard.
    pub(crate) hashes: Vec<Hash>,
    /// How many of these are of the files.
    pub(crate) shards: usize,
    /// How many groups they are in, of both kinds: number n is in group n modulo this.
    pub(crate) groups: usize,
}

/// Where a shard lies: in which file, from where on, and how many bytes of it are there. Zeros follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Layout {
    /// How files of these names and lengths are cut; without hashes yet.
    pub(crate) fn plan(members: Vec<Member>, redundancy: Redundancy) -> Result<Layout> {
        let too_many = Error::TooMany { most: MAX_SHARDS };
        let fits = |member: &Member| member.name.len() <= MAX_NAME_LEN;
        if members.len() > MAX_SHARDS || !members.iter().all(fits) {
            return Err(too_many);
        }
        let whole = members.iter().fold(0, |len: u64, member| len.saturating_add(member.len));
        let aim = whole.div_ceil(AIM).checked_next_power_of_two().unwrap_or(MAX_SHARD_LEN);
        // A short file has some shards too: where the only one is damaged, nothing shows whose parity it is.
        let least = (whole / LEAST_SHARDS).next_power_of_two().clamp(UNIT, SHARD_LENS.0);
        let mut shard_len = aim.clamp(least, SHARD_LENS.1);
        let shards = |len: u64| members.iter().map(|it| it.len.div_ceil(len)).sum::<u64>();
        let is_one_group = shards(shard_len) <= MAX_SHARDS as u64;
        let most = |len| if len < GROUPED_SHARD_LEN { MAX_SHARDS as u64 } else { MAX_ALL_SHARDS };
        while shards(shard_len) > most(shard_len) {
            shard_len *= 2;
            if shard_len > MAX_SHARD_LEN {
                return Err(too_many);
            }
        }
        let count = shards(shard_len) as usize;
        let rows = (GROUP_LEN / shard_len).max(GROUP_LEN / GROUPED_SHARD_LEN) as usize;
        let groups = if is_one_group { 1 } else { count.div_ceil(rows) };
        let rows = count.div_ceil(groups);
        // What lies in a row is in one group after the other, so of it each has as many, or one more.
        let recovery = match redundancy {
            _ if count == 0 => 0,
            // One more, since a burst seldom begins where a shard does.
            Redundancy::Share(percent) => (rows * percent as usize).div_ceil(100) + 1,
            // The last shard of each may be a short one.
            Redundancy::Files { count: files, bytes } => {
                let whole = usize::try_from(bytes / shard_len).unwrap_or(count);
                whole.saturating_add(files).div_ceil(groups).min(rows)
            }
            Redundancy::LargestFile => {
                let lens = members.iter().map(|member| member.len.div_ceil(shard_len));
                (lens.max().unwrap_or_default() as usize).div_ceil(groups)
            }
        };
        let hashes = vec![Hash::default(); count + recovery * groups];
        Ok(Layout { members, shard_len, hashes, shards: count, groups })
    }

    /// How many recovery shards there are.
    pub(crate) fn recovery(&self) -> usize {
        self.hashes.len() - self.shards
    }

    /// The numbers of the shards of a group, in order.
    pub(crate) fn shards_of(&self, group: usize) -> impl Iterator<Item = usize> {
        (group..self.shards).step_by(self.groups)
    }

    /// How many recovery shards each group has.
    pub(crate) fn recovery_each(&self) -> usize {
        self.recovery() / self.groups
    }

    /// Where each shard of the files lies, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let shard_len = self.shard_len;
        self.members.iter().enumerate().flat_map(move |(file, member)| {
            let shards = 0..member.len.div_ceil(shard_len);
            shards.map(move |number| {
                let offset = number * shard_len;
                Place { file, offset, len: shard_len.min(member.len - offset) }
            })
        })
    }

    /// The number of the first shard of a file.
    pub(crate) fn first_shard(&self, file: usize) -> usize {
        let before = self.members.iter().take(file);
        before.map(|member| member.len.div_ceil(self.shard_len) as usize).sum()
    }

    /// How many bytes the block has.
    pub(crate) fn block_len(&self) -> usize {
        let members = self.members.iter().map(|member| 10 + member.name.len());
        HEADER_LEN + members.sum::<usize>() + self.hashes.len() * HASH_LEN + DIGEST_LEN
    }

    /// The block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.block_len());
        block.extend(MAGIC);
        block.extend(VERSION.to_le_bytes());
        let counts = [self.block_len(), self.members.len(), self.shards, self.recovery()];
        let counts = counts.into_iter().chain([self.groups]);
        counts.for_each(|count| block.extend((count as u32).to_le_bytes()));
        block.extend(self.shard_len.to_le_bytes());
        for member in &self.members {
            block.extend(member.len.to_le_bytes());
            block.extend((member.name.len() as u16).to_le_bytes());
            block.extend(member.name.as_bytes());
        }
        self.hashes.iter().for_each(|hash| block.extend(hash));
        block.extend(blake3::hash(&block).as_bytes());
        block
    }

    /// What follows the block at the end of the file.
    pub(crate) fn footer(&self) -> [u8; FOOTER_LEN] {
        let mut footer = [0; FOOTER_LEN];
        let (len, magic) = footer.split_at_mut(4);
        len.copy_from_slice(&(self.block_len() as u32).to_le_bytes());
        magic.copy_from_slice(&MAGIC);
        footer
    }

    /// How long the block is that begins with `header`.
    pub(crate) fn len_of(header: &[u8]) -> Result<usize> {
        let mut bytes = Bytes(header);
        if bytes.take(8)? != MAGIC {
            return Err(unreadable("it does not begin as one"));
        }
        match bytes.u32()? {
            VERSION => checked_len(bytes.u32()? as usize),
            version => Err(Error::Version { version }),
        }
    }

    /// Reads a block.
    pub(crate) fn decode(block: &[u8]) -> Result<Layout> {
        if Layout::len_of(block)? != block.len() {
            return Err(unreadable("its block has another length than it says"));
        }
        let (said, digest) = block.split_at(block.len() - DIGEST_LEN);
        if blake3::hash(said).as_bytes() != digest {
            return Err(unreadable("its block does not match its digest"));
        }
        let mut bytes = Bytes(said);
        bytes.take(16)?;
        let mut count = || Ok::<_, Error>(bytes.u32()? as usize);
        let [files, shards, recovery, groups] = [count()?, count()?, count()?, count()?];
        let shard_len = bytes.u64()?;
        let sound_groups = (1..=shards.max(1)).contains(&groups) && recovery.is_multiple_of(groups);
        let fits = files <= MAX_SHARDS
            && sound_groups
            && shards.div_ceil(groups) <= MAX_SHARDS
            && recovery / groups <= MAX_RECOVERY;
        let sound_len = shard_len % UNIT == 0 && (UNIT..=MAX_SHARD_LEN).contains(&shard_len);
        if !fits || !sound_len || (shards == 0) != (recovery == 0) {
            return Err(unreadable("it names numbers that no parity has"));
        }
        let mut members = Vec::new();
        for _ in 0..files {
            let len = bytes.u64()?;
            let name = bytes.u16()?;
            let name = String::from_utf8(bytes.take(usize::from(name))?.to_vec());
            let name = name.map_err(|_| unreadable("a name in it is no text"))?;
            members.push(Member { name, len });
        }
        let counted = members.iter().map(|member| member.len.div_ceil(shard_len));
        let counted = counted.fold(0, u64::saturating_add);
        let hashes_len = (shards as u64 + recovery as u64) * HASH_LEN as u64;
        if counted != shards as u64 || bytes.0.len() as u64 != hashes_len {
            return Err(unreadable("its numbers do not agree"));
        }
        let hashes = bytes.0.chunks_exact(HASH_LEN).filter_map(|hash| hash.try_into().ok());
        Ok(Layout { members, shard_len, hashes: hashes.collect(), shards, groups })
    }
}

/// A length that a block may have.
pub(crate) fn checked_len(len: usize) -> Result<usize> {
    match (HEADER_LEN + DIGEST_LEN..=MAX_BLOCK_LEN).contains(&len) {
        true => Ok(len),
        false => Err(unreadable("it says a length that no block has")),
    }
}

pub(crate) fn unreadable(problem: impl Into<String>) -> Error {
    Error::Unreadable { problem: problem.into() }
}

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or_else(|| unreadable("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN]> {
        self.take(LEN)?.try_into().map_err(|_| unreadable("it ends too soon"))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(len: u64, percent: u32) -> Layout {
        Layout::plan(vec![Member { name: String::new(), len }], Redundancy::Share(percent)).unwrap()
    }

    /// Promise: a group of a large file fits into memory, is read in long pieces, and stands a burst of the share wherever it lies.
    #[test]
    fn large_files_are_cut_into_groups() {
        for (len, shard_len, groups) in [
            ((2 << 30) - (64 << 10), 64 << 10, 1),
            (2 << 30, 128 << 10, 19),
            (3 << 30, 128 << 10, 28),
            (15 << 30, 512 << 10, 138),
            (16 << 30, 1 << 20, 147),
            (100 << 30, 1 << 20, 915),
            (256 << 30, 1 << 20, 2341),
            (1 << 40, 4 << 20, 2341),
        ] {
            let layout = plan(len, 5);
            let shape = (layout.shard_len, layout.groups);
            let shards = len.div_ceil(layout.shard_len) as usize;
            assert_eq!((shape, layout.shards), ((shard_len, groups), shards), "{len}");
            let rows = layout.shards_of(0).count();
            assert!(groups == 1 || rows as u64 * shard_len.min(1 << 20) <= GROUP_LEN, "{len}");
            let burst = (len / 20).div_ceil(shard_len) as usize + 1;
            assert!(burst.div_ceil(groups) <= layout.recovery_each(), "{len}");
            assert!(Layout::decode(&layout.encode()).is_ok_and(|read| read == layout), "{len}");
        }
        assert!(plan(256 << 30, 100).block_len() <= MAX_BLOCK_LEN);
    }
}
