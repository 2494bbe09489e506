//! A tree is recovered with nothing but tar, rdiff and a POSIX shell. It needs a script that is not in the package.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml exempts test functions, not the helpers of tests"
)]

#[allow(dead_code, reason = "the suite uses the rest")]
#[path = "suite/common.rs"]
mod common;

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use archive::{DiffData, Format};
use diffindex::{Content, DiffIndex};
use dirindex::{Dir, DirIndex, RelPath};

use common::{Trees, agree, cat, fifo, noise, peer, text, write};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recover.sh");

/// A name with everything that a shell, or a line of PATHS, could trip over.
fn odd() -> &'static Path {
    Path::new(std::ffi::OsStr::from_bytes(b"- $(x) `y` \t'\"\\0101 *\xff\xc3\xa9 \n\n"))
}

fn build(root: &Path) {
    write(root, "edited", &text(1, 400));
    write(root, odd(), &noise(1, 6000));
    write(root, "swap a", &noise(2, 3000));
    write(root, "swap b", &noise(3, 3000));
    write(root, "dir/deep/gone", b"gone");
    write(root, "file to dir", b"file");
    write(root, "dir to file/inner/x", b"x");
    write(root, "link to file target", b"target");
    symlink("link to file target", root.join("link to file")).unwrap();
    write(root, "file to link", b"file");
    write(root, "linked", &text(2, 300));
    fs::hard_link(root.join("linked"), root.join("linked 2")).unwrap();
    write(root, "empty 1", b"");
    fs::hard_link(root.join("empty 1"), root.join("empty 2")).unwrap();
    write(root, "mode only", b"mode only");
    write(root, "time only", b"time only");
    write(root, "same", b"same");
}

fn edit(root: &Path) {
    write(root, "edited", &[&text(1, 400)[..3000], b"!", &text(1, 400)[3000..]].concat());
    write(root, odd(), &[&noise(1, 6000)[..], b"more"].concat());
    // Stored for the first of them: whole, and as a delta.
    for (number, name) in ["twin", "zwin", "-twin dir/twin\\0101"].into_iter().enumerate() {
        write(root, name, &noise(9, 4000));
        write(root, Path::new(name).with_extension("edited"), &text(1, 401));
        let mode = Permissions::from_mode(0o400 + number as u32);
        fs::set_permissions(root.join(name), mode).unwrap();
    }
    fs::create_dir(root.join(odd().with_extension("dir"))).unwrap();
    fs::rename(root.join("swap a"), root.join("tmp")).unwrap();
    fs::rename(root.join("swap b"), root.join("swap a")).unwrap();
    fs::rename(root.join("tmp"), root.join("swap b")).unwrap();
    fs::remove_dir_all(root.join("dir/deep")).unwrap();
    fs::remove_file(root.join("file to dir")).unwrap();
    write(root, "file to dir/inner/y", b"y");
    fs::remove_dir_all(root.join("dir to file")).unwrap();
    write(root, "dir to file", b"now a file");
    fs::remove_file(root.join("link to file")).unwrap();
    write(root, "link to file", b"not through the link");
    fs::remove_file(root.join("file to link")).unwrap();
    symlink(odd(), root.join("file to link")).unwrap();
    symlink("-", root.join("-")).unwrap();
    write(root, "linked", &text(3, 300));
    fs::remove_file(root.join("empty 1")).unwrap();
    write(root, "empty 1", b"");
    fs::hard_link(root.join("edited"), root.join("edited 2")).unwrap();
    fifo(&root.join("fifo"));
    fs::set_permissions(root.join("mode only"), Permissions::from_mode(0o4751)).unwrap();
    let early = UNIX_EPOCH - Duration::from_millis(750);
    let file = File::options().write(true).open(root.join("time only")).unwrap();
    file.set_times(FileTimes::new().set_modified(early)).unwrap();
    fs::create_dir_all(root.join("empty/dirs")).unwrap();
    write(root, "read-only/file", b"in a read-only directory");
    fs::set_permissions(root.join("read-only/file"), Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(root.join("read-only"), Permissions::from_mode(0o555)).unwrap();
}

fn missing(program: &str) -> bool {
    peer(program, &["--version"]).is_none()
}

fn recover(archive: &Path, tree: &Path) {
    let args = [SCRIPT, archive.to_str().unwrap(), tree.to_str().unwrap()];
    agree("sh", &args).unwrap();
}

#[test]
fn an_incremental_and_a_full_backup_are_recovered_without_this_program() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let trees = Trees::new(build, edit);
    let scan = |path: &Path| DirIndex::scan(&Dir::new(path).unwrap()).unwrap();
    let empty = DirIndex::empty();
    let full = DiffIndex::between(&empty, &trees.new);
    for name in ["diff.tgz", "diff.tar.zst"] {
        let path = trees.path(name);
        DiffData::create(&trees.dir(), &trees.old, &trees.diff, &path).unwrap();
        // From a copy of the old tree.
        let copy = trees.path(&format!("{name}.copy"));
        agree("cp", &["-a", trees.old_path().to_str().unwrap(), copy.to_str().unwrap()]);
        assert_eq!(scan(&copy), trees.old);
        recover(&path, &copy);
        differences(&scan(&copy), &trees.new);
        // From nothing.
        let path = trees.path(&format!("full.{name}"));
        DiffData::create(&trees.dir(), &empty, &full, &path).unwrap();
        let restored = trees.path(&format!("{name}.full"));
        fs::create_dir(&restored).unwrap();
        recover(&path, &restored);
        differences(&scan(&restored), &trees.new);
    }
    // So that the temporary directory can be removed.
    for name in ["new", "diff.tgz.copy", "diff.tgz.full", "diff.tar.zst.copy", "diff.tar.zst.full"]
    {
        let dir = trees.path(name).join("read-only");
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
}

/// Directories of 20 files or more.
fn build_dirs(root: &Path) {
    for n in 0..20 {
        write(root, format!("moves/{n}"), format!("moves {n}").as_bytes());
        write(root, format!("a/inner/deep/{n}"), format!("deep {n}").as_bytes());
        write(root, format!("b/dir/{n}"), format!("dir {n}").as_bytes());
        write(root, odd().join(n.to_string()), format!("odd {n}").as_bytes());
    }
    write(root, "a/inner/goes", b"goes");
    write(root, "moves/base", &text(7, 300));
    write(root, "moves/sub/base", &text(8, 300));
    fs::hard_link(root.join("moves/3"), root.join("moves/sub/3 too")).unwrap();
    fs::hard_link(root.join("moves/4"), root.join("z link from outside")).unwrap();
    symlink("base", root.join("moves/link")).unwrap();
    fifo(&root.join("moves/fifo"));
    write(root, "moves/read-only/inner/file", b"file");
    let closed = Permissions::from_mode(0o555);
    fs::set_permissions(root.join("moves/read-only"), closed.clone()).unwrap();
    fs::set_permissions(root.join("b/dir"), closed).unwrap();
}

/// They move with all that is in them.
fn move_dirs(root: &Path) {
    let rename = |from: &Path, to: &str| fs::rename(root.join(from), root.join(to)).unwrap();
    // One whose files others are made of and linked to; a symbolic link stands where it was.
    rename(Path::new("moves"), "moved");
    symlink("moved", root.join("moves")).unwrap();
    write(root, "a delta", &[&text(7, 300), b"more".as_slice()].concat());
    write(root, "copy", &text(8, 300));
    fs::hard_link(root.join("moved/5"), root.join("other link")).unwrap();
    // Out of directories that go, into one that comes; where it was in is a file.
    fs::create_dir_all(root.join("here/there")).unwrap();
    rename(Path::new("a/inner/deep"), "here/there/deep");
    fs::remove_dir_all(root.join("a")).unwrap();
    write(root, "a", b"a file");
    // With other metadata of its own.
    fs::set_permissions(root.join("b/dir"), Permissions::from_mode(0o755)).unwrap();
    rename(Path::new("b/dir"), "here/dir");
    fs::set_permissions(root.join("here/dir"), Permissions::from_mode(0o500)).unwrap();
    rename(odd(), "- odd no more");
}

#[test]
fn directories_that_moved_as_a_whole_are_recovered() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let (old, new) = (tmp.path().join("old"), tmp.path().join("new"));
    fs::create_dir(&old).unwrap();
    build_dirs(&old);
    agree("cp", &["-a", old.to_str().unwrap(), new.to_str().unwrap()]);
    move_dirs(&new);
    let dir = Dir::new(&new).unwrap();
    let (before, after) =
        (DirIndex::scan(&Dir::new(&old).unwrap()).unwrap(), DirIndex::scan(&dir).unwrap());
    let diff = DiffIndex::between(&before, &after);
    let ends: Vec<String> = diff.moved_trees().map(|tree| tree.to.to_string()).collect();
    assert_eq!(ends, ["- odd no more", "here/dir", "here/there/deep", "moved"]);
    let delta = diff.get(&RelPath::new("a delta").unwrap()).unwrap();
    assert!(matches!(
        &delta.new.as_ref().unwrap().content,
        Content::Delta { base, .. } if base.to_string() == "moves/base"
    ));
    let path = tmp.path().join("diff.tgz");
    DiffData::create(&dir, &before, &diff, &path).unwrap();
    recover(&path, &old);
    let found = DirIndex::scan(&Dir::new(&old).unwrap()).unwrap();
    differences(&found, &after);
    // So that the temporary directory can be removed.
    for root in [old, new] {
        for dir in ["here/dir", "moved/read-only"] {
            fs::set_permissions(root.join(dir), Permissions::from_mode(0o755)).unwrap();
        }
    }
}

/// In parts: a file, a delta, and PATHS itself.
#[test]
fn volumes_are_recovered_one_after_the_other() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let trees = Trees::new(
        |root| write(root, "edited", &noise(1, 3 << 20)),
        |root| {
            write(root, "edited", &[noise(1, 3 << 20), noise(2, 3 << 20)].concat());
            write(root, "long", &noise(3, 3 << 20));
            write(root, "short", b"short");
            for n in 0..400 {
                symlink("x".repeat(3000), root.join(format!("link {n}"))).unwrap();
            }
        },
    );
    let (_, names) = trees.pack_volumes(Format::Gzip, 2 << 20);
    assert!(names.len() > 3, "{names:?}");
    let path = trees.path("all.tgz");
    fs::write(&path, cat(&names)).unwrap();
    let listed = agree("tar", &["-tf", path.to_str().unwrap()]).unwrap();
    for part in ["PATHS.00000002", "created/", "updated/"] {
        let in_parts = |name: &str| name.starts_with(part) && name.ends_with("02");
        assert!(listed.lines().any(in_parts), "{part}: {listed}");
    }
    let tree = trees.old_path();
    recover(&path, &tree);
    let found = DirIndex::scan(&Dir::new(&tree).unwrap()).unwrap();
    differences(&found, &trees.new);
}

fn differences(found: &DirIndex, wanted: &DirIndex) {
    for (found, wanted) in found.entries().zip(wanted.entries()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found, wanted);
}

#[test]
fn a_script_that_fails_leaves_the_tree() {
    if missing("rdiff") || missing("tar") {
        return;
    }
    let trees = Trees::new(build, edit);
    let path = trees.path("diff.tgz");
    DiffData::create(&trees.dir(), &trees.old, &trees.diff, &path).unwrap();
    let other = trees.path("other");
    fs::create_dir(&other).unwrap();
    let args = [SCRIPT, path.to_str().unwrap(), other.to_str().unwrap()];
    let output = peer("sh", &args).unwrap();
    assert!(!output.status.success(), "an empty directory is no copy of the old tree");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    let dir = trees.new_path().join("read-only");
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
}
