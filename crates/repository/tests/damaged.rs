//! Damaged stores: verifying finds all damage, says as a restore does what is left, and a restore that cannot be whole
//! writes nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apply::ApplyOptions;
use archive::{Archive, ArchiveOptions, DiffData, Format};
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex, RelPath, TreeId};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use repository::store::{ArchiveName, IndexName, SnapshotId, StoredName};
use repository::{DirStore, Repository, Restorable, RestoreOptions, Store, restore};
use testing::edits::{Edit, NAMES, edits, perform};
use testing::{fast_tempdir, index};

/// A store, and the states that were backed up to it.
struct Chain {
    place: tempfile::TempDir,
    states: BTreeMap<SnapshotId, DirIndex>,
    /// Whether several ways lead to a snapshot.
    short: bool,
}

impl Chain {
    /// Each of these days ends with a backup. `whose` makes its trees differ from those of all other chains.
    fn new(whose: &str, days: &[Vec<Edit>]) -> Chain {
        let place = fast_tempdir();
        testing::write(place.path().join("tree/whose"), whose);
        fs::create_dir(place.path().join("store")).unwrap();
        let mut chain = Chain { place, states: BTreeMap::new(), short: false };
        for edits in days {
            edits.iter().for_each(|edit| perform(&chain.tree(), edit));
            chain.back_up();
        }
        chain
    }

    /// One more snapshot, if there is anything new.
    fn back_up(&mut self) {
        let newest = self.states.last_key_value();
        let (since, old) =
            newest.map_or((None, DirIndex::empty()), |(id, index)| (Some(*id), index.clone()));
        let new = index(&self.tree());
        if new.tree_id() == old.tree_id() {
            return;
        }
        let to = SnapshotId::from_secs(since.map_or(1_700_000_000, |since| since.secs() + 86_400));
        let to = to.unwrap();
        self.put(
            ArchiveName { to, since, clock: None, format: Format::Gzip, checkpoint: false },
            &old,
            &new,
        );
        new.to_file(self.store().join(StoredName::Index(IndexName::whole(to)).to_string()))
            .unwrap();
        if let Some(since) = since {
            fs::remove_file(
                self.store().join(StoredName::Index(IndexName::whole(since)).to_string()),
            )
            .unwrap();
        }
        self.states.insert(to, new);
    }

    fn put(&self, name: ArchiveName, old: &DirIndex, new: &DirIndex) {
        let diff = DiffIndex::between(old, new);
        let dir = Dir::new(self.tree()).unwrap();
        DiffData::create(&dir, old, &diff, self.store().join(name.to_string())).unwrap();
    }

    /// Adds an archive that leads to the newest snapshot from an earlier one, or from nothing, past others: as there
    /// are while old snapshots are thinned out.
    fn shorten(&mut self, since: &Index) {
        let snapshots: Vec<SnapshotId> = self.states.keys().copied().collect();
        let [earlier @ .., _, newest] = &snapshots[..] else { return };
        let since = since.index(snapshots.len() - 1).checked_sub(1).map(|number| earlier[number]);
        let base = since.map_or_else(DirIndex::empty, |since| self.states[&since].clone());
        let name = ArchiveName {
            to: *newest,
            since,
            clock: None,
            format: Format::Gzip,
            checkpoint: false,
        };
        self.put(name, &base, &self.states[newest]);
        self.short = true;
    }

    /// Adds an archive squashed of those from one snapshot, or from nothing, to another: as an interrupted prune leaves it.
    fn squash(&mut self, (from, count): &(Index, Index)) {
        let names = self.archives();
        let first = from.index(names.len());
        let after = first + count.index(names.len() - first);
        let parts = &names[first..=after];
        // A shortcut is not part of the row, and one archive is not squashed.
        let follow = parts.windows(2).all(|pair| pair[1].since == Some(pair[0].to));
        let name = ArchiveName { since: parts[0].since, ..parts[parts.len() - 1] };
        let path = self.store().join(name.to_string());
        if parts.len() < 2 || !follow || path.exists() {
            return;
        }
        let load = |name: &ArchiveName| {
            Archive::open(self.store().join(name.to_string())).unwrap().load().unwrap()
        };
        let before =
            parts[0].since.map_or_else(DirIndex::empty, |since| self.states[&since].clone());
        let parts: Vec<DiffData> = parts.iter().map(load).collect();
        let data = DiffData::squash_from(&before, &parts).unwrap();
        data.compact(path, &ArchiveOptions::default()).unwrap();
        self.short = true;
    }

    fn tree(&self) -> PathBuf {
        self.place.path().join("tree")
    }

    fn store(&self) -> PathBuf {
        self.place.path().join("store")
    }

    /// The names of its archives, in order of time.
    fn archives(&self) -> Vec<ArchiveName> {
        let snapshots =
            Repository::new(&DirStore::open(self.store()).unwrap()).snapshots().unwrap();
        snapshots.archives().iter().map(|archive| archive.name).collect()
    }
}

/// Which archive, which other one, where in it.
type Pick = (Index, Index, Index);

/// What is done to a store; gives whether anything is the matter then.
type Damage = fn(&Path, &Chain, &Chain, &Pick) -> bool;

const DROPPED: &str = "dropped";
const SWAPPED: &str = "swapped";
const FLIPPED: &str = "bit-flipped";
const REPLACED: &str = "replaced by another chain's";

const DAMAGES: [(&str, Damage); 6] = [
    (DROPPED, |store, chain, _, (which, ..)| {
        fs::remove_file(store.join(which.get(&chain.archives()).to_string())).unwrap();
        true
    }),
    (SWAPPED, |store, chain, _, (one, other, _)| {
        let archives = chain.archives();
        let [one, other] = [one, other].map(|pick| store.join(pick.get(&archives).to_string()));
        let spare = store.join("spare");
        fs::rename(&one, &spare).unwrap();
        if one == other {
            fs::rename(&spare, &one).unwrap();
            return false;
        }
        fs::rename(&other, &one).unwrap();
        fs::rename(&spare, &other).unwrap();
        true
    }),
    ("truncated", |store, chain, _, (which, _, at)| {
        let path = store.join(which.get(&chain.archives()).to_string());
        let content = fs::read(&path).unwrap();
        fs::write(path, &content[..at.index(content.len())]).unwrap();
        true
    }),
    (FLIPPED, |store, chain, _, (which, bit, at)| {
        let path = store.join(which.get(&chain.archives()).to_string());
        let mut content = fs::read(&path).unwrap();
        let at = at.index(content.len());
        content[at] ^= 1 << bit.index(8);
        fs::write(path, content).unwrap();
        true
    }),
    (REPLACED, |store, chain, other, (which, whose, _)| {
        let (archives, others) = (chain.archives(), other.archives());
        let (name, foreign) = (which.get(&archives), whose.get(&others));
        let content = fs::read(other.store().join(foreign.to_string())).unwrap();
        fs::write(store.join(name.to_string()), content).unwrap();
        true
    }),
    ("followed by another chain's", |store, chain, other, (which, ..)| {
        let others = other.archives();
        let increments: Vec<_> = others.iter().filter(|name| name.since.is_some()).collect();
        let Some(newest) = chain.archives().last().map(|name| name.to) else { return false };
        if increments.is_empty() {
            return false;
        }
        let foreign = which.get(&increments);
        let to = SnapshotId::from_secs(newest.secs() + 1).unwrap();
        let name = ArchiveName { to, since: Some(newest), ..**foreign };
        fs::copy(other.store().join(foreign.to_string()), store.join(name.to_string())).unwrap();
        true
    }),
];

/// How many damaged stores there were, and what was looked at in them.
#[derive(Debug, Default)]
struct Totals {
    chains: usize,
    damaged: BTreeMap<&'static str, usize>,
    /// Of them, those from which the very same is read as before.
    harmless: BTreeMap<&'static str, usize>,
    /// Snapshots that came back, of them those in another state, those that did not, and of which a part did.
    restored: usize,
    otherwise: usize,
    refused: usize,
    partly: usize,
    /// Snapshots that another chain led to, since an archive was damaged.
    passed: usize,
}

/// A chain, from where a second way leads to its newest snapshot if there is one, what of it is squashed, another chain, and where to
/// hit.
type Case = (Vec<Vec<Edit>>, Option<Index>, Vec<(Index, Index)>, Vec<Vec<Edit>>, Vec<Pick>);

fn cases() -> impl Strategy<Value = Case> {
    let days = |count| proptest::collection::vec(edits(NAMES.len()), count);
    let picks = proptest::collection::vec(any::<Pick>(), DAMAGES.len());
    let squashed = proptest::collection::vec(any::<(Index, Index)>(), 0..4);
    (days(2..9), proptest::option::of(any::<Index>()), squashed, days(1..4), picks)
}

fn sweep(count: u32) -> Totals {
    let config = ProptestConfig { cases: count, failure_persistence: None, ..Default::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let totals = RefCell::new(Totals::default());
    let law = |case| {
        check(&case, &mut totals.borrow_mut());
        Ok::<(), TestCaseError>(())
    };
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&cases(), law) {
        panic!("{error}");
    }
    totals.into_inner()
}

fn check((days, shortcut, squashed, others, picks): &Case, totals: &mut Totals) {
    let (mut chain, other) = (Chain::new("ours", days), Chain::new("another's", others));
    if let Some(since) = shortcut {
        chain.shorten(since);
    }
    squashed.iter().for_each(|part| chain.squash(part));
    totals.chains += 1;
    let sound = Repository::new(&DirStore::open(chain.store()).unwrap()).verify(None).unwrap();
    assert!(sound.is_sound(), "{sound:?}");
    for ((kind, damage), pick) in DAMAGES.iter().zip(picks) {
        let place = fast_tempdir();
        let store = place.path().join("store");
        testing::copy_tree(&chain.store(), &store);
        if damage(&store, &chain, &other, pick) {
            *totals.damaged.entry(kind).or_default() += 1;
            judge(kind, &store, &chain, totals);
        }
    }
}

/// Holds what verifying says of a damaged store against restoring each of its snapshots.
fn judge(kind: &'static str, path: &Path, chain: &Chain, totals: &mut Totals) {
    let store = DirStore::open(path).unwrap();
    let found = Repository::new(&store).verify(None).unwrap();
    let snapshots = Repository::new(&store).snapshots().unwrap();
    if found.is_sound() {
        // Of two ways one is enough. All comes back, below.
        let harmless = kind == DROPPED && chain.short;
        assert!(harmless, "{kind}: nothing was found");
        assert!(snapshots.all().eq(chain.states.keys().copied()));
        *totals.harmless.entry(kind).or_default() += 1;
    }
    assert_eq!(found.snapshots.len(), snapshots.all().count());
    totals.passed += found.skipped.len();
    for (id, verdict) in &found.snapshots {
        let place = fast_tempdir();
        let dest = place.path().join("dest");
        fs::create_dir(&dest).unwrap();
        match bring_back(&store, *id, &[], &dest) {
            Ok(result) => {
                assert_eq!(*verdict, Restorable::Whole, "{kind}: {id} came back");
                // An archive in the place of one that starts from the same state (both may be full): nothing is
                // wrong with the way there, but that what follows does not fit.
                let as_it_was = chain.states.get(id).is_some_and(|was| was.tree_id() == result);
                let exchanged = [REPLACED, SWAPPED].contains(&kind);
                assert!(as_it_was || exchanged, "{kind}: {id} is not as it was");
                totals.otherwise += usize::from(!as_it_was);
                assert_eq!(index(&dest).tree_id(), result);
                totals.restored += 1;
            }
            Err(error) => {
                assert_ne!(*verdict, Restorable::Whole, "{kind}: {id} did not come back: {error}");
                assert_eq!(
                    fs::read_dir(&dest).unwrap().count(),
                    0,
                    "{kind}: something was written"
                );
                totals.refused += 1;
            }
        }
        if let Restorable::Without(lost) = verdict {
            rest_comes_back(&store, *id, lost, &chain.states[id]);
            totals.partly += 1;
        }
    }
}

type Failure = Box<dyn std::error::Error>;

/// Restores a snapshot, or some paths of it; gives the root of what should have come.
fn bring_back(
    store: &dyn Store,
    id: SnapshotId,
    paths: &[RelPath],
    dest: &Path,
) -> Result<TreeId, Failure> {
    let apply = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let options = RestoreOptions { paths: paths.to_vec(), apply, ..RestoreOptions::default() };
    let result = Repository::new(store).with_archives(id, |archives| {
        restore(archives, dest, &options)?;
        Ok(archives.last().map(Archive::result))
    });
    Ok(result?.0.ok_or("an empty chain")?)
}

/// All files but those that are said to be lost can be restored by name.
fn rest_comes_back(store: &dyn Store, id: SnapshotId, lost: &[RelPath], was: &DirIndex) {
    assert!(!lost.is_empty());
    let place = fast_tempdir();
    let dest = place.path().join("dest");
    fs::create_dir(&dest).unwrap();
    let names = |entry: &&dirindex::Entry| match &entry.node {
        // Neither can a link come back whose file is lost.
        dirindex::Node::HardLink { to } => !lost.contains(to),
        node => matches!(node, dirindex::Node::File { .. }),
    };
    let kept: Vec<RelPath> = was
        .entries()
        .filter(names)
        .map(|entry| entry.path.clone())
        .filter(|path| !lost.contains(path))
        .collect();
    if kept.is_empty() {
        return;
    }
    bring_back(store, id, &kept, &dest).unwrap();
    let back = index(&dest);
    for path in &kept {
        assert_eq!(back.get(path), was.get(path), "{id}: {path:?} is not as it was");
    }
}

#[test]
fn damage_is_found_and_what_is_left_comes_back() {
    let totals = sweep(16);
    assert_eq!(totals.damaged.len(), DAMAGES.len(), "{totals:?}");
    assert!(totals.restored > 0 && totals.refused > 0 && totals.partly > 0, "{totals:?}");
    assert!(totals.passed > 0, "{totals:?}");
}

#[test]
#[ignore = "long: cargo xtask crash chains"]
fn long_damage_is_found_and_what_is_left_comes_back() {
    let totals = sweep(1000);
    println!("{totals:#?}");
}
