//! What contents are made of when diffs are squashed, and parts that lie.

use std::fs;
use std::io::Read;

use crate::common::{Chain, FORMATS, carried, chain, large, noise, small, text, write};
use crate::forge::Forge;
use archive::{ArchiveOptions, DiffData, Error, Format};
use diffindex::{Change, Content, DiffIndex};
use dirindex::{DirIndex, Node, RelPath};
use rsync_core::{Digest, SignatureOptions};

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn content(data: &DiffData, at: &str) -> Content {
    data.diff().get(&path(at)).unwrap().new.as_ref().unwrap().content.clone()
}

fn bytes(data: &DiffData, at: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = data.reader();
    let mut body = reader.open(data.diff().get(&path(at)).unwrap()).map_err(chain)?;
    body.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A few bytes other than they were, in a file of 80 KB.
fn edited(edits: &[usize]) -> Vec<u8> {
    let mut bytes = noise(1, 80_000);
    for &at in edits {
        bytes.splice(at..at + 5, *b"edited");
    }
    bytes
}

#[test]
fn a_file_edited_and_moved_each_day() {
    let mut chain = Chain::new(|root| write(root, "a", &edited(&[])));
    chain.step(|root| write(root, "a", &edited(&[1000, 50_000])));
    chain.step(|root| {
        fs::remove_file(root.join("a")).unwrap();
        write(root, "b", &edited(&[1000, 50_000, 70_000]));
    });
    chain.step(|root| fs::rename(root.join("b"), root.join("c")).unwrap());
    chain.step(|root| write(root, "c", &edited(&[1000, 30_000, 70_000])));
    let parts = chain.parts();

    let changes = DiffData::squash(&parts[1..]).unwrap();
    assert!(matches!(content(&changes, "c"), Content::Delta { base, .. } if base == path("a")));
    let (new, delta) = (edited(&[1000, 30_000, 70_000]), bytes(&changes, "c").unwrap());
    let mut patched = Vec::new();
    let old = std::io::Cursor::new(edited(&[]));
    rsync_core::patch(old, &*delta, &mut patched, new.len() as u64, None).unwrap();
    assert!(patched == new);
    let stored = |part: &DiffData, at| bytes(part, at).unwrap().len();
    let apart = stored(&parts[1], "a") + stored(&parts[2], "b") + stored(&parts[4], "c");
    assert!(delta.len() < apart, "{} bytes of {apart}", delta.len());
    let moved: Vec<_> = changes.diff().moved().collect();
    assert_eq!(moved, [(&path("a"), &path("c"))]);

    let full = DiffData::squash(&parts).unwrap();
    assert_eq!(full.diff().changes().len(), 1);
    assert_eq!(content(&full, "c"), Content::Whole);
    assert!(bytes(&full, "c").unwrap() == new);
    let signed = full.signed_diff(&SignatureOptions::default()).unwrap();
    assert_eq!(signed.apply_to(&DirIndex::empty()).unwrap(), chain.index);
}

#[test]
fn what_the_first_tree_has_is_not_stored() {
    let mut chain = Chain::new(|root| {
        write(root, "edited and back", &text(1, 200));
        write(root, "gone and back", &noise(2, 5000));
        write(root, "gone and elsewhere", &noise(3, 5000));
        write(root, "moved and back", &noise(4, 5000));
    });
    chain.step(|root| {
        write(root, "edited and back", &text(5, 200));
        fs::remove_file(root.join("gone and back")).unwrap();
        fs::remove_file(root.join("gone and elsewhere")).unwrap();
        fs::rename(root.join("moved and back"), root.join("away")).unwrap();
        write(root, "came and went", b"nothing of this is left");
    });
    chain.step(|root| {
        write(root, "edited and back", &text(1, 200));
        write(root, "gone and back", &noise(2, 5000));
        write(root, "new/elsewhere", &noise(3, 5000));
        fs::rename(root.join("away"), root.join("moved and back")).unwrap();
        fs::remove_file(root.join("came and went")).unwrap();
    });
    let both = DiffData::squash(&chain.parts()[1..]).unwrap();
    for kept in ["edited and back", "gone and back", "moved and back"] {
        assert_eq!(content(&both, kept), Content::Keep, "{kept}");
    }
    let base = path("gone and elsewhere");
    assert_eq!(content(&both, "new/elsewhere"), Content::Copy { base });
    assert!(both.diff().get(&path("came and went")).is_none());
    assert!(both.diff().get(&path("away")).is_none());
}

/// Every bit of a delta flipped, with all checksums right: an error that names the part, or what can
/// be read is noticed to be something else.
#[test]
fn deltas_that_lie() {
    let mut chain = Chain::new(|root| write(root, "a", &edited(&[])));
    chain.step(|root| write(root, "a", &edited(&[1000, 50_000])));
    chain.step(|root| write(root, "a", &edited(&[1000, 50_000, 70_000])));
    let honest = Forge::take_apart(Format::Zstd, &chain.archives[1]);
    let delta_len = honest.frames[2].body.len();
    let parts = chain.parts();
    assert!(delta_len > 100, "a delta, and no more than its commands are of interest");
    let heads = (0..40).chain(delta_len - 40..delta_len);
    let mut found = [0; 3];
    for bit in heads.flat_map(|at| at * 8..at * 8 + 8) {
        let mut forge = honest_again(&honest);
        forge.frames[2].body[bit / 8] ^= 1 << (bit % 8);
        let lying = DiffData::from_source(forge.build(), "the lying part").unwrap();
        let changes = DiffData::squash(&[lying.clone(), parts[2].clone()]).unwrap();
        let full = DiffData::squash(&[parts[0].clone(), lying, parts[2].clone()]).unwrap();
        match bytes(&full, "a") {
            Ok(bytes) if bytes == edited(&[1000, 50_000, 70_000]) => found[0] += 1,
            Ok(_) => {
                let error = chain_of(full.verify(None));
                assert!(error.contains("a has another content"), "{error}");
                found[1] += 1;
            }
            Err(error) => {
                assert!(error.contains("part") && error.contains("updated/"), "{error}");
                assert!(full.verify(None).is_err());
                found[2] += 1;
            }
        }
        // Against the base, which is not there: an error now, or when it is patched.
        drop(bytes(&changes, "a"));
    }
    let [harmless, noticed, refused] = found;
    assert!(noticed > 0 && refused > 100, "{noticed} {refused}");
    // A literal in the end may be one that the delta after it does not use.
    assert!(harmless < 400, "{harmless}");
}

fn honest_again(forge: &Forge) -> Forge {
    Forge::take_apart(Format::Zstd, &forge.build())
}

fn chain_of(result: Result<(), Error>) -> String {
    chain(result.unwrap_err())
}

#[test]
fn parts_that_contradict_one_another() {
    let mut chain = Chain::new(|root| write(root, "a", b"one"));
    chain.step(|root| write(root, "a", b"another"));
    let parts = chain.parts();
    let (full, diff) = (parts[0].diff(), parts[1].diff());
    // From the right tree to the right tree, but it says that something else was in the former.
    let lies: [fn(&mut Change); 3] = [
        |change| change.old = Some(Node::Dir),
        |change| {
            let digest = Digest::of(b"what never was there");
            change.new.as_mut().unwrap().content =
                Content::Delta { base: change.path.clone(), digest };
        },
        |change| {
            let new = change.new.as_mut().unwrap();
            new.node = Node::File { len: 9, digest: Digest::of(b"one") };
            (new.content, new.signature) = (Content::Copy { base: change.path.clone() }, None);
        },
    ];
    for lie in lies {
        let mut change = diff.changes()[0].clone();
        lie(&mut change);
        let lying = DiffIndex::from_changes(diff.base(), diff.result(), vec![change]).unwrap();
        let error = DiffIndex::squash(&[full.clone(), lying]).unwrap_err();
        assert!(error.to_string().contains("do not agree"), "{error}");
    }
}

fn compacted(data: &DiffData, format: Format) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let options = ArchiveOptions { format: Some(format), ..Default::default() };
    data.repack_to(&mut bytes, &options).map(|()| bytes)
}

#[test]
fn an_archive_packed_again_is_the_same() {
    for trees in [small(), large()] {
        for format in FORMATS {
            let archive = trees.pack(format).unwrap();
            let data = DiffData::from_source(archive.clone(), "memory").unwrap();
            assert!(compacted(&data, format).unwrap() == archive);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let mut chain = Chain::new(|root| {
        write(root, "a", &edited(&[]));
        write(root, "b", &noise(7, 3 << 20));
    });
    chain.step(|root| write(root, "a", &edited(&[1000, 50_000])));
    chain.step(|root| write(root, "b", &[&noise(7, 3 << 20)[5..], b"more"].concat()));
    let full = DiffData::squash(&chain.parts()).unwrap();
    for format in FORMATS {
        let bytes = compacted(&full, format).unwrap();
        for threads in [1, 2, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(
                pool.install(|| compacted(&full, format)).unwrap() == bytes,
                "{threads} threads"
            );
        }
        let back = DiffData::from_source(bytes, "memory").unwrap();
        back.verify(None).unwrap();
        assert_eq!(back.diff().apply_to(&DirIndex::empty()).unwrap(), chain.index);
    }
}

/// Any byte of a part's contents damaged: nothing is packed of it, and the error says which part.
#[test]
fn damage_of_a_part_is_not_packed_again() {
    let mut chain = Chain::new(|root| write(root, "a", &edited(&[])));
    chain.step(|root| write(root, "a", &edited(&[1000, 50_000])));
    chain.step(|root| write(root, "b", &noise(3, 5000)));
    let honest = chain.archives.clone();
    let place = tempfile::tempdir().unwrap();
    let mut refused = [0; 3];
    for (part, archive) in honest.iter().enumerate() {
        for at in (0..archive.len()).step_by(archive.len() / 40 + 1) {
            chain.archives[part][at] ^= 0x10;
            let open = |(number, archive): (usize, &Vec<u8>)| {
                DiffData::from_source(archive.clone(), format!("part {number}"))
            };
            let parts: Result<Vec<DiffData>, Error> =
                chain.archives.iter().enumerate().map(open).collect();
            // Damage in what opening reads is found then.
            if let Ok(parts) = parts {
                let output = place.path().join("squashed.tgz");
                let full = DiffData::squash(&parts).unwrap();
                match full.compact(&output, &ArchiveOptions::default()) {
                    Ok(_) => fs::remove_file(&output).unwrap(),
                    Err(error) => {
                        assert!(
                            error.to_string().starts_with(&format!("part {part}: ")),
                            "{error}"
                        );
                        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
                        refused[part] += 1;
                    }
                }
            }
            chain.archives[part][at] ^= 0x10;
        }
    }
    // What is not refused is PATHS, and framing that reading contents passes by.
    assert!(refused[0] > 30 && refused[1] > 3 && refused[2] > 30, "{refused:?}");
}

/// A file longer than what is made at a time, of which each backup changed a bit everywhere.
#[test]
fn a_large_file_of_scattered_pieces() {
    let mut file = noise(1, 10 << 20);
    let mut chain = Chain::new(|root| write(root, "large", &file));
    for day in 0..4 {
        for at in (day * 40_000..file.len()).step_by(300_000) {
            file[at..at + 10].copy_from_slice(&noise(day as u64, 10));
        }
        let at = 9 << 20;
        file.splice(at..at, noise(day as u64, 100));
        chain.step(|root| write(root, "large", &file));
    }
    let parts = chain.parts();
    let full = DiffData::squash(&parts).unwrap();
    full.verify(None).unwrap();
    assert!(bytes(&full, "large").unwrap() == file);
    let changes = DiffData::squash(&parts[1..]).unwrap();
    let (delta, mut patched) = (bytes(&changes, "large").unwrap(), Vec::new());
    let old = std::io::Cursor::new(noise(1, 10 << 20));
    rsync_core::patch(old, &*delta, &mut patched, file.len() as u64, None).unwrap();
    assert!(patched == file);
}

/// A directory of 20 files that is edited, moved, and edited and moved again.
fn moving() -> Chain {
    let mut chain = Chain::new(|root| {
        for n in 0..20 {
            write(root, format!("d/{n}"), &text(n, 30 + n as usize));
        }
        write(root, "d/edited", &edited(&[]));
    });
    chain.step(|root| write(root, "d/edited", &edited(&[1000])));
    chain.step(|root| fs::rename(root.join("d"), root.join("e")).unwrap());
    chain.step(|root| write(root, "e/edited", &edited(&[1000, 50_000])));
    chain.step(|root| fs::rename(root.join("e"), root.join("f")).unwrap());
    chain
}

#[test]
fn increments_alone_do_not_say_what_moved() {
    let parts = moving().parts();
    let error = DiffData::squash(&parts[1..]).unwrap_err();
    let collapsed = |error: &Error| {
        matches!(error, Error::Diff { source: diffindex::Error::Collapsed { .. }, .. })
    };
    assert!(collapsed(&error));
    assert_eq!(
        chain(error),
        "part 2: diff.index cannot be used: diff 2 moves d as a whole. To know what is in it, give an index of the tree \
         that the first diff starts from, or all diffs before it, back to a full one"
    );
    // By itself each is what it is, and where nothing moves nothing is missing.
    for part in &parts {
        assert!(DiffData::squash(std::slice::from_ref(part)).is_ok());
    }
    let first = DiffData::squash(&parts).unwrap();
    assert!(bytes(&first, "f/edited").unwrap() == edited(&[1000, 50_000]));
    assert_eq!(first.diff().moved_trees().count(), 0);
}

#[test]
fn with_the_tree_before_increments_can_be_squashed() {
    let chain = moving();
    let parts = chain.parts();
    let mut trees = vec![DirIndex::empty()];
    for part in &parts {
        trees.push(part.diff().apply_to(&trees[trees.len() - 1]).unwrap());
    }
    for (from, to) in
        (0..parts.len()).flat_map(|from| (from..parts.len()).map(move |to| (from, to)))
    {
        let squash = |from: usize, to: usize| {
            DiffData::squash_from(&trees[from], &parts[from..=to]).unwrap()
        };
        let squashed = squash(from, to);
        assert_eq!(squashed.diff().apply_to(&trees[from]).unwrap(), trees[to + 1]);
        squashed.verify(None).unwrap();
        for format in FORMATS {
            let packed = DiffData::from_source(compacted(&squashed, format).unwrap(), "m").unwrap();
            packed.verify(None).unwrap();
            assert_eq!(packed.diff().to_bytes().unwrap(), carried(squashed.diff()));
        }
        // Squashed further it is what all at once is.
        for cut in from..to {
            let halves = [squash(from, cut), squash(cut + 1, to)];
            let again = DiffData::squash_from(&trees[from], &halves).unwrap();
            assert_eq!(carried(again.diff()), carried(squashed.diff()));
        }
    }
    let edits = DiffData::squash_from(&trees[1], &parts[1..]).unwrap();
    let delta = bytes(&edits, "f/edited").unwrap();
    let (new, mut patched) = (edited(&[1000, 50_000]), Vec::new());
    let old = std::io::Cursor::new(edited(&[]));
    rsync_core::patch(old, &*delta, &mut patched, new.len() as u64, None).unwrap();
    assert!(patched == new);

    // The directory moved twice is one that moved once.
    let mut twice = chain;
    twice.step(|root| fs::rename(root.join("f"), root.join("g")).unwrap());
    let parts = twice.parts();
    let squashed = DiffData::squash_from(&trees[4], &parts[4..]).unwrap();
    let ends = |data: &DiffData| -> Vec<(String, String)> {
        data.diff().moved_trees().map(|tree| (tree.from.to_string(), tree.to.to_string())).collect()
    };
    assert_eq!(ends(&squashed), [("e".to_owned(), "g".to_owned())]);
    assert!(squashed.diff().changes().len() == 2);
    assert_eq!(ends(&DiffData::squash(std::slice::from_ref(&squashed)).unwrap()), ends(&squashed));

    for one in [&parts[1..2], &parts[1..]] {
        let error = DiffData::squash_from(&trees[2], one).unwrap_err();
        assert!(matches!(error, Error::WrongBase { .. }), "{error}");
    }
    assert!(matches!(DiffData::squash_from(&trees[2], &[]), Err(Error::Diff { .. })));
}
