//! The parts of long contents in an archive of volumes.

use crate::cases::{CREATED, Case, case, check_of, read};
use crate::common::{Trees, cat, noise, write};
use crate::forge::TarMember;
use crate::names::set_name;

/// The last part of the only content.
const LAST: usize = CREATED + 2;

pub(crate) const CASES: &[Case] = &[
    case("two parts swapped", |f| f.frames.swap(CREATED, CREATED + 1), "is named \"created/"),
    case(
        "a part twice",
        |f| f.frames.insert(CREATED, f.frames[CREATED].clone()),
        "its contents end at byte",
    ),
    case("a part missing", |f| drop(f.frames.remove(CREATED)), "its contents end at byte"),
    case(
        "a last part of another content",
        |f| set_name(&mut f.frames[LAST].header, b"created/x.00000003"),
        "is named \"created/x.00000003\"",
    ),
    case(
        "a part that is a link",
        |f| f.frames[LAST].header.set_entry_type(tar::EntryType::Link),
        "type '1'",
    ),
    case(
        "a part of another length",
        |f| f.frames[LAST].header.set_size(8),
        "its tar header says 8 bytes, not 7",
    ),
    case(
        "padding of a last part that is not zero",
        |f| f.frames[LAST].padding = Some(vec![1; 505]),
        "its padding is not zero",
    ),
    case(
        "bytes moved from one part to another",
        |f| {
            let moved = f.frames[CREATED].body.split_off(1024);
            f.frames[CREATED].header.set_size(1024);
            f.frames[CREATED + 1].body.splice(0..0, moved);
        },
        "its tar header says 1024 bytes, not 1048064",
    ),
    case(
        "one frame where parts should be",
        |f| {
            let body = f.frames.drain(CREATED..).flat_map(|part| part.body).collect::<Vec<u8>>();
            f.frames.push(TarMember::new("created/x", &body));
        },
        "its contents end at byte",
    ),
    case(
        "parts where one frame should be",
        |f| f.lengths.head.volume = 0,
        "the diff's contents take up to byte",
    ),
];

fn long() -> Trees {
    Trees::new(|_| (), |root| write(root, "long", &noise(1, 2 * ((1 << 20) - 512) + 7)))
}

#[test]
fn parts_that_lie() {
    check_of(long, |trees, format| cat(&trees.pack_volumes(format, 2 << 20).1), CASES, read);
}
