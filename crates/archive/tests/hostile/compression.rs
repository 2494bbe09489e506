//! Compressed frames that are not what they are said to be.

use archive::Format;

use crate::cases::{CONTENTS, Case, PATHS, case, check, read};
use crate::common::{FORMATS, small};
use crate::forge::{Forge, pack};
use crate::limits::Meter;

pub(crate) const CASES: &[Case] = &[
    case(
        "a frame that unpacks to more than declared",
        |f| f.on_packed = |packed| packed[CONTENTS] = pack_like(&packed[CONTENTS], 4 << 20),
        "it unpacks to more than is declared",
    ),
    case(
        "a frame that unpacks to less",
        |f| f.on_packed = |packed| packed[CONTENTS] = pack_like(&packed[CONTENTS], 10),
        "it has another length than is declared",
    ),
    case(
        "a bomb",
        |f| f.on_packed = |packed| packed[CONTENTS] = pack_like(&packed[CONTENTS], 64 << 20),
        "it unpacks to more than is declared",
    ),
    case(
        "a bomb as diff.index",
        |f| f.on_packed = |packed| packed[0] = pack_like(&packed[0], 64 << 20),
        "diff.index at byte 0: it unpacks to more than is declared",
    ),
    case(
        "two frames declared as one",
        |f| {
            f.on_packed =
                |packed| packed[CONTENTS] = [&packed[CONTENTS][..], &packed[PATHS]].concat()
        },
        "it has another length than is declared",
    ),
    case(
        "bytes after a frame",
        |f| f.on_packed = |packed| packed[CONTENTS].extend([0; 9]),
        "it has another length than is declared",
    ),
    case(
        "a frame cut short",
        |f| f.on_packed = |packed| _ = packed[CONTENTS].pop(),
        "hostile: created/",
    ),
    case(
        "no frame where one is declared",
        |f| f.on_packed = |packed| packed[CONTENTS].fill(0),
        "hostile: created/",
    ),
    case(
        "a wrong checksum",
        |f| {
            f.on_packed = |packed| {
                if let Some(last) = packed[CONTENTS].last_mut() {
                    *last ^= 1
                }
            }
        },
        "hostile: created/",
    ),
];

/// Zeros, packed as `packed` is.
fn pack_like(packed: &[u8], len: usize) -> Vec<u8> {
    let format = if packed[0] == 0x1f { Format::Gzip } else { Format::Zstd };
    pack(format, &vec![0; len])
}

#[test]
fn compressed_members_that_lie() {
    check(CASES);
}

/// What unpacks to far more than it should is not unpacked.
#[test]
fn bombs_cost_no_memory() {
    let meter = Meter::alone();
    let trees = small();
    for format in FORMATS {
        let mut forge = Forge::take_apart(format, &trees.pack(format).unwrap());
        // 2 GiB of zeros where the diff should be, declared as such wherever it can be.
        forge.lengths.head.diff = 2 << 30;
        forge.on_packed = |packed| {
            let zeros = pack_like(&packed[0], 1 << 20);
            packed.splice(0..PATHS, vec![zeros; 2049]);
        };
        forge.on_rows = |rows| rows.iter_mut().for_each(|row| row.len = 1 << 20);
        let archive = forge.build();
        let error = meter.within_limits("2 GiB", || read(&trees, archive)).unwrap_err();
        assert!(error.contains("diff.index at byte 0: it is said to have 2147483648"), "{error}");
    }
}
