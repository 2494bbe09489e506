//! A case: how an honest archive is bent, and what is to be said of it. Every checksum is right.

use archive::{DiffData, Format};
use dirindex::Node;
use rsync_core::Digest;

use crate::common::{FORMATS, Trees, read_all, read_stream, small};
use crate::forge::Forge;
use crate::limits::Meter;

/// Opens, reads everything, verifies.
pub(crate) fn read(trees: &Trees, archive: Vec<u8>) -> Result<(), String> {
    let data = DiffData::from_source(archive, "hostile").map_err(|error| error.to_string())?;
    read_all(&data, &trees.old_path())?;
    data.verify(None).map_err(|error| error.to_string())
}

/// Reads front to back, and compares what is stored whole with its digest, as who applies it does.
fn read_forward(trees: &Trees, archive: &[u8]) -> Result<(), String> {
    let (diff, contents) = read_stream(archive, "hostile", &trees.old_path())?;
    for change in diff.changes() {
        let content = contents.get(&change.path.to_string());
        let new = change.new.as_ref().map(|new| &new.node);
        if let (Some(content), Some(Node::File { digest, .. })) = (content, new)
            && Digest::of(content) != *digest
        {
            return Err(format!("hostile: {} has another content", change.path));
        }
    }
    Ok(())
}

/// The contents of [`small`] in the order of the archive: after `diff.index` and PATHS.
pub(crate) const CREATED: usize = 2;

/// The frames of [`small`]: `diff.index` up to its one block, that block, the rest of
/// `diff.index`, PATHS, the contents.
pub(crate) const PATHS: usize = 3;
pub(crate) const CONTENTS: usize = 4;

#[derive(Clone, Copy)]
pub(crate) struct Case {
    name: &'static str,
    bend: fn(&mut Forge),
    expected: &'static str,
}

pub(crate) const fn case(name: &'static str, bend: fn(&mut Forge), expected: &'static str) -> Case {
    Case { name, bend, expected }
}

/// Changes a header of the first content.
pub(crate) fn header(forge: &mut Forge, change: impl FnOnce(&mut tar::Header)) {
    change(&mut forge.frames[CREATED].header);
}

/// Each case's archive must be refused by who reads all of it, from its end or front to back, with the error that is expected and within
/// the [limits](Meter).
pub(crate) fn check(cases: &[Case]) {
    check_by(cases, read);
}

/// [`check`], with another way to read.
pub(crate) fn check_by(cases: &[Case], read: fn(&Trees, Vec<u8>) -> Result<(), String>) {
    let pack = |trees: &Trees, format| trees.pack(format).unwrap();
    check_of(small, pack, cases, read);
}

/// [`check_by`], of other archives.
pub(crate) fn check_of(
    trees: fn() -> Trees,
    pack: impl Fn(&Trees, Format) -> Vec<u8>,
    cases: &[Case],
    read: fn(&Trees, Vec<u8>) -> Result<(), String>,
) {
    let meter = Meter::alone();
    let trees = trees();
    for format in FORMATS {
        let honest = pack(&trees, format);
        for Case { name, bend, expected } in cases {
            let mut forge = Forge::take_apart(format, &honest);
            bend(&mut forge);
            let archive = forge.build();
            let forward = meter.within_limits(name, || read_forward(&trees, &archive));
            let error = forward.expect_err(name);
            assert!(error.starts_with("hostile: "), "{format:?}, {name}, forward: {error}");
            let error = meter.within_limits(name, || read(&trees, archive)).expect_err(name);
            assert!(error.starts_with("hostile: "), "{format:?}, {name}: {error}");
            assert!(error.contains(expected), "{format:?}, {name}: {error}");
        }
    }
}

#[test]
fn what_is_put_together_unbent_is_the_archive() {
    let _alone = Meter::alone();
    let trees = small();
    for format in FORMATS {
        let honest = trees.pack(format).unwrap();
        let forged = Forge::take_apart(format, &honest).build();
        assert!(read(&trees, forged.clone()).is_ok());
        assert!(read_forward(&trees, &forged).is_ok());
        assert!(forged == honest, "docs/format.md says another thing than the code does");
    }
}
