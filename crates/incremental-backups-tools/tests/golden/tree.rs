//! The trees that the golden files are of: the same on every machine and for every user.
//! Their indexes are made by hand, since a scan would see the owners and inodes of the day.

use std::fs;
use std::path::Path;

use incremental_backups_tools::dirindex::stored::StoredSignature;
use incremental_backups_tools::dirindex::{Record, StatFingerprint};
use incremental_backups_tools::{
    Digest, DirIndex, Entry, Meta, Node, RelPath, Signature, SignatureOptions, Time, Xattr,
};

/// Three and a half blocks of text that does not repeat.
pub(crate) fn edited(generation: u8) -> Vec<u8> {
    let line = |n: u32| format!("{n} {:08x}\n", n.wrapping_mul(0x9e37_79b9)).into_bytes();
    let mut text: Vec<u8> = (1000..1256).flat_map(line).collect();
    if generation == 2 {
        text.splice(1500..1503, *b"an insertion");
    }
    text
}

/// The files of a tree: path, content, mtime.
fn files(generation: u8) -> Vec<(Vec<u8>, Vec<u8>, Time)> {
    let at = |secs, nanos| Time { secs, nanos };
    let moved: &[u8] = if generation == 1 { b"dir/before" } else { b"dir/inner/after" };
    let mut files = vec![
        (&b"edited"[..], edited(generation), at(1_000_000_000 + i64::from(generation), 1)),
        (b"empty", vec![], at(0, 0)),
        (b"kept", b"kept\n".to_vec(), at(-1, 999_999_999)),
        (b"not utf-8 \xff", b"named in bytes\n".to_vec(), at(1_234_567_890, 0)),
        (moved, b"moved, and the same\n".to_vec(), at(1_111_111_111, 111_111_111)),
    ];
    match generation {
        1 => files.push((b"gone", b"gone\n".to_vec(), at(1, 2))),
        _ => {
            files.push((b"copy", b"kept\n".to_vec(), at(2_000_000_000, 0)));
            files.push((b"new", b"new\n".to_vec(), at(4_000_000_000, 5)));
            files.push((b"new dir/the same", b"new\n".to_vec(), at(4_000_000_000, 6)));
        }
    }
    let files = files.into_iter().map(|(path, content, mtime)| (path.to_vec(), content, mtime));
    let many = (0..16).map(|number| {
        let path = [many(generation), format!("/{number:02}").as_bytes()].concat();
        (path, format!("{number}\n").into_bytes(), at(number, 0))
    });
    files.chain(many).collect()
}

/// A directory that holds so much that its move is one change.
fn many(generation: u8) -> &'static [u8] {
    if generation == 1 { b"many" } else { b"new dir/many" }
}

/// The tree before (1) and after (2) a change, as it can be applied by anybody.
pub(crate) fn index(generation: u8) -> DirIndex {
    DirIndex::from_records(records(generation)).unwrap()
}

/// The same with what only a privileged process can restore, or only some file systems: devices,
/// set-id bits, owners, extended attributes.
pub(crate) fn wide_index(generation: u8) -> DirIndex {
    let mut records = records(generation);
    let (major, minor) = (u32::from(generation), 300);
    records.push(record(
        b"device-b",
        Node::BlockDevice { major, minor },
        0o660,
        Time { secs: 1, nanos: 0 },
    ));
    records.push(record(
        b"device-c",
        Node::CharDevice { major: 1, minor: 3 },
        0o666,
        Time { secs: 2, nanos: 0 },
    ));
    let kept = records.iter_mut().find(|record| record.entry.path.as_bytes() == b"kept").unwrap();
    let ctime = Time { secs: 1_700_000_000, nanos: 7 };
    kept.fingerprint = Some(StatFingerprint::new(ctime, u64::from(u32::MAX) + 1));
    let meta = &mut kept.entry.meta;
    (meta.mode, meta.uid, meta.gid) = (0o6755, 1000, 4_000_000_000);
    let xattr = |name: &str, value: &[u8]| Xattr { name: name.into(), value: value.to_vec() };
    meta.xattrs =
        vec![xattr("user.comment", &[generation, 0, 255]), xattr("user.empty", b"")].into();
    DirIndex::from_records(records).unwrap()
}

fn records(generation: u8) -> Vec<Record> {
    let time = Time { secs: 1_500_000_000, nanos: 0 };
    let target = if generation == 1 { "dir/before" } else { "dir/inner/after" };
    let mut records = vec![
        record(b"dir", Node::Dir, 0o755, time),
        record(b"dir/inner", Node::Dir, if generation == 1 { 0o700 } else { 0o750 }, time),
        record(many(generation), Node::Dir, 0o755, time),
        record(b"fifo", Node::Fifo, 0o600, time),
        record(b"link", Node::Symlink { target: target.into() }, 0o777, time),
    ];
    for (path, content, mtime) in files(generation) {
        let node = Node::File { len: content.len() as u64, digest: Digest::of(&content) };
        let mut record = record(&path, node, 0o644, mtime);
        if !content.is_empty() {
            let signature =
                Signature::of_slice(&content, &SignatureOptions::default(), None).unwrap();
            record.signature = Some(StoredSignature::new(signature));
        }
        records.push(record);
    }
    let to = RelPath::new("edited").unwrap();
    let edited = records.iter().find(|record| record.entry.path == to).unwrap();
    let mtime = edited.entry.meta.mtime;
    records.push(record(b"twin", Node::HardLink { to }, 0o644, mtime));
    if generation == 2 {
        records.push(record(b"new dir", Node::Dir, 0o755, time));
    }
    records
}

fn record(path: &[u8], node: Node, mode: u32, mtime: Time) -> Record {
    let path = RelPath::new(path).unwrap();
    let meta = Meta { mode, uid: 0, gid: 0, mtime, xattrs: Default::default() };
    Record { entry: Entry { path, node, meta }, signature: None, fingerprint: None }
}

/// Puts the contents of a tree into `root`, which is all that an archive takes from there.
pub(crate) fn fill(root: &Path, generation: u8) {
    for (path, content, _) in files(generation) {
        let path = root.join(RelPath::new(path).unwrap().as_path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
