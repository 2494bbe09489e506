//! Tar headers of other types, and of other sizes than what follows them.

use crate::cases::{CREATED, Case, case, check, header};

pub(crate) const TYPES: &[Case] = &[
    case(
        "a symbolic link",
        |f| header(f, |h| h.set_entry_type(tar::EntryType::Symlink)),
        "type '2'",
    ),
    case("a hard link", |f| header(f, |h| h.set_entry_type(tar::EntryType::Link)), "type '1'"),
    case("a device", |f| header(f, |h| h.set_entry_type(tar::EntryType::Char)), "type '3'"),
    case("a directory", |f| header(f, |h| h.set_entry_type(tar::EntryType::Directory)), "type '5'"),
    case("a fifo", |f| header(f, |h| h.set_entry_type(tar::EntryType::Fifo)), "type '6'"),
    case(
        "a GNU sparse file",
        |f| header(f, |h| h.set_entry_type(tar::EntryType::GNUSparse)),
        "type 'S'",
    ),
    case(
        "a GNU long name",
        |f| header(f, |h| h.set_entry_type(tar::EntryType::GNULongName)),
        "type 'L'",
    ),
    case("a PAX header", |f| header(f, |h| h.set_entry_type(tar::EntryType::XHeader)), "type 'x'"),
    case(
        "a global PAX header",
        |f| header(f, |h| h.set_entry_type(tar::EntryType::XGlobalHeader)),
        "type 'g'",
    ),
    case(
        "a link name in a regular file",
        |f| header(f, |h| h.set_link_name("/etc/passwd").unwrap()),
        "names a link",
    ),
    case("another mode", |f| header(f, |h| h.set_mode(0o4755)), "not one that this program writes"),
    case("another owner", |f| header(f, |h| h.set_uid(1000)), "not one that this program writes"),
    case("a time", |f| header(f, |h| h.set_mtime(1)), "not one that this program writes"),
    case(
        "GNU's magic",
        |f| header(f, |h| h.as_mut_bytes()[257..265].copy_from_slice(b"ustar  \0")),
        "not one that this program writes",
    ),
    case(
        "bytes after the header's fields",
        |f| header(f, |h| h.as_mut_bytes()[511] = 1),
        "not one that this program writes",
    ),
];

pub(crate) const SIZES: &[Case] = &[
    case("a size that is too large", |f| header(f, |h| h.set_size(8)), "says 8 bytes, not 7"),
    case("a size that is too small", |f| header(f, |h| h.set_size(6)), "says 6 bytes, not 7"),
    case(
        "a size of 2^63 and more",
        |f| header(f, |h| h.set_size(u64::MAX)),
        "says 18446744073709551615 bytes",
    ),
    case(
        "a size of no digits",
        |f| header(f, |h| h.as_old_mut().size = *b"0000000000x\0"),
        "size cannot be read",
    ),
    case(
        "a size written otherwise",
        |f| header(f, |h| h.as_old_mut().size = *b"          7 "),
        "not one that this program writes",
    ),
    case(
        "a body that is shorter than declared",
        |f| f.frames[CREATED].body.truncate(0),
        "its contents end at byte",
    ),
    case(
        "a body that is a block longer",
        |f| f.frames[CREATED].body.extend([0; 512]),
        "its contents end at byte",
    ),
    case(
        "padding that is not zero",
        |f| f.frames[CREATED].padding = Some(vec![1; 505]),
        "its padding is not zero",
    ),
    case(
        "padding of PATHS that is not zero",
        |f| {
            let len = f.frames[1].body.len();
            f.frames[1].padding = Some(vec![b'\n'; len.next_multiple_of(512) - len]);
        },
        "PATHS at byte",
    ),
    case(
        "padding of diff.index that is not zero",
        |f| {
            let len = f.frames[0].body.len();
            f.frames[0].padding = Some(vec![b'\n'; len.next_multiple_of(512) - len]);
        },
        "its padding is not zero",
    ),
    case(
        "a missing padding",
        |f| f.frames[CREATED].padding = Some(vec![]),
        "its contents end at byte",
    ),
];

#[test]
fn headers_of_other_types() {
    check(TYPES);
}

#[test]
fn sizes_that_do_not_fit() {
    check(SIZES);
}
