//! Archives made by hand, from what the format's description says and nothing else of the crate:
//! an honest one taken apart, bent at will, and put together again with every checksum right.

use std::io::Read;

use archive::Format;
use container::{Packing, Seal, Section, Sections, Writer};
use dirindex::{RelPath, TreeId};
use flate2::read::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use serde::{Deserialize, Serialize};

/// A tar entry: header and body. The padding follows from the body unless it is given.
#[derive(Clone)]
pub(crate) struct TarMember {
    pub(crate) header: tar::Header,
    pub(crate) body: Vec<u8>,
    pub(crate) padding: Option<Vec<u8>>,
}

impl TarMember {
    pub(crate) fn new(name: &str, body: &[u8]) -> TarMember {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(body.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        TarMember { header, body: body.to_vec(), padding: None }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_cksum();
        let full = vec![0; self.body.len().next_multiple_of(512) - self.body.len()];
        let padding = self.padding.as_ref().unwrap_or(&full);
        [&header.as_bytes()[..], &self.body, padding].concat()
    }
}

/// A frame and what the table says of it.
#[derive(Clone, Serialize, Deserialize, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) stored: u32,
    pub(crate) len: u32,
    pub(crate) check: [u8; 8],
}

/// What the table says of the archive as a whole: roots, then the length of `diff.index`, where in it
/// the first block begins, the length of `PATHS`, of a volume.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) base: TreeId,
    pub(crate) result: TreeId,
    pub(crate) diff: u64,
    pub(crate) blocks_at: u64,
    pub(crate) paths: u64,
    pub(crate) volume: u64,
}

/// What it says of a block of changes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BlockRow {
    pub(crate) first: RelPath,
    pub(crate) seal: Seal,
    pub(crate) contents: u64,
    pub(crate) deltas: u64,
}

/// What the table says besides the frames.
#[derive(Clone)]
pub(crate) struct Lengths {
    pub(crate) head: Head,
    pub(crate) blocks: Vec<BlockRow>,
    pub(crate) deltas: Vec<u64>,
}

/// An archive in parts. Each `on_…` bends what was made of the parts before it.
pub(crate) struct Forge {
    pub(crate) format: Format,
    /// `diff.index`, `PATHS`, then the contents.
    pub(crate) frames: Vec<TarMember>,
    pub(crate) lengths: Lengths,
    /// The blocks as they were, and where the first began.
    honest: Vec<BlockRow>,
    blocks_at: usize,
    pub(crate) end: Vec<u8>,
    pub(crate) on_stream: fn(&mut Vec<Vec<u8>>),
    pub(crate) on_packed: fn(&mut Vec<Vec<u8>>),
    pub(crate) on_rows: fn(&mut Vec<Row>),
    pub(crate) on_sections: fn(&mut Vec<(u32, Section)>),
    pub(crate) on_table: fn(&mut TarMember),
    pub(crate) on_payload: fn(&mut Vec<u8>),
    pub(crate) on_trailer: fn(&mut Vec<u8>),
    pub(crate) before_trailer: Vec<u8>,
}

impl Forge {
    /// Takes an honest archive apart.
    pub(crate) fn take_apart(format: Format, archive: &[u8]) -> Forge {
        let mut stream = Vec::new();
        match format {
            Format::Gzip => MultiGzDecoder::new(archive).read_to_end(&mut stream).unwrap(),
            Format::Zstd => zstd::Decoder::new(archive).unwrap().read_to_end(&mut stream).unwrap(),
        };
        let mut frames: Vec<TarMember> = tar::Archive::new(&stream[..])
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut body = Vec::new();
                entry.read_to_end(&mut body).unwrap();
                TarMember { header: entry.header().clone(), body, padding: None }
            })
            .collect();
        let table = frames.pop().unwrap();
        assert_eq!(&*table.header.path_bytes(), b"TABLE");
        let sections = Sections::from_bytes(table.body, *b"TABL").unwrap();
        let blocks: Vec<BlockRow> = sections.decode_all(3).unwrap();
        let deltas = sections.decode_all(4).unwrap();
        let head: Head = sections.decode(sections.of_kind(1).next().unwrap()).unwrap();
        Forge {
            format,
            frames,
            honest: blocks.clone(),
            blocks_at: head.blocks_at as usize,
            lengths: Lengths { head, blocks, deltas },
            end: vec![0; 1024],
            on_stream: |_| (),
            on_packed: |_| (),
            on_rows: |_| (),
            on_sections: |_| (),
            on_table: |_| (),
            on_payload: |_| (),
            on_trailer: |_| (),
            before_trailer: Vec::new(),
        }
    }

    /// Makes `diff.index` one of these blocks and other sections, of any kinds, and says so wherever it is said. The first
    /// block is to have all contents.
    pub(crate) fn set_sections(&mut self, blocks: &[Section], others: &[Section]) {
        let roots = Sections::from_bytes(self.frames[0].body.clone(), *b"DIFF").unwrap();
        let roots = Section::new(1, roots.raw(0).unwrap(), Packing::Zstd).unwrap();
        let mut writer = Writer::new(Vec::new(), *b"DIFF").unwrap();
        let all = [&roots].into_iter().chain(blocks).chain(others);
        all.for_each(|section| writer.section(section).unwrap());
        let body = writer.finish_part().unwrap();
        let (mut contents, mut deltas) = (0, 0);
        for row in &self.lengths.blocks {
            (contents, deltas) = (contents + row.contents, deltas + row.deltas);
        }
        let row = |(number, block): (usize, &Section)| {
            let first = RelPath::new(format!("!{number:08}")).unwrap();
            let mine = |all: u64| if number == 0 { all } else { 0 };
            let (contents, deltas) = (mine(contents), mine(deltas));
            BlockRow { first, seal: block.seal(), contents, deltas }
        };
        self.lengths.blocks = blocks.iter().enumerate().map(row).collect();
        self.honest = self.lengths.blocks.clone();
        self.lengths.head.diff = body.len() as u64;
        self.frames[0] = TarMember::new("diff.index", &body);
    }

    /// `diff.index`, header and all, cut before each block and after the last one.
    fn cut_at_blocks(&self, diff: &[u8]) -> Vec<Vec<u8>> {
        let lens = self.honest.iter().map(|row| row.seal.stored_len as usize);
        let (mut chunks, mut rest) = (Vec::new(), diff);
        for len in [512 + self.blocks_at].into_iter().chain(lens) {
            let (chunk, after) = rest.split_at(len.min(rest.len()));
            chunks.push(chunk.to_vec());
            rest = after;
        }
        chunks.push(rest.to_vec());
        chunks.retain(|chunk| !chunk.is_empty());
        chunks
    }

    /// Puts the archive together.
    pub(crate) fn build(&self) -> Vec<u8> {
        let format = self.format;
        let parts: Vec<Vec<u8>> = self.frames.iter().map(TarMember::to_bytes).collect();
        let (head, contents) = parts.split_at(2.min(parts.len()));
        let mut chunks = Vec::new();
        if let [diff, rest @ ..] = head {
            chunks.extend(self.cut_at_blocks(diff));
            chunks.extend(rest.to_vec());
        }
        chunks.extend(contents.concat().chunks(1 << 20).map(<[u8]>::to_vec));
        (self.on_stream)(&mut chunks);
        let mut packed: Vec<Vec<u8>> = chunks.iter().map(|chunk| pack(format, chunk)).collect();
        (self.on_packed)(&mut packed);
        // Frames that were added are full, by their own word.
        let row = |(n, packed): (usize, &Vec<u8>)| Row {
            stored: packed.len() as u32,
            len: chunks.get(n).map_or(1 << 20, Vec::len) as u32,
            check: [0; 8],
        };
        let mut rows: Vec<Row> = packed.iter().enumerate().map(row).collect();
        (self.on_rows)(&mut rows);
        let (whole, mut at) = (packed.concat(), 0);
        for row in &mut rows {
            let end = at + row.stored as usize;
            let stored = whole.get(at..end).unwrap_or_default();
            row.check.copy_from_slice(&blake3::hash(stored).as_bytes()[..8]);
            at = end;
        }

        let Lengths { head, blocks, deltas } = &self.lengths;
        let mut sections = vec![
            (1, Section::encode(1, head).unwrap()),
            (2, Section::encode(2, &rows).unwrap()),
            (3, Section::encode(3, blocks).unwrap()),
            (4, Section::encode(4, deltas).unwrap()),
        ];
        (self.on_sections)(&mut sections);
        let mut writer = Writer::new(Vec::new(), *b"TABL").unwrap();
        sections.iter().for_each(|(_, section)| writer.section(section).unwrap());
        let mut table = TarMember::new("TABLE", &writer.finish().unwrap());
        let table_len = table.body.len() as u64;
        (self.on_table)(&mut table);
        let table = pack(format, &[table.to_bytes(), self.end.clone()].concat());

        let mut archive = packed.concat();
        let mut payload = b"ibt-arc\x01".to_vec();
        payload.extend((archive.len() as u64).to_le_bytes());
        payload.extend(table_len.to_le_bytes());
        let digest = blake3::hash(&[&payload[8..], &table].concat());
        payload.extend(digest.as_bytes());
        (self.on_payload)(&mut payload);
        let mut trailer = wrap(format, &payload);
        (self.on_trailer)(&mut trailer);
        archive.extend(table);
        archive.extend(&self.before_trailer);
        archive.extend(trailer);
        archive
    }
}

pub(crate) fn pack(format: Format, chunk: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => {
            let mut deflate = Compressor::new(CompressionLvl::new(6).unwrap());
            let mut body = vec![0; deflate.deflate_compress_bound(chunk.len())];
            let len = deflate.deflate_compress(chunk, &mut body).unwrap();
            let mut crc = flate2::Crc::new();
            crc.update(chunk);
            let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
            let (sum, size) = (crc.sum().to_le_bytes(), (chunk.len() as u32).to_le_bytes());
            [&header[..], &body[..len], &sum, &size].concat()
        }
        Format::Zstd => {
            let mut compressor = zstd::bulk::Compressor::new(Format::Zstd.default_level()).unwrap();
            compressor.include_checksum(true).unwrap();
            compressor.compress(chunk).unwrap()
        }
    }
}

pub(crate) fn wrap(format: Format, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u8;
    match format {
        Format::Gzip => [
            &[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, len + 4, 0, b'I', b'B', len, 0][..],
            payload,
            &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat(),
        Format::Zstd => [&[0x5b, 0x2a, 0x4d, 0x18, len, 0, 0, 0][..], payload].concat(),
    }
}
