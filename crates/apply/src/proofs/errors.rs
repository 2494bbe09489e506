//! Every call of an apply fails in turn, with every error that disks, quotas and limits give: the
//! tree is the old one, without litter, or the new one. Where every call fails from one on, a journal may
//! stay: a second run then ends in the new tree, and undoing in the old one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::cases;
use super::meddler::{Call, Fate, Meddler};
use crate::system::{Linux, System};
use crate::target::Target;
use crate::writeback;
use crate::{Applied, apply_with};
use crate::{ApplyOptions, ApplyStatus, abort, apply_status, recover_with};
use testing::{Case, Snapshot, everything, snapshot};

const ERRNOS: [Errno; 7] =
    [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::ACCESS, Errno::ROFS, Errno::MFILE, Errno::PERM];

/// How long a fault lasts.
#[derive(Debug, Clone, Copy)]
enum Lasting {
    Once,
    /// Every call after it that changes something fails too, as on a disk that is full or gone.
    ForGood,
}

/// Applies with a fault at the `nth` call of those that `counts` takes. What came of it, and whether
/// there was such a call.
fn faulty(
    case: &Case,
    tree: &Path,
    nth: usize,
    errno: Errno,
    lasting: Lasting,
    in_place: bool,
) -> (crate::Result<Applied>, bool) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let mut system = Meddler::new(Arc::new(Linux), move |call| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let strikes = match lasting {
            Lasting::Once => number == nth,
            Lasting::ForGood => {
                number == nth || (number > nth && call != Call::Read && call != Call::Open)
            }
        };
        if strikes { Fate::Fails(errno) } else { Fate::Made }
    });
    system.in_place = in_place;
    let options = options();
    let system: Arc<dyn System> = Arc::new(system);
    let done = cases::apply(system, tree, case, &options);
    (done, made.load(Ordering::Relaxed) > nth)
}

fn options() -> ApplyOptions {
    ApplyOptions { privileged: testing::is_root(), ..ApplyOptions::default() }
}

/// What the tree is, after a failure; goes on from there.
fn judge(
    (before, after): (&Snapshot, &Snapshot),
    case: &Case,
    tree: &Path,
    nth: usize,
    lasting: Lasting,
) -> Result<(), String> {
    let status = apply_status(tree).map_err(|error| format!("no status: {error}"))?;
    let mut found = snapshot(tree);
    let litter = found.keys().any(|path| path.starts_with(b".ibtools-apply"));
    found.retain(|path, _| !path.starts_with(b".ibtools-apply"));
    match status {
        ApplyStatus::Unfinished { .. } | ApplyStatus::RollingBack { .. } => {
            if matches!(lasting, Lasting::Once) {
                return Err("a journal".into());
            }
            if nth.is_multiple_of(3) {
                abort(tree).map_err(|error| format!("not to be undone: {error:?}"))?;
                if snapshot(tree) != *before {
                    return Err("undone to another tree".into());
                }
            }
        }
        _ if found != *before && found != *after => return Err("touched without a journal".into()),
        // Where removing fails as well, the stage stays; and once the journal is gone, what is left
        // of the stage is garbage that the next apply removes.
        ApplyStatus::Staged if matches!(lasting, Lasting::Once) && found != *after => {
            return Err("litter".into());
        }
        ApplyStatus::Clean if litter => return Err("litter that no status reports".into()),
        _ => {}
    }
    let again = || -> crate::Result<()> {
        if nth.is_multiple_of(2) {
            // Forward, or further back.
            recover_with(tree, &options())?;
        }
        apply_with(tree, &case.data, &options()).map(drop)
    };
    again().map_err(|error| format!("not to be finished: {error:?}"))?;
    if snapshot(tree) != *after {
        return Err("another tree".into());
    }
    Ok(())
}

/// Lets every `step`th call fail. The number of runs, and what was wrong.
fn sweep(case: &Case, step: usize, in_place: bool) -> (usize, Vec<String>) {
    let (before, after) = (snapshot(&case.old), snapshot(&case.new));
    let (mut runs, mut bad) = (0, Vec::new());
    for errno in ERRNOS {
        for lasting in [Lasting::Once, Lasting::ForGood] {
            let mut nth = runs % step;
            loop {
                let tree = case.copy_of_old();
                let (done, struck) = faulty(case, &tree, nth, errno, lasting, in_place);
                if !struck {
                    assert_eq!(snapshot(&tree), after, "nothing failed: {done:?}");
                    std::fs::remove_dir_all(tree).unwrap();
                    break;
                }
                runs += 1;
                let judged = match &done {
                    // Some errors are no failure: of a copy inside the kernel, of a missing list.
                    Ok(_) if snapshot(&tree) == after => Ok(()),
                    // What says that metadata is not taken: it is, the next time.
                    Ok(applied) if !applied.unkept.is_empty() => {
                        apply_with(&tree, &case.data, &options()).unwrap();
                        let same = snapshot(&tree) == after;
                        if same { Ok(()) } else { Err("other metadata than said".into()) }
                    }
                    Ok(_) => Err("success, but another tree".into()),
                    Err(_) => judge((&before, &after), case, &tree, nth, lasting),
                };
                if let Err(problem) = judged {
                    bad.push(format!("{errno:?} {lasting:?} at call {nth}: {problem} ({done:?})"));
                }
                std::fs::remove_dir_all(tree).unwrap();
                nth += step;
            }
        }
    }
    println!("total: {runs} failing calls, {} bad", bad.len());
    (runs, bad)
}

#[test]
fn a_failing_call_leaves_the_old_tree_or_the_new_one() {
    let (runs, bad) = sweep(&everything(), 11, false);
    assert_eq!(bad, Vec::<String>::new());
    assert!(runs > 200, "{runs}");
}

/// Promise: the same holds where the list of changes is not in memory.
#[test]
fn a_whole_tree_is_there_or_is_not() {
    let (runs, bad) = sweep(&cases::whole(), 1300, false);
    assert_eq!(bad, Vec::<String>::new());
    assert!(runs > 40, "{runs}");
}

/// A tree that an apply left half old, half new: from some call after the commit on, all failed.
fn half_done(case: &Case) -> std::path::PathBuf {
    let before = snapshot(&case.old);
    for nth in (100..).step_by(5) {
        let tree = case.copy_of_old();
        let (done, struck) = faulty(case, &tree, nth, Errno::ROFS, Lasting::ForGood, false);
        assert!(struck, "it was never half done");
        let mut found = snapshot(&tree);
        found.retain(|path, _| !path.starts_with(b".ibtools-apply"));
        if tree.join(".ibtools-apply/journal").exists() && found != before {
            assert!(matches!(done, Err(crate::Error::NotRolledBack { .. })), "{done:?}");
            return tree;
        }
    }
    unreachable!()
}

#[test]
fn a_half_done_apply_is_undone_on_request() {
    let case = everything();
    let tree = half_done(&case);
    assert!(matches!(apply_status(&tree).unwrap(), ApplyStatus::Unfinished { .. }));
    assert_eq!(abort(&tree).unwrap(), crate::Aborted::RolledBack);
    assert_eq!(snapshot(&tree), snapshot(&case.old));
    assert_eq!(abort(&tree).unwrap(), crate::Aborted::Nothing);
}

#[test]
fn a_journal_counts_where_it_was_written_alone() {
    let case = everything();
    let tree = half_done(&case);
    let copy = case.temp.path().join("copied");
    testing::copy_tree(&tree, &copy);
    let before = snapshot(&copy);
    let error = recover_with(&copy, &options()).unwrap_err();
    assert!(matches!(error, crate::Error::Journal { .. }), "{error}");
    assert!(abort(&copy).is_err());
    assert_eq!(snapshot(&copy), before);
    recover_with(&tree, &options()).unwrap();
    assert_eq!(snapshot(&tree), snapshot(&case.new));
}

#[test]
fn a_journal_gives_no_rights() {
    let case = everything();
    if !options().privileged {
        return;
    }
    let tree = half_done(&case);
    let before = snapshot(&tree);
    let error = recover_with(&tree, &ApplyOptions::default()).unwrap_err();
    assert!(matches!(error, crate::Error::PrivilegedJournal { .. }), "{error}");
    assert_eq!(snapshot(&tree), before);
}

/// The system reports a failed write once, and not again when all is synced at the end.
#[test]
fn an_error_of_a_sync_while_staging_is_not_lost() {
    let dir = testing::fast_tempdir();
    let fate = |call| if call == Call::SyncAll { Fate::Fails(Errno::IO) } else { Fate::Made };
    let target = Target::open(Arc::new(Meddler::new(Arc::new(Linux), fate)), dir.path()).unwrap();
    let stage = target.make_stage().unwrap();
    let beside = |sync, bytes: [u64; 2], done: Result<(), Errno>| {
        let error = |error| Errno::from_io_error(&error).unwrap();
        writeback::beside(10, &stage, sync, error, |writeback| {
            bytes.into_iter().for_each(|bytes| writeback.wrote(bytes));
            done
        })
    };
    assert_eq!(beside(true, [4, 7], Ok(())), Err(Errno::IO));
    assert_eq!(beside(true, [4, 5], Ok(())), Ok(()), "nothing to sync yet");
    assert_eq!(beside(true, [4, 7], Err(Errno::NOSPC)), Err(Errno::NOSPC));
    assert_eq!(beside(false, [4, 7], Ok(())), Ok(()), "no sync is wanted");
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_every_call_fails_with_every_error() {
    let (runs, bad) = sweep(&everything(), 1, false);
    assert_eq!(bad, Vec::<String>::new());
    assert!(runs > 4000, "{runs}");
}
