//! What applying does in each ordinary case, and what it refuses.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use apply::{
    Applied, ApplyOptions, ApplyStatus, Error, apply_diff, apply_status, apply_stream, apply_with,
    recover,
};
use archive::{ArchiveOptions, DiffData, DiffStream, Format};
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex};
use rsync_core::Progress;
use testing::{Case, assert_same, copy_tree, everything, is_root, noise, snapshot, write};

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Applies to `tree`, which must be refused and left as it is; gives the message.
fn refused(case: &Case, tree: &Path) -> String {
    let before = snapshot(tree);
    let error = apply_diff(tree, &case.diff, &case.data).unwrap_err();
    assert_eq!(snapshot(tree), before, "touched in spite of: {error}");
    error.to_string()
}

/// A little of everything.
fn sample(dir: &Path) {
    write(dir.join("same"), "same");
    write(dir.join("edited"), noise(1, 100_000));
    write(dir.join("gone"), "gone");
    write(dir.join("moved"), noise(2, 5000));
    write(dir.join("dir/inner/deep"), "deep");
    write(dir.join("dir/kept"), "kept");
    symlink("same", dir.join("link")).unwrap();
    fs::hard_link(dir.join("same"), dir.join("twin")).unwrap();
}

fn edit(dir: &Path) {
    let mut bytes = noise(1, 100_000);
    bytes.splice(50_000..50_010, *b"something else");
    write(dir.join("edited"), bytes);
    fs::remove_file(dir.join("gone")).unwrap();
    fs::rename(dir.join("moved"), dir.join("dir/moved to")).unwrap();
    fs::remove_dir_all(dir.join("dir/inner")).unwrap();
    write(dir.join("new/a/b/file"), "new");
    fs::create_dir(dir.join("new/empty")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    symlink("elsewhere", dir.join("link")).unwrap();
    chmod(dir.join("dir/kept"), 0o600);
}

#[test]
fn a_second_apply_does_nothing() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    let first = apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert!(first.created > 0 && first.updated > 0 && first.deleted > 0 && first.metadata > 0);
    assert_same(&copy, &case.new);
    let ctimes = || -> Vec<_> {
        let paths = snapshot(&copy).into_keys();
        let path = |p: Vec<u8>| copy.join(String::from_utf8(p).unwrap());
        paths
            .map(|p| path(p).symlink_metadata().unwrap())
            .map(|m| (m.ctime(), m.ctime_nsec()))
            .collect()
    };
    let before = ctimes();
    let second = apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(second.unchanged, case.diff.changes().len() as u64);
    assert_eq!((second.created, second.updated, second.deleted, second.metadata), (0, 0, 0, 0));
    assert_eq!(ctimes(), before, "not one metadata call");
    assert_eq!(apply_status(&copy).unwrap(), ApplyStatus::Clean);
}

#[test]
fn every_type_turns_into_every_other() {
    const KINDS: [&str; 4] = ["absent", "file", "dir", "link"];
    let make = |dir: &Path, kind: &str, which: &str| {
        let path = dir.join("x");
        match kind {
            "file" => write(path, format!("file, {which}")),
            "dir" => {
                write(path.join(format!("{which}/deep/file")), which);
                write(path.join("both"), which);
                fs::create_dir_all(path.join("empty")).unwrap();
            }
            "link" => symlink(format!("to {which}"), path).unwrap(),
            _ => {}
        }
    };
    for old in KINDS {
        for new in KINDS {
            let case = Case::new(
                |dir| make(dir, old, "old"),
                |dir| {
                    if dir.join("x").is_dir() {
                        fs::remove_dir_all(dir.join("x")).unwrap();
                    } else if dir.join("x").symlink_metadata().is_ok() {
                        fs::remove_file(dir.join("x")).unwrap();
                    }
                    make(dir, new, "new");
                },
            );
            let copy = case.copy_of_old();
            apply_diff(&copy, &case.diff, &case.data)
                .unwrap_or_else(|e| panic!("{old} to {new}: {e}"));
            assert_same(&copy, &case.new);
            apply_diff(&copy, &case.diff, &case.data).unwrap();
        }
    }
}

#[test]
fn moves_and_swaps_of_files_and_directories() {
    let swap = |dir: &Path, a: &str, b: &str| {
        fs::rename(dir.join(a), dir.join("aside")).unwrap();
        fs::rename(dir.join(b), dir.join(a)).unwrap();
        fs::rename(dir.join("aside"), dir.join(b)).unwrap();
    };
    let case = Case::new(
        |dir| {
            write(dir.join("a"), noise(1, 9000));
            write(dir.join("b"), noise(2, 9000));
            write(dir.join("d/one"), noise(3, 300));
            write(dir.join("e/one"), noise(4, 300));
            write(dir.join("e/two"), "two");
            write(dir.join("f"), "f");
            write(dir.join("g/h"), "h");
        },
        |dir| {
            swap(dir, "a", "b");
            swap(dir, "d", "e");
            swap(dir, "f", "g");
        },
    );
    let copy = case.copy_of_old();
    let applied = apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    assert!(applied.bytes > 18_000);
    assert!(fs::metadata(case.archive()).unwrap().len() < 6000, "moved bytes are not stored");
}

#[test]
fn hard_links_are_made_kept_and_parted() {
    let link = |dir: &Path, a: &str, b: &str| fs::hard_link(dir.join(a), dir.join(b)).unwrap();
    let case = Case::new(
        |dir| {
            for (name, seed) in [("a", 1), ("f", 2), ("k", 3), ("p", 4)] {
                write(dir.join(name), noise(seed, 2000));
            }
            link(dir, "a", "b");
            link(dir, "a", "c");
            link(dir, "f", "g");
            link(dir, "k", "l");
            link(dir, "k", "m");
        },
        |dir| {
            // Written through one of its names.
            write(dir.join("c"), noise(9, 2000));
            // Parted: the same bytes, two files.
            fs::remove_file(dir.join("g")).unwrap();
            fs::copy(dir.join("f"), dir.join("g")).unwrap();
            // The first name goes.
            fs::remove_file(dir.join("k")).unwrap();
            link(dir, "l", "n");
            fs::create_dir(dir.join("new")).unwrap();
            link(dir, "p", "new/p");
            write(dir.join("new/q"), "q");
            link(dir, "new/q", "r");
            chmod(dir.join("a"), 0o640);
        },
    );
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    apply_diff(&copy, &case.diff, &case.data).unwrap();
}

#[test]
fn a_link_from_outside_keeps_the_old_content() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    let outside = case.temp.path().join("outside");
    fs::hard_link(copy.join("edited"), &outside).unwrap();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(fs::read(outside).unwrap(), noise(1, 100_000));
    assert_same(&copy, &case.new);
}

#[test]
fn directories_closed_to_their_owner_do_not_stop_it() {
    let case = Case::new(
        |dir| {
            sample(dir);
            write(dir.join("closed/inner/file"), "old");
            write(dir.join("closed/other"), "old");
            chmod(dir.join("closed/inner"), 0o555);
            chmod(dir.join("closed"), 0o555);
        },
        |dir| {
            chmod(dir.join("closed"), 0o755);
            chmod(dir.join("closed/inner"), 0o755);
            let time = fs::metadata(dir.join("closed/inner")).unwrap().modified().unwrap();
            write(dir.join("closed/inner/file"), "new");
            write(dir.join("closed/another/file"), "new");
            chmod(dir.join("closed/another"), 0o555);
            fs::File::open(dir.join("closed/inner")).unwrap().set_modified(time).unwrap();
            chmod(dir.join("closed/inner"), 0o555);
            chmod(dir.join("closed"), 0o555);
        },
    );
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    for dir in [&case.old, &case.new, &copy] {
        for closed in ["closed", "closed/inner", "closed/another"] {
            if dir.join(closed).exists() {
                chmod(dir.join(closed), 0o755);
            }
        }
    }
}

#[test]
fn directories_that_the_diff_does_not_list_look_untouched() {
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let set = |path: &Path| fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
    let case = Case::new(
        |dir| {
            write(dir.join("dir/file"), "old");
            set(&dir.join("dir"));
        },
        |dir| {
            write(dir.join("dir/file"), "new");
            set(&dir.join("dir"));
        },
    );
    assert!(case.diff.changes().iter().all(|change| change.path.as_bytes() != b"dir"));
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
}

#[test]
fn holes_and_empty_files_come_back() {
    let case = Case::new(
        |_| {},
        |dir| {
            write(dir.join("empty"), "");
            write(
                dir.join("sparse"),
                [vec![1; 5], vec![0; 3 << 20], vec![2; 5], vec![0; 1 << 20]].concat(),
            );
            write(dir.join("zeros"), vec![0; 2 << 20]);
        },
    );
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
    assert!(fs::metadata(copy.join("zeros")).unwrap().blocks() < 64, "zeros take no space");
}

#[test]
fn paths_longer_than_the_kernel_takes_come_and_go() {
    let case = Case::new(
        |_| {},
        |dir| {
            let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            let mut at = rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).unwrap();
            for _ in 0..1000 {
                rustix::fs::mkdirat(&at, "inner", rustix::fs::Mode::RWXU).unwrap();
                at = rustix::fs::openat(&at, "inner", flags, rustix::fs::Mode::empty()).unwrap();
            }
            rustix::fs::symlinkat("the end", &at, "link").unwrap();
        },
    );
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(testing::index(&copy).tree_id(), case.new_index.tree_id());
    let back = DiffIndex::between(&case.new_index, &case.old_index);
    let archive = case.temp.path().join("back.tgz");
    let dir = Dir::new(&case.old).unwrap();
    let data = DiffData::create(&dir, &case.new_index, &back, archive).unwrap();
    apply_diff(&copy, &back, &data).unwrap();
    assert_same(&copy, &case.old);
}

#[test]
fn attributes_fifos_and_setuid_bits() {
    let attribute = |path: &Path, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, name, value, flags).is_ok()
    };
    let has_xattrs = std::cell::Cell::new(true);
    let case = Case::new(
        |dir| {
            write(dir.join("file"), "same bytes");
            write(dir.join("setuid"), "x");
            has_xattrs.set(attribute(&dir.join("file"), "user.old", b"1"));
        },
        |dir| {
            attribute(&dir.join("file"), "user.new", &[0, 255]);
            _ = rustix::fs::removexattr(dir.join("file"), "user.old");
            chmod(dir.join("file"), 0o444);
            chmod(dir.join("setuid"), 0o4755);
            Command::new("mkfifo").arg(dir.join("fifo")).status().unwrap();
        },
    );
    if !has_xattrs.get() {
        println!("PARTLY SKIPPED: no extended attributes on this file system");
    }
    let copy = case.copy_of_old();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    let mode = |name: &str| fs::metadata(copy.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("setuid"), 0o755, "not without being asked");
    let index = testing::index(&copy);
    let entry = |index: &DirIndex, name: &str| {
        index.entries().find(|entry| entry.path.as_bytes() == name.as_bytes()).unwrap().clone()
    };
    for name in ["file", "fifo"] {
        assert_eq!(entry(&index, name), entry(&case.new_index, name));
    }

    let copy = case.copy_of_old();
    let options = ApplyOptions { privileged: true, sync: false, ..ApplyOptions::default() };
    apply_with(&copy, &case.data, &options).unwrap();
    assert_same(&copy, &case.new);
    assert_eq!(testing::index(&copy).tree_id(), case.new_index.tree_id());
}

#[test]
fn devices_need_privilege() {
    if !is_root() {
        println!("SKIPPED: devices can be made by root only");
        return;
    }
    let case = Case::new(
        |_| {},
        |dir| {
            let null = Command::new("mknod").arg(dir.join("null")).args(["c", "1", "3"]).status();
            assert!(null.unwrap().success());
        },
    );
    let copy = case.copy_of_old();
    assert_eq!(refused(&case, &copy), "null is a character device, which takes `privileged`");
    let options = ApplyOptions { privileged: true, ..ApplyOptions::default() };
    apply_with(&copy, &case.data, &options).unwrap();
    assert_eq!(testing::index(&copy).tree_id(), case.new_index.tree_id());
}

#[test]
fn owners_are_set_when_asked() {
    if !is_root() {
        println!("SKIPPED: owners can be set by root only");
        return;
    }
    let case = Case::new(sample, |dir| {
        for name in ["edited", "dir", "link", "new"] {
            write(dir.join("new"), "new");
            std::os::unix::fs::lchown(dir.join(name), Some(1234), Some(4321)).unwrap();
        }
    });
    let copy = case.copy_of_old();
    let options = ApplyOptions { privileged: true, ..ApplyOptions::default() };
    apply_with(&copy, &case.data, &options).unwrap();
    assert_same(&copy, &case.new);
}

#[test]
fn a_wrong_base_is_named_and_nothing_is_touched() {
    let case = Case::new(sample, edit);
    let spoiled = |spoil: &dyn Fn(&Path)| {
        let copy = case.copy_of_old();
        spoil(&copy);
        refused(&case, &copy)
    };
    let message = spoiled(&|dir| write(dir.join("edited"), noise(7, 100_000)));
    assert!(message.starts_with("edited is not as the diff expects"), "{message}");
    assert!(message.ends_with("found 100000 other bytes"), "{message}");
    let message = spoiled(&|dir| write(dir.join("gone"), "no longer"));
    assert!(message.ends_with("found a file of 9 bytes"), "{message}");
    let message = spoiled(&|dir| fs::remove_file(dir.join("moved")).unwrap());
    assert!(message.starts_with("moved is not as the diff expects"), "{message}");
    let message = spoiled(&|dir| {
        fs::remove_file(dir.join("link")).unwrap();
        symlink("planted", dir.join("link")).unwrap();
    });
    assert!(
        message.ends_with("expected a symbolic link to same, found a link to elsewhere"),
        "{message}"
    );
    let message = spoiled(&|dir| write(dir.join("new"), "in the way"));
    assert!(
        message.ends_with(
            "new is not as the diff expects: expected nothing, found a file of 10 bytes"
        ),
        "{message}"
    );
    let message = spoiled(&|dir| write(dir.join("new/users own"), "in the way"));
    assert_eq!(message, "new/users own is in the way: the diff does not list it");
    let message = spoiled(&|dir| write(dir.join("dir/inner/users own"), "precious"));
    assert_eq!(message, "dir/inner/users own is in the way: the diff does not list it");
    let message = spoiled(&|dir| fs::remove_dir_all(dir.join("dir")).unwrap());
    assert_eq!(message, "dir is not as the diff expects: expected a directory, found nothing");
}

#[test]
fn links_planted_in_the_way_are_not_followed() {
    let case = Case::new(sample, |dir| {
        // `dir` itself is unchanged and so not in the diff.
        let time = fs::metadata(dir.join("dir")).unwrap().modified().unwrap();
        write(dir.join("dir/kept"), "other");
        fs::File::open(dir.join("dir")).unwrap().set_modified(time).unwrap();
    });
    let copy = case.copy_of_old();
    let outside = case.temp.path().join("outside");
    fs::rename(copy.join("dir"), &outside).unwrap();
    symlink(&outside, copy.join("dir")).unwrap();
    let before = snapshot(&outside);
    let message = refused(&case, &copy);
    assert_eq!(
        message,
        "dir is not as the diff expects: expected a directory, found a symbolic link"
    );
    assert_eq!(snapshot(&outside), before);
    // Nor is a link by the name of the stage. It stops nobody, and stays.
    let copy = case.copy_of_old();
    symlink(&outside, copy.join(".ibtools-apply")).unwrap();
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_eq!(snapshot(&outside), before);
    fs::remove_file(copy.join(".ibtools-apply")).unwrap();
    assert_same(&copy, &case.new);
}

#[test]
fn a_full_backup_takes_an_empty_directory() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, full) = (temp.path().join("tree"), temp.path().join("restored"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&full).unwrap();
    sample(&tree);
    let dir = Dir::new(&tree).unwrap();
    let (old, new) = (DirIndex::empty(), DirIndex::scan(&dir).unwrap());
    let diff = DiffIndex::between(&old, &new);
    let data = DiffData::create(&dir, &old, &diff, temp.path().join("full.tgz")).unwrap();
    write(full.join("mine"), "mine");
    let error = apply_diff(&full, &diff, &data).unwrap_err();
    assert_eq!(error.to_string(), "mine is in the way: the diff does not list it");
    fs::remove_file(full.join("mine")).unwrap();
    apply_diff(&full, &diff, &data).unwrap();
    assert_same(&full, &tree);
    let absent = apply_diff(temp.path().join("absent"), &diff, &data).unwrap_err();
    assert!(absent.to_string().starts_with("cannot open the directory "), "{absent}");
}

#[test]
fn the_diff_and_the_archive_belong_together() {
    let case = Case::new(sample, edit);
    let other = Case::new(sample, |dir| write(dir.join("other"), "other"));
    let copy = case.copy_of_old();
    let error = apply_diff(&copy, &case.diff, &other.data).unwrap_err();
    assert!(matches!(error, Error::OtherArchive), "{error}");
    assert_same(&copy, &case.old);
}

#[test]
fn one_apply_at_a_time() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    let held = fs::File::open(&copy).unwrap();
    held.lock().unwrap();
    let message = refused(&case, &copy);
    assert!(message.starts_with("another apply is at work in "), "{message}");
}

#[test]
fn cancelling_leaves_the_tree_as_it_was() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    let progress = Arc::new(Progress::default());
    progress.cancel();
    let options = ApplyOptions { progress: Some(progress), ..ApplyOptions::default() };
    let error = apply_with(&copy, &case.data, &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert_same(&copy, &case.old);
}

#[test]
fn what_an_interrupted_stage_left_goes() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    for _ in 0..2 {
        write(copy.join(".ibtools-apply/new/0/closed/file"), "half of it");
        write(copy.join(".ibtools-apply/journal.tmp"), "half of it");
        chmod(copy.join(".ibtools-apply/new/0/closed"), 0o500);
        chmod(copy.join(".ibtools-apply"), 0o700);
        assert_eq!(apply_status(&copy).unwrap(), ApplyStatus::Staged);
        assert_eq!(recover(&copy).unwrap(), None);
        assert_same(&copy, &case.old);
    }
    write(copy.join(".ibtools-apply/new/0/file"), "half of it");
    chmod(copy.join(".ibtools-apply"), 0o700);
    apply_diff(&copy, &case.diff, &case.data).unwrap();
    assert_same(&copy, &case.new);
}

#[test]
fn a_journal_of_no_sense_stops_everything() {
    let case = Case::new(sample, edit);
    let copy = case.copy_of_old();
    write(copy.join(".ibtools-apply/journal"), "nonsense");
    chmod(copy.join(".ibtools-apply"), 0o700);
    let message = refused(&case, &copy);
    assert!(message.starts_with("the journal in "), "{message}");
    assert!(apply_status(&copy).is_err() && recover(&copy).is_err());
    assert!(DirIndex::scan(&Dir::new(&copy).unwrap()).is_err(), "nor is the tree indexed");
}

/// An old tree of two files, one of which is edited.
fn two_files() -> Case {
    Case::new(
        |dir| {
            write(dir.join("edited"), noise(1, 20_000));
            write(dir.join("gone"), "gone");
        },
        |dir| {
            write(dir.join("edited"), [noise(1, 20_000), b"and more".to_vec()].concat());
            write(dir.join("new"), "brand new");
            fs::remove_file(dir.join("gone")).unwrap();
        },
    )
}

#[test]
fn every_damaged_byte_is_an_error_or_without_effect() {
    let case = two_files();
    let archive = fs::read(case.archive()).unwrap();
    let damaged = case.temp.path().join("damaged.tgz");
    let copy = case.copy_of_old();
    let before = snapshot(&copy);
    let mut refused = 0;
    for at in 0..archive.len() {
        let mut bytes = archive.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&damaged, bytes).unwrap();
        let Ok(data) = DiffData::open(&damaged) else {
            refused += 1;
            continue;
        };
        let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
        match apply_with(&copy, &data, &options) {
            Err(_) => {
                assert_eq!(snapshot(&copy), before, "byte {at}");
                refused += 1;
            }
            // A byte that is not read, such as one of PATHS.
            Ok(_) => {
                assert_same(&copy, &case.new);
                fs::remove_dir_all(&copy).unwrap();
                copy_tree(&case.old, &copy);
            }
        }
    }
    assert!(refused > archive.len() / 2, "{refused} of {}", archive.len());
}

/// A file is made as the same as another, wherever that is by then: staged, in place already, or there
/// with other metadata.
#[test]
fn what_is_the_same_as_another_new_file() {
    let same = noise(1, 300_000);
    let twins = ["a", "dir/b", "dir/c"];
    let make = |root: &Path| {
        twins.iter().for_each(|name| write(root.join(name), &same));
        chmod(root.join("a"), 0);
    };
    let case = Case::new(|_| {}, make);
    let stored = case.diff.changes().iter().filter(|change| change.stored_content().is_some());
    assert_eq!(stored.count(), 1);
    assert!(case.data.size() < 310_000);
    for there in [vec![], vec!["a"], vec!["dir/b"], vec!["a", "dir/c"], twins.to_vec()] {
        let tree = case.copy_of_old();
        there.iter().for_each(|name| write(tree.join(name), &same));
        let applied = apply_diff(&tree, &case.diff, &case.data).unwrap();
        assert_same(&tree, &case.new);
        assert_eq!(applied.bytes, same.len() as u64 * (3 - there.len() as u64), "{there:?}");
    }
}

/// Applies an archive that comes front to back.
fn apply_bytes(tree: &Path, archive: &[u8], options: &ApplyOptions) -> Result<Applied, Error> {
    apply_stream(tree, DiffStream::open(archive, "a stream")?, options)
}

#[test]
fn a_stream_does_what_a_file_does() {
    let same =
        |dir: &Path| ["x/a", "b"].iter().for_each(|to| write(dir.join(to), noise(3, 50_000)));
    let options = ApplyOptions { privileged: is_root(), ..ApplyOptions::default() };
    for case in
        [Case::new(sample, edit), Case::new(|_| {}, sample), Case::new(sample, same), everything()]
    {
        for format in [Format::Gzip, Format::Zstd] {
            let mut archive = Vec::new();
            let how = ArchiveOptions { format: Some(format), ..ArchiveOptions::default() };
            let dir = Dir::new(&case.new).unwrap();
            DiffData::write(&dir, &case.old_index, &case.diff, &mut archive, &how).unwrap();
            let (one, other) = (case.copy_of_old(), case.copy_of_old());
            let expected = apply_with(&one, &case.data, &options).unwrap();
            assert_eq!(apply_bytes(&other, &archive, &options).unwrap(), expected);
            assert_same(&other, &one);
            assert_same(&other, &case.new);

            // What is there already is looked at, and the archive too.
            let again = apply_bytes(&other, &archive, &options).unwrap();
            assert_eq!(again.unchanged, case.diff.changes().len() as u64);
            assert!(apply_bytes(&other, &archive[..archive.len() - 1], &options).is_err());
            assert_same(&other, &case.new);
        }
    }
}

#[test]
fn no_damaged_stream_touches_anything() {
    let case = two_files();
    let archive = fs::read(case.archive()).unwrap();
    let copy = case.copy_of_old();
    let before = snapshot(&copy);
    let options = ApplyOptions { sync: false, ..ApplyOptions::default() };
    let refuse = |bytes: &[u8], at: usize| {
        assert!(apply_bytes(&copy, bytes, &options).is_err(), "byte {at}");
        assert_eq!(snapshot(&copy), before, "byte {at}");
    };
    for at in 0..archive.len() {
        let mut flipped = archive.clone();
        flipped[at] ^= 1 << (at % 8);
        refuse(&flipped, at);
        refuse(&archive[..at], at);
    }
    refuse(&[&archive[..], b"more"].concat(), archive.len());
    apply_bytes(&copy, &archive, &options).unwrap();
    assert_same(&copy, &case.new);
}
