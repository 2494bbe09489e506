//! The golden files in `testdata/v1`: each format as its first version was written. They are read
//! for ever; what is written today is held against them.
//!
//! A format that changes before the first release, or a file that is added: remove what is to be
//! made anew and run `cargo test --test golden -- --ignored regenerate`, which never overwrites.
//! After the release, no file here changes; a new version gets a directory of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod seeds;
mod tree;

use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use incremental_backups_tools::container::Sections;
use incremental_backups_tools::parity::{File, Parity, Redundancy, protect};
use incremental_backups_tools::rsync_core::{Delta, patch};
use incremental_backups_tools::{
    DiffData, DiffIndex, Digest, Dir, DirIndex, IndexRun, Node, RelPath, Signature,
    SignatureOptions, apply_diff,
};

/// Everything in `testdata/v1`.
const FILES: [&str; 10] = [
    "change.diff",
    "change.tar.zst",
    "change.tgz",
    "file.delta",
    "file.parity",
    "file.rdiff-blake2.sig",
    "file.sig",
    "full.tgz",
    "tree.index",
    "tree.run",
];

const EMPTY_ROOT: &str = "75e8659c75e74ec0eace61efb19314dbba50598a9c0c2fcbe9ed896d9752ced8";
const ROOT_1: &str = "5aaa95997ed7e376e99d7cf60d0dbdb363e044269dd0f1edb12996c1cde20c21";
const ROOT_2: &str = "6ca1a232d7a26fd1f062bfb86ca7235fbcdb01a01ed3cb13cc497cd2bca35c24";
const WIDE_ROOT_1: &str = "16d9b3c6dc472cb18bf452ce1410c92273879e5545acdb7e8f7b01de7bded766";
const WIDE_ROOT_2: &str = "8c54ffef7c4cdc2e99f1703b796ff884104679366eac934e68572c01850ad6cc";

fn path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/v1")).join(name)
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

/// The file as it is written today.
fn written_now(name: &str) -> Vec<u8> {
    let (old, new) = (tree::edited(1), tree::edited(2));
    let signature = |options| Signature::of_slice(&old, &options, None).unwrap();
    let mut out = Vec::new();
    match name {
        "tree.index" => tree::wide_index(1).write_to(&mut out).unwrap(),
        "tree.run" => change_run().write_to(&mut out).unwrap(),
        "change.diff" => out = wide_change().to_bytes().unwrap(),
        "full.tgz" => out = archive(&DirIndex::empty(), 1, name),
        "change.tgz" | "change.tar.zst" => out = archive(&tree::index(1), 2, name),
        "file.sig" => signature(SignatureOptions::default()).write_to(&mut out).unwrap(),
        "file.rdiff-blake2.sig" => {
            signature(SignatureOptions::rdiff_blake2()).write_to(&mut out).unwrap();
        }
        "file.delta" => {
            let signature = signature(SignatureOptions::default());
            let delta = Delta::compute(&signature, &new, None).unwrap();
            delta.write_to(&new, &mut out, None).unwrap();
        }
        "file.parity" => {
            let redundancy = Redundancy::percent(20).unwrap();
            protect(&[File::alone(&old)], redundancy, &mut out, None).unwrap();
        }
        _ => panic!("how is {name} made?"),
    }
    out
}

fn wide_change() -> DiffIndex {
    DiffIndex::between(&tree::wide_index(1), &tree::wide_index(2))
}

fn change_run() -> IndexRun {
    IndexRun::between(tree::wide_index(1), tree::wide_index(2)).unwrap()
}

/// The archive that leads from `old` to the tree of `generation`.
fn archive(old: &DirIndex, generation: u8, name: &str) -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("tree");
    tree::fill(&root, generation);
    let diff = DiffIndex::between(old, &tree::index(generation));
    let file = temp.path().join(name);
    DiffData::create(&Dir::new(root).unwrap(), old, &diff, &file).unwrap();
    fs::read(file).unwrap()
}

/// Kinds and contents.
type RawSections = Vec<(u32, Vec<u8>)>;

/// The sections of a container. Their stored bytes are zstd's, and another version of it may
/// compress in another way; all that the format fixes is in here.
fn sections(bytes: Vec<u8>, file_kind: [u8; 4]) -> RawSections {
    let sections = Sections::from_bytes(bytes, file_kind).unwrap();
    let kind = |number| (1..=7).find(|&kind| sections.of_kind(kind).any(|n| n == number)).unwrap();
    (0..sections.count()).map(|number| (kind(number), sections.raw(number).unwrap())).collect()
}

fn index_sections(index: &DirIndex) -> RawSections {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).unwrap();
    sections(bytes, *b"INDX")
}

/// All that an archive holds: its diff and each stored content. Headers and PATHS follow from the
/// diff, and a reader takes no others; the rest is the compressor's.
fn contents(data: &DiffData) -> (RawSections, Vec<(RelPath, Vec<u8>)>) {
    data.verify(None).unwrap();
    let mut reader = data.reader();
    let stored = data.diff().changes().iter().filter(|change| change.stored_content().is_some());
    let bodies = stored.map(|change| {
        let mut body = Vec::new();
        reader.open(change).unwrap().read_to_end(&mut body).unwrap();
        (change.path.clone(), body)
    });
    (sections(data.diff().to_bytes().unwrap(), *b"DIFF"), bodies.collect())
}

fn shown(paths: &[(&str, &[&RelPath])]) -> String {
    let line = |(name, paths): &(&str, &[&RelPath])| format!("{name}: {paths:?}\n");
    paths.iter().map(line).collect()
}

fn summary(diff: &DiffIndex) -> String {
    let list = |paths: &mut dyn Iterator<Item = _>| paths.collect::<Vec<_>>();
    shown(&[
        ("created", &list(&mut diff.created())),
        ("updated", &list(&mut diff.updated())),
        ("metadata", &list(&mut diff.metadata())),
        ("deleted", &list(&mut diff.deleted())),
        ("moved", &list(&mut diff.moved().flat_map(|(from, to)| [from, to]))),
        ("created dirs", &list(&mut diff.created_dirs())),
    ])
}

#[test]
fn every_file_is_listed_and_every_listed_file_is_there() {
    let names = fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, FILES);
}

#[test]
fn roots_are_what_they_were() {
    assert_eq!(DirIndex::empty().tree_id().to_string(), EMPTY_ROOT);
    assert_eq!(Digest::of(b"incremental-backups-tools directory 1\n").to_string(), EMPTY_ROOT);
    assert_eq!(tree::index(1).tree_id().to_string(), ROOT_1);
    assert_eq!(tree::index(2).tree_id().to_string(), ROOT_2);
    assert_eq!(tree::wide_index(1).tree_id().to_string(), WIDE_ROOT_1);
    assert_eq!(tree::wide_index(2).tree_id().to_string(), WIDE_ROOT_2);
}

#[test]
fn the_index_is_read_and_written_as_before() {
    let index = DirIndex::from_file(path("tree.index")).unwrap();
    assert_eq!(index.tree_id().to_string(), WIDE_ROOT_1);
    let expected = tree::wide_index(1);
    assert!(index.entries().eq(expected.entries()));
    for (record, wanted) in index.records().iter().zip(expected.records()) {
        assert_eq!(record.fingerprint, wanted.fingerprint);
        let path = &record.entry.path;
        assert_eq!(index.signature(path).unwrap(), expected.signature(path).unwrap());
    }
    assert_eq!(sections(golden("tree.index"), *b"INDX"), index_sections(&expected));
    assert_eq!(index_sections(&index), index_sections(&expected));
}

#[test]
fn the_run_is_read_and_written_as_before() {
    let run = IndexRun::from_bytes(golden("tree.run")).unwrap();
    let index = tree::wide_index(1).with_runs(&[run]).unwrap();
    assert_eq!(index_sections(&index), index_sections(&tree::wide_index(2)));
    assert_eq!(sections(golden("tree.run"), *b"IRUN"), sections(written_now("tree.run"), *b"IRUN"));
}

#[test]
fn the_diff_is_read_and_written_as_before() {
    let diff = DiffIndex::from_file(path("change.diff")).unwrap();
    assert_eq!(diff.base().to_string(), WIDE_ROOT_1);
    assert_eq!(diff.result().to_string(), WIDE_ROOT_2);
    assert_eq!(summary(&diff), WIDE_SUMMARY);
    let result = diff.apply_to(&tree::wide_index(1)).unwrap();
    assert!(result.entries().eq(tree::wide_index(2).entries()));
    let now = sections(wide_change().to_bytes().unwrap(), *b"DIFF");
    assert_eq!(sections(golden("change.diff"), *b"DIFF"), now);
    assert_eq!(sections(diff.to_bytes().unwrap(), *b"DIFF"), now);
}

const WIDE_SUMMARY: &str = r#"created: ["copy", "dir/inner/after", "new", "new dir/the same"]
updated: ["device-b", "edited", "link"]
metadata: ["dir/inner", "kept", "twin"]
deleted: ["dir/before", "gone"]
moved: ["dir/before", "dir/inner/after", "many", "new dir/many"]
created dirs: ["new dir", "new dir/many"]
"#;

#[test]
fn archives_are_read_and_written_as_before() {
    for (name, base, result) in [
        ("full.tgz", EMPTY_ROOT, ROOT_1),
        ("change.tgz", ROOT_1, ROOT_2),
        ("change.tar.zst", ROOT_1, ROOT_2),
    ] {
        let data = DiffData::open(path(name)).unwrap();
        assert_eq!(data.diff().base().to_string(), base, "{name}");
        assert_eq!(data.diff().result().to_string(), result, "{name}");
        let now = DiffData::from_source(written_now(name), name).unwrap();
        assert_eq!(contents(&data), contents(&now), "{name}");
    }
}

#[test]
fn archives_lead_to_the_index_of_the_scan() {
    let options = SignatureOptions::default();
    let mut index = DirIndex::empty();
    for (name, generation) in [("full.tgz", 1), ("change.tgz", 2)] {
        let data = DiffData::open(path(name)).unwrap();
        index = data.signed_diff(&options).unwrap().apply_to(&index).unwrap();
        assert_eq!(index_sections(&index), index_sections(&tree::index(generation)), "{name}");
    }
}

#[test]
fn archives_are_applied() {
    for change in ["change.tgz", "change.tar.zst"] {
        let temp = tempfile::tempdir().unwrap();
        for (name, generation) in [("full.tgz", 1), (change, 2)] {
            let data = DiffData::open(path(name)).unwrap();
            apply_diff(temp.path(), data.diff(), &data).unwrap();
            assert_is(temp.path(), &tree::index(generation));
        }
    }
}

/// Compares a tree on disk with its index, but for owners, which only a privileged process sets.
fn assert_is(root: &Path, index: &DirIndex) {
    let scanned = DirIndex::scan(&Dir::new(root).unwrap()).unwrap();
    assert!(scanned.entries().map(|entry| &entry.path).eq(index.entries().map(|e| &e.path)));
    for (found, wanted) in scanned.entries().zip(index.entries()) {
        assert_eq!(found.node, wanted.node, "{}", found.path);
        assert_eq!(found.meta.mtime, wanted.meta.mtime, "{}", found.path);
        assert_eq!(found.meta.mode, wanted.meta.mode, "{}", found.path);
    }
    let meta = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert!(meta("fifo").file_type().is_fifo());
    assert_eq!(meta("edited").ino(), meta("twin").ino());
    let edited = RelPath::new("edited").unwrap();
    let digest = Digest::of(&fs::read(root.join("edited")).unwrap());
    assert!(
        matches!(index.get(&edited).unwrap().node, Node::File { digest: d, .. } if d == digest)
    );
}

#[test]
fn signatures_and_deltas_are_read_and_written_as_before() {
    let (old, new) = (tree::edited(1), tree::edited(2));
    for (name, options) in [
        ("file.sig", SignatureOptions::default()),
        ("file.rdiff-blake2.sig", SignatureOptions::rdiff_blake2()),
    ] {
        let signature = Signature::read_from(&golden(name)[..]).unwrap();
        let expected = Signature::of_slice(&old, &options, None).unwrap();
        assert!(signature.blocks().eq(expected.blocks()), "{name}");
        assert_eq!(signature.shape(), expected.shape(), "{name}");
    }
    let signature = Signature::read_from(&golden("file.sig")[..]).unwrap();
    assert_eq!(signature.digest(), Some(Digest::of(&old)));
    let mut out = Vec::new();
    patch(Cursor::new(&old), &golden("file.delta")[..], &mut out, new.len() as u64, None).unwrap();
    assert_eq!(out, new);
    for name in ["file.sig", "file.rdiff-blake2.sig", "file.delta"] {
        assert_eq!(written_now(name), golden(name), "{name}");
    }
}

#[test]
fn a_parity_is_read_and_written_as_before() {
    let old = tree::edited(1);
    assert!(written_now("file.parity") == golden("file.parity"));
    let mut damaged = old.clone();
    damaged[100] ^= 1;
    let parity = Parity::open(golden("file.parity")).unwrap();
    let check = parity.check(&[Some(&damaged)], None).unwrap();
    let mut mended = Vec::new();
    let shards = parity.mend(&[Some(&damaged)], &check, None).unwrap();
    shards.write(0, Some(&damaged), &mut mended, None).unwrap();
    assert!(mended == old);
}

#[test]
#[ignore = "writes into testdata/v1"]
fn regenerate() {
    for name in FILES.into_iter().filter(|name| !path(name).exists()) {
        fs::write(path(name), written_now(name)).unwrap();
    }
}
