//! A tree that changes while it is packed: what is stored is exactly what the index then says.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use archive::{ArchiveOptions, DiffData, Error, Format, Packed};
use diffindex::{DiffIndex, LazyDiff};
use dirindex::{DirIndex, Entry, LazyIndex, Node, Problem, ProblemKind, RelPath, ScanOptions};
use proptest::collection::vec;
use proptest::prelude::*;
use rsync_core::{Digest, SignatureOptions};

use crate::common::{FORMATS, MUTATIONS, Mutation, Trees, noise, read_all, text, write};

/// Packs the tree as it is now, though `trees` has it as it was scanned, and takes in what was found.
fn pack(trees: &mut Trees, format: Format) -> Result<Vec<u8>, Error> {
    let options = ArchiveOptions { format: Some(format), ..Default::default() };
    let (dir, signature) = (trees.dir(), SignatureOptions::default());
    let mut written = Vec::new();
    let (old, new) = (LazyIndex::from(&trees.old), LazyIndex::from(&trees.new));
    // A first backup may have a diff that is not in memory.
    let added = LazyDiff::added(&old, &new).unwrap();
    let diff = added.unwrap_or_else(|| LazyDiff::from(&trees.diff));
    let scanned = (&new, &diff);
    let packed = DiffData::write_live(&dir, &old, scanned, &mut written, &signature, &options);
    match packed? {
        Packed::Whole(None) => {}
        Packed::Whole(Some(seen)) => trees.new = seen.load().unwrap(),
        Packed::Amended(amended) => {
            let mut again = Vec::new();
            amended.write(&written, &mut again, &options)?;
            let (index, diff) = amended.into_parts();
            (trees.new, trees.diff) = (index.load().unwrap(), diff.load().unwrap());
            written = again;
        }
    }
    Ok(written)
}

/// Packs as [`pack`] does, and checks the archive against the tree and the index.
fn check(trees: &mut Trees, format: Format) -> Result<(), Error> {
    let archive = pack(trees, format)?;
    let data = DiffData::from_source(archive.clone(), "memory").unwrap();
    data.verify(None).unwrap();
    assert_eq!(data.diff().apply_to(&trees.old).unwrap(), trees.new);
    trees.check_contents(&data);
    trees.check_stream(&archive);
    // Another attempt, which finds nothing that differs, gives the same bytes.
    assert!(archive == trees.pack(format).unwrap());
    Ok(())
}

/// A file that is another when its content is stored is stored as it is then. One that is gone is left out. No other file
/// suffers by it.
#[test]
fn a_file_that_changed_since_the_scan_is_stored_as_it_is() {
    // Stored whole, stored as a delta, and large: mapped, and streamed.
    let victims = ["sub/sub/created", "edited", "large", "larger"];
    let victims = victims.into_iter().flat_map(|victim| [(victim, true), (victim, false)]);
    for (victim, is_first) in victims {
        for (how, mutate) in MUTATIONS {
            let mut trees = Trees::new(
                |root| {
                    if !is_first {
                        write(root, "edited", &text(1, 200));
                        write(root, "large", &noise(2, 3 << 20));
                    }
                },
                |root| {
                    write(root, "edited", &text(2, 200));
                    write(root, "large", &[&noise(2, 3 << 20)[..], b"more"].concat());
                    write(root, "larger", &noise(4, 3 << 20));
                    write(root, "sub/sub/created", &text(3, 300));
                },
            );
            let scanned = trees.new.clone();
            mutate(&trees.new_path().join(victim));
            let format = FORMATS[victim.len() % 2];
            check(&mut trees, format).unwrap_or_else(|error| panic!("{victim}, {how}: {error}"));
            assert_eq!(entries(&trees.new), still_there(&trees, &scanned), "{victim}, {how}");
            assert!(trees.new.problems().is_empty(), "{victim}, {how}");
        }
    }
}

/// What the tree has now, of the paths that `scanned` has with the same kind.
fn still_there(trees: &Trees, scanned: &DirIndex) -> Vec<Entry> {
    let now = DirIndex::scan(&trees.dir()).unwrap();
    let same = |entry: &&Entry| {
        scanned.get(&entry.path).is_some_and(|before| before.node.same_kind(&entry.node))
    };
    // A directory has another time when a name in it goes.
    let mut there: Vec<Entry> = now.entries().filter(same).cloned().collect();
    there.iter_mut().filter(|entry| entry.node == Node::Dir).for_each(|entry| {
        entry.meta = scanned.get(&entry.path).unwrap().meta.clone();
    });
    there
}

fn entries(index: &DirIndex) -> Vec<Entry> {
    index.entries().cloned().collect()
}

/// What other paths depend on is not stored as something else: that is an error, and another scan sees what is there.
#[test]
fn what_others_depend_on_is_refused() {
    type Build = fn(&Path);
    let builds: [(&str, Build, Mutation); 2] = [
        (
            "stored once for two",
            |root| write(root, "b", b"content"),
            |path| fs::write(path, "x").unwrap(),
        ),
        (
            "another name is left",
            |root| fs::hard_link(root.join("a"), root.join("b")).unwrap(),
            |path| fs::remove_file(path).unwrap(),
        ),
    ];
    for (what, build, mutate) in builds {
        let mut trees = Trees::new(
            |root| write(root, "old", b"old"),
            |root| {
                write(root, "a", b"content");
                build(root);
            },
        );
        mutate(&trees.new_path().join("a"));
        let error = check(&mut trees, FORMATS[1]).unwrap_err();
        assert!(
            matches!(&error, Error::Changed { path } if path.as_bytes() == b"a"),
            "{what}: {error}"
        );
    }
}

/// The other names of a file that changed have its new content too.
#[test]
fn a_file_with_two_names_is_stored_as_it_is() {
    let mut trees = Trees::new(
        |root| write(root, "old", b"old"),
        |root| {
            write(root, "a", b"content");
            fs::hard_link(root.join("a"), root.join("z")).unwrap();
        },
    );
    let scanned = trees.new.clone();
    write(&trees.new_path(), "a", b"other content");
    check(&mut trees, FORMATS[0]).unwrap();
    assert_eq!(entries(&trees.new), still_there(&trees, &scanned));
}

/// Files that are written all the time are stored, each as some bytes with just the digest that is noted, and named.
#[test]
fn files_that_never_hold_still_are_stored_and_named() {
    let (small, large) = ("small", "large");
    let mut trees = Trees::new(
        |root| write(root, large, &noise(1, 3 << 20)),
        |root| {
            write(root, small, b"0");
            write(root, large, &noise(2, 3 << 20));
            write(root, "new", &noise(3, 5 << 20));
            write(root, "quiet", b"quiet");
        },
    );
    let (stop, root) = (AtomicBool::new(false), trees.new_path());
    let paths = [small, large, "new"].map(|name| root.join(name));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0u32.. {
                for path in &paths {
                    let file = File::options().write(true).open(path).unwrap();
                    std::os::unix::fs::FileExt::write_all_at(&file, &turn.to_le_bytes(), 0)
                        .unwrap();
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let options = ScanOptions { provisional: true, ..Default::default() };
        trees.new = DirIndex::scan_with(&trees.dir(), None, &options).unwrap();
        trees.diff = DiffIndex::between(&trees.old, &trees.new);
        let archive = pack(&mut trees, FORMATS[1]);
        stop.store(true, Ordering::Relaxed);
        let data = DiffData::from_source(archive.unwrap(), "memory").unwrap();
        data.verify(None).unwrap();
        assert_eq!(data.diff().apply_to(&trees.old).unwrap(), trees.new);
        let contents = read_all(&data, &trees.old_path()).unwrap();
        for (path, content) in &contents {
            let entry = trees.new.get(&RelPath::new(path.as_str()).unwrap()).unwrap();
            let (len, digest) = (content.len() as u64, Digest::of(content));
            assert_eq!(entry.node, Node::File { len, digest }, "{path}");
        }
        assert_eq!(contents.len(), 4);
        let changing = |problem: &Problem| problem.kind == ProblemKind::Changing;
        assert!(trees.new.problems().iter().all(changing), "{:?}", trees.new.problems());
    });
}

/// What happens to a file between the scan and the packing.
#[derive(Debug, Clone, Copy)]
enum Event {
    Write(usize),
    Remove,
    Replace,
}

fn event() -> impl Strategy<Value = (usize, Event)> {
    let what = prop_oneof![
        prop_oneof![Just(0), 1usize..100, Just(300 << 10)].prop_map(Event::Write),
        Just(Event::Remove),
        Just(Event::Replace),
    ];
    (0usize..8, what)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    /// Whatever happens to the files of a tree, the archive leads to exactly the index that is given with it, or it is refused.
    #[test]
    fn archive_and_index_agree_whatever_happens(
        contents in vec(0u64..4, 8), events in vec(event(), 0..6), format in 0usize..2,
    ) {
        let name = |number: usize| format!("d{}/{number}", number % 3);
        let mut trees = Trees::new(
            |root| (0..5).for_each(|n| write(root, name(n), &text(n as u64, 40))),
            |root| {
                for (n, &seed) in contents.iter().enumerate() {
                    write(root, name(n), &text(seed, 50));
                }
            },
        );
        for (turn, (number, event)) in events.iter().enumerate() {
            let path = trees.new_path().join(name(*number));
            match event {
                _ if fs::symlink_metadata(&path).is_err() => {}
                Event::Write(len) => fs::write(&path, noise(turn as u64, *len)).unwrap(),
                Event::Remove => fs::remove_file(&path).unwrap(),
                Event::Replace => {
                    fs::remove_file(&path).unwrap();
                    symlink("nowhere", &path).unwrap();
                }
            }
        }
        match check(&mut trees, FORMATS[format]) {
            Ok(()) | Err(Error::Changed { .. }) => {}
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}
