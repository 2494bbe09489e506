//! Chains of archives that are made to cost as much as they can: of under 1 MB together, every hash right. Reading one,
//! as a restore or a verification does, takes at most 256 MiB and 5 seconds of processor time, or is refused.

use std::io::Read;
use std::sync::Arc;

use archive::{Archive, DiffData, Format};
use diffindex::{Change, Content, DiffIndex, New, Signatures};
use dirindex::sections::{Section, Writer};
use dirindex::{DirIndex, Entry, Meta, Node, Record, RelPath, Root, Time, Xattr, content_hash};
use rsync_core::Digest;
use sha2::{Digest as _, Sha256};

use crate::common::chain as in_words;
use crate::forge::{BlockRow, Head, Row, TarMember, pack, wrap};
use crate::limits::Meter;

const LIMIT: usize = 1_000_000;

fn path(path: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(path.as_ref()).unwrap()
}

fn meta(secs: i64) -> Meta {
    let mtime = Time { secs, nanos: 0 };
    Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() }
}

fn change(at: &RelPath, old: Option<Node>, new: Option<(Node, Content)>) -> Change {
    let new = new.map(|(node, content)| New { node, meta: meta(1), content, signature: None });
    Change { path: at.clone(), old, new, excluded: false }
}

fn comes(at: impl AsRef<[u8]>, node: Node) -> Change {
    change(&path(at), None, Some((node, Content::Keep)))
}

fn goes(at: impl AsRef<[u8]>, node: Node) -> Change {
    change(&path(at), Some(node), None)
}

fn file(content: &[u8]) -> Node {
    Node::File { len: content.len() as u64, digest: Digest::of(content) }
}

/// The digest that a delta of this number is said to lead to.
fn said(number: usize) -> Digest {
    Digest::of(&number.to_le_bytes())
}

/// A path of nearly the greatest length that begins so.
fn deep(start: &str, len: usize) -> String {
    let rest = (len - start.len()) / 2;
    format!("{start}{}", "/d".repeat(rest))
}

/// Where a chain has come to. The trees that it names are made up, but for the first, unless somebody asks for more.
struct Chain {
    at: Root,
    made: u32,
    archives: Vec<Vec<u8>>,
}

impl Chain {
    fn new() -> Chain {
        Chain { at: DirIndex::empty().root(), made: 0, archives: Vec::new() }
    }

    /// Adds an archive of these changes; `body` is what it stores for one.
    fn add(&mut self, mut changes: Vec<Change>, body: impl Fn(&Change) -> Vec<u8>) {
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        self.made += 1;
        let result = match self.archives.is_empty() {
            true => tree(&changes),
            false => Root(*blake3::hash(&self.made.to_le_bytes()).as_bytes()),
        };
        let diff = DiffIndex::from_changes(self.at, result, changes).unwrap();
        self.at = result;
        self.archives.push(archive(&diff, body));
    }

    fn without_contents(mut self, parts: impl IntoIterator<Item = Vec<Change>>) -> Chain {
        parts.into_iter().for_each(|changes| self.add(changes, |_| Vec::new()));
        self
    }
}

/// The root of what these changes make of nothing, if they are a tree's.
fn tree(changes: &[Change]) -> Root {
    let records = changes.iter().filter_map(|change| {
        let New { node, meta, .. } = change.new.clone()?;
        let entry = Entry { path: change.path.clone(), node, meta };
        Some(Arc::new(Record { entry, signature: None, trust: None }))
    });
    DirIndex::from_records(records).map_or(Root([255; 32]), |index| index.root())
}

/// An archive of `diff` by `docs/format.md`.
fn archive(diff: &DiffIndex, body: impl Fn(&Change) -> Vec<u8>) -> Vec<u8> {
    let encoded = diff.encode(Signatures::None).unwrap();
    let mut index = Vec::new();
    encoded.write_to(&mut index, |_| Ok(())).unwrap();
    let (mut stream, mut blocks, mut deltas, mut contents) = (vec![], vec![], vec![], vec![]);
    let member = TarMember::new("diff.index", &index).to_bytes();
    let (start, mut rest) = member.split_at(512 + encoded.blocks_at() as usize);
    stream.push(start);
    for (changes, seal) in encoded.blocks() {
        let (block, after) = rest.split_at(seal.stored_len as usize);
        stream.push(block);
        rest = after;
        let (before, deltas_before) = (contents.len(), deltas.len());
        for change in changes {
            let Some(content) = change.stored_content() else { continue };
            let (body, delta) = (body(change), matches!(content, Content::Delta { .. }));
            let hash = Digest(Sha256::digest(change.path.as_bytes()).into());
            let folder = if delta { "updated" } else { "created" };
            contents.extend(TarMember::new(&format!("{folder}/{hash:.32}"), &body).to_bytes());
            deltas.extend(delta.then_some(body.len() as u64));
        }
        let (contents, deltas) = (contents.len() - before, deltas.len() - deltas_before);
        let (contents, deltas) = (contents as u64, deltas as u64);
        blocks.push(BlockRow { first: changes[0].path.clone(), seal, contents, deltas });
    }
    stream.push(rest);
    let paths = TarMember::new("PATHS", b"").to_bytes();
    stream.push(&paths);
    stream.extend(contents.chunks(1 << 20));
    let packed = stream.iter().map(|chunk| pack(Format::Zstd, chunk)).collect::<Vec<_>>();
    let row = |(packed, chunk): (&Vec<u8>, &&[u8])| {
        let check = *blake3::hash(packed).as_bytes().first_chunk().unwrap();
        Row { stored: packed.len() as u32, len: chunk.len() as u32, check }
    };
    let rows: Vec<Row> = packed.iter().zip(&stream).map(row).collect();
    let (base, result, diff) = (diff.base(), diff.result(), index.len() as u64);
    let head = Head { base, result, diff, blocks_at: encoded.blocks_at(), paths: 0, volume: 0 };
    let mut writer = Writer::new(Vec::new(), *b"TABL").unwrap();
    writer.section(&Section::encode(1, &head).unwrap()).unwrap();
    writer.section(&Section::encode(2, &rows).unwrap()).unwrap();
    writer.section(&Section::encode(3, &blocks).unwrap()).unwrap();
    writer.section(&Section::encode(4, &deltas).unwrap()).unwrap();
    let body = writer.finish().unwrap();
    let table = [TarMember::new("TABLE", &body).to_bytes(), vec![0; 1024]].concat();
    let table: Vec<u8> = table.chunks(1 << 20).flat_map(|part| pack(Format::Zstd, part)).collect();
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

fn copy(at: u64, len: u64) -> Vec<u8> {
    [&[0x54][..], &at.to_be_bytes(), &len.to_be_bytes()].concat()
}

fn delta(commands: &[Vec<u8>]) -> Vec<u8> {
    [b"rs\x026".to_vec(), commands.concat(), vec![0]].concat()
}

/// A directory with so many fifos in it.
fn fifos(dir: &str, count: usize) -> Vec<Change> {
    let below = (0..count).map(|n| comes(format!("{dir}/{n:06}"), Node::Fifo));
    [comes(dir, Node::Dir)].into_iter().chain(below).collect()
}

/// The moves of that directory along `stops`.
fn moves(count: usize, stops: &[String]) -> impl Iterator<Item = Vec<Change>> {
    let below: Vec<(RelPath, Node)> =
        (0..count).map(|n| (path(format!("{n:06}")), Node::Fifo)).collect();
    let hash = content_hash(below.iter().map(|(path, node)| (path, node))).unwrap();
    stops.windows(2).map(move |ends| {
        let content = Content::Tree { base: path(&ends[0]), hash, entries: count as u64 };
        let to = change(&path(&ends[1]), None, Some((Node::Dir, content)));
        vec![to, goes(&ends[0], Node::Dir)]
    })
}

/// `files` files that go through `deltas`, each of which is said to make these lengths.
fn composed(files: usize, first: &[u8], deltas: &[(Vec<u8>, u64)]) -> Chain {
    let mut chain = Chain::new();
    let names: Vec<RelPath> = (0..files).map(|n| path(format!("f{n:05}"))).collect();
    let all = |old: Option<&Node>, node: &Node, content: &dyn Fn(&RelPath) -> Content| {
        let one = |name| change(name, old.cloned(), Some((node.clone(), content(name))));
        names.iter().map(one).collect::<Vec<Change>>()
    };
    let mut node = file(first);
    chain.add(all(None, &node, &|_| Content::Whole), |_| first.to_vec());
    for (number, (bytes, len)) in deltas.iter().enumerate() {
        let Node::File { digest, .. } = node else { unreachable!() };
        let next = Node::File { len: *len, digest: said(number) };
        let content = |name: &RelPath| Content::Delta { base: name.clone(), digest };
        chain.add(all(Some(&node), &next, &content), |_| bytes.clone());
        node = next;
    }
    chain
}

fn doubling(steps: u32) -> Vec<(Vec<u8>, u64)> {
    let swap = (delta(&[copy(1, 1), copy(0, 1)]), 2);
    let double = |step| (delta(&[copy(0, 1u64 << step), copy(0, 1u64 << step)]), 2u64 << step);
    [swap].into_iter().chain((1..steps).map(double)).collect()
}

/// Runs that do not join, gone through again and again.
fn shuffled(runs: u64, steps: usize) -> Vec<(Vec<u8>, u64)> {
    let back: Vec<Vec<u8>> = (0..runs).rev().map(|at| copy(2 * at, 2)).collect();
    let again = (delta(&[copy(0, 2 * runs)]), 2 * runs);
    [(delta(&back), 2 * runs)].into_iter().chain(std::iter::repeat_n(again, steps)).collect()
}

fn xattrs(count: usize, each: usize, len: usize) -> Vec<Change> {
    let xattrs: Vec<Xattr> = (0..each)
        .map(|n| Xattr { name: format!("user.{n:05}").into(), value: vec![0; len] })
        .collect();
    let file = |n| {
        let mut change = comes(format!("{n:06}"), Node::Fifo);
        change.new.as_mut().unwrap().meta.xattrs = xattrs.clone().into();
        change
    };
    (0..count).map(file).collect()
}

/// As many changes as there are to one letter's files, one archive after the other.
fn each(letters: &str, of: impl Fn(&str) -> Vec<Change>) -> Vec<Vec<Change>> {
    letters.split("").filter(|letter| !letter.is_empty()).map(of).collect()
}

fn chains() -> Vec<(&'static str, Chain)> {
    let plain = |parts: Vec<Vec<Change>>| Chain::new().without_contents(parts);
    let moved = |count: usize, stops: Vec<String>| {
        let first = fifos(&stops[0], count);
        Chain::new().without_contents([first].into_iter().chain(moves(count, &stops)))
    };
    let numbered = |count: usize| (0..count).map(|n| format!("d{n}")).collect::<Vec<_>>();
    let long = || deep("long", 8000);
    let turns = |count: usize| {
        (0..count).map(|n| if n % 2 == 0 { format!("d{n}") } else { deep(&format!("l{n}"), 8000) })
    };
    let content = b"0123456789abcdef";
    let (one, first) = (file(content), path("a"));
    let stored = |others: Vec<Change>| {
        let mut chain = Chain::new();
        let whole = change(&first, None, Some((one.clone(), Content::Whole)));
        chain.add([whole].into_iter().chain(others).collect(), |_| content.to_vec());
        chain
    };
    let same = |n| {
        let content = Content::Same { path: first.clone() };
        change(&path(format!("b{n:06}")), None, Some((one.clone(), content)))
    };
    let link = |at: String| comes(at, Node::HardLink { to: first.clone() });
    let copies = |mut chain: Chain, base: &RelPath, node: &Node, count: usize| {
        let content = || Content::Copy { base: base.clone() };
        let copy = |n| change(&path(format!("x{n:06}")), None, Some((node.clone(), content())));
        chain.add((0..count).map(copy).collect(), |_| Vec::new());
        chain
    };
    let deltas = |count: usize| composed(1, content, &vec![(delta(&[copy(0, 16)]), 16); count]);
    let nested = (1..4000).map(|depth| comes(&deep("d", 2 * depth)[..2 * depth - 1], Node::Dir));
    let links =
        |at: usize| comes(format!("l{at:05}"), Node::Symlink { target: vec![b'/'; 60_000] });
    let cycle = |n: usize| match n % 2 {
        0 => fifos("d", 60_000),
        _ => fifos("d", 60_000)
            .into_iter()
            .map(|it| goes(it.path.as_bytes(), it.new.unwrap().node))
            .collect(),
    };
    vec![
        ("300,000 fifos", plain(vec![fifos("d", 300_000)])),
        ("a million fifos", plain(vec![fifos("d", 1_000_000)])),
        ("300,000 fifos in six archives", plain(each("abcdef", |dir| fifos(dir, 50_000)))),
        ("60,000 fifos that come and go", plain((0..8).map(cycle).collect())),
        (
            "deep paths",
            plain(each("abcd", |dir| {
                (0..20_000).map(|n| comes(deep(&format!("{dir}{n:05}"), 8000), Node::Dir)).collect()
            })),
        ),
        ("directories each in the one before", plain(vec![nested.collect()])),
        ("20,000 paths that move 50 times", moved(20_000, numbered(50))),
        ("2,000 paths that move 400 times", moved(2_000, numbered(400))),
        ("50,000 paths that move to a long one", moved(50_000, vec!["d".into(), long()])),
        ("5,000 paths that move to long ones and back", moved(5_000, turns(40).collect())),
        (
            "100 deltas, then 50,000 copies",
            copies(deltas(100), &path("f00000"), &Node::File { len: 16, digest: said(99) }, 50_000),
        ),
        ("400 deltas of one file", deltas(400)),
        ("runs that double", composed(20, b"ab", &doubling(22))),
        ("runs that double, in many files", composed(2_000, b"ab", &doubling(15))),
        (
            "runs that are looked at again and again",
            composed(1, &[7; 40_000], &shuffled(20_000, 150)),
        ),
        ("100,000 files of one content", stored((0..100_000).map(same).collect())),
        (
            "100,000 hard links to one file",
            stored((0..100_000).map(|n| link(format!("b{n:06}"))).collect()),
        ),
        (
            "deep hard links",
            stored((0..10_000).map(|n| link(deep(&format!("b{n:05}"), 8000))).collect()),
        ),
        (
            "copies out of deep paths",
            copies(plain(vec![fifos("d", 3)]), &path(long()), &one, 50_000),
        ),
        ("large attributes", plain(each("abcd", |_| xattrs(1_000, 1, 60_000)))),
        ("many attributes", plain(vec![xattrs(1_000, 3_000, 1)])),
        ("long links", plain(each("abcd", |_| (0..1_000).map(links).collect()))),
        (
            "long names",
            plain(vec![(0..100_000).map(|n| comes(format!("{n:0>255}"), Node::Fifo)).collect()]),
        ),
    ]
}

/// All that a restore and a verification make of a chain, up to its contents.
fn read(archives: &[Archive]) -> Result<(), String> {
    let refused = |error: archive::Error| in_words(error);
    let all =
        DiffData::squash(&Archive::load_chain(archives).map_err(refused)?).map_err(refused)?;
    let last = all.diff().changes().iter().rfind(|change| change.new.is_some());
    let last: Vec<RelPath> = last.into_iter().map(|change| change.path.clone()).collect();
    let proof = all.prove().map_err(refused);
    let selected = all.select(&last).map(drop).map_err(refused);
    let found = Archive::select_chain(archives, &last).map(drop).map_err(refused);
    let mut reader = all.reader();
    for change in all.diff().changes().iter().filter(|change| change.stored_content().is_some()) {
        let mut body = reader.open(change).map_err(refused)?;
        std::io::copy(&mut body.by_ref().take(1 << 20), &mut std::io::sink())
            .map_err(|error| error.to_string())?;
    }
    proof.and(selected).and(found)
}

#[test]
#[ignore = "makes large chains: run it by name"]
fn twenty_chains_that_are_made_to_cost_much() {
    let meter = Meter::alone();
    let chains = chains();
    assert!(chains.len() >= 20);
    let mut taken = 0;
    for (name, chain) in chains {
        let size: usize = chain.archives.iter().map(Vec::len).sum();
        assert!(size < LIMIT, "{name}: {size}");
        let result = meter.within(name, 256 << 20, 5, || {
            let open = |bytes| Archive::from_source(bytes, "hostile").map_err(in_words);
            let archives = chain.archives.into_iter().map(open).collect::<Result<Vec<_>, _>>();
            archives.and_then(|archives| read(&archives))
        });
        taken += usize::from(result.is_ok());
    }
    assert!(taken > 0, "nothing was read: nothing was tested");
}

/// A chain is refused where each of its archives by itself is not.
#[test]
fn a_chain_takes_no_more_memory_than_one_archive() {
    let _alone = Meter::alone();
    let part = |dir: &str| {
        (0..5_000).map(|n| comes(deep(&format!("{dir}{n:05}"), 8000), Node::Dir)).collect()
    };
    let chain = Chain::new().without_contents(each("abcd", part));
    let open = |bytes| Archive::from_source(bytes, "hostile").unwrap();
    let archives: Vec<Archive> = chain.archives.into_iter().map(open).collect();
    archives.iter().for_each(|archive| drop(archive.load().unwrap()));
    let error = in_words(Archive::load_chain(&archives).unwrap_err());
    assert!(error.contains("with the archives before it, it takes"), "{error}");
}
