//! Trees that are deep, wide, large or full of holes, with few descriptors. In a program of its own,
//! since it lowers what the process may open.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

use dirindex::{Dir, DirIndex, Node, RelPath, ScanOptions};
use rsync_core::Digest;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LEVELS: usize = 2500;

fn open(at: impl rustix::fd::AsFd, name: &str) -> OwnedFd {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

#[test]
fn trees_of_any_shape_with_64_descriptors() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();

    // A longer path than the kernel takes at once, with something to read at the end.
    let mut at = open(CWD, root.to_str().unwrap());
    for _ in 0..LEVELS {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open(&at, "d");
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = File::from(openat(&at, "end", flags, Mode::RUSR).unwrap());
    file.write_all_at(b"here", 0).unwrap();
    // Wide, with names as long as they may be.
    fs::create_dir(root.join("wide")).unwrap();
    for number in 0..2000 {
        fs::write(root.join(format!("wide/{number:0>255}")), "x").unwrap();
    }
    // Many that several threads read together, each with a second name.
    fs::create_dir(root.join("large")).unwrap();
    for number in 0..200 {
        let name = root.join(format!("large/{number}"));
        fs::write(&name, vec![number; 300_000]).unwrap();
        fs::hard_link(&name, name.with_extension("twin")).unwrap();
    }
    // Data at both ends and in the middle of nothing.
    let len = 1 << 28;
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(len).unwrap();
    let data: [(u64, &[u8]); 3] = [(0, b"start"), (100_000_000, b"middle"), (len - 3, b"end")];
    data.iter().for_each(|(at, data)| sparse.write_all_at(data, *at).unwrap());

    let dir = Dir::new(root).unwrap();
    let index = DirIndex::scan(&dir).unwrap();
    let again = DirIndex::scan_since(&dir, &index).unwrap();
    let plain = ScanOptions { maps: false, ..ScanOptions::default() };
    let unmapped = DirIndex::scan_with(&dir, None, &plain).unwrap();
    // The usual way to remove a tree opens all levels of it.
    Command::new("rm").arg("-rf").arg(root.join("d")).status().unwrap();

    assert_eq!(index.problems(), []);
    assert_eq!((again.tree_id(), unmapped.tree_id()), (index.tree_id(), index.tree_id()));
    assert_eq!(index.subdirs().count(), LEVELS + 2);
    let end = RelPath::new(vec!["d"; LEVELS].join("/") + "/end").unwrap();
    let node = |path: &RelPath| index.get(path).unwrap().node.clone();
    assert_eq!(node(&end), Node::File { len: 4, digest: Digest::of(b"here") });
    let files = index.entries().filter(|entry| matches!(entry.node, Node::File { .. })).count();
    assert_eq!(files, 1 + 2000 + 200 + 1);
    let mut content = vec![0; len as usize];
    data.iter().for_each(|(at, data)| content[*at as usize..][..data.len()].copy_from_slice(data));
    let digest = Digest::of(&content);
    assert_eq!(node(&RelPath::new("sparse").unwrap()), Node::File { len, digest });
}
