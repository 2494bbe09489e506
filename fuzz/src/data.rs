//! What a diff with data comes to: its changes and its contents. Knows no target.

use std::io::Read;

use archive::DiffData;
use diffindex::Signatures;
use dirindex::RelPath;

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
