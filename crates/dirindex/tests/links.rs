//! That a file with several names keeps its content whatever becomes of one of them, and that what is no file
//! keeps its attributes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dirindex::{Dir, DirIndex, Node, RelPath};
use rsync_core::Digest;
use rustix::fs::{CWD, XattrFlags, lsetxattr, mkfifoat};
use rustix::io::Errno;

fn scan(root: &Path) -> DirIndex {
    DirIndex::scan(&Dir::new(root).unwrap()).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// The digest of the file at `at`, by whatever name it is in the index.
fn digest(index: &DirIndex, at: &RelPath) -> Option<Digest> {
    match &index.get(at)?.node {
        Node::File { digest, .. } => Some(*digest),
        Node::HardLink { to } => digest(index, to),
        _ => None,
    }
}

#[test]
fn the_other_names_keep_the_content_when_the_first_goes_during_the_scan() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let names: Vec<String> = (0..40).map(|number| format!("{number}")).collect();
    for dir in ["first", "second", "spare"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    for name in &names {
        fs::write(root.join("second").join(name), name).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                for name in &names {
                    let first = root.join("first").join(name);
                    fs::hard_link(root.join("second").join(name), &first).unwrap();
                }
                for (number, name) in names.iter().enumerate() {
                    let first = root.join("first").join(name);
                    if number % 3 == 0 {
                        // Another file takes the name, and maybe soon the inode's number.
                        let spare = root.join("spare/file");
                        fs::write(&spare, "of another file").unwrap();
                        fs::rename(&spare, &first).unwrap();
                    }
                    fs::remove_file(&first).unwrap();
                }
            }
        });
        for round in 0..60 {
            let index = scan(root);
            for name in &names {
                let found = digest(&index, &path(&format!("second/{name}")));
                if found != Some(Digest::of(name.as_bytes())) {
                    done.store(true, Relaxed);
                    panic!("{name} in round {round}: {found:?}, {:?}", index.problems());
                }
            }
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn attributes_of_links_and_fifos_are_taken_in() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    symlink("nowhere", root.join("link")).unwrap();
    mkfifoat(CWD, root.join("fifo"), 0o600.into()).unwrap();
    for name in ["link", "fifo"] {
        match lsetxattr(root.join(name), "trusted.note", b"kept", XattrFlags::empty()) {
            Err(Errno::PERM | Errno::NOTSUP) => {
                eprintln!("SKIPPED: not root, or no such attributes here");
                return;
            }
            set => set.unwrap(),
        }
    }
    let index = scan(root);
    assert_eq!(index.problems(), []);
    for name in ["link", "fifo"] {
        let xattrs = &index.get(&path(name)).unwrap().meta.xattrs;
        assert_eq!(xattrs.iter().next(), Some((&b"trusted.note"[..], &b"kept"[..])), "{name}");
    }
}
