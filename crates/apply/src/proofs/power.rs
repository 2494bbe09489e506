//! Power cuts on a simulated disk that loses what was not synced, at every moment and in every way:
//! what is left must be the old tree, or lead to the new one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::cases;
use super::crash::{Thoroughness, crashes};
use super::disk::{Disk, History};
use super::meddler::{Call, Fate, Meddler};
use super::state::{Inode, State};
use crate::ApplyOptions;
use crate::system::System;
use crate::unfinished::{abort_on, recover_on};
use testing::Case;

type Tree = BTreeMap<Vec<u8>, (Inode, Vec<u8>)>;

const STAGE: &[u8] = b".ibtools-apply";
const JOURNAL: &[u8] = b".ibtools-apply/journal";

/// A case with its trees as they are on the simulated disk.
struct Trial {
    case: Case,
    start: State,
    old: Tree,
    new: Tree,
}

/// What a sweep came to.
#[derive(Debug, Default)]
struct Tally {
    states: usize,
    with_journal: usize,
    /// The first few states that were not as promised.
    bad: Vec<String>,
    bad_count: usize,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.states += other.states;
        self.with_journal += other.with_journal;
        self.bad_count += other.bad_count;
        self.bad.extend(other.bad);
        self.bad.truncate(5);
    }
}

/// Puts something between applying and the disk.
type Variant = fn(Arc<Disk>) -> Arc<dyn System>;

fn honest(disk: Arc<Disk>) -> Arc<dyn System> {
    disk
}

impl Trial {
    fn new(case: Case) -> Trial {
        let start = State::of(&case.old);
        let (old, new) = (start.tree(STAGE), State::of(&case.new).tree(STAGE));
        Trial { case, start, old, new }
    }

    /// Applies on `disk`, or only finishes what was begun and then applies.
    fn apply(&self, disk: Arc<dyn System>, recover: bool) -> crate::Result<()> {
        let options = ApplyOptions { privileged: true, ..ApplyOptions::default() };
        if recover {
            recover_on(Arc::clone(&disk), Path::new("/"), true)?;
        }
        cases::apply(disk, Path::new("/"), &self.case, &options).map(drop)
    }

    /// What happens on a disk that starts with `history` while the diff is applied.
    fn record(&self, history: History, variant: Variant) -> History {
        let disk = Arc::new(Disk::after(history));
        let done = self.apply(variant(Arc::clone(&disk)), false);
        done.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        disk.history()
    }

    /// What is wrong with a state that a power cut left, if anything is.
    fn judge(&self, state: State, recover: bool, variant: Variant) -> Result<bool, String> {
        let journal = state.at(JOURNAL).is_some();
        if !journal {
            let tree = state.tree(STAGE);
            if tree != self.old && tree != self.new {
                let from_old = difference(&tree, &self.old);
                return Err(format!("touched without a journal: {from_old}"));
            }
        }
        let back = Arc::new(Disk::new(state.clone()));
        abort_on(Arc::clone(&back) as _, Path::new("/")).map_err(failed_to_be("undone"))?;
        let tree = back.live().tree(b"");
        if tree != self.old && (journal || tree != self.new) {
            return Err(format!("undone to another tree: {}", difference(&tree, &self.old)));
        }
        let disk = Arc::new(Disk::new(state));
        if let Err(error) = self.apply(variant(Arc::clone(&disk)), recover) {
            return Err(failed_to_be("finished")(error));
        }
        let tree = disk.live().tree(b"");
        if tree != self.new {
            return Err(format!("another tree: {}", difference(&tree, &self.new)));
        }
        Ok(journal)
    }

    /// Judges every state that a power cut after the events from `from` on can leave. The re-run is
    /// honest whatever the first run was.
    fn sweep(&self, history: &History, from: usize, thoroughness: Thoroughness) -> Tally {
        let mut tally = Tally::default();
        crashes(history, from, thoroughness, 1, |number, state| {
            tally.states += 1;
            match self.judge(state, tally.states % 2 == 0, honest) {
                Ok(journal) => tally.with_journal += usize::from(journal),
                Err(problem) => {
                    tally.bad_count += 1;
                    if tally.bad.len() < 5 {
                        let event = &history.events[number];
                        tally.bad.push(format!("after event {number} ({event:?}): {problem}"));
                    }
                }
            }
        });
        tally
    }

    /// One apply, cut at any moment.
    fn cut_once(&self, thoroughness: Thoroughness) -> Tally {
        let history = self.record(History { start: self.start.clone(), events: vec![] }, honest);
        self.sweep(&history, 0, thoroughness)
    }

    /// One apply in which one of the calls after the commit fails, and that is undone for it; cut at any moment.
    /// Every `step`th call is tried.
    fn cut_while_rolling_back(&self, step: usize, thoroughness: Thoroughness) -> Tally {
        let mut tally = Tally::default();
        for fails in (0..).step_by(step) {
            let disk = Arc::new(Disk::new(self.start.clone()));
            let (watched, calls) = (Arc::clone(&disk), AtomicUsize::new(0));
            let began = Arc::new(AtomicUsize::new(0));
            let begins = Arc::clone(&began);
            let meddler = Meddler::new(Arc::clone(&disk) as _, move |call| {
                let counts = matches!(call, Call::Change | Call::Sync | Call::SyncAll);
                let committed = counts && watched.live().at(JOURNAL).is_some();
                if !committed || calls.fetch_add(1, Ordering::Relaxed) != fails {
                    return Fate::Made;
                }
                begins.store(watched.history().events.len(), Ordering::Relaxed);
                Fate::Fails(Errno::IO)
            });
            let done = self.apply(Arc::new(meddler), false);
            let (history, began) = (disk.history(), began.load(Ordering::Relaxed));
            if began == 0 {
                done.unwrap_or_else(|error| panic!("{error}: {error:?}"));
                return tally;
            }
            let left = disk.live();
            let tree = left.tree(STAGE);
            let kept = left.at(JOURNAL).is_some();
            if done.is_err() && (kept || (tree != self.old && tree != self.new)) {
                tally.bad_count += 1;
                tally.bad.push(format!("call {fails} failed: {done:?}, a journal: {kept}"));
            }
            tally.add(self.sweep(&history, began, thoroughness));
        }
        tally
    }

    /// One apply, killed after any `step`th event but with nothing lost; a second one, cut at any
    /// moment, with all of the first one's effects that were not synced to lose as well.
    fn cut_after_kill(&self, step: usize, thoroughness: Thoroughness) -> Tally {
        let start = History { start: self.start.clone(), events: vec![] };
        let history = self.record(start, honest);
        let mut tally = Tally::default();
        for killed in (1..history.events.len()).step_by(step) {
            let events = history.events[..killed].to_vec();
            let first = History { start: history.start.clone(), events };
            let both = self.record(first, honest);
            tally.add(self.sweep(&both, killed, thoroughness));
        }
        tally
    }

    /// One apply, cut; of the states that leaves, every `step`th is applied to again and cut again.
    fn cut_twice(&self, step: usize, thoroughness: Thoroughness) -> Tally {
        let history = self.record(History { start: self.start.clone(), events: vec![] }, honest);
        let mut tally = Tally::default();
        let mut nth = 0;
        crashes(&history, 0, thoroughness, 7, |_, start| {
            nth += 1;
            if nth % step == 0 {
                let second = self.record(History { start, events: vec![] }, honest);
                tally.add(self.sweep(&second, 0, thoroughness));
            }
        });
        tally
    }
}

fn failed_to_be(what: &str) -> impl Fn(crate::Error) -> String {
    move |error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("not to be {what}: {error} ({source:?})")
    }
}

fn difference(found: &Tree, expected: &Tree) -> String {
    let mut paths: Vec<_> = found.keys().chain(expected.keys()).collect();
    paths.sort();
    let at = paths.into_iter().find(|path| found.get(*path) != expected.get(*path));
    let at = at.expect("there is one");
    format!(
        "{} is {:.200?}, not {:.200?}",
        at.escape_ascii(),
        found.get(at).map(|one| format!("{one:?}")),
        expected.get(at).map(|one| format!("{one:?}"))
    )
}

/// Does `work` for each case, two at a time, each on a thread pool of one: the order of what is
/// recorded is then the same each time.
fn each_case(work: impl Fn(&'static str, &Trial) -> Tally + Sync) -> Tally {
    let cases = cases::all();
    let next = AtomicUsize::new(0);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism().map_or(1, usize::from))
            .map(|_| {
                scope.spawn(|| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                    let mut tally = Tally::default();
                    while let Some((name, make)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let trial = Trial::new(make());
                        let mut one = pool.install(|| work(name, &trial));
                        one.bad.iter_mut().for_each(|bad| bad.insert_str(0, &format!("{name}: ")));
                        println!("{name}: {} states, {} bad", one.states, one.bad_count);
                        tally.add(one);
                    }
                    tally
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| tally.add(thread.join().unwrap()));
    });
    println!(
        "total: {} states, {} of them with a journal, {} bad",
        tally.states, tally.with_journal, tally.bad_count
    );
    tally
}

#[track_caller]
fn all_good(tally: &Tally) {
    assert_eq!(tally.bad_count, 0, "{:#?}", tally.bad);
}

const QUICK: Thoroughness = Thoroughness { all: 4, six: 0, few: 1, last: 3, random: 2 };
const BRIEF: Thoroughness = Thoroughness { all: 2, six: 0, few: 0, last: 6, random: 2 };
const MORE: Thoroughness = Thoroughness { last: 6, random: 4, ..QUICK };
const LONG: Thoroughness = Thoroughness { all: 12, six: 20, few: 2, last: 6, random: 1000 };

#[test]
fn a_power_cut_anywhere_leaves_the_old_tree_or_a_way_to_the_new_one() {
    let tally = each_case(|_, trial| trial.cut_once(QUICK));
    all_good(&tally);
    assert!(tally.states > 1000 && tally.with_journal > 100, "{tally:?}");
}

/// A journal that a killed process has seen need not be on the disk, nor the want of one.
#[test]
fn so_does_one_after_a_kill_and_a_second_run() {
    let tally = each_case(|name, trial| match name {
        "moved" | "hard links" => trial.cut_after_kill(3, QUICK),
        _ => Tally::default(),
    });
    all_good(&tally);
    assert!(tally.states > 500 && tally.with_journal > 50, "{tally:?}");
}

/// One of the calls after the commit fails, and the power while that is undone.
#[test]
fn so_does_one_while_rolling_back() {
    let tally = each_case(|name, trial| match name {
        "one of everything" => trial.cut_while_rolling_back(29, BRIEF),
        "directory moved as a whole out of one that goes" => {
            trial.cut_while_rolling_back(17, BRIEF)
        }
        _ => trial.cut_while_rolling_back(2, QUICK),
    });
    all_good(&tally);
    assert!(tally.states > 2000 && tally.with_journal > 1000, "{tally:?}");
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_power_cuts_while_rolling_back() {
    let tally = each_case(|name, trial| match name {
        "one of everything" => trial.cut_while_rolling_back(5, MORE),
        _ => trial.cut_while_rolling_back(1, Thoroughness { all: 8, few: 2, ..MORE }),
    });
    all_good(&tally);
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_power_cuts() {
    let tally = each_case(|_, trial| trial.cut_once(LONG));
    all_good(&tally);
    assert!(tally.states > 70_000, "{tally:?}");
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_power_cuts_after_kills() {
    let tally = each_case(|name, trial| match name {
        "one of everything" => trial.cut_after_kill(40, MORE),
        _ => trial.cut_after_kill(1, Thoroughness { few: 2, ..MORE }),
    });
    all_good(&tally);
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_power_cuts_after_power_cuts() {
    let tally = each_case(|name, trial| match name {
        "one of everything" => trial.cut_twice(2000, MORE),
        _ => trial.cut_twice(20, MORE),
    });
    all_good(&tally);
}

/// What was staged may be on the disk before the rest is written: then it is the rest alone that can be
/// lost.
#[test]
fn so_does_one_when_staging_is_synced_on_the_way() {
    let tally = each_case(|_, trial| {
        let start = History { start: trial.start.clone(), events: vec![] };
        let history = trial.record(start, |disk| {
            let calls = AtomicUsize::new(0);
            let eager = Arc::clone(&disk);
            let fate = move |call| {
                // As often as not: what is lost is sought between the syncs as well.
                if call == Call::Change && calls.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                    eager.sync_all(&eager.open_root(Path::new("/")).unwrap()).unwrap();
                }
                Fate::Made
            };
            Arc::new(Meddler::new(disk, fate))
        });
        trial.sweep(&history, 0, QUICK)
    });
    all_good(&tally);
    assert!(tally.states > 1000 && tally.with_journal > 100, "{tally:?}");
}

/// The sweep of one case with a first run that is not honest. It has to notice.
#[track_caller]
fn notices(case: &str, variant: Variant) {
    let (_, make) = cases::all().into_iter().find(|(name, _)| *name == case).unwrap();
    let trial = Trial::new(make());
    let start = History { start: trial.start.clone(), events: vec![] };
    let tally = trial.sweep(&trial.record(start, variant), 0, QUICK);
    println!("{} states, {} bad, among them {:#?}", tally.states, tally.bad_count, tally.bad);
    assert!(tally.bad_count > 0, "the sweep noticed nothing");
}

fn without(call: Call, disk: Arc<Disk>) -> Arc<dyn System> {
    let fate = move |made| if made == call { Fate::LeftOut } else { Fate::Made };
    Arc::new(Meddler::new(disk, fate))
}

#[test]
fn the_sweep_notices_when_contents_are_not_synced() {
    notices("swapped", |disk| without(Call::SyncAll, disk));
}

#[test]
fn the_sweep_notices_when_what_was_taken_away_is_not_synced() {
    notices("directory moved as a whole", |disk| {
        let syncs = AtomicUsize::new(0);
        // The first is that of the journal and what it speaks of.
        let fate = move |call| match call {
            Call::SyncAll if syncs.fetch_add(1, Ordering::Relaxed) == 1 => Fate::LeftOut,
            _ => Fate::Made,
        };
        Arc::new(Meddler::new(disk, fate))
    });
}

#[test]
fn the_sweep_notices_when_the_journal_is_not_synced() {
    notices("hard links", |disk| without(Call::Sync, disk));
}

#[test]
fn the_sweep_notices_writing_in_place() {
    notices("patched", |disk| {
        let mut system = Meddler::new(disk, |_| Fate::Made);
        system.in_place = true;
        Arc::new(system)
    });
}
