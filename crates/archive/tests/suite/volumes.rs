//! An archive in several files, each of which is one by itself to other programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use archive::{Archive, DiffData, Format};
use dirindex::RelPath;
use proptest::prelude::*;

use crate::common::{FORMATS, Trees, agree, cat, find_part, noise, small, text, write};

const LIMIT: u64 = 2 << 20;
/// The longest part of a content that does not fit into one.
const PART: usize = (1 << 20) - 512;

fn trees() -> Trees {
    Trees::new(
        |_| (),
        |root| {
            for n in 0..300 {
                write(root, format!("a/{n}"), &text(n, 30));
            }
            write(root, "b", &noise(1, 5 << 20));
            write(root, "c", &noise(2, 3 * PART));
            write(root, "d/e", b"the end");
        },
    )
}

/// With a delta of several parts.
fn edited() -> Trees {
    Trees::new(
        |root| write(root, "edited", &noise(3, 4 << 20)),
        |root| {
            write(root, "edited", &[noise(3, 4 << 20), noise(4, 5 << 20)].concat());
            write(root, "new", &text(5, 100));
        },
    )
}

/// With a `diff.index` and a PATHS of several parts: targets of links are in both.
fn many_links() -> Trees {
    Trees::new(
        |_| (),
        |root| {
            for n in 0..1500u64 {
                let letters = noise(n, 4000).into_iter().map(|byte| char::from(b'0' + byte % 32));
                let target: String = letters.collect();
                symlink(target, root.join(n.to_string())).unwrap();
            }
            write(root, "z", b"a file");
        },
    )
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// The frames of a tar stream, which must be whole; it may lack the zeros at its end.
fn frames(archive: &[u8], format: Format) -> Vec<(String, Vec<u8>)> {
    let mut stream = Vec::new();
    match format {
        Format::Gzip => std::io::copy(&mut flate2::read::MultiGzDecoder::new(archive), &mut stream),
        Format::Zstd => std::io::copy(&mut zstd::Decoder::new(archive).unwrap(), &mut stream),
    }
    .unwrap();
    let mut tar = tar::Archive::new(&stream[..]);
    let read = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        std::io::copy(&mut entry, &mut body).unwrap();
        assert_eq!(body.len() as u64, entry.header().entry_size().unwrap());
        (String::from_utf8(entry.path_bytes().to_vec()).unwrap(), body)
    });
    read.collect()
}

/// What is left of frames when parts are put together again.
fn joined(frames: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut joined: BTreeMap<String, (usize, Vec<u8>)> = BTreeMap::new();
    for (number, (name, body)) in frames.into_iter().enumerate() {
        let part = name.rsplit_once('.').filter(|(_, digits)| digits.parse::<u64>().is_ok());
        let stem = part.map_or(name.as_str(), |(stem, _)| stem).to_owned();
        joined.entry(stem).or_insert((number, Vec::new())).1.extend(body);
    }
    let mut joined: Vec<_> = joined.into_iter().collect();
    joined.sort_by_key(|(_, (number, _))| *number);
    joined.into_iter().map(|(name, (_, body))| (name, body)).collect()
}

/// Each volume is an archive to who knows tar alone, none is longer than it may be, and together they hold
/// what the archive in one file holds.
fn check(trees: &Trees, format: Format, limit: u64) -> Vec<PathBuf> {
    let (data, names) = trees.pack_volumes(format, limit);
    let (last, others) = names.split_last().unwrap();
    let mut all = Vec::new();
    for name in others {
        let bytes = fs::read(name).unwrap();
        assert!(bytes.len() as u64 <= limit, "{name:?}: {}", bytes.len());
        let frames = frames(&bytes, format);
        assert!(!frames.is_empty(), "{name:?}");
        all.extend(frames);
    }
    all.extend(frames(&fs::read(last).unwrap(), format));
    let whole = cat(&names);
    assert!(all == frames(&whole, format));
    for (name, body) in &all {
        assert!(body.len() <= PART || name == "TABLE", "{name}: {}", body.len());
    }
    let single = frames(&trees.pack(format).unwrap(), format);
    for ((name, body), (expected, bytes)) in joined(all).into_iter().zip(single) {
        assert_eq!(name, expected);
        assert!(body == bytes || name == "TABLE", "{name}");
    }

    trees.check_stream(&whole);
    trees.check_contents(&data);
    data.verify(None).unwrap();
    for data in
        [Archive::open(last).unwrap().load().unwrap(), DiffData::from_source(whole, "all").unwrap()]
    {
        assert_eq!(data.diff().apply_to(&trees.old).unwrap(), trees.new);
        trees.check_contents(&data);
        data.verify(None).unwrap();
    }
    names
}

#[test]
fn volumes_are_the_archive_in_pieces() {
    for (trees, parts) in [
        (trees(), &["created/"][..]),
        (edited(), &["updated/"]),
        (many_links(), &["diff.index.", "PATHS."]),
    ] {
        for format in FORMATS {
            let names = check(&trees, format, LIMIT);
            assert!(names.len() >= 4, "{names:?}");
            for (number, name) in (1..).zip(&names) {
                let name = name.file_name().unwrap().to_str().unwrap();
                assert!(name.starts_with(&format!("all.{number:03}.")), "{name}");
            }
            assert!(Archive::open(&names[0]).is_err());
            let frames = frames(&cat(&names), format);
            for part in parts {
                let in_parts = |name: &str| name.starts_with(part) && name.ends_with(".00000002");
                assert!(frames.iter().any(|(name, _)| in_parts(name)), "{part}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn files_of_any_length_come_back_from_volumes_of_any(
        // Around nothing, a part, and several.
        lens in proptest::collection::vec((0..4usize, -2..3isize, any::<bool>()), 1..5),
        limit in prop_oneof![Just(LIMIT), LIMIT..3 * LIMIT],
        zstd: bool,
    ) {
        let trees = Trees::new(|_| (), |root| {
            for (number, (parts, more, compresses)) in (0..).zip(lens) {
                let len = (parts * PART).saturating_add_signed(more * 256);
                let bytes = if compresses { vec![number; len] } else { noise(number.into(), len) };
                write(root, number.to_string(), &bytes);
            }
        });
        check(&trees, if zstd { Format::Zstd } else { Format::Gzip }, limit);
    }
}

const PYTHON: &str = "
import sys, tarfile
tar = tarfile.open(sys.argv[1])
for frame in tar:
    print(frame.name)
    tar.extract(frame, sys.argv[2])
";

/// Each volume by itself, and all one after the other.
#[test]
fn other_programs_list_and_extract_every_volume() {
    let trees = trees();
    for format in FORMATS {
        let (_, mut names) = trees.pack_volumes(format, LIMIT);
        let all = cat(&names);
        names.push(trees.path("one after the other"));
        fs::write(&names[names.len() - 1], all).unwrap();
        for name in names {
            let frames = frames(&fs::read(&name).unwrap(), format);
            let listed: String = frames.iter().map(|(name, _)| format!("{name}\n")).collect();
            let volume = name.to_str().unwrap();
            let test = if format == Format::Gzip { "gzip" } else { "zstd" };
            let tested = agree("sh", &["-c", "exec $0 -q -t <\"$1\"", test, volume]);
            assert!(tested.is_some());
            let extracted = |by: &str, to: &Path| {
                for (name, body) in &frames {
                    assert!(fs::read(to.join(name)).unwrap() == *body, "{by}: {volume}: {name}");
                }
            };
            let to = || tempfile::tempdir_in(trees.tmp.path()).unwrap();
            for program in ["tar", "bsdtar"] {
                let to = to();
                let Some(found) = agree(program, &["-tf", volume]) else { continue };
                assert_eq!(found, listed, "{program}: {volume}");
                agree(program, &["-xf", volume, "-C", to.path().to_str().unwrap()]).unwrap();
                extracted(program, to.path());
            }
            // Python before 3.14 has no zstd of its own.
            if format == Format::Gzip {
                let to = to();
                let args = ["-c", PYTHON, volume, to.path().to_str().unwrap()];
                if let Some(found) = agree("python3", &args) {
                    assert_eq!(found, listed, "python3: {volume}");
                    extracted("python3", to.path());
                }
            }
        }
    }
}

#[test]
fn the_bytes_are_the_same_for_any_number_of_threads() {
    let trees = trees();
    let pack = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let names = pool.install(|| trees.pack_volumes(Format::Zstd, LIMIT).1);
        names.iter().map(|name| fs::read(name).unwrap()).collect::<Vec<_>>()
    };
    let one = pack(1);
    assert!([2, 8].into_iter().all(|threads| pack(threads) == one));
}

#[test]
fn the_last_volume_tells_which_others_are_needed() {
    let trees = trees();
    let (_, names) = trees.pack_volumes(Format::Gzip, LIMIT);
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
        let error = find_part(std::slice::from_ref(&archive), &[path(at)]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("volume ") && source.contains(".001.tgz"), "{source}");
    }
    let needed = archive.volumes(&[path("a/10")]);
    assert!(needed.len() < names.len(), "{needed:?}");
    needed.iter().rev().skip(1).for_each(|&number| put(&names[number - 1]));
    let data = find_part(std::slice::from_ref(&archive), &[path("a/10")]).unwrap();
    data.verify(None).unwrap();
    let error =
        find_part(std::slice::from_ref(&archive), &[path("c")]).unwrap().verify(None).unwrap_err();
    assert!(matches!(error, archive::Error::Io { .. }), "{error}");
}

#[test]
fn what_fits_into_one_volume_is_one() {
    let trees = small();
    let (data, names) = trees.pack_volumes(Format::Zstd, LIMIT);
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
