//! Small trees and what becomes of them: one kind of change each, and one of everything.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use testing::{Case, attribute, everything, noise, remove, write};

use crate::apply::apply_on;
use crate::error::Result;
use crate::source::Source;
use crate::system::System;
use crate::{Applied, ApplyOptions};

/// A name, and what makes the case.
pub(super) type Named = (&'static str, fn() -> Case);

pub(super) fn all() -> Vec<Named> {
    vec![
        ("full", || {
            Case::new(
                |_| {},
                |dir| {
                    write(dir.join("a"), "a");
                    write(dir.join("dir/b"), noise(1, 1500));
                },
            )
        }),
        ("created", || Case::new(|_| {}, |dir| write(dir.join("a"), "a"))),
        ("deleted", || Case::new(|dir| write(dir.join("a"), "a"), |dir| remove(&dir.join("a")))),
        ("rewritten", || {
            Case::new(|dir| write(dir.join("a"), "old"), |dir| write(dir.join("a"), "newer"))
        }),
        ("patched", || {
            let edited = [noise(2, 8000), b"more".to_vec()].concat();
            Case::new(
                |dir| write(dir.join("a"), noise(2, 8000)),
                move |dir| write(dir.join("a"), edited),
            )
        }),
        ("moved", || {
            Case::new(
                |dir| write(dir.join("from/a"), noise(3, 700)),
                |dir| fs::rename(dir.join("from/a"), dir.join("b")).unwrap(),
            )
        }),
        ("moved directory", || {
            Case::new(
                |dir| write(dir.join("from/a"), noise(3, 700)),
                |dir| fs::rename(dir.join("from"), dir.join("to")).unwrap(),
            )
        }),
        ("directory moved as a whole", || {
            Case::new(
                |dir| fill(&dir.join("from")),
                |dir| fs::rename(dir.join("from"), dir.join("to")).unwrap(),
            )
        }),
        ("directory moved as a whole out of one that goes", || {
            Case::new(
                |dir| {
                    fill(&dir.join("gone/from"));
                    write(dir.join("gone/other"), noise(8, 700));
                    fs::hard_link(dir.join("gone/from/03"), dir.join("link")).unwrap();
                },
                |dir| {
                    fs::create_dir_all(dir.join("new/deep")).unwrap();
                    fs::rename(dir.join("gone/from"), dir.join("new/deep/to")).unwrap();
                    remove(&dir.join("gone"));
                    symlink("new", dir.join("gone")).unwrap();
                    write(dir.join("new/copy"), noise(5, 700));
                    write(dir.join("new/deep/edited"), [noise(9, 6000), b"x".to_vec()].concat());
                    let closed = Permissions::from_mode(0o555);
                    fs::set_permissions(dir.join("new/deep"), closed).unwrap();
                },
            )
        }),
        ("swapped", || {
            Case::new(
                |dir| {
                    write(dir.join("a"), noise(4, 300));
                    write(dir.join("b"), noise(5, 300));
                },
                |dir| {
                    fs::rename(dir.join("a"), dir.join("c")).unwrap();
                    fs::rename(dir.join("b"), dir.join("a")).unwrap();
                    fs::rename(dir.join("c"), dir.join("b")).unwrap();
                },
            )
        }),
        ("file to directory", || {
            Case::new(
                |dir| write(dir.join("a"), "file"),
                |dir| {
                    remove(&dir.join("a"));
                    write(dir.join("a/inside"), "inside");
                },
            )
        }),
        ("directory to file", || {
            Case::new(
                |dir| write(dir.join("a/inside/deep"), "deep"),
                |dir| {
                    remove(&dir.join("a"));
                    write(dir.join("a"), "file");
                },
            )
        }),
        ("link to file and back", || {
            Case::new(
                |dir| {
                    symlink("nowhere", dir.join("a")).unwrap();
                    write(dir.join("b"), "file");
                },
                |dir| {
                    remove(&dir.join("a"));
                    write(dir.join("a"), "file");
                    remove(&dir.join("b"));
                    symlink("a", dir.join("b")).unwrap();
                },
            )
        }),
        ("hard links", || {
            Case::new(
                |dir| {
                    write(dir.join("a"), "one");
                    fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
                    write(dir.join("c"), "three");
                },
                |dir| {
                    write(dir.join("a"), "both change");
                    fs::hard_link(dir.join("c"), dir.join("d")).unwrap();
                },
            )
        }),
        ("hard links part", || {
            Case::new(
                |dir| {
                    write(dir.join("a"), "one");
                    fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
                },
                |dir| {
                    remove(&dir.join("b"));
                    write(dir.join("b"), "its own");
                },
            )
        }),
        ("metadata", || {
            Case::new(
                |dir| {
                    write(dir.join("dir/a"), "a");
                    attribute(&dir.join("dir/a"), "gone");
                },
                |dir| {
                    let closed = |mode| Permissions::from_mode(mode);
                    fs::set_permissions(dir.join("dir/a"), closed(0o600)).unwrap();
                    // Not every file system has attributes.
                    _ = rustix::fs::removexattr(dir.join("dir/a"), "user.gone");
                    attribute(&dir.join("dir/a"), "new");
                    fs::set_permissions(dir.join("dir"), closed(0o750)).unwrap();
                },
            )
        }),
        ("the same twice", || {
            Case::new(
                |dir| write(dir.join("z"), noise(6, 9000)),
                |dir| {
                    write(dir.join("a"), noise(7, 600));
                    write(dir.join("dir/b"), noise(7, 600));
                    // As a delta against what the second of them was.
                    let edited = [noise(6, 9000), b"more".to_vec()].concat();
                    write(dir.join("dir/y"), &edited);
                    write(dir.join("z"), edited);
                    // Whoever may not read it can restore it all the same.
                    let closed = Permissions::from_mode(0o000);
                    fs::set_permissions(dir.join("a"), closed).unwrap();
                },
            )
        }),
        ("one of everything", everything),
    ]
}

/// Puts 18 paths into a new directory.
/// A tree that comes as a whole: so much that its changes are looked at in several goes.
pub(super) fn whole() -> Case {
    let make = |dir: &Path| {
        for number in 0..300 {
            let path = dir.join(format!("{}/{}/{number}", number % 3, number % 17));
            // Some have the content of others.
            write(&path, format!("content {}", number % 250));
            if number % 50 == 0 {
                fs::hard_link(&path, path.with_extension("link")).unwrap();
                symlink("elsewhere", path.with_extension("symlink")).unwrap();
            }
            if number % 40 == 0 {
                fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
            }
        }
        fs::create_dir(dir.join("empty")).unwrap();
        fs::set_permissions(dir.join("1/2"), Permissions::from_mode(0o500)).unwrap();
        write(dir.join("last"), "");
    };
    Case::new(|_| {}, make)
}

/// Applies the archive of `case`. Where it is a full one, its list of changes is read from it whenever it is needed.
pub(super) fn apply(
    system: Arc<dyn System>,
    tree: &Path,
    case: &Case,
    options: &ApplyOptions,
) -> Result<Applied> {
    if !case.diff.is_full() {
        return apply_on(system, tree, (&case.diff).into(), Source::Data(&case.data), options);
    }
    let snapshot = archive::Snapshot::open(case.data.archives())?;
    let stored = snapshot.full()?.to_stored()?;
    stored.let_go();
    apply_on(system, tree, stored.into(), Source::Snapshot(&snapshot), options)
}

fn fill(dir: &Path) {
    for number in 0..14 {
        write(dir.join(format!("{number:02}")), noise(number, 30));
    }
    write(dir.join("05"), noise(5, 700));
    write(dir.join("inner/a"), noise(9, 6000));
    fs::hard_link(dir.join("04"), dir.join("inner/b")).unwrap();
    symlink("a", dir.join("inner/c")).unwrap();
}
