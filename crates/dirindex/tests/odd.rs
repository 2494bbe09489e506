//! What one user, or an odd file system, puts into a tree is a problem of its own path, and stops nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs::{self, File};
use std::path::Path;

use dirindex::{
    Dir, DirIndex, DirOptions, Entry, Error, Meta, Node, ProblemKind, Record, RelPath, Time, Xattr,
};
use rsync_core::Digest;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn scan(root: &Path, previous: Option<&DirIndex>) -> Result<DirIndex, Error> {
    DirIndex::scan_with(&Dir::new(root).unwrap(), previous, &Default::default())
}

fn problems(index: &DirIndex) -> Vec<(String, ProblemKind)> {
    let problem = |problem: &dirindex::Problem| (problem.path.to_string(), problem.kind);
    index.problems().iter().map(problem).collect()
}

#[test]
fn a_tree_with_a_journal_is_never_indexed_at_any_depth() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    fs::create_dir_all(root.join("home/alice/.ibtools-apply")).unwrap();
    fs::write(root.join("home/alice/.ibtools-apply/staged"), "half").unwrap();
    fs::write(root.join("home/alice/file"), "old").unwrap();
    fs::write(root.join("home/bob"), "here").unwrap();
    // What an apply left before it began is never content.
    let old = scan(root, None).unwrap();
    assert_eq!(problems(&old), [("home/alice".into(), ProblemKind::Unsupported)]);
    assert_eq!(old.files().collect::<Vec<_>>(), [&path("home/alice/file"), &path("home/bob")]);

    fs::write(root.join("home/alice/.ibtools-apply/journal"), "").unwrap();
    fs::write(root.join("home/alice/file"), "new").unwrap();
    let new = scan(root, Some(&old)).unwrap();
    assert_eq!(problems(&new), [("home/alice".into(), ProblemKind::Unreadable)]);
    assert_eq!(new, old, "it is as it was before the apply began");
    let alone = scan(root, None).unwrap();
    assert_eq!(alone.files().collect::<Vec<_>>(), [&path("home/bob")]);
    let at_root = scan(&root.join("home/alice"), None);
    assert!(matches!(at_root, Err(Error::Unfinished { .. })), "{at_root:?}");
}

#[test]
fn a_file_is_taken_to_its_end_whatever_its_length_is_said_to_be() {
    let only = vec![path("ostype")];
    let options = DirOptions { only, ..DirOptions::everything() };
    let dir = Dir::with_options("/proc/sys/kernel", &options).unwrap();
    let index = DirIndex::scan(&dir).unwrap();
    assert_eq!(index.problems(), []);
    let content = fs::read("/proc/sys/kernel/ostype").unwrap();
    let (len, digest) = (content.len() as u64, Digest::of(&content));
    assert_eq!(index.get(&path("ostype")).unwrap().node, Node::File { len, digest });
    // What else is said of it may stay the same when its content does not.
    assert_eq!(index.record(&path("ostype")).unwrap().fingerprint, None);
}

#[test]
fn a_file_that_claims_exabytes_stops_no_other() {
    // Few file systems have so long files. This one is in memory.
    let Ok(tree) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: no /dev/shm");
        return;
    };
    for (name, len) in [("exabytes", i64::MAX as u64), ("terabytes", 3 << 40)] {
        if File::create(tree.path().join(name)).unwrap().set_len(len).is_err() {
            eprintln!("SKIPPED: no files of such lengths in /dev/shm");
            return;
        }
    }
    fs::write(tree.path().join("file"), "here").unwrap();
    let index = scan(tree.path(), None).unwrap();
    let unreadable = |name: &str| (name.to_owned(), ProblemKind::Unreadable);
    assert_eq!(problems(&index), [unreadable("exabytes"), unreadable("terabytes")]);
    assert_eq!(index.files().collect::<Vec<_>>(), [&path("file")]);
}

#[test]
fn attributes_of_any_size_fit_into_an_index() {
    let mtime = Time { secs: 0, nanos: 0 };
    let record = |number: usize, packs: bool| {
        // All the same compress to nothing, which no reader takes beyond a limit.
        let mut noise = if packs { 0 } else { number as u32 };
        let mut byte = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        let value = (0..60_000).map(|_| byte()).collect();
        let xattrs = vec![Xattr { name: b"user.s".to_vec(), value }].into();
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs };
        let node = Node::File { len: 0, digest: Digest::of(b"") };
        let entry = Entry { path: path(&format!("{number:05}")), node, meta };
        Record { entry, signature: None, fingerprint: None }
    };
    for packs in [false, true] {
        let records = (0..1500).map(|number| record(number, packs));
        let index = DirIndex::from_records(records).unwrap();
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        assert_eq!(DirIndex::from_bytes(bytes).unwrap(), index);
    }
}
