//! Scanning trees, and the index file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dirindex::{
    Dir, DirIndex, Entry, Error, Node, ProblemKind, Record, RelPath, ScanOptions, StatFingerprint,
    Time,
};
use rsync_core::{Digest, Progress, SignatureOptions};
use tempfile::TempDir;

fn path(bytes: impl Into<Vec<u8>>) -> RelPath {
    RelPath::new(bytes).unwrap()
}

fn scan(root: &Path) -> DirIndex {
    DirIndex::scan(&Dir::new(root).unwrap()).unwrap()
}

/// One of each kind, and names that are hard to keep.
fn varied_tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(root.join("sub/file"), "content").unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff new\nline")), "odd").unwrap();
    fs::write(root.join("large"), vec![7; 3_000_000]).unwrap();
    fs::hard_link(root.join("sub/file"), root.join("another name")).unwrap();
    symlink("nowhere/at all", root.join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), 0o640.into()).unwrap();
    fs::set_permissions(root.join("sub/empty"), fs::Permissions::from_mode(0o1755)).unwrap();
    dir
}

#[test]
fn every_kind_is_taken_in() {
    let tree = varied_tree();
    let index = scan(tree.path());
    let node = |name: &[u8]| index.get(&path(name)).map(|entry| entry.node.clone());
    let file = |content: &[u8]| {
        Some(Node::File { len: content.len() as u64, digest: Digest::of(content) })
    };
    assert_eq!(node(b"sub/empty"), Some(Node::Dir));
    assert_eq!(node(b"another name"), file(b"content"));
    assert_eq!(node(b"sub/file"), Some(Node::HardLink { to: path("another name") }));
    assert_eq!(node(b"nothing"), file(b""));
    assert_eq!(node(b"\xff new\nline"), file(b"odd"));
    assert_eq!(node(b"large"), file(&[7; 3_000_000]));
    assert_eq!(node(b"link"), Some(Node::Symlink { target: b"nowhere/at all".to_vec() }));
    assert_eq!(node(b"fifo"), Some(Node::Fifo));
    assert_eq!(index.problems(), []);
    assert_eq!(index.files().count(), 7);
    assert_eq!(index.subdirs().count(), 2);

    let meta = fs::symlink_metadata(tree.path().join("sub/empty")).unwrap();
    let entry = index.get(&path("sub/empty")).unwrap();
    assert_eq!(entry.meta.mode, 0o1755);
    assert_eq!((entry.meta.uid, entry.meta.gid), (meta.uid(), meta.gid()));
    assert_eq!(
        (entry.meta.mtime.secs, i64::from(entry.meta.mtime.nanos)),
        (meta.mtime(), meta.mtime_nsec())
    );
}

#[test]
fn extended_attributes_are_taken_in() {
    let tree = varied_tree();
    let before = scan(tree.path()).tree_id();
    for name in ["sub", "sub/file"] {
        let file = fs::File::open(tree.path().join(name)).unwrap();
        let set =
            rustix::fs::fsetxattr(&file, "user.note", b"kept", rustix::fs::XattrFlags::empty());
        if set == Err(rustix::io::Errno::NOTSUP) {
            eprintln!("SKIPPED: no extended attributes on this file system");
            return;
        }
        set.unwrap();
    }
    let index = scan(tree.path());
    assert_ne!(index.tree_id(), before);
    for name in ["sub", "sub/file", "another name"] {
        let xattrs = &index.get(&path(name)).unwrap().meta.xattrs;
        assert_eq!(xattrs.iter().next(), Some((&b"user.note"[..], &b"kept"[..])), "{name}");
    }
}

#[test]
fn the_index_file_brings_back_the_index() {
    let tree = varied_tree();
    let index = scan(tree.path());
    let file = tree.path().with_extension("index");
    index.to_file(&file).unwrap();
    let back = DirIndex::from_file(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(back.tree_id(), index.tree_id());
    assert!(index.entries().eq(back.entries()));
    for entry in index.entries() {
        let (a, b) = (index.signature(&entry.path).unwrap(), back.signature(&entry.path).unwrap());
        assert_eq!(
            a.as_ref().map(|s| s.packed()),
            b.as_ref().map(|s| s.packed()),
            "{}",
            entry.path
        );
        assert_eq!(a.is_some(), !entry.node.is_empty());
        assert_eq!(
            index.record(&entry.path).unwrap().fingerprint,
            back.record(&entry.path).unwrap().fingerprint
        );
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes_for_any_thread_count() {
    let tree = varied_tree();
    let bytes = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut bytes = Vec::new();
            scan(tree.path()).write_to(&mut bytes).unwrap();
            bytes
        })
    };
    let one = bytes(1);
    // The fingerprint of a file depends on how long ago it changed; two scans may tell differently.
    let roots = [1, 2, 8].map(|threads| DirIndex::from_bytes(bytes(threads)).unwrap().tree_id());
    assert!(roots.iter().all(|&root| root == DirIndex::from_bytes(one.clone()).unwrap().tree_id()));
}

#[test]
fn every_truncation_and_flipped_bit_of_an_index_is_an_error() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("d")).unwrap();
    fs::write(tree.path().join("d/f"), "some content").unwrap();
    let mut whole = Vec::new();
    scan(tree.path()).write_to(&mut whole).unwrap();
    let read = |bytes: Vec<u8>| DirIndex::from_bytes(bytes).and_then(|i| i.signature(&path("d/f")));
    assert!(read(whole.clone()).unwrap().is_some());
    for len in 0..whole.len() {
        assert!(read(whole[..len].to_vec()).is_err(), "cut at {len}");
    }
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(bytes).is_err(), "bit {bit}");
    }
}

/// Sets every time of the tree's files back, so that the next scan can trust them.
fn settle(root: &Path) {
    // The clock that stamps changes has to move past the window in which changes are racy.
    let file = root.join("large");
    let changed = fs::metadata(&file).unwrap().ctime_nsec();
    let probe = root.with_extension("clock");
    let started = std::time::Instant::now();
    while started.elapsed().as_millis() < 80 {
        fs::write(&probe, changed.to_le_bytes()).unwrap();
    }
    fs::remove_file(probe).unwrap();
}

fn bytes_read(dir: &Dir, previous: &DirIndex) -> (u64, DirIndex) {
    let progress = Arc::new(Progress::default());
    let options = ScanOptions { progress: Some(Arc::clone(&progress)), ..ScanOptions::default() };
    let index = DirIndex::scan_with(dir, Some(previous), &options).unwrap();
    (progress.bytes(), index)
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let tree = varied_tree();
    settle(tree.path());
    let dir = Dir::new(tree.path()).unwrap();
    let first = DirIndex::scan(&dir).unwrap();
    let (read, second) = bytes_read(&dir, &first);
    assert_eq!((read, second.tree_id()), (0, first.tree_id()));

    // The same length and time of modification, other content: the time of change shows it.
    let large = fs::File::options().write(true).open(tree.path().join("large")).unwrap();
    let mtime = large.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_at(&large, b"!", 1_000_000).unwrap();
    large.set_modified(mtime).unwrap();
    let (read, third) = bytes_read(&dir, &first);
    assert_eq!(read, 3_000_000);
    assert_ne!(third.tree_id(), first.tree_id());

    // Read so soon after the change that another one could go unseen: not to be trusted.
    assert_eq!(third.record(&path("large")).unwrap().fingerprint, None);
    let (read, _) = bytes_read(&dir, &third);
    assert_eq!(read, 3_000_000);
}

#[test]
fn a_mid_apply_tree_is_refused_and_a_leftover_stage_left_out() {
    let tree = varied_tree();
    let clean = scan(tree.path()).content_hash().unwrap();
    let stage = tree.path().join(dirindex::STAGE_DIR);
    fs::create_dir(&stage).unwrap();
    fs::write(stage.join("0"), "staged").unwrap();
    assert_eq!(scan(tree.path()).content_hash().unwrap(), clean);
    fs::write(stage.join("journal"), "").unwrap();
    let error = DirIndex::scan(&Dir::new(tree.path()).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error}");
}

/// No backup brings a journal to where a restore would carry it out.
#[test]
fn a_stage_further_down_is_left_out_and_reported() {
    let tree = varied_tree();
    let clean = scan(tree.path()).content_hash().unwrap();
    let below = tree.path().join("nested");
    fs::create_dir_all(below.join(dirindex::STAGE_DIR)).unwrap();
    fs::write(below.join(dirindex::STAGE_DIR).join("journal"), "").unwrap();
    let index = scan(tree.path());
    let [problem] = index.problems() else { panic!("{:?}", index.problems()) };
    assert_eq!((&problem.path, problem.kind), (&path("nested"), ProblemKind::Unreadable));
    assert!(problem.detail.contains(dirindex::STAGE_DIR), "{}", problem.detail);
    assert!(index.get(&path("nested")).is_some());
    fs::remove_dir_all(&below).unwrap();
    assert_eq!(scan(tree.path()).content_hash().unwrap(), clean);
}

/// Somebody's directories, each in the one before, stop nobody else's backup.
#[test]
fn directories_too_deep_for_a_path_are_reported() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("precious"), "here").unwrap();
    let open = |at: std::os::fd::BorrowedFd<'_>, name: &str| {
        openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let mut at = open(CWD, tree.path().to_str().unwrap());
    for _ in 0..5000 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open(std::os::fd::AsFd::as_fd(&at), "d");
    }
    let index = scan(tree.path());
    std::process::Command::new("rm").arg("-rf").arg(tree.path().join("d")).status().unwrap();
    let [problem] = index.problems() else { panic!("{} problems", index.problems().len()) };
    assert_eq!((problem.kind, problem.path.as_bytes().len()), (ProblemKind::Unsupported, 8191));
    assert!(problem.detail.contains("8192 bytes"), "{}", problem.detail);
    assert!(index.get(&path("precious")).is_some());
    assert_eq!(index.subdirs().count(), 4096);
}

#[test]
fn sockets_are_reported() {
    let tree = varied_tree();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("socket")).unwrap();
    let index = scan(tree.path());
    let [problem] = index.problems() else { panic!("{:?}", index.problems()) };
    assert_eq!((&problem.path, problem.kind), (&path("socket"), ProblemKind::Unsupported));
    assert_eq!(index.get(&path("socket")), None);
}

#[test]
fn weak_signatures_are_refused() {
    let tree = varied_tree();
    let signature = SignatureOptions { strong_len: 9, ..SignatureOptions::default() };
    let options = ScanOptions { signature: Some(signature), ..ScanOptions::default() };
    let error = DirIndex::scan_with(&Dir::new(tree.path()).unwrap(), None, &options).unwrap_err();
    assert!(matches!(error, Error::Signature(_)));
}

/// Promise: an index without signatures is of the same tree, unchanged files are not read again by it, and bit rot shows.
/// A scan that wants signatures reads again what has none, and one that wants none keeps none.
#[test]
fn a_scan_without_signatures_says_what_there_is() {
    let tree = varied_tree();
    let dir = Dir::new(tree.path()).unwrap();
    let by = |previous, signature| {
        let progress = Arc::new(Progress::default());
        let options =
            ScanOptions { signature, progress: Some(progress.clone()), ..ScanOptions::default() };
        (DirIndex::scan_with(&dir, previous, &options).unwrap(), progress.bytes())
    };
    let signed = Some(SignatureOptions::default());
    let ((with, all), (without, read)) = (by(None, signed), by(None, None));
    assert_eq!((&without, read), (&with, all));
    assert!(with.has_signatures() && !without.has_signatures());
    let written = |index: &DirIndex| {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        bytes
    };
    let again = DirIndex::from_bytes(written(&without)).unwrap();
    assert_eq!(again, with);

    // The records are as if their files had been settled when they were read.
    let settled = |index: &DirIndex| {
        let records = index.records().iter().map(|record| {
            let stat = fs::symlink_metadata(tree.path().join(record.entry.path.as_path())).unwrap();
            let is_file = matches!(record.entry.node, Node::File { .. });
            let ctime = Time { secs: stat.ctime(), nanos: stat.ctime_nsec() as u32 };
            let fingerprint = is_file.then(|| StatFingerprint::new(ctime, stat.ino()));
            Record { fingerprint, ..Record::clone(record) }
        });
        DirIndex::from_records(records).unwrap()
    };
    let (with, without) = (settled(&with), settled(&without));
    assert_eq!(by(Some(&without), None).1, 0);
    assert!(!by(Some(&with), None).0.has_signatures());
    assert_eq!(by(Some(&without), signed).1, all);

    let rotten = without.records().iter().map(|record| match record.entry.node {
        Node::File { len: len @ 1.., .. } => {
            let node = Node::File { len, digest: Digest::of(b"as it was") };
            let entry = Entry { node, ..record.entry.clone() };
            Record { entry, ..Record::clone(record) }
        }
        _ => Record::clone(record),
    });
    let rotten = DirIndex::from_records(rotten).unwrap().with_early_from(Time::MAX);
    for signature in [None, signed] {
        let verify = ScanOptions { signature, verify: true, ..ScanOptions::default() };
        let found = DirIndex::scan_with(&dir, Some(&rotten), &verify).unwrap();
        assert!(found.problems().iter().any(|problem| problem.kind == ProblemKind::BitRot));
        assert_eq!(found, rotten);
    }
}

#[test]
fn a_cancelled_scan_stops() {
    let tree = varied_tree();
    let progress = Arc::new(Progress::default());
    progress.cancel();
    let options = ScanOptions { progress: Some(progress), ..ScanOptions::default() };
    let error = DirIndex::scan_with(&Dir::new(tree.path()).unwrap(), None, &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
}

#[test]
fn digests_are_what_b3sum_prints() {
    let tree = varied_tree();
    let Ok(output) =
        Command::new("b3sum").arg("--no-names").arg(tree.path().join("large")).output()
    else {
        assert!(std::env::var_os("CI").is_none(), "b3sum must be installed");
        eprintln!("SKIPPED: b3sum is not installed");
        return;
    };
    let index = scan(tree.path());
    let Some(Node::File { digest, .. }) = index.get(&path("large")).map(|entry| &entry.node) else {
        panic!("no file")
    };
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), digest.to_string());
}
