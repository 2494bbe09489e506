//! An archive made of the fuzzer's bytes, in files that are cut where the fuzzer says: an error, or what the same
//! archive in one file is.
#![no_main]

use std::path::Path;

use archive::{Archive, DiffData, Snapshot};
use dirindex::{DirIndex, TreeId};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "no diff is written")]
mod data;
mod forge;
mod input;
use data::contents;
use forge::forge;
use input::Input;

/// Stands for where TABLE begins, where the last volume does in sound ones.
const AT_TABLE: u16 = u16::MAX;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let cuts = input.part();
    let roots = (DirIndex::empty().tree_id(), TreeId([0; 32]));
    let Some(archive) = forge(input, roots) else { return };
    let table = table_offset(&archive);
    let at = |cut: &[u8; 2]| match u16::from_le_bytes(*cut) {
        AT_TABLE => table,
        cut => usize::from(cut),
    };
    let mut cuts: Vec<usize> = cuts.as_chunks().0.iter().take(8).map(at).collect();
    cuts.extend([0, archive.len()]);
    cuts.iter_mut().for_each(|cut| *cut = archive.len().min(*cut));
    cuts.sort_unstable();
    cuts.dedup();

    let tmp = tempfile::tempdir().expect("a temporary directory");
    let mut last = tmp.path().to_owned();
    for (number, cut) in cuts.windows(2).enumerate() {
        last = tmp.path().join(format!("a.{:03}.tgz", number + 1));
        std::fs::write(&last, &archive[cut[0]..cut[1]]).expect("a file of the target's own");
    }
    let Ok(parts) = DiffData::open(&last) else { return };
    let sound = parts.verify(None).is_ok();
    let read = contents(&parts);
    assert!(read.is_some() || !sound);
    if sound {
        let whole = DiffData::from_source(archive, "whole").expect("its volumes can be read");
        whole.verify(None).expect("its volumes are sound");
        assert_eq!(contents(&whole), read);
        ask(&last, &parts);
    }
});

/// What one path needs, is among the volumes that there are.
fn ask(last: &Path, parts: &DiffData) {
    let opened = Archive::open(last).expect("it was read before");
    for change in parts.diff().changes() {
        let path = std::slice::from_ref(&change.path);
        assert!(opened.volumes(path).iter().all(|&number| number >= 1));
        _ = Snapshot::find(std::slice::from_ref(&opened), path);
    }
}

/// Where the trailer says that TABLE begins.
fn table_offset(archive: &[u8]) -> usize {
    let magic = b"ibt-arc\x01";
    let found = archive.windows(magic.len()).rposition(|bytes| bytes == magic);
    let offset = found.and_then(|at| archive.get(at + magic.len()..)?.first_chunk());
    offset.map_or(0, |offset| u64::from_le_bytes(*offset) as usize)
}
