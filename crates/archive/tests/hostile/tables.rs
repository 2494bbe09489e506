//! What TABLE says of the frames, and of itself.

use container::{Packing, Section};

use crate::cases::{CONTENTS, Case, PATHS, case, check};
use crate::forge::Row;
use crate::held::count;

pub(crate) const CASES: &[Case] = &[
    case(
        "a frame listed longer",
        |f| f.on_rows = |rows| rows[CONTENTS].len += 512,
        "its contents end at byte",
    ),
    case(
        "a frame listed shorter",
        |f| f.on_rows = |rows| rows[CONTENTS].len -= 512,
        "its contents end at byte",
    ),
    case(
        "lengths moved from one to another",
        |f| {
            f.on_rows = |rows| {
                rows[CONTENTS].len -= 10;
                let tail = Row { len: 10, ..rows[CONTENTS] };
                rows[CONTENTS].stored -= 1;
                rows.push(Row { stored: 1, ..tail });
            }
        },
        "hostile: created/",
    ),
    case(
        "stored lengths moved",
        |f| {
            f.on_rows = |rows| {
                rows[0].stored += 1;
                rows[1].stored -= 1;
            }
        },
        "diff.index at byte 0: it has another length",
    ),
    case(
        "a stored length too many",
        |f| f.on_rows = |rows| rows[CONTENTS].stored += 1,
        "its frames end at byte",
    ),
    case("a frame too few", |f| f.on_rows = |rows| _ = rows.pop(), "its frames end at byte"),
    case(
        "a frame too many",
        |f| f.on_rows = |rows| rows.push(rows[0].clone()),
        "its frames end at byte",
    ),
    case("a frame of no length", |f| f.on_rows = |rows| rows[1].len = 0, "it lists frame 1 with"),
    case("a frame of no bytes", |f| f.on_rows = |rows| rows[1].stored = 0, "it lists frame 1 with"),
    case(
        "a frame of 4 GiB",
        |f| f.on_rows = |rows| rows[1].len = u32::MAX,
        "it lists frame 1 with",
    ),
    case(
        "a frame stored in 4 GiB",
        |f| f.on_rows = |rows| rows[1].stored = u32::MAX,
        "it lists frame 1 with",
    ),
    case("no frames", |f| f.on_rows = |rows| rows.clear(), "its frames end at byte 0"),
    case(
        "more frames than fit",
        |f| {
            f.on_sections = |sections| {
                // Two numbers of 1 MiB, and a check.
                let mib = [252, 0, 0, 16, 0];
                let row = [&mib[..], &mib, &[0; 8]].concat();
                let rows = [count(1 << 18), row.repeat(1 << 18)].concat();
                sections[1].1 = Section::new(2, rows, Packing::Zstd).unwrap();
            }
        },
        "it lists more than the archive can hold",
    ),
    case(
        "frames not cut before PATHS",
        |f| {
            f.on_stream = |chunks| {
                let next = chunks.remove(PATHS);
                chunks[PATHS - 1].extend(next);
            }
        },
        "not cut where they must be",
    ),
    case(
        "frames not cut before the contents",
        |f| {
            f.on_stream = |chunks| {
                let next = chunks.remove(CONTENTS);
                chunks[PATHS].extend(next);
            }
        },
        "not cut where they must be",
    ),
    case("a delta too few", |f| f.lengths.deltas.truncate(1), "its blocks have 2 deltas, not 1"),
    case("a delta too many", |f| f.lengths.deltas.push(0), "its blocks have 2 deltas, not 3"),
    case(
        "a delta too few, and its block says so",
        |f| {
            f.lengths.deltas.truncate(1);
            f.lengths.blocks[0].deltas = 1;
        },
        "it lists fewer deltas than the diff",
    ),
    case(
        "a delta too many, and its block says so",
        |f| {
            f.lengths.deltas.push(0);
            f.lengths.blocks[0].deltas = 3;
        },
        "it lists more deltas than the diff",
    ),
    case(
        "a delta of another length, within its block",
        |f| f.lengths.deltas[0] += 512,
        "the diff's contents take up to byte",
    ),
    case("a delta of another length", |f| f.lengths.deltas[0] += 1, "bytes, not"),
    case(
        "a delta of 2^64",
        |f| f.lengths.deltas[0] = u64::MAX,
        "it declares more than any archive can hold",
    ),
    case(
        "deltas that add up to more than 2^64",
        |f| f.lengths.deltas.fill(u64::MAX / 2),
        "it declares more than any archive can hold",
    ),
    case("diff.index of another length", |f| f.lengths.head.diff -= 1, "bytes, not"),
    case("diff.index of 2^64", |f| f.lengths.head.diff = u64::MAX, "diff.index at byte 0"),
    case("diff.index of 2^62", |f| f.lengths.head.diff = 1 << 62, "diff.index at byte 0"),
    case("PATHS of another length", |f| f.lengths.head.paths += 1000, "its contents end at byte"),
    case(
        "PATHS of 2^64",
        |f| f.lengths.head.paths = u64::MAX,
        "it declares more than any archive can hold",
    ),
    case(
        "a section of an unknown kind",
        |f| f.on_sections = |s| s.push((9, Section::encode(9, &7u64).unwrap())),
        "it has other sections",
    ),
    case("no lengths", |f| f.on_sections = |s| drop(s.remove(0)), "it has other sections"),
    case(
        "lengths twice",
        |f| f.on_sections = |s| s.push((1, Section::encode(1, &(7u64, 7u64)).unwrap())),
        "it has other sections",
    ),
    case(
        "frames that are none",
        |f| {
            f.on_sections = |s| s[1] = (2, Section::new(2, vec![0xff; 9], Packing::Stored).unwrap())
        },
        "TABLE at byte",
    ),
    case(
        "a list that claims to be endless",
        |f| {
            f.on_sections = |s| {
                s[2] = (
                    3,
                    Section::new(3, [&[253][..], &[0xff; 8]].concat(), Packing::Stored).unwrap(),
                )
            }
        },
        "TABLE at byte",
    ),
    case("a TABLE that is none", |f| f.on_table = |t| t.body.fill(7), "TABLE at byte"),
];

#[test]
fn tables_that_lie() {
    check(CASES);
}
