//! A damaged archive is an error, whichever bit it is.

use std::collections::BTreeSet;

use archive::DiffData;

use crate::common::{FORMATS, Trees, carried, read_all, read_stream, small, write};
use crate::limits::Meter;

/// As small as can be while every part is there.
fn tiny() -> Trees {
    Trees::new(
        |root| write(root, "e", &[b'x'; 2000]),
        |root| {
            write(root, "c", b"created");
            write(root, "e", &[&[b'x'; 2000][..], b"and more"].concat());
        },
    )
}

/// Opens, reads everything, verifies, within the limits. `Ok` only when all that comes out is as it was. What is
/// refused has to be refused by who reads front to back, too.
fn read(meter: &Meter, trees: &Trees, bytes: Vec<u8>) -> Result<(), String> {
    let forward: Result<(), String> = meter.within_limits("damaged", || {
        let (diff, contents) = read_stream(&bytes[..], "damaged", &trees.old_path())?;
        assert_eq!(carried(&diff), trees.carried_diff());
        assert_eq!(contents, trees.contents());
        Ok(())
    });
    let read = read_from_end(meter, trees, bytes);
    assert_eq!(forward.is_ok(), read.is_ok(), "{forward:?}, {read:?}");
    if let Err(error) = forward {
        assert!(error.starts_with("damaged: "), "{error}");
    }
    read
}

fn read_from_end(meter: &Meter, trees: &Trees, bytes: Vec<u8>) -> Result<(), String> {
    meter.within_limits("damaged", || read_unmeasured(trees, bytes))
}

fn read_unmeasured(trees: &Trees, bytes: Vec<u8>) -> Result<(), String> {
    let data = DiffData::from_source(bytes, "damaged").map_err(|error| error.to_string())?;
    let diff = carried(data.diff());
    assert_eq!(diff, trees.carried_diff());
    let contents = read_all(&data, &trees.old_path())?;
    assert_eq!(contents, trees.contents());
    data.verify(None).map_err(|error| error.to_string())
}

#[test]
fn every_truncation_is_an_error() {
    let meter = Meter::alone();
    for trees in [tiny(), small()] {
        for format in FORMATS {
            let whole = trees.pack(format).unwrap();
            for len in 0..whole.len() {
                let error = read(&meter, &trees, whole[..len].to_vec()).unwrap_err();
                assert!(error.starts_with("damaged: "), "{error}");
            }
            assert!(read(&meter, &trees, [&whole[..], &[0]].concat()).is_err(), "a byte more");
            assert!(read(&meter, &trees, [&whole[..], &whole].concat()).is_err(), "twice");
            assert!(read(&meter, &trees, whole).is_ok());
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let meter = Meter::alone();
    let trees = tiny();
    for format in FORMATS {
        let whole = trees.pack(format).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = read(&meter, &trees, flipped).unwrap_err();
            assert!(error.starts_with("damaged: "), "{format:?} {bit}: {error}");
        }
    }
}

#[test]
fn messages_name_the_archive_the_member_and_the_place() {
    let meter = Meter::alone();
    let trees = small();
    for format in FORMATS {
        let whole = trees.pack(format).unwrap();
        let mut parts = BTreeSet::new();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let error = read(&meter, &trees, damaged).unwrap_err();
            let part = error.strip_prefix("damaged: ").unwrap();
            let (part, place) = part.split_once(" at byte ").unwrap();
            let offset: usize = place.split(':').next().unwrap().parse().unwrap();
            let is_start = [[0x1f, 0x8b, 8], [0x28, 0xb5, 0x2f]]
                .contains(&whole[offset..][..3].try_into().unwrap());
            if part != "trailer" {
                assert!(offset <= at && is_start || part == "TABLE", "{at}: {error}");
            }
            parts.insert(part.split('/').next().unwrap().to_owned());
        }
        // One frame holds all contents here; its damage is said of the first.
        let first = parts.iter().find(|part| ["created", "updated"].contains(&part.as_str()));
        assert!(first.is_some(), "{parts:?}");
        for part in ["diff.index", "PATHS", "TABLE", "trailer"] {
            assert!(parts.contains(part), "{part}: {parts:?}");
        }
    }
}
