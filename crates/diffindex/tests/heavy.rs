//! Diffs of a few paths with a lot of metadata: what a section can hold bounds no tree.
#![allow(clippy::unwrap_used, reason = "a test")]

use diffindex::DiffIndex;
use dirindex::{DirIndex, Entry, Meta, Node, Record, RelPath, Time, Xattr};
use rsync_core::Digest;

#[test]
fn attributes_of_any_size_fit_into_a_diff() {
    let mtime = Time { secs: 0, nanos: 0 };
    let record = |number: u32| {
        let mut noise = number;
        let mut byte = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        // Over 64 MiB for a hundred of them.
        let value = (0..700_000).map(|_| byte()).collect();
        let xattrs = vec![Xattr { name: b"user.s".to_vec(), value }].into();
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs };
        let node = Node::File { len: 0, digest: Digest::of(b"") };
        let path = RelPath::new(format!("{number:05}")).unwrap();
        Record { entry: Entry { path, node, meta }, signature: None, fingerprint: None }
    };
    let index = DirIndex::from_records((0..110).map(record)).unwrap();
    let diff = DiffIndex::between(&DirIndex::empty(), &index);
    let file = tempfile::NamedTempFile::new().unwrap();
    diff.to_file(file.path()).unwrap();
    let back = DiffIndex::from_file(file.path()).unwrap();
    assert_eq!(back.changes().len(), 110);
    assert_eq!(back.apply_to(&DirIndex::empty()).unwrap(), index);
}
