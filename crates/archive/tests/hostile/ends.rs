//! The end of the stream, and the trailer.

use crate::cases::{Case, case, check};
use crate::forge::pack;

pub(crate) const CASES: &[Case] = &[
    case("no end of the stream", |f| f.end.clear(), "the tar stream does not end after it"),
    case(
        "half an end of the stream",
        |f| f.end.truncate(512),
        "the tar stream does not end after it",
    ),
    case(
        "an end of the stream that is not zero",
        |f| f.end[1000] = 1,
        "the tar stream does not end after it",
    ),
    case(
        "a frame after the end",
        |f| f.end.extend([0; 512]),
        "the tar stream does not end after it",
    ),
    case(
        "bytes between TABLE and the trailer",
        |f| f.before_trailer = vec![0; 100],
        "do not match the trailer's hash",
    ),
    case(
        "a bomb between TABLE and the trailer",
        |f| f.before_trailer = pack(f.format, &vec![0; 10 << 20]),
        "do not match the trailer's hash",
    ),
    case("an unknown version", |f| f.on_payload = |p| p[7] = 2, "no archive of this program"),
    case(
        "TABLE beyond the end",
        |f| f.on_payload = |p| p[8..16].fill(0xff),
        "it says that TABLE is at byte 18446744073709551615",
    ),
    case(
        "TABLE at the start",
        |f| f.on_payload = |p| p[8..16].fill(0),
        "do not match the trailer's hash",
    ),
    case(
        "TABLE of another length",
        |f| f.on_payload = |p| p[16] ^= 1,
        "do not match the trailer's hash",
    ),
    case(
        "TABLE with another hash",
        |f| f.on_payload = |p| p[30] ^= 1,
        "do not match the trailer's hash",
    ),
    case(
        "a payload that is too short",
        |f| f.on_payload = |p| p.truncate(55),
        "no archive of this program",
    ),
    case(
        "a trailer that is not the last",
        |f| f.on_trailer = |t| t.push(0),
        "no archive of this program",
    ),
    case(
        "a trailer with another subfield",
        |f| f.on_trailer = |t| t[3] ^= 8,
        "no archive of this program",
    ),
    case("no trailer", |f| f.on_trailer = Vec::clear, "no archive of this program"),
];

#[test]
fn ends_that_lie() {
    check(CASES);
}
