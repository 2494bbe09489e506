//! Single paths out of an archive: what is found by the table alone is what the whole diff says, and
//! what is read is what was planned.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use archive::{Archive, DiffData, Error, Format, ReadAt, Snapshot};
use diffindex::DiffIndex;
use dirindex::{DirIndex, RelPath};

use crate::common::{
    Chain, FORMATS, Trees, carried_below_top, cat, find_part, noise, read_all, select_part, small,
    text, write,
};

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Some thousand entries: many blocks of changes, and contents over several frames.
fn many() -> Trees {
    Trees::new(
        |_| (),
        |root| {
            for n in 0..900 {
                write(root, format!("many/{}/{n}", n % 7), &text(n, 20 + n as usize % 90));
            }
            write(root, "large", &noise(1, (3 << 20) + 17));
            write(root, "many/9/last", b"last");
            fs::create_dir(root.join("none")).unwrap();
            fs::hard_link(root.join("many/2/51"), root.join("name")).unwrap();
            symlink("name", root.join("tail")).unwrap();
            // Stored far from here, for another path.
            write(root, "the same", &text(5, 25));
            write(root, "the same again", &text(5, 25));
        },
    )
}

/// An archive that notes what is read of it, and has only some of its bytes if so asked.
#[derive(Clone)]
pub(crate) struct Watched {
    bytes: Arc<Vec<u8>>,
    only: Option<Vec<Range<u64>>>,
    read: Arc<Mutex<Vec<Range<u64>>>>,
}

impl Watched {
    pub(crate) fn new(bytes: &[u8], only: Option<Vec<Range<u64>>>) -> Watched {
        Watched { bytes: Arc::new(bytes.to_vec()), only, read: Arc::default() }
    }

    pub(crate) fn seen(&self) -> BTreeSet<u64> {
        self.read.lock().unwrap().iter().cloned().flatten().collect()
    }
}

impl ReadAt for Watched {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(!buffer.is_empty(), "nothing is asked for at {offset}");
        let wanted = offset..offset + buffer.len() as u64;
        let has = |range: &Range<u64>| range.start <= wanted.start && wanted.end <= range.end;
        if self.only.as_ref().is_some_and(|only| !only.iter().any(has)) {
            return Err(io::Error::other(format!("{wanted:?} was not planned")));
        }
        self.read.lock().unwrap().push(wanted);
        self.bytes.fill_at(buffer, offset)
    }
}

#[test]
fn a_lookup_finds_what_the_whole_diff_has() {
    for trees in [small(), many()] {
        for format in FORMATS {
            let archive = Archive::from_source(trees.pack(format).unwrap(), "memory").unwrap();
            assert_eq!(
                (archive.base(), archive.result()),
                (trees.diff.base(), trees.diff.result())
            );
            for change in trees.diff.changes() {
                let found = archive.get(&change.path).unwrap().unwrap();
                let same = |a: &diffindex::NewEntry, b: &diffindex::NewEntry| {
                    a.node == b.node && a.meta == b.meta && a.content == b.content
                };
                assert_eq!(found.old, change.old);
                match (&found.new, &change.new) {
                    (Some(found), Some(new)) => assert!(same(found, new)),
                    (found, new) => assert!(found.is_none() && new.is_none()),
                }
            }
            for absent in ["A", "a", "many/3/51", "zzz", "large/no"] {
                assert!(archive.get(&path(absent)).unwrap().is_none(), "{absent}");
            }
        }
    }
}

/// What is selected, planned, read and found, for each of several sets of paths.
#[test]
fn what_is_planned_is_what_is_read() {
    let trees = many();
    let whole = FORMATS.map(|format| trees.pack(format).unwrap());
    let volumes = FORMATS.map(|format| cat(&trees.pack_volumes(format, 2 << 20).1));
    for packed in whole.into_iter().chain(volumes) {
        for paths in [
            vec!["large"],
            vec!["many/5/5"],
            vec!["many/5", "tail"],
            vec!["none"],
            vec!["name"],
            vec!["the same again"],
            vec!["the same", "the same again"],
            vec!["the same again", "many/5/5"],
            vec!["many", "large", "name", "none", "tail"],
        ] {
            let paths: Vec<RelPath> = paths.into_iter().map(path).collect();
            let whole = Archive::from_source(packed.clone(), "whole").unwrap();
            let plan = whole.plan(&paths).unwrap();
            assert!(plan.windows(2).all(|pair| pair[0].end < pair[1].start), "{plan:?}");

            let watched = Watched::new(&packed, Some(plan.clone()));
            let archive = Archive::from_source(watched.clone(), "planned").unwrap();
            let data = find_part(std::slice::from_ref(&archive), &paths).unwrap();
            let contents = read_all(&data, Path::new("no old tree")).unwrap();
            assert_eq!(watched.seen(), plan.into_iter().flatten().collect(), "{paths:?}");

            let below = |at: &RelPath| paths.iter().any(|path| at == path || at.is_below(path));
            let above = |at: &RelPath| paths.iter().any(|path| path.is_below(at));
            let linked = |at: &RelPath| {
                paths.contains(&path("name"))
                    && [path("many/2/51"), path("many/2"), path("many")].contains(at)
            };
            let wanted = |at: &RelPath| below(at) || above(at) || linked(at);
            let expected: Vec<&RelPath> =
                trees.diff.changes().iter().map(|c| &c.path).filter(|at| wanted(at)).collect();
            let found: Vec<&RelPath> = data.diff().changes().iter().map(|c| &c.path).collect();
            assert_eq!(found, expected);
            // Once, for the first of them that is wanted.
            let stored = contents.keys().filter(|name| name.starts_with("the same")).count();
            let has = |at: &str| paths.contains(&path(at));
            assert_eq!(stored, usize::from(has("the same again") && !has("many/5/5")));
            for (name, content) in contents {
                assert!(content == fs::read(trees.new_path().join(name)).unwrap());
            }
            find_part(std::slice::from_ref(&whole), &paths).unwrap().verify(None).unwrap();
            let index = data.diff().apply_to(&DirIndex::empty()).unwrap();
            assert_eq!(index.tree_id(), data.diff().result());
        }
    }
}

/// However many files there are, one of them costs its frames, two blocks and the table.
#[test]
fn one_small_file_costs_its_member_and_a_little_of_the_diff() {
    let trees = many();
    let packed = trees.pack(Format::Gzip).unwrap();
    let watched = Watched::new(&packed, None);
    let archive = Archive::from_source(watched.clone(), "counted").unwrap();
    let data = find_part(std::slice::from_ref(&archive), &[path("many/9/last")]).unwrap();
    let to_find = watched.seen().len();
    assert!(to_find < 40 << 10, "{to_find} bytes to find it");
    let change = data.diff().get(&path("many/9/last")).unwrap();
    let mut content = String::new();
    data.reader().open(change).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "last");
}

#[test]
fn only_full_backups_bring_back_single_paths() {
    let trees = small();
    let archive = Archive::from_source(trees.pack(Format::Zstd).unwrap(), "some.tar.zst").unwrap();
    assert!(!archive.is_full());
    let error = find_part(std::slice::from_ref(&archive), &[path("created")]).unwrap_err();
    assert!(matches!(error, Error::NotFull { .. }), "{error}");
    // What an increment has of a path can be planned for all the same.
    assert!(["created", "same"].map(|at| archive.plan(&[path(at)]).is_ok()) == [true; 2]);

    let full = DiffIndex::between(&DirIndex::empty(), &trees.new);
    let mut packed = Vec::new();
    let (empty, options) = (DirIndex::empty(), Default::default());
    DiffData::write(&trees.dir(), &empty, &full, &mut packed, &options).unwrap();
    let archive = Archive::from_source(packed, "full.tgz").unwrap();
    let error =
        find_part(std::slice::from_ref(&archive), &[path("created"), path("gone")]).unwrap_err();
    assert_eq!(error.to_string(), "full.tgz: there is no gone in it");
}

#[test]
fn a_stream_is_an_archive_too() {
    let trees = small();
    for format in FORMATS {
        let packed = trees.pack(format).unwrap();
        // In pieces, as a pipe gives them.
        let stream = packed
            .chunks(700)
            .fold(Box::new(io::empty()) as Box<dyn Read>, |all, piece| Box::new(all.chain(piece)));
        let data = Archive::from_stream(stream, "a pipe").unwrap().load().unwrap();
        trees.check_contents(&data);
        data.verify(None).unwrap();
        let error = Archive::from_stream(&packed[..packed.len() - 1], "a pipe").unwrap_err();
        assert!(error.to_string().starts_with("a pipe: trailer at byte"), "{error}");
    }
}

/// Several hundred files that change over three backups, one of them moved and edited.
#[test]
fn of_a_chain_what_is_planned_is_what_is_read() {
    let mut chain = Chain::new(|root| {
        for n in 0..700 {
            write(root, format!("many/{}/{n}", n % 7), &text(n, 200));
        }
        write(root, "large", &noise(1, 3 << 20));
        write(root, "one", &noise(2, 50_000));
    });
    chain.step(|root| {
        for n in 0..700 {
            write(root, format!("many/{}/{n}", n % 7), &text(n + 1, 201));
        }
        fs::create_dir(root.join("dir")).unwrap();
        fs::rename(root.join("one"), root.join("dir/moved")).unwrap();
    });
    chain.step(|root| {
        write(root, "large", &[&noise(1, 3 << 20)[..], b"more"].concat());
        write(root, "dir/moved", &[b"more", &noise(2, 50_000)[..]].concat());
        fs::hard_link(root.join("dir/moved"), root.join("name")).unwrap();
    });
    for (paths, share) in [
        (vec!["name"], 5),
        (vec!["dir"], 5),
        (vec!["many/3/3"], 5),
        (vec!["many/3", "large", "dir/moved"], 1),
    ] {
        let paths: Vec<RelPath> = paths.into_iter().map(path).collect();
        let open = |only: Option<Vec<Vec<Range<u64>>>>| -> (Vec<Watched>, Vec<Archive>) {
            let watched =
                chain.archives.iter().enumerate().map(|(at, bytes)| {
                    Watched::new(bytes, only.as_ref().map(|only| only[at].clone()))
                });
            let watched: Vec<Watched> = watched.collect();
            let named = |watched: &Watched| Archive::from_source(watched.clone(), "part").unwrap();
            let archives = watched.iter().map(named).collect();
            (watched, archives)
        };
        let plan = Snapshot::plan(&open(None).1, &paths).unwrap();
        let (watched, archives) = open(Some(plan.clone()));
        let selected = find_part(&archives, &paths).unwrap();
        let contents = read_all(&selected, Path::new("none")).unwrap();
        for (path, bytes) in &contents {
            assert!(fs::read(chain.tmp.path().join(path)).unwrap() == *bytes, "{path}");
        }
        assert!(paths.iter().all(|path| selected.diff().get(path).is_some()));
        let seen: usize = watched.iter().map(|watched| watched.seen().len()).sum();
        let planned: u64 = plan.iter().flatten().map(|range| range.end - range.start).sum();
        assert_eq!(seen as u64, planned);
        let all: usize = chain.archives.iter().map(Vec::len).sum();
        assert!(seen <= all / share, "{seen} bytes of {all} for {paths:?}");

        let whole = select_part(&DiffData::squash(&chain.parts()).unwrap(), &paths).unwrap();
        assert_eq!(whole.diff().result(), selected.diff().result());
        assert_eq!(contents, read_all(&whole, Path::new("none")).unwrap());
    }
    let parts = chain.parts();
    let archives: Vec<Archive> = parts.iter().flat_map(DiffData::archives).cloned().collect();
    for wrong in ["one", "none", "dir/one"] {
        let error = find_part(&archives, &[path(wrong)]).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{wrong}: {error}");
    }
    let error = find_part(&archives[1..], &[path("large")]).unwrap_err();
    assert!(matches!(error, Error::NotFull { .. }));
    let unlinked = [archives[0].clone(), archives[2].clone()];
    let error = find_part(&unlinked, &[path("large")]).unwrap_err();
    assert!(matches!(error, Error::Unlinked { .. }));
}

/// Contents that came from below a directory whose place a file has taken since: what the paths say
/// that nobody asked for does not get in the way.
#[test]
fn what_contents_came_from_need_not_be_there_any_more() {
    let mut chain = Chain::new(|root| {
        write(root, "dir/copied", &noise(1, 500));
        write(root, "dir/first", &noise(2, 500));
        write(root, "same", &noise(2, 500));
    });
    chain.step(|root| {
        write(root, "copy", &noise(1, 500));
        fs::remove_dir_all(root.join("dir")).unwrap();
        write(root, "dir", &noise(3, 500));
    });
    chain.step(|root| {
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
    });
    let parts = chain.parts();
    let archives: Vec<Archive> = parts.iter().flat_map(DiffData::archives).cloned().collect();
    let full = DiffData::squash(&parts).unwrap();
    for paths in [["copy", "moved"], ["same", "moved"], ["copy", "same"]] {
        let paths = paths.map(path);
        let selected = find_part(&archives, &paths).unwrap();
        let expected = select_part(&full, &paths).unwrap();
        let found = carried_below_top(selected.diff());
        assert_eq!(found, carried_below_top(expected.diff()));
        for (at, bytes) in read_all(&selected, Path::new("none")).unwrap() {
            assert!(fs::read(chain.tmp.path().join(&at)).unwrap() == bytes, "{at}");
        }
    }
}
