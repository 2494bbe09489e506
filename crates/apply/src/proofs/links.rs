//! A directory of the tree and a link to a directory outside change places while a diff is applied:
//! at every call, and all the time from another thread. What lies outside must not change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::meddler::{Fate, Meddler};
use crate::ApplyOptions;
use crate::apply::apply_on;
use crate::apply_diff;
use crate::source::Source;
use crate::system::{Linux, System};
use testing::{Case, Snapshot, copy_tree, everything, snapshot};

/// A case in which every kind of change lies inside one directory, `dir`; beside it a link to a
/// directory outside that looks the same.
struct Trap {
    case: Case,
    outside: PathBuf,
    canary: Snapshot,
}

impl Trap {
    fn new() -> Trap {
        let inner = everything();
        let (old, new) = (inner.old.clone(), inner.new.clone());
        let outside = inner.temp.path().join("outside");
        copy_tree(&old, &outside);
        let link = outside.clone();
        let case = Case::new(
            |dir| {
                copy_tree(&old, &dir.join("dir"));
                symlink(link, dir.join("link")).unwrap();
            },
            |dir| {
                fs::remove_dir_all(dir.join("dir")).unwrap();
                copy_tree(&new, &dir.join("dir"));
            },
        );
        // Kept as long as the case.
        let kept = case.temp.path().join("outside");
        copy_tree(&outside, &kept);
        for tree in [&case.old, &case.new] {
            fs::remove_file(tree.join("link")).unwrap();
        }
        symlink(&kept, case.old.join("link")).unwrap();
        // With the same time: the diff does not list it.
        copy_tree(&case.old.join("link"), &case.new.join("link"));
        let canary = snapshot(&kept);
        Trap { case, outside: kept, canary }
    }

    fn is_sprung(&self) -> bool {
        snapshot(&self.outside) != self.canary
    }

    /// Applies while the directory is swapped for the link at the `at`th call, and back at the
    /// `back`th. Whether there was an `at`th call.
    fn swap(&self, tree: &Path, at: usize, back: usize, by_prefix: bool) -> bool {
        let calls = Arc::new(AtomicUsize::new(0));
        let (count, path) = (Arc::clone(&calls), tree.to_path_buf());
        let mut system = Meddler::new(Arc::new(Linux), move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            if number == at || number == back {
                exchange(&path);
            }
            Fate::Made
        });
        system.by_prefix = by_prefix;
        let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
        let system: Arc<dyn System> = Arc::new(system);
        // That it fails is no news: it finds a link where a directory is to be.
        drop(apply_on(
            system,
            tree,
            (&self.case.diff).into(),
            Source::Data(&self.case.data),
            &options,
        ));
        let calls = calls.load(Ordering::SeqCst);
        if calls > at && calls <= back {
            exchange(tree);
        }
        calls > at
    }

    /// Every `step`th call, and every length of time from the list. The number of swaps, of escapes
    /// and of trees from which a second apply did not end in the target.
    fn sweep(
        &self,
        step: usize,
        lengths: &[usize],
        by_prefix: bool,
    ) -> (usize, usize, Vec<String>) {
        let after = snapshot(&self.case.new);
        let (mut swaps, mut escapes, mut stuck) = (0, 0, Vec::new());
        for length in lengths {
            for at in (swaps % step..).step_by(step) {
                let tree = self.case.copy_of_old();
                let struck = self.swap(&tree, at, at + length, by_prefix);
                if self.is_sprung() {
                    escapes += 1;
                    return (swaps, escapes, stuck);
                }
                match apply_diff(&tree, &self.case.diff, &self.case.data) {
                    Ok(_) if snapshot(&tree) == after => {}
                    other => stuck.push(format!("call {at}, for {length}: {other:?}")),
                }
                fs::remove_dir_all(tree).unwrap();
                if !struck {
                    break;
                }
                swaps += 1;
            }
        }
        (swaps, escapes, stuck)
    }
}

fn exchange(tree: &Path) {
    let (dir, link) = (tree.join("dir"), tree.join("link"));
    renameat_with(CWD, dir, CWD, link, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn nothing_outside_changes_when_links_are_swapped_in() {
    let (swaps, escapes, stuck) = Trap::new().sweep(5, &[1, 3], false);
    assert_eq!((escapes, stuck), (0, vec![]));
    assert!(swaps > 50, "{swaps}");
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_links_swapped_at_every_call() {
    let (swaps, escapes, stuck) = Trap::new().sweep(1, &[1, 2, 3, 5, 8, 20, 1000], false);
    println!("total: {swaps} swaps, {escapes} escapes, {} not to be finished", stuck.len());
    assert_eq!((escapes, stuck), (0, vec![]));
}

#[test]
fn the_sweep_notices_a_check_of_the_path_instead_of_a_descriptor() {
    let (swaps, escapes, _) = Trap::new().sweep(1, &[1, 2], true);
    println!("after {swaps} swaps");
    assert!(escapes > 0, "the sweep noticed nothing");
}

/// Applies `rounds` times while another thread swaps without pause.
fn race(rounds: usize) {
    let trap = Trap::new();
    let swaps = AtomicUsize::new(0);
    let mut failed = 0;
    for _ in 0..rounds {
        let tree = trap.case.copy_of_old();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    exchange(&tree);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
            let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
            let system: Arc<dyn System> = Arc::new(Linux);
            // As often as it can: what is refused early changes nothing.
            for _ in 0..20 {
                let applied = apply_on(
                    Arc::clone(&system),
                    &tree,
                    (&trap.case.diff).into(),
                    Source::Data(&trap.case.data),
                    &options,
                );
                failed += usize::from(applied.is_err());
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(!trap.is_sprung(), "something outside has changed");
        fs::remove_dir_all(tree).unwrap();
    }
    let swaps = swaps.into_inner();
    println!(
        "total: {swaps} swaps from a second thread, {failed} of {} applies failed, 0 escapes",
        rounds * 20
    );
}

#[test]
fn nothing_outside_changes_in_a_race() {
    race(5);
}

#[test]
#[ignore = "minutes; cargo xtask crash"]
fn long_race_of_links() {
    race(500);
}

/// Where the kernel has no `openat2`, paths are walked a component at a time.
#[test]
fn neither_does_anything_without_openat2() {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "strace is missing");
        println!("SKIPPED: strace is missing, openat2 was not taken away");
        return;
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qqq", "--seccomp-bpf", "-e", "signal=none", "-e", "trace=openat2"])
        .args(["-e", "inject=openat2:error=ENOSYS", "-o"])
        .arg(log.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "proofs::links::nothing_outside"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("2 passed"), "{printed}");
    let log = fs::read_to_string(log.path()).unwrap();
    // Calls of two threads may share two lines; what counts is how they end.
    let ended: Vec<&str> = log.lines().filter(|line| line.contains(" = ")).collect();
    assert!(ended.len() > 1000, "{}", ended.len());
    assert!(ended.iter().all(|line| line.contains("ENOSYS")), "some calls were made");
}
