//! What of a directory counts, and the questions asked of it: the seed's `dirtools`, as tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use dirindex::{Dir, DirIndex, DirOptions, RelPath, ScanOptions};
use rsync_core::{Progress, Signature, delta_sealed, patch_sealed};
use tempfile::TempDir;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The tree that the seed's own tests use.
fn seed_tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "file1", "contents1");
    write(root, "file2", "contents2");
    write(root, "file3.py", "print \"ok\"");
    write(root, "file3.pyc", "compiled");
    write(root, ".exclude", "excluded_dir/\n*.pyc");
    write(root, "dir1/subdir1/file_subdir1", "inside subdir1");
    write(root, "dir1/subdir1/.project", "");
    write(root, "dir2/file_dir2", "inside dir2");
    write(root, "excluded_dir/excluded_file", "excluded");
    write(root, ".git/HEAD", "ref");
    dir
}

fn names(paths: Vec<RelPath>) -> Vec<String> {
    paths.iter().map(RelPath::to_string).collect()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

#[test]
fn files_and_subdirs_are_listed_without_what_is_excluded() {
    let tree = seed_tree();
    let dir = Dir::new(tree.path()).unwrap();
    let all = [
        ".exclude",
        "dir1/subdir1/.project",
        "dir1/subdir1/file_subdir1",
        "dir2/file_dir2",
        "file1",
        "file2",
        "file3.py",
    ];
    assert_eq!(names(dir.files("*").unwrap()), all);
    assert_eq!(names(dir.files("*.py").unwrap()), ["file3.py"]);
    assert_eq!(names(dir.files("/dir1/**").unwrap()), all[1..3]);
    assert_eq!(names(dir.subdirs("*").unwrap()), ["dir1", "dir1/subdir1", "dir2"]);
    assert_eq!(names(dir.subdirs("sub*").unwrap()), ["dir1/subdir1"]);
    assert_eq!(dir.get("file*").unwrap(), Some(path("dir1/subdir1/file_subdir1")));
    assert_eq!(dir.get("absent").unwrap(), None);
    assert_eq!(dir.find_projects(".project").unwrap(), [Some(path("dir1/subdir1"))]);
    assert_eq!(dir.size().unwrap(), 9 + 9 + 10 + 19 + 14 + 11);
    assert_eq!(dir.walk().unwrap().iter().filter(|(_, is_dir)| *is_dir).count(), 3);
}

#[test]
fn a_path_is_excluded_with_the_directory_it_lies_in() {
    let tree = seed_tree();
    let dir = Dir::new(tree.path()).unwrap();
    for excluded in
        ["file3.pyc", "deep/down/x.pyc", "excluded_dir", "excluded_dir/a/b", ".git/HEAD"]
    {
        assert!(dir.is_excluded(&path(excluded)).unwrap(), "{excluded}");
    }
    for counts in ["file1", "dir1/subdir1", "dir1/excluded_file", "absent"] {
        assert!(!dir.is_excluded(&path(counts)).unwrap(), "{counts}");
    }
}

#[test]
fn nearer_exclude_files_come_first_and_the_callers_patterns_before_all() {
    let tree = seed_tree();
    write(tree.path(), "dir1/.exclude", "!*.pyc\n/anchored\n");
    write(tree.path(), "dir1/kept.pyc", "");
    write(tree.path(), "dir1/anchored", "");
    write(tree.path(), "dir1/subdir1/anchored", "");
    let dir = Dir::new(tree.path()).unwrap();
    let listed = names(dir.files("*").unwrap());
    assert!(listed.contains(&"dir1/kept.pyc".into()));
    assert!(!listed.contains(&"dir1/anchored".into()));
    assert!(listed.contains(&"dir1/subdir1/anchored".into()));
    assert!(!dir.is_excluded(&path("dir1/kept.pyc")).unwrap());
    assert!(dir.is_excluded(&path("dir1/anchored")).unwrap());

    let options = DirOptions { excludes: vec!["kept.*".into()], ..DirOptions::default() };
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    assert!(!names(dir.files("*").unwrap()).contains(&"dir1/kept.pyc".into()));
}

#[test]
fn another_exclude_file_can_be_named_or_none() {
    let tree = seed_tree();
    write(tree.path(), ".gitignore", "*.py");
    let options = DirOptions { exclude_files: vec![".gitignore".into()], ..DirOptions::default() };
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    assert!(dir.is_excluded(&path("file3.py")).unwrap());
    assert!(!dir.is_excluded(&path("file3.pyc")).unwrap());
    let options = DirOptions::everything();
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    assert_eq!(names(dir.files("HEAD").unwrap()), [".git/HEAD"]);
}

#[test]
fn some_paths_alone_count_with_what_is_below_and_above_them() {
    let tree = seed_tree();
    let only = vec![path("dir1/subdir1"), path("file1"), path("absent/too")];
    let dir =
        Dir::with_options(tree.path(), &DirOptions { only, ..DirOptions::default() }).unwrap();
    let all = names(Dir::new(tree.path()).unwrap().files("*").unwrap());
    let wanted = |name: &&String| name.starts_with("dir1/subdir1/") || *name == "file1";
    let wanted: Vec<&String> = all.iter().filter(wanted).collect();
    assert!(wanted.len() > 1 && wanted.len() < all.len());
    assert_eq!(names(dir.files("*").unwrap()).iter().collect::<Vec<_>>(), wanted);
    let index = DirIndex::scan(&dir).unwrap();
    assert!(index.get(&path("dir1")).is_some() && index.get(&path("dir1/file1")).is_none());
    assert!(index.excluded().is_empty(), "{:?}", index.excluded());
    assert!(dir.is_excluded(&path("dir1/other")).unwrap());
    assert!(!dir.is_excluded(&path("dir1/subdir1/new")).unwrap());
}

#[test]
fn the_hash_is_of_names_and_contents() {
    let (a, b) = (seed_tree(), seed_tree());
    let hash = |tree: &TempDir| Dir::new(tree.path()).unwrap().hash().unwrap();
    assert_eq!(hash(&a), hash(&b));
    write(b.path(), "excluded_dir/more", "not counted");
    assert_eq!(hash(&a), hash(&b));
    write(b.path(), "file1", "contents2");
    assert_ne!(hash(&a), hash(&b));
    write(b.path(), "file1", "contents1");
    fs::create_dir(b.path().join("empty")).unwrap();
    assert_ne!(hash(&a), hash(&b));
}

#[test]
fn what_is_no_directory_is_said_so() {
    let tree = seed_tree();
    for absent in ["absent", "file1"] {
        let shown = Dir::new(tree.path().join(absent)).unwrap_err().to_string();
        assert!(
            shown.starts_with("cannot open the directory ") && shown.ends_with(absent),
            "{shown}"
        );
    }
}

#[test]
fn what_a_thing_is_can_leave_it_out() {
    let tree = seed_tree();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";
    write(tree.path(), "cache/CACHEDIR.TAG", tag);
    write(tree.path(), "cache/inside/file", "");
    write(tree.path(), "no cache/CACHEDIR.TAG", "Signature: something else");
    write(tree.path(), "no cache/file", "");
    write(tree.path(), "large", &"x".repeat(101));
    write(tree.path(), "limit", &"x".repeat(100));
    let all = Dir::new(tree.path()).unwrap();
    let all = names(all.files("*").unwrap());
    for name in ["cache/inside/file", "no cache/file", "large"] {
        assert!(all.contains(&name.into()), "{name}");
    }
    let options =
        DirOptions { exclude_caches: true, max_file_len: Some(100), ..DirOptions::default() };
    let dir = Dir::with_options(tree.path(), &options).unwrap();
    let some = names(dir.files("*").unwrap());
    let gone: Vec<&String> = all.iter().filter(|name| !some.contains(name)).collect();
    assert_eq!(gone, ["cache/inside/file", "large"]);
    for (name, out) in [
        ("cache", false),
        ("cache/CACHEDIR.TAG", false),
        ("cache/inside", true),
        ("cache/inside/file", true),
        ("no cache/file", false),
        ("large", true),
        ("limit", false),
    ] {
        assert_eq!(dir.is_excluded(&path(name)).unwrap(), out, "{name}");
    }

    // The index names what is there and was left out, as the roots of what is.
    let index = DirIndex::scan(&dir).unwrap();
    assert_eq!(
        names(index.excluded().to_vec()),
        [".git", "cache", "excluded_dir", "file3.pyc", "large"]
    );
    for (name, out) in [("cache/inside", true), ("excluded_dir/excluded_file", true), ("a", false)]
    {
        assert_eq!(index.is_excluded(&path(name)), out, "{name}");
    }
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).unwrap();
    let back = DirIndex::from_bytes(bytes).unwrap();
    assert_eq!((back.excluded(), back.tree_id()), (index.excluded(), index.tree_id()));
}

#[test]
fn other_file_systems_are_not_entered_when_not_asked_for() {
    let device = |path: &str| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if !Path::new("/dev/pts/ptmx").exists() || device("/dev") == device("/dev/pts") {
        eprintln!("SKIPPED: /dev/pts is no file system of its own here");
        return;
    }
    let options = DirOptions { one_file_system: true, ..DirOptions::everything() };
    let dir = Dir::with_options("/dev", &options).unwrap();
    let walked = dir.walk().unwrap();
    assert!(walked.contains(&(path("pts"), true)));
    assert!(!walked.iter().any(|(found, _)| found.is_below(&path("pts"))));
    assert!(dir.is_excluded(&path("pts/ptmx")).unwrap());
    assert!(!dir.is_excluded(&path("pts")).unwrap());
}

#[test]
fn of_two_exclude_files_the_later_decides() {
    let tree = seed_tree();
    write(tree.path(), ".gitignore", "file1\nfile2");
    write(tree.path(), ".exclude", "!file2\n");
    let with = |exclude_files: [&str; 2]| {
        let exclude_files = exclude_files.map(String::from).into();
        let options = DirOptions { exclude_files, ..DirOptions::default() };
        names(Dir::with_options(tree.path(), &options).unwrap().files("file?").unwrap())
    };
    assert_eq!(with([".gitignore", ".exclude"]), ["file2"]);
    assert_eq!(with([".exclude", ".gitignore"]), [""; 0]);
}

/// A hash takes long, so its caller can stop it.
#[test]
fn a_hash_can_be_cancelled() {
    let tree = seed_tree();
    let dir = Dir::new(tree.path()).unwrap();
    let progress = Arc::new(Progress::new());
    let options = ScanOptions { progress: Some(Arc::clone(&progress)), ..ScanOptions::default() };
    assert_eq!(dir.hash_with(&options).unwrap(), dir.hash().unwrap());
    assert!(progress.bytes() > 0);
    progress.cancel();
    assert!(matches!(dir.hash_with(&options), Err(dirindex::Error::Cancelled)));
}

/// A signature out of an index is one like any other: it can be sent to where the new file is, and its delta has a seal.
#[test]
fn a_signature_of_an_index_makes_a_sealed_delta() {
    let tree = seed_tree();
    let index = DirIndex::scan(&Dir::new(tree.path()).unwrap()).unwrap();
    let signature = index.signature(&path("file1")).unwrap().unwrap();
    let (mut sent, mut delta, mut rebuilt) = (Vec::new(), Vec::new(), Vec::new());
    signature.write_to(&mut sent).unwrap();
    let signature = Signature::read_from(sent.as_slice()).unwrap();
    delta_sealed(&signature, &b"contents1 and more"[..], &mut delta, None).unwrap();
    let old = Cursor::new(b"contents1");
    let (_, seal) = patch_sealed(old, delta.as_slice(), &mut rebuilt, 100, None).unwrap();
    assert!(seal.is_some());
    assert_eq!(rebuilt, b"contents1 and more");
}
