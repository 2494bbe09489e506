//! Chains of archives that are made to cost as much as they can: of under 1 MB together, every hash right. Reading one,
//! as a restore or a verification does, takes at most 256 MiB and 5 seconds of processor time, or is refused.

use std::collections::BTreeSet;
use std::io::Read;

use archive::{Archive, Snapshot};
use container::Section;
use diffindex::{Change, Content, NewEntry};
use dirindex::StoredSignature;
use dirindex::{Meta, Node, RelPath, Time, Xattr, content_hash};
use rsync_core::{Digest, Shape, Signature, Sums};

use crate::chain::{Chain, open};
use crate::common::chain as in_words;
use crate::limits::Meter;

fn path(path: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(path.as_ref()).unwrap()
}

fn meta(secs: i64) -> Meta {
    let mtime = Time { secs, nanos: 0 };
    Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() }
}

fn change(at: &RelPath, old: Option<Node>, new: Option<(Node, Content)>) -> Change {
    let new = new.map(|(node, content)| NewEntry { node, meta: meta(1), content, signature: None });
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
        .map(|n| Xattr {
            name: vec![1 + (n / 250) as u8, 1 + (n % 250) as u8],
            value: vec![0; len],
        })
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

fn plain(parts: impl IntoIterator<Item = Vec<Change>>) -> Chain {
    Chain::new().without_contents(parts)
}

/// A directory with so many fifos in it that moves along `stops`.
fn moved(count: usize, stops: Vec<String>) -> Chain {
    let above = stops.iter().flat_map(|stop| above(stop)).collect::<BTreeSet<_>>();
    let above = above.into_iter().map(|dir| comes(dir.as_bytes(), Node::Dir));
    let first = fifos(&stops[0], count).into_iter().chain(above).collect();
    plain([first].into_iter().chain(moves(count, &stops)))
}

/// The directories that `path` lies in.
fn above(at: &str) -> Vec<RelPath> {
    path(at).ancestors().map(|dir| path(dir.as_bytes())).collect()
}

/// What comes, and goes again, and so on.
fn cycle(times: usize, comes: impl Fn() -> Vec<Change>) -> Chain {
    let gone = |it: Change| change(&it.path, Some(it.new.unwrap().node), None);
    plain((0..times).map(|n| match n % 2 {
        0 => comes(),
        _ => comes().into_iter().map(gone).collect(),
    }))
}

fn long() -> String {
    deep("long", 8000)
}

const CONTENT: &[u8] = b"0123456789abcdef";

/// A file `a`, and `others`.
fn stored(others: Vec<Change>) -> Chain {
    let mut chain = Chain::new();
    let whole = change(&path("a"), None, Some((file(CONTENT), Content::Whole)));
    chain.add([whole].into_iter().chain(others).collect(), |_| CONTENT.to_vec());
    chain
}

fn copies(mut chain: Chain, base: &str, node: &Node, count: usize) -> Chain {
    let content = || Content::Copy { base: path(base) };
    let copy = |n| change(&path(format!("x{n:06}")), None, Some((node.clone(), content())));
    chain.add((0..count).map(copy).collect(), |_| Vec::new());
    chain
}

/// One content of many runs, of which many files are made in some more steps.
fn shared(runs: u64, files: usize, steps: usize) -> Chain {
    let len = 2 * runs;
    let chain = composed(1, &vec![7; len as usize], &shuffled(runs, 0));
    let mut chain = copies(chain, "f00000", &Node::File { len, digest: said(0) }, files);
    for step in 0..steps {
        let again = |n| {
            let name = path(format!("x{n:06}"));
            let node = |step: usize, n| Node::File { len, digest: said(step * 1_000_000 + n) };
            let old = if step == 0 { Node::File { len, digest: said(0) } } else { node(step, n) };
            let Node::File { digest, .. } = old else { unreachable!() };
            let content = Content::Delta { base: name.clone(), digest };
            change(&name, Some(old), Some((node(step + 1, n), content)))
        };
        chain.add((0..files).map(again).collect(), |_| delta(&[copy(0, len)]));
    }
    chain
}

/// Signatures of 24 MiB each that are zeros.
fn signatures(archives: usize, each: usize) -> Chain {
    let shape = Shape { block_len: 1 << 10, sums: Sums::AnchorBlake3, strong_len: 18 };
    let blocks = 1 << 20;
    let zeros = vec![0; blocks * shape.bytes_per_block()];
    let len = (blocks as u64) << 10;
    let signature = Signature::from_packed(shape, len, Some(said(0)), zeros).unwrap();
    let signature = StoredSignature::new(signature);
    let mut chain = Chain::new();
    let name = |n| path(format!("f{n}"));
    let first = (0..each).map(|n| change(&name(n), None, Some((file(CONTENT), Content::Whole))));
    chain.add(first.collect(), |_| CONTENT.to_vec());
    let mut old = file(CONTENT);
    for step in 0..archives {
        let Node::File { digest, .. } = old else { unreachable!() };
        let node = Node::File { len, digest: said(step) };
        let signed = |n| {
            let content = Content::Delta { base: name(n), digest };
            let mut change = change(&name(n), Some(old.clone()), Some((node.clone(), content)));
            change.new.as_mut().unwrap().signature = Some(signature.clone());
            change
        };
        chain.add((0..each).map(signed).collect(), |_| delta(&[copy(0, 1)]));
        old = node;
    }
    chain
}

/// Lists of what was left out, of long paths.
fn left_out(archives: usize, lists: usize) -> Chain {
    let mut chain = plain([fifos("d", 1)]);
    let list = |list| {
        let paths = (0..1000).map(|n| path(deep(&format!("{list:03}{n:04}"), 8000)));
        Section::encode(4, &paths.collect::<Vec<_>>()).unwrap()
    };
    let lists: Vec<Section> = (0..lists).map(list).collect();
    (0..archives).for_each(|_| chain.add_sections(&lists));
    chain
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("d{n}")).collect()
}

/// A short path and a long one in turns.
fn turns(count: usize) -> Vec<String> {
    let stop = |n| if n % 2 == 0 { format!("d{n}") } else { format!("{}/l{n}", long()) };
    (0..count).map(stop).collect()
}

/// A file with the content of `a`.
fn same(number: usize) -> Change {
    let content = Content::Same { path: path("a") };
    change(&path(format!("b{number:06}")), None, Some((file(CONTENT), content)))
}

fn link(at: String) -> Change {
    comes(at, Node::HardLink { to: path("a") })
}

fn deep_link(number: usize) -> [Change; 2] {
    let (to, at) = (deep(&format!("b{number:05}"), 4000), deep(&format!("c{number:05}"), 4000));
    [comes(&to, file(b"")), comes(at, Node::HardLink { to: path(to) })]
}

fn deltas(count: usize) -> Chain {
    composed(1, CONTENT, &vec![(delta(&[copy(0, 16)]), 16); count])
}

fn nested() -> Vec<Change> {
    (1..4000).map(|depth| comes(&deep("d", 8000)[..2 * depth - 1], Node::Dir)).collect()
}

fn symlinks(count: usize) -> Vec<Change> {
    let target = vec![b'/'; 60_000];
    let link = |n| comes(format!("l{n:05}"), Node::Symlink { target: target.clone() });
    (0..count).map(link).collect()
}

fn dirs(start: &str, count: usize) -> Vec<Change> {
    (0..count).map(|n| comes(deep(&format!("{start}{n:05}"), 8000), Node::Dir)).collect()
}

/// A chain by its name, made when it is asked for.
type Named = (&'static str, fn() -> Chain);

fn chains() -> Vec<Named> {
    vec![
        ("480,000 fifos", || plain([fifos("d", 480_000)])),
        ("330,000 fifos in six archives", || plain(each("abcdef", |dir| fifos(dir, 55_000)))),
        ("60,000 fifos that come and go", || cycle(8, || fifos("d", 60_000))),
        ("deep paths", || plain([dirs("a", 22_000)])),
        ("deep paths in four archives", || plain(each("abcd", |dir| dirs(dir, 5_000)))),
        ("directories each in the one before", || plain([nested()])),
        ("such directories that come and go", || cycle(5, nested)),
        ("12,000 paths that move 50 times", || moved(12_000, numbered(50))),
        ("200,000 paths that move 50 times", || moved(200_000, numbered(50))),
        ("1,500 paths that move 400 times", || moved(1_500, numbered(400))),
        ("50,000 paths that move to a long one", || moved(50_000, vec!["d".into(), long()])),
        ("5,000 paths that move to long ones and back", || moved(5_000, turns(40))),
        ("100 deltas, then 50,000 copies", || {
            copies(deltas(100), "f00000", &Node::File { len: 16, digest: said(99) }, 50_000)
        }),
        ("400 deltas of one file", || deltas(400)),
        ("runs that double", || composed(20, b"ab", &doubling(22))),
        ("runs that double, in many files", || composed(2_000, b"ab", &doubling(15))),
        ("runs that are looked at again and again", || {
            composed(1, &[7; 40_000], &shuffled(20_000, 150))
        }),
        ("one content that many are made of", || shared(20_000, 2_000, 2)),
        ("100,000 files of one content", || stored((0..100_000).map(same).collect())),
        ("100,000 hard links to one file", || {
            stored((0..100_000).map(|n| link(format!("b{n:06}"))).collect())
        }),
        ("deep hard links", || {
            stored((0..10_000).map(|n| link(deep(&format!("b{n:05}"), 8000))).collect())
        }),
        ("hard links to deep files", || plain([(0..10_000).flat_map(deep_link).collect()])),
        ("copies out of deep paths", || {
            copies(plain([fifos("d", 3)]), &long(), &file(CONTENT), 10_000)
        }),
        ("large attributes", || plain([xattrs(2_800, 1, 60_000)])),
        ("large attributes in three archives", || cycle(3, || xattrs(480, 1, 60_000))),
        ("many attributes", || plain([xattrs(2_800, 3_000, 1)])),
        ("attributes of four bytes", || plain([xattrs(2_900, 3_000, 0)])),
        ("more of them", || plain([xattrs(11_000, 3_000, 0)])),
        ("long links", || plain([symlinks(2_800)])),
        ("long links in two archives", || cycle(3, || symlinks(700))),
        ("long names", || {
            plain([(0..100_000).map(|n| comes(format!("{n:0>255}"), Node::Fifo)).collect()])
        }),
        ("signatures", || signatures(1, 2)),
        ("signatures in three archives", || signatures(3, 1)),
        ("what was left out", || left_out(1, 8)),
        ("what was left out of six archives", || left_out(6, 8)),
    ]
}

/// All that a restore and a verification make of a chain, up to its contents.
fn read(archives: &[Archive]) -> Result<(), String> {
    let snapshot = Snapshot::open(archives).map_err(in_words)?;
    let mut reader = snapshot.reader();
    for entry in snapshot.entries() {
        let entry = entry.map_err(in_words)?;
        if entry.entry().node.is_empty() {
            continue;
        }
        let mut body = reader.open(entry.entry().path).map_err(in_words)?;
        std::io::copy(&mut body.by_ref().take(1 << 20), &mut std::io::sink())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The same of the last path alone, and of the outermost directory that it lies in: without the rest.
fn select(archives: &[Archive], last: &RelPath) -> Result<(), String> {
    let found = |path: &RelPath| Snapshot::find(archives, std::slice::from_ref(path));
    let outermost = last.ancestors().last().map(|dir| RelPath::new(dir.as_bytes()).unwrap());
    found(last).map_err(in_words)?;
    outermost.map_or(Ok(()), |dir| found(&dir).map(drop).map_err(in_words))
}

fn costs_little(chains: impl Iterator<Item = Named>) {
    let meter = Meter::alone();
    let (mut read_by, mut chains_read) = (0, 0);
    for (name, make) in chains {
        let chain = make();
        let (archives, last) = (chain.padded(name), chain.last());
        drop(chain);
        let opened = || archives.iter().cloned().map(open).collect::<Result<Vec<_>, _>>();
        let opened = || opened().map_err(in_words);
        let all = meter.within(name, 256 << 20, 5, || read(&opened()?));
        let one = meter.within(name, 256 << 20, 5, || select(&opened()?, &last));
        read_by += usize::from(all.is_ok()) + usize::from(one.is_ok());
        chains_read += 1;
    }
    assert!(2 * read_by > chains_read, "nearly nothing was read: nearly nothing was tested");
}

/// Most of the time goes into making the chains. So the suite takes every fifth one.
#[test]
fn chains_that_are_made_to_cost_much() {
    costs_little(chains().into_iter().step_by(5));
}

#[test]
#[ignore = "a minute; cargo xtask crash"]
fn long_chains_that_are_made_to_cost_much() {
    costs_little(chains().into_iter());
}

/// A chain is refused where each of its archives by itself is not.
#[test]
fn a_chain_takes_no_more_memory_than_one_archive() {
    let _alone = Meter::alone();
    let part = |dir: &str| {
        (0..5_000).map(|n| comes(deep(&format!("{dir}{n:05}"), 8000), Node::Dir)).collect()
    };
    let archives = plain(each("abcd", part)).opened().unwrap();
    archives.iter().for_each(|archive| drop(archive.load().unwrap()));
    let error = in_words(Snapshot::open(&archives).unwrap_err());
    assert!(error.contains("with the archives before it, it takes"), "{error}");
}

/// Who reads all of a chain would find such paths, and who looks up the directory would not.
#[test]
fn what_stands_where_no_directory_is() {
    let _alone = Meter::alone();
    let dir = || comes("d", Node::Dir);
    let inside = || comes("d/f", Node::Fifo);
    for (parts, problem) in [
        (vec![vec![inside()], vec![dir()]], "a path whose parent is not a directory at d/f"),
        (
            vec![vec![comes("z", Node::Dir)], vec![inside()]],
            "something new where no directory is at d/f",
        ),
        (
            vec![vec![dir(), inside()], vec![goes("d", Node::Dir)]],
            "something is left below a directory that goes at d",
        ),
    ] {
        let error = in_words(Snapshot::open(&plain(parts).opened().unwrap()).unwrap_err());
        assert!(error.ends_with(problem), "{error}");
    }
}
