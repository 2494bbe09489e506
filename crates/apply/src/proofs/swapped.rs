//! Somebody who may rename in a directory of the tree puts another file where metadata is to be set, at any call.
//! No file but the tree's gets the rights that the tree's are to have.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::meddler::{Fate, Meddler};
use crate::apply::apply_on;
use crate::source::Source;
use crate::system::{Linux, System};
use crate::{ApplyOptions, abort, recover};
use testing::{Case, write};

/// A file and directories of which metadata is set: changed, kept as it was, new, and moved.
fn case() -> Case {
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    Case::new(
        |dir| {
            write(dir.join("dir/file"), "file");
            write(dir.join("changed/file"), "file");
            write(dir.join("kept/gone"), "gone");
            write(dir.join("from/moved/file"), "moved as a whole");
            ["kept", "from/moved"].iter().for_each(|name| open(&dir.join(name)));
        },
        |dir| {
            fs::remove_file(dir.join("kept/gone")).unwrap();
            write(dir.join("new/file"), "new");
            fs::rename(dir.join("from/moved"), dir.join("moved")).unwrap();
            fs::remove_dir(dir.join("from")).unwrap();
            ["dir/file", "changed", "new"].iter().for_each(|name| open(&dir.join(name)));
        },
    )
}

/// Whatever has it may be read by its owner alone.
fn secret(path: &Path, is_dir: bool) {
    match is_dir {
        true => fs::create_dir(path).unwrap(),
        false => fs::write(path, "file").unwrap(),
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
}

fn is_open(path: &Path) -> bool {
    path.metadata().unwrap().mode() & 0o077 != 0
}

/// Puts `secret` at `path` and what was there beside it, if there is something.
fn swap(path: &Path, secret: &Path, beside: &Path) -> bool {
    path.exists() && fs::rename(path, beside).and_then(|()| fs::rename(secret, path)).is_ok()
}

/// Swaps at the `at`th call. Gives whether there was such a call, and whether anything was swapped.
fn attack(case: &Case, name: &str, at: usize, fails_after: bool) -> (bool, bool) {
    let tree = case.copy_of_old();
    let (outside, path) = (case.temp.path().join("secret"), tree.join(name));
    let beside = case.temp.path().join("beside");
    secret(&outside, name != "dir/file");
    let inode = outside.metadata().unwrap().ino();
    let (calls, swapped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, hit) = (Arc::clone(&calls), Arc::clone(&swapped));
    let (place, from, to) = (path.clone(), outside.clone(), beside.clone());
    let stage = tree.join(".ibtools-apply/new");
    let system = Meddler::new(Arc::new(Linux), move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        // Before that, what stands there is what the tree has.
        let checked = stage.exists();
        if number >= at && checked && hit.load(Ordering::Relaxed) == 0 && swap(&place, &from, &to) {
            hit.store(1, Ordering::Relaxed);
        }
        // As when the process is killed.
        if fails_after && number > at { Fate::Fails(rustix::io::Errno::IO) } else { Fate::Made }
    });
    let system: Arc<dyn System> = Arc::new(system);
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    drop(apply_on(system, &tree, (&case.diff).into(), Source::Data(&case.data), &options));
    if fails_after {
        drop(recover(&tree));
        drop(abort(&tree));
    }
    let everywhere = [&tree, &case.temp.path().to_path_buf()];
    let found: Vec<PathBuf> = everywhere.into_iter().flat_map(|dir| below(dir)).collect();
    let secret = found.iter().find(|path| path.metadata().is_ok_and(|meta| meta.ino() == inode));
    let secret = secret.expect("it is lost");
    assert!(!is_open(secret), "call {at}: {name} was opened at {}", secret.display());
    for path in [tree, outside, beside] {
        drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
    }
    (calls.load(Ordering::Relaxed) > at, swapped.load(Ordering::Relaxed) > 0)
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn rights_are_given_to_nothing_that_was_put_there_meanwhile() {
    let case = case();
    for fails_after in [false, true] {
        for name in ["dir/file", "changed", "kept", "new", "moved"] {
            let (mut at, mut swaps) = (0, 0);
            loop {
                let (called, swapped) = attack(&case, name, at, fails_after);
                swaps += usize::from(swapped);
                at += if fails_after { 4 } else { 1 };
                if !called {
                    break;
                }
            }
            assert!(swaps > 9, "{name}: swapped {swaps} times in {at} calls");
        }
    }
}
