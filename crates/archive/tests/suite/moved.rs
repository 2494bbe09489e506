//! Directories that moved as a whole: what single paths are after any history of moves is what all of it, squashed,
//! says, and what is read for them is what was planned.

use std::fs;
use std::ops::Range;
use std::path::Path;

use archive::{Archive, DiffData, Error, Snapshot};
use dirindex::{DirIndex, RelPath};
use proptest::prelude::*;

use crate::common::{
    Chain, FORMATS, Trees, carried, carried_below_top, find_part, noise, read_all, select_part,
    text, write,
};
use crate::select::Watched;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// So many files in a directory make it one that moves as a whole.
const MANY: u64 = 16;

/// What to do with a tree. Numbers are of [`DIRS`] and [`FILES`].
#[derive(Debug, Clone)]
enum Step {
    Fill(usize, u64),
    Edit(usize, u64),
    Move(usize, usize),
    Remove(usize),
    MoveFile(usize, usize),
    Copy(usize, usize),
    Link(usize, usize),
    RemoveFile(usize),
    DirToFile(usize, u64),
    FileToDir(usize),
}

const DIRS: [&str; 7] = ["d", "e", "d/s", "e/s", "x/y", "x", "x/s"];
const FILES: [&str; 12] = [
    "d/0",
    "d/large",
    "d/s/0",
    "d/s/7",
    "d/new",
    "e/0",
    "e/large",
    "e/s/large",
    "e/s/new",
    "x/y/3",
    "a",
    "z",
];

fn step() -> impl Strategy<Value = Step> {
    let (dir, file, seed) = (0..DIRS.len(), 0..FILES.len(), 0u64..4);
    prop_oneof![
        2 => (dir.clone(), seed.clone()).prop_map(|(dir, seed)| Step::Fill(dir, seed)),
        3 => (file.clone(), seed.clone()).prop_map(|(file, seed)| Step::Edit(file, seed)),
        7 => (dir.clone(), dir.clone()).prop_map(|(from, to)| Step::Move(from, to)),
        1 => dir.clone().prop_map(Step::Remove),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::MoveFile(from, to)),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => file.clone().prop_map(Step::RemoveFile),
        1 => (dir, seed).prop_map(|(dir, seed)| Step::DirToFile(dir, seed)),
        1 => file.prop_map(Step::FileToDir),
    ]
}

fn fill(root: &Path, dir: &str, seed: u64) {
    let put = |name: String, bytes: Vec<u8>| match root.join(&name).is_dir() {
        true => (),
        false => write(root, name, &bytes),
    };
    for n in 0..MANY {
        put(format!("{dir}/{n}"), text(seed + n % 9, 2 + n as usize));
    }
    put(format!("{dir}/large"), noise(seed, 9000));
}

/// Steps that do not fit the tree as it is have no effect.
fn take(root: &Path, step: &Step) {
    let dir = |n: usize| root.join(DIRS[n]);
    let file = |n: usize| root.join(FILES[n]);
    let ready = |path: &Path| {
        let _ = fs::create_dir_all(path.parent().unwrap());
        path.parent().unwrap().is_dir() && !path.is_dir()
    };
    match *step {
        Step::Fill(n, seed) => {
            let _ = fs::create_dir_all(dir(n));
            if dir(n).is_dir() {
                fill(root, DIRS[n], seed);
            }
        }
        Step::Edit(n, seed) if ready(&file(n)) => {
            let mut bytes = fs::read(file(n)).unwrap_or_default();
            bytes.extend(text(seed, 3));
            write(root, FILES[n], &bytes);
        }
        Step::Move(from, to) if dir(from).is_dir() && !dir(to).starts_with(dir(from)) => {
            let _ = fs::create_dir_all(dir(to).parent().unwrap());
            let _ = fs::rename(dir(from), dir(to));
        }
        Step::Remove(n) => drop(fs::remove_dir_all(dir(n))),
        Step::MoveFile(from, to) if file(from).is_file() && ready(&file(to)) => {
            fs::rename(file(from), file(to)).unwrap();
        }
        Step::Copy(from, to) if file(from).is_file() && ready(&file(to)) => {
            write(root, FILES[to], &fs::read(file(from)).unwrap());
        }
        Step::Link(from, to) if file(from).is_file() && ready(&file(to)) => {
            let _ = fs::remove_file(file(to)).and_then(|()| fs::hard_link(file(from), file(to)));
            let _ = fs::hard_link(file(from), file(to));
        }
        Step::RemoveFile(n) => drop(fs::remove_file(file(n))),
        Step::DirToFile(n, seed) if dir(n).is_dir() => {
            fs::remove_dir_all(dir(n)).unwrap();
            write(root, DIRS[n], &text(seed, 5));
        }
        Step::FileToDir(n) if file(n).is_file() => {
            fs::remove_file(file(n)).unwrap();
            fill(root, FILES[n], 1);
        }
        _ => {}
    }
}

fn history() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let day = proptest::collection::vec(step(), 1..4);
    proptest::collection::vec(day, 2..8)
}

fn open(chain: &Chain, only: Option<&[Vec<Range<u64>>]>) -> (Vec<Watched>, Vec<Archive>) {
    let watched = chain
        .archives
        .iter()
        .enumerate()
        .map(|(at, bytes)| Watched::new(bytes, only.map(|only| only[at].clone())));
    let watched: Vec<Watched> = watched.collect();
    let named = |watched: &Watched| Archive::from_source(watched.clone(), "part").unwrap();
    let archives = watched.iter().map(named).collect();
    (watched, archives)
}

/// What is selected by the tables is what all of it says, and is read from what was planned alone.
fn check(chain: &Chain, full: &DiffData, paths: &[RelPath]) {
    let expected = select_part(full, paths).unwrap();
    let plan = Snapshot::plan(&open(chain, None).1, paths).unwrap();
    let (watched, archives) = open(chain, Some(&plan));
    let selected = find_part(&archives, paths).unwrap();
    let found = carried_below_top(selected.diff());
    assert!(found == carried_below_top(expected.diff()), "{paths:?}");
    for (path, bytes) in read_all(&selected, Path::new("none")).unwrap() {
        assert!(fs::read(chain.tmp.path().join(&path)).unwrap() == bytes, "{path}");
    }
    for (watched, plan) in watched.iter().zip(plan) {
        assert_eq!(watched.seen(), plan.into_iter().flatten().collect(), "{paths:?}");
    }
}

/// Of two large directories, one in the other.
fn begin() -> Chain {
    Chain::new(|root| {
        fill(root, "d", 0);
        fill(root, "d/s", 1);
        write(root, "a", &noise(7, 9000));
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]
    #[test]
    fn any_history_gives_what_all_of_it_says(days in history()) {
        let mut chain = begin();
        for day in days {
            chain.step(|root| day.iter().for_each(|step| take(root, step)));
        }
        let parts = chain.parts();
        let full = DiffData::squash(&parts).unwrap();
        full.verify(None).unwrap();
        prop_assert_eq!(full.diff().apply_to(&DirIndex::empty()).unwrap(), chain.index.clone());
        let all: Vec<RelPath> = full.diff().changes().iter().map(|c| c.path.clone()).collect();
        for (number, path) in all.iter().enumerate() {
            // Directories, and what of the rest has a history of its own.
            let text = path.to_string();
            if DIRS.contains(&text.as_str()) || FILES.contains(&text.as_str()) || number % 10 == 0 {
                check(&chain, &full, std::slice::from_ref(path));
                check(&chain, &full, &[path.clone(), all[number * 7 % all.len()].clone()]);
            }
        }
        // Every part by itself, and with the tree before it.
        let mut tree = DirIndex::empty();
        let last = parts.len() - 1;
        for (from, part) in parts.iter().enumerate() {
            part.verify(None).unwrap();
            let rest = DiffData::squash_from(&tree, &parts[from..]).unwrap();
            prop_assert_eq!(rest.diff().apply_to(&tree).unwrap(), chain.index.clone());
            if from < last {
                let two = DiffData::squash_from(&tree, &parts[from..=from + 1]).unwrap();
                let halves = [vec![two], parts[from + 2..].to_vec()].concat();
                let again = DiffData::squash_from(&tree, &halves).unwrap();
                prop_assert_eq!(carried(again.diff()), carried(rest.diff()));
            }
            tree = part.diff().apply_to(&tree).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]
    #[test]
    fn random_moves_come_back(before in history(), after in proptest::collection::vec(step(), 1..6)) {
        let build = |root: &Path| {
            fill(root, "d", 0);
            fill(root, "x/s", 1);
            before.iter().flatten().for_each(|step| take(root, step));
        };
        let trees = Trees::new(build, |root| {
            after.iter().for_each(|step| take(root, step));
            let _ = fs::rename(root.join("x"), root.join("e/moved"));
        });
        trees.check_both_formats();
    }
}

#[test]
fn a_directory_that_moved_takes_two_rows_in_any_archive() {
    let trees = Trees::new(
        |root| (0..400).for_each(|n| write(root, format!("d/{n}"), &text(n, 9))),
        |root| {
            fs::rename(root.join("d"), root.join("e")).unwrap();
            write(root, "new", b"new");
        },
    );
    let listed: Vec<String> = trees.diff.changes().iter().map(|c| c.path.to_string()).collect();
    assert_eq!(listed, ["d", "e", "new"]);
    for format in FORMATS {
        let archive = trees.pack(format).unwrap();
        assert!(archive.len() < 2000, "{format:?}: {}", archive.len());
        trees.check_stream(&archive);
        let (data, volumes) = trees.pack_volumes(format, 2 << 20);
        assert_eq!(volumes.len(), 1);
        for data in [data, DiffData::from_source(archive.clone(), "memory").unwrap()] {
            trees.check_contents(&data);
            data.verify(None).unwrap();
            assert_eq!(data.diff().apply_to(&trees.old).unwrap(), trees.new);
            let again = data.compact(trees.path("again"), &Default::default()).unwrap();
            assert_eq!(again.diff().to_bytes().unwrap(), data.diff().to_bytes().unwrap());
        }
        let archive = Archive::from_source(archive, "memory").unwrap();
        // What is below it has no change of its own.
        assert!(archive.get(&path("e")).unwrap().is_some());
        assert!(archive.get(&path("e/7")).unwrap().is_none());
        archive.plan(&[path("e/7")]).unwrap();
    }
}

/// Each way in which a content can come from below a directory that moved, one after the other.
#[test]
fn contents_are_followed_through_moves() {
    let rename = |root: &Path, from: &str, to: &str| {
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        fs::rename(root.join(from), root.join(to)).unwrap();
    };
    let append = |root: &Path, at: &str| {
        let bytes = [fs::read(root.join(at)).unwrap(), text(3, 4)].concat();
        write(root, at, &bytes);
    };
    let mut chain = begin();
    chain.step(|root| {
        fs::hard_link(root.join("d/s/3"), root.join("d/s/link")).unwrap();
        append(root, "d/s/large");
    });
    chain.step(|root| rename(root, "d", "e"));
    chain.step(|root| {
        append(root, "e/s/large");
        write(root, "copy", &fs::read(root.join("e/5")).unwrap());
        fs::remove_file(root.join("e/7")).unwrap();
        write(root, "e/new", b"new");
    });
    // The inner one out of the outer, the outer to a new place, and a new one to its old place.
    chain.step(|root| rename(root, "e/s", "in/x/s"));
    chain.step(|root| {
        rename(root, "e", "d");
        append(root, "in/x/s/large");
    });
    chain.step(|root| {
        rename(root, "in", "out");
        fill(root, "e", 5);
        append(root, "copy");
    });
    chain.step(|root| rename(root, "e", "out/e"));
    let moves: usize = chain.parts().iter().map(|part| part.diff().moved_trees().count()).sum();
    assert_eq!(moves, 5);
    let parts = chain.parts();
    let full = DiffData::squash(&parts).unwrap();
    for change in full.diff().changes() {
        check(&chain, &full, std::slice::from_ref(&change.path));
    }
    for paths in [&["out", "d"][..], &["copy", "out/x/s/link"], &["d/new", "out/e", "a"]] {
        check(&chain, &full, &paths.iter().map(|at| path(at)).collect::<Vec<_>>());
    }
    let (_, archives) = open(&chain, None);
    let linked = find_part(&archives, &[path("out/x/s/link")]).unwrap();
    assert!(linked.diff().get(&path("out/x/s/3")).is_some());
    for gone in ["e", "e/3", "in/x/s/3", "d/7", "d/s/3", "out/x/s/8/8"] {
        let error = find_part(&archives, &[path(gone)]).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{gone}: {error}");
    }
}

/// A directory that is needed for what came from below it, and later for itself.
#[test]
fn what_was_needed_once_does_not_get_in_the_way() {
    let mut chain = begin();
    chain.step(|root| write(root, "e/0", b"makes room"));
    chain.step(|root| fs::rename(root.join("d/s/0"), root.join("d/0")).unwrap());
    chain.step(|root| fs::rename(root.join("d"), root.join("e/s")).unwrap());
    chain.step(|root| write(root, "d/0", &fs::read(root.join("e/s/s/1")).unwrap()));
    let full = DiffData::squash(&chain.parts()).unwrap();
    for other in ["e", "e/s/0", "e/s/s/1", "e/s/s", "a"] {
        check(&chain, &full, &[path("d"), path(other)]);
    }
}

/// However much moved with it, a file costs a few blocks of each archive.
#[test]
fn little_is_read_for_a_file_that_moved() {
    let mut chain = Chain::new(|root| {
        for n in 0..2000 {
            write(root, format!("d/{}/{n}", n % 5), &text(n, 20));
        }
    });
    chain.step(|root| fs::rename(root.join("d"), root.join("e")).unwrap());
    chain.step(|root| {
        (0..2000).for_each(|n| write(root, format!("f/{n}"), &noise(n, 20)));
        fs::rename(root.join("e/3"), root.join("g")).unwrap();
    });
    let (watched, archives) = open(&chain, None);
    let opened: usize = watched.iter().map(|watched| watched.seen().len()).sum();
    let selected = find_part(&archives, &[path("g/1003")]).unwrap();
    assert_eq!(selected.diff().changes().len(), 2);
    let seen: usize = watched.iter().map(|watched| watched.seen().len()).sum();
    let blocks = seen - opened;
    let all: usize = chain.archives.iter().map(Vec::len).sum();
    assert!(blocks < 40 << 10 && all > 300 << 10, "{blocks} bytes of {all} to find it");
}
