//! File systems that give all files one owner, or one mode: exFAT, shares of Windows servers, NFS where root is nobody.
//! And roots in which others make what has the name of the stage.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::meddler::{Call, Fate, Meddler};
use crate::apply::apply_on;
use crate::source::Source;
use crate::system::{Linux, System};
use crate::unfinished::{abort_on, recover_on};
use crate::{Aborted, ApplyOptions, ApplyStatus, apply_status};
use crate::{Error, apply_diff, recover};
use testing::{Case, everything, is_root, snapshot, write};

/// Fails from the `at`th change on.
fn failing(at: usize, but: impl Fn(Call) -> Fate + Send + Sync + 'static) -> Meddler {
    let changes = AtomicUsize::new(0);
    Meddler::new(Arc::new(Linux), move |call| match call {
        Call::Change if changes.fetch_add(1, Ordering::Relaxed) >= at => Fate::Fails(Errno::IO),
        call => but(call),
    })
}

/// All files have this owner and this mode, and neither can be set. Fails from the `at`th change on.
fn fixed(uid: u32, mode: u32, at: usize) -> Arc<dyn System> {
    let mut system = failing(at, |call| match call {
        Call::Owner | Call::Mode => Fate::Fails(Errno::PERM),
        _ => Fate::Made,
    });
    system.shows = Some((uid, mode));
    Arc::new(system)
}

fn contents(of: &std::path::Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    snapshot(of).into_iter().map(|(path, seen)| (path, seen.content)).collect()
}

#[test]
fn owners_and_modes_may_be_fixed() {
    let user = rustix::process::geteuid().as_raw();
    let case = everything();
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    for (uid, mode) in [(user, 0o777), (user, 0o755), (65_534, 0o700), (65_534, 0o777)] {
        let tree = case.copy_of_old();
        let data = || Source::Data(&case.data);
        let apply =
            |at| apply_on(fixed(uid, mode, at), &tree, (&case.diff).into(), data(), &options);
        let unkept = apply(usize::MAX).unwrap().unkept;
        assert!(unkept.modes.count > 0, "{unkept:?}");
        assert!(contents(&tree) == contents(&case.new), "{uid} {mode:o}");
        // What was begun there is known again, too, and finished or undone.
        let mut unfinished = 0;
        for at in (20..).step_by(4) {
            let tree = case.copy_of_old();
            let done = apply_on(fixed(uid, mode, at), &tree, (&case.diff).into(), data(), &options);
            let Err(begun) = done else { break };
            if tree.join(".ibtools-apply/journal").exists() {
                unfinished += 1;
                assert!(matches!(begun, Error::NotRolledBack { .. }), "{begun}");
                let aborted = abort_on(fixed(uid, mode, usize::MAX), &tree).unwrap();
                assert_eq!(aborted, Aborted::RolledBack);
            } else {
                recover_on(fixed(uid, mode, usize::MAX), &tree, false).unwrap();
            }
            let found = contents(&tree);
            let is_new = begun.to_string().starts_with("cannot remove the stage");
            let wanted = contents(if is_new { &case.new } else { &case.old });
            assert!(found == wanted, "{uid} {mode:o} {at}: {begun}");
        }
        assert!(unfinished > 3, "{unfinished}");
    }
}

fn edits() -> Case {
    Case::new(|dir| write(dir.join("a"), "a1"), |dir| write(dir.join("a"), "a2, longer"))
}

#[test]
fn what_others_put_at_the_place_of_the_stage_stops_nobody() {
    if !is_root() {
        println!("SKIPPED: only root can make what is somebody else's");
        return;
    }
    let case = edits();
    let wanted = contents(&case.new);
    for kind in ["file", "link", "directory", "journal", "open directory of root"] {
        let tree = case.copy_of_old();
        fs::set_permissions(&tree, Permissions::from_mode(0o1777)).unwrap();
        let stage = tree.join(".ibtools-apply");
        match kind {
            "file" => fs::write(&stage, "").unwrap(),
            "link" => symlink("/tmp", &stage).unwrap(),
            _ => fs::create_dir(&stage).unwrap(),
        }
        if kind == "journal" {
            fs::write(stage.join("journal"), "not a journal").unwrap();
        }
        match kind {
            "link" => {}
            "open directory of root" => {
                fs::set_permissions(&stage, Permissions::from_mode(0o777)).unwrap();
            }
            _ => chown(&stage, Some(1234), Some(1234)).unwrap(),
        }
        assert_eq!(apply_status(&tree).unwrap(), ApplyStatus::Clean, "{kind}");
        assert!(recover(&tree).unwrap().is_none(), "{kind}");
        apply_diff(&tree, &case.diff, &case.data).unwrap();
        assert!(stage.symlink_metadata().is_ok(), "{kind}: it is not ours to remove");
        assert!(!tree.join(".ibtools-apply.1").exists(), "{kind}");
        let found: Vec<_> = contents(&tree)
            .into_iter()
            .filter(|(path, _)| !path.starts_with(b".ibtools-apply"))
            .collect();
        assert_eq!(found, wanted, "{kind}");
    }
}

/// An apply that was interrupted beside somebody else's stage is found again.
#[test]
fn a_stage_by_another_name_is_found_again() {
    if !is_root() {
        println!("SKIPPED: only root can make what is somebody else's");
        return;
    }
    let case = edits();
    let tree = case.copy_of_old();
    fs::set_permissions(&tree, Permissions::from_mode(0o1777)).unwrap();
    for name in [".ibtools-apply", ".ibtools-apply.1"] {
        fs::create_dir(tree.join(name)).unwrap();
        chown(tree.join(name), Some(1234), Some(1234)).unwrap();
    }
    let journal = tree.join(".ibtools-apply.2/journal");
    let at = journal.clone();
    let system = Meddler::new(Arc::new(Linux), move |_| match at.exists() {
        true => Fate::Fails(Errno::IO),
        false => Fate::Made,
    });
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let system: Arc<dyn System> = Arc::new(system);
    apply_on(system, &tree, (&case.diff).into(), Source::Data(&case.data), &options).unwrap_err();
    assert!(journal.exists());
    assert!(matches!(apply_status(&tree).unwrap(), ApplyStatus::Unfinished { .. }));
    // No scan takes the tree for whole.
    let scan = dirindex::DirIndex::scan(&dirindex::Dir::new(&tree).unwrap());
    assert!(matches!(scan, Err(dirindex::Error::Unfinished { .. })));
    assert!(recover(&tree).unwrap().is_some());
    assert!(!journal.exists() && fs::read(tree.join("a")).unwrap() == b"a2, longer");
}

/// FAT numbers its files anew whenever it is mounted: an apply that was interrupted there is finished or undone all
/// the same.
#[test]
fn files_may_have_other_numbers_when_it_is_mounted_again() {
    let case = everything();
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let on = |from: u64, at: usize| -> Arc<dyn System> {
        let mut system = failing(at, |_| Fate::Made);
        system.numbers_from = Some(from);
        Arc::new(system)
    };
    let (before, after) = (snapshot(&case.old), snapshot(&case.new));
    let mut unfinished = 0;
    for at in 20.. {
        for aborts in [false, true] {
            let tree = case.copy_of_old();
            let data = Source::Data(&case.data);
            if apply_on(on(0, at), &tree, (&case.diff).into(), data, &options).is_ok() {
                assert!(unfinished > 20, "{unfinished}");
                return;
            }
            let journal = tree.join(".ibtools-apply/journal");
            if !journal.exists() {
                continue;
            }
            unfinished += 1;
            if aborts {
                assert_eq!(abort_on(on(1000, usize::MAX), &tree).unwrap(), Aborted::RolledBack);
            } else {
                // It was to be undone already, or not.
                recover_on(on(1000, usize::MAX), &tree, false).unwrap();
            }
            let found = snapshot(&tree);
            assert!(found == before || (!aborts && found == after), "{at}, {aborts}");
        }
    }
}

/// The owner of the tree has an apply to finish there.
#[test]
fn an_apply_of_the_owner_of_the_tree_is_left_to_them() {
    if !is_root() {
        println!("SKIPPED: only root can make what is somebody else's");
        return;
    }
    let case = edits();
    let tree = case.copy_of_old();
    write(tree.join(".ibtools-apply/journal"), "a journal");
    for path in [tree.clone(), tree.join(".ibtools-apply")] {
        chown(&path, Some(1234), Some(1234)).unwrap();
    }
    let error = apply_diff(&tree, &case.diff, &case.data).unwrap_err();
    assert!(matches!(error, Error::Journal { .. }), "{error}");
    assert_eq!(fs::read(tree.join("a")).unwrap(), b"a1");
    assert_eq!(tree.metadata().unwrap().uid(), 1234);
}
