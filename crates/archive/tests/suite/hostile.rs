//! Archives that somebody has bent with care, every checksum right: each is refused, and the
//! message says what is wrong. Whatever they declare, little memory is used.

use archive::{Archive, DiffData, Format};
use dirindex::RelPath;
use dirindex::sections::{Packing, Section};

use crate::common::{FORMATS, Trees, read_all, small};
use crate::forge::{BlockRow, Forge, Row, TarMember, pack};

/// Opens, reads everything, verifies.
fn read(trees: &Trees, archive: Vec<u8>) -> Result<(), String> {
    let data = DiffData::from_source(archive, "hostile").map_err(|error| error.to_string())?;
    read_all(&data, &trees.old_path())?;
    data.verify(None).map_err(|error| error.to_string())
}

/// The contents of [`small`] in the order of the archive: after `diff.index` and PATHS.
const CREATED: usize = 2;

/// The compressed members of [`small`]: `diff.index` up to its one block, that block, the rest of
/// `diff.index`, PATHS, the contents.
const PATHS: usize = 3;
const CONTENTS: usize = 4;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    bend: fn(&mut Forge),
    expected: &'static str,
}

const fn case(name: &'static str, bend: fn(&mut Forge), expected: &'static str) -> Case {
    Case { name, bend, expected }
}

/// Changes a header of the first content.
fn header(forge: &mut Forge, change: impl FnOnce(&mut tar::Header)) {
    change(&mut forge.members[CREATED].header);
}

const NAMES: &[Case] = &[
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
        |f| set_name(&mut f.members[0].header, b"diff"),
        "diff.index at byte 0: the tar member in its place is named \"diff\"",
    ),
    case(
        "PATHS under another name",
        |f| set_name(&mut f.members[1].header, b"paths"),
        "PATHS at byte",
    ),
    case(
        "TABLE under another name",
        |f| f.on_table = |t| set_name(&mut t.header, b"table"),
        "TABLE at byte",
    ),
];

fn set_name(header: &mut tar::Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    field.fill(0);
    field[..name.len()].copy_from_slice(name);
}

const TYPES: &[Case] = &[
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

const SIZES: &[Case] = &[
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
        |f| f.members[CREATED].body.truncate(0),
        "its contents end at byte",
    ),
    case(
        "a body that is a block longer",
        |f| f.members[CREATED].body.extend([0; 512]),
        "its contents end at byte",
    ),
    case(
        "padding that is not zero",
        |f| f.members[CREATED].padding = Some(vec![1; 505]),
        "its padding is not zero",
    ),
    case(
        "padding of PATHS that is not zero",
        |f| {
            let len = f.members[1].body.len();
            f.members[1].padding = Some(vec![b'\n'; len.next_multiple_of(512) - len]);
        },
        "PATHS at byte",
    ),
    case(
        "padding of diff.index that is not zero",
        |f| {
            let len = f.members[0].body.len();
            f.members[0].padding = Some(vec![b'\n'; len.next_multiple_of(512) - len]);
        },
        "its padding is not zero",
    ),
    case(
        "a missing padding",
        |f| f.members[CREATED].padding = Some(vec![]),
        "its contents end at byte",
    ),
];

const ORDER: &[Case] = &[
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

const COMPRESSION: &[Case] = &[
    case(
        "a member that unpacks to more than declared",
        |f| f.on_packed = |packed| packed[CONTENTS] = pack_like(&packed[CONTENTS], 4 << 20),
        "it unpacks to more than is declared",
    ),
    case(
        "a member that unpacks to less",
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
        "two members declared as one",
        |f| {
            f.on_packed =
                |packed| packed[CONTENTS] = [&packed[CONTENTS][..], &packed[PATHS]].concat()
        },
        "it has another length than is declared",
    ),
    case(
        "bytes after a member",
        |f| f.on_packed = |packed| packed[CONTENTS].extend([0; 9]),
        "it has another length than is declared",
    ),
    case(
        "a member cut short",
        |f| f.on_packed = |packed| _ = packed[CONTENTS].pop(),
        "hostile: created/",
    ),
    case(
        "no member where one is declared",
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

const TABLES: &[Case] = &[
    case(
        "a member listed longer",
        |f| f.on_rows = |rows| rows[CONTENTS].len += 512,
        "its contents end at byte",
    ),
    case(
        "a member listed shorter",
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
        "its members end at byte",
    ),
    case("a member too few", |f| f.on_rows = |rows| _ = rows.pop(), "its members end at byte"),
    case(
        "a member too many",
        |f| f.on_rows = |rows| rows.push(rows[0].clone()),
        "its members end at byte",
    ),
    case("a member of no length", |f| f.on_rows = |rows| rows[1].len = 0, "it lists member 1 with"),
    case(
        "a member of no bytes",
        |f| f.on_rows = |rows| rows[1].stored = 0,
        "it lists member 1 with",
    ),
    case(
        "a member of 4 GiB",
        |f| f.on_rows = |rows| rows[1].len = u32::MAX,
        "it lists member 1 with",
    ),
    case(
        "a member stored in 4 GiB",
        |f| f.on_rows = |rows| rows[1].stored = u32::MAX,
        "it lists member 1 with",
    ),
    case("no members", |f| f.on_rows = |rows| rows.clear(), "its members end at byte 0"),
    case(
        "more members than fit",
        |f| {
            f.on_sections = |sections| {
                let row = Row { stored: 1 << 20, len: 1 << 20, check: [0; 8] };
                sections[1].1 = Section::encode(2, &vec![row; 1 << 18]).unwrap();
            }
        },
        "it lists more than the archive can hold",
    ),
    case(
        "members not cut before PATHS",
        |f| {
            f.on_stream = |chunks| {
                let next = chunks.remove(PATHS);
                chunks[PATHS - 1].extend(next);
            }
        },
        "not cut where they must be",
    ),
    case(
        "members not cut before the contents",
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
        "members that are none",
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

const BLOCKS: &[Case] = &[
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
        "it lists other blocks than the diff has",
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
const LOOKUPS: &[Case] = &[
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
        |f| f.lengths.blocks[0].seal.raw_len = u64::MAX,
        "it declares 18446744073709551615 bytes",
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

const ENDS: &[Case] = &[
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
        "a member after the end",
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
fn what_is_put_together_unbent_is_the_archive() {
    let trees = small();
    for format in FORMATS {
        let honest = trees.pack(format).unwrap();
        let forged = Forge::take_apart(format, &honest).build();
        assert!(read(&trees, forged.clone()).is_ok());
        assert!(forged == honest, "docs/format.md says another thing than the code does");
    }
}

fn check(cases: &[Case]) {
    check_by(cases, read);
}

/// Looks up each path by itself, and reads what is stored for it.
fn look_up(trees: &Trees, archive: Vec<u8>) -> Result<(), String> {
    let archive = Archive::from_source(archive, "hostile").map_err(|error| error.to_string())?;
    for change in trees.diff.changes() {
        archive.get(&change.path).map_err(chain)?;
    }
    Ok(())
}

fn chain(error: archive::Error) -> String {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn check_by(cases: &[Case], read: fn(&Trees, Vec<u8>) -> Result<(), String>) {
    let trees = small();
    for format in FORMATS {
        let honest = trees.pack(format).unwrap();
        for Case { name, bend, expected } in cases {
            let mut forge = Forge::take_apart(format, &honest);
            bend(&mut forge);
            let error = read(&trees, forge.build()).expect_err(name);
            assert!(error.starts_with("hostile: "), "{format:?}, {name}: {error}");
            assert!(error.contains(expected), "{format:?}, {name}: {error}");
        }
    }
}

/// What unpacks to far more than it should is not unpacked.
#[test]
fn bombs_cost_no_memory() {
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
        let error = read(&trees, forge.build()).unwrap_err();
        assert!(error.contains("diff.index at byte 0: it is said to have 2147483648"), "{error}");
    }
}

#[test]
fn names_that_are_not_expected() {
    check(NAMES);
}

#[test]
fn headers_of_other_types() {
    check(TYPES);
}

#[test]
fn sizes_that_do_not_fit() {
    check(SIZES);
}

#[test]
fn members_out_of_place() {
    check(ORDER);
}

#[test]
fn compressed_members_that_lie() {
    check(COMPRESSION);
}

#[test]
fn tables_that_lie() {
    check(TABLES);
}

#[test]
fn blocks_that_lie() {
    check(BLOCKS);
}

#[test]
fn blocks_that_lie_to_a_lookup() {
    check_by(LOOKUPS, look_up);
}

/// As many as the project asks for, each with an error of its own.
#[test]
fn there_are_a_hundred_cases_and_more() {
    let all = [NAMES, TYPES, SIZES, ORDER, COMPRESSION, TABLES, BLOCKS, LOOKUPS, ENDS].concat();
    assert!(all.len() >= 100, "{}", all.len());
}

#[test]
fn ends_that_lie() {
    check(ENDS);
}
