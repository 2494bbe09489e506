//! What was left out of a tree, and how open its top directory was, goes with each diff that leads to it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use diffindex::{DiffIndex, LazyDiff, Signatures};
use dirindex::{Dir, DirIndex, DirOptions, RelPath};

#[test]
fn each_diff_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let scan = |exclude: &str| {
        let excludes = vec![exclude.into()];
        let options = DirOptions { excludes, ..DirOptions::default() };
        DirIndex::scan(&Dir::with_options(dir.path(), &options).unwrap()).unwrap()
    };
    for name in ["a.o", "b/c.o", "d/e"] {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let first = scan("*.o");
    fs::write(dir.path().join("f"), "f").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let second = scan("d/");
    let mut bytes = Vec::new();
    second.write_to(&mut bytes).unwrap();
    let second = DirIndex::from_bytes(bytes).unwrap();

    let full = DiffIndex::between(&DirIndex::empty(), &first);
    let change = DiffIndex::between(&first, &second);
    let both = DiffIndex::squash(&[full.clone(), change.clone()]).unwrap();
    let paths = |paths: &[&str]| {
        paths.iter().map(|path| RelPath::new(*path).unwrap()).collect::<Vec<RelPath>>()
    };
    for (diff, left_out, mode) in [
        (full, paths(&["a.o", "b/c.o"]), 0o750),
        (change, paths(&["d"]), 0o700),
        (both, paths(&["d"]), 0o700),
    ] {
        let bytes = diff.to_bytes().unwrap();
        let encoded = LazyDiff::from(&diff).encode(Vec::new(), Signatures::All, |_, _| ()).unwrap();
        assert_eq!((encoded.byte_len(), encoded.into_inner()), (bytes.len() as u64, bytes.clone()));
        for diff in [DiffIndex::from_bytes(bytes).unwrap(), diff] {
            assert_eq!((diff.left_out(), diff.top_mode()), (&left_out[..], Some(mode)));
        }
    }
}
