//! TABLE, the list of an archive's frames, and the trailer that says where it is. Knows their
//! bytes, not how an archive is written or read.

use std::io;

use container::SectionError;
use container::{Seal, Section, Sections, Writer, encode_all};
use dirindex::{RelPath, TreeId};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::codec::Packer;
use crate::frames::{FRAME_LEN, Frame};
use crate::labels::{self, Labels};
use crate::{Format, tar_entry};

/// The name of the tar entry.
pub(crate) const TABLE: &str = "TABLE";

const FILE_KIND: [u8; 4] = *b"TABL";
const HEAD: u32 = 1;
const MEMBERS: u32 = 2;
const BLOCKS: u32 = 3;
const DELTAS: u32 = 4;
const LABELS: u32 = 5;
const ROWS_PER_SECTION: usize = 1 << 16;

/// What a reader needs to know where everything lies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) head: Head,
    /// Every frame before that of TABLE itself, in order.
    pub(crate) frames: Vec<Frame>,
    /// Every block of changes in `diff.index`, in order.
    pub(crate) blocks: Vec<BlockRow>,
    /// The length of every stored delta, in path order. (Whole files have the length that the
    /// diff says.)
    pub(crate) deltas: Vec<u64>,
    pub(crate) labels: Labels,
}

/// What the archive is, and how long what precedes the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The tree that the diff starts from.
    pub(crate) base: TreeId,
    /// The tree that it leads to.
    pub(crate) result: TreeId,
    /// The length of `diff.index`.
    pub(crate) diff_len: u64,
    /// Where in `diff.index` the first block of changes begins.
    pub(crate) blocks_at: u64,
    /// The length of `PATHS`.
    pub(crate) paths_len: u64,
    /// The most bytes in one volume; 0 for an archive in one file.
    pub(crate) volume_len: u64,
}

/// A block of changes: what is in it, and how much is stored for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockRow {
    /// Its first path.
    pub(crate) first: RelPath,
    /// What it can be read with.
    pub(crate) seal: Seal,
    /// How many bytes of the stream its contents take up.
    pub(crate) contents: u64,
    /// How many of its contents are deltas.
    pub(crate) deltas: u64,
}

impl Table {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, SectionError> {
        fn sections<T: Serialize + Sync>(
            kind: u32,
            rows: &[T],
        ) -> Result<Vec<Section>, SectionError> {
            encode_all(kind, &rows.chunks(ROWS_PER_SECTION).collect::<Vec<_>>())
        }
        let mut writer = Writer::new(Vec::new(), FILE_KIND)?;
        writer.section(&Section::encode(HEAD, &self.head)?)?;
        for section in [
            sections(MEMBERS, &self.frames)?,
            sections(BLOCKS, &self.blocks)?,
            sections(DELTAS, &self.deltas)?,
        ]
        .iter()
        .flatten()
        {
            writer.section(section)?;
        }
        if !self.labels.is_empty() {
            labels::check(&self.labels)?;
            let rows: Vec<(&String, &String)> = self.labels.iter().collect();
            writer.section(&Section::encode(LABELS, &rows)?)?;
        }
        writer.finish()
    }

    /// TABLE's frames: `body`, which `to_bytes` wrote, as a tar entry, and the end of
    /// the stream.
    pub(crate) fn pack(packer: Packer, body: &[u8]) -> io::Result<Vec<u8>> {
        let len = body.len() as u64;
        let header = tar_entry::header(TABLE, len);
        let stream = [&header[..], body, tar_entry::padding(len), tar_entry::end()].concat();
        let frames: io::Result<Vec<_>> =
            stream.par_chunks(FRAME_LEN).map(|chunk| packer.pack(chunk)).collect();
        Ok(frames?.concat())
    }

    /// The body of `len` bytes that is in `packed`, which `pack` wrote. Unpacks little more than
    /// that, whatever `packed` holds.
    pub(crate) fn unpack(format: Format, packed: &[u8], len: u64) -> Result<Vec<u8>, String> {
        let body_end =
            usize::try_from(len).ok().and_then(|len| len.checked_add(tar_entry::HEADER_LEN));
        let body_end = body_end.ok_or("it is larger than memory")?;
        let (mut stream, mut unpacked, mut rest) = (Vec::new(), Vec::new(), packed);
        while !rest.is_empty() && stream.len() < body_end.saturating_add(FRAME_LEN) {
            let used = format.unpack(rest, FRAME_LEN, &mut unpacked)?;
            rest = rest.get(used..).unwrap_or_default();
            stream.extend_from_slice(&unpacked);
        }
        let header = stream.get(..tar_entry::HEADER_LEN).unwrap_or(&stream);
        if let Some(problem) = tar_entry::difference(header, TABLE, len) {
            return Err(problem);
        }
        let after = stream.get(body_end..);
        if !rest.is_empty() || after != Some(&[tar_entry::padding(len), tar_entry::end()].concat())
        {
            return Err("the tar stream does not end after it".to_owned());
        }
        stream.truncate(body_end);
        stream.drain(..tar_entry::HEADER_LEN);
        Ok(stream)
    }

    /// Reads what `to_bytes` wrote. `archive_len` bounds what is unpacked: each row takes up less
    /// here than what it is about takes up in the archive, but for paths that compress well.
    pub(crate) fn from_bytes(bytes: Vec<u8>, archive_len: u64) -> Result<Table, String> {
        let sections = Sections::from_bytes(bytes, FILE_KIND).map_err(|error| error.to_string())?;
        let unpacked: u64 = (0..sections.count()).map(|n| sections.raw_len(n) as u64).sum();
        if unpacked > archive_len.saturating_mul(2).saturating_add(2 << 20) {
            return Err("it lists more than the archive can hold".to_owned());
        }
        let count = |kind: u32| sections.of_kind(kind).count();
        let known: usize = [HEAD, MEMBERS, BLOCKS, DELTAS].into_iter().map(count).sum();
        let labels = sections.of_kind(LABELS).next();
        let known = known + usize::from(labels.is_some());
        if known != sections.count() || count(HEAD) != 1 {
            return Err("it has other sections than a table of frames".to_owned());
        }
        let labels = match labels {
            Some(number) if labels::may_be(sections.raw_len(number) as u64) => {
                labels::read(sections.decode(number).map_err(|error| error.to_string())?)?
            }
            Some(_) => return Err("its labels are too long".to_owned()),
            None => Labels::new(),
        };
        let decode = || {
            let head = sections.of_kind(HEAD).next().unwrap_or(usize::MAX);
            Ok(Table {
                head: sections.decode(head)?,
                frames: sections.decode_all(MEMBERS)?,
                blocks: sections.decode_all(BLOCKS)?,
                deltas: sections.decode_all(DELTAS)?,
                labels,
            })
        };
        decode().map_err(|error: SectionError| error.to_string())
    }
}

/// Says where TABLE is. It follows the tar stream as an empty gzip member (in its extra field) or
/// as a skippable zstd frame, so that no other program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Where in the archive the first frame of TABLE begins. TABLE's frames end
    /// where the trailer begins.
    pub(crate) table_offset: u64,
    /// The length of TABLE's content.
    pub(crate) table_len: u64,
    /// BLAKE3 of the two numbers above as they are in the trailer and TABLE's frames.
    pub(crate) digest: [u8; 32],
}

/// What the trailer's payload begins with. The last byte is the version of the archive's format.
const MAGIC: [u8; 8] = *b"ibt-arc\x01";
const PAYLOAD_LEN: usize = 56;

/// An empty gzip member up to its payload: extra field, no time, unknown system; the field's
/// length; the subfield's name and length.
const GZIP_BEFORE: [u8; 16] =
    [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 60, 0, b'I', b'B', PAYLOAD_LEN as u8, 0];
/// An empty deflate block, a checksum and a length of zero.
const GZIP_AFTER: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A skippable frame's magic and its length.
const ZSTD_BEFORE: [u8; 8] = [0x5b, 0x2a, 0x4d, 0x18, PAYLOAD_LEN as u8, 0, 0, 0];

/// No trailer is longer.
pub(crate) const MAX_TRAILER_LEN: usize = GZIP_BEFORE.len() + PAYLOAD_LEN + GZIP_AFTER.len();

impl Trailer {
    /// The trailer for TABLE, whose frames are `stored`.
    pub(crate) fn new(table_offset: u64, table_len: u64, stored: &[u8]) -> Trailer {
        let mut trailer = Trailer { table_offset, table_len, digest: [0; 32] };
        trailer.digest = trailer.digest_of(stored);
        trailer
    }

    /// What `digest` must be.
    pub(crate) fn digest_of(&self, stored: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.table_offset.to_le_bytes());
        hasher.update(&self.table_len.to_le_bytes());
        hasher.update(stored);
        *hasher.finalize().as_bytes()
    }

    pub(crate) fn to_bytes(self, format: Format) -> Vec<u8> {
        let (before, after) = around(format);
        let (offset, len) = (self.table_offset.to_le_bytes(), self.table_len.to_le_bytes());
        [before, &MAGIC, &offset, &len, &self.digest, after].concat()
    }

    /// The length of the trailer that `bytes` begin with.
    pub(crate) fn len_at_start(bytes: &[u8]) -> Option<usize> {
        [Format::Gzip, Format::Zstd].into_iter().find_map(|format| {
            let (before, after) = around(format);
            let trailer = bytes.get(..before.len() + PAYLOAD_LEN + after.len())?;
            Trailer::find(trailer).filter(|(found, ..)| *found == format).map(|(.., len)| len)
        })
    }

    /// The trailer that `tail`, the last bytes of an archive, ends with, and its length.
    pub(crate) fn find(tail: &[u8]) -> Option<(Format, Trailer, usize)> {
        [Format::Gzip, Format::Zstd].into_iter().find_map(|format| {
            let (before, after) = around(format);
            let (rest, payload) = tail.strip_suffix(after)?.split_last_chunk::<PAYLOAD_LEN>()?;
            let payload = payload.strip_prefix(&MAGIC).filter(|_| rest.ends_with(before))?;
            let (table_offset, payload) = payload.split_first_chunk()?;
            let (table_len, digest) = payload.split_first_chunk()?;
            let trailer = Trailer {
                table_offset: u64::from_le_bytes(*table_offset),
                table_len: u64::from_le_bytes(*table_len),
                digest: *digest.first_chunk()?,
            };
            Some((format, trailer, before.len() + PAYLOAD_LEN + after.len()))
        })
    }
}

fn around(format: Format) -> (&'static [u8], &'static [u8]) {
    match format {
        Format::Gzip => (&GZIP_BEFORE, &GZIP_AFTER),
        Format::Zstd => (&ZSTD_BEFORE, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn head() -> Head {
        let (base, result) = (TreeId([1; 32]), TreeId([2; 32]));
        Head { base, result, diff_len: 12, blocks_at: 7, paths_len: 1 << 40, volume_len: 0 }
    }

    #[test]
    fn tables_come_back() {
        let frame = |n: u32| Frame { stored: n * 3 + 20, len: 1 << 20, check: [n as u8; 8] };
        let row = |n: u64| BlockRow {
            first: RelPath::new(format!("path {n}")).unwrap(),
            seal: Section::encode(7, &n).unwrap().seal(),
            contents: n << 20,
            deltas: n % 3,
        };
        let table = Table {
            head: head(),
            frames: (0..70_000).map(frame).collect(),
            blocks: (0..500).map(row).collect(),
            deltas: vec![0, 1, u64::MAX],
            labels: [("host", "here"), ("path", "/tree")]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
        };
        let bytes = table.to_bytes().unwrap();
        assert_eq!(Table::from_bytes(bytes, 1 << 20), Ok(table));

        let frame = Frame { stored: 1 << 20, len: 1 << 20, check: [0; 8] };
        let (blocks, deltas) = (Vec::new(), Vec::new());
        let labels = Labels::new();
        let long = Table { head: head(), frames: vec![frame; 1 << 20], blocks, deltas, labels };
        let error = Table::from_bytes(long.to_bytes().unwrap(), 1000).unwrap_err();
        assert_eq!(error, "it lists more than the archive can hold");
    }

    /// Labels are bounded, and there is one way to write them.
    #[test]
    fn labels_that_are_too_long_or_out_of_order_are_refused() {
        let table = |labels: &[(&str, &str)]| {
            let rows: Vec<(&str, &str)> = labels.to_vec();
            let mut writer = Writer::new(Vec::new(), FILE_KIND).unwrap();
            writer.section(&Section::encode(HEAD, &head()).unwrap()).unwrap();
            writer.section(&Section::encode(LABELS, &rows).unwrap()).unwrap();
            Table::from_bytes(writer.finish().unwrap(), 1 << 20)
        };
        let ends: Vec<String> =
            table(&[("a", ""), ("b", "x")]).unwrap().labels.into_values().collect();
        assert_eq!(ends, ["", "x"]);
        let long = "x".repeat(64 << 10);
        for bad in [&[("b", ""), ("a", "")][..], &[("a", ""), ("a", "")], &[("a", &long)]] {
            assert!(table(bad).unwrap_err().contains("its labels are"), "{bad:?}");
        }
        let labels = [("a".to_owned(), long)].into();
        let (frames, blocks, deltas) = (Vec::new(), Vec::new(), Vec::new());
        let written = Table { head: head(), frames, blocks, deltas, labels }.to_bytes();
        assert!(matches!(written, Err(SectionError::Encode(_))));
    }

    #[test]
    fn tables_of_several_members_come_back() {
        // Deltas of all lengths do not compress.
        let deltas = (1..400_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let labels = Labels::new();
        let table = Table { head: head(), frames: Vec::new(), blocks: Vec::new(), deltas, labels };
        let body = table.to_bytes().unwrap();
        assert!(body.len() > 2 * FRAME_LEN);
        for format in [Format::Gzip, Format::Zstd] {
            let packed = Table::pack(Packer::new(format, None).unwrap(), &body).unwrap();
            let len = body.len() as u64;
            assert_eq!(Table::unpack(format, &packed, len).as_ref(), Ok(&body));
            assert!(Table::unpack(format, &packed, len - 512).is_err());
            let more = [&packed[..], &packed].concat();
            assert!(Table::unpack(format, &more, len).is_err());
        }
    }

    #[test]
    fn a_trailer_is_found_and_is_nothing_to_other_readers() {
        let trailer = Trailer::new(1 << 33, 77, b"stored");
        for format in [Format::Gzip, Format::Zstd] {
            let bytes = trailer.to_bytes(format);
            assert!(bytes.len() <= MAX_TRAILER_LEN);
            let tail = [b"before", &bytes[..]].concat();
            assert_eq!(Trailer::find(&tail), Some((format, trailer, bytes.len())));
            for len in 0..tail.len() {
                assert_eq!(Trailer::find(&tail[..len]), None);
            }
            let mut nothing = Vec::new();
            match format {
                Format::Gzip => {
                    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut nothing)
                }
                Format::Zstd => zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut nothing),
            }
            .unwrap();
            assert!(nothing.is_empty());
        }
    }
}
