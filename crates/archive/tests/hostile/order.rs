//! Tar members that are swapped, missing, added, or have another's content.

use crate::cases::{CONTENTS, CREATED, Case, case, check};
use crate::forge::TarMember;

pub(crate) const CASES: &[Case] = &[
    case(
        "two contents swapped",
        |f| f.members.swap(CREATED, CREATED + 1),
        "the tar member in its place is named",
    ),
    case(
        "a content twice",
        |f| f.members.insert(CREATED, f.members[CREATED].clone()),
        "its contents end at byte",
    ),
    case("a content missing", |f| drop(f.members.remove(CREATED)), "its contents end at byte"),
    case("all contents missing", |f| f.members.truncate(CREATED), "its contents end at byte"),
    case(
        "a content that no change has",
        |f| f.members.push(TarMember::new("created/x", b"x")),
        "its contents end at byte",
    ),
    case(
        "an unknown member at the front",
        |f| f.members.insert(0, TarMember::new("x", b"")),
        "its contents end at byte",
    ),
    case(
        "diff.index and PATHS swapped",
        |f| f.members.swap(0, 1),
        "its members are not cut where they must be",
    ),
    case(
        "two bodies swapped",
        |f| {
            // Of one length, so that nothing but the digest tells.
            f.members[CREATED].body = b"CREATED".to_vec();
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
        |f| f.members[1].body[200] ^= 1,
        "it does not say what the diff says",
    ),
    case("a diff that is none", |f| f.members[0].body.fill(0), "diff.index cannot be used"),
    case("another diff's end", |f| f.members[0].body.reverse(), "diff.index cannot be used"),
];

#[test]
fn members_out_of_place() {
    check(CASES);
}
