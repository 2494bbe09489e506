//! What goes into an archive comes out of it, for any tree, format and number of threads.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::common::{FORMATS, Trees, large, noise, read_all, read_stream, small, text, write};
use crate::forge::Forge;
use archive::{ArchiveOptions, DiffData, DiffStream, Error, Format};
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex, RelPath};
use proptest::prelude::*;
use rsync_core::SignatureOptions;

#[test]
fn contents_come_back_from_a_file() {
    for trees in [small(), large()] {
        for name in ["diff.tgz", "diff.tar.zst", "diff"] {
            let path = trees.path(name);
            let data = DiffData::create(&trees.dir(), &trees.old, &trees.diff, &path).unwrap();
            trees.check_contents(&data);
            trees.check_contents(&DiffData::open(&path).unwrap());
            trees.check_stream(&fs::read(&path).unwrap());
            data.verify(None).unwrap();
            let start = fs::read(&path).unwrap()[..4].to_vec();
            let zstd = name.ends_with("zst");
            assert_eq!(start, if zstd { [0x28, 0xb5, 0x2f, 0xfd] } else { [0x1f, 0x8b, 8, 0] });
        }
    }
}

#[test]
fn the_diff_comes_back() {
    let trees = small();
    for format in FORMATS {
        let data = DiffData::from_source(trees.pack(format).unwrap(), "memory").unwrap();
        assert_eq!(data.diff().apply_to(&trees.old).unwrap(), trees.new);
        let signed = data.signed_diff(&SignatureOptions::default()).unwrap();
        assert_eq!(signed.to_bytes().unwrap(), trees.diff.to_bytes().unwrap());
    }
}

#[test]
fn the_newest_index_can_be_had_from_the_archives_alone() {
    let trees = large();
    let empty = DirIndex::empty();
    let full = DiffIndex::between(&empty, &trees.old);
    let (full_at, diff_at) = (trees.path("full.tgz"), trees.path("diff.tgz"));
    let old_dir = Dir::new(trees.old_path()).unwrap();
    let archives = [
        DiffData::create(&old_dir, &empty, &full, &full_at).map(|_| full_at),
        DiffData::create(&trees.dir(), &trees.old, &trees.diff, &diff_at).map(|_| diff_at),
    ];
    let index = archives.into_iter().fold(empty, |index, archive| {
        let data = DiffData::open(archive.unwrap()).unwrap();
        let diff = data.signed_diff(&SignatureOptions::default()).unwrap();
        diff.apply_to(&index).unwrap()
    });
    assert_eq!(index, trees.new);
    for path in trees.new.files() {
        let packed = |index: &DirIndex| index.signature(path).unwrap().map(|s| s.into_packed());
        assert_eq!(packed(&index), packed(&trees.new), "{path}");
    }
}

#[test]
fn a_full_backup_is_a_diff_from_the_empty_index() {
    let trees = large();
    let empty = DirIndex::empty();
    let diff = DiffIndex::between(&empty, &trees.new);
    let path = trees.path("full.tgz");
    let data = DiffData::create(&trees.dir(), &empty, &diff, &path).unwrap();
    data.verify(None).unwrap();
    let contents = read_all(&data, Path::new("none")).unwrap();
    assert_eq!(contents.len(), 203);
    // More than is in memory at once of a stream.
    let archive = fs::File::open(&path).unwrap();
    assert!(read_stream(archive, "stream", Path::new("none")).unwrap().1 == contents);
    for (path, bytes) in contents {
        assert!(fs::read(trees.new_path().join(&path)).unwrap() == bytes, "{path}");
    }
}

#[test]
fn an_empty_diff_has_an_archive() {
    let trees = Trees::new(|root| write(root, "same", b"same"), |_| ());
    assert!(trees.diff.is_empty());
    for format in FORMATS {
        let archive = trees.pack(format).unwrap();
        trees.check_stream(&archive);
        let data = DiffData::from_source(archive, "memory").unwrap();
        data.verify(None).unwrap();
        assert!(data.diff().is_empty());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let trees = large();
    for format in FORMATS {
        let bytes = trees.pack(format).unwrap();
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| trees.pack(format)).unwrap();
            assert!(bytes == again, "{format:?}: {threads} threads");
        }
    }
}

#[test]
fn contents_open_in_any_order_and_in_part() {
    let trees = large();
    let data = DiffData::from_source(trees.pack(Format::Gzip).unwrap(), "memory").unwrap();
    let contents = trees.contents();
    let mut reader = data.reader();
    let changes = trees.diff.changes();
    let order = (0..changes.len()).rev().chain((0..changes.len()).step_by(7)).chain([0, 5, 0]);
    for change in order.map(|n| &changes[n]) {
        if change.stored_content() != Some(&diffindex::Content::Whole) {
            continue;
        }
        let whole = &contents[&change.path.to_string()];
        let mut body = reader.open(change).unwrap();
        assert_eq!(body.remaining(), whole.len() as u64);
        let mut part = vec![0; whole.len() / 3];
        body.read_exact(&mut part).unwrap();
        assert!(part == whole[..part.len()]);
        assert_eq!(body.remaining(), (whole.len() - part.len()) as u64);
    }
}

#[test]
fn only_stored_contents_of_this_diff_open() {
    let (trees, other) = (small(), large());
    let data = DiffData::from_source(trees.pack(Format::Gzip).unwrap(), "some.tgz").unwrap();
    let mut reader = data.reader();
    let get = |trees: &Trees, path| trees.diff.get(&RelPath::new(path).unwrap()).unwrap().clone();
    for change in [get(&trees, "dir/gone"), get(&trees, "sub"), get(&other, "b/text")] {
        let error = reader.open(&change).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::NotStored { .. }));
        assert_eq!(error.to_string(), format!("some.tgz: nothing is stored for {}", change.path));
    }
    let mut lie = get(&trees, "created");
    lie.new.as_mut().unwrap().node = dirindex::Node::Dir;
    assert!(matches!(reader.open(&lie).map(|_| ()), Err(Error::NotStored { .. })));
}

/// One file of a large archive costs the frames it lies in, and opening costs the ends.
/// Of a stream contents come in path order; those that nobody asks for are skipped, and looked at all
/// the same.
#[test]
fn a_stream_gives_each_content_once() {
    let trees = small();
    let other = Trees::new(|_| (), |root| write(root, "created", b"another"));
    for format in FORMATS {
        let archive = trees.pack(format).unwrap();
        let stored = trees.diff.changes().iter().filter(|c| c.stored_content().is_some());
        let stored: Vec<_> = stored.collect();
        let whole = stored.iter().position(|c| c.path.to_string() == "created").unwrap();
        let [first, created, last] = [stored[0], stored[whole], stored[stored.len() - 1]];

        let mut stream = DiffStream::open(&archive[..], "stream").unwrap();
        let refused = |stream: &mut DiffStream<'_>, change| {
            let error = stream.content(change).err();
            assert!(matches!(error, Some(Error::NotStored { .. })), "{error:?}");
        };
        refused(&mut stream, &other.diff.changes()[0]);
        let mut bytes = [0; 3];
        stream.content(created).unwrap().read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"cre");
        refused(&mut stream, created);
        refused(&mut stream, first);
        drop(stream.content(last).unwrap());
        stream.finish().unwrap();

        DiffStream::open(&archive[..], "stream").unwrap().finish().unwrap();
    }
}

#[test]
fn little_is_read_for_one_file() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    struct Counted(Vec<u8>, Arc<[AtomicU64; 2]>);
    impl archive::ReadAt for Counted {
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
        fn fill_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.1[0].fetch_add(1, Relaxed);
            self.1[1].fetch_add(buffer.len() as u64, Relaxed);
            self.0.fill_at(buffer, offset)
        }
    }
    let trees = Trees::new(
        |_| (),
        |root| {
            write(root, "a", &noise(1, 20 << 20));
            write(root, "b", b"ten bytes.");
            write(root, "c", &noise(2, 20 << 20));
        },
    );
    let counts: Arc<[AtomicU64; 2]> = Arc::default();
    let source = Counted(trees.pack(Format::Zstd).unwrap(), Arc::clone(&counts));
    let data = DiffData::from_source(source, "counted").unwrap();
    let diff_len = trees.carried_diff().len() as u64;
    let [reads, bytes] = [0, 1].map(|n| counts[n].swap(0, Relaxed));
    assert!(reads <= 4 && bytes < diff_len + (17 << 10), "{reads} reads of {bytes} to open");
    let b = trees.diff.get(&RelPath::new("b").unwrap()).unwrap();
    let mut content = String::new();
    data.reader().open(b).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "ten bytes.");
    let [reads, bytes] = [0, 1].map(|n| counts[n].swap(0, Relaxed));
    assert!(reads <= 2 && bytes <= 2 * (1100 << 10), "{reads} reads of {bytes} for one file");
}

/// A reader goes by the table, wherever the writer has cut. So many frames make a table that is
/// longer than what opening reads at once.
#[test]
fn members_of_any_length_are_read() {
    let trees = large();
    let mut forge = Forge::take_apart(Format::Zstd, &trees.pack(Format::Zstd).unwrap());
    forge.on_stream = |chunks| {
        // Before them: diff.index in four pieces, for its two blocks, and PATHS.
        let contents = chunks.drain(5..).collect::<Vec<_>>().concat();
        let (mut at, lengths) = (0, noise(5, contents.len()));
        while at < contents.len() {
            let end = contents.len().min(at + 1 + usize::from(lengths[at]));
            chunks.push(contents[at..end].to_vec());
            at = end;
        }
    };
    let archive = forge.build();
    trees.check_stream(&archive);
    let data = DiffData::from_source(archive, "memory").unwrap();
    trees.check_contents(&data);
    data.verify(None).unwrap();
}

/// What to do with a path of a random tree.
#[derive(Debug, Clone)]
enum Edit {
    Write(usize, u64, usize),
    Remove(usize),
    Append(usize, u64),
    Mkdir(usize),
    Move(usize, usize),
}

const NAMES: [&str; 8] = ["a", "b", "d/a", "d/b", "d/e/a", "odd \n\\name", "d-x", "é"];

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let path = 0..NAMES.len();
    let len = prop_oneof![Just(0usize), 1usize..50, 1000usize..9000];
    let edit = prop_oneof![
        4 => (path.clone(), 0u64..4, len).prop_map(|(path, seed, len)| Edit::Write(path, seed, len)),
        1 => path.clone().prop_map(Edit::Remove),
        2 => (path.clone(), 0u64..4).prop_map(|(path, seed)| Edit::Append(path, seed)),
        1 => path.clone().prop_map(Edit::Mkdir),
        1 => (path.clone(), path).prop_map(|(from, to)| Edit::Move(from, to)),
    ];
    proptest::collection::vec(edit, 0..12)
}

/// Edits that do not fit the tree as it is have no effect.
fn edit(root: &Path, edit: &Edit) {
    let at = |n: usize| root.join(NAMES[n]);
    let fits = |path: &Path| path.parent().unwrap().is_dir();
    match *edit {
        Edit::Write(n, seed, len) if !at(n).is_dir() => {
            let _ = fs::create_dir_all(at(n).parent().unwrap());
            if fits(&at(n)) {
                write(root, at(n), &noise(seed, len));
            }
        }
        Edit::Append(n, seed) if at(n).is_file() => {
            let bytes = [fs::read(at(n)).unwrap(), text(seed, 20)].concat();
            write(root, at(n), &bytes);
        }
        Edit::Remove(n) => {
            let _ = fs::remove_file(at(n));
            let _ = fs::remove_dir_all(at(n));
        }
        Edit::Mkdir(n) => drop(fs::create_dir_all(at(n))),
        Edit::Move(from, to) => drop(fs::rename(at(from), at(to))),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..Default::default() })]
    #[test]
    fn random_diffs_come_back(before in edits(), after in edits()) {
        let trees = Trees::new(
            |root| before.iter().for_each(|step| edit(root, step)),
            |root| after.iter().for_each(|step| edit(root, step)),
        );
        trees.check_both_formats();
    }
}

#[test]
fn options_are_obeyed() {
    let trees = large();
    let pack = |format, level| {
        let mut bytes = Vec::new();
        let options = ArchiveOptions { format: Some(format), level, ..Default::default() };
        DiffData::write(&trees.dir(), &trees.old, &trees.diff, &mut bytes, &options).map(|()| bytes)
    };
    for format in FORMATS {
        let [fast, slow] = [1, 9].map(|level| pack(format, Some(level)).unwrap().len());
        assert!(fast > slow, "{format:?}: {fast} {slow}");
        assert!(matches!(pack(format, Some(77)), Err(Error::Level { level: 77, .. })));
    }
    let dir = Dir::new(trees.new_path()).unwrap();
    let options = ArchiveOptions { format: Some(Format::Zstd), ..Default::default() };
    let path = trees.path("zstd.tgz");
    DiffData::create_with(&dir, &trees.old, &trees.diff, &path, &options).unwrap();
    assert_eq!(fs::read(path).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd], "the option wins");
}

/// Promise: a long content comes back in order and from any place on, for any number of threads, and damage in the middle of it is named.
#[test]
fn a_long_content_comes_back_in_order_and_from_any_place() {
    let content = [noise(1, (9 << 20) + 3), text(2, 400_000)].concat();
    let trees = Trees::new(|_| (), |root| write(root, "long", &content));
    let change = &trees.diff.changes()[0];
    for format in FORMATS {
        let bytes = trees.pack(format).unwrap();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let data = DiffData::from_source(bytes.clone(), "whole").unwrap();
                let mut reader = data.reader();
                let mut found = Vec::new();
                reader.open(change).unwrap().read_to_end(&mut found).unwrap();
                assert!(found == content, "{format}, {threads} threads");
                for at in [0, (5 << 20) + 7, 15 << 20, 1 << 20] {
                    let mut body = reader.open(change).unwrap();
                    body.seek(SeekFrom::Start(at)).unwrap();
                    let mut found = Vec::new();
                    body.take(4 << 20).read_to_end(&mut found).unwrap();
                    let end = content.len().min((at + (4 << 20)) as usize);
                    assert!(found == content[at as usize..end], "{format} from {at}");
                }
                let data = DiffData::from_source(damaged.clone(), "damaged").unwrap();
                let mut reader = data.reader();
                let error = reader.open(change).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
                assert!(error.to_string().contains("hash"), "{error}");
            });
        }
    }
}
