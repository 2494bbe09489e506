//! Directories that moved as a whole, and did not: what an archive alone can tell, and what only the tree before it.

use std::fs;

use archive::{Archive, DiffData, Snapshot};
use container::{Section, Sections};
use diffindex::{Change, Content, DiffIndex};
use dirindex::{DirIndex, Meta, Node, RelPath};
use rsync_core::Digest;
use serde::{Deserialize, Serialize};

use crate::cases::{Case, case, check_of};
use crate::common::{FORMATS, Trees, chain, write};
use crate::forge::Forge;
use crate::limits::Meter;

/// A change as `docs/format.md` has it.
type Row = (RelPath, Option<Node>, Outcome);

#[derive(Clone, Serialize, Deserialize)]
enum Outcome {
    Gone,
    New((Node, Meta, Content, Option<u32>)),
    Excluded,
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Rows for the old place and the new one of a directory.
fn moved() -> Trees {
    Trees::new(
        |root| (0..20).for_each(|n| write(root, format!("d/{n:02}"), b"content")),
        |root| fs::rename(root.join("d"), root.join("e")).unwrap(),
    )
}

/// Bends the two rows, or adds some.
fn rows(forge: &mut Forge, bend: impl FnOnce(&mut Vec<Row>)) {
    let sections = Sections::from_bytes(forge.frames[0].body.clone(), *b"DIFF").unwrap();
    let mut rows: Vec<Row> = sections.decode_all(2).unwrap();
    assert_eq!(rows.len(), 2);
    bend(&mut rows);
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    forge.set_sections(&[Section::encode(2, &rows).unwrap()], &[]);
    forge.lengths.blocks[0].first = rows[0].0.clone();
}

/// What is to stand at the new place.
fn comes(rows: &mut [Row]) -> &mut (Node, Meta, Content, Option<u32>) {
    match &mut rows[1].2 {
        Outcome::New(new) => new,
        _ => panic!("the second row is of what comes"),
    }
}

/// The new place's row, at another path.
fn comes_at(rows: &[Row], at: &str) -> Row {
    (path(at), None, rows[1].2.clone())
}

/// A row of an empty file, new or gone.
fn file(rows: &[Row], at: &str, new: bool) -> Row {
    let node = Node::File { len: 0, digest: Digest::of(b"") };
    let mut rows = rows.to_vec();
    let meta = comes(&mut rows).1.clone();
    match new {
        true => (path(at), None, Outcome::New((node, meta, Content::Keep, None))),
        false => (path(at), Some(node), Outcome::Gone),
    }
}

fn base(rows: &mut [Row]) -> &mut RelPath {
    match &mut comes(rows).2 {
        Content::Tree { base, .. } => base,
        other => panic!("{other:?}"),
    }
}

const STAYS: &str = "a directory that moves as a whole, and does not at d";
const NOWHERE: &str = "a directory moved where none can come at e";

pub(crate) const READ: &[Case] = &[
    case("an old place that does not go", |f| rows(f, |rows| drop(rows.remove(0))), STAYS),
    case(
        "an old place that stays a directory",
        |f| {
            rows(f, |rows| {
                let mut stays = comes_at(rows, "d");
                stays.1 = Some(Node::Dir);
                if let Outcome::New(new) = &mut stays.2 {
                    new.2 = Content::Keep;
                }
                rows[0] = stays;
            })
        },
        STAYS,
    ),
    case(
        "an old place that was a file",
        |f| rows(f, |rows| rows[0] = file(rows, "d", false)),
        STAYS,
    ),
    case(
        "an old place that is nowhere",
        |f| rows(f, |rows| *base(rows) = path("f")),
        "a directory that moves as a whole, and does not at f",
    ),
    case("moved twice", |f| rows(f, |rows| rows.push(comes_at(rows, "f"))), STAYS),
    case("something left behind", |f| rows(f, |rows| rows.push(file(rows, "d/00", false))), STAYS),
    case(
        "something new below the new place",
        |f| rows(f, |rows| rows.push(file(rows, "e/new", true))),
        "a change inside a directory that moved as a whole at e/new",
    ),
    case(
        "something gone below the new place",
        |f| rows(f, |rows| rows.push(file(rows, "e/00", false))),
        "something old inside what was no directory at e/00",
    ),
    case(
        "another directory that moved, below the new place",
        |f| {
            rows(f, |rows| {
                rows.push((path("g"), Some(Node::Dir), Outcome::Gone));
                let mut inner = rows.clone();
                *base(&mut inner) = path("g");
                rows.push(comes_at(&inner, "e/g"));
            })
        },
        "a change inside a directory that moved as a whole at e/g",
    ),
    case(
        "moved into itself",
        |f| {
            rows(f, |rows| {
                rows[1].0 = path("d/e");
            })
        },
        "a directory moved where none can come at d/e",
    ),
    case("moved over another", |f| rows(f, |rows| rows[1].1 = Some(Node::Dir)), NOWHERE),
    case(
        "moved with nothing in it",
        |f| {
            rows(f, |rows| {
                if let Content::Tree { entries, .. } = &mut comes(rows).2 {
                    *entries = 0;
                }
            })
        },
        NOWHERE,
    ),
    case(
        "a file moved as a directory",
        |f| rows(f, |rows| comes(rows).0 = Node::File { len: 7, digest: Digest::of(b"content") }),
        "a file moved as a directory at e",
    ),
    case(
        "a pipe moved as a directory",
        |f| rows(f, |rows| comes(rows).0 = Node::Fifo),
        "content for what has none at e",
    ),
];

/// To who looks for a path below the new place.
pub(crate) const LOOKED_UP: &[Case] = &[
    case("an old place that does not go", |f| rows(f, |rows| drop(rows.remove(0))), STAYS),
    case(
        "an old place that was a file",
        |f| rows(f, |rows| rows[0] = file(rows, "d", false)),
        STAYS,
    ),
    case(
        "something new at the path",
        |f| rows(f, |rows| rows.push(file(rows, "e/07", true))),
        "a change inside a directory that moved as a whole at e/07",
    ),
    case(
        "another directory that moved, around the path",
        |f| rows(f, |rows| rows.push(comes_at(rows, "e/07"))),
        "a change inside a directory that moved as a whole at e/07",
    ),
    case("moved over another", |f| rows(f, |rows| rows[1].1 = Some(Node::Dir)), NOWHERE),
];

fn pack(trees: &Trees, format: archive::Format) -> Vec<u8> {
    trees.pack(format).unwrap()
}

#[test]
fn moves_that_lie() {
    check_of(moved, pack, READ, |_, archive| {
        DiffData::from_source(archive, "hostile").map(drop).map_err(chain)
    });
}

/// The full backup before the move.
fn full(trees: &Trees) -> Vec<u8> {
    let (dir, nothing) = (dirindex::Dir::new(trees.old_path()).unwrap(), DirIndex::empty());
    let (diff, mut packed) = (DiffIndex::between(&nothing, &trees.old), Vec::new());
    DiffData::write(&dir, &nothing, &diff, &mut packed, &Default::default()).unwrap();
    packed
}

#[test]
fn moves_that_lie_to_a_lookup() {
    check_of(moved, pack, LOOKED_UP, |trees, archive| {
        let archives = [full(trees), archive]
            .map(|bytes| Archive::from_source(bytes, "hostile").map_err(chain));
        let archives = archives.into_iter().collect::<Result<Vec<_>, String>>()?;
        Snapshot::find(&archives, &[path("e/07")]).map(drop).map_err(chain)
    });
}

/// Only the tree before it shows what moved, and how much. Until then it costs nothing.
#[test]
fn moves_that_only_the_tree_before_refutes() {
    let meter = Meter::alone();
    let trees = moved();
    let lies: [fn(&mut u64, &mut Digest); 3] =
        [|entries, _| *entries = u64::MAX, |entries, _| *entries -= 1, |_, hash| hash.0[5] ^= 1];
    for (format, lie) in FORMATS.into_iter().flat_map(|format| lies.map(|lie| (format, lie))) {
        let mut forge = Forge::take_apart(format, &pack(&trees, format));
        rows(&mut forge, |rows| {
            if let Content::Tree { entries, hash, .. } = &mut comes(rows).2 {
                lie(entries, hash);
            }
        });
        let full = DiffData::from_source(full(&trees), "full").unwrap();
        meter.within_limits("a move of another", || {
            let data = DiffData::from_source(forge.build(), "hostile").unwrap();
            let error = data.diff().apply_to(&trees.old).unwrap_err().to_string();
            assert!(error.ends_with("the base index says something else at d"), "{error}");
            let parts = [full, data];
            let error = DiffData::squash(&parts).map(drop).map_err(chain).unwrap_err();
            assert!(error.ends_with("do not agree on what stands between them at d"), "{error}");
            // Of some of it, nobody can tell whether it is all.
            let archives = parts.map(|part| part.archives()[0].clone());
            Snapshot::find(&archives, &[path("e/07")]).unwrap();
        });
    }
}

/// What moved in a full backup was never there.
#[test]
fn nothing_moves_in_a_full_backup() {
    let _alone = Meter::alone();
    let trees = moved();
    let (nothing, result) = (DirIndex::empty(), trees.diff.result());
    let changes: Vec<Change> = trees.diff.changes().to_vec();
    let diff = DiffIndex::from_changes(nothing.tree_id(), result, changes).unwrap();
    for format in FORMATS {
        let lying = Trees { diff: diff.clone(), old: nothing.clone(), ..moved() };
        let packed = pack(&lying, format);
        let archive = Archive::from_source(packed, "hostile").unwrap();
        let data = archive.load().unwrap();
        let errors = [
            Snapshot::find(std::slice::from_ref(&archive), &[path("e")]).map(drop),
            Snapshot::find(std::slice::from_ref(&archive), &[path("e/07")]).map(drop),
            Snapshot::open(std::slice::from_ref(&archive)).map(drop),
            Snapshot::of(vec![data.clone()]).map(drop),
        ];
        for error in errors {
            let error = chain(error.unwrap_err());
            assert!(error.ends_with("something taken from where nothing was at d"), "{error}");
        }
        let error = data.diff().apply_to(&nothing).unwrap_err().to_string();
        assert!(error.ends_with("the base index says something else at d"), "{error}");
        let back = DiffIndex::between(&trees.new, &trees.old);
        let error = DiffIndex::squash(&[data.diff().clone(), back]).unwrap_err().to_string();
        assert!(error.ends_with("something taken from where nothing was at d"), "{error}");
    }
}
