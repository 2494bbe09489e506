//! What TABLE says of the blocks of changes: to who reads all, and to who looks up a path.

use archive::Archive;
use container::{Packing, Section};
use dirindex::RelPath;

use crate::cases::{CONTENTS, Case, PATHS, case, check, check_by};
use crate::common::{Trees, chain};
use crate::forge::BlockRow;

pub(crate) const READ: &[Case] = &[
    case("no blocks", |f| f.lengths.blocks.clear(), "its contents end at byte"),
    case(
        "a block twice",
        |f| {
            let block = f.lengths.blocks[0].clone();
            f.lengths.blocks.push(block);
        },
        "its blocks are out of order",
    ),
    case(
        "a block listed twice under two names",
        |f| {
            let (contents, deltas) = (0, 0);
            let first = RelPath::new("zzz").unwrap();
            f.lengths.blocks.push(BlockRow {
                first,
                contents,
                deltas,
                ..f.lengths.blocks[0].clone()
            });
        },
        "its blocks reach beyond diff.index",
    ),
    case(
        "an empty block that the diff has not",
        |f| {
            let first = RelPath::new("zzz").unwrap();
            let seal = Section::new(2, Vec::new(), Packing::Stored).unwrap().seal();
            f.lengths.blocks.push(BlockRow { first, seal, contents: 0, deltas: 0 });
        },
        "it lists other blocks than the diff has",
    ),
    case(
        "a block that begins with another path",
        |f| f.lengths.blocks[0].first = RelPath::new("a").unwrap(),
        "block 0 begins with another path",
    ),
    case(
        "a block that begins with a path that is none",
        |f| {
            f.on_sections = |s| {
                let raw = b"\x01\x05../up".to_vec();
                s[2] = (3, Section::new(3, raw, Packing::Stored).unwrap());
            }
        },
        "it has `.` or `..` as a name",
    ),
    case(
        "a block with another hash",
        |f| f.lengths.blocks[0].seal.hash[7] ^= 1,
        "it lists other blocks than the diff has",
    ),
    case(
        "a block of another length",
        |f| f.lengths.blocks[0].seal.stored_len -= 1,
        "it lists other blocks than the diff has",
    ),
    case(
        "a block of 64 MiB and more",
        |f| f.lengths.blocks[0].seal.stored_len = (64 << 20) + 1,
        "it lists a block of 67108865 bytes",
    ),
    case(
        "a block that declares to unpack to more",
        |f| f.lengths.blocks[0].seal.raw_len += 1,
        "it lists other blocks than the diff has",
    ),
    case(
        "a block of 2^64",
        |f| f.lengths.blocks[0].contents = u64::MAX,
        "it declares more than any archive can hold",
    ),
    case(
        "blocks that begin at 2^64",
        |f| f.lengths.head.blocks_at = u64::MAX,
        "it declares more than any archive can hold",
    ),
    case(
        "blocks that end at 2^64",
        |f| f.lengths.head.blocks_at = u64::MAX - f.lengths.blocks[0].seal.stored_len,
        "its blocks reach beyond diff.index",
    ),
    case(
        "blocks that begin elsewhere, as who reads all could overlook",
        |f| f.lengths.head.blocks_at -= 1,
        "it lists other blocks than the diff has",
    ),
    case(
        "blocks that begin after diff.index",
        |f| f.lengths.head.blocks_at += 1 << 20,
        "its blocks reach beyond diff.index",
    ),
    case(
        "a block with more contents",
        |f| f.lengths.blocks[0].contents += 512,
        "its contents end at byte",
    ),
    case(
        "deltas of 2^64",
        |f| f.lengths.blocks[0].deltas = u64::MAX,
        "its blocks have 18446744073709551615 deltas",
    ),
    case("another base", |f| f.lengths.head.base.0[0] ^= 1, "it names other trees than the diff"),
    case("another result", |f| f.lengths.head.result.0[9] ^= 1, "it names other trees"),
];

/// What a lookup by path comes by, which never sees the whole diff.
pub(crate) const LOOKED_UP: &[Case] = &[
    case(
        "blocks that begin elsewhere",
        |f| f.lengths.head.blocks_at -= 1,
        "it does not match its hash",
    ),
    case(
        "a block with another hash",
        |f| f.lengths.blocks[0].seal.hash[7] ^= 1,
        "it does not match its hash",
    ),
    case(
        "a block that declares 64 MiB and more",
        |f| f.lengths.blocks[0].seal.raw_len = (64 << 20) + 1,
        "it declares 67108865 bytes",
    ),
    case(
        "a block that declares 2^64",
        |f| f.lengths.blocks[0].seal.raw_len = u64::MAX,
        "diff.index at byte 0: it takes 18446744073709551615 bytes",
    ),
    case(
        "a block that declares less than it has",
        |f| f.lengths.blocks[0].seal.raw_len = 3,
        "a block of changes is unusable",
    ),
    case(
        "a block that declares more than it has",
        |f| f.lengths.blocks[0].seal.raw_len += 1,
        "it has another length",
    ),
    case(
        "a block that is no zstd frame",
        |f| f.lengths.blocks[0].seal.packing = Packing::Stored,
        "it has another length",
    ),
    case(
        "a block that begins with another path",
        |f| f.lengths.blocks[0].first = RelPath::new("a").unwrap(),
        "block 0 begins with another path",
    ),
    case(
        "a block damaged where it is stored",
        |f| {
            f.on_stream = |chunks| {
                if let Some(last) = chunks[1].last_mut() {
                    *last ^= 1
                }
            }
        },
        "it does not match its hash",
    ),
    case(
        "lengths that only the block can refute",
        |f| {
            let head = &mut f.lengths.head;
            head.paths += 512;
            f.lengths.blocks[0].contents -= 512;
            f.on_rows = |rows| {
                rows[PATHS].len += 512;
                rows[CONTENTS].len -= 512;
            };
        },
        "the diff's contents take up to byte",
    ),
];

#[test]
fn blocks_that_lie() {
    check(READ);
}

/// Looks up each path by itself, and reads what is stored for it.
fn look_up(trees: &Trees, archive: Vec<u8>) -> Result<(), String> {
    let archive = Archive::from_source(archive, "hostile").map_err(|error| error.to_string())?;
    for change in trees.diff.changes() {
        archive.get(&change.path).map_err(chain)?;
    }
    Ok(())
}

#[test]
fn blocks_that_lie_to_a_lookup() {
    check_by(LOOKED_UP, look_up);
}
