//! Tar frames under other names than the diff's.

use crate::cases::{Case, case, check, header};

pub(crate) const CASES: &[Case] = &[
    case(
        "an absolute name",
        |f| header(f, |h| set_name(h, b"/etc/passwd")),
        "is named \"/etc/passwd\"",
    ),
    case("a name with dots", |f| header(f, |h| set_name(h, b"../../x")), "is named \"../../x\""),
    case(
        "a name to steer a terminal",
        |f| header(f, |h| set_name(h, b"\x1b[2J")),
        "is named \"\\0033[2J\"",
    ),
    case("no name", |f| header(f, |h| set_name(h, b"")), "is named \"\""),
    case("another folder", |f| header(f, |h| h.as_old_mut().name[0] = b'u'), "is named \"ureated/"),
    case(
        "upper case",
        |f| header(f, |h| h.as_mut_bytes()[8..40].make_ascii_uppercase()),
        "is named",
    ),
    case(
        "a name that goes on in the prefix field",
        |f| header(f, |h| h.as_mut_bytes()[345] = b'x'),
        "is named \"x/created",
    ),
    case("a name that is too long", |f| header(f, |h| h.as_mut_bytes()[40] = b'0'), "is named"),
    case(
        "diff.index under another name",
        |f| set_name(&mut f.frames[0].header, b"diff"),
        "diff.index at byte 0: the tar entry in its place is named \"diff\"",
    ),
    case(
        "PATHS under another name",
        |f| set_name(&mut f.frames[1].header, b"paths"),
        "PATHS at byte",
    ),
    case(
        "TABLE under another name",
        |f| f.on_table = |t| set_name(&mut t.header, b"table"),
        "TABLE at byte",
    ),
];

pub(crate) fn set_name(header: &mut tar::Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    field.fill(0);
    field[..name.len()].copy_from_slice(name);
}

#[test]
fn names_that_are_not_expected() {
    check(CASES);
}
