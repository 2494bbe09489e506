//! The seeds in `fuzz/seeds`: for each fuzz target a few inputs that reach deep, made of the golden
//! trees. `cargo test --test golden -- --ignored seeds` writes them anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use incremental_backups_tools::container::{Section, Sections, Writer};
use incremental_backups_tools::parity::{File, Redundancy, protect};
use incremental_backups_tools::rsync_core::{Delta, Sums};
use incremental_backups_tools::{
    Content, DiffData, DiffIndex, Digest, DirIndex, Entry, IndexRun, Meta, Node, ProblemKind,
    RelPath, Signature, SignatureOptions, Time, TreeId,
};

use crate::tree;

/// A length and the bytes, as the targets' `Input::part` takes them.
fn part(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_le_bytes()[..], bytes].concat()
}

/// The sections of `kind` in a container.
fn raw(container: &[u8], file_kind: [u8; 4], kind: u32) -> Vec<u8> {
    let sections = Sections::from_bytes(container.to_vec(), file_kind).unwrap();
    sections.of_kind(kind).flat_map(|number| sections.raw(number).unwrap()).collect()
}

/// A value as it is encoded in a section.
fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), *b"SEED").unwrap();
    writer.section(&Section::encode(1, value).unwrap()).unwrap();
    raw(&writer.finish().unwrap(), *b"SEED", 1)
}

fn write(target: &str, name: &str, seed: impl AsRef<[u8]>) {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds")).join(target);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), seed).unwrap();
}

#[test]
#[ignore = "writes into fuzz/seeds"]
fn seeds() {
    paths();
    excludes();
    indexes();
    runs();
    diffs();
    archives();
    applies();
    deltas();
    parities();
}

fn parities() {
    let mut seed = Vec::new();
    let redundancy = Redundancy::percent(20).unwrap();
    protect(&[File::alone(&vec![7; 5000])], redundancy, &mut seed, None).unwrap();
    write("parity", "small", &seed);
}

fn paths() {
    write("path", "plain", "dir1/subdir1/file");
    write("path", "odd", b"a-b/...\xff\n/\xc3\xa9");
    write("path", "stage", "a/.ibtools-apply");
}

fn excludes() {
    let seed = |name, content: &[u8], path: &str| {
        write("exclude", name, [&part(content)[..], path.as_bytes()].concat());
    };
    let notes = b"\xef\xbb\xbf# notes\r\n*.o\r\n!keep.o\n/build/\ndoc/**/*.txt\n";
    seed("plain", notes, "doc/a/b.txt");
    let classes = b"[[:alpha:]]x[!a-c^]\n[]a-]\n[\\]-z]\\ \na\\\n[[:foo:]]\n[[::]\n";
    seed("classes", classes, "ax-");
    let stars = b"a**/b\n**/a/**/b\n***/c\nx/**\\/y\n**\n**/a/**/a/**/a/**/b\n";
    seed("stars", stars, "a/a/a/a/a/c");
}

fn indexes() {
    for (name, index) in [("tree", tree::index(1)), ("wide", tree::wide_index(2))] {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        // The fields of a `Problem`.
        let problem = (
            RelPath::new("rotten").unwrap(),
            ProblemKind::BitRot,
            "content changed",
            vec![(0_u64, 1024_u64), (4096, 5000)],
        );
        let problems = encoded(&vec![problem]);
        let of = |kind| raw(&bytes, *b"INDX", kind);
        let excluded =
            encoded(&["cache", "large"].map(|path| RelPath::new(path).unwrap()).to_vec());
        let parts = [part(&of(1)), part(&of(2)), part(&problems), part(&excluded), of(3)];
        write("index", name, parts.concat());
    }
    write("index", "huge", part(&huge()));
}

/// An index of one file of 2^61 blocks, whose signature would have 0 bytes in 64 bits.
fn huge() -> Vec<u8> {
    let path = RelPath::new("huge").unwrap();
    let node = Node::File { len: 1 << 61, digest: Digest([0; 32]) };
    let mtime = Time { secs: 0, nanos: 0 };
    let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    let shape = Some((1u32, 0u8, 18u8));
    encoded(&vec![(Entry { path, node, meta }, shape)])
}

fn runs() {
    let mut bytes = Vec::new();
    IndexRun::between(tree::wide_index(1), tree::wide_index(2))
        .unwrap()
        .write_to(&mut bytes)
        .unwrap();
    let of = |kind| raw(&bytes, *b"IRUN", kind);
    write("index_run", "wide", [part(&of(1)), part(&[]), part(&[]), of(3)].concat());
}

fn diffs() {
    for (name, old, new) in [
        ("change", tree::wide_index(1), tree::wide_index(2)),
        ("full", DirIndex::empty(), tree::index(1)),
    ] {
        let bytes = DiffIndex::between(&old, &new).to_bytes().unwrap();
        let of = |kind| raw(&bytes, *b"DIFF", kind);
        write("diff", name, [part(&of(2)), of(3)].concat());
    }
}

fn archives() {
    let mut chain = Vec::new();
    for name in ["full.tgz", "change.tar.zst"] {
        let golden = crate::path(name);
        let data = DiffData::open(&golden).unwrap();
        let diff = data.diff().to_bytes().unwrap();
        let of = |kind| raw(&diff, *b"DIFF", kind);
        let (_, contents) = crate::contents(&data);
        let is_delta = |path| {
            let change = data.diff().get(path).unwrap();
            matches!(change.stored_content(), Some(Content::Delta { .. }))
        };
        let deltas = contents.iter().filter(|(path, _)| is_delta(path));
        let lens = deltas.flat_map(|(_, body)| (body.len() as u16).to_le_bytes());
        // The target's archives lead from the empty tree to a root of zeros.
        let (base, result) = (data.diff().base().to_string(), data.diff().result().to_string());
        let paths = Command::new("tar").arg("-xOf").arg(golden).arg("PATHS").output().unwrap();
        let paths = String::from_utf8(paths.stdout).unwrap();
        let paths = paths.replacen(&base, &DirIndex::empty().tree_id().to_string(), 1);
        let paths = paths.replacen(&result, &TreeId([0; 32]).to_string(), 1);
        let bends = [[2, 0, 0, 0], [0, 255, 2, 0]].concat();
        let head = [
            vec![u8::from(name.ends_with("zst"))],
            part(&of(2)),
            part(&of(3)),
            part(paths.as_bytes()),
            part(&lens.collect::<Vec<_>>()),
            part(&bends),
        ];
        let bodies = contents.into_iter().flat_map(|(_, body)| body);
        let seed = [head.concat(), bodies.collect()].concat();
        write("archive", name, &seed);
        chain.push(seed);
        write("archive", &format!("{name}.whole"), fs::read(crate::path(name)).unwrap());
    }
    // The change starts from what the full backup leads to.
    let [full, change] = chain.as_slice() else { panic!("two archives") };
    write("squash", "full-change", [part(full), change.clone()].concat());
    // What follows that again, and contradicts it.
    write("chain", "full-change-change", [part(full), part(change), change.clone()].concat());
    let nothing =
        [vec![1], [part(&[]), part(&[]), part(&[]), part(&[]), part(&[])].concat()].concat();
    write("chain", "full-change-nothing", [part(full), part(change), nothing].concat());
    volumes(full);
}

/// The full backup as one volume and its table, as one file, and in pieces.
fn volumes(full: &[u8]) {
    let cut =
        |cuts: &[u16]| part(&cuts.iter().flat_map(|cut| cut.to_le_bytes()).collect::<Vec<_>>());
    write("volumes", "table", [cut(&[u16::MAX]), full.to_vec()].concat());
    write("volumes", "whole", [cut(&[]), full.to_vec()].concat());
    write("volumes", "pieces", [cut(&[700, 1400, u16::MAX]), full.to_vec()].concat());
}

/// A full backup of small things, applied and journalled; and an edit of the target's own tree.
fn applies() {
    let mtime = Time { secs: 1_000_000_000, nanos: 0 };
    let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    let new = |node: Node, content: Content| (node, meta.clone(), content, None::<(u32, u8, u8)>);
    let file = |content: &[u8]| {
        let node = Node::File { len: content.len() as u64, digest: Digest::of(content) };
        new(node, Content::Whole)
    };
    let path = |path: &str| RelPath::new(path).unwrap();
    // How a change is encoded: what comes is the second of three outcomes.
    #[derive(serde::Serialize)]
    enum Outcome<N> {
        Gone,
        New(N),
    }
    let link = Node::Symlink { target: b"../out".to_vec() };
    let full = vec![
        (path("n"), None::<Node>, Outcome::New(new(Node::Dir, Content::Keep))),
        (path("n/f"), None, Outcome::New(file(b"content"))),
        (path("n/l"), None, Outcome::New(new(link, Content::Keep))),
    ];
    let one = Node::File { len: 3, digest: Digest::of(b"one") };
    let edit = vec![
        (path("a"), Some(one), Outcome::New(file(b"content"))),
        (path("l"), Some(Node::Symlink { target: b"../out".to_vec() }), Outcome::Gone),
    ];
    let archive = |changes: &[u8]| {
        let head = [vec![1], part(changes), part(&[]), part(&[]), part(&[]), part(&[])];
        [head.concat(), b"content".to_vec()].concat()
    };
    for (name, flags, changes, steps) in
        [("full", 2, encoded(&full), &[3, 4, 4][..]), ("edit", 3, encoded(&edit), &[3, 2])]
    {
        write("apply", name, [vec![flags], archive(&changes)].concat());
        let flags = [1 | (flags & 1) << 1];
        let head = [part(&changes), part(steps), part(&encoded(&Vec::<(RelPath, Meta)>::new()))];
        let staged = [vec![1], part(b"1"), part(b"content")].concat();
        write("journal", name, [flags.to_vec(), head.concat(), staged].concat());
    }
}

fn deltas() {
    let (base, new) = (&tree::edited(1)[..600], &tree::edited(2)[100..700]);
    for (number, (name, sums)) in [
        ("Anchor-Blake3", Sums::AnchorBlake3),
        ("Rsync-Sha256", Sums::RsyncSha256),
        ("Rollsum-Md4", Sums::RollsumMd4),
        ("RabinKarp-Blake2b", Sums::RabinKarpBlake2b),
    ]
    .into_iter()
    .enumerate()
    {
        let block_len = Some(if sums == Sums::AnchorBlake3 { 1024 } else { 64 });
        let options = SignatureOptions { block_len, sums, strong_len: 16 };
        let signature = Signature::of_slice(base, &options, None).unwrap();
        let mut bytes = Vec::new();
        signature.write_to(&mut bytes).unwrap();
        write("signature", name, &bytes);
        // The target adds the checksum of what has none.
        write("signature", &format!("{name}-open"), &bytes[..bytes.len() - 32]);
        write("delta", name, [vec![number as u8, 63], part(base), new.to_vec()].concat());
        let delta = Delta::compute(&signature, new, None).unwrap();
        let mut bytes = Vec::new();
        delta.write_to(new, &mut bytes, None).unwrap();
        write("patch", name, [part(base), bytes[4..].to_vec()].concat());
        let again = part(&bytes[4..]);
        write("compose", name, [part(base), again.clone(), again].concat());
    }
}
