//! The laws of squashing: several diffs as one do what they do one after the other.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::collections::HashSet;
use std::error::Error as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use apply::{ApplyOptions, apply_with};
use archive::{Archive, ArchiveOptions, DiffData, Snapshot};
use diffindex::{DiffIndex, Merge, Signatures};
use dirindex::{Dir, DirIndex, RelPath};
use proptest::prelude::*;
use rsync_core::SignatureOptions;
use tempfile::TempDir;
use testing::edits::{Edit, edits, perform};
use testing::{assert_same, copy_tree, fast_tempdir, index};

/// A tree over time: what it was, and what led from each state to the next. The first is empty.
struct History {
    temp: TempDir,
    indexes: Vec<DirIndex>,
    parts: Vec<DiffData>,
}

/// What happens between two backups.
#[derive(Debug, Clone)]
enum Step {
    Edits(Vec<Edit>),
    /// The tree becomes what it was so many backups ago.
    Back(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => edits(3).prop_map(Step::Edits),
        1 => (1..4usize).prop_map(Step::Back),
    ];
    proptest::collection::vec(step, 2..6)
}

impl History {
    fn new(steps: &[Step]) -> History {
        let temp = fast_tempdir();
        let mut history = History { temp, indexes: vec![DirIndex::empty()], parts: Vec::new() };
        let tree = history.temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        copy_tree(&tree, &history.state(0));
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Edits(edits) => edits.iter().for_each(|edit| perform(&tree, edit)),
                Step::Back(by) => {
                    fs::remove_dir_all(&tree).unwrap();
                    copy_tree(&history.state(number.saturating_sub(*by)), &tree);
                }
            }
            history.back_up(&tree);
        }
        history
    }

    fn back_up(&mut self, tree: &Path) {
        let old = self.indexes.last().unwrap();
        let dir = Dir::new(tree).unwrap();
        let new = DirIndex::scan_since(&dir, old).unwrap();
        let diff = DiffIndex::between(old, &new);
        let archive = self.temp.path().join(format!("{}.tar.zst", self.parts.len()));
        DiffData::create(&dir, old, &diff, &archive).unwrap();
        // As who has the archives alone has it.
        self.parts.push(DiffData::open(&archive).unwrap());
        self.indexes.push(new);
        copy_tree(tree, &self.state(self.parts.len()));
    }

    fn state(&self, number: usize) -> PathBuf {
        self.temp.path().join(format!("state-{number}"))
    }

    /// As one, of `parts`, those from number `from` on.
    fn squash(&self, from: usize, parts: &[DiffData]) -> DiffData {
        match DiffData::squash(parts) {
            Ok(squashed) => squashed,
            Err(error) => {
                let moves = error.source().unwrap().to_string();
                assert!(!parts[0].is_full() && moves.contains("as a whole"), "{error:?}");
                DiffData::squash_from(&self.indexes[from], parts).unwrap()
            }
        }
    }

    /// Applies `data` to a copy of what was.
    fn apply(&self, from: usize, data: &DiffData) -> PathBuf {
        let copy = self.temp.path().join("copy");
        drop(fs::remove_dir_all(&copy));
        copy_tree(&self.state(from), &copy);
        let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
        apply_with(&copy, data, &options).unwrap();
        copy
    }
}

fn contents(data: &DiffData) -> Vec<(RelPath, Vec<u8>)> {
    let mut reader = data.reader();
    let stored = data.diff().changes().iter().filter(|change| change.stored_content().is_some());
    stored
        .map(|change| {
            let mut body = reader.open(change).unwrap();
            let (declared, mut bytes) = (body.remaining(), Vec::new());
            body.read_to_end(&mut bytes).unwrap();
            assert_eq!((declared, body.remaining()), (bytes.len() as u64, 0));
            (change.path.clone(), bytes)
        })
        .collect()
}

fn assert_same_data(a: &DiffData, b: &DiffData) {
    assert_eq!(carried(a.diff()), carried(b.diff()));
    assert_eq!(contents(a), contents(b));
}

/// What was found by the tables is what was selected from all, but for the top directory, of which they have nothing.
fn assert_found(found: &DiffData, selected: &DiffData) {
    let below_top = |data: &DiffData| {
        let diff = data.diff();
        DiffIndex::from_changes(diff.base(), diff.result(), diff.changes().to_vec()).unwrap()
    };
    assert_eq!(carried(&below_top(found)), carried(&below_top(selected)));
    assert_eq!(contents(found), contents(selected));
}

/// What is stored whole has its signature left out by an archive.
fn carried(diff: &DiffIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    diff.write_to(&mut bytes, Signatures::OfDeltas).unwrap();
    bytes
}

/// At most how much longer the parts become by being squashed: what a part copies, of what another
/// has brought, is stored for each copy.
fn repeated(old: &DirIndex, parts: &[DiffData]) -> u64 {
    let diffs: Vec<DiffIndex> = parts.iter().map(|part| part.diff().clone()).collect();
    let mut used = HashSet::new();
    let merge =
        diffs.into_iter().enumerate().try_fold(Merge::from_tree(old), |merge, (part, diff)| {
            merge.push(diff, |change| [(part, change)])
        });
    let (_, contents) = merge.unwrap().into_diff().unwrap();
    let contents = contents.iter().flat_map(|(_, content)| content.iter());
    let again = contents.filter(|content| !used.insert(**content));
    let len = |&(part, change): &(usize, usize)| {
        let part = &parts[part];
        let mut reader = part.reader();
        let change = &part.diff().changes()[change];
        // And some for a header, a row of the diff and a signature.
        reader.open(change).unwrap().remaining() + 1024
    };
    again.map(len).sum()
}

fn packed(index: &DirIndex, path: &RelPath) -> Option<Vec<u8>> {
    index.signature(path).unwrap().map(|signature| signature.into_packed())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_one_or_one_by_one(
        steps in steps(),
        from in any::<proptest::sample::Index>(),
        cut in any::<proptest::sample::Index>(),
        other in any::<proptest::sample::Index>(),
        chosen in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let history = History::new(&steps);
        let (parts, last) = (&history.parts, history.parts.len());

        // From any state, and in any grouping.
        let from = from.index(last);
        let squashed = history.squash(from, &parts[from..]);
        squashed.verify(None).unwrap();
        assert_same(&history.apply(from, &squashed), &history.state(last));
        prop_assert_eq!(&squashed.diff().apply_to(&history.indexes[from]).unwrap(), &history.indexes[last]);
        let middle = from + 1 + cut.index(last - from);
        let halves = [(from, &parts[from..middle]), (middle, &parts[middle..])].into_iter();
        let halves = halves.filter(|(_, half)| !half.is_empty());
        let halves: Vec<DiffData> = halves.map(|(from, half)| history.squash(from, half)).collect();
        assert_same_data(&history.squash(from, &halves), &squashed);

        // As an archive of its own, which is as long as its parts at most.
        let archive = history.temp.path().join("squashed.tar.zst");
        let repacked = squashed.compact(&archive, &ArchiveOptions::default()).unwrap();
        repacked.verify(None).unwrap();
        assert_same_data(&DiffData::open(&archive).unwrap(), &squashed);
        assert_same(&history.apply(from, &repacked), &history.state(last));
        let apart: u64 = parts[from..].iter().map(DiffData::size).sum();
        let most = apart + repeated(&history.indexes[from], &parts[from..]);
        prop_assert!(repacked.size() <= most, "{} bytes of {}", repacked.size(), most);
        // Again squashed, with one that was not.
        if let [left, right] = halves.as_slice() {
            let left = left.compact(&archive, &ArchiveOptions::default()).unwrap();
            let both = history.squash(from, &[left, right.clone()]);
            assert_same(&history.apply(from, &both), &history.state(last));
        }

        // All of them: a full backup, and the index as a scan has it.
        let full = DiffData::squash(parts).unwrap();
        prop_assert!(full.is_full());
        let signed = full.signed_diff(&SignatureOptions::default()).unwrap();
        let rebuilt = signed.apply_to(&DirIndex::empty()).unwrap();
        prop_assert_eq!(&rebuilt, &history.indexes[last]);
        for path in rebuilt.files() {
            prop_assert_eq!(packed(&rebuilt, path), packed(&history.indexes[last], path), "{}", path);
        }

        // From any other state.
        let other = other.index(last + 1);
        let retargeted = Snapshot::of(parts.to_vec()).unwrap().diff_from(&history.indexes[other]).unwrap();
        retargeted.verify(None).unwrap();
        assert_same(&history.apply(other, &retargeted), &history.state(last));

        // A part of it.
        let paths: Vec<RelPath> = history.indexes[last].entries().map(|entry| entry.path.clone()).collect();
        if !paths.is_empty() {
            let chosen: Vec<RelPath> = chosen.iter().map(|at| at.get(&paths).clone()).collect();
            let nothing = DirIndex::empty();
            let selected = Snapshot::of(parts.to_vec()).unwrap().select(&chosen).unwrap();
            let selected = selected.diff_from(&nothing).unwrap();
            selected.verify(None).unwrap();
            let archives: Vec<Archive> = parts.iter().flat_map(DiffData::archives).cloned().collect();
            let found = Snapshot::find(&archives, &chosen).unwrap().diff_from(&nothing).unwrap();
            assert_found(&found, &selected);
            let copy = index(&history.apply(0, &selected));
            for path in paths.iter().filter(|path| chosen.iter().any(|c| c == *path || path.is_below(c))) {
                prop_assert_eq!(copy.get(path), history.indexes[last].get(path));
            }
            prop_assert_eq!(copy.tree_id(), selected.diff().result());
        }
    }
}

#[test]
fn parts_that_do_not_meet_are_named() {
    let write = |n: usize| Step::Edits(vec![Edit::Write(vec![n], 1, 10)]);
    let history = History::new(&[write(0), write(1), write(2)]);
    let [first, _, last] = history.parts.as_slice() else { panic!() };
    let error = DiffData::squash(&[first.clone(), last.clone()]).unwrap_err().to_string();
    for part in [&history.temp.path().join("0.tar.zst"), &history.temp.path().join("2.tar.zst")] {
        assert!(error.contains(part.to_str().unwrap()), "{error}");
    }
    assert!(error.contains(&history.indexes[1].tree_id().to_string()), "{error}");
    assert!(error.contains(&history.indexes[2].tree_id().to_string()), "{error}");
    assert!(DiffData::squash(&[]).is_err());
    assert!(Snapshot::of(vec![last.clone()]).is_err() && Snapshot::of(vec![]).is_err());
}

/// An emptied tree makes the backup after it a full one, wherever in the row that is.
#[test]
fn what_leads_to_a_full_backup_does_not_matter() {
    let write = |a: &[usize], b: &[usize], len| Edit::WriteTwice([a.to_vec(), b.to_vec()], 0, len);
    let history = History::new(&[
        Step::Edits(vec![write(&[1, 0], &[2, 0], 1)]),
        Step::Back(1),
        Step::Edits(vec![Edit::Fill(vec![2], 0)]),
        Step::Edits(vec![write(&[2, 0], &[0], 2)]),
        Step::Back(3),
    ]);
    let (snapshot, nothing) = (Snapshot::of(history.parts.clone()).unwrap(), DirIndex::empty());
    let archives: Vec<Archive> =
        history.parts.iter().flat_map(DiffData::archives).cloned().collect();
    for entry in history.indexes[5].entries() {
        let path = std::slice::from_ref(&entry.path);
        let found = Snapshot::find(&archives, path).unwrap().diff_from(&nothing).unwrap();
        let selected = snapshot.select(path).unwrap().diff_from(&nothing).unwrap();
        assert_found(&found, &selected);
    }
}
