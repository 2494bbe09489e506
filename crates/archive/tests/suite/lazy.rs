//! A snapshot whose first tree stays in its archives, beside one of the same archives that is in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use archive::{
    Archive, ArchiveOptions, DiffData, Format, LazyData, Snapshot, SnapshotReader, SnapshotTree,
    Unpacked,
};
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex, Entry, RelPath};

use crate::common::{Chain, carried, chain as in_words, noise, text, write};

/// Some hundred files in several directories: more than one block of changes. Some have the same content, and some are links.
fn build(root: &std::path::Path) {
    for number in 0..300u64 {
        let dir = format!("d{}", number / 60);
        let content = match number % 7 {
            0 => b"in many places".to_vec(),
            1 => Vec::new(),
            _ => text(number, 3),
        };
        write(root, format!("{dir}/{number:03}"), &content);
    }
    write(root, "large", &noise(1, 300_000));
    fs::hard_link(root.join("d0/002"), root.join("d3/link")).unwrap();
    fs::hard_link(root.join("large"), root.join("z link")).unwrap();
    std::os::unix::fs::symlink("d0", root.join("symlink")).unwrap();
}

/// A first backup in so many archives, each of which goes on behind the last path of the one before it; and what follows it.
fn in_parts(parts: usize) -> Chain {
    let mut chain = Chain::new(build);
    let (whole, dir) = (chain.index.clone(), Dir::new(chain.tmp.path()).unwrap());
    let options = ArchiveOptions { format: Some(Format::Zstd), ..Default::default() };
    let mut before = DirIndex::empty();
    chain.archives.clear();
    for part in 1..=parts {
        let records = whole.records();
        let some = records[..records.len() * part / parts].iter().cloned();
        let next = DirIndex::from_records(some).unwrap();
        let (diff, mut archive) = (DiffIndex::between(&before, &next), Vec::new());
        DiffData::write(&dir, &before, &diff, &mut archive, &options).unwrap();
        chain.archives.push(archive);
        before = next;
    }
    chain.step(|root| {
        write(root, "d0/003", &text(3, 4));
        fs::remove_file(root.join("d1/077")).unwrap();
        write(root, "d2/new", b"in many places");
        write(root, "large", &[noise(1, 300_000), b"more".to_vec()].concat());
    });
    chain.step(|root| fs::rename(root.join("d2"), root.join("elsewhere")).unwrap());
    chain.step(|root| {
        fs::remove_dir_all(root.join("d4")).unwrap();
        write(root, "d4", b"a file now");
        write(root, "d2/again", &text(130, 3));
        write(root, "large", &[noise(1, 300_000), b"and more".to_vec()].concat());
        fs::remove_file(root.join("d0/002")).unwrap();
    });
    chain
}

fn archives(chain: &Chain) -> Vec<Archive> {
    chain.parts().iter().map(|part| part.archives()[0].clone()).collect()
}

fn entries(snapshot: &Snapshot) -> Vec<Entry> {
    snapshot.entries().map(|entry| entry.unwrap().entry().to_entry()).collect()
}

fn contents(snapshot: &Snapshot) -> BTreeMap<RelPath, Vec<u8>> {
    contents_by(&mut snapshot.reader(), snapshot)
}

fn contents_by(reader: &mut SnapshotReader<'_>, snapshot: &Snapshot) -> BTreeMap<RelPath, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for entry in entries(snapshot) {
        if !entry.node.is_empty() {
            let mut bytes = Vec::new();
            reader.open(&entry.path).unwrap().read_to_end(&mut bytes).unwrap();
            contents.insert(entry.path, bytes);
        }
    }
    contents
}

/// The promise: what a reader has of others changes nothing of what it reads.
#[test]
fn readers_go_on_from_what_others_have_composed() {
    let edited = |step: u64| [noise(1, 100_000), noise(10 + step, 100), noise(2, 5_000)].concat();
    let mut chain = Chain::new(|root| write(root, "a", &edited(0)));
    for step in 1..7 {
        chain.step(|root| {
            if step == 3 {
                fs::copy(root.join("a"), root.join("b")).unwrap();
            } else {
                write(root, "a", &edited(step));
            }
            // Another content that is made of what the first one was made of up to here.
            if step > 3 {
                write(root, "b", &edited(20 + step));
            }
        });
    }
    let (archives, mut unpacked) = (archives(&chain), Unpacked::default());
    let lens = 1..=archives.len();
    for len in lens.clone().chain(lens.rev()) {
        let snapshot = Snapshot::open(&archives[..len]).unwrap();
        let mut reader = snapshot.reader_with(unpacked);
        for _ in 0..2 {
            assert!(contents_by(&mut reader, &snapshot) == contents(&snapshot), "{len}");
        }
        unpacked = reader.into_unpacked();
    }
}

/// The promise: where a tree is kept changes nothing of what is in it.
#[test]
fn it_is_the_snapshot_that_is_in_memory() {
    for parts in 1..=4 {
        let chain = in_parts(parts);
        let (archives, datas) = (archives(&chain), chain.parts());
        let mut pushed = Snapshot::empty();
        for len in 1..=archives.len() {
            let lazy = Snapshot::open(&archives[..len]).unwrap();
            let in_memory = Snapshot::of(datas[..len].to_vec()).unwrap();
            pushed = pushed.push_lazy(&LazyData::open(&archives[len - 1]).unwrap()).unwrap();
            for lazy in [&lazy, &pushed] {
                assert_eq!(lazy.id(), in_memory.id());
                assert_eq!(lazy.left_out(), in_memory.left_out());
                assert!(entries(lazy) == entries(&in_memory), "{len} of {parts}");
                assert!(contents(lazy) == contents(&in_memory), "{len} of {parts}");
                lazy.verify(None).unwrap();
                let full = |snapshot: &Snapshot| {
                    let full = snapshot.diff_from(&DirIndex::empty()).unwrap();
                    (carried(full.diff()), full.packed_len().unwrap())
                };
                assert!(full(lazy) == full(&in_memory), "{len} of {parts}");
                for at in ["d0", "d3/link", "d2/new", "elsewhere", "z link"] {
                    let path = [RelPath::new(at).unwrap()];
                    match (lazy.select(&path), in_memory.select(&path)) {
                        (Ok(one), Ok(other)) => {
                            assert!(contents(&one) == contents(&other));
                            assert!(full(&one) == full(&other));
                        }
                        (Err(one), Err(other)) => assert_eq!(in_words(one), in_words(other)),
                        _ => panic!("{at}, {len} of {parts}"),
                    }
                }
            }
        }
        let signed = pushed.index(&Default::default()).unwrap();
        assert_eq!(signed, chain.index);
        let tree = SnapshotTree::new(pushed).unwrap();
        assert_eq!(tree.len(), chain.index.records().len());
    }
}

/// The promise: `verify` of an archive that is not in memory finds what that of one which is finds.
#[test]
fn every_flipped_bit_is_found() {
    let chain = in_parts(2);
    for (number, archive) in chain.archives.iter().enumerate() {
        let verify = |bytes: &[u8]| {
            let archive = Archive::from_source(bytes.to_vec(), "flipped")?;
            LazyData::open(&archive)?.verify(None)
        };
        verify(archive).unwrap();
        for at in (0..archive.len()).step_by(archive.len() / 60 + 1) {
            let mut bent = archive.clone();
            bent[at] ^= 1 << (at % 8);
            assert!(verify(&bent).is_err(), "bit {} of byte {at} of archive {number}", at % 8);
        }
    }
}
