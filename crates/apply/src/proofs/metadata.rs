//! A file system that does not take all metadata: the rest is restored, and what is missing is reported. At no moment
//! does anybody have more rights than at the end.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::meddler::{Call, Fate, Meddler};
use crate::apply::apply_on;
use crate::source::Source;
use crate::system::{Linux, System};
use crate::{Applied, Error, Result};
use crate::{ApplyOptions, ApplyStatus, apply_status};
use testing::{Case, attribute, snapshot, write};

/// Files and directories with attributes and modes, new ones and some that stay.
fn case() -> Case {
    Case::new(
        |dir| {
            write(dir.join("stays/file"), "as it is");
            fs::set_permissions(dir.join("stays/file"), Permissions::from_mode(0o640)).unwrap();
        },
        |dir| {
            write(dir.join("new/inner/file"), "new");
            for path in ["new", "new/inner", "new/inner/file", "stays", "stays/file"] {
                attribute(&dir.join(path), "x");
            }
            let mode = |path, mode| {
                fs::set_permissions(dir.join(path), Permissions::from_mode(mode)).unwrap();
            };
            mode("new/inner/file", 0o604);
            mode("stays/file", 0o600);
        },
    )
}

fn on(case: &Case, tree: &Path, fails: Call, errno: Errno, strict: bool) -> Result<Applied> {
    let fate = move |call| if call == fails { Fate::Fails(errno) } else { Fate::Made };
    let system: Arc<dyn System> = Arc::new(Meddler::new(Arc::new(Linux), fate));
    let options = ApplyOptions { strict, ..ApplyOptions::default() };
    apply_on(system, tree, (&case.diff).into(), Source::Data(&case.data), &options)
}

#[test]
fn what_is_not_taken_is_told_and_all_else_is_restored() {
    let case = case();
    let after = snapshot(&case.new);
    for errno in
        [Errno::NOTSUP, Errno::NOSPC, Errno::TOOBIG, Errno::PERM, Errno::INVAL, Errno::RANGE]
    {
        let tree = case.copy_of_old();
        let unkept = on(&case, &tree, Call::Attribute, errno, false).unwrap().unkept;
        assert_eq!(snapshot(&tree), after);
        let named = unkept.attributes.named.iter().map(|loss| loss.path.to_string());
        let all = ["new", "new/inner", "new/inner/file", "stays", "stays/file"];
        assert_eq!(named.collect::<Vec<_>>(), all);
        assert_eq!((unkept.count(), unkept.attributes.count), (5, 5));
        assert_eq!(apply_status(&tree).unwrap(), ApplyStatus::Clean);
    }
    for (call, times) in [(Call::Time, true), (Call::Mode, false)] {
        let tree = case.copy_of_old();
        let unkept = on(&case, &tree, call, Errno::PERM, false).unwrap().unkept;
        let (reported, not) = match times {
            true => (&unkept.times, &unkept.modes),
            false => (&unkept.modes, &unkept.times),
        };
        assert!(reported.count > 0 && not.count == 0, "{unkept:?}");
        assert_eq!(fs::read(tree.join("new/inner/file")).unwrap(), b"new");
    }
}

#[test]
fn a_disk_that_fails_is_no_file_system_that_does_not_take_it() {
    let case = case();
    let tree = case.copy_of_old();
    let failed = on(&case, &tree, Call::Attribute, Errno::IO, false);
    assert!(matches!(failed, Err(Error::Tree { .. })), "{failed:?}");
}

#[test]
fn who_wants_all_of_it_is_told_before_anything_is_changed() {
    let case = case();
    let before = snapshot(&case.old);
    for call in [Call::Attribute, Call::Time] {
        let tree = case.copy_of_old();
        let refused = on(&case, &tree, call, Errno::NOTSUP, true);
        let Err(Error::Unkept { unkept, .. }) = &refused else { panic!("{refused:?}") };
        assert!(unkept.count() >= 5, "{unkept:?}");
        assert_eq!(snapshot(&tree), before);
        assert_eq!(apply_status(&tree).unwrap(), ApplyStatus::Clean);
    }
}

/// The calls are watched while the tree is changed: a file that is closed at the end, and gets other
/// attributes, is closed for all the time between.
#[test]
fn nothing_is_open_for_a_moment_that_is_closed_before_or_after() {
    let case = case();
    let tree = case.copy_of_old();
    let (file, seen) = (tree.join("stays/file"), Arc::new(std::sync::Mutex::new(Vec::new())));
    let modes = Arc::clone(&seen);
    let fate = move |call| {
        if matches!(call, Call::Attribute | Call::Time | Call::Mode) {
            modes.lock().unwrap().push(fs::metadata(&file).unwrap().mode() & 0o7777);
        }
        Fate::Made
    };
    let system: Arc<dyn System> = Arc::new(Meddler::new(Arc::new(Linux), fate));
    let options = ApplyOptions::default();
    apply_on(system, &tree, (&case.diff).into(), Source::Data(&case.data), &options).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|mode| [0o640, 0o600].contains(mode)), "{seen:?}");
    assert!(seen.contains(&0o600));
}
