//! What a diff with data says: its changes and its contents. Must not know any target.

use std::io::Read;

use archive::{Archive, DiffData, Snapshot};
use diffindex::{Merge, Signatures};
use dirindex::{DirIndex, RelPath};

/// Each content, unless one cannot be read.
pub(crate) fn contents(data: &DiffData) -> Option<Vec<(RelPath, Vec<u8>)>> {
    let mut reader = data.reader();
    let stored = data.diff().changes().iter().filter(|change| change.stored_content().is_some());
    let read = stored.map(|change| {
        let (mut body, mut bytes) = (reader.open(change).ok()?, Vec::new());
        let declared = body.remaining();
        body.read_to_end(&mut bytes).ok()?;
        assert_eq!(bytes.len() as u64, declared);
        Some((change.path.clone(), bytes))
    });
    read.collect()
}

/// The changes, as bytes.
pub(crate) fn carried(data: &DiffData) -> Vec<u8> {
    let mut bytes = Vec::new();
    data.diff().write_to(&mut bytes, Signatures::None).expect("what was read can be written");
    bytes
}

/// What is looked up at `path` in archives of these `parts` is what the merge of all of them selects.
#[allow(dead_code, reason = "not all targets look up paths")]
pub(crate) fn check_lookup(archives: &[Archive], parts: &[DiffData], path: &RelPath) {
    let paths = std::slice::from_ref(path);
    let merge = parts
        .iter()
        .try_fold(Merge::from_nothing(), |merge, part| merge.push(part.diff().clone(), |_| [()]));
    // Of nothing, nothing is taken.
    let nothing = |_: &RelPath| Err(diffindex::Error::NoParts);
    let selected = merge.and_then(|merge| merge.select(paths, nothing)?.into_diff());
    let Ok(selected) = selected else { return };
    let found = Snapshot::find(archives, paths).expect("what all has, a part has");
    let found = found.diff_from(&DirIndex::empty()).expect("it is a tree");
    let mut expected = Vec::new();
    selected.0.write_to(&mut expected, Signatures::None).expect("it can be written");
    assert_eq!(carried(&found), expected);
}
