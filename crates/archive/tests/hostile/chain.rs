//! Chains of archives by `docs/format.md`, made without the crate's writer.

use std::sync::Arc;

use archive::{Archive, Format};
use container::{Packing, Seal, Section, Sections, Writer};
use diffindex::{Change, ChangeList, Content, DiffIndex, LazyDiff, NewEntry, Signatures};
use dirindex::{DirIndex, Entry, Record, RelPath, TreeId};
use rsync_core::Digest;
use sha2::{Digest as _, Sha256};

use crate::forge::{BlockRow, Head, Row, TarMember, pack, wrap};

/// Of a chain, in bytes.
const LIMIT: usize = 1_000_000;

/// A chain that grows. The tree ids that it names are made up, but for the first.
pub(crate) struct Chain {
    at: TreeId,
    parts: Vec<Part>,
}

/// What an archive is made of.
struct Part {
    base: TreeId,
    result: TreeId,
    index: Vec<u8>,
    blocks_at: u64,
    blocks: Vec<Block>,
    /// The last path that it brings.
    last: Option<RelPath>,
}

struct Block {
    first: RelPath,
    seal: Seal,
    contents: Vec<u8>,
    deltas: Vec<u64>,
}

impl Chain {
    pub(crate) fn new() -> Chain {
        Chain { at: DirIndex::empty().tree_id(), parts: Vec::new() }
    }

    /// Adds an archive of these changes; `body` is what it stores for one.
    pub(crate) fn add(&mut self, mut changes: Vec<Change>, body: impl Fn(&Change) -> Vec<u8>) {
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        let result = match self.parts.is_empty() {
            true => tree(&changes),
            false => self.made_up(),
        };
        let diff = DiffIndex::from_changes(self.at, result, changes).unwrap();
        let mut lists: Vec<ChangeList> = Vec::new();
        let encoded = LazyDiff::from(&diff);
        let encoded =
            encoded.encode(Vec::new(), Signatures::All, |some, _| lists.extend_from_slice(some));
        let encoded = encoded.unwrap();
        let blocks_at = encoded.blocks_at();
        let (index, seals) = unmasked(encoded.into_inner(), *b"DIFF", BLOCKS);
        let blocks = lists.iter().zip(seals);
        let blocks = blocks.map(|(changes, seal)| Block::new(changes, seal, &body)).collect();
        let last = diff.changes().iter().rfind(|change| change.new.is_some());
        let last = last.map(|change| change.path.clone());
        self.parts.push(Part { base: self.at, result, index, blocks_at, blocks, last });
        self.at = result;
    }

    /// Adds an archive that changes nothing, with these sections in its diff.
    pub(crate) fn add_sections(&mut self, sections: &[Section]) {
        let result = self.made_up();
        let mut writer = Writer::new(Vec::new(), *b"DIFF").unwrap();
        let roots = Section::encode(1, &(self.at, result)).unwrap();
        let blocks_at = 12 + roots.seal().stored_len;
        writer.section(&roots).unwrap();
        sections.iter().for_each(|section| writer.section(section).unwrap());
        let (index, _) = unmasked(writer.finish_part().unwrap(), *b"DIFF", BLOCKS);
        self.parts.push(Part {
            base: self.at,
            result,
            index,
            blocks_at,
            blocks: Vec::new(),
            last: None,
        });
        self.at = result;
    }

    pub(crate) fn without_contents(
        mut self,
        parts: impl IntoIterator<Item = Vec<Change>>,
    ) -> Chain {
        parts.into_iter().for_each(|changes| self.add(changes, |_| Vec::new()));
        self
    }

    /// The last path that its archives bring.
    pub(crate) fn last(&self) -> RelPath {
        self.parts.iter().rev().find_map(|part| part.last.clone()).unwrap()
    }

    fn made_up(&self) -> TreeId {
        TreeId(*blake3::hash(&self.parts.len().to_le_bytes()).as_bytes())
    }

    /// The archives.
    pub(crate) fn opened(&self) -> Result<Vec<Archive>, archive::Error> {
        self.parts.iter().map(|part| open(part.archive(&[]))).collect()
    }

    /// The archives, of just under a megabyte together: a limit that grows with what is stored is met by storing what
    /// does not compress.
    pub(crate) fn padded(&self, name: &str) -> Vec<Vec<u8>> {
        let mut archives: Vec<Vec<u8>> = self.parts.iter().map(|part| part.archive(&[])).collect();
        let size: usize = archives.iter().map(Vec::len).sum();
        assert!(size < LIMIT - 2048, "{name}: {size}");
        let mut noise = vec![0; LIMIT - 2048 - size];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        archives[0] = self.parts[0].archive(&noise);
        let size: usize = archives.iter().map(Vec::len).sum();
        assert!((LIMIT - 4096..LIMIT).contains(&size), "{name}: {size}");
        archives
    }
}

/// The blocks of changes in a diff.
const BLOCKS: u32 = 2;

/// A container whose sections are compressed however few bytes that gives: only an honest writer masks them. And the
/// seals of those of one kind.
pub(crate) fn unmasked(bytes: Vec<u8>, file: [u8; 4], kind: u32) -> (Vec<u8>, Vec<Seal>) {
    let sections = Sections::from_bytes_within(bytes, file, u64::MAX).unwrap();
    let mut kinds: Vec<(usize, u32)> =
        (1..10).flat_map(|kind| sections.of_kind(kind).map(move |number| (number, kind))).collect();
    kinds.sort_unstable();
    assert_eq!(kinds.len(), sections.count());
    let (mut writer, mut seals) = (Writer::new(Vec::new(), file).unwrap(), Vec::new());
    for (number, of) in kinds {
        let section =
            Section::new(of, sections.raw(number).unwrap().to_vec(), Packing::Zstd).unwrap();
        if of == kind {
            seals.push(section.seal());
        }
        writer.section(&section).unwrap();
    }
    (writer.finish_part().unwrap(), seals)
}

pub(crate) fn open(archive: Vec<u8>) -> Result<Archive, archive::Error> {
    Archive::from_source(archive, "hostile")
}

/// The root of what these changes make of nothing, if they are a tree's.
fn tree(changes: &[Change]) -> TreeId {
    let records = changes.iter().filter_map(|change| {
        let NewEntry { node, meta, .. } = change.new.clone()?;
        let entry = Entry { path: change.path.clone(), node, meta };
        Some(Arc::new(Record { entry, signature: None, fingerprint: None }))
    });
    DirIndex::from_records(records).map_or(TreeId([255; 32]), |index| index.tree_id())
}

impl Block {
    fn new(changes: &[Change], seal: Seal, body: impl Fn(&Change) -> Vec<u8>) -> Block {
        let (mut contents, mut deltas) = (Vec::new(), Vec::new());
        for change in changes {
            let Some(content) = change.stored_content() else { continue };
            let (body, delta) = (body(change), matches!(content, Content::Delta { .. }));
            let hash = Digest(Sha256::digest(change.path.as_bytes()).into());
            let folder = if delta { "updated" } else { "created" };
            contents.extend(TarMember::new(&format!("{folder}/{hash:.32}"), &body).to_bytes());
            deltas.extend(delta.then_some(body.len() as u64));
        }
        Block { first: changes[0].path.clone(), seal, contents, deltas }
    }
}

impl Part {
    /// The archive, with `paths` as its PATHS.
    fn archive(&self, paths: &[u8]) -> Vec<u8> {
        let Part { base, result, index, blocks_at, blocks, .. } = self;
        let frame = TarMember::new("diff.index", index).to_bytes();
        let (start, mut rest) = frame.split_at(512 + *blocks_at as usize);
        let mut stream = vec![start];
        let (mut rows, mut deltas): (_, Vec<u64>) = (Vec::new(), Vec::new());
        let mut contents: Vec<u8> = Vec::new();
        for Block { first, seal, contents: own, deltas: lens } in blocks {
            let (block, after) = rest.split_at(seal.stored_len as usize);
            stream.push(block);
            rest = after;
            let (contents_len, deltas_len) = (own.len() as u64, lens.len() as u64);
            let (first, seal) = (first.clone(), *seal);
            rows.push(BlockRow { first, seal, contents: contents_len, deltas: deltas_len });
            deltas.extend(lens);
            contents.extend(own);
        }
        stream.extend(rest.chunks(1 << 20));
        let paths_len = paths.len() as u64;
        let paths = TarMember::new("PATHS", paths).to_bytes();
        stream.push(&paths);
        stream.extend(contents.chunks(1 << 20));
        let packed = stream.iter().map(|chunk| pack(Format::Zstd, chunk)).collect::<Vec<_>>();
        let row = |(packed, chunk): (&Vec<u8>, &&[u8])| {
            let check = *blake3::hash(packed).as_bytes().first_chunk().unwrap();
            Row { stored: packed.len() as u32, len: chunk.len() as u32, check }
        };
        let frames: Vec<Row> = packed.iter().zip(&stream).map(row).collect();
        let (base, result, diff) = (*base, *result, index.len() as u64);
        let head = Head { base, result, diff, blocks_at: *blocks_at, paths: paths_len, volume: 0 };
        let mut writer = Writer::new(Vec::new(), *b"TABL").unwrap();
        writer.section(&Section::encode(1, &head).unwrap()).unwrap();
        writer.section(&Section::encode(2, &frames).unwrap()).unwrap();
        writer.section(&Section::encode(3, &rows).unwrap()).unwrap();
        writer.section(&Section::encode(4, &deltas).unwrap()).unwrap();
        let (body, _) = unmasked(writer.finish_part().unwrap(), *b"TABL", BLOCKS);
        let table = [TarMember::new("TABLE", &body).to_bytes(), vec![0; 1024]].concat();
        let table: Vec<u8> =
            table.chunks(1 << 20).flat_map(|part| pack(Format::Zstd, part)).collect();
        let mut archive = packed.concat();
        let mut payload = b"ibt-arc\x01".to_vec();
        payload.extend((archive.len() as u64).to_le_bytes());
        payload.extend((body.len() as u64).to_le_bytes());
        let digest = blake3::hash(&[&payload[8..], &table].concat());
        payload.extend(digest.as_bytes());
        archive.extend(table);
        archive.extend(wrap(Format::Zstd, &payload));
        archive
    }
}
