//! What several new paths have is stored for the first of them: comparing, reading, squashing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use diffindex::{Change, Content, DiffIndex, Merge, NewEntry};
use dirindex::StoredSignature;
use dirindex::{DirIndex, Entry, Meta, Node, Record, RelPath, Time};
use rsync_core::{Digest, Signature, SignatureOptions};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn node(content: &str) -> Node {
    Node::File { len: content.len() as u64, digest: Digest::of(content.as_bytes()) }
}

fn record(at: &str, node: Node) -> Record {
    let mtime = Time { secs: 1, nanos: 2 };
    let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    Record { entry: Entry { path: path(at), node, meta }, signature: None, fingerprint: None }
}

/// The tree of these files.
fn index(files: &[(&str, &str)]) -> DirIndex {
    let record = |(at, content): &(&str, &str)| {
        let options = SignatureOptions::default();
        let signature = Signature::of_slice(content.as_bytes(), &options, None).unwrap();
        let signature = (!content.is_empty()).then(|| StoredSignature::new(signature));
        Record { signature, ..record(at, node(content)) }
    };
    DirIndex::from_records(files.iter().map(record)).unwrap()
}

fn content<'a>(diff: &'a DiffIndex, at: &str) -> &'a Content {
    &diff.get(&path(at)).unwrap().new.as_ref().unwrap().content
}

fn same(at: &str) -> Content {
    Content::Same { path: path(at) }
}

#[test]
fn the_first_of_several_stores_it() {
    let new =
        index(&[("a", "one"), ("b", "two"), ("c", "one"), ("d", "one"), ("e", ""), ("f", "")]);
    let diff = DiffIndex::between(&DirIndex::empty(), &new);
    assert_eq!(
        ["a", "b", "c", "d"].map(|at| content(&diff, at).clone()),
        [Content::Whole, Content::Whole, same("a"), same("a")]
    );
    // There is nothing to be stored of an empty one.
    assert_eq!(["e", "f"].map(|at| content(&diff, at).clone()), [Content::Keep, Content::Keep]);
    let holder = diff.holder(diff.get(&path("d")).unwrap()).unwrap();
    assert_eq!(holder.path, path("a"));
    assert!(diff.holder(diff.get(&path("e")).unwrap()).is_none());
    assert_eq!(diff.apply_to(&DirIndex::empty()).unwrap(), new);
}

#[test]
fn what_the_old_tree_has_is_copied_and_what_is_updated_alike_is_one_delta() {
    let old = index(&[("a", "old a"), ("b", "old b"), ("had", "had")]);
    let new = index(&[("a", "new"), ("b", "new"), ("c", "had"), ("d", "had"), ("had", "had")]);
    let diff = DiffIndex::between(&old, &new);
    let digest = Digest::of(b"old a");
    assert_eq!(*content(&diff, "a"), Content::Delta { base: path("a"), digest });
    assert_eq!(*content(&diff, "b"), same("a"));
    for copy in ["c", "d"] {
        assert_eq!(*content(&diff, copy), Content::Copy { base: path("had") });
    }
    assert_eq!(diff.apply_to(&old).unwrap(), new);
    let back = DiffIndex::from_bytes(diff.to_bytes().unwrap()).unwrap();
    assert_eq!(back.apply_to(&old).unwrap(), new);
}

#[test]
fn what_no_diff_can_say_is_refused() {
    let new = index(&[("a", "one"), ("b", "one"), ("c", "two"), ("e", ""), ("f", "one")]);
    let honest = DiffIndex::between(&DirIndex::empty(), &new);
    let wrong = |at: &str, lie: &dyn Fn(&mut NewEntry)| {
        let mut changes: Vec<Change> = honest.changes().to_vec();
        let change = changes.iter_mut().find(|change| change.path == path(at)).unwrap();
        lie(change.new.as_mut().unwrap());
        let error = DiffIndex::from_changes(honest.base(), honest.result(), changes).unwrap_err();
        error.to_string()
    };
    for (other, what) in [
        ("z", "that is not there"),
        ("b", "that is itself"),
        ("f", "that is later"),
        ("c", "of another content"),
        ("e", "that is empty"),
    ] {
        let error = wrong("b", &|new| new.content = same(other));
        assert!(
            error.contains("the same as no earlier path that is stored at b"),
            "{what}: {error}"
        );
    }
    for (what, lie) in [
        (
            "that is the same as another",
            &(|new: &mut NewEntry| new.content = same("b")) as &dyn Fn(&mut NewEntry),
        ),
        ("of another length", &|new| new.node = Node::File { len: 4, digest: Digest::of(b"one") }),
    ] {
        let error = wrong("f", lie);
        assert!(
            error.contains("the same as no earlier path that is stored at f"),
            "{what}: {error}"
        );
    }
    for node in [Node::Dir, Node::Fifo, node("")] {
        let error = wrong("f", &|new| new.node = node.clone());
        assert!(error.contains("content for what has none at f"), "{error}");
    }
    let signature = honest.get(&path("a")).unwrap().new.as_ref().unwrap().signature.clone();
    let error = wrong("b", &|new| new.signature = signature.clone());
    assert!(error.contains("a signature out of place"), "{error}");
    // What it is the same as is to go.
    let gone = honest.changes().iter().skip(1).cloned().collect();
    let error = DiffIndex::from_changes(honest.base(), honest.result(), gone).unwrap_err();
    assert!(error.to_string().contains("the same as no earlier"), "{error}");
}

/// What two paths got at once, one of them edited or gone later, and copies of copies: all of it is
/// traced to where it is stored, which is done once.
#[test]
fn contents_are_traced_through_diffs() {
    let trees = [
        index(&[]),
        index(&[("b", "one"), ("c", "one")]),
        // The first goes, another copy comes.
        index(&[("c", "one"), ("d", "one")]),
        // One copy more, before the others, and an edit.
        index(&[("a", "one"), ("c", "two"), ("d", "one"), ("e", "two")]),
    ];
    let between = |pair: &[DirIndex]| DiffIndex::between(&pair[0], &pair[1]);
    let parts: Vec<DiffIndex> = trees.windows(2).map(between).collect();
    let merge = parts.iter().enumerate().try_fold(Merge::from_nothing(), |merge, (part, diff)| {
        merge.push(diff.clone(), |change| [(part, change)])
    });
    let (diff, contents) = merge.unwrap().into_diff().unwrap();
    let diff = &diff;
    assert_eq!(
        ["a", "c", "d", "e"].map(|at| content(diff, at).clone()),
        [Content::Whole, Content::Whole, same("a"), same("c")]
    );
    let contents: Vec<&[(usize, usize)]> = contents.iter().map(|(_, content)| &**content).collect();
    let one = (0, 0);
    let edit = (2, parts[2].position(&path("c")).unwrap());
    assert_eq!(contents, [&[one] as &[_], &[one, edit]]);
    assert_eq!(diff.apply_to(&trees[0]).unwrap(), trees[3]);

    let later = DiffIndex::squash(&parts[1..]).unwrap();
    assert_eq!(*content(&later, "a"), Content::Copy { base: path("c") });
    assert_eq!(*content(&later, "e"), same("c"));
    assert_eq!(later.apply_to(&trees[1]).unwrap(), trees[3]);
}
