//! An archive made of the fuzzer's bytes: by `docs/format.md` and without the crate's writer. "Bends" then
//! put single numbers and bytes wrong, before the hashes are taken.

use std::io::Write;

use container::{Packing, Seal, Section, Writer};
use diffindex::{ChangeList, Content, DiffIndex, LazyDiff, Signatures};
use dirindex::{RelPath, TreeId};
use rsync_core::Digest;
use sha2::{Digest as _, Sha256};

use crate::input::Input;

/// Where a bend lies.
const STREAM: u8 = 0;
const PACKED: u8 = 1;
const ROWS: u8 = 2;
const LENGTHS: u8 = 3;
const DELTAS: u8 = 4;
const TABLE: u8 = 5;
const PACKED_TABLE: u8 = 6;
const PAYLOAD: u8 = 7;
const ARCHIVE: u8 = 8;
const BLOCKS: u8 = 9;

/// Single bytes to be changed: where, the how manieth, by what.
struct Bends<'a>(&'a [[u8; 4]]);

impl Bends<'_> {
    fn of(&self, place: u8) -> impl Iterator<Item = (usize, u8)> {
        let here = self.0.iter().filter(move |bend| bend[0] == place);
        here.map(|bend| (usize::from(u16::from_le_bytes([bend[1], bend[2]])), bend[3]))
    }

    fn bytes(&self, place: u8, bytes: &mut [u8]) {
        for (at, by) in self.of(place) {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= by;
            }
        }
    }

    fn numbers(&self, place: u8, numbers: &mut [u64]) {
        for (at, by) in self.of(place) {
            if let Some(number) = numbers.get_mut(at / 8) {
                *number ^= u64::from(by) << (at % 8 * 8);
            }
        }
    }
}

/// The archive of a diff between trees with these roots that the fuzzer made; `None` when no diff came of it.
pub(crate) fn forge(mut input: Input<'_>, roots: (TreeId, TreeId)) -> Option<Vec<u8>> {
    let zstd = input.byte() % 2 == 1;
    let diff = diff_of(roots, input.part(), input.part())?;
    let paths = input.part();
    let mut lens = Input(input.part());
    let mut deltas: Vec<u64> = (0..deltas_of(&diff)).map(|_| lens.word().into()).collect();
    let bends = Bends(input.part().as_chunks().0);

    let mut lists: Vec<(ChangeList, Seal)> = Vec::new();
    let encoded = LazyDiff::from(&diff).encode(Vec::new(), Signatures::All, |some, seals| {
        lists.extend(some.iter().cloned().zip(seals.iter().copied()));
    });
    let encoded = encoded.expect("what was read can be written");
    let (blocks_at, diff_bytes) = (encoded.blocks_at(), encoded.into_inner());
    let mut stream = vec![member("diff.index", &diff_bytes), member("PATHS", paths), Vec::new()];
    let mut delta_lens = deltas.iter();
    let (mut blocks, mut block_numbers) = (Vec::new(), Vec::new());
    for (changes, seal) in &lists {
        let (contents, before) = (stream[2].len(), delta_lens.len());
        for change in changes.iter() {
            let (Some(content), Some(new)) = (change.stored_content(), &change.new) else {
                continue;
            };
            let (folder, len) = match content {
                Content::Delta { .. } => ("updated", delta_lens.next().copied()?),
                _ => ("created", new.node.len()),
            };
            let hash = Digest(Sha256::digest(change.path.as_bytes()).into());
            let body = input.take(len.min(4096) as usize);
            stream[2].extend(member(&format!("{folder}/{hash:.32}"), body));
        }
        blocks.push((&changes.first()?.path, *seal));
        block_numbers.push((stream[2].len() - contents) as u64);
        block_numbers.push((before - delta_lens.len()) as u64);
    }
    bends.numbers(BLOCKS, &mut block_numbers);
    let numbers = block_numbers.as_chunks().0.iter();
    let blocks: Vec<(&RelPath, Seal, u64, u64)> = blocks
        .into_iter()
        .zip(numbers)
        .map(|((first, seal), &[contents, deltas])| (first, seal, contents, deltas))
        .collect();
    stream.iter_mut().for_each(|part| bends.bytes(STREAM, part));
    stream.retain(|part| !part.is_empty());
    let mut packed: Vec<Vec<u8>> = stream.iter().map(|part| pack(zstd, part)).collect();
    packed.iter_mut().for_each(|part| bends.bytes(PACKED, part));

    let rows = packed.iter().zip(&stream).flat_map(|(packed, part)| [packed.len(), part.len()]);
    let mut rows: Vec<u64> = rows.map(|len| len as u64).collect();
    bends.numbers(ROWS, &mut rows);
    let checks = packed.iter().map(|packed| Digest::of(packed).0[..8].to_vec());
    let rows = rows.as_chunks().0.iter().zip(checks);
    let rows: Vec<(u32, u32, [u8; 8])> = rows
        .map(|(&[stored, len], check)| {
            (stored as u32, len as u32, check.try_into().expect("8 bytes"))
        })
        .collect();
    let mut lengths = [diff_bytes.len() as u64, blocks_at, paths.len() as u64, 0];
    bends.numbers(LENGTHS, &mut lengths);
    bends.numbers(DELTAS, &mut deltas);
    let mut writer = Writer::new(Vec::new(), *b"TABL").expect("a vector takes all");
    for section in [
        Section::encode(1, &(diff.base(), diff.result(), lengths)),
        Section::encode(2, &rows),
        Section::encode(3, &blocks),
        Section::encode(4, &deltas),
    ] {
        writer.section(&section.expect("a short one")).expect("a vector takes all");
    }
    let mut body = writer.finish().expect("a vector takes all");
    bends.bytes(TABLE, &mut body);
    let mut table = pack(zstd, &[member("TABLE", &body), vec![0; 1024]].concat());
    bends.bytes(PACKED_TABLE, &mut table);

    let mut archive = packed.concat();
    let mut payload = [(archive.len() as u64).to_le_bytes(), (body.len() as u64).to_le_bytes()];
    bends.bytes(PAYLOAD, payload.as_flattened_mut());
    let payload = payload.concat();
    let digest = Digest::of(&[&payload[..], &table].concat());
    archive.extend(table);
    archive.extend(trailer(zstd, &[&b"ibt-arc\x01"[..], &payload, &digest.0].concat()));
    bends.bytes(ARCHIVE, &mut archive);
    Some(archive)
}

pub(crate) fn diff_of(
    roots: (TreeId, TreeId),
    changes: &[u8],
    signatures: &[u8],
) -> Option<DiffIndex> {
    let mut writer = Writer::new(Vec::new(), *b"DIFF").expect("a vector takes all");
    let roots = Section::encode(1, &roots).expect("two roots");
    writer.section(&roots).expect("a vector takes all");
    for (kind, raw) in [(2, changes), (3, signatures)] {
        if !raw.is_empty() {
            let section = Section::new(kind, raw.to_vec(), Packing::Stored).expect("a short one");
            writer.section(&section).expect("a vector takes all");
        }
    }
    DiffIndex::from_bytes(writer.finish().expect("a vector takes all")).ok()
}

fn deltas_of(diff: &DiffIndex) -> usize {
    let contents = diff.changes().iter().filter_map(|change| change.stored_content());
    contents.filter(|content| matches!(content, Content::Delta { .. })).count()
}

/// A tar member: header, body, padding.
fn member(name: &str, body: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{:011o}\x0000000000000\x00        0", body.len()).as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    let padding = vec![0; body.len().next_multiple_of(512) - body.len()];
    [&header[..], body, &padding].concat()
}

fn pack(zstd: bool, part: &[u8]) -> Vec<u8> {
    if zstd {
        let mut compressor = zstd::bulk::Compressor::new(1).expect("a level there is");
        compressor.include_checksum(true).expect("an option there is");
        return compressor.compress(part).expect("a vector takes all");
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    encoder.write_all(part).expect("a vector takes all");
    let mut packed = encoder.finish().expect("a vector takes all");
    packed[8..10].copy_from_slice(&[0, 255]);
    packed
}

fn trailer(zstd: bool, payload: &[u8]) -> Vec<u8> {
    if zstd {
        return [b"\x5b\x2a\x4d\x18\x38\0\0\0", payload].concat();
    }
    let before = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x3c\0IB\x38\0";
    [before, payload, b"\x03\0\0\0\0\0\0\0\0\0"].concat()
}
