//! An archive holds what the diff says, or there is none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use archive::{ArchiveOptions, DiffData, Error};
use diffindex::{Change, Content, DiffIndex, NewEntry, Signatures};
use dirindex::{Dir, DirIndex, Meta, Node, RelPath, Time, TreeId, Xattr, Xattrs};
use rsync_core::Progress;

use crate::common::{FORMATS, MUTATIONS, Trees, chain, noise, small, text, write};

/// Creates an archive, which must fail and leave the directory as it was.
fn fails(trees: &Trees, options: &ArchiveOptions) -> Error {
    let target = trees.path("target");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("diff.tgz"), "the archive of before").unwrap();
    let path = target.join("diff.tgz");
    let made = DiffData::create_with(&trees.dir(), &trees.old, &trees.diff, &path, options);
    let left: Vec<_> =
        fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["diff.tgz"]);
    assert_eq!(fs::read(path).unwrap(), b"the archive of before");
    made.unwrap_err()
}

/// So many new directories, each with these attributes, and each with this below its number as its path.
fn directories(count: u32, below: &str, xattrs: Xattrs) -> DiffIndex {
    let mtime = Time { secs: 0, nanos: 0 };
    let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs };
    let change = |number: u32| {
        let path = RelPath::new(format!("{number:05}{below}")).unwrap();
        let (node, meta) = (Node::Dir, meta.clone());
        let new = Some(NewEntry { node, meta, content: Content::Keep, signature: None });
        Change { path, old: None, new, excluded: false }
    };
    let changes = (0..count).map(change).collect();
    DiffIndex::from_changes(DirIndex::empty().tree_id(), TreeId([1; 32]), changes).unwrap()
}

/// 80,000 directories with the same 160 attributes: so much that no reader would take it.
#[test]
fn a_diff_that_takes_too_much_memory_is_not_written() {
    let old = DirIndex::empty();
    let xattr = |name: u8| Xattr { name: vec![name + 1], value: Vec::new() };
    let diff = directories(80_000, "", (0..160).map(xattr).collect::<Vec<_>>().into());
    let tmp = tempfile::tempdir().unwrap();
    let dir = Dir::new(tmp.path()).unwrap();
    for format in FORMATS {
        let options = ArchiveOptions { format: Some(format), ..Default::default() };
        let mut out = Vec::new();
        let error = DiffData::write(&dir, &old, &diff, &mut out, &options).unwrap_err();
        assert!(matches!(error, Error::Encode(_)), "{error}");
        assert!(chain(error).contains("bytes in memory"));
        assert!(out.len() < 1 << 20, "{}", out.len());
    }
    let mut out = Vec::new();
    let error = diff.write_to(&mut out, Signatures::All).unwrap_err();
    assert!(matches!(error, diffindex::Error::Sections(_)), "{error}");
    assert!(out.is_empty());
}

/// 12,000 paths of 8,000 bytes compress to nearly nothing. Readers limit their memory by what is stored, so that much is
/// stored.
#[test]
fn a_diff_that_compresses_to_nothing_is_written_so_that_it_can_be_read() {
    let old = DirIndex::empty();
    let diff = directories(12_000, &"/d".repeat(4000), Xattrs::default());
    let tmp = tempfile::tempdir().unwrap();
    let dir = Dir::new(tmp.path()).unwrap();
    for format in FORMATS {
        let options = ArchiveOptions { format: Some(format), ..Default::default() };
        let mut out = Vec::new();
        DiffData::write(&dir, &old, &diff, &mut out, &options).unwrap();
        assert!(out.len() > 12_000 * 8000 / 128);
        let read = DiffData::from_source(out, "a test").unwrap();
        let paths = |diff: &DiffIndex| -> Vec<RelPath> {
            diff.changes().iter().map(|change| change.path.clone()).collect()
        };
        assert!(paths(read.diff()) == paths(&diff));
    }
}

#[test]
fn a_file_that_changed_since_the_scan_is_refused() {
    // Stored whole, stored as a delta, and large enough to be mapped.
    for victim in ["sub/sub/created", "edited", "large"] {
        for (how, mutate) in MUTATIONS {
            let trees = Trees::new(
                |root| {
                    write(root, "edited", &text(1, 200));
                    write(root, "large", &noise(2, 3 << 20));
                },
                |root| {
                    write(root, "edited", &text(2, 200));
                    write(root, "large", &[&noise(2, 3 << 20)[..], b"more"].concat());
                    write(root, "sub/sub/created", &text(3, 300));
                },
            );
            mutate(&trees.new_path().join(victim));
            let error = fails(&trees, &ArchiveOptions::default());
            assert!(matches!(error, Error::Changed { .. }), "{victim}, {how}: {error:?}");
            assert_eq!(error.to_string(), format!("{victim} has changed since it was indexed"));
        }
    }
    let trees = small();
    fs::remove_file(trees.new_path().join("sub/empty")).unwrap();
    assert!(trees.pack(FORMATS[0]).is_ok(), "nothing is stored of an empty file");
}

#[test]
fn what_was_appended_since_the_scan_is_left_out() {
    let trees = small();
    for path in ["created", "edited"] {
        let path = trees.new_path().join(path);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..], b"appended since"].concat()).unwrap();
    }
    let data = DiffData::from_source(trees.pack(FORMATS[0]).unwrap(), "memory").unwrap();
    data.verify(None).unwrap();
    let contents = crate::common::read_all(&data, &trees.old_path()).unwrap();
    assert_eq!(contents["created"], b"created");
    assert!(!contents["edited"].ends_with(b"since"));
}

#[test]
fn a_link_planted_above_a_file_is_not_followed() {
    let trees = small();
    let (sub, outside) = (trees.new_path().join("sub"), trees.path("outside"));
    fs::rename(&sub, &outside).unwrap();
    symlink(&outside, &sub).unwrap();
    let error = fails(&trees, &ArchiveOptions::default());
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[test]
fn another_old_index_is_refused() {
    let mut trees = small();
    trees.old = trees.new.clone();
    let error = fails(&trees, &ArchiveOptions::default());
    assert!(matches!(error, Error::WrongBase { .. }), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let trees = small();
    let victim = trees.new_path().join("created");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&victim).is_ok() {
        eprintln!("SKIPPED: root may read everything");
        return;
    }
    let error = fails(&trees, &ArchiveOptions::default());
    assert_eq!(error.to_string(), "cannot open created");
}

#[test]
fn a_target_that_cannot_be_made_is_an_error() {
    let trees = small();
    let path = trees.path("no such directory/diff.tgz");
    let error = DiffData::create(&trees.dir(), &trees.old, &trees.diff, path).unwrap_err();
    assert!(error.to_string().starts_with("cannot create a file in "), "{error:?}");
    let error = DiffData::open(trees.path("no archive")).unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    let error = DiffData::open(trees.new_path().join("edited")).unwrap_err();
    assert!(error.to_string().contains("no archive of this program"), "{error}");
}

#[test]
fn progress_is_counted_and_stops_the_work() {
    let trees = small();
    let progress = Arc::new(Progress::default());
    let options = ArchiveOptions { progress: Some(Arc::clone(&progress)), ..Default::default() };
    let path = trees.path("diff.tgz");
    DiffData::create_with(&trees.dir(), &trees.old, &trees.diff, path, &options).unwrap();
    assert_eq!(progress.items(), trees.contents().len() as u64);
    assert_eq!(progress.bytes(), trees.contents().values().map(|bytes| bytes.len() as u64).sum());
    progress.cancel();
    assert!(matches!(fails(&trees, &options), Error::Cancelled));
}
