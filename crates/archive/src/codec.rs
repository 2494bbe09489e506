//! One frame from some bytes and back, exactly: gzip members and zstd frames. The only
//! module that knows compression; it knows nothing of tar or of where a frame lies.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::Path;

use flate2::{Crc, Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use zstd::zstd_safe;

use crate::Error;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Format {
    /// gzip members: `.tgz`, `.tar.gz`.
    #[default]
    Gzip,
    /// zstd frames: `.tar.zst`, `.tzst`.
    Zstd,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        })
    }
}

/// A gzip member's header as we write it: deflate, no flags, no time, no name, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// CRC-32 and length.
const GZIP_FOOTER_LEN: usize = 8;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Format {
    /// The format that an archive's name asks for, if its ending is one of those above.
    pub fn from_name(path: impl AsRef<Path>) -> Option<Format> {
        let name = path.as_ref().as_os_str().as_encoded_bytes().to_ascii_lowercase();
        let ends = |endings: [&str; 2]| endings.iter().any(|end| name.ends_with(end.as_bytes()));
        if ends([".tgz", ".tar.gz"]) {
            Some(Format::Gzip)
        } else {
            ends([".tar.zst", ".tzst"]).then_some(Format::Zstd)
        }
    }

    /// The format whose frame `input` begins with, if it is one of ours.
    pub(crate) fn of(input: &[u8]) -> Option<Format> {
        let begins = |magic: &[u8], format| input.starts_with(magic).then_some(format);
        begins(&GZIP_HEADER, Format::Gzip).or_else(|| begins(&ZSTD_MAGIC, Format::Zstd))
    }

    /// The level used unless another is asked for.
    #[must_use]
    pub fn default_level(self) -> i32 {
        match self {
            Format::Gzip => 6,
            Format::Zstd => 3,
        }
    }
}

/// How frames are compressed: a format and one of its levels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packer {
    pub(crate) format: Format,
    level: i32,
}

impl Packer {
    /// Checks the level, `None` being the format's default.
    pub(crate) fn new(format: Format, level: Option<i32>) -> Result<Packer, Error> {
        let (name, least, most) = match format {
            Format::Gzip => ("gzip", 0, 12),
            Format::Zstd => ("zstd", 1, 19),
        };
        let level = level.unwrap_or(format.default_level());
        if level < least || level > most {
            return Err(Error::Level { level, format: name, least, most });
        }
        Ok(Packer { format, level })
    }

    /// `chunk` as one frame. The same chunk gives the same bytes.
    pub(crate) fn pack(self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self.format {
            Format::Gzip => gzip(chunk, self.level),
            Format::Zstd => zstd(chunk, self.level),
        }
    }
}

/// A compressor and its level, and room for what it makes.
type Kept<C> = RefCell<Option<(i32, C, Vec<u8>)>>;

thread_local! {
    // Each thread's own: to set them up anew for each frame took 3% of a full backup's processor time.
    static ZSTD: Kept<zstd::bulk::Compressor<'static>> = const { RefCell::new(None) };
    static GZIP: Kept<Compressor> = const { RefCell::new(None) };
}

/// Calls `work` with the compressor of `level` that is kept, or that `make` makes.
fn with_kept<C>(
    kept: &Kept<C>,
    level: i32,
    make: impl FnOnce() -> io::Result<C>,
    work: impl FnOnce(&mut C, &mut Vec<u8>) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let mut kept = kept.borrow_mut();
    let (_, compressor, room) = match kept.take_if(|(kept, ..)| *kept == level) {
        Some(same) => kept.insert(same),
        None => kept.insert((level, make()?, Vec::new())),
    };
    work(compressor, room)
}

fn zstd(chunk: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let make = || {
        let mut zstd = zstd::bulk::Compressor::new(level)?;
        zstd.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
        Ok(zstd)
    };
    let pack = |zstd: &mut zstd::bulk::Compressor<'static>, room: &mut Vec<u8>| {
        room.clear();
        room.reserve(zstd_safe::compress_bound(chunk.len()));
        zstd.compress_to_buffer(chunk, room)?;
        Ok(room.as_slice().to_vec())
    };
    ZSTD.with(|kept| with_kept(kept, level, make, pack))
}

/// Compressed by libdeflate, which at one size is a third faster than zlib's fastest
/// descendant, and gives the same bytes on any processor. It sees no bytes but the tree's own: what
/// comes from outside is unpacked by Rust.
fn gzip(chunk: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let make = || {
        let level = CompressionLvl::new(level).map_err(|_| io::Error::other("no such level"))?;
        Ok(Compressor::new(level))
    };
    let pack = |deflate: &mut Compressor, room: &mut Vec<u8>| {
        let bound = deflate.deflate_compress_bound(chunk.len());
        if room.len() < bound {
            room.resize(bound, 0);
        }
        let packed = deflate.deflate_compress(chunk, room).map_err(io::Error::other)?;
        let mut crc = Crc::new();
        crc.update(chunk);
        let footer = [crc.sum().to_le_bytes(), (chunk.len() as u32).to_le_bytes()];
        let body = room.get(..packed).unwrap_or_default();
        Ok([&GZIP_HEADER[..], body, footer.as_flattened()].concat())
    };
    GZIP.with(|kept| with_kept(kept, level, make, pack))
}

impl Format {
    /// Unpacks the frame that `input` begins with into `out` and returns its packed length.
    /// Never unpacks more than `limit` bytes and one to notice.
    ///
    /// # Errors
    /// What is wrong with the frame, in words.
    pub(crate) fn unpack(
        self,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, &'static str> {
        out.clear();
        out.reserve_exact(limit.saturating_add(1));
        let used = match self {
            Format::Gzip => gunzip(input, out),
            Format::Zstd => unzstd(input, out),
        }?;
        if out.len() > limit {
            return Err("it unpacks to more than is declared");
        }
        Ok(used)
    }
}

/// Unpacks into the capacity of `out`.
fn gunzip(input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
    let body = input.strip_prefix(&GZIP_HEADER).ok_or("not a gzip member of ours")?;
    let mut inflate = Decompress::new(false);
    match inflate.decompress_vec(body, out, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => {}
        Ok(_) if out.len() == out.capacity() => return Err("it unpacks to more than is declared"),
        Ok(_) => return Err("it is cut short"),
        Err(_) => return Err("its deflate stream is damaged"),
    }
    let footer_at = inflate.total_in() as usize;
    let footer = body.get(footer_at..footer_at + GZIP_FOOTER_LEN).ok_or("it is cut short")?;
    let mut crc = Crc::new();
    crc.update(out);
    if footer != [crc.sum().to_le_bytes(), (out.len() as u32).to_le_bytes()].concat() {
        return Err("its bytes do not match its checksum");
    }
    Ok(GZIP_HEADER.len() + footer_at + GZIP_FOOTER_LEN)
}

/// Unpacks into the capacity of `out`.
fn unzstd(input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
    if !input.starts_with(&ZSTD_MAGIC) {
        return Err("not a zstd frame");
    }
    let len = zstd_safe::find_frame_compressed_size(input).map_err(|_| "its frame is damaged")?;
    let frame = input.get(..len).ok_or("it is cut short")?;
    let declared = match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(declared)) => declared,
        _ => return Err("it does not declare its length"),
    };
    if declared > out.capacity() as u64 {
        return Err("it unpacks to more than is declared");
    }
    let mut unpacked = zstd_safe::DCtx::try_create().ok_or("there is no memory to unpack it")?;
    unpacked.decompress(out, frame).map_err(|_| "its frame is damaged")?;
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [Format; 2] = [Format::Gzip, Format::Zstd];

    fn pack(format: Format, chunk: &[u8]) -> Vec<u8> {
        Packer::new(format, None).unwrap().pack(chunk).unwrap()
    }

    #[test]
    fn names_say_the_format() {
        for name in ["a.tgz", "dir/b.tar.gz", "C.TGZ"] {
            assert_eq!(Format::from_name(name), Some(Format::Gzip), "{name}");
        }
        for name in ["a.tar.zst", "b.tzst"] {
            assert_eq!(Format::from_name(name), Some(Format::Zstd), "{name}");
        }
        for name in ["a", "a.zst", "a.gz", "a.tar.xz", "a.tgz/b"] {
            assert_eq!(Format::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn levels_are_checked() {
        for (format, level) in [(Format::Gzip, 13), (Format::Gzip, -1), (Format::Zstd, 0)] {
            assert!(matches!(Packer::new(format, Some(level)), Err(Error::Level { .. })));
        }
        let error = Packer::new(Format::Zstd, Some(23)).unwrap_err();
        assert_eq!(error.to_string(), "23 is no compression level of zstd (1 to 19)");
    }

    #[test]
    fn no_more_is_unpacked_than_declared() {
        for format in FORMATS {
            let bomb = pack(format, &vec![0; 10 << 20]);
            let mut out = Vec::new();
            let error = format.unpack(&bomb, 1000, &mut out).unwrap_err();
            assert_eq!(error, "it unpacks to more than is declared");
            assert!(out.capacity() <= 1 << 16, "{format:?}: {} bytes", out.capacity());
            assert_eq!(format.unpack(&bomb, 10 << 20, &mut out), Ok(bomb.len()));
        }
    }

    #[test]
    fn every_truncation_and_flipped_bit_is_an_error_or_harmless() {
        let chunk = b"some bytes, some bytes again, and some more bytes".repeat(3);
        for format in FORMATS {
            let packed = pack(format, &chunk);
            let mut out = Vec::new();
            for len in 0..packed.len() {
                assert!(format.unpack(&packed[..len], chunk.len(), &mut out).is_err());
            }
            for bit in 0..packed.len() * 8 {
                let mut flipped = packed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if format.unpack(&flipped, chunk.len(), &mut out).is_ok() {
                    assert_eq!(out, chunk, "{format:?} bit {bit}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn members_come_back(
            chunk in proptest::collection::vec(prop_oneof![Just(7u8), any::<u8>()], 0..5000),
            level in 1..10,
            after in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            for format in FORMATS {
                let packer = Packer::new(format, Some(level)).unwrap();
                let packed = packer.pack(&chunk).unwrap();
                prop_assert_eq!(&packed, &packer.pack(&chunk).unwrap());
                let mut out = Vec::new();
                let input = [&packed[..], &after].concat();
                prop_assert_eq!(format.unpack(&input, chunk.len(), &mut out), Ok(packed.len()));
                prop_assert_eq!(&out, &chunk);
            }
        }
    }
}
