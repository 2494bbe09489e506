//! The verb `mount`: what is seen in the mounted directory is what a restore brings back, or an error.
#![cfg(all(feature = "mount", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{IBTOOLS, Place, Run, edit, noise, plant, run};
use testing::needs;

/// The store `store` mounted at `mnt`.
struct Mounted {
    child: Child,
    dir: PathBuf,
}

impl Mounted {
    /// `None`, said aloud, where that cannot be had.
    fn new(place: &Place) -> Option<Mounted> {
        if !needs::fuse() {
            return None;
        }
        let dir = place.path("mnt");
        fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new(IBTOOLS);
        command.args(["mount", "store", "mnt"]).current_dir(place.path(""));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut mounted = Mounted { child: command.spawn().unwrap(), dir };
        let child = &mut mounted.child;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            // A container may have the device, and not the right.
            assert!(said.contains("not permitted") || said.contains("denied"), "{said}");
            needs::impossible("a mount of one's own");
            return None;
        }
        assert_eq!(line, "store is mounted at mnt; Ctrl-C unmounts it\n");
        Some(mounted)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Sends a signal, and waits for the end. Gives what was said on standard error.
    fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        let killed = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }

    /// Unmounts, after which nothing is to have been said.
    fn end(self) {
        let dir = self.dir.clone();
        assert_eq!(self.end_by("-TERM"), (Some(0), String::new()));
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        drop(Command::new("fusermount3").arg("-uzq").arg(&self.dir).output());
    }
}

fn ids(place: &Place) -> Vec<String> {
    let list = place.ibtools("snapshots store --json").json();
    let ids = list["snapshots"].as_array().unwrap().iter();
    ids.map(|info| info["snapshot"].as_str().unwrap().to_owned()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Another program, run in the place; the arguments are separated by blanks.
fn other(place: &Place, program: &str, args: &str) -> Run {
    run(Command::new(program).args(args.split_whitespace()).current_dir(place.path("")))
}

/// Waits for what a cache of a second may hide.
fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it did not happen");
        std::thread::yield_now();
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..len].to_vec()
    };
    let mut found: Vec<_> = names.map(|name| (name.to_vec(), value(name))).collect();
    found.sort();
    found
}

/// Names, kinds, modes, owners, times, contents, targets, numbers of links, attributes; which names are one file.
#[test]
fn it_shows_what_a_restore_brings_back() {
    let place = Place::new();
    plant(&place);
    fs::create_dir_all(place.path("tree/deep/er/est")).unwrap();
    place.write("tree/deep/er/empty file", "");
    place.write("tree/large", noise(9 << 20, 7));
    testing::attribute(&place.path("tree/text"), "comment");
    testing::attribute(&place.path("tree/deep"), "of a directory");
    assert!(Command::new("mkfifo").arg(place.path("tree/fifo")).status().unwrap().success());
    if testing::is_root() {
        let mut mknod = Command::new("mknod");
        mknod.arg(place.path("tree/device")).args(["c", "259", "70000"]);
        if !mknod.output().unwrap().status.success() {
            needs::impossible("a device of one's own");
        }
        std::os::unix::fs::chown(place.path("tree/text"), Some(1234), Some(5678)).unwrap();
    }
    let mut touch = Command::new("touch");
    touch.args(["-d", "1960-05-06 07:08:09.123456789Z"]);
    let touch = touch.arg(place.path("tree/deep/er/empty file")).status();
    assert!(touch.unwrap().success());
    fs::set_permissions(place.path("tree/deep/er"), Permissions::from_mode(0o2750)).unwrap();
    place.ibtools("backup --init tree store").good();
    edit(&place);
    let mut large = noise(9 << 20, 7);
    large.splice(5_000_000..5_000_000, *b"inserted");
    place.write("tree/large", large);
    place.ibtools("backup tree store").good();
    let Some(mounted) = Mounted::new(&place) else { return };

    let ids = ids(&place);
    assert_eq!(names(&mounted.dir), [&ids[..], &["latest".to_owned()]].concat());
    assert_eq!(fs::read_link(mounted.path("latest")).unwrap(), Path::new(&ids[1]));
    for id in &ids {
        let privileged = if testing::is_root() { " --privileged" } else { "" };
        place.ibtools(&format!("restore store back-{id} --at {id}{privileged}")).good();
        let (seen, restored) = (mounted.path(id), place.path(&format!("back-{id}")));
        let all = common::snapshot(&restored);
        assert!(all.len() > 10);
        assert!(common::snapshot(&seen) == all, "{id}");
        for path in all.keys() {
            let [one, other] = [&seen, &restored].map(|root| root.join(path));
            let [meta, expected] = [&one, &other].map(|path| path.symlink_metadata().unwrap());
            let of = |meta: &fs::Metadata| (meta.uid(), meta.gid(), meta.rdev());
            assert_eq!(of(&meta), of(&expected), "{path:?}");
            assert_eq!(xattrs(&one), xattrs(&other), "{path:?}");
            if meta.is_dir() {
                let dirs = fs::read_dir(&one).unwrap().map(|entry| entry.unwrap());
                let dirs = dirs.filter(|entry| entry.file_type().unwrap().is_dir()).count();
                assert_eq!(meta.nlink(), 2 + dirs as u64, "{path:?}");
            } else if !meta.is_symlink() {
                assert_eq!(meta.len(), expected.len());
            }
        }
        let inode = |name: &str| seen.join(name).metadata().unwrap().ino();
        assert_eq!(inode("text"), inode("text-again"));
        assert_ne!(inode("text"), inode("large"));
        assert!(seen.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    }
    // As the tools see it.
    let id = &ids[1];
    other(&place, "cp", &format!("-a mnt/{id} copy")).good();
    assert!(common::snapshot(&place.path("copy")) == place.snapshot("tree"));
    let piped = "mkdir out && tar -C mnt/latest/ --format=posix -cf - . | tar -C out -xpf - --warning=no-timestamp";
    run(Command::new("sh").args(["-c", piped]).current_dir(place.path(""))).good();
    assert!(common::snapshot(&place.path("out")) == place.snapshot("tree"));
    let grep = other(&place, "grep", "-rl --devices=skip this.file.will.move mnt/latest/");
    assert_eq!(grep.out, "mnt/latest/moved\n");

    let written = fs::write(mounted.path("latest/text"), "other");
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let made = fs::create_dir(mounted.path("new"));
    assert_eq!(made.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    let none = fs::read(mounted.path("20200101T000000Z/text"));
    assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
    mounted.end();
}

#[test]
fn many_read_at_once() {
    let place = Place::new();
    for number in 0..300 {
        place
            .write(&format!("tree/{}/{number}", number % 7), noise(20_000 + number, number as u64));
    }
    place.write("tree/large", noise(12 << 20, 1));
    place.ibtools("backup --init tree store").good();
    place.write("tree/large", [noise(12 << 20, 1), b"and more".to_vec()].concat());
    place.ibtools("backup tree store").good();
    let Some(mounted) = Mounted::new(&place) else { return };
    let ids = ids(&place);
    let large = fs::read(place.path("tree/large")).unwrap();
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let (mounted, place, ids, large) = (&mounted, &place, &ids, &large);
            scope.spawn(move || {
                for step in 0..300 {
                    // A step that has no factor in common with 300: each in an order of its own.
                    let number = step * [1, 7, 11, 13, 299, 17][reader] % 300;
                    let name = format!("{}/{number}", number % 7);
                    let seen = mounted.path(&ids[step % 2]);
                    let expected = fs::read(place.path("tree").join(&name)).unwrap();
                    assert!(fs::read(seen.join(&name)).unwrap() == expected, "{name}");
                    let mut bytes = vec![0; 5000];
                    let at = number * 40_000;
                    let file = File::open(seen.join("large")).unwrap();
                    file.read_exact_at(&mut bytes, at as u64).unwrap();
                    assert!(bytes == large[at..at + 5000], "{at}");
                }
            });
        }
    });
    mounted.end();
}

/// Wrong bytes are never given as right: what is damaged is an I/O error, and nothing else is.
#[test]
fn damage_is_an_error_of_the_files_it_is_in() {
    let place = Place::new();
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        place.write(&format!("tree/{name}"), noise(3 << 20, seed));
    }
    place.ibtools("backup --init tree store").good();
    let Some(mounted) = Mounted::new(&place) else { return };
    let archive = place.path("store").join(format!("{}-full.tgz", ids(&place)[0]));
    let file = File::options().read(true).write(true).open(archive).unwrap();
    let mut byte = [0];
    // In the middle of `b`.
    file.read_exact_at(&mut byte, 4_700_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 4_700_000).unwrap();
    let bad = fs::read(mounted.path("latest/b")).unwrap_err();
    assert_eq!(bad.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    for good in ["a", "c"] {
        let expected = fs::read(place.path("tree").join(good)).unwrap();
        assert!(fs::read(mounted.path("latest").join(good)).unwrap() == expected, "{good}");
    }
    assert!(fs::read(mounted.path("latest/b")).is_err());
    let (code, said) = mounted.end_by("-INT");
    // Said once, however often it is read.
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.contains("warning: cannot read ") && said.contains("at byte"), "{said}");
}

#[test]
fn snapshots_come_and_go_while_it_is_mounted() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store").good();
    let Some(mounted) = Mounted::new(&place) else { return };
    let first = ids(&place).remove(0);
    assert_eq!(fs::read(mounted.path("latest/text")).unwrap(), b"contents1");
    edit(&place);
    place.write("tree/text", "contents2");
    place.ibtools("backup tree store").good();
    let second = ids(&place).remove(1);
    until(|| names(&mounted.dir).contains(&second));
    until(|| fs::read_link(mounted.path("latest")).unwrap() == Path::new(&second));
    assert_eq!(fs::read(mounted.path("latest/text")).unwrap(), b"contents2");
    assert_eq!(fs::read(mounted.path(&first).join("text")).unwrap(), b"contents1");
    // Both trees are open. The archives of the second one are put together, and the first one goes.
    place.ibtools("prune store --keep-last 1").good();
    until(|| names(&mounted.dir) == [second.clone(), "latest".to_owned()]);
    assert!(common::snapshot(&mounted.path(&second)) == place.snapshot("tree"));
    until(|| mounted.path(&first).metadata().is_err());
    let gone = fs::read(mounted.path(&first).join("dir/large")).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    mounted.end();
}

#[test]
fn it_ends_cleanly_and_what_it_leaves_killed_can_be_freed() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store").good();
    let Some(mounted) = Mounted::new(&place) else { return };
    // Somebody is in it.
    let open = File::open(mounted.path("latest/dir")).unwrap();
    let (code, said) = mounted.end_by("-INT");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("mnt is in use"), "{said}");
    drop(open);
    assert_eq!(fs::read_dir(place.path("mnt")).unwrap().count(), 0);

    // Unmounted by another, it ends.
    let mut mounted = Mounted::new(&place).unwrap();
    other(&place, "fusermount3", "-u mnt").good();
    assert!(mounted.child.wait().unwrap().success());

    let mut killed = Mounted::new(&place).unwrap();
    let dir = killed.dir.clone();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(fs::read_dir(&dir).is_err());
    place.ibtools("mount store mnt").bad(&["fusermount3 -u mnt"]);
    other(&place, "fusermount3", "-u mnt").good();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    Mounted::new(&place).unwrap().end();
}

#[test]
fn it_mounts_an_existing_store_over_an_empty_directory_alone() {
    let place = Place::new();
    plant(&place);
    place.ibtools("backup --init tree store").good();
    fs::create_dir(place.path("mnt")).unwrap();
    place.ibtools("mount store tree").bad(&["tree", "not empty", "empty directory"]);
    place.ibtools("mount store none").bad(&["none", "No such file"]);
    place.ibtools("mount store tree/text").bad(&["Not a directory"]);
    place.ibtools("mount none mnt").bad(&["no store at none"]);
    place.ibtools("mount tree mnt").bad(&["no store at tree"]);
    // Somebody without rights, where /dev/fuse is root's alone, gets to know what he lacks.
    let Some(mut command) = common::unprivileged(&place) else { return };
    let is_others = fs::metadata("/dev/fuse").is_ok_and(|it| it.mode() & 0o006 == 0o006);
    if testing::is_root() && !is_others {
        other(&place, "chmod", "-R a+rX store mnt").good();
        run(command.args(["mount", "store", "mnt"])).bad(&["cannot mount at mnt"]);
    }
}
