//! Comparing indexes: what is found, that it leads from one to the other, and its file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use diffindex::{Class, Content, DiffIndex, Error};
use dirindex::StoredSignature;
use dirindex::{DirIndex, Entry, IndexRun, LazyIndex, Meta, Node, Record, RelPath, Time, Xattr};
use proptest::prelude::*;
use rsync_core::{Digest, Signature, SignatureOptions};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn meta(mode: u32) -> Meta {
    Meta { mode, uid: 0, gid: 0, mtime: Time { secs: 1, nanos: 2 }, xattrs: Default::default() }
}

fn record(at: &str, node: Node, mode: u32) -> Record {
    Record {
        entry: Entry { path: path(at), node, meta: meta(mode) },
        signature: None,
        fingerprint: None,
    }
}

fn file(at: &str, content: &str) -> Record {
    let node = Node::File { len: content.len() as u64, digest: Digest::of(content.as_bytes()) };
    let options = SignatureOptions::default();
    let signature = Signature::of_slice(content.as_bytes(), &options, None).unwrap();
    let signature = (!content.is_empty()).then(|| StoredSignature::new(signature));
    Record { signature, ..record(at, node, 0o644) }
}

fn dir(at: &str) -> Record {
    record(at, Node::Dir, 0o755)
}

fn link(at: &str, target: &str) -> Record {
    record(at, Node::Symlink { target: target.into() }, 0o777)
}

fn hard(at: &str, to: &str) -> Record {
    record(at, Node::HardLink { to: path(to) }, 0o644)
}

fn index(records: impl Into<Vec<Record>>) -> DirIndex {
    DirIndex::from_records(records.into()).unwrap()
}

/// The diff, which is the same wherever the indexes are: in memory, in files, or the new one as what differs from the old.
fn between(old: &DirIndex, new: &DirIndex) -> DiffIndex {
    let diff = DiffIndex::between(old, new);
    let [lazy_old, lazy_new] = [old, new].map(|index| {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        LazyIndex::from_source(bytes).unwrap()
    });
    let upon = lazy_old.with_runs(&[IndexRun::between(old, new).unwrap()]).unwrap();
    for lazy_new in [lazy_new, upon] {
        let lazy = DiffIndex::between_lazy(&lazy_old, &lazy_new).unwrap();
        assert!(lazy == diff && lazy.to_bytes().unwrap() == diff.to_bytes().unwrap());
    }
    diff
}

fn list<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Vec<String> {
    paths.map(RelPath::to_string).collect()
}

fn content(diff: &DiffIndex, at: &str) -> Content {
    diff.get(&path(at)).unwrap().new.as_ref().unwrap().content.clone()
}

#[test]
fn each_way_of_differing_is_told_apart() {
    let old = index([
        dir("d"),
        file("d/gone", "1"),
        dir("d/inner"),
        file("same", "same"),
        file("up", "old"),
        file("mode", "m"),
        file("to-dir", "2"),
        link("l", "a"),
    ]);
    let mut mode = file("mode", "m");
    mode.entry.meta.mode = 0o600;
    let new = index([
        file("same", "same"),
        file("up", "new"),
        mode,
        dir("to-dir"),
        file("to-dir/in", "3"),
        link("l", "b"),
        dir("fresh"),
        link("fresh/l", "x"),
    ]);
    let diff = between(&old, &new);
    assert_eq!(list(diff.created()), ["fresh/l", "to-dir/in"]);
    assert_eq!(list(diff.updated()), ["l", "up"]);
    assert_eq!(list(diff.metadata()), ["mode"]);
    assert_eq!(list(diff.type_changed()), ["to-dir"]);
    assert_eq!(list(diff.deleted()), ["d/gone"]);
    assert_eq!(list(diff.created_dirs()), ["fresh"]);
    assert_eq!(list(diff.deleted_dirs()), ["d", "d/inner"]);
    assert_eq!((diff.base(), diff.result()), (old.tree_id(), new.tree_id()));
    assert_eq!(content(&diff, "to-dir/in"), Content::Whole);
    let digest = Digest::of(b"old");
    assert_eq!(content(&diff, "up"), Content::Delta { base: path("up"), digest });
    assert!(between(&new, &new).is_empty());
}

#[test]
fn moves_copies_and_swaps_store_nothing() {
    let old = index([file("a", "A"), file("b", "B"), file("gone", "G"), file("keep", "G")]);
    let new = index([file("a", "B"), file("b", "A"), file("keep", "G"), file("moved", "G")]);
    let diff = between(&old, &new);
    assert_eq!(content(&diff, "a"), Content::Copy { base: path("b") });
    assert_eq!(content(&diff, "b"), Content::Copy { base: path("a") });
    assert_eq!(content(&diff, "moved"), Content::Copy { base: path("gone") });
    let moved: Vec<_> = diff.moved().collect();
    assert_eq!(moved, [(&path("gone"), &path("moved"))]);
    assert_eq!(diff.apply_to(&old).unwrap(), new);
}

#[test]
fn an_empty_file_has_no_content_to_store() {
    let old = index([file("filled", ""), file("emptied", "x")]);
    let new = index([file("filled", "x"), file("emptied", ""), file("new", "")]);
    let diff = between(&old, &new);
    assert_eq!(content(&diff, "new"), Content::Keep);
    assert_eq!(content(&diff, "emptied"), Content::Keep);
    assert_eq!(content(&diff, "filled"), Content::Copy { base: path("emptied") });
    assert_eq!(diff.get(&path("emptied")).unwrap().class(), Class::Updated);
}

#[test]
fn links_to_a_file_that_is_replaced_are_made_anew() {
    let old = index([file("a", "old"), hard("b", "a"), file("c", "c"), hard("d", "c")]);
    let new = index([file("a", "new"), hard("b", "a"), file("c", "c"), hard("d", "c")]);
    let diff = between(&old, &new);
    assert_eq!(list(diff.updated()), ["a"]);
    assert_eq!(list(diff.metadata()), ["b"]);
    assert_eq!(diff.changes().len(), 2);
}

#[test]
fn a_diff_applies_to_its_base_alone() {
    let (a, b, c) = (index([file("f", "1")]), index([file("f", "2")]), index([file("f", "3")]));
    let diff = between(&a, &b);
    assert_eq!(diff.apply_to(&a).unwrap(), b);
    assert!(matches!(diff.apply_to(&c), Err(Error::WrongBase { .. })));
}

#[test]
fn every_truncation_and_flipped_bit_of_a_diff_is_an_error() {
    let old = index([file("f", "old"), file("g", "g")]);
    let new = index([file("f", "new"), dir("d"), file("d/n", "n")]);
    let whole = between(&old, &new).to_bytes().unwrap();
    let read = |bytes: Vec<u8>| {
        DiffIndex::from_bytes(bytes)?.apply_to(&old)?.signature(&path("d/n")).map_err(Error::from)
    };
    assert!(read(whole.clone()).unwrap().is_some());
    for len in 0..whole.len() {
        assert!(DiffIndex::from_bytes(whole[..len].to_vec()).is_err(), "cut at {len}");
    }
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn the_file_brings_back_the_diff() {
    let old = index([file("f", "old")]);
    let new = index([file("f", "new")]);
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("diff");
    between(&old, &new).to_file(&at).unwrap();
    assert_eq!(DiffIndex::from_file(&at).unwrap().apply_to(&old).unwrap(), new);
    let shown = DiffIndex::from_file(dir.path().join("absent")).unwrap_err().to_string();
    assert!(shown.starts_with("diff file ") && shown.ends_with("absent"), "{shown}");
}

/// Trees of few names, few contents and every kind, so that they often meet.
fn tree() -> impl Strategy<Value = DirIndex> {
    let slot = (0..7u8, 0..4u8, prop_oneof![Just(0o644u32), Just(0o600)]);
    let names = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g", "h"];
    proptest::collection::vec(slot, names.len()).prop_map(move |slots| {
        let mut records: BTreeMap<RelPath, Record> = BTreeMap::new();
        for (name, (kind, content, mode)) in names.iter().zip(slots) {
            let housed = path(name).parent().is_none_or(|up| {
                records.get(&up).is_some_and(|record| record.entry.node == Node::Dir)
            });
            let text = ["", "one", "two", "three"][content as usize % 4];
            let mut record = match kind {
                _ if !housed => continue,
                0 => continue,
                1 | 2 => dir(name),
                3 | 4 => file(name, text),
                5 => link(name, &format!("to {content}")),
                _ => {
                    let first =
                        records.values().find(|r| matches!(r.entry.node, Node::File { .. }));
                    match first.map(|r| (r.entry.path.to_string(), r.entry.meta.clone())) {
                        Some((to, meta)) => {
                            let mut link = hard(name, &to);
                            link.entry.meta = meta;
                            records.insert(path(name), link);
                            continue;
                        }
                        None => record(name, Node::Fifo, 0o600),
                    }
                }
            };
            record.entry.meta.mode = mode;
            if content == 3 {
                record.entry.meta.xattrs =
                    vec![Xattr { name: b"user.x".to_vec(), value: vec![kind] }].into();
            }
            records.insert(path(name), record);
        }
        index(records.into_values().collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn a_diff_leads_from_the_old_index_to_the_new(old in tree(), new in tree()) {
        let diff = between(&old, &new);
        let back = DiffIndex::from_bytes(diff.to_bytes().unwrap()).unwrap();
        for diff in [&diff, &back] {
            let result = diff.apply_to(&old).unwrap();
            prop_assert!(result.entries().eq(new.entries()));
            for record in new.records() {
                let signature = result.signature(&record.entry.path).unwrap();
                let wanted = new.signature(&record.entry.path).unwrap();
                prop_assert_eq!(signature.map(|s| s.into_packed()), wanted.map(|s| s.into_packed()));
            }
        }
        prop_assert_eq!(diff.is_empty(), old == new);
        prop_assert_eq!(diff.to_bytes().unwrap(), back.to_bytes().unwrap());
    }
}

/// Lines of text, no two alike.
fn lines(seed: u64, count: usize) -> String {
    (0..count)
        .map(|n| format!("line {n} of {seed}: {}\n", (n as u64 * 7919) ^ (seed << 20)))
        .collect()
}

/// With a line more, at `part` of its length.
fn edited(text: &str, part: usize) -> String {
    let at = text.len() * part / 100;
    let at = at + text[at..].find('\n').map_or(0, |end| end + 1);
    format!("{}a line more\n{}", &text[..at], &text[at..])
}

fn base(diff: &DiffIndex, at: &str) -> String {
    match content(diff, at) {
        Content::Delta { base, .. } => base.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_file_that_was_moved_and_edited_is_a_delta_against_where_it_was() {
    let (one, two) = (lines(1, 600), lines(2, 600));
    let old = index([dir("a"), file("a/one", &one), file("a/two", &two), dir("b")]);
    let new = index([
        dir("a"),
        dir("b"),
        file("b/renamed", &edited(&one, 50)),
        // All its blocks are other ones, but it has the name and nearly the length.
        file("b/two", &edited(&two, 0)),
    ]);
    let diff = between(&old, &new);
    assert_eq!(base(&diff, "b/renamed"), "a/one");
    assert_eq!(base(&diff, "b/two"), "a/two");
    let moved: Vec<_> = diff.moved().map(|(from, to)| (from.to_string(), to.to_string())).collect();
    assert_eq!(
        moved,
        [("a/one", "b/renamed"), ("a/two", "b/two")].map(|(a, b)| (a.into(), b.into()))
    );
    assert_eq!(diff.apply_to(&old).unwrap(), new);
}

#[test]
fn swapped_and_edited_files_are_deltas_against_each_other() {
    let [a, b, c] = [1, 2, 3].map(|seed| lines(seed, 500));
    let old = index([file("a", &a), file("b", &b), file("c", &c)]);
    let new =
        index([file("a", &edited(&b, 40)), file("b", &edited(&c, 60)), file("c", &edited(&a, 80))]);
    let diff = between(&old, &new);
    assert_eq!(["a", "b", "c"].map(|at| base(&diff, at)), ["b", "c", "a"]);
    assert_eq!(diff.apply_to(&old).unwrap(), new);
}

#[test]
fn a_copy_that_was_edited_is_a_delta_against_what_it_was_copied_from() {
    let text = lines(1, 700);
    let old = index([dir("d"), file("d/f", &text), file("d/other", &lines(9, 700))]);
    let records = [
        dir("d"),
        file("d/f", &edited(&text, 20)),
        file("d/exact", &text),
        file("d/other", &lines(9, 700)),
        file("d/copy", &edited(&text, 70)),
    ];
    let new = index(records);
    let diff = between(&old, &new);
    assert_eq!(["d/copy", "d/f"].map(|at| base(&diff, at)), ["d/f", "d/f"]);
    assert_eq!(content(&diff, "d/exact"), Content::Copy { base: path("d/f") });
    assert_eq!(diff.moved().count(), 0);
    assert_eq!(list(diff.copied().map(|(_, to)| to)), ["d/copy", "d/exact"]);
}

#[test]
fn what_resembles_nothing_is_stored_whole() {
    let old = index([dir("a"), file("a/Makefile", &lines(1, 200)), file("a/short", "short")]);
    let new = index([
        dir("a"),
        // Of the same name, and thrice as long.
        dir("b"),
        file("b/Makefile", &lines(2, 600)),
        file("b/short", "shorter"),
        file("a/new", &lines(3, 200)),
    ]);
    let diff = between(&old, &new);
    for at in ["b/Makefile", "b/short", "a/new"] {
        assert_eq!(content(&diff, at), Content::Whole, "{at}");
    }
}

#[test]
fn one_file_gone_moves_to_one_place() {
    let old = index([file("a", "the same content")]);
    let new = index([file("b", "the same content"), file("c", "the same content")]);
    let diff = between(&old, &new);
    assert_eq!(list(diff.moved().map(|(_, to)| to)), ["b"]);
    assert_eq!(list(diff.copied().map(|(_, to)| to)), ["c"]);
}
