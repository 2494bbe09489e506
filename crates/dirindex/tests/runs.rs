//! What an index has other than an older one: both together are the index, whatever changed.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use dirindex::{
    DirIndex, Entry, IndexRun, Meta, Node, Record, RelPath, StatFingerprint, StoredSignature, Time,
};
use proptest::prelude::*;
use rsync_core::{Digest, Signature, SignatureOptions};

const PATHS: [&str; 9] = ["a", "b", "c", "d", "dir/a", "dir/b", "dir/sub/a", "dir/sub/b", "e"];

/// What is at a path: the number of a content, of a mode, of an inode; how its blocks are cut.
type File = (u8, u8, u8, Option<bool>);

fn trees() -> impl Strategy<Value = BTreeMap<usize, File>> {
    let file = (0..6u8, 0..2u8, 0..3u8, proptest::option::weighted(0.9, any::<bool>()));
    proptest::collection::btree_map(0..PATHS.len(), file, 0..=PATHS.len())
}

fn meta(mode: u8) -> Meta {
    let mtime = Time { secs: 7, nanos: 0 };
    Meta { mode: 0o640 + u32::from(mode), uid: 1, gid: 2, mtime, xattrs: Default::default() }
}

fn record((content, mode, inode, blocks): File, path: &str) -> Record {
    let bytes = vec![content; usize::from(content) * 700];
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    let node = Node::File { len: bytes.len() as u64, digest };
    let options = |small| SignatureOptions {
        block_len: Some(if small { 1024 } else { 2048 }),
        ..Default::default()
    };
    let signature = blocks.filter(|_| !bytes.is_empty());
    let signature =
        signature.map(|small| Signature::of_slice(&bytes, &options(small), None).unwrap());
    let time = Time { secs: i64::from(inode), nanos: 0 };
    Record {
        entry: Entry { path: RelPath::new(path).unwrap(), node, meta: meta(mode) },
        signature: signature.map(StoredSignature::new),
        fingerprint: (inode > 0).then(|| StatFingerprint::new(time, u64::from(inode))),
    }
}

fn index(tree: &BTreeMap<usize, File>) -> DirIndex {
    let files: Vec<Record> = tree.iter().map(|(at, file)| record(*file, PATHS[*at])).collect();
    let dirs = ["dir", "dir/sub"].into_iter().filter(|dir| {
        let dir = RelPath::new(*dir).unwrap();
        files.iter().any(|file| file.entry.path.is_below(&dir))
    });
    let dir = |path: &str| Record {
        entry: Entry { path: RelPath::new(path).unwrap(), node: Node::Dir, meta: meta(0) },
        signature: None,
        fingerprint: None,
    };
    let dirs: Vec<Record> = dirs.map(dir).collect();
    DirIndex::from_records(dirs.into_iter().chain(files)).unwrap()
}

fn bytes(index: &DirIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).unwrap();
    bytes
}

fn file_of(run: &IndexRun) -> Vec<u8> {
    let mut bytes = Vec::new();
    run.write_to(&mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Written as one file or as an index and runs, kept in memory or in files, it is the same index to its last byte.
    #[test]
    fn an_index_and_runs_are_the_index(trees in proptest::collection::vec(trees(), 2..5)) {
        let indexes: Vec<DirIndex> = trees.iter().map(index).collect();
        let kept: Vec<IndexRun> =
            indexes.windows(2).map(|pair| IndexRun::between(&pair[0], &pair[1]).unwrap()).collect();
        let read: Vec<IndexRun> =
            kept.iter().map(|run| IndexRun::from_bytes(file_of(run)).unwrap()).collect();
        let base = DirIndex::from_bytes(bytes(&indexes[0])).unwrap();
        let last = bytes(indexes.last().unwrap());
        prop_assert_eq!(bytes(&base.with_runs(&kept).unwrap()), last.clone());
        let found = base.with_runs(&read).unwrap();
        prop_assert_eq!(bytes(&found), last.clone());
        // One run that does what all do, made of what was read.
        let merged = IndexRun::between(&base, &found).unwrap();
        let merged = IndexRun::from_bytes(file_of(&merged)).unwrap();
        merged.check_signatures().unwrap();
        prop_assert_eq!(bytes(&base.with_runs(&[merged]).unwrap()), last);
    }

    /// A run is of use upon its own index alone.
    #[test]
    fn another_base_is_refused(old in trees(), new in trees(), other in trees()) {
        let (old, new, other) = (index(&old), index(&new), index(&other));
        prop_assume!(old != other);
        let run = IndexRun::from_bytes(file_of(&IndexRun::between(&old, &new).unwrap())).unwrap();
        prop_assert!(other.with_runs(&[run]).is_err());
    }

    /// Any flipped bit is found.
    #[test]
    fn damage_is_found(old in trees(), new in trees(), at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let (old, new) = (index(&old), index(&new));
        let mut bytes = file_of(&IndexRun::between(&old, &new).unwrap());
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        let found = IndexRun::from_bytes(bytes).and_then(|run| {
            run.check_signatures()?;
            old.with_runs(&[run])
        });
        prop_assert!(found.is_err());
    }
}

/// What did not change is not in a run, and a file that moved brings no signature.
#[test]
fn a_run_has_the_size_of_what_changed() {
    let noise = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..100_000).map(|_| rng.u8(..)).collect::<Vec<u8>>()
    };
    let file = |path: String, content: &[u8]| {
        let node = Node::File {
            len: content.len() as u64,
            digest: Digest(*blake3::hash(content).as_bytes()),
        };
        let signature = Signature::of_slice(content, &SignatureOptions::default(), None).unwrap();
        Record {
            entry: Entry { path: RelPath::new(path).unwrap(), node, meta: meta(0) },
            signature: Some(StoredSignature::new(signature)),
            fingerprint: None,
        }
    };
    let files = |names: &dyn Fn(u64) -> String| {
        DirIndex::from_records((0..200).map(|n| file(names(n), &noise(n)))).unwrap()
    };
    let old = files(&|n| format!("{n}"));
    let run = |new: &DirIndex| file_of(&IndexRun::between(&old, new).unwrap()).len();
    let same = run(&old);
    assert!(same < 500, "{same}");
    let one_moved = run(&files(&|n| if n == 7 { "moved".to_owned() } else { format!("{n}") }));
    assert!(one_moved < same + 300, "{one_moved}");
    let mut records = old.records().to_vec();
    records[3] = file(records[3].entry.path.to_string(), &noise(1000)).into();
    let one_edited = run(&DirIndex::from_records(records).unwrap());
    let signature = old.records()[3].signature.as_ref().unwrap().packed_len() as usize;
    assert!(one_edited < same + signature + 300, "{one_edited}");
}
