//! An archive in several files.

use std::fs;
use std::path::{Path, PathBuf};

use archive::{Archive, ArchiveOptions, DiffData};
use dirindex::RelPath;

use crate::common::{FORMATS, Trees, agree, noise, small, text, write};

const LIMIT: u64 = 2 << 20;

fn trees() -> Trees {
    Trees::new(
        |_| (),
        |root| {
            for n in 0..300 {
                write(root, format!("a/{n}"), &text(n, 30));
            }
            write(root, "b", &noise(1, 5 << 20));
            write(root, "c", &noise(2, 3 << 20));
            write(root, "d/e", b"the end");
        },
    )
}

/// Cuts the archive of `trees` into volumes in `dir`, and gives their names in order.
fn cut(trees: &Trees, name: &str) -> (DiffData, Vec<PathBuf>) {
    let dir = trees.path("volumes");
    fs::create_dir_all(&dir).unwrap();
    let options = ArchiveOptions::default();
    let data = DiffData::create_volumes(
        &trees.dir(),
        &trees.old,
        &trees.diff,
        dir.join(name),
        1,
        &options,
    );
    let mut names: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    (data.unwrap(), names)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

#[test]
fn volumes_are_the_archive_in_pieces() {
    for format in FORMATS {
        let trees = trees();
        let ending = if format == archive::Format::Gzip { "tgz" } else { "tar.zst" };
        let (data, names) = cut(&trees, &format!("all.{ending}"));
        assert!(names.len() >= 5, "{names:?}");
        for (number, name) in names.iter().enumerate() {
            let expected = format!("all.{:03}.{ending}", number + 1);
            assert_eq!(name.file_name().unwrap().to_str().unwrap(), expected);
            let len = fs::metadata(name).unwrap().len();
            assert!(len <= LIMIT, "{name:?}: {len}");
            let tester = if ending == "tgz" { "gzip" } else { "zstd" };
            agree(tester, &["-q", "-t", name.to_str().unwrap()]);
        }
        trees.check_contents(&data);
        data.verify(None).unwrap();

        let all: Vec<u8> = names.iter().flat_map(|name| fs::read(name).unwrap()).collect();
        let whole = DiffData::from_source(all.clone(), "all").unwrap();
        trees.check_contents(&whole);
        // But for what TABLE says of volumes, they are the same bytes.
        let single = trees.pack(format).unwrap();
        assert!(all[..6 << 20] == single[..6 << 20]);
        assert!(Archive::open(&names[0]).is_err());
    }
}

#[test]
fn the_last_volume_tells_which_others_are_needed() {
    let trees = trees();
    let (_, names) = cut(&trees, "all.tgz");
    let away = trees.path("away");
    fs::create_dir(&away).unwrap();
    let last = names.last().unwrap();
    let put = |name: &Path| fs::rename(name, away.join(name.file_name().unwrap())).unwrap();
    put(last);
    let archive = Archive::open(away.join(last.file_name().unwrap())).unwrap();
    assert_eq!(archive.result(), trees.diff.result());
    for at in ["a/10", "b", "d"] {
        let needed = archive.volumes(&[path(at)]);
        assert_eq!(needed.last(), Some(&names.len()));
        let error = archive.select(&[path(at)]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("volume ") && source.contains(".001.tgz"), "{source}");
    }
    let needed = archive.volumes(&[path("a/10")]);
    assert!(needed.len() < names.len(), "{needed:?}");
    needed.iter().rev().skip(1).for_each(|&number| put(&names[number - 1]));
    let data = archive.select(&[path("a/10")]).unwrap();
    data.verify(None).unwrap();
    let error = archive.select(&[path("c")]).unwrap().verify(None).unwrap_err();
    assert!(matches!(error, archive::Error::Io { .. }), "{error}");
}

#[test]
fn what_fits_into_one_volume_is_one() {
    let trees = small();
    let (data, names) = cut(&trees, "small.tar.zst");
    assert_eq!(names.len(), 1);
    assert_eq!(data.archives()[0].volumes(&[path("created")]), [1]);
    trees.check_contents(&Archive::open(&names[0]).unwrap().load().unwrap());
}

/// Where TABLE is said to begin is not believed before TABLE is there.
#[test]
fn a_trailer_that_points_anywhere_makes_no_volume() {
    let trees = small();
    let packed = trees.pack(archive::Format::Zstd).unwrap();
    for offset in [packed.len() as u64 + 1, u64::MAX / 2, u64::MAX] {
        let mut bent = packed.clone();
        let at = bent.len() - 48;
        bent[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        fs::write(trees.path("bent.tar.zst"), bent).unwrap();
        let error = Archive::open(trees.path("bent.tar.zst")).unwrap_err();
        assert!(error.to_string().contains("bent.tar.zst"), "{error}");
    }
}
