//! Pruning: what is kept is as it was, what is not is gone, whatever the graph and whatever fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use archive::DiffData;
use common::{Failing, check};
use dirindex::{Dir, DirIndex};
use proptest::prelude::*;
use repository::store::{self, ArchiveName};
use repository::{BackupOptions, DirStore, Error, Keep, PruneOptions, Repository, SnapshotId};
use tempfile::TempDir;
use testing::edits::{Edit, edits, perform};
use testing::{Snapshot, fast_tempdir, noise, snapshot, write};

/// A store, and what the tree was at each of its snapshots.
struct Filled {
    temp: TempDir,
    store: DirStore,
    known: BTreeMap<SnapshotId, Snapshot>,
}

impl Filled {
    /// Backs up after each change of the tree, full ones where asked for; each snapshot is so many hours
    /// after the one before it.
    fn new(steps: impl IntoIterator<Item = (bool, i64, impl FnOnce(&Path))>) -> Filled {
        let temp = fast_tempdir();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let store = DirStore::create(temp.path().join("store")).unwrap();
        let mut known = BTreeMap::new();
        let mut dated: BTreeMap<SnapshotId, SnapshotId> = BTreeMap::new();
        let mut clock = 1_700_000_000;
        for (full, hours, change) in steps {
            change(&tree);
            let options = BackupOptions { full, allow_emptied: true, ..BackupOptions::default() };
            let report =
                Repository::new(&store).backup(&Dir::new(&tree).unwrap(), &options).unwrap();
            clock += 1 + hours * 3600;
            let date =
                *dated.entry(report.snapshot).or_insert(SnapshotId::from_secs(clock).unwrap());
            known.insert(date, snapshot(&tree));
        }
        // The names are all that says when it was.
        for file in Repository::new(&store).snapshots().unwrap().archives() {
            let ArchiveName { to, since, .. } = file.name;
            let since = since.map(|since| dated[&since]);
            let dated = ArchiveName { to: dated[&to], since, clock: None, ..file.name };
            let [from, to] = [file.name, dated].map(|name| store.path().join(name.to_string()));
            fs::rename(from, to).unwrap();
        }
        Filled { temp, store, known }
    }

    /// `steps` edits of one file.
    fn chain(steps: u64) -> Filled {
        Filled::new((0..steps).map(|step| {
            let change = move |tree: &Path| {
                let mut content = noise(1, 20_000);
                content.extend(noise(step, 50));
                write(tree.join("a"), content);
                write(tree.join(format!("{step}")), noise(step, 1000));
            };
            (step == 0, 5, change)
        }))
    }

    fn names(&self) -> Vec<String> {
        let files = Repository::new(&self.store).snapshots().unwrap();
        files.archives().iter().map(|archive| archive.name.to_string()).collect()
    }

    fn path(&self, number: usize) -> PathBuf {
        self.store.path().join(&self.names()[number])
    }
}

fn keep() -> impl Strategy<Value = Keep> {
    let count = || 0..4usize;
    (count(), count(), count(), count(), count())
        .prop_map(|(last, daily, weekly, monthly, yearly)| Keep {
            last,
            daily,
            weekly,
            monthly,
            yearly,
            ..Keep::default()
        })
        .prop_filter("a rule", |keep| *keep != Keep::default())
}

fn step() -> impl Strategy<Value = (bool, i64, Vec<Edit>)> {
    let hours = prop_oneof![0..30i64, 100..3000i64];
    (proptest::bool::weighted(0.2), hours, edits(4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_as_it_was_and_nothing_else_is_left(
        steps in proptest::collection::vec(step(), 1..9),
        squashed in proptest::collection::vec((0..9usize, 0..9usize), 0..3),
        keep in keep(),
    ) {
        let steps = steps.into_iter().map(|(full, hours, edits)| {
            (full, hours, move |tree: &Path| edits.iter().for_each(|edit| perform(tree, edit)))
        });
        let Filled { temp, store, mut known } = Filled::new(steps);
        // Shortcuts, as an interrupted prune leaves them.
        for (to, len) in squashed {
            let snapshots = Repository::new(&store).snapshots().unwrap();
            let Some(to) = snapshots.all().nth(to) else { continue };
            let way = snapshots.chain_to(to).unwrap();
            let (before, parts) = way.split_at(way.len().saturating_sub(len + 2));
            let load = |part: &store::StoredArchive| {
                Repository::new(&store).archive(&part.name).unwrap().load().unwrap()
            };
            let load = |parts: &[store::StoredArchive]| parts.iter().map(load).collect::<Vec<_>>();
            let nothing = DirIndex::empty();
            let before = match before {
                [] => nothing,
                _ => {
                    let before = DiffData::squash(&load(before)).unwrap();
                    before.diff().apply_to(&nothing).unwrap()
                }
            };
            let data = DiffData::squash_from(&before, &load(parts)).unwrap();
            let name = ArchiveName { since: parts[0].name.since, ..way.last().unwrap().name };
            data.compact(store.path().join(name.to_string()), &Default::default()).unwrap();
        }
        let kept = keep.of(known.keys().copied());
        let options = PruneOptions { keep, ..PruneOptions::default() };
        let before = snapshot(store.path());
        let dry = Repository::new(&store).prune(&PruneOptions { dry_run: true, ..options.clone() }).unwrap();
        prop_assert!(snapshot(store.path()) == before);
        let report = Repository::new(&store).prune(&options).unwrap();
        prop_assert!(report.kept.iter().eq(&kept) && dry.kept == report.kept);
        prop_assert!(dry.deleted == report.deleted && dry.removed == report.removed);
        prop_assert_eq!(dry.squashed.len(), report.squashed.len());
        prop_assert_eq!(report.kept.len() + report.removed.len(), known.len());
        known.retain(|id, _| kept.contains(id));
        check(&store, &known);
        let snapshots = Repository::new(&store).snapshots().unwrap();
        prop_assert_eq!(snapshots.archives().len(), kept.len(), "one archive leads to each snapshot");
        for made in &report.squashed {
            let parts: u64 = made.parts.iter().map(|part| part.size).sum();
            // Small archives are mostly table; and copies of what another brought are stored twice.
            prop_assert!(made.size.unwrap() <= parts + 40_000, "{made:?}");
        }
        let again = Repository::new(&store).prune(&options).unwrap();
        prop_assert!(again.squashed.is_empty() && again.deleted.is_empty());
        // The next backup builds on what is left.
        let tree = temp.path().join("tree");
        write(tree.join("later"), "later");
        let report = Repository::new(&store).backup(&Dir::new(&tree).unwrap(), &BackupOptions::default()).unwrap();
        prop_assert!(report.unusable.is_empty() && report.made.unwrap().archive.since.is_some());
        known.insert(report.snapshot, snapshot(&tree));
        check(&store, &known);
    }
}

#[test]
fn whatever_call_of_the_store_fails_what_is_kept_is_not_lost() {
    let keep = Keep { last: 1, daily: 2, ..Keep::default() };
    let options = PruneOptions { keep, ..PruneOptions::default() };
    for after in [false, true] {
        for at in 0.. {
            let mut filled = Filled::chain(6);
            let kept = keep.of(filled.known.keys().copied());
            let failing = Failing::new(&filled.store, at, after);
            let done = Repository::new(&failing).prune(&options).is_ok();
            assert_eq!(done, failing.calls() <= at);
            // Nothing is half there: what is there can be restored, and is as it was.
            let snapshots = Repository::new(&filled.store).snapshots().unwrap();
            let there: Vec<SnapshotId> = snapshots.all().collect();
            assert!(kept.iter().all(|id| there.contains(id)), "failed at {at}: {there:?}");
            filled.known.retain(|id, _| there.contains(id));
            check(&filled.store, &filled.known);
            assert!(Repository::new(&filled.store).prune(&options).unwrap().lost.is_empty());
            filled.known.retain(|id, _| kept.contains(id));
            check(&filled.store, &filled.known);
            assert_eq!(filled.names().len(), kept.len());
            if done {
                assert!(at > 20, "only {at} calls");
                break;
            }
        }
    }
}

#[test]
fn damage_stops_it_before_anything_is_deleted() {
    let options =
        PruneOptions { keep: Keep { last: 1, ..Keep::default() }, ..PruneOptions::default() };
    for number in 0..4 {
        let filled = Filled::chain(4);
        let path = filled.path(number);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let before = filled.names();
        let error = Repository::new(&filled.store).prune(&options).unwrap_err();
        assert!(matches!(error, Error::Unsound { .. }), "{error:?}");
        assert_eq!(filled.names(), before);
    }
}

/// What an interrupted prune left may be what it had not verified yet.
#[test]
fn a_shortcut_that_does_not_hold_does_not_replace_the_way_around() {
    let filled = Filled::chain(4);
    let names = filled.names();
    let last = Repository::new(&filled.store).snapshots().unwrap().archives()[3].name;
    let full = ArchiveName { since: None, ..last };
    // Sound in itself, from nothing, but with a flipped bit in a content.
    let data = DiffData::open(filled.path(0)).unwrap();
    let path = filled.store.path().join(full.to_string());
    data.compact(&path, &Default::default()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let keep = Keep { last: 1, ..Keep::default() };
    let error =
        Repository::new(&filled.store).prune(&PruneOptions { keep, ..PruneOptions::default() });
    assert!(matches!(error, Err(Error::Unsound { .. })), "{error:?}");
    assert!(names.iter().all(|name| filled.names().contains(name)));
}

#[test]
fn what_is_lost_already_is_left_alone() {
    let filled = Filled::chain(4);
    fs::remove_file(filled.path(1)).unwrap();
    let keep = Keep { last: 1, ..Keep::default() };
    let report = Repository::new(&filled.store)
        .prune(&PruneOptions { keep, ..PruneOptions::default() })
        .unwrap();
    assert_eq!((report.kept.len(), report.removed.len(), report.lost.len()), (1, 0, 2));
    assert_eq!(report.kept.first(), filled.known.keys().next());
    assert_eq!((report.deleted.len(), filled.names().len()), (0, 3));
}

#[test]
fn without_a_rule_nothing_is_done() {
    let filled = Filled::chain(2);
    let error = Repository::new(&filled.store).prune(&PruneOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NoRule));
    assert_eq!(filled.names().len(), 2);
}

/// Promise: a dry run says what would be freed: exactly where archives are only deleted, and nearly where some are made.
#[test]
fn a_dry_run_says_how_much_it_frees() {
    let prune = |filled: &Filled, keep, dry_run| {
        let options = PruneOptions { keep, dry_run, ..PruneOptions::default() };
        Repository::new(&filled.store).prune(&options).unwrap()
    };
    let filled = Filled::chain(8);
    let keep = Keep { last: 2, ..Keep::default() };
    let (dry, done) = (prune(&filled, keep, true), prune(&filled, keep, false));
    assert_eq!(dry.store_bytes, done.store_bytes + done.freed);
    // Deltas that replace one another are counted each.
    let near = done.freed * 3 / 4..done.freed + 500;
    assert!(done.freed > 10_000 && near.contains(&dry.freed), "{} of {near:?}", dry.freed);
    let full = |step: u64| (true, 5, move |tree: &Path| write(tree.join("a"), noise(step, 9000)));
    let filled = Filled::new((0..4).map(full));
    let (dry, done) = (prune(&filled, keep, true), prune(&filled, keep, false));
    assert!(dry.squashed.is_empty() && dry.freed == done.freed && done.freed > 18_000);
}

/// Promise: what is forgotten is gone, whatever builds on it is as it was, and nothing else goes.
#[test]
fn any_snapshot_but_the_newest_can_be_forgotten() {
    for mask in 1..31u32 {
        let mut filled = Filled::chain(5);
        let ids: Vec<SnapshotId> = filled.known.keys().copied().collect();
        let forgotten: Vec<SnapshotId> =
            (0..5).filter(|n| mask >> n & 1 == 1).map(|n| ids[n]).collect();
        let repository = Repository::new(&filled.store);
        let before = snapshot(filled.store.path());
        let options = PruneOptions::default();
        let dry = PruneOptions { dry_run: true, ..PruneOptions::default() };
        if mask >> 4 == 1 {
            let error = repository.forget(&forgotten, &options).unwrap_err();
            assert!(matches!(error, Error::NewestStays { snapshot } if snapshot == ids[4]));
            assert!(snapshot(filled.store.path()) == before);
            continue;
        }
        let dry = repository.forget(&forgotten, &dry).unwrap();
        assert!(snapshot(filled.store.path()) == before);
        let report = repository.forget(&forgotten, &options).unwrap();
        assert_eq!((&report.removed, &dry.removed), (&forgotten, &forgotten));
        let nothing = ["20200101T000000Z".parse().unwrap()];
        let unknown = repository.forget(&nothing, &options).unwrap_err();
        assert!(matches!(unknown, Error::NoSnapshot { snapshot } if snapshot == nothing[0]));
        filled.known.retain(|id, _| !forgotten.contains(id));
        check(&filled.store, &filled.known);
        assert_eq!(filled.names().len(), filled.known.len());
    }
}

#[test]
fn a_snapshot_that_is_lost_can_be_forgotten() {
    let mut filled = Filled::chain(4);
    let ids: Vec<SnapshotId> = filled.known.keys().copied().collect();
    fs::remove_file(filled.path(1)).unwrap();
    let report =
        Repository::new(&filled.store).forget(&ids[2..3], &PruneOptions::default()).unwrap();
    assert_eq!((report.removed, report.lost), (vec![ids[2]], vec![ids[3]]));
    assert_eq!(filled.names().len(), 2);
    filled.known.retain(|id, _| *id == ids[0]);
    check(&filled.store, &filled.known);
}
