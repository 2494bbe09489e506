//! Few bytes that take much memory: sections that each are as large as one may be, and lists of rows that are smaller
//! than what they become. In archives, and in the files that indexes and diffs have by themselves.

use archive::Archive;
use container::{MAX_SECTION_LEN, Packing, Section, Writer};
use diffindex::DiffIndex;
use dirindex::DirIndex;

use crate::cases::{Case, case, check, check_by};
use crate::common::{Trees, chain};
use crate::forge::Forge;
use crate::limits::Meter;

/// What takes too much is refused before any of it is unpacked.
pub(crate) const READ: &[Case] = &[
    case(
        "10 GiB of paths",
        |f| f.set_sections(&vec![long_paths(2, 128); 170], &[]),
        "diff.index at byte 0: it takes 11",
    ),
    case(
        "10 GiB in sections that are no blocks",
        |f| f.set_sections(&[rows(2, 1)], &vec![zeros(9); 170]),
        "diff.index cannot be used",
    ),
    case("a block of 2,000,000 rows", many_rows, "diff.index cannot be used"),
    case("an entry with 2,000,000 attributes", many_attributes, "diff.index cannot be used"),
    case(
        "blocks that take too much with what their rows become, not without that",
        |f| f.set_sections(&vec![rows_of(2, 128, &[b'a'; 200]); 15_000], &[]),
        "diff.index at byte 0: it takes 88",
    ),
];

/// To who looks up a path.
pub(crate) const LOOKED_UP: &[Case] = &[
    case(
        "10 GiB of paths",
        |f| f.set_sections(&vec![long_paths(2, 128); 170], &[]),
        "diff.index at byte 0: it takes 11",
    ),
    case("a block of 2,000,000 rows", many_rows, "a list of 2000000 rows"),
    case("an entry with 2,000,000 attributes", many_attributes, "extended attributes out of order"),
];

fn many_rows(forge: &mut Forge) {
    forge.set_sections(&[rows(2, 2_000_000)], &[]);
}

fn many_attributes(forge: &mut Forge) {
    forge.set_sections(&[attributes(2_000_000)], &[]);
}

/// A section of as many rows, each a path of a quarter of a MiB and more: paths that were no directories and are gone.
fn long_paths(kind: u32, rows: usize) -> Section {
    let len = MAX_SECTION_LEN / rows - 64;
    let mut raw = count(rows);
    for number in 0..rows {
        raw.push(252);
        raw.extend((len as u32).to_le_bytes());
        let mut path = format!("{number:08}").into_bytes();
        path.resize(len - len % 2, b'/');
        path.iter_mut().skip(9).step_by(2).for_each(|byte| *byte = b'd');
        path.resize(len, b'd');
        raw.extend(path);
        raw.extend([1, 4, 0]);
    }
    Section::new(kind, raw, Packing::Zstd).unwrap()
}

/// A section of as many rows that are as small as there are.
fn rows(kind: u32, rows: usize) -> Section {
    rows_of(kind, rows, b"a")
}

/// A section of as many rows with this path.
fn rows_of(kind: u32, rows: usize, path: &[u8]) -> Section {
    let row = [&[path.len() as u8], path, &[0, 0]].concat();
    Section::new(kind, [count(rows), row.repeat(rows)].concat(), Packing::Zstd).unwrap()
}

/// A block of a new directory with as many extended attributes.
fn attributes(number: usize) -> Section {
    let row = [&[1, 1, b'a', 0, 1, 0, 0, 0, 0, 0, 0][..], &count(number)].concat();
    let raw = [row, [1, b'x', 0].repeat(number), vec![0, 0]].concat();
    Section::new(2, raw, Packing::Zstd).unwrap()
}

/// A section of nothing.
fn zeros(kind: u32) -> Section {
    Section::new(kind, vec![0; MAX_SECTION_LEN], Packing::Zstd).unwrap()
}

/// The length of a list.
pub(crate) fn count(rows: usize) -> Vec<u8> {
    [&[252][..], &(rows as u32).to_le_bytes()].concat()
}

#[test]
fn diffs_that_take_much_memory() {
    check(READ);
}

#[test]
fn diffs_that_take_much_memory_in_a_lookup() {
    let look_up = |_: &Trees, archive| {
        let archive =
            Archive::from_source(archive, "hostile").map_err(|error| error.to_string())?;
        archive.get(&dirindex::RelPath::new("zzz").unwrap()).map(drop).map_err(chain)
    };
    check_by(LOOKED_UP, look_up);
}

/// A container of these sections.
fn file(kind: [u8; 4], sections: &[Section]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), kind).unwrap();
    sections.iter().for_each(|section| writer.section(section).unwrap());
    writer.finish_part().unwrap()
}

#[test]
fn indexes_that_take_much_memory() {
    let meter = Meter::alone();
    let open = |name: &str, sections: &[Section]| {
        let bytes = file(*b"INDX", sections);
        assert!(bytes.len() < 1 << 20, "{name}: {}", bytes.len());
        let error = meter.within_limits(name, || DirIndex::from_bytes(bytes)).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    for kind in [1, 2, 3, 4, 5, 9] {
        let error = open("10 GiB", &vec![zeros(kind); 170]);
        assert!(error.contains("it takes 11"), "{error}");
    }
    for kind in [1, 4, 5] {
        let error = open("small rows", &vec![rows(kind, 4096); 8000]);
        assert!(error.contains("bytes in memory"), "{error}");
    }
    for kind in [4, 5] {
        assert!(open("many rows", &[rows(kind, 2_000_000)]).contains("a list of 2000000 rows"));
    }
    let none = Section::new(2, [count(2_000_000), vec![0; 2_000_000]].concat(), Packing::Zstd);
    for pair in [[rows(1, 2_000_000), rows(2, 1)], [rows(1, 0), none.unwrap()]] {
        assert!(open("many rows", &pair).contains("a list of 2000000 rows"));
    }
}

#[test]
fn diff_files_that_take_much_memory() {
    let meter = Meter::alone();
    let root = [vec![32], vec![0; 32]].concat();
    let roots = Section::new(1, root.repeat(2), Packing::Zstd).unwrap();
    let open = |name: &str, sections: &[Section]| {
        let bytes = file(*b"DIFF", &[std::slice::from_ref(&roots), sections].concat());
        let error = meter.within_limits(name, || DiffIndex::from_bytes(bytes)).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    for kind in [1, 2, 3, 9] {
        let error = open("10 GiB", &vec![zeros(kind); 170]);
        assert!(error.contains("it takes 11"), "{error}");
    }
    assert!(open("10 GiB of paths", &vec![long_paths(2, 128); 170]).contains("it takes 11"));
    assert!(open("small rows", &vec![rows(2, 128); 40_000]).contains("it takes 13"));
    assert!(open("many rows", &[rows(2, 2_000_000)]).contains("a list of 2000000 rows"));
}
