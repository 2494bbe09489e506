//! Tar frames that are swapped, missing, added, or have another's content.

use crate::cases::{CONTENTS, CREATED, Case, case, check};
use crate::forge::TarMember;

pub(crate) const CASES: &[Case] = &[
    case(
        "two contents swapped",
        |f| f.frames.swap(CREATED, CREATED + 1),
        "the tar entry in its place is named",
    ),
    case(
        "a content twice",
        |f| f.frames.insert(CREATED, f.frames[CREATED].clone()),
        "its contents end at byte",
    ),
    case("a content missing", |f| drop(f.frames.remove(CREATED)), "its contents end at byte"),
    case("all contents missing", |f| f.frames.truncate(CREATED), "its contents end at byte"),
    case(
        "a content that no change has",
        |f| f.frames.push(TarMember::new("created/x", b"x")),
        "its contents end at byte",
    ),
    case(
        "an unknown frame at the front",
        |f| f.frames.insert(0, TarMember::new("x", b"")),
        "its contents end at byte",
    ),
    case(
        "diff.index and PATHS swapped",
        |f| f.frames.swap(0, 1),
        "its frames are not cut where they must be",
    ),
    case(
        "two bodies swapped",
        |f| {
            // Of one length, so that only the digest shows it.
            f.frames[CREATED].body = b"CREATED".to_vec();
        },
        "created has another content",
    ),
    case(
        "an end of the stream in the midst of it",
        |f| f.on_stream = |chunks| chunks[CONTENTS][..1024].fill(0),
        "the tar stream ends before it",
    ),
    case(
        "PATHS that says something else",
        |f| f.frames[1].body[200] ^= 1,
        "it does not say what the diff says",
    ),
    case("a diff that is none", |f| f.frames[0].body.fill(0), "diff.index cannot be used"),
    case("another diff's end", |f| f.frames[0].body.reverse(), "diff.index cannot be used"),
];

#[test]
fn members_out_of_place() {
    check(CASES);
}
