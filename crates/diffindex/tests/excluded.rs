//! What is newly left out of a scan is not what is gone from the source.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use diffindex::{Class, DiffIndex};
use dirindex::{Dir, DirIndex, DirOptions, RelPath};

fn scan(root: &Path, options: DirOptions) -> DirIndex {
    DirIndex::scan(&Dir::with_options(root, &options).unwrap()).unwrap()
}

fn names<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Vec<String> {
    paths.map(RelPath::to_string).collect()
}

#[test]
fn left_out_is_told_from_deleted() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    fs::create_dir_all(root.join("build/deep")).unwrap();
    fs::create_dir(root.join("cache")).unwrap();
    let tag = "Signature: 8a477f597d28d172789f06886806bc55";
    for (path, content) in [
        ("build/deep/object", "an object"),
        ("build-not", "no object"),
        ("cache/CACHEDIR.TAG", tag),
        ("cache/cached", "worth nothing"),
        ("gone.log", "deleted for good"),
        ("here.log", "still there"),
        ("large", "longer than twenty bytes"),
        ("kept", "short"),
    ] {
        fs::write(root.join(path), content).unwrap();
    }
    let old = scan(root, DirOptions::default());
    fs::remove_file(root.join("gone.log")).unwrap();
    let new = scan(
        root,
        DirOptions {
            excludes: ["build/", "*.log"].map(Into::into).into(),
            exclude_caches: true,
            max_file_len: Some(20),
            ..DirOptions::default()
        },
    );
    let diff = DiffIndex::between(&old, &new);
    let left_out =
        ["build", "build/deep", "build/deep/object", "cache/CACHEDIR.TAG", "cache/cached"];
    let left_out = [&left_out[..], &["here.log", "large"]].concat();
    let back = DiffIndex::from_bytes(diff.to_bytes().unwrap()).unwrap();
    for diff in [&diff, &back] {
        assert_eq!(names(diff.excluded()), left_out);
        assert_eq!(names(diff.deleted()), ["gone.log"]);
        assert_eq!(diff.deleted_dirs().count(), 0);
        let large = diff.get(&RelPath::new("large").unwrap()).unwrap();
        assert_eq!(large.class(), Class::Excluded);
        // A copy of the old tree becomes the new index all the same.
        assert_eq!(diff.apply_to(&old).unwrap(), new);
    }

    // The other way round they are new, and without rules everything that goes is deleted.
    assert_eq!(DiffIndex::between(&new, &old).excluded().count(), 0);
    fs::remove_dir_all(root.join("build")).unwrap();
    let now = DiffIndex::between(&old, &scan(root, DirOptions::default()));
    assert_eq!(
        (names(now.deleted()), now.excluded().count()),
        (vec!["build/deep/object".into(), "gone.log".into()], 0)
    );
}
